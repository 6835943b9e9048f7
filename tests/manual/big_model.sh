#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A random model of published size, from nothing to a sweep of 4 tokens in one mode, and what it took:
#   tests/manual/big_model.sh PROGRAM [FOLDER] [PRESET] [RANKS] [MODE]
# Defaults: a folder under /tmp, mamba-2.8b (5.6 GB of disk, about 14 GB of memory), 2 ranks, mode 2-1.
# mamba2-2.7b-w4a8 is a checkpoint in 4 bits (0.2 GB of disk, as its layers share their tensors; as much memory).
# The folder is removed afterwards.  If memory runs out, it is these processes that the system ends.
set -eu
. "$(dirname "$0")/../../jobs/environment.sh"
program=$(readlink -f "$1")
folder=${2:-$(mktemp -d)}
preset=${3:-mamba-2.8b} ranks=${4:-2} mode=${5:-2-1}
mpi_environment "$ranks"
trap 'rm -rf "$folder"' EXIT
echo 1000 >/proc/self/oom_score_adj 2>/dev/null || true

# Peak over time of the memory of all ranks: shared pages count once (PSS); "anonymous" leaves out the mapped
# weights, which the system can drop at will.
watch_memory() { # SWEEP_PID
    peak=0 anonymous=0
    while kill -0 "$1" 2>/dev/null; do
        now=0 anon=0
        for process in $(pgrep -x ssmsweep || true); do
            [ "$(readlink "/proc/$process/exe")" = "$program" ] || continue
            sums=$(awk '/^Pss:/ {p = $2} /^Pss_File:/ {f = $2} END {print p + 0, p - f}' "/proc/$process/smaps_rollup" \
                2>/dev/null || echo 0 0)
            now=$((now + ${sums% *})) anon=$((anon + ${sums#* }))
        done
        [ "$now" -le "$peak" ] || peak=$now
        [ "$anon" -le "$anonymous" ] || anonymous=$anon
        sleep 0.5
    done
    echo "peak memory of all ranks: $((peak / 1024)) MiB, of it not from files: $((anonymous / 1024)) MiB"
}

case $preset in
mamba2-2.7b-w4a8) python3 "$(dirname "$0")/four_bit_model.py" "$folder/model" 2560 64 ;;
*) "$program" synth --preset "$preset" --out "$folder/model" --dtype F16 ;;
esac
ls -l "$folder/model"
start=$(date +%s)
mpirun -n "$ranks" "$program" --model "$folder/model" --modes "$mode" --calib_data_num 1 --calib_seqlen 4 \
    --output_dir "$folder/out" --comparison-dir "$folder/cmp" &
sweep=$!
watch_memory "$sweep"
status=0
wait "$sweep" || status=$?
echo "sweep: exit status $status after $(($(date +%s) - start)) s"
exit "$status"
