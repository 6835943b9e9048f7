#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# From a fresh checkout to a result: installs missing packages, builds, and sweeps all modes of a demo model.
#   jobs/demo.sh [--demo mamba1|mamba2] [ssmsweep options]     e.g. jobs/demo.sh --calib_data_num 5 --layers all
# Results: build/demo-run (made anew each time).  Exit status: that of ssmsweep.
set -eu
cd "$(dirname "$0")/.."
. jobs/environment.sh

model= layers=first,11,last
if [ "${1:-}" = --demo ]; then
    case "${2:-}" in
    mamba1) ;;
    mamba2) model="--model mamba2-demo" layers=first,7,last ;;
    *)
        echo "demo.sh: --demo ${2:-}: expected mamba1 or mamba2" >&2
        exit 2
        ;;
    esac
    shift 2
fi

# A line for each stage; on a terminal with what of it is done.
started=$(date +%s)
stage() {
    echo "[$(($(date +%s) - started)) s] $*"
}

# build: both steps, with the output in the log.
build() {
    cmake --preset release $tests || return 1
    cmake --build --preset release --target ssmsweep -j "$cores"
}

# watch PID: on a terminal, how far make is, until the process ends.
watch() {
    while kill -0 "$1" 2>/dev/null; do
        sleep 1
        done_percent=$(sed -n 's/^\[ *\([0-9]*%\)\].*/\1/p' "$log" | tail -n 1)
        if [ -t 1 ] && [ -n "$done_percent" ]; then
            printf '\r[%s s] compiled %s ' $(($(date +%s) - started)) "$done_percent"
        fi
    done
    if [ -t 1 ]; then printf '\r\033[K'; fi
}

stage "1/3 packages: installs what is missing (the first time a minute or so)"
jobs/setup.sh

cores=$(usable_cores)
log=build/release/demo-build.log
mkdir -p build/release
stage "2/3 build: configures and compiles with $cores at a time, some minutes the first time (log: $log)"
if [ -f build/release/CMakeCache.txt ]; then tests=; else tests=-DSSMSWEEP_TESTS=OFF; fi
build >"$log" 2>&1 </dev/null &
building=$!
trap 'kill "$building" 2>/dev/null; exit 130' INT TERM # what runs behind it ignores Ctrl-C
watch "$building"
trap - INT TERM
if ! wait "$building"; then
    tail -n 30 "$log" >&2
    echo "demo.sh: the build failed; the end of $log is above" >&2
    exit 1
fi

ranks=$((cores < 16 ? cores : 16))
mpi_environment "$ranks"
rm -rf build/demo-run
mkdir build/demo-run
cd build/demo-run
stage "3/3 sweep, in build/demo-run: mpirun -n $ranks ssmsweep $model${model:+ }--all-modes --layers $layers --noise 3 $*"
status=0
# shellcheck disable=SC2086 # the words of the demo
mpirun -n "$ranks" ../release/ssmsweep $model --all-modes --layers "$layers" --noise 3 "$@" </dev/null || status=$?
echo
stage "done, status $status"
if [ "$status" -eq 0 ]; then
    cat <<'END'
  the program   build/release/ssmsweep
  every output  build/demo-run/layer_outputs/sweep.h5 (h5py reads it; docs/result_file.md)
  the page      build/demo-run/comparisons/report.html: figures and tables, for any browser
  the reports   build/demo-run/comparisons: summary.json, sweep.json, sweep.csv, one file for each mode
END
fi
exit "$status"
