// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/dry_run.h"

#include <stdlib.h>
#include <string.h>

#include "inputs.h"
#include "setup.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/compute/backend.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/plan/predict.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/progress.h"

enum { MOST_TOKENS = 128, MOST_VOCAB = 4096, PREDICTED_TOKENS = 64, LEAST_RUNS = 2 };
static const double MEASURED_SECONDS = 1.5; // all of it, where a layer is short

// ---- time: one layer of each mode, computed and measured on every rank at once ----

// Seconds on the slowest rank.  The reports that follow are not in it.
struct time_plan {
    double pack, calibrate, sweep;
    double item; // the longest
};

// One layer of the model, and what a sample has there.
struct stand {
    const struct sweep *sweep;
    struct model model; // of one layer and a piece of the vocabulary
    struct needs needs;
    struct engine engine;
    struct stream stream;
    struct arena arena;
    int tokens;
    int32_t ids[MOST_TOKENS];
    float scales[ARCH_MOST_SITES];
    float *reference[ARCH_MOST_COMPONENTS], *values[ARCH_MOST_COMPONENTS];
    float *normed, *logits, *observed;
    uint32_t *counts;
    struct observers observers;
    bool measures;  // the layer is that of a run that is compared
    double seconds; // for each measurement
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
    const struct dims *dims = &s->model.dims;
    for (int c = 0; c < dims->arch->n_components; c++) {
        const size_t values = (size_t)s->tokens * (size_t)arch_width(dims, c);
        s->reference[c] = take_floats(arena, values);
        s->values[c] = take_floats(arena, values);
    }
    s->stream.residual = take_floats(arena, stream_floats(dims, s->tokens));
    s->stream.h = take_floats(arena, stream_floats(dims, s->tokens));
    s->normed = take_floats(arena, stream_floats(dims, PREDICTED_TOKENS));
    s->logits = take_floats(arena, (size_t)PREDICTED_TOKENS * PREDICTION_PIECE);
    s->observed = take_floats(arena, (size_t)dims->arch->n_sites);
    s->counts = arena_take(arena, counts_bytes(dims));
}

static enum status open_memory(struct stand *s, struct error *err)
{
    arena_init_measure(&s->arena);
    carve(s, &s->arena);
    const size_t bytes = s->arena.used_bytes;
    if (arena_init(&s->arena, bytes, "the measurement", err)) return err->status;
    carve(s, &s->arena);
    memset(s->counts, 0, counts_bytes(&s->model.dims));
    return STATUS_OK;
}

// ---- what is timed ----

// So many components from one on.
static void measure(const struct stand *s, int first, int count, const float *const *values)
{
    struct measured found[ARCH_MOST_COMPONENTS];
    struct pair pairs[ARCH_MOST_COMPONENTS] = {{0}};
    for (int c = 0; c < count; c++)
        pairs[c] = (struct pair){s->reference[first + c], values[c], arch_width(&s->model.dims, first + c),
                                 s->sweep->plan.profiles};
    forward_measure(s->engine.forward, pairs, count, s->tokens, found);
}

// One thread measures at once, several behind the layer, as sweep/lockstep.c has it.
static bool at_once(const struct stand *s)
{
    return s->sweep->threads == 1;
}

static bool take(void *context, int layer, int component, const float *values, int length, int width)
{
    const struct stand *s = context;
    (void)layer;
    if (s->measures && at_once(s))
        measure(s, component, 1, &values);
    else
        memcpy((s->measures ? s->values : s->reference)[component], values,
               (size_t)length * (size_t)width * sizeof *values);
    return true;
}

static void run_layer(struct stand *s, const struct recipe *recipe, bool measures)
{
    const uint32_t all[1] = {arch_all_components(s->model.dims.arch)};
    const struct capture capture = {.want = all, .take = take, .context = s};
    s->measures = measures;
    forward_step(s->engine.forward, &s->stream, recipe, s->scales, 0, s->tokens, &capture, NULL);
    if (measures && !at_once(s))
        measure(s, 0, s->model.dims.arch->n_components, (const float *const *)s->values);
}

static void run_observation(struct stand *s)
{
    const struct observation observation = {
        .observers = &s->observers, .numbers = s->observed, .histogram = s->counts};
    forward_observe(s->engine.forward, &observation, s->ids, s->tokens, NULL);
}

// A piece of the vocabulary.
static void run_predictions(struct stand *s)
{
    const int ids = s->model.dims.vocab_size < PREDICTION_PIECE ? s->model.dims.vocab_size : PREDICTION_PIECE;
    const int count = s->tokens < PREDICTED_TOKENS ? s->tokens : PREDICTED_TOKENS;
    struct prediction predictions[PREDICTED_TOKENS];
    const int32_t next[PREDICTED_TOKENS] = {0};
    head_logits(s->engine.forward, s->stream.rotated, s->normed, count, 0, ids, s->logits);
    predictions_add(predictions, s->logits, s->logits, next, count, 0, ids,
                    (ids + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES);
}

enum subject { TIMED_LAYER, TIMED_COMPARED_LAYER, TIMED_OBSERVATION, TIMED_PREDICTIONS };

static void run_subject(struct stand *s, enum subject subject, const struct recipe *recipe)
{
    if (subject == TIMED_OBSERVATION)
        run_observation(s);
    else if (subject == TIMED_PREDICTIONS)
        run_predictions(s);
    else
        run_layer(s, recipe, subject == TIMED_COMPARED_LAYER);
}

// The mean, as other work on the machine takes its share of the sweep too.  A first run warms the caches.
static double time_subject(struct stand *s, enum subject subject, const struct recipe *recipe)
{
    int runs = 0;
    if (recipe) forward_start(s->engine.forward, &s->stream, recipe, s->ids, s->tokens);
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
        rates->observation = (dims->grouped ? 2 : 1) * layers * time_subject(s, TIMED_OBSERVATION, NULL);
    const int predicted = s->tokens < PREDICTED_TOKENS ? s->tokens : PREDICTED_TOKENS;
    if (plan->logits)
        rates->prediction = time_subject(s, TIMED_PREDICTIONS, NULL) / predicted * dims->vocab_size /
                            (dims->vocab_size < PREDICTION_PIECE ? dims->vocab_size : PREDICTION_PIECE);
}

static double tokens_of(const struct corpus *corpus)
{
    double tokens = 0;
    for (int i = 0; i < corpus->samples; i++)
        tokens += corpus->length[i];
    return tokens;
}

// ---- the whole ----

static enum status open_stand(struct stand *s, struct time_plan *time, struct error *err)
{
    const struct sweep *sweep = s->sweep;
    const struct corpus *corpus = &sweep->corpus;
    const int mean = corpus->samples > 0 ? (int)(tokens_of(corpus) / corpus->samples) : 1;
    s->model = sweep->model;
    s->model.dims.n_layer = 1;
    s->model.dims.grouped = false; // the time hardly depends on it
    if (s->model.dims.vocab_size > MOST_VOCAB) s->model.dims.vocab_size = MOST_VOCAB;
    s->tokens = mean < 1 ? 1 : mean < MOST_TOKENS ? mean : MOST_TOKENS;
    for (int t = 0; t < s->tokens; t++)
        s->ids[t] = t % s->model.dims.vocab_size;
    for (int i = 0; i < s->model.dims.arch->n_sites; i++)
        s->scales[i] = 0.05f; // the time does not depend on it
    s->observers = sweep->plan.observers;
    open_memory(s, err);
    if (comm_agree(sweep->comm, err)) return err->status;
    const double started = progress_clock();
    const unsigned parts = plan_weights(&sweep->plan, &sweep->model);
    for (int l = 0; l < sweep->plan.n_layer; l++) // the one layer stands for all
        for (int u = 0; u < RECIPE_MOST_UNITS; u++)
            s->needs.of[u] |= sweep->plan.needs[l].of[u];
    engine_open(&s->engine, sweep->comm, &s->model, parts, &s->needs, s->tokens, sweep->threads, sweep->log,
                err);
    time->pack = (progress_clock() - started) * sweep->model.dims.n_layer;
    return err->status;
}

static enum status measure_time(struct time_plan *plan, const struct sweep *sweep, struct error *err)
{
    struct stand *s = calloc(1, sizeof *s);
    const size_t runs = (size_t)sweep->plan.n_runs;
    struct plan_rates rates = {.compared = calloc(2 * runs, sizeof(double))};
    *plan = (struct time_plan){0};
    if (!s || !rates.compared) error_memory(err, sizeof *s, "the measurement");
    if (comm_agree(sweep->comm, err)) goto free_stand;
    rates.alone = rates.compared + runs;
    s->sweep = sweep;
    if (open_stand(s, plan, err) == STATUS_OK) {
        measure_rates(s, &rates);
        const struct predicted_time predicted = plan_time(
            &sweep->plan, &sweep->corpus, sweep_calibration_text(sweep), sweep->comm->ranks, &rates);
        plan->calibrate = predicted.calibrate;
        plan->sweep = predicted.sweep;
        plan->item = predicted.item;
        MPI_Allreduce(MPI_IN_PLACE, plan, sizeof *plan / sizeof(double), MPI_DOUBLE, MPI_MAX,
                      sweep->comm->world);
    }
    engine_close(&s->engine);
    arena_clear(&s->arena);
free_stand:
    free(rates.compared);
    free(s);
    return err->status;
}

static void print_time(FILE *out, const struct time_plan *plan, const struct sweep *sweep)
{
    char all[32], calibrate[32], longest[32];
    progress_write_time(all, sizeof all, plan->pack + plan->calibrate + plan->sweep);
    progress_write_time(calibrate, sizeof calibrate, plan->calibrate);
    progress_write_time(longest, sizeof longest, plan->item);
    fprintf(
        out,
        "time: about %s with %d ranks x %d threads, and the reports; %s of it is calibration, the longest "
        "item takes %s\n",
        all, sweep->comm->ranks, sweep->threads, calibrate, longest);
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
    const struct memory_plan memory = measure_memory(sweep, report_bytes);
    if (measure_time(&time, sweep, err)) return err->status;
    if (seconds) *seconds = time.pack + time.calibrate + time.sweep;
    if (sweep->comm->rank != 0) return err->status;
    print_plan(stdout, sweep);
    print_memory(stdout, &memory);
    print_time(stdout, &time, sweep);
    return STATUS_OK;
}
