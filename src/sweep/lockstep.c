// SPDX-License-Identifier: Apache-2.0
#include "lockstep.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/numerics/calibrate.h"
#include "ssmsweep/numerics/kernels.h"
#include "ssmsweep/numerics/pairs.h"

enum { LOGITS_TOKENS = 64, PLACE_POSITIONS = 2 * PROFILE_POSITIONS };

// A run on its way through the model.
struct lane {
    int run;
    bool stores; // else it is but the reference of the others, or its failure is set
    struct error failure;
    struct stream stream;
    double seconds;
    // What is stored of it, see struct store_metrics.
    struct accumulator *moments;
    uint32_t *histogram;
    double *position;
    struct end_of_model end_of_model;
    float *normed;                  // [LOGITS_TOKENS][D rounded up to 16]
    struct prediction *predictions; // [LOGITS_TOKENS]
    const struct lane *twin;        // in front of it, with the same stream behind the last layer; NULL: none
};

struct lockstep {
    const struct worker *worker;
    struct store *store;
    const float *scales;
    struct arena arena;
    struct lane *lanes;                                          // the reference first
    unsigned char *all;                                          // [n_layer] every component
    float *reference[COMPONENT_COUNT], *values[COMPONENT_COUNT]; // of the layer at hand, [max tokens][width]
    float *reference_logits, *logits;                            // [LOGITS_TOKENS][PREDICTION_PIECE]
    // the sample at work
    int n_lanes, sample, length;
    int32_t *ids;      // [max tokens]
    struct lane *lane; // that goes through a layer
};

// ---- memory ----

// Of a group: its runs, and the reference where it is not among them.
static int most_lanes(const struct plan *plan)
{
    int most = 0;
    for (int g = 0; g < plan->n_groups; g++) {
        const struct group *group = &plan->groups[g];
        int lanes = 1;
        for (int i = 0; i < group->count; i++)
            lanes += plan->members[group->first + i] != group->reference;
        most = lanes > most ? lanes : most;
    }
    return most;
}

static void carve_lane(struct lane *lane, struct arena *arena, const struct plan *plan,
                       const struct dims *dims, int max_tokens)
{
    const size_t stream = stream_floats(dims, max_tokens) * sizeof(float);
    const size_t places = (size_t)plan->n_layer * COMPONENT_COUNT;
    lane->stream.residual = arena_take(arena, stream);
    lane->stream.h = arena_take(arena, stream);
    lane->moments = arena_take(arena, places * sizeof *lane->moments);
    lane->histogram = arena_take(arena, places * PROFILE_BINS * sizeof *lane->histogram);
    lane->position = arena_take(arena, places * PLACE_POSITIONS * sizeof *lane->position);
    lane->normed = arena_take(arena, plan->logits ? stream_floats(dims, LOGITS_TOKENS) * sizeof(float) : 0);
    lane->predictions = arena_take(arena, plan->logits ? LOGITS_TOKENS * sizeof *lane->predictions : 0);
}

// One thread measures what it is given while that is in its caches; several share the components of a layer.
static bool measures_at_once(int threads)
{
    return threads == 1;
}

// The one description of the buffers: measures them or gives them out.  Where lanes is NULL it measures.
static void carve(struct lockstep *l, const struct plan *plan, const struct dims *dims, int max_tokens,
                  int threads)
{
    struct lane unused;
    const size_t block = (size_t)LOGITS_TOKENS * PREDICTION_PIECE * sizeof(float);
    for (int c = 0; c < COMPONENT_COUNT; c++) {
        const size_t width = (size_t)component_width(dims, (enum component)c);
        const size_t bytes = (size_t)max_tokens * width * sizeof(float);
        l->reference[c] = arena_take(&l->arena, bytes);
        l->values[c] = arena_take(&l->arena, measures_at_once(threads) ? 0 : bytes);
    }
    for (int i = 0; i < most_lanes(plan); i++)
        carve_lane(l->lanes ? &l->lanes[i] : &unused, &l->arena, plan, dims, max_tokens);
    l->ids = arena_take(&l->arena, (size_t)max_tokens * sizeof *l->ids);
    l->reference_logits = arena_take(&l->arena, plan->logits ? block : 0);
    l->logits = arena_take(&l->arena, plan->logits ? block : 0);
}

size_t lockstep_run_bytes(const struct plan *plan, const struct dims *dims, int max_tokens)
{
    struct lane unused;
    struct arena arena;
    arena_init_measure(&arena);
    carve_lane(&unused, &arena, plan, dims, max_tokens);
    return arena.used_bytes;
}

size_t lockstep_bytes(const struct plan *plan, const struct dims *dims, int max_tokens, int threads)
{
    struct lockstep measured = {0};
    arena_init_measure(&measured.arena);
    carve(&measured, plan, dims, max_tokens, threads);
    return measured.arena.used_bytes;
}

enum status lockstep_open(struct lockstep **lockstep, const struct worker *worker, struct store *store,
                          const float *scales, struct error *err)
{
    const struct plan *plan = worker->plan;
    const int max_tokens = worker->corpus->max_tokens;
    const size_t bytes = lockstep_bytes(plan, worker->dims, max_tokens, worker->threads);
    struct lockstep *l = calloc(1, sizeof *l);
    if (!l) return error_memory(err, sizeof *l, "the runs of a group");
    *l = (struct lockstep){.worker = worker, .store = store, .scales = scales};
    l->lanes = calloc((size_t)most_lanes(plan), sizeof *l->lanes);
    l->all = malloc((size_t)plan->n_layer);
    if (!l->lanes || !l->all) error_memory(err, bytes, "the runs of a group");
    if (err->status || arena_init(&l->arena, bytes, "the runs of a group", err)) {
        lockstep_close(l);
        return err->status;
    }
    memset(l->all, (1 << COMPONENT_COUNT) - 1, (size_t)plan->n_layer);
    carve(l, plan, worker->dims, max_tokens, worker->threads);
    *lockstep = l;
    return STATUS_OK;
}

void lockstep_close(struct lockstep *lockstep)
{
    if (!lockstep) return;
    arena_clear(&lockstep->arena);
    free(lockstep->lanes);
    free(lockstep->all);
    free(lockstep);
}

// ---- the runs of a sample ----

static bool is_reference(const struct lockstep *l, const struct lane *lane)
{
    return lane == &l->lanes[0];
}

// Has the lane still to go on?
static bool goes_on(const struct lockstep *l, const struct lane *lane)
{
    return lane->stores || is_reference(l, lane);
}

static int count_storing(const struct lockstep *l)
{
    int storing = 0;
    for (int i = 0; i < l->n_lanes; i++)
        storing += l->lanes[i].stores;
    return storing;
}

static struct lane *add_lane(struct lockstep *l, int run, bool stores)
{
    struct lane *lane = &l->lanes[l->n_lanes++];
    lane->run = run;
    lane->stores = stores;
    lane->failure = (struct error){0};
    lane->seconds = 0;
    lane->twin = NULL;
    end_of_model_clear(&lane->end_of_model);
    return lane;
}

// The lanes of a sample: the reference, and what of the group is not finished.
static void gather(struct lockstep *l, const struct group *group, int sample, const struct finished *finished)
{
    const struct worker *worker = l->worker;
    const struct plan *plan = worker->plan;
    l->n_lanes = 0;
    l->sample = sample;
    l->length = worker->corpus->length[sample];
    struct lane *reference = add_lane(l, group->reference, false);
    for (int i = 0; i < group->count; i++) {
        const int run = plan->members[group->first + i];
        if (finished_has(finished, run, sample)) continue;
        if (run == group->reference)
            reference->stores = true;
        else
            add_lane(l, run, true);
        char name[RUN_NAME_ROOM];
        log_rank(worker->log, LOG_VERBOSE, "computes run %d (mode %s), sample %d", run,
                 plan_run_name(plan, run, name), sample);
    }
}

// Without them no lane goes anywhere.
static enum status read_ids(struct lockstep *l)
{
    struct error err = {0};
    store_read_ids(l->store, l->sample, l->length, l->ids, &err);
    for (int t = 0; t < l->length && !err.status; t++)
        if (l->ids[t] < 0 || l->ids[t] >= l->worker->dims->vocab_size)
            error_set(&err, STATUS_IO, "token ids of sample %d: got %d of %d; the result file was altered",
                      l->sample, l->ids[t], l->worker->dims->vocab_size);
    if (!err.status) return STATUS_OK;
    for (int i = 0; i < l->n_lanes; i++) {
        if (l->lanes[i].stores) l->lanes[i].failure = err;
        l->lanes[i].stores = false;
    }
    return err.status;
}

static const float *scales_of(const struct lockstep *l, int run)
{
    const struct plan *plan = l->worker->plan;
    const int cell = plan->runs[run].cell;
    return cell == PLAN_FLOAT_CELL ? NULL : l->scales + (size_t)cell * (size_t)plan->n_layer * SITE_COUNT;
}

static void fail(struct lockstep *l, struct lane *lane)
{
    lane->stores = false;
    store_write_cancel(l->store, lane->run);
}

// Between two steps: false when the time of grace is over.
static bool look_around(struct scheduler *scheduler)
{
    scheduler_poll(scheduler);
    return !scheduler_overdue(scheduler);
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

static void measure_component(const struct lockstep *l, int layer, enum component component,
                              const float *values)
{
    const struct lane *lane = l->lane;
    const size_t place = (size_t)layer * COMPONENT_COUNT + component;
    const float *reference = l->reference[component];
    struct profile profile;
    profile_clear(&profile);
    accumulator_clear(&lane->moments[place]);
    pairs_add_sample(&lane->moments[place], &profile, reference, values, (size_t)l->length,
                     component_width(l->worker->dims, component));
    keep_profile(&profile, lane->histogram + place * PROFILE_BINS, lane->position + place * PLACE_POSITIONS);
}

static bool take(void *context, int layer, enum component component, const float *values, int length,
                 int width)
{
    struct lockstep *l = context;
    struct lane *lane = l->lane;
    if (is_reference(l, lane) || !measures_at_once(l->worker->threads)) {
        float *kept = (is_reference(l, lane) ? l->reference : l->values)[component];
        memcpy(kept, values, (size_t)length * (size_t)width * sizeof *values);
    }
    if (!lane->stores) return goes_on(l, lane);
    if (measures_at_once(l->worker->threads)) measure_component(l, layer, component, values);
    if ((plan_wants(l->worker->plan, lane->run, layer) & 1u << component) &&
        store_write_output(l->store, lane->run, layer, component, l->sample, values, length, width,
                           &lane->failure))
        fail(l, lane);
    return goes_on(l, lane);
}

// What take() left.
static void measure(const struct lockstep *l, int layer)
{
    const int threads = l->worker->threads;
    float *const *kept = is_reference(l, l->lane) ? l->reference : l->values;
    if (measures_at_once(threads)) return;
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int c = 0; c < COMPONENT_COUNT; c++)
        measure_component(l, layer, (enum component)c, kept[c]);
}

// Of a noisy re-run: the same for every schedule, and for all modes, so that equal modes stay equal.
static uint64_t dither_of(const struct lockstep *l, const struct lane *lane)
{
    const uint64_t k = (uint64_t)l->worker->plan->runs[lane->run].dither;
    return k == 0 ? 0 : random_bits(random_stream(k, "dither"), (uint64_t)l->sample) | 1;
}

static void step(struct lockstep *l, struct lane *lane, int layer)
{
    const struct capture capture = {.want = l->all, .take = take, .context = l};
    const double started = progress_clock();
    l->lane = lane;
    forward_set_dither(l->worker->forward, dither_of(l, lane));
    forward_step(l->worker->forward, &lane->stream, l->worker->plan->runs[lane->run].mode,
                 scales_of(l, lane->run), layer, l->length, &capture, NULL);
    if (lane->stores) measure(l, layer);
    lane->seconds += progress_clock() - started;
}

static bool run_layers(struct lockstep *l, struct scheduler *scheduler)
{
    for (int i = 0; i < l->n_lanes; i++)
        forward_start(l->worker->forward, &l->lanes[i].stream, l->worker->plan->runs[l->lanes[i].run].mode,
                      l->ids, l->length);
    for (int layer = 0; layer < l->worker->plan->n_layer && count_storing(l) > 0; layer++)
        for (int i = 0; i < l->n_lanes; i++) {
            if (!goes_on(l, &l->lanes[i])) continue;
            if (!look_around(scheduler)) return false;
            step(l, &l->lanes[i], layer);
        }
    return true;
}

// ---- the predictions ----

static bool predicts(const struct lockstep *l, const struct lane *lane)
{
    return goes_on(l, lane) && !lane->twin;
}

static void start_predictions(struct lockstep *l, struct lane *lane, int first, int count)
{
    const double started = progress_clock();
    stream_norm(l->worker->forward, &lane->stream, first, count, lane->normed);
    lane->seconds += progress_clock() - started;
}

// A piece of the vocabulary.
static void compare_predictions(struct lockstep *l, struct lane *lane, int first, int count, int first_id)
{
    const int left = l->worker->dims->vocab_size - first_id,
              ids = left < PREDICTION_PIECE ? left : PREDICTION_PIECE;
    float *logits = is_reference(l, lane) ? l->reference_logits : l->logits;
    const double started = progress_clock();
    head_logits(l->worker->forward, lane->stream.rotated, lane->normed, count, first_id, ids, logits);
    if (lane->stores)
        predictions_add(lane->predictions, l->reference_logits, logits, l->ids + first + 1, count, first_id,
                        ids, (ids + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES);
    lane->seconds += progress_clock() - started;
}

// All lanes take a piece of the vocabulary before the next one comes.
static bool run_block(struct lockstep *l, int first, int count, struct scheduler *scheduler)
{
    for (int i = 0; i < l->n_lanes; i++)
        if (predicts(l, &l->lanes[i])) start_predictions(l, &l->lanes[i], first, count);
    for (int id = 0; id < l->worker->dims->vocab_size; id += PREDICTION_PIECE) {
        if (!look_around(scheduler)) return false;
        for (int i = 0; i < l->n_lanes; i++)
            if (predicts(l, &l->lanes[i])) compare_predictions(l, &l->lanes[i], first, count, id);
    }
    for (struct lane *lane = l->lanes; lane < l->lanes + l->n_lanes; lane++)
        if (lane->stores && !lane->twin)
            end_of_model_take(&lane->end_of_model, lane->predictions, l->ids + first + 1, count);
    return true;
}

// Predictions are made of the stream alone, in the same way for all modes: equal modes (2-0 and 0, say) share
// them.
static const struct lane *find_twin(const struct lockstep *l, const struct lane *lane)
{
    const size_t bytes = stream_floats(l->worker->dims, l->length) * sizeof(float);
    if (is_reference(l, lane)) return NULL;
    for (const struct lane *other = l->lanes; other < lane; other++)
        if (other->stores && !other->twin && other->stream.rotated == lane->stream.rotated &&
            memcmp(other->stream.h, lane->stream.h, bytes) == 0 &&
            memcmp(other->stream.residual, lane->stream.residual, bytes) == 0)
            return other;
    return NULL;
}

static bool run_logits(struct lockstep *l, struct scheduler *scheduler)
{
    const int predictions = l->worker->plan->logits && count_storing(l) > 0 ? l->length - 1 : 0;
    for (int i = 0; i < l->n_lanes; i++)
        l->lanes[i].twin = find_twin(l, &l->lanes[i]);
    for (int first = 0; first < predictions; first += LOGITS_TOKENS) {
        const int left = predictions - first;
        if (!run_block(l, first, left < LOGITS_TOKENS ? left : LOGITS_TOKENS, scheduler)) return false;
    }
    for (int i = 0; i < l->n_lanes; i++)
        if (l->lanes[i].twin) l->lanes[i].end_of_model = l->lanes[i].twin->end_of_model;
    return true;
}

// ---- the whole ----

static void store_lane(struct lockstep *l, struct lane *lane, struct finished *finished)
{
    const struct plan *plan = l->worker->plan;
    const struct store_metrics metrics = {.moments = lane->moments,
                                          .histogram = lane->histogram,
                                          .position = lane->position,
                                          .end_of_model = plan->logits ? &lane->end_of_model : NULL};
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
        if (l->lanes[i].stores) store_write_cancel(l->store, l->lanes[i].run);
}

bool lockstep_failure(const struct lockstep *lockstep, int index, int *run, const struct error **why)
{
    for (int i = 0; i < lockstep->n_lanes; i++) {
        const struct lane *lane = &lockstep->lanes[i];
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
        (!run_layers(lockstep, scheduler) || !run_logits(lockstep, scheduler))) {
        cancel(lockstep);
        return worker_overdue(lockstep->worker, err);
    }
    for (int i = 0; i < lockstep->n_lanes; i++)
        if (lockstep->lanes[i].stores) store_lane(lockstep, &lockstep->lanes[i], finished);
    if (lockstep_failure(lockstep, 0, &run, &why)) *err = *why;
    return err->status;
}
