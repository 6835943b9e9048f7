// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "lockstep_lane.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/compute/measure.h"

// ---- who predicts ----

static const struct lane *same_as(const struct lane *lane)
{
    return lane->twin ? lane->twin : lane;
}

static bool same_stream(const struct lockstep *l, const struct lane *a, const struct lane *b)
{
    const size_t bytes = stream_floats(l->worker->dims, l->length) * sizeof(float);
    return a->stream.rotated == b->stream.rotated && memcmp(a->stream.h, b->stream.h, bytes) == 0 &&
           memcmp(a->stream.residual, b->stream.residual, bytes) == 0;
}

// Re-runs are compared with the runs that they repeat as well.
static bool same_company(const struct lane *a, const struct lane *b)
{
    if (!a->repeats || !b->repeats) return !a->repeats && !b->repeats;
    return same_as(a->repeats) == same_as(b->repeats);
}

// Predictions are made of the stream alone, in the same way for all modes: equal modes (2-0 and 0, say) share
// them.
static const struct lane *find_twin(const struct lockstep *l, const struct lane *lane)
{
    if (lane_is_reference(l, lane)) return NULL;
    for (const struct lane *other = l->lanes; other < lane; other++)
        if (other->stores && !other->twin && same_company(other, lane) && same_stream(l, other, lane))
            return other;
    return NULL;
}

static bool adds(const struct lane *lane)
{
    return lane->stores && !lane->twin;
}

// Of its logits something is made: also where only its re-runs need them.
static bool predicts(const struct lockstep *l, const struct lane *lane)
{
    if (lane_is_reference(l, lane) || adds(lane)) return true;
    for (const struct lane *other = l->lanes; other < l->lanes + l->n_lanes; other++)
        if (other->repeats == lane && adds(other)) return true;
    return false;
}

// ---- a block of tokens ----

static void start_predictions(struct lockstep *l, struct lane *lane, int first, int count)
{
    const double started = progress_clock();
    stream_norm(l->worker->forward, &lane->stream, first, count, lane->normed);
    lane->seconds += progress_clock() - started;
}

static float *logits_of(const struct lockstep *l, const struct lane *lane)
{
    if (lane_is_reference(l, lane)) return l->reference_logits;
    return lane->repeated ? l->repeated_logits : l->logits;
}

// A piece of the vocabulary.
static void compare_predictions(struct lockstep *l, struct lane *lane, int first, int count, int first_id)
{
    const int left = l->worker->dims->vocab_size - first_id,
              ids = left < PREDICTION_PIECE ? left : PREDICTION_PIECE,
              stride = (ids + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    const int32_t *next = l->ids + first + 1;
    float *logits = logits_of(l, lane);
    const double started = progress_clock();
    head_logits(l->worker->forward, lane->stream.rotated, lane->normed, count, first_id, ids, logits);
    if (adds(lane))
        predictions_add(lane->predictions, l->reference_logits, logits, next, count, first_id, ids, stride);
    if (adds(lane) && lane->repeats)
        predictions_add(lane->predictions_apart, logits_of(l, lane->repeats), logits, next, count, first_id,
                        ids, stride);
    lane->seconds += progress_clock() - started;
}

// All lanes take a piece of the vocabulary before the next one comes.
static bool run_block(struct lockstep *l, int first, int count, struct scheduler *scheduler)
{
    for (int i = 0; i < l->n_lanes; i++)
        if (predicts(l, &l->lanes[i])) start_predictions(l, &l->lanes[i], first, count);
    for (int id = 0; id < l->worker->dims->vocab_size; id += PREDICTION_PIECE) {
        if (!lockstep_look_around(scheduler)) return false;
        for (int i = 0; i < l->n_lanes; i++)
            if (predicts(l, &l->lanes[i])) compare_predictions(l, &l->lanes[i], first, count, id);
    }
    for (struct lane *lane = l->lanes; lane < l->lanes + l->n_lanes; lane++) {
        if (!adds(lane)) continue;
        end_of_model_take(&lane->end_of_model, lane->predictions, l->ids + first + 1, count);
        if (lane->repeats)
            end_of_model_take(&lane->end_apart, lane->predictions_apart, l->ids + first + 1, count);
        scheduler_advance(scheduler, count * plan_predictions_cost(l->worker->plan, l->worker->dims));
    }
    return true;
}

bool lockstep_predict(struct lockstep *l, struct scheduler *scheduler)
{
    bool stores = false;
    for (int i = 0; i < l->n_lanes; i++) {
        l->lanes[i].twin = find_twin(l, &l->lanes[i]);
        stores = stores || l->lanes[i].stores;
    }
    const int predictions = l->worker->plan->logits && stores ? l->length - 1 : 0;
    for (int first = 0; first < predictions; first += LOGITS_TOKENS) {
        const int left = predictions - first;
        if (!run_block(l, first, left < LOGITS_TOKENS ? left : LOGITS_TOKENS, scheduler)) return false;
    }
    for (struct lane *lane = l->lanes; lane < l->lanes + l->n_lanes; lane++) {
        if (!lane->twin) continue;
        lane->end_of_model = lane->twin->end_of_model;
        lane->end_apart = lane->twin->end_apart;
    }
    return true;
}
