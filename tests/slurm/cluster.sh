#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command on a throw-away Slurm cluster of two nodes, n1 and n2, on this machine.
#   cluster.sh COMMAND [ARGUMENT...]     e.g. cluster.sh srun -N 2 hostname
# One slurmctld, two slurmd, a munged with a key of its own; all of them in name spaces (processes, network, mounts,
# host name) that the kernel takes down with everything in them when this script ends, however it ends.  Nothing of the
# machine's own Slurm, munge, /run or ports is touched.  The second node has a network, host name and /dev/shm of its
# own.  Exit status: the command's; 77 where such a cluster is not possible; 1 if it should be but does not start.
set -u
PATH=$PATH:/usr/sbin:/sbin
here=$(cd "$(dirname "$0")" && pwd)
run=/run/ssmsweep-cluster # a tmpfs that only these processes see

skip() {
    echo "SKIP: $*"
    exit 77
}

# ---- outside: can it be done? ----

outside() {
    local tool
    [ "${SSMSWEEP_SLURM:-ON}" != OFF ] || skip "not asked for: 'tests/run.sh slurm' or SSMSWEEP_SLURM=ON does"
    [ "$(id -u)" -eq 0 ] || skip "needs root"
    for tool in munged munge slurmctld slurmd sbatch srun scontrol ip unshare nsenter; do
        command -v $tool >/dev/null || skip "no $tool; 'jobs/setup.sh slurm' installs it"
    done
    if ! unshare --pid --fork --kill-child --net --mount --uts --ipc --mount-proc \
        sh -c 'ip link set lo up && ip link add name t1 type veth peer name t2 && mount -t tmpfs none /run'; then
        skip "no right to make name spaces, a network in them, and mounts (a container without CAP_SYS_ADMIN?)"
    fi
    # The shell is process 1 of the new name space: it waits, and so collects orphans, which would stay zombies.
    exec unshare --pid --fork --kill-child --net --mount --uts --ipc --mount-proc \
        sh -c '"$@" & wait $!' sh "$here/cluster.sh" --inside "$@"
}

# ---- inside ----

die() {
    local log
    echo "cluster.sh: $*" >&2
    for log in "$run"/*.log; do
        echo "---- $log" >&2
        tail -n 15 "$log" >&2
    done
    exit 1
}

wait_for() { # TENTHS COMMAND...
    local left=$1
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.1
    done
}

make_node() { # NAME ADDRESS DEVICE: the host name, network and /dev/shm of the name spaces we are in
    hostname "$1" && ip link set lo up && ip addr add "$2/24" dev "$3" && ip link set "$3" up &&
        mount -t tmpfs -o mode=1777 none /dev/shm
}

# slurmd insists on a file system there, though it is told not to use cgroups.
check_cgroup() {
    [ -d /sys/fs/cgroup ] && { mountpoint -q /sys/fs/cgroup || mount -t tmpfs none /sys/fs/cgroup; }
}

write_configuration() {
    local cpus=2 plugin=affinity
    # More CPUs than there are cannot be bound to.
    [ "$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)" -ge $cpus ] || plugin=none
    sed -e "s|@RUN@|$run|g" -e "s|@CPUS@|$cpus|g" -e "s|@TASKPLUGIN@|$plugin|g" \
        "$here/slurm.conf.in" >"$run/slurm.conf"
    # Slurm wants devices, whatever they are.
    printf 'AutoDetect=off\nNodeName=n[1-2] Name=gpu Flags=nvidia_gpu_env File=%s/gpu[0-1]\n' "$run" >"$run/gres.conf"
    ln -s /dev/null "$run/gpu0" && ln -s /dev/zero "$run/gpu1"
    mkdir -m 700 "$run/state"
    mkdir "$run"/spool.n{1,2}
    mkdir -m 1777 "$run"/tmp.n{1,2}
    printf '127.0.0.1 localhost\n10.213.7.1 n1\n10.213.7.2 n2\n' >"$run/hosts"
    (umask 077 && head -c 128 /dev/urandom >"$run/munge.key")
}

start_munge() {
    munged --foreground --key-file="$run/munge.key" --socket="$run/munge.socket" --pid-file="$run/munged.pid" \
        --seed-file="$run/munge.seed" --log-file="$run/munged.log" >"$run/munged.err.log" 2>&1 &
    wait_for 600 munge -n -S "$run/munge.socket"
}

second_node() { # started in its own name spaces; the first node pushes the network device in
    wait_for 600 ip link show link2 && make_node n2 10.213.7.2 link2 &&
        exec slurmd -D -N n2 -f "$SLURM_CONF"
}

start_nodes() {
    local second
    unshare --net --uts --mount "$here/cluster.sh" --second-node >"$run/slurmd.n2.log" 2>&1 &
    second=$!
    ip link add name link1 type veth peer name link2 && make_node n1 10.213.7.1 link1 || return 1
    # Not before the other side has left our network.
    different_network() { [ "$(readlink "/proc/$second/ns/net")" != "$(readlink /proc/self/ns/net)" ]; }
    wait_for 600 different_network && ip link set link2 netns $second || return 1
    slurmctld -D -c -f "$SLURM_CONF" >"$run/slurmctld.log" 2>&1 &
    slurmd -D -N n1 -f "$SLURM_CONF" >"$run/slurmd.n1.log" 2>&1 &
    both_idle() { [ "$(sinfo -h -p low -N -o %T | grep -cx idle)" = 2 ]; }
    wait_for 1200 both_idle
}

inside() {
    mount -t tmpfs -o mode=755 none /run && mkdir -m 755 "$run" || die "cannot mount on /run"
    check_cgroup || die "cannot mount on /sys/fs/cgroup"
    write_configuration && mount --bind "$run/hosts" /etc/hosts || die "cannot write the configuration"
    start_munge || die "munged does not answer"
    start_nodes || die "the nodes do not come up"
    export SSMSWEEP_CLUSTER_LOGS=$run
    "$@"
}

export SLURM_CONF=$run/slurm.conf
case ${1-} in
--inside) shift && inside "$@" ;;
--second-node) second_node ;;
'') sed -n '3,9s/^# \{0,1\}//p' "$0" && exit 2 ;;
*) outside "$@" ;;
esac
