// SPDX-License-Identifier: Apache-2.0
// What memory and time a sweep takes, told beforehand from its plan.
#ifndef SSMSWEEP_PLAN_PREDICT_H
#define SSMSWEEP_PLAN_PREDICT_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/arch/model.h"
#include "ssmsweep/input/corpus.h"
#include "ssmsweep/plan/plan.h"

// Local.  Packings of the weights (enum weights_part) that the runs of a plan need.
unsigned plan_weights(const struct plan *plan, const struct model *model);
// Local.  Bytes of what so many samples show in calibration, see sweep/calibration.h.
size_t plan_observations(const struct plan *plan, int samples);

struct memory_request {
    const struct plan *plan;
    const struct model *model;
    const struct corpus *evaluation, *calibration; // calibration: no samples where it is the same text
    bool calibrates;                               // else the scales are given, or none are needed
    bool shares_weights;                           // with other ranks of the node
    int threads;                                   // of each rank
    size_t store_room_bytes;                       // store_room_bytes()
};

// Bytes beside what a rank holds after sweep_open().
struct predicted_memory {
    size_t weights; // once per node
    size_t rank;    // at the worst moment of packing, calibration and items
    size_t reader;  // of the result file, once it is open for reading
    size_t ids;     // token ids, given back before the items
};

// Local.
struct predicted_memory plan_memory(const struct memory_request *request);

// Seconds for a token: each run as it is compared, each run alone, a prediction, a sample in calibration.
struct plan_rates {
    double *compared, *alone; // [n_runs]
    double prediction, observation;
};

// Seconds on the slowest of so many ranks.
struct predicted_time {
    double calibrate, sweep;
    double item; // the longest
};

// Local.
struct predicted_time plan_time(const struct plan *plan, const struct corpus *evaluation,
                                const struct corpus *calibration, int ranks, const struct plan_rates *rates);

#endif
