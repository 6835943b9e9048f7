#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds and installs without root and without apt: with the compiler, MPI and HDF5 that are loaded (module load ...).
#   jobs/install.sh PREFIX [cmake options]     e.g. jobs/install.sh ~/ssmsweep -DSSMSWEEP_HTML=OFF
# PREFIX gets bin/ssmsweep, its demo models, manual pages, completion, Slurm scripts, and a file for `module load`.
# Exit status: 0 installed and run once; 2 bad usage; 1 something is missing or fails, and the last lines say what.
set -eu
if [ $# -lt 1 ] || [ "${1#-}" != "$1" ]; then
    echo "install.sh: expected a folder to install into: jobs/install.sh PREFIX [cmake options]" >&2
    exit 2
fi
mkdir -p "$1"
prefix=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/.."
. jobs/environment.sh

missing=
for tool in cmake pkg-config make; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
done
command -v mpicc >/dev/null || missing="$missing mpicc (an MPI: module load openmpi)"
command -v h5pcc >/dev/null || command -v h5pcc.openmpi >/dev/null || missing="$missing h5pcc (a parallel HDF5: module load hdf5-mpi)"
if [ -n "$missing" ]; then
    echo "install.sh: not found:$missing; load the modules that have them, or ask for them" >&2
    exit 1
fi

build=build/install
mkdir -p "$build"
log=$build/install.log
make_it() {
    cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DSSMSWEEP_TESTS=OFF -DCMAKE_INSTALL_PREFIX="$prefix" "$@" &&
        cmake --build "$build" -j "$(usable_cores)" && cmake --install "$build"
}
if ! make_it "$@" >"$log" 2>&1 </dev/null; then
    grep -A 6 'CMake Error' "$log" >&2 || tail -n 20 "$log" >&2
    echo "install.sh: the build failed; $log has all of it (D3 for the page is missing? add -DSSMSWEEP_HTML=OFF)" >&2
    exit 1
fi
"$prefix/bin/ssmsweep" --version
echo "installed in $prefix; put it on the path with: module use $prefix/share/ssmsweep/modulefiles && module load ssmsweep"
