// SPDX-License-Identifier: Apache-2.0
// The runs of a group on their way through the model, for the parts of the lockstep.
#ifndef SSMSWEEP_SWEEP_LOCKSTEP_LANE_H
#define SSMSWEEP_SWEEP_LOCKSTEP_LANE_H

#include <stdbool.h>

#include "lockstep.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/measure/profile.h"
#include "ssmsweep/plan/lane.h"
#include "ssmsweep/store/store.h"

struct lockstep {
    const struct worker *worker;
    struct store *store;
    const float *scales;
    struct arena arena;
    struct lane *lanes; // the reference first, re-runs behind those that they repeat
    uint32_t *all;      // [n_layer] every component
    // Of the layer at hand, [max tokens][width]: of the reference, of the last run that is repeated, of the
    // lane at work.
    float *reference[ARCH_MOST_COMPONENTS], *repeated[ARCH_MOST_COMPONENTS], *values[ARCH_MOST_COMPONENTS];
    float *reference_logits, *repeated_logits, *logits; // [LOGITS_TOKENS][PREDICTION_PIECE]
    // the sample at work
    int n_lanes, sample, length;
    int32_t *ids;      // [max tokens]
    struct lane *lane; // that goes through a layer
};

static inline bool lane_is_reference(const struct lockstep *l, const struct lane *lane)
{
    return lane == &l->lanes[0];
}

// Between two steps: false when the time of grace is over.
static inline bool lockstep_look_around(struct scheduler *scheduler)
{
    scheduler_poll(scheduler);
    return !scheduler_overdue(scheduler);
}

// Behind the last layer: predictions of the next token, compared with those of the reference, and of re-runs
// with those of the runs that they repeat.  False when the time of grace is over.
bool lockstep_predict(struct lockstep *l, struct scheduler *scheduler);

#endif
