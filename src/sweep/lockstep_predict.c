// SPDX-License-Identifier: Apache-2.0
// Predictions: behind the last layer; those of re-runs are compared with the runs that they repeat, too.
#include <string.h>

#include "lockstep_parts.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/sweep/progress.h"

static const struct lane *same_as(const struct lane *lane)
{
    return lane->twin ? lane->twin : lane;
}

// Re-runs are compared with the runs that they repeat as well.
static bool compared_alike(const struct lane *a, const struct lane *b)
{
    if (!a->repeats || !b->repeats) return !a->repeats && !b->repeats;
    return same_as(a->repeats) == same_as(b->repeats);
}

// Predictions are made of the stream alone, in the same way for all modes: equal modes (2-0 and 0, say) share
// them.
static const struct lane *find_twin(const struct lockstep *l, const struct lane *lane)
{
    if (lane_is_reference(l, lane)) return NULL;
    for (const struct lane *other = l->buffers.lanes; other < lane; other++)
        if (other->stores && !other->twin && compared_alike(other, lane) &&
            stream_same(l->forward, &other->stream, &lane->stream, l->tokens))
            return other;
    return NULL;
}

static bool adds(const struct lane *lane)
{
    return lane->stores && !lane->twin;
}

// Something is made of its logits, if only for its re-runs.
static bool predicts(const struct lockstep *l, const struct lane *lane)
{
    if (lane_is_reference(l, lane) || adds(lane)) return true;
    for (const struct lane *other = l->buffers.lanes; other < l->buffers.lanes + l->n_lanes; other++)
        if (other->repeats == lane && adds(other)) return true;
    return false;
}

static void start_predictions(struct lockstep *l, struct lane *lane, int first, int count)
{
    const double started = progress_clock();
    stream_norm(l->forward, &lane->stream, first, count, lane->normed);
    lockstep_spend(l, lane, started, 0);
}

static float *logits_of(const struct lockstep *l, const struct lane *lane)
{
    if (lane_is_reference(l, lane)) return l->buffers.reference_logits;
    return lane->repeated ? l->buffers.repeated_logits : l->buffers.logits;
}

static double predictions_cost(const struct lockstep *l)
{
    return plan_predictions_cost(l->worker->plan, l->worker->dims);
}

// `count` tokens of a sample from its `first` on; of a device those of the next samples may be behind them,
// and then what is predicted at the end of a sample means nothing.
struct block {
    int sample, first, count;
};

static const int32_t *next_of(const struct lockstep *l, const struct block *block)
{
    return l->buffers.ids + l->firsts[block->sample] + block->first + 1;
}

// Where those of a block are made: of a device all of them are kept until it is done.
static struct prediction *made_of(const struct lockstep *l, struct prediction *made,
                                  const struct block *block)
{
    return l->shape.on_host ? made : made + l->firsts[block->sample] + block->first;
}

// A piece of the vocabulary.
static void compare_predictions(struct lockstep *l, struct lane *lane, const struct block *block,
                                int first_id)
{
    const int left = l->worker->dims->vocab_size - first_id,
              ids = left < l->shape.logits_ids ? left : l->shape.logits_ids;
    const int32_t *next = next_of(l, block);
    float *logits = logits_of(l, lane);
    const double started = progress_clock();
    head_logits(l->forward, lane->stream.rotated, lane->normed, block->count, first_id, ids, logits);
    if (lane_is_reference(l, lane)) forward_expect(l->forward, logits, block->count, ids);
    if (adds(lane))
        forward_predict(l->forward, made_of(l, lane->predictions, block), l->buffers.reference_logits, logits,
                        next, block->count, first_id, ids);
    if (adds(lane) && lane->repeats)
        forward_predict(l->forward, made_of(l, lane->predictions_apart, block), logits_of(l, lane->repeats),
                        logits, next, block->count, first_id, ids);
    lockstep_spend(l, lane, started, block->count * predictions_cost(l) * ids / l->worker->dims->vocab_size);
}

static void take_block(const struct lockstep *l, struct lane *lane, const struct block *block)
{
    const int32_t *next = next_of(l, block);
    end_of_model_take(&lane->end_of_model[block->sample], made_of(l, lane->predictions, block), next,
                      block->count);
    if (lane->repeats)
        end_of_model_take(&lane->end_apart[block->sample], made_of(l, lane->predictions_apart, block), next,
                          block->count);
}

// All lanes take a piece of the vocabulary before the next one comes.
static bool run_block(struct lockstep *l, const struct block *block, struct scheduler *scheduler)
{
    const int s = block->sample, first = l->firsts[s] + block->first;
    for (int i = 0; i < l->n_lanes; i++)
        if (predicts(l, &l->buffers.lanes[i]))
            start_predictions(l, &l->buffers.lanes[i], first, block->count);
    for (int id = 0; id < l->worker->dims->vocab_size; id += l->shape.logits_ids) {
        if (!lockstep_look_around(scheduler)) return false;
        for (int i = 0; i < l->n_lanes; i++)
            if (predicts(l, &l->buffers.lanes[i])) compare_predictions(l, &l->buffers.lanes[i], block, id);
    }
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++) {
        if (!adds(lane)) continue;
        if (l->shape.on_host) take_block(l, lane, block);
        scheduler_advance(scheduler, block->count * predictions_cost(l));
    }
    return true;
}

// From the beginning of a sample on.
static bool predict_tokens(struct lockstep *l, int sample, int predictions, struct scheduler *scheduler)
{
    const int most = l->shape.logits_tokens;
    for (int first = 0; first < predictions; first += most) {
        const int left = predictions - first;
        const struct block block = {sample, first, left < most ? left : most};
        if (!run_block(l, &block, scheduler)) return false;
    }
    return true;
}

static bool predict_all(struct lockstep *l, struct scheduler *scheduler)
{
    if (!l->shape.on_host) return predict_tokens(l, 0, l->tokens - 1, scheduler);
    for (int s = 0; s < l->n_samples; s++)
        if (!predict_tokens(l, s, l->lengths[s] - 1, scheduler)) return false;
    return true;
}

static void take_some(void *context, int part, int begin, int end)
{
    const struct lockstep *l = context;
    (void)part;
    for (int i = begin; i < end; i++) {
        struct lane *lane = &l->buffers.lanes[i / l->n_samples];
        const struct block whole = {i % l->n_samples, 0, l->lengths[i % l->n_samples] - 1};
        if (adds(lane)) take_block(l, lane, &whole);
    }
}

// What a device predicted.
static void take_rest(struct lockstep *l)
{
    enum { PARTS = 256 };
    if (l->shape.on_host) return;
    forward_collect(l->forward, 0);
    team_divide(forward_team(l->forward), PARTS, l->n_lanes * l->n_samples, 1, take_some, l);
}

static void share_predictions(const struct lockstep *l, const struct lane *lane)
{
    const size_t samples = (size_t)l->n_samples;
    if (!lane->twin) return;
    memcpy(lane->end_of_model, lane->twin->end_of_model, samples * sizeof *lane->end_of_model);
    memcpy(lane->end_apart, lane->twin->end_apart, samples * sizeof *lane->end_apart);
}

bool lockstep_predict(struct lockstep *l, struct scheduler *scheduler)
{
    bool stores = false;
    for (int i = 0; i < l->n_lanes; i++) {
        l->buffers.lanes[i].twin = find_twin(l, &l->buffers.lanes[i]);
        stores = stores || l->buffers.lanes[i].stores;
    }
    if (l->worker->plan->logits && stores && !predict_all(l, scheduler)) return false;
    if (!l->shape.on_host) lockstep_store_layers(l);
    if (l->worker->plan->logits && stores) take_rest(l);
    for (int i = 0; i < l->n_lanes; i++)
        share_predictions(l, &l->buffers.lanes[i]);
    return true;
}
