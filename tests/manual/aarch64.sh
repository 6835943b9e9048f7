#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the program for aarch64, runs it under qemu-user beside the one of this machine, and compares sweep.json.
#   tests/manual/aarch64.sh PROGRAM FOLDER
# For Debian 12 on amd64: PROGRAM is the one built here; FOLDER gets packages and results, some 1 GB.  Installs nothing.
set -eu
[ $# -eq 2 ] || { sed -n '4,5s/^# \{0,1\}//p' "$0" >&2 && exit 2; }
source=$(cd "$(dirname "$0")/../.." && pwd)
program=$(realpath "$1")
mkdir -p "$2/apt/lists/partial" "$2/apt/cache/archives/partial" "$2/sys" "$2/cross" "$2/objects"
cd "$2"
here=$PWD sys=$PWD/sys

# The libraries of the other machine, and the tools of this one.
touch apt/status
foreign=(-o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State=$here/apt" -o "Dir::Cache=$here/apt/cache"
    -o "Dir::State::status=$here/apt/status" -o APT::Install-Recommends=false)
apt-get "${foreign[@]}" -qq update
apt-get "${foreign[@]}" -qq -y --download-only install libopenmpi-dev libhdf5-openmpi-dev libcjson-dev libpcre2-dev \
    libzip-dev libutf8proc-dev zlib1g-dev libzstd-dev libssl-dev libc6-dev libgcc-12-dev
(cd cross && apt-get -qq download qemu-user-static gcc-12-aarch64-linux-gnu cpp-12-aarch64-linux-gnu binutils-aarch64-linux-gnu \
    gcc-12-aarch64-linux-gnu-base libgcc-12-dev-arm64-cross libgcc-s1-arm64-cross)
for package in cross/*.deb; do dpkg -x "$package" cross; done
mkdir -p sys/usr/lib sys/usr/bin sys/usr/sbin
ln -sfn usr/lib sys/lib && ln -sfn usr/bin sys/bin && ln -sfn usr/sbin sys/sbin
for package in apt/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$package" | tar -x -C sys --keep-directory-symlink -f - --exclude='./etc/*'
done

# As CMakeLists.txt has it, without the kernels of x86.
lib=$sys/usr/lib/aarch64-linux-gnu
compile() {
    PATH=$here/cross/usr/bin:$PATH LD_LIBRARY_PATH=$here/cross/usr/lib/x86_64-linux-gnu \
        aarch64-linux-gnu-gcc-12 --sysroot="$sys" -pthread "$@"
}
for file in "$source"/src/main.c "$source"/src/*/*.c; do
    case $file in *_avx*) continue ;; esac
    name=${file#"$source/"}
    compile -std=c11 -O3 -DNDEBUG -D_POSIX_C_SOURCE=200809L -D_DEFAULT_SOURCE -ffp-contract=off -fno-strict-overflow \
        -I"$source/include" -I"$lib/openmpi/include" -I"$sys/usr/include/hdf5/openmpi" -DSSMSWEEP_VERSION='"0.1.0"' \
        -DSSMSWEEP_DEMO_FROM_PROGRAM='"demo"' -DSSMSWEEP_DEMO_SOURCE="\"$source/jobs/demo\"" \
        -c "$file" -o "objects/${name//\//_}.o"
done
compile objects/*.o -o ssmsweep.aarch64 -L"$lib" -L"$lib/hdf5/openmpi" -Wl,-rpath-link,"$lib" -l:libmpi.so.40 -lhdf5 \
    -lcjson -lpcre2-8 -lzip -lutf8proc -lz -lzstd -lcrypto -lm

export OMPI_MCA_ess_singleton_isolated=1 OMPI_MCA_pml=ob1 OMPI_MCA_btl=self SSMSWEEP_DEMO=$source/jobs/demo
job=(-q --all-modes --calib_data_num 1 --calib_seqlen 64 --noise 1 --bootstrap 199 --layers all --components all)
rm -rf here there
"$program" "${job[@]}" --output_dir here --comparison-dir here
cross/usr/bin/qemu-aarch64-static -L "$sys" ./ssmsweep.aarch64 "${job[@]}" --output_dir there --comparison-dir there
cmp here/sweep.json there/sweep.json && cmp here/sweep.csv there/sweep.csv && echo "aarch64: the same sweep.json and sweep.csv"
