// SPDX-License-Identifier: Apache-2.0
// What a rank does with an item: observe a sample, or run the samples of a shard and store their outputs.
#ifndef SSMSWEEP_SWEEP_WORKER_H
#define SSMSWEEP_SWEEP_WORKER_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/corpus.h"
#include "ssmsweep/numerics/forward.h"
#include "ssmsweep/sweep/comm.h"
#include "ssmsweep/sweep/plan.h"
#include "ssmsweep/sweep/progress.h"
#include "ssmsweep/sweep/store.h"

// All that both phases need; borrowed.
struct worker {
    const struct comm *comm;
    const struct plan *plan;
    const struct corpus *corpus;
    const struct model *model; // whose mapped embedding a pass reads; NULL: not known
    struct forward *forward;
    double percentile_alpha;
};

// Collective.  Observes the first `samples` samples and gives all ranks scales[n_cells][n_layer][SITE_COUNT]
// (caller frees), the same bits for any number of ranks.  The same pass stores these samples of
// plan->observed_run, where there is one.
// Here and below, *stored grows by the samples that were stored on all ranks together, also after a failure.
enum status worker_calibrate(const struct worker *worker, struct store *store, int samples, float **scales,
                             struct progress *progress, long long *stored, struct error *err);

// Collective.  Runs and stores every item of the plan, but the first `observed` samples of
// plan->observed_run. scales as above; NULL where no run needs them.
enum status worker_sweep(const struct worker *worker, struct store *store, const float *scales, int observed,
                         struct progress *progress, long long *stored, struct error *err);

#endif
