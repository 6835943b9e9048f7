#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# ssmsweep beside PyTorch on one core: the same random mamba-130m, 512 tokens, one after the other in turn.
#   tests/bench/run.sh [BUILD_DIR [ROUNDS [CORE]]]      (default: build/release, 5, 0)
# Prints medians over the rounds and their ratios.  Needs PyTorch and a fast BLAS, which nothing else here does:
#   apt-get install -y python3-torch libopenblas0-pthread
set -eu
cd "$(dirname "$0")/../.."
build=${1:-build/release} rounds=${2:-5} core=${3:-0}
python=/usr/bin/python3
if ! $python -c 'import torch' 2>/dev/null; then
    echo "run.sh: $python has no PyTorch: apt-get install -y python3-torch libopenblas0-pthread" >&2
    exit 1
fi
# Left over from elsewhere it would choose kernels for another processor.
unset OPENBLAS_CORETYPE
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tokens=512

$python tests/bench/peer_torch.py check "$build/tests/reference/probe"
$python tests/reference/make_model.py --out "$work/model" --d-model 768 --n-layer 24 --vocab 512
$python -c "import numpy, sys; numpy.concatenate([[$tokens], numpy.arange($tokens) * 7919 % 512]).astype('int32').tofile('$work/ids')"
"$build/tests/reference/probe" observe "$work/model" 0.9995 "$work/ids" "$work/scales"

# Stock glibc gives every large temporary back to the system at once; this keeps them.
tuned="MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=68719476736 MALLOC_TOP_PAD_=268435456"
ours() {
    (cd "$work" && taskset -c "$core" "$OLDPWD/$build/ssmsweep" bench -q --model model --modes fp32,2-1 --seconds 0.5 \
        --threads 1 --calib_seqlen "$tokens" --json ours.json) && cat "$work/ours.json"
}
peer() { # name, environment, kind
    taskset -c "$core" env $2 $python tests/bench/peer_torch.py time "$work/model" "$3" --scales "$work/scales" \
        --tokens "$tokens" --seconds 4
}
round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    echo "round $round of $rounds" >&2
    ours >"$work/ours.$round"
    for kind in float dynamic w8a8 w8a8_onednn; do
        peer "$kind" "A=" "$kind" >"$work/stock-$kind.$round"
        peer "$kind" "$tuned" "$kind" >"$work/tuned-$kind.$round"
    done
done
$python tests/bench/ratios.py "$work"
