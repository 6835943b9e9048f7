#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# compare_all_modes.sh [ssmsweep option...]: compares every saved mode with the reference.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/program.sh"
exec "$program" compare --all "$@"
