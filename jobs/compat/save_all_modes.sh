#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# save_all_modes.sh [all|fp_only|quant_only|essential|MODE...] [ssmsweep option...]: keeps the layer outputs of modes.
# RANKS sets the number of processes (default: the cores, at most 16).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/program.sh"
cores=$(usable_cores)
ranks=${RANKS:-$((cores < 16 ? cores : 16))}
mpi_environment "$ranks"
exec mpirun -n "$ranks" "$program" save "$@"
