// SPDX-License-Identifier: Apache-2.0
// What a rank does with an item: observe a sample, or run the samples of a shard and store their outputs.
#ifndef SSMSWEEP_SWEEP_WORKER_H
#define SSMSWEEP_SWEEP_WORKER_H

#include "ssmsweep/base/log.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/stop.h"
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
    const struct corpus *corpus;      // evaluated
    const struct corpus *calibration; // observed
    const struct model *model;        // whose mapped embedding a pass reads; NULL: not known
    struct forward *forward;
    double percentile_alpha;
    struct stop *stop;
    const struct log *log;
};

enum { WORKER_ATTEMPTS = 3 }; // of an item that fails with STATUS_IO

// What is known of the activations.
struct observations {
    float *observed;        // [samples][n_layer][SITE_COUNT]
    unsigned char *present; // [samples]; where 0, the row above is zero
    int samples;
    // [plan->samples]; not 0: the file holds the outputs of this sample in plan->observed_run.  Those of the
    // first plan->shared_samples
    // come with their observation; what cannot be stored then is an item of the sweep as any other.  NULL:
    // none comes.
    unsigned char *outputs;
    // Samples that worker_observe() observed, and outputs that came with them, also when it failed.
    int added, outputs_added;
};

// Collective.  Observes the samples that are not present and stores each; afterwards all are present on every
// rank. `present` and `outputs` must be equal on all ranks, and are so afterwards; rows are needed on rank 0
// alone.
enum status worker_observe(const struct worker *worker, struct store *store, struct observations *known,
                           struct progress *progress, struct error *err);

// Local.  scales[n_cells][n_layer][SITE_COUNT] (caller frees), the same bits for any number of ranks.
enum status worker_scales(const struct plan *plan, const struct observations *known, float **scales,
                          struct error *err);

// Collective.  Runs and stores every item of the plan.  scales as above; NULL where no run needs them.
struct sweep_count {
    long long stored; // samples, on all ranks together, also after a failure
    long long failed; // samples that were marked as failed
    bool ended;       // by a failure: items are left that nobody tried
};
enum status worker_sweep(const struct worker *worker, struct store *store, const float *scales,
                         struct progress *progress, struct sweep_count *count, struct error *err);

#endif
