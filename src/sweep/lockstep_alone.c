// SPDX-License-Identifier: Apache-2.0
// A layer by itself: what comes in is the reference's stream, so no error of the layers before.
#include <string.h>

#include "lockstep_parts.h"
#include "ssmsweep/forward/forward.h"

static bool is_rotated(const struct lockstep *l, const struct lane *lane)
{
    return !recipe_is_float(run_of(l, lane)->recipe);
}

// The reference's stream before it goes through the layer, in the bases that are needed.
void lockstep_keep_given(struct lockstep *l)
{
    const struct lane *reference = &l->buffers.lanes[0];
    bool needed[2] = {false, false};
    for (const struct lane *lane = reference; lane < reference + l->n_lanes; lane++)
        if (lane->stores && !lane->repeats) needed[is_rotated(l, lane)] = true;
    for (int rotated = 0; rotated < 2; rotated++) {
        l->buffers.given[rotated].rotated = rotated;
        if (needed[rotated])
            stream_turn(l->forward, &reference->stream, &l->buffers.given[rotated], l->tokens);
    }
}

static bool take_alone(void *context, int layer, int component, const float *values, int length, int width)
{
    struct lockstep *l = context;
    (void)layer;
    if (measures_at_once(&l->shape))
        lockstep_measure(l, MEASURED_ALONE, component, 1, &values);
    else if (l->shape.on_host)
        memcpy(l->buffers.values[component], values, (size_t)length * (size_t)width * sizeof *values);
    return true;
}

static float *place_alone(void *context, int component)
{
    return ((const struct lockstep *)context)->buffers.values[component];
}

static void step_alone(struct lockstep *l, struct lane *lane)
{
    const struct capture capture = {
        .want = l->all, .place = l->shape.on_host ? NULL : place_alone, .take = take_alone, .context = l};
    struct stream *alone = &l->buffers.alone;
    const float *values[ARCH_MOST_COMPONENTS];
    stream_copy(l->forward, &l->buffers.given[is_rotated(l, lane)], alone, l->tokens);
    l->lane = lane;
    forward_set_dither(l->forward, 0);
    forward_step(l->forward, alone, run_of(l, lane)->recipe, lockstep_scales(l, lane->run), l->layer,
                 l->tokens, &capture, NULL);
    if (measures_at_once(&l->shape)) return;
    memcpy(values, l->buffers.values, sizeof values);
    lockstep_measure(l, MEASURED_ALONE, 0, l->worker->dims->arch->n_components, values);
}

// What is known of the layer by itself: of the first layer, and of the reference, what was measured already;
// else of a lane in front of it with the same setting.  NULL: nothing.
static const struct accumulator *known_alone(const struct lockstep *l, const struct lane *lane)
{
    if (l->layer == 0 || lane_is_reference(l, lane)) return lane->moments;
    for (const struct lane *other = l->buffers.lanes; other < lane; other++)
        if (other->stores && !other->repeats &&
            plan_same_layer(l->worker->plan, other->run, lane->run, l->layer))
            return other->isolated;
    return NULL;
}

bool lockstep_isolate(struct lockstep *l, struct scheduler *scheduler)
{
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++) {
        if (!lane->stores || lane->repeats) continue;
        const struct accumulator *known = known_alone(l, lane);
        if (known) {
            lockstep_know(l, lane, known);
            continue;
        }
        if (!lockstep_look_around(scheduler)) return false;
        const double started = progress_clock();
        step_alone(l, lane);
        const double cost = l->tokens * lockstep_step_cost(l, lane);
        lockstep_spend(l, lane, started, cost);
        scheduler_advance(scheduler, cost);
    }
    return true;
}
