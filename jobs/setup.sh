#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs what is missing of the Debian 12 packages that ssmsweep needs; silent when nothing is.
#   jobs/setup.sh         to build and run
#   jobs/setup.sh tests   to run the tests as well
#   jobs/setup.sh page    to test the HTML report in a browser as well
#   jobs/setup.sh package to make the Debian package as well, and to test it, completion, and examples with pandas, matplotlib, xarray
#   jobs/setup.sh mpich   to build with MPICH as well (cmake --preset mpich); Open MPI stays the default
#   jobs/setup.sh slurm   to test the batch scripts as well; no service of Slurm or munge is started or enabled
set -eu

packages="gcc libc6-dev make cmake pkg-config
    openmpi-bin libopenmpi-dev libhdf5-openmpi-dev libcjson-dev libpcre2-dev libutf8proc-dev libssl-dev
    libzip-dev zlib1g-dev libzstd-dev node-d3 scdoc"
case "${1-}" in
'') ;;
tests) packages="$packages libcmocka-dev python3 python3-numpy python3-h5py python3-jsonschema hdf5-tools zstd
    clang libclang-rt-14-dev" ;;
package) packages="$packages dpkg-dev file gzip lintian zsh fish environment-modules lua5.3
    python3-pandas python3-matplotlib python3-xarray" ;;
page) packages="$packages chromium chromium-driver python3-selenium tidy fonts-dejavu-core" ;;
mpich) packages="$packages mpich libhdf5-mpich-dev" ;;
slurm) packages="$packages slurmctld slurmd slurm-client munge slurm-wlm-basic-plugins iproute2" ;;
*)
    echo "setup.sh: unknown argument '$1': expected nothing, 'tests', 'page', 'package', 'mpich' or 'slurm'" >&2
    exit 2
    ;;
esac

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    # Elsewhere (a cluster with modules) the packages come another way; CMake names what it does not find.
    echo "setup.sh: no apt-get here, nothing installed; needed are:" $packages >&2
    exit 0
fi

missing=
for package in $packages; do
    # A package of several architectures gives its state once for each.
    case $(dpkg-query -W -f='${db:Status-Status} ' "$package" 2>/dev/null || true) in
    installed* | *' installed'*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
        echo "setup.sh: cannot install without root or sudo; ask an administrator for: apt-get install$missing" >&2
        exit 1
    fi
    root=sudo
fi

# What would be started and enabled by its installation.
services=
for service in slurmctld slurmd munge; do
    case " $missing " in
    *" $service "*) services="$services $service" ;;
    esac
done

log=$(mktemp)
policy= # the file that forbids starting services, if it is ours
clean_up() {
    rm -f "$log"
    if [ -n "$policy" ]; then $root rm -f "$policy"; fi
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
forbid_starting() {
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        policy=/usr/sbin/policy-rc.d
        printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
        $root chmod 755 "$policy"
    fi
}
apt() {
    $root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 "$@" \
        </dev/null >"$log" 2>&1
}
echo "setup.sh: installing$missing" >&2
# A package list that cannot be refreshed may still be good enough: let the installation decide.
apt update || echo "setup.sh: apt-get update failed; trying with the lists at hand" >&2
if [ -n "$services" ]; then forbid_starting; fi
if ! apt install -y --no-install-recommends $missing; then
    tail -n 20 "$log" >&2
    echo "setup.sh: apt-get could not install:$missing (its last lines are above)" >&2
    exit 1
fi
for service in $services; do
    # Stopped where a policy of this machine let it start.
    $root invoke-rc.d --quiet "$service" stop >/dev/null 2>&1 </dev/null || true
    $root update-rc.d "$service" disable >/dev/null 2>&1 </dev/null || true
done
