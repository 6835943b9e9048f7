// SPDX-License-Identifier: Apache-2.0
// A million items that take no time: each is run once, and rank 0 receives far fewer messages than there are
// items; with items that fail, with long ones between short ones, and with one item per message.
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"
#include "ssmsweep/sweep/scheduler.h"

enum { MILLION = 1000 * 1000 };

struct count {
    const struct comm *comm;
    struct task task;
    struct progress progress;
    unsigned char *runs; // [n_items], of this rank, then of all
    bool leader_works;
    int fails_once, fails_always;    // every so many items; 0: none
    int first_long, n_long, of_long; // items that take LONG_MILLISECONDS, and those of them run here
    bool held;
    int last_item; // ends the phase: by an error, or
    bool stops;    // by a wish to stop;
    bool over;     // it was run here
    int too_many;  // items that this rank began afterwards
    struct stop stop;
};

enum { LONG_MILLISECONDS = 30 };

// Rank 0 keeps its first item until the others have done the rest: all of it went out by messages.
static void hold(struct count *count, struct scheduler *scheduler)
{
    if (count->comm->rank != 0 || count->comm->ranks == 1 || count->leader_works || count->held) return;
    count->held = true;
    while (count->progress.done < count->task.n_items - 1)
        scheduler_poll(scheduler);
}

static void take_long(struct count *count)
{
    const struct timespec time = {.tv_nsec = LONG_MILLISECONDS * 1000L * 1000L};
    nanosleep(&time, NULL);
    count->of_long++;
}

// Ends the phase with an item in the middle of a batch.
static enum status end(struct count *count, struct error *err)
{
    count->over = true;
    if (!count->stops) return error_set(err, STATUS_INTERNAL, "item cannot be helped");
    stop_note(&count->stop, SIGUSR2);
    return STATUS_OK;
}

static bool fails(const struct count *count, int item, const struct scheduler *scheduler)
{
    if (count->fails_always && item % count->fails_always == 1) return true;
    if (count->fails_once && item % count->fails_once == 2) return !scheduler_last_attempt(scheduler);
    return false;
}

static enum status run_item(void *context, int item, struct scheduler *scheduler, struct error *err)
{
    struct count *count = context;
    count->runs[item]++;
    count->too_many += count->over;
    if (count->last_item && item == count->last_item) return end(count, err);
    hold(count, scheduler);
    if (item >= count->first_long && item < count->first_long + count->n_long) take_long(count);
    return fails(count, item, scheduler) ? error_set(err, STATUS_IO, "item went wrong") : STATUS_OK;
}

// Runs the items; count->runs are those of all ranks then, on rank 0.
static void run_all(const struct comm *comm, int n, struct count *count, enum status expected)
{
    struct error err = {0};
    count->comm = comm;
    count->task.n_items = n;
    count->task.run = run_item;
    count->task.context = count;
    count->task.stop = &count->stop;
    count->stop.grace_seconds = 100;
    count->runs = calloc((size_t)n, 1);
    CHECK(count->runs);
    progress_start(&count->progress, "test", n, -1, true);
    CHECK(scheduler_run(comm, &count->task, &count->progress, &err) == expected);
    MPI_Reduce(comm->rank == 0 ? MPI_IN_PLACE : count->runs, count->runs, n, MPI_UNSIGNED_CHAR, MPI_SUM, 0,
               comm->world);
}

static void check_once(const struct count *count)
{
    for (int i = 0; count->comm->rank == 0 && i < count->task.n_items; i++)
        CHECK(count->runs[i] == 1);
}

static void check_null_items(const struct comm *comm, bool leader_works)
{
    struct count count = {.leader_works = leader_works};
    run_all(comm, MILLION, &count, STATUS_OK);
    check_once(&count);
    CHECK(count.task.done == MILLION);
    CHECK(count.task.requests < MILLION / 100);
    // A batch is never more than a share of what is left.
    CHECK(comm->ranks == 1 || leader_works || count.task.requests > 8 * comm->ranks);
    free(count.runs);
}

// The count of messages is one: without batches it is known.
static void check_one_by_one(const struct comm *comm, int n)
{
    struct count count = {.task.batch_limit = 1};
    run_all(comm, n, &count, STATUS_OK);
    check_once(&count);
    CHECK(count.task.requests == (comm->ranks == 1 ? 0 : n - 1 + comm->ranks - 1));
    free(count.runs);
}

static void check_failures(const struct comm *comm, int n)
{
    struct count count = {.task.attempts = 2, .leader_works = true, .fails_once = 1009, .fails_always = 2003};
    int given_up = 0;
    run_all(comm, n, &count, STATUS_IO);
    for (int i = 0; i < n; i++) {
        bool lost = i % count.fails_always == 1;
        given_up += lost;
        CHECK(comm->rank > 0 || count.runs[i] == (lost || i % count.fails_once == 2 ? 2 : 1));
    }
    CHECK(!count.task.ended && count.task.given_up == given_up && count.task.done == n - given_up);
    CHECK(count.task.requests < n / 10);
    free(count.runs);
}

// Batches have grown when the long items come: who gets them hands most of them back.
static void check_long_among_short(const struct comm *comm)
{
    struct count count = {.leader_works = true, .first_long = MILLION / 2, .n_long = 30};
    run_all(comm, MILLION, &count, STATUS_OK);
    check_once(&count);
    CHECK(comm->ranks == 1 || count.of_long < count.n_long);
    free(count.runs);
}

// Whoever learns of the end begins no other item of its batch, and what was not begun is not said to be done.
static void check_end(const struct comm *comm, bool stops)
{
    struct count count = {.leader_works = true, .last_item = MILLION / 2, .stops = stops};
    int done = 0;
    run_all(comm, MILLION, &count, stops ? STATUS_STOPPED : STATUS_INTERNAL);
    CHECK(count.too_many == 0);
    for (int i = 0; i < MILLION; i++)
        done += count.runs[i];
    CHECK(comm->rank > 0 || done == count.task.done + !stops);
    CHECK(count.task.done < MILLION && count.task.ended == !stops);
    free(count.runs);
}

int main(int argc, char **argv)
{
    struct comm comm;
    struct error err = {0};
    CHECK(comm_init(&comm, &argc, &argv, &err) == STATUS_OK);
    check_null_items(&comm, true);
    check_null_items(&comm, false);
    check_one_by_one(&comm, 3000);
    check_failures(&comm, 100 * 1000);
    check_long_among_short(&comm);
    check_end(&comm, false);
    check_end(&comm, true);
    comm_finish(&comm);
    return 0;
}
