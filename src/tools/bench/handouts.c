// SPDX-License-Identifier: Apache-2.0
#include "handouts.h"

#include <stdio.h>
#include <time.h>

#include "measure.h"
#include "ssmsweep/sweep/scheduler.h"

enum {
    ITEMS = 1000 * 1000,
    ITEMS_ONE_BY_ONE = ITEMS / 20, // a message each
    SHORT = 100,                   // so many times fewer where a measurement is to be short
    REPEATS = 3,
    POLLS_BEFORE_NAP = 50,
    NAP_NANOSECONDS = 100 * 1000
};

struct null_items {
    const struct comm *comm;
    struct task task;
    struct progress progress;
    bool leader_works, held;
};

// Rank 0's item takes until the others have done the rest, as if it were long, but computes nothing.
static void hold(struct null_items *null, struct scheduler *scheduler)
{
    const struct timespec nap = {.tv_nsec = NAP_NANOSECONDS};
    null->held = true;
    for (int in_vain = 0; null->progress.done < null->task.n_items - 1; in_vain++) {
        int before = null->progress.done;
        scheduler_poll(scheduler);
        if (null->progress.done > before) in_vain = 0;
        if (in_vain >= POLLS_BEFORE_NAP) nanosleep(&nap, NULL);
    }
}

static enum status run_item(void *context, int item, struct scheduler *scheduler, struct error *err)
{
    struct null_items *null = context;
    (void)item;
    if (null->comm->rank == 0 && !null->leader_works && !null->held) hold(null, scheduler);
    return err->status;
}

// Keeps the best of the runs in *row.
static enum status run_once(struct handout_row *row, const struct comm *comm, struct error *err)
{
    struct null_items null = {.comm = comm, .leader_works = row->leader_works};
    null.task = (struct task){
        .n_items = row->items, .batch_limit = row->batch_limit, .run = run_item, .context = &null};
    progress_start(&null.progress, "null items", row->items, -1, true);
    const double started = clock_seconds(), used = processor_seconds();
    if (scheduler_run(comm, &null.task, &null.progress, err)) return err->status;
    const double seconds = clock_seconds() - started;
    if (row->runs++ == 0 || seconds < row->seconds) {
        row->seconds = seconds;
        row->leader_seconds = processor_seconds() - used;
        row->requests = null.task.requests;
    }
    return STATUS_OK;
}

// ---- what is printed ----

static const char *leader_name(const struct handout_row *row)
{
    return row->leader_works ? "works" : "hands out";
}

static const char *batch_name(const struct handout_row *row)
{
    return row->batch_limit == 1 ? "one" : "chosen";
}

static void print_title(void)
{
    printf("\nHand-out: items that do nothing; rank 0 only hands out, or works as well\n"
           "%-10s %-7s %5s %9s %9s %9s %12s %14s\n",
           "rank 0", "batch", "ranks", "items", "messages", "s", "items/s", "rank 0 ns/item");
    fflush(stdout);
}

static void print_row(const struct handout_row *row)
{
    printf("%-10s %-7s %5d %9d %9lld %9.4f %12.0f %14.1f\n", leader_name(row), batch_name(row), row->ranks,
           row->items, row->requests, row->seconds, row->items / row->seconds,
           1e9 * row->leader_seconds / row->items);
    fflush(stdout);
}

void handouts_put_json(const struct handout_rows *rows, struct json_writer *writer)
{
    json_begin_array(writer, "hand_outs");
    for (const struct handout_row *row = rows->items; row < rows->items + rows->count; row++) {
        json_begin_object(writer, NULL);
        json_put_string(writer, "rank_0", leader_name(row));
        json_put_string(writer, "batch", batch_name(row));
        json_put_integer(writer, "ranks", row->ranks);
        json_put_integer(writer, "items", row->items);
        json_put_integer(writer, "runs", row->runs);
        json_put_integer(writer, "messages", row->requests);
        json_put_double(writer, "seconds", row->seconds);
        json_put_double(writer, "items_per_second", row->items / row->seconds);
        json_put_double(writer, "rank_0_processor_seconds", row->leader_seconds);
        json_end_object(writer);
    }
    json_end_array(writer);
}

enum status handouts_measure(struct handout_rows *rows, const struct job *job, const struct comm *comm,
                             struct error *err)
{
    const bool quick = job->bench_seconds < 0.5, print = comm->rank == 0 && job->verbosity != LOG_QUIET;
    if (print) print_title();
    rows->count = 0;
    for (int r = 0; r < HANDOUT_ROWS; r++) {
        const bool one = r % 2 == 1;
        struct handout_row *row = &rows->items[r];
        *row = (struct handout_row){.leader_works = r >= 2,
                                    .batch_limit = one,
                                    .ranks = comm->ranks,
                                    .items = (one ? ITEMS_ONE_BY_ONE : ITEMS) / (quick ? SHORT : 1)};
        for (int i = 0; i < (quick ? 1 : REPEATS); i++)
            if (run_once(row, comm, err)) return err->status;
        rows->count++;
        if (print) print_row(row);
    }
    return STATUS_OK;
}
