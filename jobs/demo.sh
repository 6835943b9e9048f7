#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# From a fresh checkout to a result: installs missing packages, builds, and sweeps all modes of the demo model.
#   jobs/demo.sh [ssmsweep options]     e.g. jobs/demo.sh --calib_data_num 5 --layers all
# Results: build/demo-run (made anew each time).  Exit status: that of ssmsweep.
set -eu
cd "$(dirname "$0")/.."
. jobs/environment.sh

jobs/setup.sh

cores=$(usable_cores)
log=build/release/demo-build.log
mkdir -p build/release
echo "building (log: $log) ..."
if [ -f build/release/CMakeCache.txt ]; then tests=; else tests=-DSSMSWEEP_TESTS=OFF; fi
if ! { cmake --preset release $tests && cmake --build --preset release --target ssmsweep -j "$cores"; } >"$log" 2>&1 </dev/null; then
    tail -n 30 "$log" >&2
    echo "demo.sh: the build failed; the end of $log is above" >&2
    exit 1
fi

ranks=$((cores < 16 ? cores : 16))
mpi_environment "$ranks"
rm -rf build/demo-run
mkdir build/demo-run
cd build/demo-run
echo "running in build/demo-run: mpirun -n $ranks ssmsweep --all-modes --layers first,11,last --noise 3 $*"
status=0
mpirun -n "$ranks" ../release/ssmsweep --all-modes --layers first,11,last --noise 3 "$@" </dev/null || status=$?
if [ "$status" -eq 0 ]; then
    echo
    echo "Tensors: build/demo-run/layer_outputs/sweep.h5   JSON: build/demo-run/comparisons, build/demo-run/layer_outputs"
fi
exit "$status"
