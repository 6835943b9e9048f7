#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the packages of this version in build/package: ssmsweep_VERSION_ARCH.deb and ssmsweep-VERSION.tar.gz, the sources.
#   jobs/package.sh           installs what is missing, builds both
# Exit status: 0 only if both were made.
set -eu
cd "$(dirname "$0")/.."
. jobs/environment.sh
jobs/setup.sh package
cores=$(usable_cores)
mkdir -p build/package
log=build/package/package.log
build() {
    cmake --preset package && cmake --build --preset package -j "$cores" && (cd build/package && cpack -G DEB)
}
if ! build >"$log" 2>&1 </dev/null; then
    tail -n 30 "$log" >&2
    echo "package.sh: the build failed; the end of $log is above" >&2
    exit 1
fi
version=$(sed -n 's/^project(ssmsweep VERSION \([0-9.]*\).*/\1/p' CMakeLists.txt)
# What is committed; without git, what lies here but for what was built.
if git rev-parse --verify -q HEAD >/dev/null 2>&1; then
    git archive --format=tar.gz --prefix="ssmsweep-$version/" -o "build/package/ssmsweep-$version.tar.gz" HEAD
else
    tar --exclude=./build --exclude='./build-*' --exclude=./layer_outputs --exclude=./comparisons \
        --transform="s,^\.,ssmsweep-$version," -czf "build/package/ssmsweep-$version.tar.gz" .
fi
ls build/package/*.deb build/package/*.tar.gz
