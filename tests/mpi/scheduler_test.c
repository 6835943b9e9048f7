// SPDX-License-Identifier: Apache-2.0
// Every item runs once, whatever the number of ranks; a failure on any of them ends the phase on all.
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "ssmsweep/sweep/scheduler.h"

struct count {
    const struct comm *comm;
    int *runs; // [n_items], how often this rank ran it
    int fail_item;
    int fail_rank;    // fails with its first item; -1: none
    int microseconds; // that an item takes
};

static void spend(int microseconds, struct scheduler *scheduler)
{
    for (int slice = 0; slice < 4; slice++) {
        struct timespec time = {.tv_nsec = microseconds * 250L};
        nanosleep(&time, NULL);
        scheduler_poll(scheduler);
    }
}

static enum status run_item(void *context, int item, struct scheduler *scheduler, struct error *err)
{
    struct count *count = context;
    count->runs[item]++;
    if (count->microseconds) spend(count->microseconds, scheduler);
    if (item == count->fail_item || count->comm->rank == count->fail_rank)
        return error_set(err, STATUS_IO, "item went wrong");
    return STATUS_OK;
}

// Runs n items and returns on each rank how often each was run over all ranks (caller frees).
static int *run_all(const struct comm *comm, int n, struct count *count, enum status expected,
                    struct error *err)
{
    struct progress progress;
    count->comm = comm;
    count->runs = calloc((size_t)n + 1, sizeof(int));
    CHECK(count->runs);
    struct task task = {.n_items = n, .run = run_item, .context = count};
    progress_start(&progress, "test", n, -1, true);
    CHECK(scheduler_run(comm, &task, &progress, err) == expected);
    if (comm->rank == 0 && expected == STATUS_OK) CHECK(progress.done == n);
    MPI_Allreduce(MPI_IN_PLACE, count->runs, n, MPI_INT, MPI_SUM, comm->world);
    return count->runs;
}

static void check_once(const struct comm *comm, int n, int microseconds)
{
    struct error err = {0};
    struct count count = {.fail_item = -1, .fail_rank = -1, .microseconds = microseconds};
    int *runs = run_all(comm, n, &count, STATUS_OK, &err);
    for (int i = 0; i < n; i++)
        CHECK(runs[i] == 1);
    free(runs);
}

static void check_failing_item(const struct comm *comm, int n, int item)
{
    struct error err = {0};
    struct count count = {.fail_item = item, .fail_rank = -1, .microseconds = 100};
    int *runs = run_all(comm, n, &count, STATUS_IO, &err);
    CHECK(strstr(err.text, "item went wrong"));
    int total = 0;
    for (int i = 0; i < n; i++) {
        CHECK(runs[i] <= 1);
        total += runs[i];
    }
    CHECK(runs[item] == 1);
    CHECK(total < n); // hand-out stopped: n is far beyond what is at work at the same time
    free(runs);
}

static void check_failing_rank(const struct comm *comm, int n, int rank)
{
    struct error err = {0};
    struct count count = {.fail_item = -1, .fail_rank = rank, .microseconds = 1000};
    free(run_all(comm, n, &count, STATUS_IO, &err));
    CHECK(rank == 0 || strncmp(err.text, "rank ", 5) == 0);
}

// Workers get their share while rank 0 is busy with long items of its own.
static void check_not_starved(const struct comm *comm)
{
    struct error err = {0};
    struct count count = {.fail_item = -1, .fail_rank = -1, .microseconds = 20000};
    count.comm = comm;
    int n = 8 * comm->ranks, mine = 0;
    count.runs = calloc((size_t)n, sizeof(int));
    CHECK(count.runs);
    struct progress progress;
    struct task task = {.n_items = n, .run = run_item, .context = &count};
    progress_start(&progress, "test", n, -1, true);
    CHECK(scheduler_run(comm, &task, &progress, &err) == STATUS_OK);
    for (int i = 0; i < n; i++)
        mine += count.runs[i];
    CHECK(mine >= 1);
    free(count.runs);
}

int main(int argc, char **argv)
{
    struct comm comm;
    struct error err = {0};
    CHECK(comm_init(&comm, &argc, &argv, &err) == STATUS_OK);
    check_once(&comm, 0, 0);
    check_once(&comm, 1, 0);
    check_once(&comm, comm.ranks - 1, 500);
    check_once(&comm, 10 * comm.ranks + 3, 200);
    check_once(&comm, 5000, 0);
    check_failing_item(&comm, 1000, 0);
    check_failing_item(&comm, 1000, 37);
    check_failing_rank(&comm, 200 * comm.ranks, 0);
    check_failing_rank(&comm, 200 * comm.ranks, comm.ranks - 1);
    check_not_starved(&comm);
    comm_finish(&comm);
    return 0;
}
