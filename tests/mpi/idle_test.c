// SPDX-License-Identifier: Apache-2.0
// Ranks that wait leave the cores to those that compute: for a long item, for a rank that comes late to an
// agreement, for one that still packs.
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "check.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/sweep/scheduler.h"

static const double LONG_SECONDS = 0.8,
                    MOST_IDLE =
                        0.5; // share of the wait that waiting may cost; a spinning rank costs all of it
enum { TRIES = 3 };          // a busy machine may make one look expensive

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void sleep_long(void)
{
    struct timespec time = {.tv_nsec = (long)(LONG_SECONDS * 1e9)};
    nanosleep(&time, NULL);
}

// The rank that has the item sleeps as well, so that nobody has a reason to use a core.
static enum status run_item(void *context, int item, struct scheduler *scheduler, struct error *err)
{
    (void)context, (void)item, (void)scheduler, (void)err;
    sleep_long();
    return STATUS_OK;
}

// Waits until one time is cheap enough on each rank.
static void check_idle(const struct comm *comm, const char *what, double (*wait)(const struct comm *comm))
{
    double most = 0;
    for (int tries = 0; tries < TRIES; tries++) {
        double used = wait(comm);
        MPI_Allreduce(&used, &most, 1, MPI_DOUBLE, MPI_MAX, comm->world);
        if (most <= MOST_IDLE * LONG_SECONDS) return;
    }
    if (comm->rank == 0)
        printf("a rank used %.3f s of CPU while it waited %.1f s for %s\n", most, LONG_SECONDS, what);
    exit(1);
}

static double wait_for_item(const struct comm *comm)
{
    struct task task = {.n_items = 1, .run = run_item};
    struct progress progress;
    struct error err = {0};
    double before = cpu_seconds();
    progress_start(&progress, "test", 1, -1, true);
    CHECK(scheduler_run(comm, &task, &progress, &err) == STATUS_OK);
    return cpu_seconds() - before;
}

static double wait_for_agreement(const struct comm *comm)
{
    struct error err = {0};
    double before = cpu_seconds();
    if (comm->rank == comm->ranks - 1) sleep_long();
    CHECK(comm_agree(comm, &err) == STATUS_OK);
    return cpu_seconds() - before;
}

static double wait_for_fence(const struct comm *comm)
{
    struct node_block block = {0};
    struct error err = {0};
    CHECK(node_block_open(&block, comm, 4096, &err) == STATUS_OK);
    CHECK(comm_agree(comm, &err) == STATUS_OK);
    double before = cpu_seconds();
    if (comm->node_rank == 0) sleep_long();
    node_block_fence(&block, comm);
    double used = cpu_seconds() - before;
    node_block_close(&block);
    return used;
}

int main(int argc, char **argv)
{
    struct comm comm;
    struct error err = {0};
    CHECK(comm_init(&comm, &argc, &argv, &err) == STATUS_OK);
    check_idle(&comm, "an item", wait_for_item);
    check_idle(&comm, "an agreement", wait_for_agreement);
    check_idle(&comm, "a fence", wait_for_fence);
    comm_finish(&comm);
    return 0;
}
