// SPDX-License-Identifier: Apache-2.0
// What a group of runs holds in memory while samples go through the model: of each run its streams and
// what is measured, of the layer at hand the outputs.
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

// How much goes through the model at once: samples of so many tokens together; and of the predictions.
struct group_shape {
    int samples, max_tokens, threads;
    int logits_tokens, logits_ids;
    bool on_host; // computed in memory of the host
};
// One sample, on the processor.
static inline struct group_shape group_shape_of(int max_tokens, int threads)
{
    const int most = LOGITS_TOKENS * threads, tokens = most < max_tokens ? most : max_tokens;
    return (struct group_shape){
        1, max_tokens, threads, tokens > LOGITS_TOKENS ? tokens : LOGITS_TOKENS, PREDICTION_PIECE, true};
}

// What is stored of a run, see struct store_metrics; `apart` of a noisy re-run alone: against the run that it
// repeats.
struct lane {
    int run;
    bool stores; // else others need it, or its failure is set
    struct error failure;
    struct stream stream;
    double spent; // seconds, or of a device what it costs
    // The lane in front of it that it is the same as in the layers before `fork`, which go through that one
    // alone; NULL: it goes through every layer.
    const struct lane *follows;
    int fork;
    bool needed;                // by others, in the layer at hand
    bool followed;              // by others, in the layer at hand
    const struct lane *repeats; // of a re-run: in front of it
    bool repeated;              // by a re-run that stores
    // Each [samples] times what struct store_metrics has of one.
    struct accumulator *moments, *apart;
    struct accumulator *isolated; // of each layer by itself; NULL where the plan has none
    uint32_t *histogram;          // and position: only where the plan keeps profiles
    double *position;
    struct end_of_model *end_of_model, *end_apart;      // [samples], not of the arenas
    float *normed;                                      // [logits_tokens][D rounded up to 16]
    struct prediction *predictions, *predictions_apart; // [logits_tokens], of a device [max_tokens]
    const struct lane *twin; // in front of it, with the same stream behind the last layer; NULL: none
};

size_t lane_bytes(const struct plan *plan, const struct dims *dims, int max_tokens); // local

// All buffers of a rank.  Outputs are those of the layer at hand, [max tokens][width]: of the reference, of
// the last run that is repeated, of the lane at work (NULL where it is measured at once).  Outputs, streams,
// what is normed and logits are in memory of the backend.
struct group_buffers {
    struct lane *lanes; // the reference first, re-runs behind those that they repeat
    float *reference[ARCH_MOST_COMPONENTS], *repeated[ARCH_MOST_COMPONENTS], *values[ARCH_MOST_COMPONENTS];
    struct pair_known
        *known[ARCH_MOST_COMPONENTS]; // [blocks] of the reference, where outputs are measured at once
    // Where layers are computed by themselves: the reference's stream in front of the layer at hand, as it is
    // and turned into the rotated basis (at 1), and the one that goes through it.
    struct stream given[2], alone;
    float *reference_logits, *repeated_logits, *logits; // [logits_tokens][logits_ids rounded up to 16]
    int32_t *ids;                                       // [max tokens]
};

// The threads of a rank measure what they are given while that is in their caches.
static inline bool measures_at_once(const struct group_shape *shape)
{
    return shape->on_host;
}

// Local.  Is it the first run of the group that repeats what it repeats?  A run repeats itself.
bool group_is_first_of(const struct plan *plan, const struct group *group, int member);
int group_most_lanes(
    const struct plan *plan); // local; of the largest group: reference, runs, what they repeat

// Local.  Takes the buffers from the arenas, or measures them where those do or buffers->lanes is NULL;
// `there` is in memory of the backend, the same as `arena` where that is the host's.
void group_buffers_carve(struct group_buffers *buffers, struct arena *arena, struct arena *there,
                         const struct plan *plan, const struct dims *dims, const struct group_shape *shape);
// What they take on the processor.
size_t group_buffers_bytes(const struct plan *plan, const struct dims *dims, int max_tokens, int threads);

#endif
