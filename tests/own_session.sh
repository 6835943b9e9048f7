#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# own_session.sh COMMAND...: with a folder of its own for the files of Open MPI.  In the one that all runs of a user share, a
# run that ends may remove what another one has just made.
folder=$(mktemp -d /tmp/ssmsweep-mpi-XXXXXX) || exit 1 # holds sockets, whose paths must be short
trap 'rm -rf "$folder"' EXIT
OMPI_MCA_orte_tmpdir_base=$folder "$@"
