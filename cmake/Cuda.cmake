# SPDX-License-Identifier: Apache-2.0
# The backend on a GPU: is it built, and how are its kernels compiled?
#
# nvcc is called as it is, and not through CMake's CUDA language: that would compile and link everything here as C++, and fail
# where nvcc is there and does not work.  The CUDA runtime is linked statically and loads the driver when it is first asked for
# a device: the program starts where there is none.
#
# Sets SSMSWEEP_CUDA_FOUND and SSMSWEEP_CUDA_RELEASE; then ssmsweep_cuda_library(NAME FILE.cu ...) makes a library of kernels.
set(SSMSWEEP_CUDA AUTO CACHE STRING "Build the backend on a GPU: ON, OFF, or AUTO (where nvcc of CUDA 11.8 or newer works)")
set_property(CACHE SSMSWEEP_CUDA PROPERTY STRINGS AUTO ON OFF)
set(SSMSWEEP_CUDA_ARCHITECTURES 80 CACHE STRING
  "Compute capabilities to compile for, as 70;80;90, from 70 on; the highest also as PTX, which newer GPUs compile at first use")
set(SSMSWEEP_CUDA_FOUND FALSE)

# The reason why it cannot be built: in AUTO a line, with ON an error.
function(ssmsweep_no_cuda reason)
  if(SSMSWEEP_CUDA STREQUAL "ON")
    message(FATAL_ERROR "SSMSWEEP_CUDA=ON: ${reason}")
  endif()
  message(STATUS "No GPU backend: ${reason}")
endfunction()

# Compiles a kernel once for each nvcc and compiler: a toolkit that is there may refuse the compiler.
function(ssmsweep_try_nvcc)
  if(SSMSWEEP_NVCC_WORKS STREQUAL "${SSMSWEEP_NVCC} ${CMAKE_C_COMPILER} ${SSMSWEEP_CUDA_ARCHITECTURES}")
    return()
  endif()
  set(kernel ${CMAKE_BINARY_DIR}/CMakeFiles/try_nvcc.cu)
  file(WRITE ${kernel} "__global__ void add(int *x) { *x += 1; }\nint main() { add<<<1, 1>>>(nullptr); return 0; }\n")
  execute_process(COMMAND ${SSMSWEEP_NVCC} ${SSMSWEEP_NVCC_FLAGS} -c ${kernel} -o ${kernel}.o
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(result EQUAL 0)
    set(SSMSWEEP_NVCC_WORKS "${SSMSWEEP_NVCC} ${CMAKE_C_COMPILER} ${SSMSWEEP_CUDA_ARCHITECTURES}" CACHE INTERNAL "")
  else()
    unset(SSMSWEEP_NVCC_WORKS CACHE)
    string(REGEX REPLACE "\n.*" "" output "${output}")
    ssmsweep_no_cuda("${SSMSWEEP_NVCC} does not work: ${output}")
  endif()
endfunction()

# -fmad=false: multiply-adds are those that the source names.  Division, square root and subnormals as IEEE has them.
function(ssmsweep_nvcc_flags)
  set(flags -O3 -std=c++14 -fmad=false -prec-div=true -prec-sqrt=true -ftz=false)
  foreach(architecture ${SSMSWEEP_CUDA_ARCHITECTURES})
    list(APPEND flags -gencode arch=compute_${architecture},code=sm_${architecture})
    set(newest ${architecture})
  endforeach()
  list(APPEND flags -gencode arch=compute_${newest},code=compute_${newest})
  set(SSMSWEEP_NVCC_FLAGS ${flags} PARENT_SCOPE)
endfunction()

if(SSMSWEEP_CUDA STREQUAL "OFF" OR (SSMSWEEP_CUDA STREQUAL "AUTO" AND (SSMSWEEP_SANITIZE OR SSMSWEEP_FUZZ)))
  message(STATUS "No GPU backend: not wanted") # sanitizers do not see a device
else()
  find_program(SSMSWEEP_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
  if(NOT SSMSWEEP_NVCC)
    ssmsweep_no_cuda("nvcc is not there")
  else()
    ssmsweep_nvcc_flags()
    execute_process(COMMAND ${SSMSWEEP_NVCC} --version OUTPUT_VARIABLE version ERROR_QUIET)
    string(REGEX MATCH "release ([0-9.]+)" version "${version}")
    set(SSMSWEEP_CUDA_RELEASE ${CMAKE_MATCH_1})
    get_filename_component(toolkit ${SSMSWEEP_NVCC} REALPATH)
    get_filename_component(toolkit ${toolkit} DIRECTORY)
    find_path(SSMSWEEP_CUDA_INCLUDE cuda_runtime_api.h HINTS ${toolkit}/../include PATH_SUFFIXES cuda)
    find_library(SSMSWEEP_CUDART cudart_static HINTS ${toolkit}/../lib64 ${toolkit}/../lib)
    if(NOT version OR CMAKE_MATCH_1 VERSION_LESS 11.8)
      ssmsweep_no_cuda("${SSMSWEEP_NVCC}: CUDA 11.8 or newer is wanted, this is ${CMAKE_MATCH_1}")
    elseif(NOT SSMSWEEP_CUDA_INCLUDE OR NOT SSMSWEEP_CUDART)
      ssmsweep_no_cuda("cuda_runtime_api.h or libcudart_static.a is not there")
    else()
      ssmsweep_try_nvcc()
      if(SSMSWEEP_NVCC_WORKS)
        set(SSMSWEEP_CUDA_FOUND TRUE)
        message(STATUS "GPU backend: ${SSMSWEEP_NVCC} (${version}), compute capability ${SSMSWEEP_CUDA_ARCHITECTURES}")
      endif()
    endif()
  endif()
endif()

# A library of kernels.
function(ssmsweep_cuda_library target)
  set(objects)
  foreach(file ${ARGN})
    set(object ${CMAKE_CURRENT_BINARY_DIR}/${file}.o)
    add_custom_command(OUTPUT ${object}
      COMMAND ${CMAKE_C_COMPILER_LAUNCHER} ${SSMSWEEP_NVCC} ${SSMSWEEP_NVCC_FLAGS} -Xcompiler=-fPIE,-fno-exceptions,-fno-threadsafe-statics -diag-suppress 177,1675
        -I${PROJECT_SOURCE_DIR}/include -MD -MF ${object}.d -c ${CMAKE_CURRENT_SOURCE_DIR}/${file} -o ${object}
      DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${file} DEPFILE ${object}.d COMMENT "Building CUDA object ${file}" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  add_library(${target} STATIC ${objects})
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE C)
  target_link_libraries(${target} PUBLIC ${SSMSWEEP_CUDART} ${CMAKE_DL_LIBS} rt)
endfunction()
