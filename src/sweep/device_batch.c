// SPDX-License-Identifier: Apache-2.0
// Batches on the GPU of a rank: samples of the calibration, and items of the sweep.
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "lockstep.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/cuda.h"
#include "ssmsweep/plan/predict.h"
#include "ssmsweep/sweep/gpu.h"

struct device {
    const struct worker *worker;
    struct forward *forward; // NULL: not yet, or given up
    int tokens;              // that it takes at once
    bool given_up, told_broken;
    // The calibration: passes of up to n_look samples.
    int n_look;
    int32_t *ids; // [tokens]
    int *lengths; // [n_look]
    struct look_found *found;
    // The sweep.
    struct store *store;
    const float *scales;
    struct finished *finished;
    struct lockstep *lockstep; // NULL: it does not go on there
    struct group_shape shape;
    int *samples;        // [the most of a batch]
    size_t first, least; // bytes that are free there: before anything was, and while it was at work
};

enum {
    SMALL_INNER = 2048,      // up to this d_inner a GPU is full with
    SMALL_TOKENS = 32 * 512, // so many tokens, else with
    LARGE_TOKENS = 8 * 512,
    MOST_SAMPLES = 256,
    LOGITS_ROWS = 2048,    // of lm_head at once, at most
    LOGITS_PARTS = 8,      // of a batch, down to
    LOGITS_LEAST = 512,    // rows
    HOST_BYTES = 512 << 20 // for what is measured of a batch
};

static int at_least(int a, int b)
{
    return a > b ? a : b;
}

static int at_most(int a, int b)
{
    return a < b ? a : b;
}

int gpu_tokens(const struct dims *dims, int longest)
{
    return at_least(dims->d_inner <= SMALL_INNER ? SMALL_TOKENS : LARGE_TOKENS, longest);
}

// Those that so many samples have, as far as that pays.
static int tokens_that_pay(const struct worker *worker, int samples, int longest)
{
    const int tokens = gpu_tokens(worker->dims, longest);
    return samples < tokens / longest ? samples * longest : tokens;
}

static void set_tokens(struct group_shape *shape, int tokens, int longest)
{
    const int rows = at_least(tokens / LOGITS_PARTS, at_most(longest, LOGITS_LEAST));
    shape->max_tokens = tokens;
    shape->logits_tokens = at_most(rows, LOGITS_ROWS);
}

// What pays in a sweep; memory has the last word.
static struct group_shape first_shape(const struct worker *worker)
{
    const int longest = worker->corpus->max_tokens, samples = at_most(worker->plan->samples, MOST_SAMPLES);
    struct group_shape shape = {
        .samples = samples, .threads = worker->threads, .logits_ids = worker->dims->vocab_size};
    set_tokens(&shape, tokens_that_pay(worker, samples, longest), longest);
    while (shape.samples > 1 && lockstep_bytes_here(worker, &shape) > HOST_BYTES)
        shape.samples /= 2;
    return shape;
}

// False: it has been one sample.
static bool halve(int *tokens, int longest)
{
    if (*tokens <= longest) return false;
    *tokens = at_least(*tokens / 2, longest);
    return true;
}

static bool halve_shape(struct group_shape *shape, int longest)
{
    int tokens = shape->max_tokens;
    if (!halve(&tokens, longest)) return false;
    set_tokens(shape, tokens, longest);
    return true;
}

// ---- its memory ----

// The most tokens of a pass over the calibration; 0: there is none there.
static int tokens_of_look(const struct worker *worker)
{
    const struct plan *plan = worker->plan;
    if (plan->n_cells == 0 || model_is_codes(worker->model) || !device_can_look(worker)) return 0;
    return tokens_that_pay(worker, at_most(plan->calibration_samples, MOST_SAMPLES),
                           worker->calibration->max_tokens);
}

// tokens: of the passes.
static size_t batch_bytes(const struct worker *worker, const struct group_shape *shape, int tokens)
{
    struct group_buffers unused = {0};
    struct arena here, there;
    arena_init_measure(&here);
    arena_init_measure(&there);
    group_buffers_carve(&unused, &here, &there, worker->plan, worker->dims, shape);
    return there.used_bytes + forward_bytes_on(backend_cuda(), worker->dims, tokens, shape->threads);
}

// Where the states in front of all chunks lie, if a mode scans by chunks.
static size_t scan_bytes(const struct dims *dims, const struct group_shape *shape)
{
    const struct ssd ssd = {.length = shape->max_tokens,
                            .heads = dims->n_heads,
                            .head_dim = dims->head_dim,
                            .groups = dims->n_groups,
                            .d_state = dims->d_state,
                            .chunk = dims->chunk_size,
                            .order = SSD_CHUNKED};
    return dims->chunk_size > 0 ? cuda_ssd_bytes(&ssd, shape->samples) : 0;
}

// Each embedding whole, as its rows go there once; activations that are turned for a product.
static size_t staging_bytes(const struct worker *worker, const struct group_shape *shape)
{
    const struct dims *dims = worker->dims;
    const size_t tokens = (size_t)shape->max_tokens, vocab = (size_t)dims->vocab_size,
                 row = stream_floats(dims, 1) * sizeof(float),
                 widest = (size_t)at_least(dims->d_inner, dims->d_model) * sizeof(float);
    const size_t tables = worker->model && worker->model->reference ? 2 : 1;
    return tables * vocab * row + tokens * widest + scan_bytes(dims, shape);
}

// As open_look() and open_batch() go about it.
void device_foresee(struct device_memory *memory, const struct worker *worker)
{
    const size_t there = cuda_free_bytes(worker->device);
    const unsigned parts = plan_weights(worker->plan, worker->model);
    int look = tokens_of_look(worker);
    *memory = (struct device_memory){.shape = first_shape(worker)};
    struct group_shape *shape = &memory->shape;
    memory->weights = weights_bytes(worker->model, parts, worker->plan->needs);
    for (;;) {
        memory->batch = batch_bytes(worker, shape, at_least(look, shape->max_tokens));
        memory->staging = staging_bytes(worker, shape);
        if (device_memory_bytes(memory) <= there) return;
        if (look > shape->max_tokens)
            look = 0; // the sweep goes on with less than the calibration
        else if (!halve_shape(shape, worker->corpus->max_tokens))
            break;
    }
    *memory = (struct device_memory){0};
}

// ---- life ----

static void close_batch(struct device *d)
{
    if (d->forward) {
        const size_t now = cuda_free_bytes(d->worker->device);
        if (now < d->least) d->least = now;
    }
    lockstep_close(d->lockstep);
    forward_close(d->forward);
    d->lockstep = NULL, d->forward = NULL;
}

static bool is_memory(const struct error *err)
{
    return strncmp(err->text, ERROR_MEMORY, strlen(ERROR_MEMORY)) == 0;
}

static void tell(const struct device *d, const struct error *why, const char *what)
{
    log_rank(d->worker->log, LOG_NORMAL, "cuda:%d: %s; %s", d->worker->device, why->text, what);
}

static void give_up(struct device *d, const struct error *why, const char *what)
{
    close_batch(d);
    d->given_up = true;
    tell(d, why, what);
}

static const char processors[] = "this rank computes on processors",
                  lost[] = "what was at work there, and all that follows, is computed on processors",
                  less[] = "takes less at once";

static enum status open_forward(struct device *d, int tokens, struct error *err)
{
    const struct worker *worker = d->worker;
    d->tokens = tokens;
    return forward_open_on(&d->forward, backend_cuda(), worker->weights, tokens, worker->threads, err);
}

enum status device_open(struct device **device, const struct worker *worker, struct error *err)
{
    struct device *d = calloc(1, sizeof *d);
    if (!d) return error_memory(err, sizeof *d, "a GPU");
    d->worker = worker;
    *device = d;
    if (cuda_use(worker->device, err)) give_up(d, err, processors);
    d->first = d->least = cuda_free_bytes(worker->device);
    *err = (struct error){0};
    return STATUS_OK;
}

void device_close(struct device *device)
{
    if (!device) return;
    close_batch(device);
    if (device->first > device->least)
        log_rank(device->worker->log, LOG_VERBOSE, "cuda:%d: took up to %.1f MiB of its memory",
                 device->worker->device, (double)(device->first - device->least) / (1024.0 * 1024.0));
    device_end_look(device);
    free(device->samples);
    free(device);
}

bool device_works(const struct device *device)
{
    return device && !device->given_up;
}

// ---- calibration ----

// With less at once while memory is out.
static enum status open_look(struct device *d, int tokens, struct error *err)
{
    const int longest = d->worker->calibration->max_tokens;
    for (;;) {
        *err = (struct error){0};
        if (open_forward(d, tokens, err) == STATUS_OK) break;
        if (!is_memory(err) || !halve(&tokens, longest)) return err->status;
    }
    free(d->ids);
    d->ids = malloc((size_t)d->tokens * sizeof *d->ids);
    if (!d->ids) error_memory(err, (size_t)d->tokens * sizeof *d->ids, "the samples of a batch");
    return err->status;
}

bool device_can_look(const struct worker *worker)
{
    const struct dims *dims = worker->dims;
    const long long numbers = 2LL * at_least(dims->d_inner, dims->d_model) * worker->calibration->max_tokens;
    return numbers <= UINT32_MAX;
}

bool device_begin_look(struct device *device, int samples)
{
    struct error err = {0};
    struct device *d = device;
    if (!device_works(d)) return false;
    const struct worker *worker = d->worker;
    const int tokens = tokens_that_pay(worker, samples, worker->calibration->max_tokens);
    close_batch(d);
    d->n_look = samples;
    d->lengths = malloc((size_t)samples * sizeof *d->lengths);
    d->found = malloc((size_t)samples * sizeof *d->found);
    if (!d->lengths || !d->found)
        error_memory(&err, (size_t)samples * sizeof *d->found, "the samples of a batch");
    // The sweep is to find room enough.
    const int sweeps = worker->plan && worker->plan->n_items > 0 ? first_shape(worker).max_tokens : 0;
    if (err.status || open_look(d, at_least(tokens, sweeps), &err)) {
        give_up(d, &err, processors);
        return false;
    }
    log_rank(worker->log, LOG_VERBOSE, "cuda:%d: observes up to %d samples of %d tokens in all at once",
             worker->device, samples, d->tokens);
    return true;
}

void device_end_look(struct device *device)
{
    if (!device) return;
    free(device->ids);
    free(device->lengths);
    free(device->found);
    device->ids = NULL, device->lengths = NULL, device->found = NULL;
}

void device_renew(struct device *device)
{
    if (device) close_batch(device);
}

// Lines up as many samples as fit; *tokens: theirs.
static int line_up(struct device *d, const int *samples, int count, int *tokens)
{
    const struct corpus *corpus = d->worker->calibration;
    int n = 0;
    for (*tokens = 0; n < count && n < d->n_look; n++) {
        const int length = corpus->length[samples[n]];
        if (*tokens + length > d->tokens) break;
        memcpy(d->ids + *tokens, corpus->ids + (size_t)samples[n] * (size_t)corpus->max_tokens,
               (size_t)length * sizeof *d->ids);
        d->lengths[n] = length;
        *tokens += length;
    }
    return n;
}

static void forget(struct observation *observation, int samples, const struct dims *dims)
{
    const size_t counts = (size_t)samples * (size_t)dims->n_layer * (size_t)dims->arch->n_sites;
    if (observation->numbers)
        memset(observation->numbers, 0,
               (size_t)samples * (size_t)observation->row * sizeof *observation->numbers);
    if (observation->histogram)
        memset(observation->histogram, 0, counts * HISTOGRAM_BINS * sizeof *observation->histogram);
}

// What becomes of a pass that failed: true if it is to be tried again.
static bool lower_look(struct device *d, const struct error *why)
{
    struct error err = {0};
    int tokens = d->tokens;
    close_batch(d);
    if (is_memory(why) && halve(&tokens, d->worker->calibration->max_tokens) && !open_look(d, tokens, &err)) {
        tell(d, why, less);
        return true;
    }
    give_up(d, why, lost);
    return false;
}

int device_look(struct device *device, const int *samples, int count, struct observation *observation,
                const struct capture *capture)
{
    struct device *d = device;
    while (device_works(d)) {
        struct error err = {0};
        int tokens;
        const int n = line_up(d, samples, count, &tokens);
        observation->samples = n;
        observation->lengths = d->lengths;
        observation->found = d->found;
        forget(observation, n, d->worker->dims);
        forward_divide(d->forward, d->lengths, n);
        const bool whole = forward_observe(d->forward, observation, d->ids, tokens, capture);
        if (forward_settle(d->forward, &err) == STATUS_OK) return whole ? n : 0;
        if (!lower_look(d, &err)) break;
    }
    return 0;
}

void device_tell_broken(struct device *device, int sample)
{
    if (!device->told_broken)
        log_rank(device->worker->log, LOG_NORMAL,
                 "cuda:%d: sample %d has what is not finite; processors observe it, and all that are so",
                 device->worker->device, sample);
    device->told_broken = true;
}

// ---- the sweep ----

// With less at once while memory is out.
static enum status open_batch(struct device *d, struct error *err)
{
    const struct worker *worker = d->worker;
    const int longest = worker->corpus->max_tokens;
    if (d->forward && d->tokens < d->shape.max_tokens) // that was all there was
        set_tokens(&d->shape, at_least(d->tokens, longest), longest);
    if (d->forward && d->tokens < d->shape.max_tokens) close_batch(d);
    for (;;) {
        *err = (struct error){0};
        if ((d->forward || !open_forward(d, d->shape.max_tokens, err)) &&
            !lockstep_open(&d->lockstep, worker, d->forward, &d->shape, d->store, d->scales, err))
            return STATUS_OK;
        const bool spacious = d->forward && d->tokens > d->shape.max_tokens; // for the calibration
        close_batch(d);
        if (!is_memory(err) || (!spacious && !halve_shape(&d->shape, longest))) return err->status;
    }
}

bool device_begin(struct device *device, struct store *store, const float *scales, struct finished *finished)
{
    struct device *d = device;
    struct error err = {0};
    if (!device_works(d)) return false;
    const struct worker *worker = d->worker;
    d->store = store;
    d->scales = scales;
    d->finished = finished;
    d->shape = first_shape(worker);
    d->samples = malloc((size_t)d->shape.samples * sizeof *d->samples);
    if (!d->samples)
        error_memory(&err, (size_t)d->shape.samples * sizeof *d->samples, "the samples of a batch");
    if (err.status || store_widen(store, d->shape.samples, worker->threads, &err) || open_batch(d, &err)) {
        give_up(d, &err, processors);
        return false;
    }
    log_rank(worker->log, LOG_VERBOSE, "cuda:%d: up to %d samples of %d tokens in all at once",
             worker->device, d->shape.samples, d->shape.max_tokens);
    return true;
}

int device_items(const struct device *device)
{
    if (!device || !device->lockstep) return 0;
    const struct plan *plan = device->worker->plan;
    int groups = 1;
    for (int s = 0; s < plan->n_stretches; s++)
        groups = at_least(groups, plan->stretches[s].n_groups);
    return at_least(device->shape.samples / plan->shard, 1) * groups;
}

// ---- items ----

// The samples that are lined up in d->samples, if any.
static enum status run_batch(struct device *d, const struct group *group, int *count,
                             struct scheduler *scheduler, struct error *err)
{
    const int samples = *count;
    *count = 0;
    if (samples == 0) return STATUS_OK;
    return lockstep_samples(d->lockstep, group, d->samples, samples, d->finished, scheduler, err);
}

static bool fits(const struct device *d, const struct group *group, int sample, int count, int tokens)
{
    return count == 0 ||
           (count < d->shape.samples && tokens + d->worker->corpus->length[sample] <= d->shape.max_tokens &&
            lockstep_alike(d->worker->plan, group, sample, d->samples[0], d->finished));
}

// What items first .. first + count - 1 have in a group.
static enum status run_group(struct device *d, int group, int first, int count, struct scheduler *scheduler,
                             struct error *err)
{
    const struct plan *plan = d->worker->plan;
    int samples = 0, tokens = 0;
    for (int i = first; i < first + count && !err->status; i++) {
        const struct item item = plan_item(plan, i);
        for (int place = item.first_place;
             item.group == group && place < item.first_place + item.samples && !err->status; place++) {
            const int sample = plan_sample(plan, place);
            if (!fits(d, &plan->groups[group], sample, samples, tokens)) {
                run_batch(d, &plan->groups[group], &samples, scheduler, err);
                tokens = 0;
            }
            d->samples[samples++] = sample;
            tokens += d->worker->corpus->length[sample];
        }
    }
    return err->status ? err->status : run_batch(d, &plan->groups[group], &samples, scheduler, err);
}

// Each group at its first item.
static enum status run_items(struct device *d, int first, int count, struct scheduler *scheduler,
                             struct error *err)
{
    const struct plan *plan = d->worker->plan;
    if (d->worker->model) model_release(d->worker->model); // rows of embeddings add up
    for (int i = first; i < first + count && !err->status; i++) {
        const int group = plan_item(plan, i).group;
        int before = first;
        while (before < i && plan_item(plan, before).group != group)
            before++;
        if (before == i) run_group(d, group, i, first + count - i, scheduler, err);
    }
    return err->status;
}

// What becomes of a batch that failed: true if it is to be tried again.
static bool lower(struct device *d, const struct error *why)
{
    struct error err = {0};
    const struct error *unwritten;
    int run;
    if (why->status == STATUS_STOPPED || lockstep_failure(d->lockstep, 0, &run, &unwritten)) return false;
    close_batch(d);
    if (is_memory(why) && halve_shape(&d->shape, d->worker->corpus->max_tokens) && !open_batch(d, &err)) {
        tell(d, why, less);
        return true;
    }
    give_up(d, why, lost);
    return false;
}

bool device_run(struct device *device, int first, int count, struct scheduler *scheduler)
{
    struct error err = {0};
    if (!device || !device->lockstep) return false;
    while (run_items(device, first, count, scheduler, &err)) {
        if (!lower(device, &err)) return false;
        err = (struct error){0};
    }
    return true;
}
