#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing, builds with and without sanitizers, and runs the tests.
#   tests/run.sh                 everything but the tests of the batch scripts
#   tests/run.sh LABEL...        only the tests of these labels (unit, mpi, cli, reference, page, slurm, fuzz ...)
# The tests of the batch scripts (label slurm) make a cluster: as root, where they are asked for, by their label or by
# SSMSWEEP_SLURM=ON, and in continuous integration (CI=true); Slurm is installed for them.
# The tests of the HTML report (label page) need a browser: where they are asked for by their label or by SSMSWEEP_PAGE=ON, and
# in continuous integration, it is installed for them.
# SSMSWEEP_WERROR=ON makes warnings errors; SSMSWEEP_SANITIZERS=OFF leaves out the sanitizer build;
# SSMSWEEP_FUZZ=ON adds a short run of the fuzz targets, with clang (label fuzz);
# SSMSWEEP_LONG=1 takes all variants of the tests that have several; SSMSWEEP_GOLDEN=DIR adds the tokenizer's golden files,
# SSMSWEEP_CHECKPOINTS=DIR checkpoints of others with golden outputs (tests/cli/published.py).
# Takes less than sixteen minutes on two idle cores.  Exit status: 0 only if every test passed.
set -eu
cd "$(dirname "$0")/.."
. jobs/environment.sh

case " $* " in
*' slurm '*) : "${SSMSWEEP_SLURM:=ON}" ;;
*) if [ "${CI-}" = true ] && [ $# -eq 0 ]; then : "${SSMSWEEP_SLURM:=ON}"; fi ;;
esac
export SSMSWEEP_SLURM="${SSMSWEEP_SLURM:-OFF}"

case " $* " in
*' page '*) : "${SSMSWEEP_PAGE:=ON}" ;;
*) if [ "${CI-}" = true ] && [ $# -eq 0 ]; then : "${SSMSWEEP_PAGE:=ON}"; fi ;;
esac
export SSMSWEEP_PAGE="${SSMSWEEP_PAGE:-OFF}"

if [ "${CI-}" = true ] && [ $# -eq 0 ]; then
    jobs/setup.sh mpich || true # the tests say what they lack
    jobs/setup.sh package || true
fi

jobs/setup.sh tests
if [ "$SSMSWEEP_SLURM" = ON ] && [ "$(id -u)" -eq 0 ]; then # cluster.sh needs root, and says what it lacks
    jobs/setup.sh slurm || true
fi

if [ "$SSMSWEEP_PAGE" = ON ]; then
    jobs/setup.sh page || true # the tests say what they lack
fi

cores=$(usable_cores)
mpi_environment 16 # the widest test
: "${OMP_NUM_THREADS:=1}"
: "${OMP_WAIT_POLICY:=passive}" # threads that spin on cores that tests share take ten times the time
export OMP_NUM_THREADS OMP_WAIT_POLICY
mkdir -p build
exec /usr/bin/env python3 tests/run.py "$cores" "$@"
