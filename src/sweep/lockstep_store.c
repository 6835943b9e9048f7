// SPDX-License-Identifier: Apache-2.0
// What a group has computed, into the result file.  The processor's outputs are written behind its back,
// sample by sample; of a device many samples come at once, and all threads write them.
#include "lockstep_parts.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/store/store.h"

enum { PARTS = 256 };

// All samples of it.
static void fail(struct lockstep *l, struct lane *lane)
{
    lane->stores = false;
    for (int s = 0; s < l->n_samples; s++)
        store_write_cancel(l->store, lane->run, l->samples[s]);
}

// By all threads until it is called with false.
static bool share_out(const struct lockstep *l, bool shared)
{
    return !l->shape.on_host && l->shape.threads > 1 && store_share(l->store, shared);
}

static struct error *failure_of(const struct lockstep *l, const struct lane *lane, int s)
{
    return &l->failures[(lane - l->buffers.lanes) * l->n_samples + s];
}

// ---- outputs ----

struct output {
    const struct lockstep *l;
    const struct lane *lane;
    int layer, component, width;
    const float *values;
};

static void store_output(const struct output *o, int s, struct error *err)
{
    const struct lockstep *l = o->l;
    store_write_output(l->store, o->lane->run, o->layer, o->component, l->samples[s],
                       o->values + (long)l->firsts[s] * o->width, l->lengths[s], o->width, err);
}

static void store_some_outputs(void *context, int part, int begin, int end)
{
    const struct output *o = context;
    (void)part;
    for (int s = begin; s < end; s++) {
        struct error *err = failure_of(o->l, o->lane, s);
        *err = (struct error){0};
        store_output(o, s, err);
    }
}

void lockstep_store_output(struct lockstep *l, struct lane *lane, int layer, int component,
                           const float *values, int width)
{
    struct output o = {l, lane, layer, component, width, values};
    const bool shared = share_out(l, true);
    if (shared) {
        team_divide(forward_team(l->forward), PARTS, l->n_samples, 1, store_some_outputs, &o);
        share_out(l, false);
    }
    for (int s = 0; s < l->n_samples && !lane->failure.status; s++)
        if (shared)
            lane->failure = *failure_of(l, lane, s);
        else
            store_output(&o, s, &lane->failure);
    if (lane->failure.status) fail(l, lane);
}

// ---- the end of samples ----

static enum status store_sample(const struct lockstep *l, const struct lane *lane, int s, struct error *err)
{
    const struct plan *plan = l->worker->plan;
    const size_t place = place_of(l, s, 0, 0);
    const bool again = lane->repeats != NULL;
    const struct store_metrics metrics = {
        .moments = lane->moments + place,
        .histogram = plan->profiles ? lane->histogram + place * PROFILE_BINS : NULL,
        .position = plan->profiles ? lane->position + place * PLACE_POSITIONS : NULL,
        .end_of_model = plan->logits ? &lane->end_of_model[s] : NULL,
        .apart = again ? lane->apart + place : NULL,
        .end_apart = again && plan->logits ? &lane->end_apart[s] : NULL,
        .isolated = again || !plan->isolated ? NULL : lane->isolated + place};
    const double seconds = lane->spent * l->a_second * l->lengths[s] / l->tokens;
    if (store_write_metrics(l->store, lane->run, l->samples[s], &metrics, err)) return err->status;
    return store_write_done(l->store, lane->run, l->samples[s], (float)seconds, err);
}

static void store_some(void *context, int part, int begin, int end)
{
    const struct lockstep *l = context;
    (void)part;
    for (int i = begin; i < end; i++) {
        const struct lane *lane = &l->buffers.lanes[i / l->n_samples];
        l->failures[i] = (struct error){0};
        if (lane->stores) store_sample(l, lane, i % l->n_samples, &l->failures[i]);
    }
}

static void store_lane(struct lockstep *l, struct lane *lane, bool shared, struct finished *finished)
{
    for (int s = 0; s < l->n_samples && !lane->failure.status; s++) {
        if (shared)
            lane->failure = *failure_of(l, lane, s);
        else
            store_sample(l, lane, s, &lane->failure);
        if (!lane->failure.status) finished_set(finished, lane->run, l->samples[s], true);
    }
    if (lane->failure.status) fail(l, lane);
}

void lockstep_store(struct lockstep *l, struct finished *finished)
{
    const bool shared = share_out(l, true);
    if (shared) {
        team_divide(forward_team(l->forward), PARTS, l->n_lanes * l->n_samples, 1, store_some, l);
        share_out(l, false);
    }
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++)
        if (lane->stores) store_lane(l, lane, shared, finished);
}

void lockstep_cancel(struct lockstep *l)
{
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++)
        if (lane->stores) fail(l, lane);
}
