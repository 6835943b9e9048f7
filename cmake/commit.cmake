# SPDX-License-Identifier: Apache-2.0
# SSMSWEEP_COMMIT: what the sources are of, for `ssmsweep --version`.  git's, looked at again after each commit; in an archive that
# git made (jobs/package.sh) its own; else "".
set(SSMSWEEP_COMMIT "$Format:%h$") # git archive puts the commit here
if(SSMSWEEP_COMMIT MATCHES "Format")
  set(SSMSWEEP_COMMIT "")
endif()
find_package(Git QUIET)
if(GIT_FOUND AND EXISTS ${PROJECT_SOURCE_DIR}/.git)
  foreach(question "--short=12;HEAD" "--path-format=absolute;--git-path;logs/HEAD")
    execute_process(COMMAND ${GIT_EXECUTABLE} rev-parse ${question} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR}
      OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(failed)
      break()
    elseif(EXISTS ${answer})
      set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${answer})
    else()
      set(SSMSWEEP_COMMIT ${answer})
    endif()
  endforeach()
endif()
