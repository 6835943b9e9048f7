// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // sched_getaffinity
#include "threads.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

enum { MAX_THREADS = 1024 };

static int at_most(int a, int b)
{
    return a < b ? a : b;
}

// Ranks may be bound to cores of their own or share all of them: the union of their masks is right for both.
static int share_of_node(const struct comm *comm)
{
    cpu_set_t mine, all;
    int known = sched_getaffinity(0, sizeof mine, &mine) == 0, all_known; // fails beyond 1024 cores
    if (!known) CPU_ZERO(&mine);
    MPI_Allreduce(&mine, &all, (int)sizeof mine, MPI_BYTE, MPI_BOR, comm->node);
    MPI_Allreduce(&known, &all_known, 1, MPI_INT, MPI_MIN, comm->node);
    if (!all_known) return (int)sysconf(_SC_NPROCESSORS_ONLN) / comm->node_ranks;
    return at_most(CPU_COUNT(&mine), CPU_COUNT(&all) / comm->node_ranks);
}

int threads_choose(int asked, const struct comm *comm)
{
    const char *variable = getenv("OMP_NUM_THREADS");
    int share = share_of_node(comm);
    int threads = asked;
    if (threads < 1 && variable) threads = (int)strtol(variable, NULL, 10); // "4,2": the outer level
    if (threads < 1) threads = share;
    return threads < 1 ? 1 : at_most(threads, MAX_THREADS);
}
