// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/time_plan.h"

#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "inputs.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/compute/steps.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/sweep/progress.h"

enum { MOST_TOKENS = 128, MOST_VOCAB = 4096, PREDICTED_TOKENS = 64, LEAST_RUNS = 2 };
static const double MEASURED_SECONDS = 1.5; // all of it, where a layer is short

// One layer of the model, and what a sample has there.
struct stand {
    const struct sweep *sweep;
    struct model model; // of one layer and a piece of the vocabulary
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

// ---- memory ----

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

static bool take(void *context, int layer, int component, const float *values, int length, int width)
{
    const struct stand *s = context;
    (void)layer;
    memcpy((s->measures ? s->values : s->reference)[component], values,
           (size_t)length * (size_t)width * sizeof *values);
    return true;
}

static void measure_component(void *context, int part)
{
    const struct stand *s = context;
    struct accumulator moments;
    struct profile profile;
    accumulator_clear(&moments);
    profile_clear(&profile);
    pairs_add_sample(&moments, &profile, s->reference[part], s->values[part], (size_t)s->tokens,
                     arch_width(&s->model.dims, part));
}

static void run_layer(struct stand *s, const struct mode *mode, bool measures)
{
    const uint32_t all[1] = {arch_all_components(s->model.dims.arch)};
    const struct capture capture = {.want = all, .take = take, .context = s};
    s->measures = measures;
    forward_step(s->engine.forward, &s->stream, mode, s->scales, 0, s->tokens, &capture, NULL);
    if (measures)
        team_run(forward_team(s->engine.forward), s->model.dims.arch->n_components, measure_component, s);
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

static void run_subject(struct stand *s, enum subject subject, const struct mode *mode)
{
    if (subject == TIMED_OBSERVATION)
        run_observation(s);
    else if (subject == TIMED_PREDICTIONS)
        run_predictions(s);
    else
        run_layer(s, mode, subject == TIMED_COMPARED_LAYER);
}

// The mean, as other work on the machine takes its share of the sweep too.  A first run warms the caches.
static double time_subject(struct stand *s, enum subject subject, const struct mode *mode)
{
    int runs = 0;
    if (mode) forward_start(s->engine.forward, &s->stream, mode, s->ids, s->tokens);
    run_subject(s, subject, mode);
    const double started = progress_clock();
    double spent = 0;
    while (runs < LEAST_RUNS || spent < s->seconds) {
        run_subject(s, subject, mode);
        spent = progress_clock() - started;
        runs++;
    }
    return spent / runs;
}

// ---- the sum ----

// Of a token: of each run as it is compared, of the run alone, of a prediction, of the calibration.
struct rates {
    double *compared, *alone; // [n_runs]
    double prediction, observation;
};

static bool same_mode(const struct plan *plan, int a, int b)
{
    return plan->runs[a].mode == plan->runs[b].mode;
}

static void measure_rates(struct stand *s, struct rates *rates)
{
    const struct plan *plan = &s->sweep->plan;
    const struct dims *dims = &s->sweep->model.dims;
    const double layers = (double)dims->n_layer / s->tokens;
    for (int r = 0; r < plan->n_runs; r++) {
        int first = 0;
        while (!same_mode(plan, first, r))
            first++;
        const struct mode *mode = plan->runs[r].mode;
        rates->alone[r] = first < r ? rates->alone[first] : layers * time_subject(s, TIMED_LAYER, mode);
        rates->compared[r] =
            first < r ? rates->compared[first] : layers * time_subject(s, TIMED_COMPARED_LAYER, mode);
    }
    if (plan->n_cells > 0 && s->sweep->model.kind == MODEL_FLOAT)
        rates->observation = layers * time_subject(s, TIMED_OBSERVATION, NULL);
    const int predicted = s->tokens < PREDICTED_TOKENS ? s->tokens : PREDICTED_TOKENS;
    if (plan->logits)
        rates->prediction = time_subject(s, TIMED_PREDICTIONS, NULL) / predicted * dims->vocab_size /
                            (dims->vocab_size < PREDICTION_PIECE ? dims->vocab_size : PREDICTION_PIECE);
}

// Modes that give the same bits share their predictions.
static bool predicts(const struct plan *plan, const struct group *group, int member)
{
    const struct run *run = &plan->runs[plan->members[group->first + member]];
    for (int i = 0; i < group->count && run->mode->equals; i++) {
        const struct run *other = &plan->runs[plan->members[group->first + i]];
        if (other->cell == run->cell && other->dither == run->dither &&
            strcmp(other->mode->name, run->mode->equals) == 0)
            return false;
    }
    return true;
}

static double group_seconds(const struct plan *plan, const struct group *group, const struct rates *rates)
{
    double seconds = rates->alone[group->reference] + rates->prediction;
    for (int i = 0; i < group->count; i++) {
        const int run = plan->members[group->first + i];
        const double twice = plan->runs[run].dither ? rates->compared[run] - rates->alone[run] : 0;
        if (run == group->reference) continue;
        seconds += rates->compared[run] + twice + (predicts(plan, group, i) ? rates->prediction : 0);
    }
    return seconds;
}

static double tokens_of(const struct corpus *corpus)
{
    double tokens = 0;
    for (int i = 0; i < corpus->samples; i++)
        tokens += corpus->length[i];
    return tokens;
}

static void add_up(struct time_plan *time, const struct sweep *sweep, const struct rates *rates)
{
    const struct plan *plan = &sweep->plan;
    double all = 0;
    for (int i = 0; i < plan->n_items; i++) {
        const struct item item = plan_item(plan, i);
        double tokens = 0;
        for (int place = item.first_place; place < item.first_place + item.samples; place++)
            tokens += sweep->corpus.length[plan_sample(plan, place)];
        const double seconds = tokens * group_seconds(plan, &plan->groups[item.group], rates);
        all += seconds;
        if (seconds > time->item) time->item = seconds;
    }
    time->sweep = all / sweep->comm->ranks > time->item ? all / sweep->comm->ranks : time->item;
    time->calibrate = tokens_of(sweep_calibration_text(sweep)) * rates->observation / sweep->comm->ranks;
}

// ---- the whole ----

static enum status open_stand(struct stand *s, struct time_plan *time, struct error *err)
{
    const struct sweep *sweep = s->sweep;
    const struct corpus *corpus = &sweep->corpus;
    const int mean = corpus->samples > 0 ? (int)(tokens_of(corpus) / corpus->samples) : 1;
    s->model = sweep->model;
    s->model.dims.n_layer = 1;
    if (s->model.dims.vocab_size > MOST_VOCAB) s->model.dims.vocab_size = MOST_VOCAB;
    s->tokens = mean < 1 ? 1 : mean < MOST_TOKENS ? mean : MOST_TOKENS;
    s->seconds = MEASURED_SECONDS / (2 * mode_count() + 2);
    for (int t = 0; t < s->tokens; t++)
        s->ids[t] = t % s->model.dims.vocab_size;
    for (int i = 0; i < s->model.dims.arch->n_sites; i++)
        s->scales[i] = 0.05f; // the time does not depend on it
    s->observers = sweep->plan.observers;
    open_memory(s, err);
    if (comm_agree(sweep->comm, err)) return err->status;
    const double started = progress_clock();
    const unsigned parts = engine_parts(&sweep->plan, &sweep->model);
    engine_open(&s->engine, sweep->comm, &s->model, parts, s->tokens, sweep->threads, err);
    time->pack = (progress_clock() - started) * sweep->model.dims.n_layer;
    return err->status;
}

enum status time_plan_make(struct time_plan *plan, const struct sweep *sweep, struct error *err)
{
    struct stand *s = calloc(1, sizeof *s);
    const size_t runs = (size_t)sweep->plan.n_runs;
    struct rates rates = {.compared = calloc(2 * runs, sizeof(double))};
    *plan = (struct time_plan){0};
    if (!s || !rates.compared) error_memory(err, sizeof *s, "the measurement");
    if (comm_agree(sweep->comm, err)) goto free_stand;
    rates.alone = rates.compared + runs;
    s->sweep = sweep;
    if (open_stand(s, plan, err) == STATUS_OK) {
        measure_rates(s, &rates);
        add_up(plan, sweep, &rates);
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

void time_plan_print(FILE *out, const struct time_plan *plan, const struct sweep *sweep)
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
