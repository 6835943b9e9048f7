# SPDX-License-Identifier: Apache-2.0
# The Debian package (cmake --preset package && cmake --build --preset package --target package; jobs/package.sh does it).
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME ssmsweep)
set(CPACK_PACKAGE_VENDOR "ssmsweep")
set(CPACK_PACKAGE_CONTACT "ssmsweep developers <ssmsweep@localhost.localdomain>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "compare quantization modes of Mamba models layer by layer")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT) # ssmsweep_0.1.0_amd64.deb
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "openmpi-bin, python3") # mpirun, scripts; libraries are found by dpkg-shlibdeps
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS "python3-h5py")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "hdf5-tools, slurm-client, python3-pandas")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_LIST_DIR}/prerm)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"Runs a Mamba-1, Mamba-2 or Falcon-Mamba model over calibration text in a float
reference and in quantized modes (W8A8, W4A8, W4A16 and recipes of one's own),
keeps the layers' outputs in an HDF5 file, and compares them with intervals and
a noise floor. Parallel under Open MPI; the same bytes on any number of ranks.")

# What Debian wants beside the program: the licences and the changelog, compressed without a time.
if(CMAKE_INSTALL_PREFIX STREQUAL /usr)
  set(made ${PROJECT_BINARY_DIR}/debian)
  file(MAKE_DIRECTORY ${made})
  file(READ ${PROJECT_SOURCE_DIR}/src/report/page/d3-licence.txt d3_licence)
  string(REGEX REPLACE "\n" "\n " d3_licence "${d3_licence}")
  string(REGEX REPLACE "\n +\n" "\n .\n" d3_licence "${d3_licence}")
  string(REGEX REPLACE "\n +$" "" d3_licence "${d3_licence}")
  configure_file(${CMAKE_CURRENT_LIST_DIR}/copyright.in ${made}/copyright @ONLY)
  file(WRITE ${made}/overrides "# The project has no mail address.
ssmsweep: bogus-mail-host Maintainer *
ssmsweep: bogus-mail-host-in-debian-changelog *
")
  install(FILES ${made}/overrides DESTINATION share/lintian/overrides RENAME ssmsweep)
  execute_process(COMMAND date -R -u -d @${SSMSWEEP_RELEASE_EPOCH} OUTPUT_VARIABLE date OUTPUT_STRIP_TRAILING_WHITESPACE)
  file(WRITE ${made}/changelog "ssmsweep (${PROJECT_VERSION}) unstable; urgency=medium

  * Release ${PROJECT_VERSION}; CHANGELOG.md has what it brings.

 -- ${CPACK_PACKAGE_CONTACT}  ${date}
")
  add_custom_command(OUTPUT ${made}/changelog.gz COMMAND gzip -9nc ${made}/changelog > ${made}/changelog.gz
    DEPENDS ${made}/changelog VERBATIM)
  add_custom_target(debian_files ALL DEPENDS ${made}/changelog.gz)
  install(FILES ${made}/copyright ${made}/changelog.gz DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()
include(CPack)
