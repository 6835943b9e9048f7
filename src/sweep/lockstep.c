// SPDX-License-Identifier: Apache-2.0

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lockstep_parts.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/store/store.h"

bool lockstep_look_around(struct scheduler *scheduler)
{
    scheduler_poll(scheduler);
    return !scheduler_overdue(scheduler);
}

// ---- memory ----

static void carve(struct lockstep *l, struct arena *arena, struct arena *there)
{
    group_buffers_carve(&l->buffers, arena, there, l->worker->plan, l->worker->dims, &l->shape);
}

// One block of all buffers, or one on each side.
static enum status take_memory(struct lockstep *l, const struct backend *backend, struct error *err)
{
    struct arena here, there;
    arena_init_measure(&here);
    arena_init_measure(&there);
    carve(l, &here, l->shape.on_host ? &here : &there);
    struct team *team = l->shape.on_host ? NULL : forward_team(l->forward);
    if (arena_init_by(&l->arena, here.used_bytes, "the runs of a group", team, err) ||
        (!l->shape.on_host && backend->reserve(&l->there, there.used_bytes, "the runs of a group", err)))
        return err->status;
    carve(l, &l->arena, l->shape.on_host ? &l->arena : &l->there);
    return STATUS_OK;
}

size_t lockstep_bytes_here(const struct worker *worker, const struct group_shape *shape)
{
    struct lockstep l = {.worker = worker, .shape = *shape};
    struct arena here, there;
    arena_init_measure(&here);
    arena_init_measure(&there);
    carve(&l, &here, &there);
    return here.used_bytes;
}

static bool take_tables(struct lockstep *l)
{
    const struct plan *plan = l->worker->plan;
    const size_t samples = (size_t)l->shape.samples, lanes = (size_t)group_most_lanes(plan);
    l->buffers.lanes = calloc(lanes, sizeof *l->buffers.lanes);
    l->ends = calloc(2 * lanes * samples, sizeof *l->ends);
    l->all = calloc((size_t)plan->n_layer, sizeof *l->all);
    l->no_scales = malloc(plan_observed(plan) * sizeof *l->no_scales);
    l->found = calloc(MEASURING * (size_t)plan->arch->n_components * samples, sizeof *l->found);
    l->seeds = malloc(samples * sizeof *l->seeds);
    l->samples = malloc(3 * samples * sizeof *l->samples);
    if (!l->buffers.lanes || !l->ends || !l->all || !l->no_scales || !l->found || !l->seeds || !l->samples)
        return false;
    l->lengths = l->samples + samples, l->firsts = l->lengths + samples;
    for (size_t i = 0; i < lanes; i++) {
        l->buffers.lanes[i].end_of_model = l->ends + 2 * i * samples;
        l->buffers.lanes[i].end_apart = l->ends + (2 * i + 1) * samples;
    }
    for (size_t i = 0; i < MEASURING; i++)
        l->ring[i].found = l->found + i * (size_t)plan->arch->n_components * samples;
    for (int layer = 0; layer < plan->n_layer; layer++)
        l->all[layer] = arch_all_components(plan->arch);
    for (size_t i = 0; i < plan_observed(plan); i++)
        l->no_scales[i] = NAN;
    return true;
}

enum status lockstep_open(struct lockstep **lockstep, const struct worker *worker, struct forward *forward,
                          const struct group_shape *shape, struct store *store, const float *scales,
                          struct error *err)
{
    struct lockstep *l = calloc(1, sizeof *l);
    if (!l) return error_memory(err, sizeof *l, "the runs of a group");
    *l = (struct lockstep){
        .worker = worker, .forward = forward, .shape = *shape, .store = store, .scales = scales};
    if (!take_tables(l)) error_memory(err, sizeof *l, "the runs of a group");
    if (err->status || take_memory(l, forward_backend(forward), err)) {
        lockstep_close(l);
        return err->status;
    }
    *lockstep = l;
    return STATUS_OK;
}

void lockstep_close(struct lockstep *lockstep)
{
    if (!lockstep) return;
    if (lockstep->there.base) forward_backend(lockstep->forward)->release(&lockstep->there);
    arena_clear(&lockstep->arena);
    free(lockstep->buffers.lanes);
    free(lockstep->ends);
    free(lockstep->all);
    free(lockstep->no_scales);
    free(lockstep->found);
    free(lockstep->seeds);
    free(lockstep->samples);
    free(lockstep);
}

// ---- the runs of a sample ----

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
    lane->spent = 0;
    lane->repeats = lane->twin = lane->follows = NULL;
    lane->fork = 0;
    lane->repeated = lane->needed = lane->followed = false;
    memset(lane->end_of_model, 0, (size_t)l->n_samples * sizeof *lane->end_of_model);
    memset(lane->end_apart, 0, (size_t)l->n_samples * sizeof *lane->end_apart);
    return lane;
}

static void tell(const struct lockstep *l, const struct lane *lane)
{
    char name[RUN_NAME_ROOM];
    const struct worker *worker = l->worker;
    for (int s = 0; s < l->n_samples; s++)
        log_rank(worker->log, LOG_VERBOSE, "computes run %d (mode %s), sample %d", lane->run,
                 plan_run_name(worker->plan, lane->run, name), l->samples[s]);
}

// The re-runs of a lane that are not finished.
static void add_reruns(struct lockstep *l, struct lane *lane, const struct group *group,
                       const struct finished *finished)
{
    const struct plan *plan = l->worker->plan;
    for (int i = 0; i < group->count; i++) {
        const int run = plan->members[group->first + i];
        if (plan->runs[run].repeats != lane->run || run == lane->run) continue;
        if (finished_has(finished, run, l->samples[0])) continue;
        struct lane *rerun = add_lane(l, run, true);
        rerun->repeats = lane;
        lane->repeated = true;
        tell(l, rerun);
    }
}

// ---- forks: what runs share ----

// The lane in whose place `lane` goes through a layer.
struct lane *lockstep_computes(const struct lockstep *l, const struct lane *lane, int layer)
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

static void tell_fork(const struct lockstep *l, const struct lane *lane)
{
    const struct plan *plan = l->worker->plan;
    char name[RUN_NAME_ROOM], other[RUN_NAME_ROOM], until[40] = "in all layers";
    if (lane->fork < plan->n_layer) snprintf(until, sizeof until, "in front of layer %d", lane->fork);
    log_rank(l->worker->log, LOG_VERBOSE, "run %d (mode %s) goes with run %d (mode %s) %s", lane->run,
             plan_run_name(plan, lane->run, name), lane->follows->run,
             plan_run_name(plan, lane->follows->run, other), until);
}

static void find_forks(struct lockstep *l)
{
    for (struct lane *lane = l->buffers.lanes + 1; lane < l->buffers.lanes + l->n_lanes; lane++)
        if (!lane->repeats) find_fork(l, lane);
    for (struct lane *lane = l->buffers.lanes + 1; lane < l->buffers.lanes + l->n_lanes; lane++)
        if (lane->follows) tell_fork(l, lane);
}

// Who is needed by others in the layer, and who goes through it for others.
static void look_at_layer(struct lockstep *l, int layer)
{
    l->layer = layer;
    for (int i = 0; i < l->n_lanes; i++)
        l->buffers.lanes[i].needed = l->buffers.lanes[i].followed = false;
    for (int i = l->n_lanes - 1; i > 0; i--) { // needs lie in front
        const struct lane *lane = &l->buffers.lanes[i];
        struct lane *for_it = lockstep_computes(l, lane, layer);
        if (!lane->stores && !lane->needed) continue;
        for (int j = 0; j < i; j++)
            if (&l->buffers.lanes[j] == lane->repeats) l->buffers.lanes[j].needed = true;
        if (for_it != lane) for_it->needed = for_it->followed = true;
    }
}

// At its fork, or behind the last layer: the stream of the lane that went there in its place.
static void leave(struct lockstep *l, int layer)
{
    for (struct lane *lane = l->buffers.lanes; lane < l->buffers.lanes + l->n_lanes; lane++) {
        if (!lane->follows || lane->fork != layer) continue;
        const struct lane *other = lockstep_computes(l, lane, layer - 1);
        stream_copy(l->forward, &other->stream, &lane->stream, l->tokens);
    }
}

bool lockstep_alike(const struct plan *plan, const struct group *group, int a, int b,
                    const struct finished *finished)
{
    for (int i = 0; i < group->count; i++) {
        const int run = plan->members[group->first + i];
        if (finished_has(finished, run, a) != finished_has(finished, run, b)) return false;
    }
    return true;
}

static void line_up(struct lockstep *l, const int *samples, int count)
{
    l->n_samples = count;
    l->tokens = 0;
    for (int s = 0; s < count; s++) {
        l->samples[s] = samples[s];
        l->lengths[s] = l->worker->corpus->length[samples[s]];
        l->firsts[s] = l->tokens;
        l->tokens += l->lengths[s];
    }
    store_expect(l->store, l->samples, count);
    forward_divide(l->forward, l->lengths, count);
}

// The lanes: the reference, and what of the group is not finished, with what that repeats.
static void gather(struct lockstep *l, const struct group *group, const struct finished *finished)
{
    const struct plan *plan = l->worker->plan;
    const int sample = l->samples[0]; // the others are as this one
    l->n_lanes = 0;
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
static enum status read_sample(struct lockstep *l, int s, struct error *err)
{
    int32_t *ids = l->buffers.ids + l->firsts[s];
    store_read_ids(l->store, l->samples[s], l->lengths[s], ids, err);
    for (int t = 0; t < l->lengths[s] && !err->status; t++)
        if (ids[t] < 0 || ids[t] >= l->worker->dims->vocab_size)
            error_set(err, STATUS_IO, "token ids of sample %d: got %d of %d; the result file was altered",
                      l->samples[s], ids[t], l->worker->dims->vocab_size);
    return err->status;
}

static enum status read_ids(struct lockstep *l)
{
    struct error err = {0};
    for (int s = 0; s < l->n_samples && !err.status; s++)
        read_sample(l, s, &err);
    if (!err.status) return STATUS_OK;
    for (int i = 0; i < l->n_lanes; i++) {
        if (l->buffers.lanes[i].stores) l->buffers.lanes[i].failure = err;
        l->buffers.lanes[i].stores = false;
    }
    return err.status;
}

const float *lockstep_scales(const struct lockstep *l, int run)
{
    const struct plan *plan = l->worker->plan;
    const int cell = plan->runs[run].cell;
    if (cell != PLAN_FLOAT_CELL) return l->scales + (size_t)cell * plan_observed(plan);
    return recipe_is_float(plan->runs[run].recipe) ? NULL : l->no_scales;
}

// ---- a layer ----

// In which of the sets of outputs.
static int set_of(const struct lockstep *l, const struct lane *lane)
{
    return lane_is_reference(l, lane) ? 0 : lane->repeated ? 1 : 2;
}

float *lockstep_kept(const struct lockstep *l, const struct lane *lane, int component)
{
    float *const *const sets[] = {l->buffers.reference, l->buffers.repeated, l->buffers.values};
    const int set = set_of(l, lane);
    while (l->alike[set][component])
        component--;
    return sets[set][component];
}

// Does a run that goes with the lane write the component into the result file?
static bool is_kept(const struct lockstep *l, const struct lane *lane, int component)
{
    for (int i = 0; l->worker->plan->want[l->layer] && i < l->n_lanes; i++) {
        const struct lane *other = &l->buffers.lanes[i];
        if (other->stores && lockstep_computes(l, other, l->layer) == lane &&
            (plan_wants(l->worker->plan, other->run, l->layer) & 1u << component))
            return true;
    }
    return false;
}

static bool take(void *context, int layer, int component, const float *values, int length, int width);

// What is the same as the component in front of it stands there already.
static bool see_there(struct lockstep *l, int layer, int component, const struct seen *seen)
{
    if (!seen->again) return false;
    l->alike[set_of(l, l->lane)][component] = true;
    take(l, layer, component, lockstep_kept(l, l->lane, component), l->tokens, seen->width);
    return true;
}

// Where nothing but sums is wanted of a component, it is measured without a copy.
static bool see(void *context, int layer, int component, const struct seen *seen, float *room)
{
    struct lockstep *l = context;
    const struct lane *lane = l->lane;
    if (!measures_at_once(&l->shape)) return see_there(l, layer, component, seen);
    if (lane_is_reference(l, lane)) l->again[component] = seen->again;
    if (lane_is_reference(l, lane) || lane->repeated || lane->repeats || !(lane->stores || lane->followed) ||
        is_kept(l, lane, component))
        return false;
    if (seen->again && l->again[component])
        lockstep_measure_again(l, component);
    else
        lockstep_measure_seen(l, component, seen, room);
    return true;
}

static bool take(void *context, int layer, int component, const float *values, int length, int width)
{
    struct lockstep *l = context;
    struct lane *lane = l->lane;
    const float *here = NULL;
    if (!lane->stores && !lane->followed) return goes_on(l, lane);
    if (measures_at_once(&l->shape) && lane_is_reference(l, lane) && l->again[component])
        lockstep_measure_again(l, component);
    else if (measures_at_once(&l->shape))
        lockstep_measure(l, MEASURED_AGAINST, component, 1, &values);
    for (int i = 0; l->worker->plan->want[layer] && i < l->n_lanes; i++) {
        struct lane *other = &l->buffers.lanes[i];
        if (!other->stores || lockstep_computes(l, other, layer) != lane ||
            !(plan_wants(l->worker->plan, other->run, layer) & 1u << component))
            continue;
        if (!here) here = forward_fetch(l->forward, values, (long)length * width);
        if (!here) return false; // forward_settle() says why
        lockstep_store_output(l, other, layer, component, here, width);
    }
    return goes_on(l, lane);
}

static float *place(void *context, int component)
{
    const struct lockstep *l = context;
    const bool kept = lane_is_reference(l, l->lane) || l->lane->repeated || !measures_at_once(&l->shape);
    return kept ? lockstep_kept(l, l->lane, component) : NULL;
}

// What take() left.
static void measure_rest(struct lockstep *l)
{
    const float *values[ARCH_MOST_COMPONENTS];
    if (measures_at_once(&l->shape)) return;
    for (int c = 0; c < l->worker->dims->arch->n_components; c++)
        values[c] = lockstep_kept(l, l->lane, c);
    lockstep_measure(l, MEASURED_AGAINST, 0, l->worker->dims->arch->n_components, values);
}

// The noise of a re-run is the same for every schedule, and for all modes, so that equal modes stay equal.
static void set_dither(const struct lockstep *l, const struct lane *lane)
{
    const uint64_t k = (uint64_t)run_of(l, lane)->dither;
    for (int s = 0; s < l->n_samples; s++)
        l->seeds[s] = k == 0 ? 0 : random_bits(random_stream(k, "dither"), (uint64_t)l->samples[s]) | 1;
    forward_set_dithers(l->forward, l->seeds);
}

static void step(struct lockstep *l, struct lane *lane, int layer)
{
    const struct capture capture = {.want = l->all, .place = place, .take = take, .see = see, .context = l};
    const double started = progress_clock();
    l->lane = lane;
    memset(l->alike[set_of(l, lane)], 0, sizeof *l->alike);
    if (lane_is_reference(l, lane)) {
        memset(l->known, 0, sizeof l->known);
        l->reference_stamp++;
    }
    set_dither(l, lane);
    forward_step(l->forward, &lane->stream, run_of(l, lane)->recipe, lockstep_scales(l, lane->run), layer,
                 l->tokens, &capture, NULL);
    if (lane->stores || lane->followed) measure_rest(l);
    if (lane->followed) lockstep_share(l, lane);
    lockstep_spend(l, lane, started, l->tokens * lockstep_step_cost(l, lane));
}

double lockstep_step_cost(const struct lockstep *l, const struct lane *lane)
{
    return plan_layer_cost(l->worker->plan, l->worker->dims, lane->run);
}

// ---- all layers ----

static bool run_layers(struct lockstep *l, struct scheduler *scheduler)
{
    for (int i = 0; i < l->n_lanes; i++) {
        struct lane *lane = &l->buffers.lanes[i];
        if (!lane->follows)
            forward_start(l->forward, &lane->stream, run_of(l, lane)->recipe, l->buffers.ids, l->tokens);
    }
    const bool isolated = l->worker->plan->isolated;
    for (int layer = 0; layer < l->worker->plan->n_layer && count_storing(l) > 0; layer++) {
        look_at_layer(l, layer);
        leave(l, layer);
        if (isolated && layer > 0) lockstep_keep_given(l);
        for (int i = 0; i < l->n_lanes; i++) {
            struct lane *lane = &l->buffers.lanes[i];
            if (!goes_on(l, lane) || lockstep_computes(l, lane, layer) != lane) continue;
            if (!lockstep_look_around(scheduler)) return false;
            step(l, lane, layer);
            scheduler_advance(scheduler, l->tokens * lockstep_step_cost(l, lane));
        }
        if (isolated && !lockstep_isolate(l, scheduler)) return false;
    }
    leave(l, l->worker->plan->n_layer);
    lockstep_measured(l);
    return true;
}

// ---- the whole ----

// What a unit of what lanes spent takes: of a device, by whose clock nobody went, its share of all.
static void settle_seconds(struct lockstep *l, double started)
{
    double all = 0;
    l->a_second = 1;
    if (l->shape.on_host) return;
    for (int i = 0; i < l->n_lanes; i++)
        all += l->buffers.lanes[i].spent;
    if (all > 0) l->a_second = (progress_clock() - started) / all;
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

enum status lockstep_samples(struct lockstep *lockstep, const struct group *group, const int *samples,
                             int count, struct finished *finished, struct scheduler *scheduler,
                             struct error *err)
{
    const double started = progress_clock();
    const struct error *why;
    int run;
    line_up(lockstep, samples, count);
    gather(lockstep, group, finished);
    if (count_storing(lockstep) == 0) return STATUS_OK;
    if (read_ids(lockstep) == STATUS_OK) {
        const bool done = run_layers(lockstep, scheduler) && lockstep_predict(lockstep, scheduler);
        if (!done || forward_settle(lockstep->forward, err)) {
            lockstep_measured(lockstep);
            forward_collect(lockstep->forward, 0);
            lockstep_cancel(lockstep);
            return done ? err->status : worker_overdue(lockstep->worker, err);
        }
    }
    settle_seconds(lockstep, started);
    lockstep_store(lockstep, finished);
    if (lockstep_failure(lockstep, 0, &run, &why)) *err = *why;
    return err->status;
}
