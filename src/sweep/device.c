// SPDX-License-Identifier: Apache-2.0
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lockstep.h"
#include "ssmsweep/arch/arch.h"
#include "ssmsweep/compute/cuda.h"
#include "ssmsweep/plan/predict.h"
#include "ssmsweep/sweep/gpu.h"

// ---- which one ----

enum wanted { WANTED_NONE, WANTED_IF_THERE, WANTED };
enum { MOST_DEVICES = 1024 };

// index: -1 where none is named.
static enum status read_word(const char *word, enum wanted *wanted, int *index, struct error *err)
{
    static const char named[] = "cuda:";
    char *end = NULL;
    *wanted = strcmp(word, "auto") == 0 ? WANTED_IF_THERE : strcmp(word, "cpu") == 0 ? WANTED_NONE : WANTED;
    *index = -1;
    if (*wanted != WANTED || strcmp(word, "cuda") == 0) return STATUS_OK;
    if (strncmp(word, named, strlen(named)) == 0 && word[strlen(named)] >= '0' &&
        word[strlen(named)] <= '9') {
        const long number = strtol(word + strlen(named), &end, 10);
        if (!*end && number < MOST_DEVICES) {
            *index = (int)number;
            return STATUS_OK;
        }
    }
    return error_set(err, STATUS_USAGE, "--device: expected auto, cpu, cuda or cuda:INDEX, got '%.100s'",
                     word);
}

static enum status refuse(const char *word, int index, struct error *err)
{
    const int there = cuda_devices();
    if (!cuda_version())
        return error_set(err, STATUS_USAGE,
                         "--device %s: this program was built without CUDA; leave the option out, or build "
                         "with -DSSMSWEEP_CUDA=ON",
                         word);
    if (there > 0 && index >= there)
        return error_set(err, STATUS_USAGE,
                         "--device %s: expected an index below %d, of which `ssmsweep info --machine` tells",
                         word, there);
    return error_set(err, STATUS_USAGE,
                     "--device %s: there is no GPU that CUDA can use (`ssmsweep info --machine`); leave the "
                     "option out to compute on processors",
                     word);
}

enum status gpu_choose(const char *word, int *index, bool *by_name, struct error *err)
{
    enum wanted wanted;
    int named;
    if (read_word(word, &wanted, &named, err)) return err->status;
    *index = named >= 0 ? named : 0;
    *by_name = wanted == WANTED;
    if (wanted == WANTED && *index >= cuda_devices()) return refuse(word, named, err);
    if (wanted == WANTED_NONE || *index >= cuda_devices()) *index = -1;
    return STATUS_OK;
}

// What a rank has.  Plain bytes: it travels.
struct seat {
    int index; // -1: none
    char name[64];
    unsigned char uuid[sizeof((struct cuda_device *)0)->uuid];
};

static struct seat choose(enum wanted wanted, int index, const struct comm *comm)
{
    struct seat made = {.index = -1};
    struct cuda_device device;
    struct error unknown = {0};
    const int devices = wanted == WANTED_NONE ? 0 : cuda_devices();
    const int mine = index >= 0 ? index : devices > 0 ? comm->node_rank % devices : 0;
    if (mine >= devices || cuda_describe(mine, &device, &unknown)) return made;
    made.index = mine;
    snprintf(made.name, sizeof made.name, "%.60s", device.name);
    memcpy(made.uuid, device.uuid, sizeof made.uuid);
    return made;
}

// A device is that of the first rank of the node that chose it.
static enum status share_out(struct seat *mine, const struct comm *comm, struct error *err)
{
    struct seat *all = malloc((size_t)comm->node_ranks * sizeof *all);
    if (!all) error_memory(err, (size_t)comm->node_ranks * sizeof *all, "the GPUs of the ranks");
    if (comm_agree(comm, err) == STATUS_OK) {
        MPI_Allgather(mine, (int)sizeof *mine, MPI_BYTE, all, (int)sizeof *mine, MPI_BYTE, comm->node);
        for (int r = 0; r < comm->node_rank; r++)
            if (all[r].index >= 0 && memcmp(all[r].uuid, mine->uuid, sizeof mine->uuid) == 0)
                mine->index = -1;
    }
    free(all);
    return err->status;
}

// How many ranks have one; rank 0 gets the name of the first.
static int count_all(struct seat *mine, const struct comm *comm)
{
    int have = mine->index >= 0, count, first = have ? comm->rank : comm->ranks;
    MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm->world);
    MPI_Allreduce(&have, &count, 1, MPI_INT, MPI_SUM, comm->world);
    if (count > 0) MPI_Bcast(mine->name, (int)sizeof mine->name, MPI_CHAR, first, comm->world);
    return count;
}

enum status device_choose(struct sweep *sweep, struct error *err)
{
    enum wanted wanted;
    int index;
    sweep->device = -1;
    if (read_word(sweep->job->device, &wanted, &index, err)) return err->status; // on all ranks
    if (wanted == WANTED_NONE) return STATUS_OK;
    struct seat mine = choose(wanted, index, sweep->comm);
    if (share_out(&mine, sweep->comm, err)) return err->status;
    const int count = count_all(&mine, sweep->comm);
    if (count == 0 && wanted == WANTED && sweep->comm->rank == 0) refuse(sweep->job->device, index, err);
    if (comm_agree(sweep->comm, err) || count == 0) return err->status;
    sweep->device = mine.index;
    sweep->devices = count;
    log_job(sweep->log, LOG_NORMAL, "%d of %d ranks compute%s on a GPU, %s", count, sweep->comm->ranks,
            count == 1 ? "s" : "", mine.name);
    return STATUS_OK;
}

bool gpu_knows(const struct dims *dims)
{
    return dims->chunk_size == 0;
}

void device_settle(struct sweep *sweep)
{
    const struct dims *dims = &sweep->model.dims;
    if (sweep->devices == 0 || gpu_knows(dims)) return;
    log_job(sweep->log, LOG_NORMAL, "%s is not computed on GPUs yet: all ranks compute on processors",
            dims->arch->title);
    sweep->device = -1;
    sweep->devices = 0;
}

// ---- the batch ----

struct device {
    const struct worker *worker;
    struct store *store;
    const float *scales;
    struct finished *finished;
    struct forward *forward;
    struct lockstep *lockstep; // NULL: the device is not used any more
    struct group_shape shape;
    int *samples;        // [the most of a batch]
    size_t first, least; // bytes that are free there: before anything was, and while it was at work
};

enum {
    SMALL_INNER = 2048,      // up to this d_inner a GPU is full with
    SMALL_TOKENS = 32 * 512, // so many tokens, else with
    LARGE_TOKENS = 8 * 512,
    MOST_SAMPLES = 256,
    LOGITS_ROWS = 512,
    HOST_BYTES = 512 << 20 // for what is measured of a batch
};

static int at_least(int a, int b)
{
    return a > b ? a : b;
}

int gpu_tokens(const struct dims *dims, int longest)
{
    return at_least(dims->d_inner <= SMALL_INNER ? SMALL_TOKENS : LARGE_TOKENS, longest);
}

// What pays; memory has the last word.
static struct group_shape first_shape(const struct worker *worker)
{
    const int longest = worker->corpus->max_tokens;
    const int tokens = gpu_tokens(worker->dims, longest);
    const int samples = worker->plan->samples < MOST_SAMPLES ? worker->plan->samples : MOST_SAMPLES;
    struct group_shape shape = {.samples = samples,
                                .max_tokens = samples < tokens / longest ? samples * longest : tokens,
                                .threads = worker->threads,
                                .logits_tokens = longest < LOGITS_ROWS ? longest : LOGITS_ROWS,
                                .logits_ids = worker->dims->vocab_size};
    while (shape.samples > 1 && lockstep_bytes_here(worker, &shape) > HOST_BYTES)
        shape.samples /= 2;
    return shape;
}

// False: it has been one sample.
static bool halve(struct group_shape *shape, int longest)
{
    if (shape->max_tokens <= longest) return false;
    shape->max_tokens = at_least(shape->max_tokens / 2, longest);
    return true;
}

// ---- its memory ----

static size_t free_bytes(const struct worker *worker)
{
    struct cuda_device device = {0};
    struct error unknown = {0};
    cuda_describe(worker->device, &device, &unknown);
    return device.free_bytes;
}

static size_t batch_bytes(const struct worker *worker, const struct group_shape *shape)
{
    struct group_buffers unused = {0};
    struct arena here, there;
    arena_init_measure(&here);
    arena_init_measure(&there);
    group_buffers_carve(&unused, &here, &there, worker->plan, worker->dims, shape);
    return there.used_bytes +
           forward_bytes_on(backend_cuda(), worker->dims, shape->max_tokens, shape->threads);
}

// Each embedding whole, as its rows go there once; the rows of a batch on their way; activations that are
// turned for a product.
static size_t staging_bytes(const struct worker *worker, const struct group_shape *shape)
{
    const struct dims *dims = worker->dims;
    const size_t tokens = (size_t)shape->max_tokens, vocab = (size_t)dims->vocab_size,
                 row = stream_floats(dims, 1) * sizeof(float),
                 widest = (size_t)at_least(dims->d_inner, dims->d_model) * sizeof(float);
    const size_t tables = worker->model && worker->model->reference ? 2 : 1;
    return tables * vocab * row + (tokens < vocab ? tokens : vocab) * row + tokens * widest;
}

// As open_batch() goes about it.
void device_foresee(struct device_memory *memory, const struct worker *worker)
{
    const size_t there = free_bytes(worker);
    const unsigned parts = plan_weights(worker->plan, worker->model);
    *memory = (struct device_memory){.shape = first_shape(worker)};
    memory->weights = weights_bytes(worker->model, parts, worker->plan->needs);
    do {
        memory->batch = batch_bytes(worker, &memory->shape);
        memory->staging = staging_bytes(worker, &memory->shape);
        if (device_memory_bytes(memory) <= there) return;
    } while (halve(&memory->shape, worker->corpus->max_tokens));
    *memory = (struct device_memory){0};
}

// ---- life ----

static void close_batch(struct device *d)
{
    if (d->lockstep) {
        const size_t now = free_bytes(d->worker);
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

// With less at once while memory is out.
static enum status open_batch(struct device *d, struct error *err)
{
    const struct worker *worker = d->worker;
    for (;;) {
        *err = (struct error){0};
        if (!forward_open_on(&d->forward, backend_cuda(), worker->weights, d->shape.max_tokens,
                             d->shape.threads, err) &&
            !lockstep_open(&d->lockstep, worker, d->forward, &d->shape, d->store, d->scales, err))
            return STATUS_OK;
        close_batch(d);
        if (!is_memory(err) || !halve(&d->shape, worker->corpus->max_tokens)) return err->status;
    }
}

static void tell(const struct device *d, const struct error *why, const char *what)
{
    log_rank(d->worker->log, LOG_NORMAL, "cuda:%d: %s; %s", d->worker->device, why->text, what);
}

void device_open(struct device **device, const struct worker *worker, struct store *store,
                 const float *scales, struct finished *finished)
{
    struct error err = {0};
    *device = NULL;
    if (worker->device < 0) return;
    struct device *d = calloc(1, sizeof *d);
    if (!d) return;
    *d = (struct device){.worker = worker,
                         .store = store,
                         .scales = scales,
                         .finished = finished,
                         .shape = first_shape(worker)};
    d->samples = malloc((size_t)d->shape.samples * sizeof *d->samples);
    if (!d->samples)
        error_memory(&err, (size_t)d->shape.samples * sizeof *d->samples, "the samples of a batch");
    if (!err.status && !cuda_use(worker->device, &err)) d->first = d->least = free_bytes(worker);
    if (err.status || store_widen(store, d->shape.samples, &err) || open_batch(d, &err)) {
        tell(d, &err, "this rank computes on processors");
        device_close(d);
        return;
    }
    log_rank(worker->log, LOG_VERBOSE, "cuda:%d: up to %d samples of %d tokens in all at once",
             worker->device, d->shape.samples, d->shape.max_tokens);
    *device = d;
}

void device_close(struct device *device)
{
    if (!device) return;
    close_batch(device);
    if (device->first > device->least)
        log_rank(device->worker->log, LOG_VERBOSE, "cuda:%d: took up to %.1f MiB of its memory",
                 device->worker->device, (double)(device->first - device->least) / (1024.0 * 1024.0));
    free(device->samples);
    free(device);
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
    if (is_memory(why) && halve(&d->shape, d->worker->corpus->max_tokens) && !open_batch(d, &err)) {
        tell(d, why, "takes less at once");
        return true;
    }
    tell(d, why, "what was at work there, and all that follows, is computed on processors");
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
