// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // sched_getaffinity
#include "threads.h"

#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "ssmsweep/base/team.h"

enum { MAX_THREADS = 1024 };

static int at_most(int a, int b)
{
    return a < b ? a : b;
}

static bool any_set(const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (getenv(names[i])) return true;
    return false;
}

// Started by Open MPI's mpirun with its own default binding?  Options and parameters that bind reach us as
// variables.  In a Slurm job the cores are shared out by Slurm, which mpirun's mask need not show.
static bool bound_unasked(void)
{
    static const char *const asked[] = {"OMPI_MCA_hwloc_base_binding_policy",
                                        "OMPI_MCA_hwloc_base_cpu_set",
                                        "OMPI_MCA_hwloc_base_cpu_list",
                                        "OMPI_MCA_rmaps_base_mapping_policy",
                                        "OMPI_MCA_rmaps_base_cpus_per_rank",
                                        "OMPI_MCA_rmaps_rank_file_path",
                                        "SLURM_JOB_ID"};
    return getenv("OMPI_COMM_WORLD_LOCAL_SIZE") && !any_set(asked, sizeof asked / sizeof asked[0]);
}

// Takes the cores of the process that started this one, if they are more.
static bool unbind(void)
{
    cpu_set_t mine, launcher, both;
    if (!bound_unasked() || sched_getaffinity(0, sizeof mine, &mine) != 0 ||
        sched_getaffinity(getppid(), sizeof launcher, &launcher) != 0)
        return false;
    CPU_AND(&both, &mine, &launcher);
    if (!CPU_EQUAL(&both, &mine) || CPU_EQUAL(&mine, &launcher)) return false; // not a part of them, or all
    return sched_setaffinity(0, sizeof launcher, &launcher) == 0;
}

// Ranks may be bound to cores of their own or share all of them: the union of their masks is right for both.
static void count_cores(struct threads *threads, const struct comm *comm)
{
    cpu_set_t mine, all;
    int known = sched_getaffinity(0, sizeof mine, &mine) == 0, all_known; // fails beyond 1024 cores
    if (!known) CPU_ZERO(&mine);
    MPI_Allreduce(&mine, &all, (int)sizeof mine, MPI_BYTE, MPI_BOR, comm->node);
    MPI_Allreduce(&known, &all_known, 1, MPI_INT, MPI_MIN, comm->node);
    if (!all_known) return;
    threads->own_cores = CPU_COUNT(&mine);
    threads->node_cores = CPU_COUNT(&all);
}

static int whole(double cores)
{
    return cores < 1 ? 1 : cores < INT_MAX ? (int)cores : INT_MAX;
}

// Ranks in one group share its quota; ranks in groups of their own have one each.  0: there is no limit.
static double share_of(const struct cores_quota *quotas, int ranks, int rank)
{
    int sharers = 0;
    for (int other = 0; other < ranks; other++)
        sharers += quotas[other].device == quotas[rank].device && quotas[other].group == quotas[rank].group;
    return quotas[rank].cores / sharers;
}

static void cut_by_quota(struct threads *threads, const struct comm *comm, const struct cores_quota *quotas)
{
    const double mine = share_of(quotas, comm->node_ranks, comm->node_rank);
    double node = 0;
    if (mine > 0) threads->own_cores = at_most(threads->own_cores, whole(mine));
    for (int rank = 0; rank < comm->node_ranks; rank++) {
        const double share = share_of(quotas, comm->node_ranks, rank);
        if (share <= 0) return; // who is not limited may use all cores
        node += share;
    }
    if (node >= threads->node_cores) return;
    threads->node_cores = whole(node);
    threads->quota = node;
}

static void count_quotas(struct threads *threads, const struct comm *comm)
{
    const struct cores_quota mine = cores_quota("");
    struct cores_quota *quotas = malloc((size_t)comm->node_ranks * sizeof *quotas);
    int all_known = quotas != NULL && threads->node_cores > 0;
    MPI_Allreduce(MPI_IN_PLACE, &all_known, 1, MPI_INT, MPI_MIN, comm->node);
    if (all_known) {
        MPI_Allgather(&mine, (int)sizeof mine, MPI_BYTE, quotas, (int)sizeof mine, MPI_BYTE, comm->node);
        cut_by_quota(threads, comm, quotas);
    }
    free(quotas);
}

struct threads threads_choose(int asked, const struct comm *comm)
{
    const char *variable = getenv("OMP_NUM_THREADS");
    struct threads made = {.per_rank = asked, .unbound = unbind()};
    count_cores(&made, comm);
    count_quotas(&made, comm);
    int share = made.node_cores > 0 ? at_most(made.own_cores, made.node_cores / comm->node_ranks)
                                    : (int)sysconf(_SC_NPROCESSORS_ONLN) / comm->node_ranks;
    if (made.per_rank < 1 && variable)
        made.per_rank = (int)strtol(variable, NULL, 10); // "4,2": the outer level
    if (made.per_rank < 1) made.per_rank = share;
    made.per_rank = made.per_rank < 1 ? 1 : at_most(made.per_rank, MAX_THREADS);
    return made;
}

// The rank with the largest number, and the lowest of several; -1 if nobody has one above 0.
static int find_worst(int number, const struct comm *comm)
{
    struct {
        int number, rank;
    } mine = {number, comm->rank}, worst;
    MPI_Allreduce(&mine, &worst, 1, MPI_2INT, MPI_MAXLOC, comm->world);
    return worst.number > 0 ? worst.rank : -1;
}

void threads_warn(const struct threads *threads, const struct comm *comm, const struct log *log)
{
    int on_node = threads->per_rank * comm->node_ranks - threads->node_cores;
    int on_own = threads->per_rank - threads->own_cores;
    const char *granted = getenv("SLURM_CPUS_PER_TASK");
    int unused = granted ? (int)strtol(granted, NULL, 10) - threads->own_cores : 0;
    if (threads->node_cores == 0) on_node = on_own = unused = 0;
    if (find_worst(on_node > on_own ? on_node : on_own, comm) == comm->rank)
        log_rank(
            log, LOG_NORMAL,
            "oversubscribed: %d ranks x %d threads on the %d cores of this node, %d for this rank; start "
            "fewer ranks, or set --threads",
            comm->node_ranks, threads->per_rank, threads->node_cores, threads->own_cores);
    if (find_worst(unused, comm) == comm->rank)
        log_rank(
            log, LOG_NORMAL,
            "bound to %d of the %s cores that Slurm gave this task; start with srun, or with mpirun --map-by "
            "slot:PE=%s",
            threads->own_cores, granted, granted);
}
