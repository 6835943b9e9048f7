# SPDX-License-Identifier: Apache-2.0
# To be sourced: what this machine offers, and what Open MPI must be told to run on it.

# Cores this process may use: its affinity, cut by the CPU quota of a container.
usable_cores() {
    cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
    if [ -r /sys/fs/cgroup/cpu.max ]; then
        read -r quota period </sys/fs/cgroup/cpu.max
    elif [ -r /sys/fs/cgroup/cpu/cpu.cfs_quota_us ]; then
        quota=$(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us)
        period=$(cat /sys/fs/cgroup/cpu/cpu.cfs_period_us)
    else
        quota=max
    fi
    case $quota in
    '' | max | -*) ;;
    *) if [ $((quota / period)) -lt "$cores" ]; then cores=$((quota / period)); fi ;;
    esac
    if [ "$cores" -lt 1 ]; then cores=1; fi
    echo "$cores"
}

# mpi_environment RANKS: sets OMPI_* variables where, and only where, mpirun would not start RANKS ranks well.
mpi_environment() {
    if [ "$(id -u)" -eq 0 ]; then # mpirun refuses root otherwise
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    fi
    # After SIGTERM to mpirun, and after a rank was lost, the others have twice these seconds to end.
    export OMPI_MCA_odls_base_sigkill_timeout="${OMPI_MCA_odls_base_sigkill_timeout:-5}"
    # Containers often forbid reading another process's memory, and give /dev/shm 64 MB.
    if [ -e /.dockerenv ] || [ -e /run/.containerenv ]; then
        export OMPI_MCA_btl_vader_single_copy_mechanism=none
    fi
    shm_kib=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
    if [ "${shm_kib:-0}" -lt $(($1 * 16384)) ]; then
        export OMPI_MCA_btl_vader_backing_directory="${TMPDIR:-/tmp}" OMPI_MCA_osc_sm_backing_directory="${TMPDIR:-/tmp}"
    fi
    # More ranks than mpirun counts slots (hyperthreads, quotas, tests): share cores, and yield while waiting.
    if ! mpirun -n "$1" true >/dev/null 2>&1; then
        export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_mpi_yield_when_idle=1
    fi
}
