# SPDX-License-Identifier: Apache-2.0
# To be sourced, with $here set to jobs/compat: finds the program and says how to start it on several ranks.
. "$here/../environment.sh"

program=${SSMSWEEP:-$here/../../build/release/ssmsweep}
if [ ! -x "$program" ]; then program=$(command -v ssmsweep) || {
    echo "$(basename "$0"): no ssmsweep found; build it (jobs/demo.sh), or set SSMSWEEP to its path" >&2
    exit 3
}; fi
