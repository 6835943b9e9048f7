// SPDX-License-Identifier: Apache-2.0
// What the files of the lockstep share: lockstep.c (lanes, layers), lockstep_measure.c (what is
// measured of them), lockstep_store.c (storing), lockstep_alone.c (layers by themselves), lockstep_predict.c
// (predictions).
#ifndef SSMSWEEP_SWEEP_LOCKSTEP_PARTS_H
#define SSMSWEEP_SWEEP_LOCKSTEP_PARTS_H

#include "lockstep.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/plan/lane.h"

enum measured_as {
    MEASURED_AGAINST, // the reference
    MEASURED_APART,   // a re-run against what it repeats
    MEASURED_ALONE,   // a layer by itself
    MEASURED_KNOWN,   // a layer by itself of which it is known already
    MEASURED_SHARED   // what was measured of a lane, by those that follow it
};
// Begun: components first .. first + count - 1 of a lane in a layer; count 0 of the last two.
struct measuring {
    enum measured_as as;
    struct lane *lane;
    int layer, first, count;
    const struct accumulator *known; // as lane->isolated
    struct measured *found;          // [components][samples]
};
enum { MEASURING = 4 }; // that are begun at most

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
    struct measured *found;    // of the ring
    struct measuring ring[MEASURING];
    long begun, taken;    // of it
    int summing;          // of those that the backend was asked for
    long reference_stamp; // counts what the outputs that are kept of the reference have been
    double a_second;      // of what lanes spent
    uint64_t *seeds;      // [samples]
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
    // In memory of a device, for the reference, the lane that is repeated, the one at hand: is a component
    // the one in front of it?  Then it has no copy of its own.
    bool alike[3][ARCH_MOST_COMPONENTS];
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

// Local, all of it.

// The lane in whose place `lane` goes through a layer.
struct lane *lockstep_computes(const struct lockstep *l, const struct lane *lane, int layer);
// Where an output of the layer at hand is kept, of a lane that others are compared with.
float *lockstep_kept(const struct lockstep *l, const struct lane *lane, int component);
// Begins to measure components first .. first + count - 1 of the lane and layer at hand, whose values are
// those; of a re-run apart, too.
void lockstep_measure(struct lockstep *l, enum measured_as as, int first, int count,
                      const float *const *values);
// The same, against the reference, of what a step leaves; and of a component that is the same as the one in
// front of it, of the reference as well.  In memory of the host, one sample, at once.
void lockstep_measure_seen(struct lockstep *l, int component, const struct seen *seen, float *room);
void lockstep_measure_again(struct lockstep *l, int component);
void lockstep_share(struct lockstep *l, struct lane *lane);
void lockstep_know(struct lockstep *l, struct lane *lane, const struct accumulator *known);
// Waits for all that was begun.
void lockstep_measured(struct lockstep *l);
// What a lane took since `started`, or of a device what it costs.
void lockstep_spend(struct lockstep *l, struct lane *lane, double started, double cost);

// Into the result file: a component of all samples at hand; of a device what is measured of the layers, once
// it is there; and at the end what is left.  Failures are the lanes'.
void lockstep_store_output(struct lockstep *l, struct lane *lane, int layer, int component,
                           const float *values, int width);
void lockstep_store_layers(struct lockstep *l);
void lockstep_store(struct lockstep *l, struct finished *finished);
// Nothing of them.
void lockstep_cancel(struct lockstep *l);

// Between two steps: false when the time of grace is over.
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
