#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes docs/report.png again: the head of the page of the demo model, by chromium without a window.
#   docs/make_report_picture.sh [REPORT.html]     default: build/demo-run/comparisons/report.html, of jobs/demo.sh
set -eu
cd "$(dirname "$0")/.."
page=${1:-build/demo-run/comparisons/report.html}
if [ ! -f "$page" ]; then
    echo "make_report_picture.sh: $page: not there; jobs/demo.sh makes it" >&2
    exit 3
fi
page=$(realpath "$page")
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --force-device-scale-factor=1 --user-data-dir="$profile" \
    --window-size=1100,960 --virtual-time-budget=3000 --screenshot="$PWD/docs/report.png" "file://$page" >"$profile/log" 2>&1 || {
    tail -n 5 "$profile/log" >&2
    exit 1
}
bytes=$(wc -c <docs/report.png)
echo "docs/report.png: $bytes bytes"
[ "$bytes" -le 300000 ]
