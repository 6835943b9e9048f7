// SPDX-License-Identifier: Apache-2.0
#include "lockstep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/backend.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/measure/profile.h"
#include "ssmsweep/plan/lane.h"
#include "ssmsweep/store/store.h"

// The runs of a group on their way through the model.
struct lockstep {
    const struct worker *worker;
    struct store *store;
    const float *scales;
    float *no_scales; // [n_layer][n_sites] of NaN, for runs that look at none
    struct arena arena;
    uint32_t *all; // [n_layer] every component
    struct group_buffers buffers;
    // the sample at work
    int n_lanes, sample, length;
    int layer;         // that lanes go through
    struct lane *lane; // that goes through a layer
};

static bool lane_is_reference(const struct lockstep *l, const struct lane *lane)
{
    return lane == &l->buffers.lanes[0];
}

// Between two steps: false when the time of grace is over.
static bool look_around(struct scheduler *scheduler)
{
    scheduler_poll(scheduler);
    return !scheduler_overdue(scheduler);
}

// ---- memory ----

enum status lockstep_open(struct lockstep **lockstep, const struct worker *worker, struct store *store,
                          const float *scales, struct error *err)
{
    const struct plan *plan = worker->plan;
    const int max_tokens = worker->corpus->max_tokens;
    const size_t bytes = group_buffers_bytes(plan, worker->dims, max_tokens, worker->threads);
    struct lockstep *l = calloc(1, sizeof *l);
    if (!l) return error_memory(err, sizeof *l, "the runs of a group");
    *l = (struct lockstep){.worker = worker, .store = store, .scales = scales};
    l->buffers.lanes = calloc((size_t)group_most_lanes(plan), sizeof *l->buffers.lanes);
    l->all = calloc((size_t)plan->n_layer, sizeof *l->all);
    l->no_scales = malloc(plan_observed(plan) * sizeof *l->no_scales);
    if (!l->buffers.lanes || !l->all || !l->no_scales) error_memory(err, bytes, "the runs of a group");
    if (err->status || arena_init(&l->arena, bytes, "the runs of a group", err)) {
        lockstep_close(l);
        return err->status;
    }
    for (int layer = 0; layer < plan->n_layer; layer++)
        l->all[layer] = arch_all_components(plan->arch);
    for (size_t i = 0; i < plan_observed(plan); i++)
        l->no_scales[i] = NAN;
    group_buffers_carve(&l->buffers, &l->arena, plan, worker->dims, max_tokens, worker->threads);
    *lockstep = l;
    return STATUS_OK;
}

void lockstep_close(struct lockstep *lockstep)
{
    if (!lockstep) return;
    arena_clear(&lockstep->arena);
    free(lockstep->buffers.lanes);
    free(lockstep->all);
    free(lockstep->no_scales);
    free(lockstep);
}

// ---- the runs of a sample ----

static const struct run *run_of(const struct lockstep *l, const struct lane *lane)
{
    return &l->worker->plan->runs[lane->run];
}

// Has the lane still to go on?
static bool goes_on(const struct lockstep *l, const struct lane *lane)
{
    return lane->stores || lane_is_reference(l, lane) || lane->needed;
}

static int count_storing(const struct lockstep *l)
{
    int storing = 0;
    for (int i = 0; i < l->n_lanes; i++)
        storing += l->buffers.lanes[i].stores;
    return storing;
}

static struct lane *add_lane(struct lockstep *l, int run, bool stores)
{
    struct lane *lane = &l->buffers.lanes[l->n_lanes++];
    lane->run = run;
    lane->stores = stores;
    lane->failure = (struct error){0};
    lane->seconds = 0;
    lane->repeats = lane->twin = lane->follows = NULL;
    lane->fork = 0;
    lane->repeated = lane->needed = lane->followed = false;
    end_of_model_clear(&lane->end_of_model);
    end_of_model_clear(&lane->end_apart);
    return lane;
}

static void tell(const struct lockstep *l, const struct lane *lane)
{
    char name[RUN_NAME_ROOM];
    const struct worker *worker = l->worker;
    log_rank(worker->log, LOG_VERBOSE, "computes run %d (mode %s), sample %d", lane->run,
             plan_run_name(worker->plan, lane->run, name), l->sample);
}

// The re-runs of a lane that are not finished.
static void add_reruns(struct lockstep *l, struct lane *lane, const struct group *group,
                       const struct finished *finished)
{
    const struct plan *plan = l->worker->plan;
    for (int i = 0; i < group->count; i++) {
        const int run = plan->members[group->first + i];
        if (plan->runs[run].repeats != lane->run || run == lane->run) continue;
        if (finished_has(finished, run, l->sample)) continue;
        struct lane *rerun = add_lane(l, run, true);
        rerun->repeats = lane;
        lane->repeated = true;
        tell(l, rerun);
    }
}

// ---- forks: what runs share ----

// The lane in whose place `lane` goes through a layer.
static struct lane *computes(const struct lockstep *l, const struct lane *lane, int layer)
{
    while (lane->follows && layer < lane->fork)
        lane = lane->follows;
    return &l->buffers.lanes[lane - l->buffers.lanes];
}

// The re-run of `lane` with the noise of `rerun`, in front of that; NULL: there is none.
static const struct lane *same_rerun(const struct lockstep *l, const struct lane *lane,
                                     const struct lane *rerun)
{
    for (const struct lane *other = l->buffers.lanes; other < rerun; other++)
        if (other->repeats == lane && run_of(l, other)->dither == run_of(l, rerun)->dither) return other;
    return NULL;
}

// A re-run is measured against what it repeats, so they follow together or not at all.
static bool reruns_follow(const struct lockstep *l, const struct lane *lane, const struct lane *other)
{
    for (const struct lane *rerun = lane + 1; rerun < l->buffers.lanes + l->n_lanes; rerun++)
        if (rerun->repeats == lane && !same_rerun(l, other, rerun)) return false;
    return true;
}

static void find_fork(struct lockstep *l, struct lane *lane)
{
    for (const struct lane *other = l->buffers.lanes; other < lane; other++) {
        if (other->repeats || lane->fork == l->worker->plan->n_layer) continue;
        const int shared = plan_shared_layers(l->worker->plan, lane->run, other->run);
        if (shared <= lane->fork || !reruns_follow(l, lane, other)) continue;
        lane->follows = other;
        lane->fork = shared;
    }
    for (struct lane *rerun = lane + 1; lane->follows && rerun < l->buffers.lanes + l->n_lanes; rerun++) {
        if (rerun->repeats != lane) continue;
        rerun->follows = same_rerun(l, lane->follows, rerun);
        rerun->fork = lane->fork;
    }
}

static void find_forks(struct lockstep *l)
{
    for (struct lane *lane = l->buffers.lanes + 1; lane < l->buffers.lanes + l->n_lanes; lane++)
        if (!lane->repeats) find_fork(l, lane);
}

// Who is needed by others in the layer, and who goes through it for others.
static void look_at_layer(struct lockstep *l, int layer)
{
    l->layer = layer;
    for (int i = 0; i < l->n_lanes; i++)
        l->buffers.lanes[i].needed = l->buffers.lanes[i].followed = false;
    for (int i = l->n_lanes - 1; i > 0; i--) { // needs lie in front
        const struct lane *lane = &l->buffers.lanes[i];
        struct lane *for_it = computes(l, lane, layer);
        if (!lane->stores && !lane->needed) continue;
        for (int j = 0; j < i; j++)
            if (&l->buffers.lanes[j] == lane->repeats) l->buffers.lanes[j].needed = true;
        if (for_it != lane) for_it->needed = for_it->followed = true;
    }
}

// At its fork, or behind the last layer: the stream of the lane that went there in its place.
static void leave(struct lockstep *l, int layer)
{
    const size_t bytes = stream_floats(l->worker->dims, l->length) * sizeof(float);
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++) {
        if (!lane->follows || lane->fork != layer) continue;
        const struct lane *other = computes(l, lane, layer - 1);
        memcpy(lane->stream.residual, other->stream.residual, bytes);
        memcpy(lane->stream.h, other->stream.h, bytes);
        lane->stream.rotated = other->stream.rotated;
    }
}

// The lanes of a sample: the reference, and what of the group is not finished, with what that repeats.
static void gather(struct lockstep *l, const struct group *group, int sample, const struct finished *finished)
{
    const struct plan *plan = l->worker->plan;
    l->n_lanes = 0;
    l->sample = sample;
    l->length = l->worker->corpus->length[sample];
    add_lane(l, group->reference, false);
    for (int i = 0; i < group->count; i++) {
        const int member = plan->members[group->first + i], run = plan->runs[member].repeats;
        if (!group_is_first_of(plan, group, i)) continue;
        struct lane *lane = run == group->reference ? &l->buffers.lanes[0] : add_lane(l, run, false);
        lane->stores = member == run && !finished_has(finished, run, sample); // else its re-runs need it
        if (lane->stores) tell(l, lane);
        add_reruns(l, lane, group, finished);
        if (!goes_on(l, lane) && !lane->repeated) l->n_lanes--;
    }
    find_forks(l);
}

// Without them no lane goes anywhere.
static enum status read_ids(struct lockstep *l)
{
    struct error err = {0};
    store_read_ids(l->store, l->sample, l->length, l->buffers.ids, &err);
    for (int t = 0; t < l->length && !err.status; t++)
        if (l->buffers.ids[t] < 0 || l->buffers.ids[t] >= l->worker->dims->vocab_size)
            error_set(&err, STATUS_IO, "token ids of sample %d: got %d of %d; the result file was altered",
                      l->sample, l->buffers.ids[t], l->worker->dims->vocab_size);
    if (!err.status) return STATUS_OK;
    for (int i = 0; i < l->n_lanes; i++) {
        if (l->buffers.lanes[i].stores) l->buffers.lanes[i].failure = err;
        l->buffers.lanes[i].stores = false;
    }
    return err.status;
}

static const float *scales_of(const struct lockstep *l, int run)
{
    const struct plan *plan = l->worker->plan;
    const int cell = plan->runs[run].cell;
    if (cell != PLAN_FLOAT_CELL) return l->scales + (size_t)cell * plan_observed(plan);
    return recipe_is_float(plan->runs[run].recipe) ? NULL : l->no_scales;
}

static void fail(struct lockstep *l, struct lane *lane)
{
    lane->stores = false;
    store_write_cancel(l->store, lane->run);
}

// ---- a layer ----

static void keep_profile(const struct profile *profile, uint32_t *histogram, double *position)
{
    for (int i = 0; i < PROFILE_BINS; i++)
        histogram[i] = profile->bins[i] < UINT32_MAX ? (uint32_t)profile->bins[i] : UINT32_MAX;
    for (int i = 0; i < PROFILE_POSITIONS; i++) {
        position[2 * i] = profile->position_squares[i];
        position[2 * i + 1] = profile->position_abs[i];
    }
}

// Where the outputs of the layer at hand are kept, of a lane that others are compared with.
static float *const *kept_of(const struct lockstep *l, const struct lane *lane)
{
    return lane_is_reference(l, lane) ? l->buffers.reference
           : lane->repeated           ? l->buffers.repeated
                                      : l->buffers.values;
}

// What is measured of a lane in a layer is that of those that follow it as well.
static void share_measures(const struct lockstep *l, const struct lane *lane)
{
    const size_t components = (size_t)l->worker->dims->arch->n_components;
    const size_t place = (size_t)l->layer * components;
    for (int i = 1; i < l->n_lanes; i++) {
        const struct lane *other = &l->buffers.lanes[i];
        if (other == lane || !goes_on(l, other) || computes(l, other, l->layer) != lane) continue;
        memcpy(other->moments + place, lane->moments + place, components * sizeof *lane->moments);
        memcpy(other->histogram + place * PROFILE_BINS, lane->histogram + place * PROFILE_BINS,
               components * PROFILE_BINS * sizeof *lane->histogram);
        memcpy(other->position + place * PLACE_POSITIONS, lane->position + place * PLACE_POSITIONS,
               components * PLACE_POSITIONS * sizeof *lane->position);
        if (other->repeats)
            memcpy(other->apart + place, lane->apart + place, components * sizeof *lane->apart);
    }
}

static void measure_component(const struct lockstep *l, int layer, int component, const float *values)
{
    const struct lane *lane = l->lane;
    const size_t place = (size_t)(layer * l->worker->dims->arch->n_components + component),
                 tokens = (size_t)l->length;
    const int width = arch_width(l->worker->dims, component);
    struct profile profile;
    profile_clear(&profile);
    accumulator_clear(&lane->moments[place]);
    backend_default()->measure(&lane->moments[place], &profile, l->buffers.reference[component], values,
                               tokens, width);
    keep_profile(&profile, lane->histogram + place * PROFILE_BINS, lane->position + place * PLACE_POSITIONS);
    if (!lane->repeats) return;
    accumulator_clear(&lane->apart[place]);
    backend_default()->measure(&lane->apart[place], NULL, kept_of(l, lane->repeats)[component], values,
                               tokens, width);
}

static bool take(void *context, int layer, int component, const float *values, int length, int width)
{
    struct lockstep *l = context;
    struct lane *lane = l->lane;
    if (lane_is_reference(l, lane) || lane->repeated || !measures_at_once(l->worker->threads))
        memcpy(kept_of(l, lane)[component], values, (size_t)length * (size_t)width * sizeof *values);
    if (!lane->stores && !lane->followed) return goes_on(l, lane);
    if (measures_at_once(l->worker->threads)) measure_component(l, layer, component, values);
    for (int i = 0; i < l->n_lanes; i++) {
        struct lane *other = &l->buffers.lanes[i];
        if (!other->stores || computes(l, other, layer) != lane) continue;
        if ((plan_wants(l->worker->plan, other->run, layer) & 1u << component) &&
            store_write_output(l->store, other->run, layer, component, l->sample, values, length, width,
                               &other->failure))
            fail(l, other);
    }
    return goes_on(l, lane);
}

struct measuring {
    const struct lockstep *lockstep;
    int layer;
};

static void measure_part(void *context, int component)
{
    const struct measuring *m = context;
    const float *values = kept_of(m->lockstep, m->lockstep->lane)[component];
    measure_component(m->lockstep, m->layer, component, values);
}

// What take() left.
static void measure(const struct lockstep *l, int layer)
{
    struct measuring measuring = {l, layer};
    if (measures_at_once(l->worker->threads)) return;
    team_run(forward_team(l->worker->forward), l->worker->dims->arch->n_components, measure_part, &measuring);
}

// The noise of a re-run is the same for every schedule, and for all modes, so that equal modes stay equal.
static uint64_t dither_of(const struct lockstep *l, const struct lane *lane)
{
    const uint64_t k = (uint64_t)run_of(l, lane)->dither;
    return k == 0 ? 0 : random_bits(random_stream(k, "dither"), (uint64_t)l->sample) | 1;
}

static void step(struct lockstep *l, struct lane *lane, int layer)
{
    const struct capture capture = {.want = l->all, .take = take, .context = l};
    const double started = progress_clock();
    l->lane = lane;
    forward_set_dither(l->worker->forward, dither_of(l, lane));
    forward_step(l->worker->forward, &lane->stream, run_of(l, lane)->recipe, scales_of(l, lane->run), layer,
                 l->length, &capture, NULL);
    if (lane->stores || lane->followed) measure(l, layer);
    if (lane->followed) share_measures(l, lane);
    lane->seconds += progress_clock() - started;
}

// What a token costs in a layer.
static double step_cost(const struct lockstep *l, const struct lane *lane)
{
    return plan_layer_cost(l->worker->plan, l->worker->dims, lane->run);
}

// ---- a layer by itself: what comes in is the reference's stream, so no error of the layers before ----

static bool is_rotated(const struct lockstep *l, const struct lane *lane)
{
    return !recipe_is_float(run_of(l, lane)->recipe);
}

// The reference's stream before it goes through the layer, in the bases that are needed.
static void keep_given(struct lockstep *l)
{
    const struct lane *reference = &l->buffers.lanes[0];
    bool needed[2] = {false, false};
    for (const struct lane *lane = reference; lane < reference + l->n_lanes; lane++)
        if (lane->stores && !lane->repeats) needed[is_rotated(l, lane)] = true;
    for (int rotated = 0; rotated < 2; rotated++) {
        l->buffers.given[rotated].rotated = rotated;
        if (needed[rotated])
            stream_turn(l->worker->forward, &reference->stream, &l->buffers.given[rotated], l->length);
    }
}

static void measure_alone(const struct lockstep *l, int component, const float *values)
{
    const struct dims *dims = l->worker->dims;
    struct accumulator *moments =
        &l->lane->isolated[(size_t)l->layer * (size_t)dims->arch->n_components + (size_t)component];
    accumulator_clear(moments);
    backend_default()->measure(moments, NULL, l->buffers.reference[component], values, (size_t)l->length,
                               arch_width(dims, component));
}

static bool take_alone(void *context, int layer, int component, const float *values, int length, int width)
{
    const struct lockstep *l = context;
    (void)layer;
    if (measures_at_once(l->worker->threads))
        measure_alone(l, component, values);
    else
        memcpy(l->buffers.values[component], values, (size_t)length * (size_t)width * sizeof *values);
    return true;
}

static void measure_part_alone(void *context, int component)
{
    const struct lockstep *l = context;
    measure_alone(l, component, l->buffers.values[component]);
}

static void step_alone(struct lockstep *l, struct lane *lane)
{
    const struct capture capture = {.want = l->all, .take = take_alone, .context = l};
    struct forward *forward = l->worker->forward;
    struct stream *alone = &l->buffers.alone;
    const struct stream *given = &l->buffers.given[is_rotated(l, lane)];
    alone->rotated = given->rotated;
    stream_turn(forward, given, alone, l->length);
    l->lane = lane;
    forward_set_dither(forward, 0);
    forward_step(forward, alone, run_of(l, lane)->recipe, scales_of(l, lane->run), l->layer, l->length,
                 &capture, NULL);
    if (!measures_at_once(l->worker->threads))
        team_run(forward_team(forward), l->worker->dims->arch->n_components, measure_part_alone, l);
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

static bool isolate(struct lockstep *l, struct scheduler *scheduler)
{
    const size_t components = (size_t)l->worker->dims->arch->n_components;
    const size_t place = (size_t)l->layer * components;
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++) {
        if (!lane->stores || lane->repeats) continue;
        const struct accumulator *known = known_alone(l, lane);
        if (known) {
            memcpy(lane->isolated + place, known + place, components * sizeof *known);
            continue;
        }
        if (!look_around(scheduler)) return false;
        const double started = progress_clock();
        step_alone(l, lane);
        lane->seconds += progress_clock() - started;
        scheduler_advance(scheduler, l->length * step_cost(l, lane));
    }
    return true;
}

// ---- all layers ----

static bool run_layers(struct lockstep *l, struct scheduler *scheduler)
{
    for (int i = 0; i < l->n_lanes; i++) {
        struct lane *lane = &l->buffers.lanes[i];
        if (!lane->follows)
            forward_start(l->worker->forward, &lane->stream, run_of(l, lane)->recipe, l->buffers.ids,
                          l->length);
    }
    const bool isolated = l->worker->plan->isolated;
    for (int layer = 0; layer < l->worker->plan->n_layer && count_storing(l) > 0; layer++) {
        look_at_layer(l, layer);
        leave(l, layer);
        if (isolated && layer > 0) keep_given(l);
        for (int i = 0; i < l->n_lanes; i++) {
            struct lane *lane = &l->buffers.lanes[i];
            if (!goes_on(l, lane) || computes(l, lane, layer) != lane) continue;
            if (!look_around(scheduler)) return false;
            step(l, lane, layer);
            scheduler_advance(scheduler, l->length * step_cost(l, lane));
        }
        if (isolated && !isolate(l, scheduler)) return false;
    }
    leave(l, l->worker->plan->n_layer);
    return true;
}

// ---- predictions: behind the last layer; those of re-runs are compared with the runs that they repeat, too
// ----

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
        if (other->stores && !other->twin && compared_alike(other, lane) && same_stream(l, other, lane))
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
    stream_norm(l->worker->forward, &lane->stream, first, count, lane->normed);
    lane->seconds += progress_clock() - started;
}

static float *logits_of(const struct lockstep *l, const struct lane *lane)
{
    if (lane_is_reference(l, lane)) return l->buffers.reference_logits;
    return lane->repeated ? l->buffers.repeated_logits : l->buffers.logits;
}

// A piece of the vocabulary.
static void compare_predictions(struct lockstep *l, struct lane *lane, int first, int count, int first_id)
{
    const int left = l->worker->dims->vocab_size - first_id,
              ids = left < PREDICTION_PIECE ? left : PREDICTION_PIECE,
              stride = (ids + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    const int32_t *next = l->buffers.ids + first + 1;
    float *logits = logits_of(l, lane);
    const double started = progress_clock();
    head_logits(l->worker->forward, lane->stream.rotated, lane->normed, count, first_id, ids, logits);
    if (adds(lane))
        backend_default()->predict(lane->predictions, l->buffers.reference_logits, logits, next, count,
                                   first_id, ids, stride);
    if (adds(lane) && lane->repeats)
        backend_default()->predict(lane->predictions_apart, logits_of(l, lane->repeats), logits, next, count,
                                   first_id, ids, stride);
    lane->seconds += progress_clock() - started;
}

// All lanes take a piece of the vocabulary before the next one comes.
static bool run_block(struct lockstep *l, int first, int count, struct scheduler *scheduler)
{
    for (int i = 0; i < l->n_lanes; i++)
        if (predicts(l, &l->buffers.lanes[i])) start_predictions(l, &l->buffers.lanes[i], first, count);
    for (int id = 0; id < l->worker->dims->vocab_size; id += PREDICTION_PIECE) {
        if (!look_around(scheduler)) return false;
        for (int i = 0; i < l->n_lanes; i++)
            if (predicts(l, &l->buffers.lanes[i]))
                compare_predictions(l, &l->buffers.lanes[i], first, count, id);
    }
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++) {
        if (!adds(lane)) continue;
        end_of_model_take(&lane->end_of_model, lane->predictions, l->buffers.ids + first + 1, count);
        if (lane->repeats)
            end_of_model_take(&lane->end_apart, lane->predictions_apart, l->buffers.ids + first + 1, count);
        scheduler_advance(scheduler, count * plan_predictions_cost(l->worker->plan, l->worker->dims));
    }
    return true;
}

// False when the time of grace is over.
static bool predict(struct lockstep *l, struct scheduler *scheduler)
{
    bool stores = false;
    for (int i = 0; i < l->n_lanes; i++) {
        l->buffers.lanes[i].twin = find_twin(l, &l->buffers.lanes[i]);
        stores = stores || l->buffers.lanes[i].stores;
    }
    const int predictions = l->worker->plan->logits && stores ? l->length - 1 : 0;
    for (int first = 0; first < predictions; first += LOGITS_TOKENS) {
        const int left = predictions - first;
        if (!run_block(l, first, left < LOGITS_TOKENS ? left : LOGITS_TOKENS, scheduler)) return false;
    }
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++) {
        if (!lane->twin) continue;
        lane->end_of_model = lane->twin->end_of_model;
        lane->end_apart = lane->twin->end_apart;
    }
    return true;
}

// ---- the whole ----

static void store_lane(struct lockstep *l, struct lane *lane, struct finished *finished)
{
    const struct plan *plan = l->worker->plan;
    const struct store_metrics metrics = {.moments = lane->moments,
                                          .histogram = lane->histogram,
                                          .position = lane->position,
                                          .end_of_model = plan->logits ? &lane->end_of_model : NULL,
                                          .apart = lane->repeats ? lane->apart : NULL,
                                          .end_apart =
                                              lane->repeats && plan->logits ? &lane->end_apart : NULL,
                                          .isolated = lane->repeats ? NULL : lane->isolated};
    if (store_write_metrics(l->store, lane->run, l->sample, &metrics, &lane->failure))
        fail(l, lane);
    else if (store_write_done(l->store, lane->run, l->sample, (float)lane->seconds, &lane->failure))
        lane->stores = false;
    else
        finished_set(finished, lane->run, l->sample, true);
}

static void cancel(struct lockstep *l)
{
    for (int i = 0; i < l->n_lanes; i++)
        if (l->buffers.lanes[i].stores) store_write_cancel(l->store, l->buffers.lanes[i].run);
}

bool lockstep_failure(const struct lockstep *lockstep, int index, int *run, const struct error **why)
{
    for (int i = 0; i < lockstep->n_lanes; i++) {
        const struct lane *lane = &lockstep->buffers.lanes[i];
        if (lane->failure.status == STATUS_OK || index-- > 0) continue;
        *run = lane->run;
        *why = &lane->failure;
        return true;
    }
    return false;
}

enum status lockstep_sample(struct lockstep *lockstep, const struct group *group, int sample,
                            struct finished *finished, struct scheduler *scheduler, struct error *err)
{
    const struct error *why;
    int run;
    gather(lockstep, group, sample, finished);
    if (count_storing(lockstep) == 0) return STATUS_OK;
    if (read_ids(lockstep) == STATUS_OK &&
        (!run_layers(lockstep, scheduler) || !predict(lockstep, scheduler))) {
        cancel(lockstep);
        return worker_overdue(lockstep->worker, err);
    }
    for (int i = 0; i < lockstep->n_lanes; i++)
        if (lockstep->buffers.lanes[i].stores) store_lane(lockstep, &lockstep->buffers.lanes[i], finished);
    if (lockstep_failure(lockstep, 0, &run, &why)) *err = *why;
    return err->status;
}
