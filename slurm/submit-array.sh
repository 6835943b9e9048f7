#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Submits sweep-array.sbatch and, for when all its jobs have succeeded, merge.sbatch.
#   slurm/submit-array.sh RESULTS [sbatch options] [-- ssmsweep options]
#   e.g. slurm/submit-array.sh results --array=5,10,20,50%2 -- --model "$PWD/mamba-130m" --layers all
# RESULTS/calib_data_num-<N>/ get the sweeps, RESULTS/merge/ the common table and JSON.  What both jobs need (account,
# partition) is set by SBATCH_ACCOUNT, SBATCH_PARTITION ...  Prints the numbers of the two jobs.
set -eu
if [ $# -eq 0 ] || [ "${1#-}" != "$1" ]; then
    sed -n '4,7s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
home=$(cd "$(dirname "$0")/.." && pwd)
export SSMSWEEP_HOME=${SSMSWEEP_HOME:-$home}
mkdir -p "$1"
results=$(cd "$1" && pwd)
shift
sbatch_options=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    sbatch_options+=("$1")
    shift
done
if [ $# -gt 0 ]; then shift; fi

array=$(sbatch --parsable --output="$results/calib_data_num-%a.out" ${sbatch_options[@]+"${sbatch_options[@]}"} \
    "$home/slurm/sweep-array.sbatch" "$@")
array=${array%%;*} # behind it the name of the cluster, where there are several
merge=$(sbatch --parsable --output="$results/merge.out" --dependency="afterok:$array" --kill-on-invalid-dep=yes \
    "$home/slurm/merge.sbatch" "$results") || { scancel "$array" && exit 1; }
echo "array job $array, merge job ${merge%%;*}, results in $results"
