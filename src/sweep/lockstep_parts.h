// SPDX-License-Identifier: Apache-2.0
// What the files of the lockstep share: lockstep.c (lanes, layers, storing), lockstep_alone.c (layers by
// themselves), lockstep_predict.c (predictions).
#ifndef SSMSWEEP_SWEEP_LOCKSTEP_PARTS_H
#define SSMSWEEP_SWEEP_LOCKSTEP_PARTS_H

#include "lockstep.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/plan/lane.h"

// The runs of a group on their way through the model, and the samples that go together.
struct lockstep {
    const struct worker *worker;
    struct store *store;
    const float *scales;
    struct forward *forward;
    struct group_shape shape;
    struct arena arena, there; // of the host; of the backend, where that has its own
    float *no_scales;          // [n_layer][n_sites] of NaN, for runs that look at none
    uint32_t *all;             // [n_layer] every component
    struct end_of_model *ends; // of all lanes, and apart
    struct measured *found;    // [components][samples]
    uint64_t *seeds;           // [samples]
    struct group_buffers buffers;
    // the samples at work, one behind the other
    int n_lanes, n_samples, tokens;
    int *samples, *lengths, *firsts; // [samples]
    int layer;                       // that lanes go through
    struct lane *lane;               // that goes through a layer
    // What the reference left in this layer: is a component the same as the one in front of it, and what is
    // known of it or NULL.
    bool again[ARCH_MOST_COMPONENTS];
    const struct pair_known *known[ARCH_MOST_COMPONENTS];
};

static inline bool lane_is_reference(const struct lockstep *l, const struct lane *lane)
{
    return lane == &l->buffers.lanes[0];
}

static inline const struct run *run_of(const struct lockstep *l, const struct lane *lane)
{
    return &l->worker->plan->runs[lane->run];
}

// Where what is kept of a layer and component of a sample begins, in places of one component.
static inline size_t place_of(const struct lockstep *l, int sample, int layer, int component)
{
    const int components = l->worker->dims->arch->n_components;
    return (size_t)((sample * l->worker->plan->n_layer + layer) * components + component);
}

// Local, all of it.  Between two steps: false when the time of grace is over.
bool lockstep_look_around(struct scheduler *scheduler);
// scales of a run, as forward_step() takes them.
const float *lockstep_scales(const struct lockstep *l, int run);
// What a token costs in a layer.
double lockstep_step_cost(const struct lockstep *l, const struct lane *lane);

// Behind a layer that is not the first: the storing lanes by themselves, fed with the stream of the reference
// that lockstep_keep_given() kept in front of it.  False when the time of grace is over.
void lockstep_keep_given(struct lockstep *l);
bool lockstep_isolate(struct lockstep *l, struct scheduler *scheduler);

// Behind the last layer.  False when the time of grace is over.
bool lockstep_predict(struct lockstep *l, struct scheduler *scheduler);

#endif
