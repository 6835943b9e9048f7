#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a fuzz target for some seconds: run.sh PROGRAM SECONDS FOUND_FOLDER SEED_FOLDER...
# Inputs that reach new code stay in FOUND_FOLDER, and so does one that failed; exit status 0: nothing failed.
set -eu
program=$1 seconds=$2 found=$3
shift 3
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$found"
exec "$program" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=3000 -max_len=8192 -print_final_stats=1 \
    -dict="$here/words.dict" -artifact_prefix="$found/failed-" "$found" "$@"
