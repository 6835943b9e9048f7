// SPDX-License-Identifier: Apache-2.0
// What a rank does with an item: it runs the samples of a shard in a group of runs and stores what they show.
#ifndef SSMSWEEP_SWEEP_WORKER_H
#define SSMSWEEP_SWEEP_WORKER_H

#include "calibration.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/input/corpus.h"
#include "ssmsweep/plan/plan.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/progress.h"

// All that both phases need; borrowed.
struct worker {
    const struct comm *comm;
    const struct plan *plan;
    const struct corpus *corpus;      // evaluated
    const struct corpus *calibration; // observed
    const struct model *model;        // whose mapped embedding a pass reads; NULL: not known
    const struct dims *dims;
    const struct weights *weights; // packed; those of `forward`
    struct forward *forward;
    int threads;
    int device;         // GPU of this rank, -1: none
    int devices;        // ranks that have one
    struct device *gpu; // what is computed there (device.h); NULL: nothing
    struct stop *stop;
    const struct log *log;
};

enum { WORKER_ATTEMPTS = 3 }; // of an item that fails with STATUS_IO

// Local.  STATUS_STOPPED: the time of grace is over.
enum status worker_overdue(const struct worker *worker, struct error *err);

// Collective.  Runs and stores what the plan's items have that is not finished.
// scales[n_cells][n_layer][sites]; NULL where no run needs them.  What is finished is equal on all ranks,
// also afterwards, with what was stored.
struct sweep_count {
    long long stored; // samples of runs, on all ranks together, also after a failure
    long long failed; // those that were marked as failed
    bool ended;       // by a failure: items are left that nobody tried
};
enum status worker_sweep(const struct worker *worker, struct store *store, const float *scales,
                         struct finished *finished, struct progress *progress, struct sweep_count *count,
                         struct error *err);

#endif
