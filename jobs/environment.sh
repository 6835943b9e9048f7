# SPDX-License-Identifier: Apache-2.0
# To be sourced: what this machine offers, and what Open MPI must be told to run on it.

# cpu_quota: "QUOTA PERIOD" of the tightest control group around this process, nothing where there is no limit; as
# src/base/cores.c, for when nothing is built yet.  Groups of version 1 and 2, nested ones too.
cpu_quota() {
    while IFS=: read -r number controllers group; do
        case $number:,$controllers, in
        0:,,) kind=cgroup2 option= ;;
        *,cpu,*) kind=cgroup option=cpu ;;
        *) continue ;;
        esac
        # Of the first such hierarchy: what of it is mounted, and where.
        mount=$(awk -v kind="$kind" -v option="$option" '{
            for (dash = 6; dash <= NF && $dash != "-"; dash++);
            if ($(dash + 1) == kind && (option == "" || index("," $(dash + 3) ",", "," option ","))) { print $4, $5; exit }
        }' /proc/self/mountinfo)
        [ -n "$mount" ] || continue
        top=${mount#* } mounted=${mount%% *}
        case $group in
        */..*) below= ;;
        *) if [ "$mounted" = / ]; then below=$group; elif [ "${group#"$mounted"}" != "$group" ]; then below=${group#"$mounted"}; else below=; fi ;;
        esac
        folder=$top${below%/}
        while :; do
            if [ $kind = cgroup2 ]; then
                cat "$folder/cpu.max" 2>/dev/null
            else
                echo "$(cat "$folder/cpu.cfs_quota_us" 2>/dev/null)" "$(cat "$folder/cpu.cfs_period_us" 2>/dev/null)"
            fi
            [ "$folder" != "$top" ] || break
            folder=${folder%/*}
        done
    done </proc/self/cgroup 2>/dev/null | awk '$1 > 0 && $2 > 0 && (least == "" || $1 / $2 < least) { least = $1 / $2; line = $0 }
        END { if (line) print line }'
}

# Cores this process may use: its affinity, cut by the CPU quota of a container.
usable_cores() {
    cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
    quota=$(cpu_quota)
    if [ -n "$quota" ] && [ $((${quota% *} / ${quota#* })) -lt "$cores" ]; then
        cores=$((${quota% *} / ${quota#* }))
    fi
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
