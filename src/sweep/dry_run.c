// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/dry_run.h"

#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "inputs.h"
#include "setup.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/compute/backend.h"
#include "ssmsweep/compute/cuda.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/plan/predict.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/progress.h"

enum { MOST_TOKENS = 128, MOST_VOCAB = 4096, PREDICTED_TOKENS = 64, MOST_PREDICTED = 512, LEAST_RUNS = 2 };
static const double MEASURED_SECONDS = 1.5; // all of it, where a layer is short

// ---- time: one layer of each mode, computed and measured on every rank at once ----

// Seconds on the slowest rank.  The reports that follow are not in it.
struct time_plan {
    double pack, calibrate, sweep;
    double item; // the longest
    // Behind those of all ranks on processors: that of the GPUs, 0 where there are none, and of the ranks
    // beside them.
    double gpu_copy, gpu_sweep, gpu_item, beside;
    double gpu_calibrate, beside_calibrate; // likewise
};

// One layer of the model, and what a batch has there: one sample on the processor, many on a GPU.
struct stand {
    const struct sweep *sweep;
    const struct model *model;
    struct forward *forward;
    bool on_host; // else memory of the backend is not
    struct stream stream;
    struct arena arena;
    int tokens, samples;
    int predicted, predicted_ids; // at once
    int32_t *ids;                 // [tokens]
    int *lengths;                 // [samples]
    struct measured *found;       // [components][samples]
    struct prediction predictions[MOST_PREDICTED];
    int32_t next[MOST_PREDICTED];
    float scales[ARCH_MOST_SITES];
    float *reference[ARCH_MOST_COMPONENTS], *values[ARCH_MOST_COMPONENTS];
    float *normed, *logits, *observed; // the last: [samples][n_sites]
    uint32_t *counts;                  // [samples][n_sites][HISTOGRAM_BINS]
    float *means;                      // [samples][d_inner]
    struct look_found *looked;         // [samples]
    struct observers observers;
    struct error failed; // the first, of a GPU
    bool measures;       // the layer is that of a run that is compared
    double seconds;      // for each measurement
};

static float *take_floats(struct arena *arena, size_t count)
{
    return arena_take(arena, count * sizeof(float));
}

static size_t counts_bytes(const struct dims *dims)
{
    return (size_t)dims->arch->n_sites * HISTOGRAM_BINS * sizeof(uint32_t);
}

static void carve(struct stand *s, struct arena *arena)
{
    const struct dims *dims = &s->model->dims;
    const size_t ids = (size_t)((s->predicted_ids + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES);
    for (int c = 0; c < dims->arch->n_components; c++) {
        const size_t values = (size_t)s->tokens * (size_t)arch_width(dims, c);
        s->reference[c] = take_floats(arena, values);
        s->values[c] = take_floats(arena, values);
    }
    s->stream.residual = take_floats(arena, stream_floats(dims, s->tokens));
    s->stream.h = take_floats(arena, stream_floats(dims, s->tokens));
    s->normed = take_floats(arena, stream_floats(dims, s->predicted));
    s->logits = take_floats(arena, (size_t)s->predicted * ids);
}

static bool take_tables(struct stand *s)
{
    const struct dims *dims = &s->model->dims;
    const size_t samples = (size_t)s->samples, tokens = (size_t)s->tokens;
    s->ids = malloc(tokens * sizeof *s->ids);
    s->lengths = malloc(samples * sizeof *s->lengths);
    s->found = malloc((size_t)dims->arch->n_components * samples * sizeof *s->found);
    s->observed = malloc(samples * (size_t)dims->arch->n_sites * sizeof *s->observed);
    s->counts = calloc(samples, counts_bytes(dims));
    s->means = malloc(samples * (size_t)dims->d_inner * sizeof *s->means);
    s->looked = malloc(samples * sizeof *s->looked);
    if (!s->ids || !s->lengths || !s->found || !s->observed || !s->counts || !s->means || !s->looked)
        return false;
    for (int t = 0; t < s->tokens; t++)
        s->ids[t] = t % dims->vocab_size;
    for (int i = 0; i < s->samples; i++)
        s->lengths[i] = s->tokens / s->samples;
    for (int i = 0; i < dims->arch->n_sites; i++)
        s->scales[i] = 0.05f; // the time does not depend on it
    return true;
}

// On the backend of s->forward, with so many tokens in so many samples of the same length.
static enum status stand_open(struct stand *s, int tokens, int samples, struct error *err)
{
    const struct backend *on = forward_backend(s->forward);
    const int vocab = s->model->dims.vocab_size, ids = s->on_host ? PREDICTION_PIECE : vocab,
              predicted = s->on_host ? PREDICTED_TOKENS : MOST_PREDICTED;
    struct arena measured;
    s->tokens = tokens, s->samples = samples;
    s->predicted = tokens < predicted ? tokens : predicted;
    s->predicted_ids = vocab < ids ? vocab : ids;
    s->observers = s->sweep->plan.observers;
    if (!take_tables(s)) return error_memory(err, sizeof *s, "the measurement");
    arena_init_measure(&measured);
    carve(s, &measured);
    if (on->reserve(&s->arena, measured.used_bytes, "the measurement", err)) return err->status;
    carve(s, &s->arena);
    if (!s->on_host) forward_divide(s->forward, s->lengths, samples);
    return STATUS_OK;
}

static void stand_close(struct stand *s)
{
    if (s->arena.base) forward_backend(s->forward)->release(&s->arena);
    free(s->ids);
    free(s->lengths);
    free(s->found);
    free(s->observed);
    free(s->counts);
    free(s->means);
    free(s->looked);
}

// ---- what is timed ----

// So many components from one on.
static void measure(const struct stand *s, int first, int count, const float *const *values)
{
    struct pair pairs[ARCH_MOST_COMPONENTS] = {{0}};
    for (int c = 0; c < count; c++)
        pairs[c] = (struct pair){.ref = s->reference[first + c],
                                 .mode = values[c],
                                 .width = arch_width(&s->model->dims, first + c),
                                 .profiled = s->sweep->plan.profiles};
    forward_measure(s->forward, pairs, count, s->tokens, s->found);
}

// The processor measures at once, a device behind the layer, as sweep/lockstep.c has it.
static bool at_once(const struct stand *s)
{
    return s->on_host;
}

static bool take(void *context, int layer, int component, const float *values, int length, int width)
{
    const struct stand *s = context;
    (void)layer;
    if (s->measures && at_once(s))
        measure(s, component, 1, &values);
    else if (s->on_host)
        memcpy((s->measures ? s->values : s->reference)[component], values,
               (size_t)length * (size_t)width * sizeof *values);
    return true;
}

static float *place(void *context, int component)
{
    const struct stand *s = context;
    return (s->measures ? s->values : s->reference)[component];
}

static void run_layer(struct stand *s, const struct recipe *recipe, bool measures)
{
    const uint32_t all[1] = {arch_all_components(s->model->dims.arch)};
    const struct capture capture = {
        .want = all, .place = s->on_host ? NULL : place, .take = take, .context = s};
    s->measures = measures;
    forward_step(s->forward, &s->stream, recipe, s->scales, 0, s->tokens, &capture, NULL);
    if (measures && !at_once(s))
        measure(s, 0, s->model->dims.arch->n_components, (const float *const *)s->values);
}

// Groups of heads are formed in a pass of their own, and in the other one their maxima are looked for, which
// takes as long as the means do.
static void run_observation(struct stand *s, bool forms_groups)
{
    const struct observation observation = {.observers = &s->observers,
                                            .numbers = forms_groups ? NULL : s->observed,
                                            .histogram = s->counts,
                                            .channel_means = s->model->dims.grouped ? s->means : NULL,
                                            .samples = s->on_host ? 0 : s->samples,
                                            .row = s->model->dims.arch->n_sites,
                                            .lengths = s->lengths,
                                            .found = s->looked};
    forward_observe(s->forward, &observation, s->ids, s->tokens, NULL);
}

static void run_predictions(struct stand *s)
{
    head_logits(s->forward, s->stream.rotated, s->normed, s->predicted, 0, s->predicted_ids, s->logits);
    forward_predict(s->forward, s->predictions, s->logits, s->logits, s->next, s->predicted, 0,
                    s->predicted_ids);
}

enum subject { TIMED_LAYER, TIMED_COMPARED_LAYER, TIMED_OBSERVATION, TIMED_GROUPS, TIMED_PREDICTIONS };

static void run_subject(struct stand *s, enum subject subject, const struct recipe *recipe)
{
    struct error err = {0};
    if (subject == TIMED_OBSERVATION || subject == TIMED_GROUPS)
        run_observation(s, subject == TIMED_GROUPS);
    else if (subject == TIMED_PREDICTIONS)
        run_predictions(s);
    else
        run_layer(s, recipe, subject == TIMED_COMPARED_LAYER);
    if (forward_settle(s->forward, &err) && !s->failed.status) s->failed = err;
}

// The mean, as other work on the machine takes its share of the sweep too.  A first run warms the caches.
static double time_subject(struct stand *s, enum subject subject, const struct recipe *recipe)
{
    int runs = 0;
    if (recipe) forward_start(s->forward, &s->stream, recipe, s->ids, s->tokens);
    run_subject(s, subject, recipe);
    const double started = progress_clock();
    double spent = 0;
    while (runs < LEAST_RUNS || spent < s->seconds) {
        run_subject(s, subject, recipe);
        spent = progress_clock() - started;
        runs++;
    }
    return spent / runs;
}

// ---- the rates ----

// Seconds of a layer of a setting: computed, and compared as well.
struct timed_setting {
    enum precision precision;
    struct setting setting;
    double alone, compared;
};

// The layers of the recipes by their settings: [most]; how many there are so far.
struct timed_settings {
    struct timed_setting *items;
    int count;
};

// Settings that are timed; one beyond them counts as the last.
enum { MOST_SETTINGS = 64 };

// The setting of a layer of a recipe, added where it is not there.
static struct timed_setting *find_setting(struct timed_settings *timed, const struct recipe *recipe,
                                          int layer)
{
    for (int i = 0; i < timed->count; i++)
        if (timed->items[i].precision == recipe->precision &&
            setting_equal(&timed->items[i].setting, &recipe->layers[layer]))
            return &timed->items[i];
    if (timed->count == MOST_SETTINGS) return &timed->items[MOST_SETTINGS - 1];
    timed->items[timed->count] = (struct timed_setting){recipe->precision, recipe->layers[layer], 0, 0};
    return &timed->items[timed->count++];
}

static void time_settings(struct stand *s, const struct timed_settings *timed)
{
    s->seconds = MEASURED_SECONDS / (2 * timed->count + 2);
    for (struct timed_setting *t = timed->items; t < timed->items + timed->count; t++) {
        const struct recipe one = {t->precision, FORMAT_FP16, 1, &t->setting};
        t->alone = time_subject(s, TIMED_LAYER, &one);
        t->compared = time_subject(s, TIMED_COMPARED_LAYER, &one);
    }
}

static void measure_rates(struct stand *s, struct plan_rates *rates)
{
    const struct plan *plan = &s->sweep->plan;
    const struct dims *dims = &s->sweep->model.dims;
    const double layers = (double)dims->n_layer / s->tokens;
    struct timed_setting items[MOST_SETTINGS];
    struct timed_settings timed = {items, 0};
    for (int r = 0; r < plan->n_runs; r++)
        for (int l = 0; l < dims->n_layer; l++)
            find_setting(&timed, plan->runs[r].recipe, l);
    time_settings(s, &timed);
    for (int r = 0; r < plan->n_runs; r++)
        for (int l = 0; l < dims->n_layer; l++) {
            const struct timed_setting *layer = find_setting(&timed, plan->runs[r].recipe, l);
            rates->alone[r] += layer->alone / s->tokens;
            rates->compared[r] += layer->compared / s->tokens;
        }
    if (plan->n_cells > 0 && !model_is_codes(&s->sweep->model))
        rates->observation = layers * (time_subject(s, TIMED_OBSERVATION, NULL) +
                                       (dims->grouped ? time_subject(s, TIMED_GROUPS, NULL) : 0));
    if (plan->logits)
        rates->prediction =
            time_subject(s, TIMED_PREDICTIONS, NULL) / s->predicted * dims->vocab_size / s->predicted_ids;
}

static double tokens_of(const struct corpus *corpus)
{
    double tokens = 0;
    for (int i = 0; i < corpus->samples; i++)
        tokens += corpus->length[i];
    return tokens;
}

// ---- the whole ----

// One layer of the model, packed.
struct layer {
    struct model model; // with a piece of the vocabulary
    struct needs needs;
    struct engine engine;
};

// Collective.
static enum status layer_open(struct layer *l, const struct sweep *sweep, int tokens, double *pack_seconds,
                              struct error *err)
{
    const double started = progress_clock();
    const unsigned parts = plan_weights(&sweep->plan, &sweep->model);
    l->model = sweep->model;
    l->model.dims.n_layer = 1;
    l->model.dims.grouped = false; // the time hardly depends on it
    if (l->model.dims.vocab_size > MOST_VOCAB) l->model.dims.vocab_size = MOST_VOCAB;
    for (int i = 0; i < sweep->plan.n_layer; i++) // the one layer stands for all
        for (int u = 0; u < RECIPE_MOST_UNITS; u++)
            l->needs.of[u] |= sweep->plan.needs[i].of[u];
    engine_open(&l->engine, sweep->comm, &l->model, parts, &l->needs, tokens, sweep->threads, sweep->log,
                err);
    *pack_seconds = (progress_clock() - started) * sweep->model.dims.n_layer;
    // One layer may not keep all threads of the node busy.
    const int hands = sweep->threads * sweep->comm->node_ranks;
    if (!err->status && weights_tasks(l->engine.weights) < hands)
        *pack_seconds *= (double)weights_tasks(l->engine.weights) / hands;
    return err->status;
}

static int mean_length(const struct sweep *sweep)
{
    const struct corpus *corpus = &sweep->corpus;
    const int mean = corpus->samples > 0 ? (int)(tokens_of(corpus) / corpus->samples) : 1;
    return mean < 1 ? 1 : mean;
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

// Collective.
static enum status measure_host(struct stand *s, const struct layer *layer, struct plan_rates *rates,
                                struct error *err)
{
    s->model = &layer->model;
    s->forward = layer->engine.forward;
    s->on_host = true;
    stand_open(s, smaller(mean_length(s->sweep), MOST_TOKENS), 1, err);
    if (comm_agree(s->sweep->comm, err) == STATUS_OK) measure_rates(s, rates);
    return err->status;
}

// Local, of the rank's GPU.  False: it cannot do it.  *copy_seconds: of the weights of all layers.
static bool measure_gpu(struct stand *s, const struct layer *layer, const struct group_shape *shape,
                        struct plan_rates *rates, double *copy_seconds)
{
    struct error err = {0};
    const int length = smaller(mean_length(s->sweep), shape->max_tokens);
    const int samples = smaller(shape->samples, shape->max_tokens / length);
    s->model = &layer->model;
    if (cuda_use(s->sweep->device, &err)) return false;
    for (int i = 0; i < 2; i++) { // at first the device starts
        const double started = progress_clock();
        forward_close(s->forward);
        s->forward = NULL;
        if (forward_open_on(&s->forward, backend_cuda(), layer->engine.weights, samples * length,
                            s->sweep->threads, &err))
            return false;
        *copy_seconds = (progress_clock() - started) * s->sweep->model.dims.n_layer;
    }
    if (stand_open(s, samples * length, samples, &err) == STATUS_OK) measure_rates(s, rates);
    stand_close(s);
    forward_close(s->forward);
    return !err.status && !s->failed.status;
}

// At the rates of so many ranks.
static struct predicted_time predict_time(const struct sweep *sweep, int ranks,
                                          const struct plan_rates *rates)
{
    return plan_time(&sweep->plan, &sweep->corpus, sweep_calibration_text(sweep), ranks, rates);
}

// Whoever is free takes the next item; 0: nobody is beside the GPUs.
static double together(double gpus, double beside)
{
    return beside > 0 ? 1 / (1 / gpus + 1 / beside) : gpus;
}

static void join_gpus(struct time_plan *plan)
{
    if (plan->gpu_sweep == 0) return;
    plan->pack += plan->gpu_copy;
    plan->sweep = together(plan->gpu_sweep, plan->beside);
    if (plan->gpu_calibrate > 0) plan->calibrate = together(plan->gpu_calibrate, plan->beside_calibrate);
    if (plan->beside == 0) plan->item = plan->gpu_item;
}

// What of it is computed on processors and on GPUs.
static enum status measure_both(struct time_plan *plan, const struct layer *layer, const struct sweep *sweep,
                                const struct group_shape *shape, struct plan_rates rates[2],
                                struct stand stands[2], struct error *err)
{
    const int ranks = sweep->comm->ranks, beside = ranks - sweep->devices;
    stands[0].sweep = stands[1].sweep = sweep;
    if (measure_host(&stands[0], layer, &rates[0], err)) return err->status;
    const struct predicted_time host = predict_time(sweep, ranks, &rates[0]);
    plan->calibrate = host.calibrate, plan->sweep = host.sweep, plan->item = host.item;
    if (beside > 0) {
        const struct predicted_time others = predict_time(sweep, beside, &rates[0]);
        plan->beside = others.sweep, plan->beside_calibrate = others.calibrate;
    }
    if (sweep->device >= 0 && shape->samples > 0 &&
        measure_gpu(&stands[1], layer, shape, &rates[1], &plan->gpu_copy)) {
        const struct predicted_time gpu = predict_time(sweep, sweep->devices, &rates[1]);
        plan->gpu_sweep = gpu.sweep, plan->gpu_item = gpu.item, plan->gpu_calibrate = gpu.calibrate;
    }
    return STATUS_OK;
}

// shape: what the rank's GPU takes at once; no samples where it has none.
static enum status measure_time(struct time_plan *plan, const struct sweep *sweep,
                                const struct group_shape *shape, struct error *err)
{
    const size_t runs = (size_t)sweep->plan.n_runs;
    struct stand *stands = calloc(2, sizeof *stands);
    struct layer *layer = calloc(1, sizeof *layer);
    double *room = calloc(4 * runs, sizeof *room);
    struct plan_rates rates[2] = {{.compared = room}, {.compared = room + 2 * runs}};
    *plan = (struct time_plan){0};
    if (!stands || !layer || !room) error_memory(err, sizeof *stands, "the measurement");
    if (comm_agree(sweep->comm, err)) goto free_stands;
    for (int i = 0; i < 2; i++)
        rates[i].alone = rates[i].compared + runs;
    if (layer_open(layer, sweep, MOST_TOKENS, &plan->pack, err) == STATUS_OK &&
        measure_both(plan, layer, sweep, shape, rates, stands, err) == STATUS_OK) {
        MPI_Allreduce(MPI_IN_PLACE, plan, sizeof *plan / sizeof(double), MPI_DOUBLE, MPI_MAX,
                      sweep->comm->world);
        join_gpus(plan);
    }
    stand_close(&stands[0]);
    engine_close(&layer->engine);
free_stands:
    free(room);
    free(layer);
    free(stands);
    return err->status;
}

static void print_time(FILE *out, const struct time_plan *plan, const struct sweep *sweep)
{
    char all[32], calibrate[32], longest[32], gpus[32] = "";
    if (plan->gpu_sweep > 0) snprintf(gpus, sizeof gpus, ", %d on GPUs", sweep->devices);
    progress_write_time(all, sizeof all, plan->pack + plan->calibrate + plan->sweep);
    progress_write_time(calibrate, sizeof calibrate, plan->calibrate);
    progress_write_time(longest, sizeof longest, plan->item);
    fprintf(
        out,
        "time: about %s with %d ranks x %d threads%s, and the reports; %s of it is calibration, the longest "
        "item takes %s\n",
        all, sweep->comm->ranks, sweep->threads, gpus, calibrate, longest);
}

static double mebibytes(unsigned long long bytes)
{
    return (double)bytes / (1024.0 * 1024.0);
}

// ---- memory of the ranks of a node ----

// Bytes that nobody can take from the processes: Pss_Anon and Pss_Shmem of /proc/PID/smaps_rollup, without
// the pages of mapped files.
struct memory_plan {
    int ranks;            // of the node of rank 0
    size_t node, weights; // node 0: the system does not tell what a process holds
    size_t rank;          // the largest of them, without the weights
    size_t started;       // of that, what it held before the sweep
};

static struct predicted_memory predict(const struct sweep *sweep, const struct store_io *io)
{
    return plan_memory(&(struct memory_request){
        .plan = &sweep->plan,
        .model = &sweep->model,
        .evaluation = &sweep->corpus,
        .calibration = &sweep->calibration,
        .calibrates = sweep_calibrates(sweep),
        .shares_weights = sweep->comm->node_ranks > 1,
        .threads = sweep->threads,
        .store_room_bytes = store_room_bytes(&sweep->plan, &sweep->model.dims, &sweep->corpus, io)});
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static struct memory_plan measure_memory(const struct sweep *sweep, size_t report_bytes)
{
    const struct comm *comm = sweep->comm;
    const struct store_io io = sweep_io(sweep);
    const struct predicted_memory predicted = predict(sweep, &io);
    struct footprint now;
    const bool known = footprint_read(&now);
    const unsigned long long started = now.own_bytes + now.shared_bytes;
    const unsigned long long items = started + predicted.rank, report = started + predicted.reader +
                                                                        store_kept_bytes(&io) + report_bytes -
                                                                        predicted.ids;
    unsigned long long sums[3] = {items, report, known}, most[1] = {larger(items, report)};
    MPI_Allreduce(MPI_IN_PLACE, sums, 3, MPI_UNSIGNED_LONG_LONG, MPI_SUM, comm->node);
    MPI_Allreduce(MPI_IN_PLACE, most, 1, MPI_UNSIGNED_LONG_LONG, MPI_MAX, comm->node);
    if (sums[2] != (unsigned long long)comm->node_ranks)
        return (struct memory_plan){.ranks = comm->node_ranks, .weights = predicted.weights};
    return (struct memory_plan){.ranks = comm->node_ranks,
                                .node = larger(sums[0] + predicted.weights, sums[1]),
                                .weights = predicted.weights,
                                .rank = most[0],
                                .started = started};
}

static void print_memory(FILE *out, const struct memory_plan *plan)
{
    if (plan->node == 0) {
        fprintf(out, "memory: %.1f MiB of weights per node; this system does not tell the rest\n",
                mebibytes(plan->weights));
        return;
    }
    fprintf(out, "memory: %.1f MiB on a node with %d rank%s: %.1f MiB of weights, up to %.1f MiB in a rank",
            mebibytes(plan->node), plan->ranks, plan->ranks == 1 ? "" : "s", mebibytes(plan->weights),
            mebibytes(plan->rank));
    fprintf(out, " (%.1f MiB before the sweep)\n", mebibytes(plan->started));
}

// ---- memory of GPUs ----

// Collective.  The largest of what a rank's GPU is to hold; no samples at once where there is none.
static struct device_memory foresee_gpus(const struct sweep *sweep, struct group_shape *mine)
{
    const struct worker worker = sweep_worker(sweep);
    struct device_memory memory = {0};
    if (sweep->device >= 0) device_foresee(&memory, &worker);
    *mine = memory.shape;
    unsigned long long sums[] = {memory.weights, memory.batch, memory.staging,
                                 (unsigned long long)memory.shape.samples,
                                 (unsigned long long)memory.shape.max_tokens};
    MPI_Allreduce(MPI_IN_PLACE, sums, 5, MPI_UNSIGNED_LONG_LONG, MPI_MAX, sweep->comm->world);
    return (struct device_memory){.shape = {.samples = (int)sums[3], .max_tokens = (int)sums[4]},
                                  .weights = sums[0],
                                  .batch = sums[1],
                                  .staging = sums[2]};
}

static void print_gpus(FILE *out, const struct device_memory *memory, int devices)
{
    if (devices == 0) return;
    if (memory->shape.samples == 0) {
        fprintf(out, "GPU: no room for the weights and a sample; processors compute\n");
        return;
    }
    fprintf(out,
            "GPU: %.1f MiB on each of %d: %.1f MiB of weights, %.1f MiB for up to %d samples at once (%d "
            "tokens), "
            "%.1f MiB of staging\n",
            mebibytes(device_memory_bytes(memory)), devices, mebibytes(memory->weights),
            mebibytes(memory->batch), memory->shape.samples, memory->shape.max_tokens,
            mebibytes(memory->staging));
}

// ---- the whole ----

static void print_plan(FILE *out, const struct sweep *sweep)
{
    const struct plan *plan = &sweep->plan;
    const struct dims *dims = &sweep->model.dims;
    int tensors = 0, layers = 0;
    for (int l = 0; l < plan->n_layer; l++) {
        layers += plan->want[l] != 0;
        for (int c = 0; c < dims->arch->n_components; c++)
            tensors += (plan->want[l] >> c & 1u) != 0;
    }
    const struct store_io io = sweep_io(sweep);
    plan_print_runs(plan, out);
    fprintf(out, "items: %d over %d samples\n", plan->n_items, plan->samples);
    for (int i = 0; i < plan->n_stretches; i++) {
        const struct stretch *stretch = &plan->stretches[i];
        fprintf(out, "  samples: %d, in %d %s of runs, %d to an item\n", stretch->samples, stretch->n_groups,
                stretch->n_groups == 1 ? "group" : "groups", plan->shard);
    }
    fprintf(out, "captured: %d tensors of %d layers\n", tensors, layers);
    fprintf(out, "result file: %s, %.1f MiB\n", sweep->result_path,
            mebibytes(store_estimate_bytes(plan, dims, &sweep->corpus, &io)));
}

// Memory first: to measure the time takes some.
enum status dry_run_print(const struct sweep *sweep, size_t report_bytes, double *seconds, struct error *err)
{
    struct time_plan time;
    struct group_shape shape;
    const struct memory_plan memory = measure_memory(sweep, report_bytes);
    const struct device_memory gpus = foresee_gpus(sweep, &shape);
    if (measure_time(&time, sweep, &shape, err)) return err->status;
    if (seconds) *seconds = time.pack + time.calibrate + time.sweep;
    if (sweep->comm->rank != 0) return err->status;
    print_plan(stdout, sweep);
    print_memory(stdout, &memory);
    print_gpus(stdout, &gpus, sweep->devices);
    print_time(stdout, &time, sweep);
    return STATUS_OK;
}
