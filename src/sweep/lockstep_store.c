// SPDX-License-Identifier: Apache-2.0
// What a group has computed, into the result file, which is written behind the computing.  Of a device there
// are many samples: what is measured of layers is on its way while it predicts, and nothing is waited for
// before all is.
#include "lockstep_parts.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/store/store.h"

// All samples of it.
static void fail(struct lockstep *l, struct lane *lane)
{
    lane->stores = false;
    for (int s = 0; s < l->n_samples; s++)
        store_write_cancel(l->store, lane->run, l->samples[s]);
}

void lockstep_store_output(struct lockstep *l, struct lane *lane, int layer, int component,
                           const float *values, int width)
{
    store_lend(l->store, l->shape.on_host ? NULL : forward_team(l->forward));
    for (int s = 0; s < l->n_samples && !lane->failure.status; s++)
        store_write_output(l->store, lane->run, layer, component, l->samples[s],
                           values + (long)l->firsts[s] * width, l->lengths[s], width, &lane->failure);
    store_lend(l->store, NULL);
    if (lane->failure.status) fail(l, lane);
}

// ---- the end of samples ----

static struct store_metrics of_layers(const struct lockstep *l, const struct lane *lane, int s)
{
    const struct plan *plan = l->worker->plan;
    const size_t place = place_of(l, s, 0, 0);
    return (struct store_metrics){.moments = lane->moments + place,
                                  .histogram = plan->profiles ? lane->histogram + place * PROFILE_BINS : NULL,
                                  .position =
                                      plan->profiles ? lane->position + place * PLACE_POSITIONS : NULL,
                                  .apart = lane->repeats ? lane->apart + place : NULL};
}

static void add_ends(const struct lockstep *l, const struct lane *lane, int s, struct store_metrics *metrics)
{
    const struct plan *plan = l->worker->plan;
    const bool again = lane->repeats != NULL;
    metrics->end_of_model = plan->logits ? &lane->end_of_model[s] : NULL;
    metrics->end_apart = again && plan->logits ? &lane->end_apart[s] : NULL;
    metrics->isolated = again || !plan->isolated ? NULL : lane->isolated + place_of(l, s, 0, 0);
}

// What is left of a sample; `on_host`: all of it.
static enum status end_sample(struct lockstep *l, struct lane *lane, int s)
{
    struct store_metrics metrics = {0};
    const float seconds = (float)(lane->spent * l->a_second * l->lengths[s] / l->tokens);
    if (l->shape.on_host) metrics = of_layers(l, lane, s);
    add_ends(l, lane, s, &metrics);
    if (store_write_metrics(l->store, lane->run, l->samples[s], &metrics, &lane->failure))
        return lane->failure.status;
    if (l->shape.on_host)
        return store_write_done(l->store, lane->run, l->samples[s], seconds, &lane->failure);
    return store_write_end(l->store, lane->run, l->samples[s], seconds, &lane->failure);
}

void lockstep_store_layers(struct lockstep *l)
{
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++) {
        for (int s = 0; s < l->n_samples && lane->stores && !lane->failure.status; s++) {
            const struct store_metrics metrics = of_layers(l, lane, s);
            store_write_metrics(l->store, lane->run, l->samples[s], &metrics, &lane->failure);
        }
        if (lane->stores && lane->failure.status) fail(l, lane);
    }
}

// Each step for all lanes before the next.
static void end_lane(struct lockstep *l, struct lane *lane, struct finished *finished)
{
    for (int s = 0; s < l->n_samples && !lane->failure.status; s++)
        if (end_sample(l, lane, s) == STATUS_OK && l->shape.on_host)
            finished_set(finished, lane->run, l->samples[s], true);
    if (lane->failure.status) fail(l, lane);
}

static void settle_lane(struct lockstep *l, struct lane *lane, struct finished *finished)
{
    for (int s = 0; s < l->n_samples && !lane->failure.status; s++)
        if (store_write_settle(l->store, lane->run, l->samples[s], &lane->failure) == STATUS_OK)
            finished_set(finished, lane->run, l->samples[s], true);
    if (lane->failure.status) fail(l, lane);
}

void lockstep_store(struct lockstep *l, struct finished *finished)
{
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++)
        if (lane->stores) end_lane(l, lane, finished);
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes && !l->shape.on_host;
         lane++)
        if (lane->stores) settle_lane(l, lane, finished);
}

void lockstep_cancel(struct lockstep *l)
{
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++)
        if (lane->stores) fail(l, lane);
}
