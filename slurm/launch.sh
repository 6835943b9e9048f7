# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# To be sourced by the batch scripts: how to start the ranks here, and where the results go.

# Does this srun start processes?  Slurm lists interfaces whose libraries it then does not find.
srun_works() {
    local said
    said=$(srun "--mpi=$1" true 2>&1) && return
    echo "launch.sh: srun --mpi=$1 does not work here: $(tail -n 1 <<<"$said")" >&2
    return 1
}

# srun where Slurm and Open MPI share a process interface, else mpirun (which asks Slurm for the nodes itself).
choose_launcher() {
    local slurm open_mpi
    slurm=$(srun --mpi=list 2>&1)
    open_mpi=$(ompi_info --parsable 2>/dev/null)
    # Open MPI 5 and later always speak PMIx; 4 does if it has the component.
    if grep -qw pmix <<<"$slurm" &&
        grep -qE '^mca:pmix:(ext|pmix)[0-9]|^ompi:version:full:([5-9]|[1-9][0-9])\.' <<<"$open_mpi" && srun_works pmix; then
        echo srun-pmix
    elif grep -qw pmi2 <<<"$slurm" && grep -q '^mca:pmix:s2:' <<<"$open_mpi" && srun_works pmi2; then
        echo srun-pmi2
    else
        echo mpirun
    fi
}

# The path of the log without its ending: --output=DIR/NAME.out gives DIR/NAME.
results_path() {
    local log
    log=$(readlink "/proc/$$/fd/1")
    case $log in
    /dev/* | [!/]*) echo "$PWD/$SLURM_JOB_NAME-$SLURM_JOB_ID" ;; # no log, or a pipe
    *.out | *.log | *.txt) echo "${log%.*}" ;;
    *) echo "$log.results" ;;
    esac
}

# prepare PROGRAM: sets the arrays `launch` (before the program) and `where` (options that say where the results go,
# and --resume if they have begun), and the variable `results`.
prepare() {
    export SLURM_EXPORT_ENV=ALL # as srun --export=ALL, also of mpirun's own srun: ranks get what this shell has set
    local launcher=${SSMSWEEP_LAUNCHER:-$(choose_launcher)}
    if [ ! -x "$1" ]; then
        echo "launch.sh: $1: no such program; build it, or set SSMSWEEP" >&2
        exit 2
    fi
    export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
    # SIGTERM to mpirun: the ranks get it after so many seconds (1 by default) and are killed after twice as many.  Four
    # times as many pass before mpirun returns, whenever a rank ends with a status other than 0: not too long.
    export OMPI_MCA_odls_base_sigkill_timeout=${OMPI_MCA_odls_base_sigkill_timeout:-5}
    case $launcher in
    srun-*) # srun does not take over sbatch's --cpus-per-task in every version
        launch=(srun "--mpi=${launcher#srun-}" "--cpus-per-task=$OMP_NUM_THREADS" --cpu-bind=cores)
        ;;
    mpirun)
        launch=(mpirun -n "${SLURM_NTASKS:-1}") # others hand on the environment by themselves
        if mpirun --version 2>/dev/null | grep -q 'Open MPI'; then
            launch=(mpirun --map-by "slot:PE=$OMP_NUM_THREADS" --bind-to core -x OMP_NUM_THREADS)
        fi
        ;;
    *)
        echo "launch.sh: SSMSWEEP_LAUNCHER: expected srun-pmix, srun-pmi2 or mpirun, got '$launcher'" >&2
        exit 2
        ;;
    esac
    results=$(results_path)
    where=(--output_dir "$results/layer_outputs" --comparison-dir "$results/comparisons")
    if [ -e "$results/layer_outputs/sweep.h5" ]; then where+=(--resume); fi
    echo "ssmsweep job $SLURM_JOB_ID on $SLURM_JOB_NODELIST, run $((${SLURM_RESTART_COUNT:-0} + 1)): $launcher," \
        "$OMP_NUM_THREADS threads per rank, results in $results"
}
