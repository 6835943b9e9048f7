// SPDX-License-Identifier: Apache-2.0
// Hands out items 0 .. n_items-1 over the ranks, on request, in batches of neighbours: long items one by one,
// short ones so that a batch takes about 50 ms, fewer towards the end.  It does not know what an item does.
// Nothing is kept for each item, on no rank.  src/sweep/batches.h describes the messages.
#ifndef SSMSWEEP_SWEEP_SCHEDULER_H
#define SSMSWEEP_SWEEP_SCHEDULER_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/sweep/progress.h"

struct scheduler; // opaque

// `run` does one item, on any rank, and calls scheduler_poll() now and then.  An item that fails with
// STATUS_IO is tried again, by another rank where there is one, up to `attempts` times in all; every other
// status ends the phase.
struct task {
    int n_items;
    int attempts;    // 0 is 1
    int batch_limit; // most items at once; 0: as many as are good
    enum status (*run)(void *context, int item, struct scheduler *scheduler, struct error *err);
    // NULL, or for this rank, where items side by side are faster than one by one: does items first .. first
    // + count - 1, or fails, and then `run` has each of them; so many are worth their while.
    bool (*run_many)(void *context, int first, int count, struct scheduler *scheduler);
    int together;
    int together_ranks; // that have run_many, about; equal on all ranks
    void *context;
    struct stop *stop;     // may be NULL
    const struct log *log; // may be NULL; speaks of items that are tried again
    // Set by scheduler_run(), the same on all ranks:
    int done, given_up; // items; given up were those that failed in every attempt
    bool ended;         // by a failure that attempts did not help
    long long requests; // messages that rank 0 received
};

// Collective.  Runs every item on some rank; rank 0 works too and answers the others from scheduler_poll().
// n_items, attempts, batch_limit and `run` must be equal on all ranks; progress is used on rank 0 alone.  All
// ranks return the same.  STATUS_STOPPED: a rank was told to stop, and items are left.  An item that was
// given up is an error, after all others were done; so is a failure that ended the phase early.
enum status scheduler_run(const struct comm *comm, struct task *task, struct progress *progress,
                          struct error *err);

// Local.  On rank 0: answers the ranks that wait.  Elsewhere: hears of and tells about wishes to stop.
void scheduler_poll(struct scheduler *scheduler);

// Local, inside `run`: so much of the item is done, in the unit of progress->all_work; for time left alone.
void scheduler_advance(struct scheduler *scheduler, double work);
// Local, at the end of `run`: the item as a whole was so much, whatever was said before.
void scheduler_complete(struct scheduler *scheduler, double work);

// Local, inside `run`: the time of grace is over; the item is to return STATUS_STOPPED.
bool scheduler_overdue(struct scheduler *scheduler);

// Local, inside `run`: is this the last attempt of the item?  If not, another follows where it fails.
bool scheduler_last_attempt(const struct scheduler *scheduler);

// Local, inside `run` before it returns an error: no other attempt and no other item can succeed.
void scheduler_end(struct scheduler *scheduler);
bool scheduler_ends(const struct scheduler *scheduler); // that was said of the item at work

#endif
