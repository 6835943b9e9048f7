// SPDX-License-Identifier: Apache-2.0
// Every item runs once, whatever the number of ranks; what fails is tried again elsewhere, and what cannot be
// helped, or a wish to stop on any rank, ends the phase on all.
//
// Ranks may be kept from running for any time: what must come first is waited for, and where an end must come
// before all is done, there is far too much to do.
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "check.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/sweep/scheduler.h"

enum { MOST = 16, FAR_TOO_MANY = 100 * 1000, MOST_SECONDS = 300 };

// Of all ranks, in memory that they share.
struct seen {
    atomic_int begun[MOST]; // items of each rank in this phase
    atomic_int good;        // items that did not fail
};

struct count {
    const struct comm *comm;
    struct seen *seen;
    int awaited; // nobody ends its first item before rank awaited - 1 has begun one; 0: nobody, ALL
    int *runs;   // [n_items], how often this rank ran it
    int fail_item;
    int fail_rank;  // fails with every item; -1: none
    int fail_times; // of fail_item; 0: always
    int attempts;
    enum status failure; // 0: STATUS_IO
    bool patient;        // before an item fails, another one succeeds, if it can
    bool final;          // the failure says that nothing else can succeed
    int stop_rank;       // is told to stop in its first item; 0: none, rank 0 itself is 1 and so on
    int microseconds;    // that an item takes
    int mine;            // items that this rank ran
    struct task task;
    struct stop stop;
};

enum { ALL = -1 };

static void spend_slice(int microseconds, struct scheduler *scheduler)
{
    struct timespec time = {.tv_nsec = microseconds * 1000L};
    nanosleep(&time, NULL);
    scheduler_poll(scheduler);
}

static void spend(int microseconds, struct scheduler *scheduler)
{
    for (int slice = 0; slice < 4; slice++)
        spend_slice(microseconds / 4, scheduler);
}

static bool all_here(const struct count *count)
{
    for (int rank = 0; rank < count->comm->ranks; rank++)
        if ((count->awaited == ALL || count->awaited == rank + 1) && !count->seen->begun[rank]) return false;
    return true;
}

// As in a long item: rank 0 hands out all the while.
static void wait_for_others(const struct count *count, struct scheduler *scheduler)
{
    const double start = progress_clock();
    while (!all_here(count)) {
        CHECK(progress_clock() - start < MOST_SECONDS);
        spend_slice(1000, scheduler);
    }
}

// So that one bad rank does not fail so often in a row that the phase ends: the others may be kept from
// running.  Bounded, as nothing may be left to succeed.
static void wait_for_a_good_one(const struct count *count, struct scheduler *scheduler)
{
    const int before = count->seen->good;
    const double start = progress_clock();
    while (count->seen->good == before && progress_clock() - start < 0.5)
        spend_slice(1000, scheduler);
}

static enum status run_item(void *context, int item, struct scheduler *scheduler, struct error *err)
{
    struct count *count = context;
    count->runs[item]++;
    count->seen->begun[count->comm->rank]++;
    wait_for_others(count, scheduler);
    if (count->comm->rank + 1 == count->stop_rank) stop_note(&count->stop, SIGUSR2);
    if (count->microseconds) spend(count->microseconds, scheduler);
    if (scheduler_overdue(scheduler)) return error_set(err, STATUS_STOPPED, "no time left");
    bool fails = item == count->fail_item && (count->fail_times < 0 || count->fail_times-- > 0);
    if (!fails && count->comm->rank != count->fail_rank) {
        count->seen->good++;
        return STATUS_OK;
    }
    if (count->patient) wait_for_a_good_one(count, scheduler);
    if (count->final) scheduler_end(scheduler);
    return error_set(err, count->failure ? count->failure : STATUS_IO, "item went wrong");
}

// Runs n items and returns on each rank how often each was run over all ranks (caller frees).
static int *run_all(const struct comm *comm, int n, struct count *count, enum status expected,
                    struct error *err)
{
    struct progress progress;
    struct node_block block = {0};
    count->comm = comm;
    count->runs = calloc((size_t)n + 1, sizeof(int));
    CHECK(count->runs && comm->ranks <= MOST && comm->node_ranks == comm->ranks);
    CHECK(node_block_open(&block, comm, sizeof *count->seen, err) == STATUS_OK);
    CHECK(comm_agree(comm, err) == STATUS_OK);
    count->seen = block.memory;
    count->task = (struct task){
        .n_items = n, .attempts = count->attempts, .run = run_item, .context = count, .stop = &count->stop};
    progress_start(&progress, "test", n, -1, true);
    CHECK(scheduler_run(comm, &count->task, &progress, err) == expected);
    if (comm->rank == 0 && expected == STATUS_OK) CHECK(progress.done == n);
    count->mine = 0;
    for (int i = 0; i < n; i++)
        count->mine += count->runs[i];
    MPI_Allreduce(MPI_IN_PLACE, count->runs, n, MPI_INT, MPI_SUM, comm->world);
    node_block_fence(&block, comm);
    node_block_close(&block);
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
    struct count count = {.fail_item = item,
                          .fail_rank = -1,
                          .fail_times = -1,
                          .microseconds = 100,
                          .failure = STATUS_INTERNAL};
    int *runs = run_all(comm, n, &count, STATUS_INTERNAL, &err);
    CHECK(count.task.ended);
    CHECK(strstr(err.text, "item went wrong"));
    int total = 0;
    for (int i = 0; i < n; i++) {
        CHECK(runs[i] <= 1);
        total += runs[i];
    }
    CHECK(runs[item] == 1);
    CHECK(total < n); // hand-out stopped
    free(runs);
}

// STATUS_IO is tried again: by another rank, as often as was asked for; then the rest is done.
static void check_attempts(const struct comm *comm, int n, int item, int fail_times)
{
    struct error err = {0};
    struct count count = {.fail_item = item,
                          .fail_rank = -1,
                          .fail_times = fail_times, // of each rank
                          .attempts = 3,
                          .microseconds = 100};
    bool helps = fail_times == 1; // another rank fails once too, and there may be only one rank
    int *runs = run_all(comm, n, &count, helps && comm->ranks <= 2 ? STATUS_OK : STATUS_IO, &err);
    CHECK(!count.task.ended && count.task.given_up == (err.status != 0));
    CHECK(count.task.done == n - count.task.given_up);
    for (int i = 0; i < n; i++)
        CHECK(runs[i] == (i != item ? 1 : helps && comm->ranks == 1 ? 2 : 3));
    free(runs);
}

// Retries go elsewhere: one bad rank spoils nothing.
static void check_bad_rank(const struct comm *comm, int n, int rank)
{
    struct error err = {0};
    struct count count = {
        .fail_item = -1, .fail_rank = rank, .attempts = 3, .microseconds = 2000, .patient = true};
    if (comm->ranks == 1) return;
    free(run_all(comm, n, &count, STATUS_OK, &err));
    CHECK(count.task.done == n && count.task.given_up == 0);
}

// Where nothing succeeds, not every item is tried.
static void check_all_bad(const struct comm *comm, int n, bool final)
{
    struct error err = {0};
    struct count count = {.fail_item = -1, .fail_rank = comm->rank, .attempts = 3, .final = final};
    int *runs = run_all(comm, n, &count, STATUS_IO, &err), total = 0;
    for (int i = 0; i < n; i++)
        total += runs[i];
    CHECK(count.task.ended && total < (final ? 2 : 5) * comm->ranks + 12);
    free(runs);
}

// Whoever is told to stop, all stop; what runs may end, if it has the time.
static void check_stop(const struct comm *comm, int n, int rank, double grace)
{
    struct error err = {0};
    struct count count = {.fail_item = -1, .fail_rank = -1, .stop_rank = rank + 1, .microseconds = 2000};
    count.stop.grace_seconds = grace;
    int *runs = run_all(comm, n, &count, STATUS_STOPPED, &err), total = 0;
    CHECK(strstr(err.text, "SIGUSR2") && count.stop.signal == SIGUSR2);
    for (int i = 0; i < n; i++)
        total += runs[i];
    CHECK(total < n);
    CHECK(grace > 0 ? count.task.done == total : count.task.done < total);
    free(runs);
}

static void check_failing_rank(const struct comm *comm, int n, int rank)
{
    struct error err = {0};
    struct count count = {.fail_item = -1, .fail_rank = rank, .microseconds = 1000, .awaited = rank + 1};
    free(run_all(comm, n, &count, STATUS_IO, &err));
    CHECK(rank == 0 || strncmp(err.text, "rank ", 5) == 0);
}

// Workers get their share while rank 0 is busy with long items of its own.
static void check_not_starved(const struct comm *comm)
{
    struct error err = {0};
    struct count count = {.fail_item = -1, .fail_rank = -1, .microseconds = 1000, .awaited = ALL};
    free(run_all(comm, 8 * comm->ranks, &count, STATUS_OK, &err));
    CHECK(count.mine >= 1);
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
    check_failing_item(&comm, FAR_TOO_MANY, 0);
    check_failing_item(&comm, FAR_TOO_MANY, 37);
    check_failing_rank(&comm, 200 * comm.ranks, 0);
    check_failing_rank(&comm, 200 * comm.ranks, comm.ranks - 1);
    check_attempts(&comm, 60, 7, -1);
    if (comm.ranks <= 2) check_attempts(&comm, 60, 7, 1); // else the third attempt may be the first rank's
    check_attempts(&comm, 1, 0, -1);
    check_bad_rank(&comm, 20 * comm.ranks, 0);
    check_bad_rank(&comm, 20 * comm.ranks, comm.ranks - 1);
    check_all_bad(&comm, 1000, false);
    check_all_bad(&comm, 1000, true);
    check_stop(&comm, FAR_TOO_MANY, 0, 100);
    check_stop(&comm, FAR_TOO_MANY, comm.ranks - 1, 100);
    check_stop(&comm, FAR_TOO_MANY, 0, 0);
    check_stop(&comm, FAR_TOO_MANY, comm.ranks - 1, 0);
    check_not_starved(&comm);
    comm_finish(&comm);
    return 0;
}
