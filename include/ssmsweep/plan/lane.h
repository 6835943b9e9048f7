// SPDX-License-Identifier: Apache-2.0
// What a run holds in memory while a sample goes through the model: its streams, and what is measured of it.
#ifndef SSMSWEEP_PLAN_LANE_H
#define SSMSWEEP_PLAN_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/measure/profile.h"
#include "ssmsweep/plan/plan.h"

enum { LOGITS_TOKENS = 64, PLACE_POSITIONS = 2 * PROFILE_POSITIONS };

// What is stored of a run, see struct store_metrics; `apart` of a noisy re-run alone: against the run that it
// repeats.
struct lane {
    int run;
    bool stores; // else others need it, or its failure is set
    struct error failure;
    struct stream stream;
    double seconds;
    const struct lane *repeats; // of a re-run: in front of it
    bool repeated;              // by a re-run that stores
    struct accumulator *moments, *apart;
    uint32_t *histogram;
    double *position;
    struct end_of_model end_of_model, end_apart;
    float *normed;                                      // [LOGITS_TOKENS][D rounded up to 16]
    struct prediction *predictions, *predictions_apart; // [LOGITS_TOKENS]
    const struct lane *twin; // in front of it, with the same stream behind the last layer; NULL: none
};

// Local.  Takes the buffers of a lane from the arena, or measures them where the arena does.
void lane_carve(struct lane *lane, struct arena *arena, const struct plan *plan, const struct dims *dims,
                int max_tokens);
size_t lane_bytes(const struct plan *plan, const struct dims *dims, int max_tokens);

#endif
