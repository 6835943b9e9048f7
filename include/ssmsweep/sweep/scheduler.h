// SPDX-License-Identifier: Apache-2.0
// Hands out items 0 .. n_items-1 over the ranks, on request.  It does not know what an item does.
#ifndef SSMSWEEP_SWEEP_SCHEDULER_H
#define SSMSWEEP_SWEEP_SCHEDULER_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/sweep/comm.h"
#include "ssmsweep/sweep/progress.h"

struct scheduler; // opaque

// `run` does one item: it is called on any rank, once per item over all ranks, and calls scheduler_poll() now
// and then.
struct task {
    int n_items;
    enum status (*run)(void *context, int item, struct scheduler *scheduler, struct error *err);
    void *context;
};

// Collective.  Runs every item on some rank; rank 0 works too and answers the others from scheduler_poll().
// n_items and `run` must be equal on all ranks; progress is used on rank 0 alone.  After a failure no more
// items are handed out and all ranks return the same error.
enum status scheduler_run(const struct comm *comm, const struct task *task, struct progress *progress,
                          struct error *err);

// Local.  On rank 0: answers the ranks that wait; elsewhere nothing.
void scheduler_poll(struct scheduler *scheduler);

#endif
