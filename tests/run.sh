#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds with and without sanitizers, and runs the tests.
#   tests/run.sh                 everything
#   tests/run.sh LABEL...        only the tests of these labels (unit, mpi, cli, reference, slurm ...)
# SSMSWEEP_WERROR=ON makes warnings errors; SSMSWEEP_SANITIZERS=OFF leaves out the sanitizer build;
# SSMSWEEP_FUZZ=ON adds a short run of the fuzz targets, with clang (label fuzz);
# SSMSWEEP_LONG=1 takes all variants of the tests that have several; SSMSWEEP_GOLDEN=DIR adds the tokenizer's golden files,
# SSMSWEEP_CHECKPOINTS=DIR checkpoints of others with golden outputs (tests/cli/published.py).
# Takes some 30 minutes of processor time: builds 5, sanitizers 10, release 15.  Exit status: 0 only if every test passed.
set -eu
cd "$(dirname "$0")/.."
. jobs/environment.sh

jobs/setup.sh tests
if [ "$(id -u)" -eq 0 ]; then # the tests that need it are skipped for others
    jobs/setup.sh slurm || echo "run.sh: no Slurm: the tests of the batch scripts will be skipped" >&2
fi

cores=$(usable_cores)
mpi_environment 16 # the widest test
: "${OMP_NUM_THREADS:=1}"
: "${OMP_WAIT_POLICY:=passive}" # threads that spin on cores that tests share take ten times the time
export OMP_NUM_THREADS OMP_WAIT_POLICY
mkdir -p build

# The labels as one regular expression for ctest; without any, all tests.
only=
for label in "$@"; do
    only="${only:+$only|}$label"
done

build() { # PRESET
    log=build/$1.log
    echo "building $1 (log: $log) ..."
    if ! { cmake --preset "$1" -DSSMSWEEP_TESTS=ON -DSSMSWEEP_WERROR="${SSMSWEEP_WERROR:-OFF}" &&
        cmake --build --preset "$1" -j "$cores"; } >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        echo "run.sh: the $1 build failed; the end of $log is above" >&2
        exit 1
    fi
    if grep -q 'warning:' "$log"; then grep 'warning:' "$log" >&2; fi
}

check() { # PRESET [ctest options]
    preset=$1
    shift
    ctest --preset "$preset" -j "$cores" ${only:+-L "^($only)$"} "$@" </dev/null
}

# Release comes last, so that the count of all tests ends the output.
asan=0
fuzz=0
release=0
if [ "${SSMSWEEP_SANITIZERS:-ON}" != OFF ]; then
    build asan
    # Left out: tests that show a sanitizer nothing (label plain), and the Python reference, which would take it too long.
    check asan -LE '^(plain|reference)$' || asan=$?
fi
if [ "${SSMSWEEP_FUZZ:-OFF}" != OFF ]; then
    build fuzz
    check fuzz || fuzz=$?
fi
build release
check release --no-tests=error || release=$?
if [ "$asan" -ne 0 ]; then
    echo "run.sh: tests failed in the sanitizer build, see above" >&2
fi
if [ "$fuzz" -ne 0 ]; then
    echo "run.sh: a fuzz target failed, see above" >&2
fi
[ "$asan" -eq 0 ] && [ "$fuzz" -eq 0 ] && [ "$release" -eq 0 ]
