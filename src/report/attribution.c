// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/attribution.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/samples.h"

enum { COLUMNS = (int)MOMENT_COLUMNS > (int)TEXT_COLUMNS ? (int)MOMENT_COLUMNS : (int)TEXT_COLUMNS };
enum { MOST_RERUNS = 64 };

// ---- which metric, where ----

// Those that say how far a run is from the reference, by a number that is 0 where nothing differs.
static bool suits(const struct metric *metric)
{
    return (metric->scale == SCALE_LOG && metric->better == BETTER_SMALLER && !metric->no_distance) ||
           metric == &metric_table[METRIC_PERPLEXITY_RATIO] || metric == &metric_table[METRIC_TOP1_AGREEMENT];
}

// That number: of the ratio of perplexities its logarithm, of an agreement what it lacks of 1.
static double error_of(const struct metric *metric, const struct interval *interval)
{
    if (metric->scale == SCALE_LOGIT) return 1 - interval->value;
    return metric->no_distance ? interval->phi : interval->value;
}

static const struct metric *find_metric(const char *name, struct error *err)
{
    const int found = metric_find(name, strlen(name));
    if (found >= 0 && suits(&metric_table[found])) return &metric_table[found];
    char known[200] = "";
    for (int m = 0; m < METRICS; m++)
        if (suits(&metric_table[m])) {
            const size_t used = strlen(known);
            snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", metric_table[m].name);
        }
    error_set(err, STATUS_USAGE,
              "--metric: expected an error that is 0 where nothing differs (%s), got '%.64s'", known, name);
    return NULL;
}

static enum status find_layer(const char *list, int n_layer, int *layer, struct error *err)
{
    uint32_t *wanted = calloc((size_t)n_layer, sizeof *wanted);
    int count = 0;
    if (!wanted) return error_memory(err, (size_t)n_layer * sizeof *wanted, "the layers");
    if (layer_select("--at", list, n_layer, wanted, err) == STATUS_OK)
        for (int l = 0; l < n_layer; l++)
            if (wanted[l]) {
                *layer = l;
                count++;
            }
    free(wanted);
    if (!err->status && count != 1)
        error_set(err, STATUS_USAGE, "--at: expected one layer, got '%.64s'", list);
    return err->status;
}

enum status attribution_check(const struct job *job, int n_layer, struct error *err)
{
    int layer;
    const struct metric *metric = find_metric(job->metric, err);
    if (!metric) return err->status;
    if (metric->subject == SUBJECT_PREDICTIONS && job->no_logits)
        return error_set(
            err, STATUS_USAGE,
            "--no-logits contradicts --metric %s, which is one of the predictions; give another metric",
            metric->name);
    if (job->n_cells > 1 || job->shuffle_calib > 1)
        return error_set(
            err, STATUS_USAGE,
            "attribute: expected one set of scales, got several; give one --calib_data_num and no "
            "--shuffle-calib");
    return find_layer(job->at, n_layer, &layer, err);
}

// ---- reading ----

// What is read of a run at the place that is asked for.
struct reading {
    const struct attribution *a;
    struct result *result;
    struct samples *samples;
    bool *uses;               // [samples of the file]
    struct accumulator *rows; // likewise
    int component;
};

static int find_run(const struct result *result, const struct mode *mode, int dither)
{
    for (int r = 0; r < result_all_runs(result); r++) {
        const struct result_run *run = result_run_at(result, r);
        if (run->dither == dither && strcmp(run->mode, mode->name) == 0) return r;
    }
    return -1;
}

static enum status need_run(const struct result *result, const struct mode *mode, int *run, struct error *err)
{
    *run = find_run(result, mode, 0);
    if (*run >= 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "the result file has no run of '%s'; attribute again with --overwrite", mode->name);
}

static enum status read_predictions(const struct reading *reading, int run, double *table, struct error *err)
{
    const int reference = compare_reference_of(reading->result, reading->a->reference, run);
    int n = 0;
    for (int s = 0; s < result_samples(reading->result); s++) {
        struct end_of_model mode, ref;
        const struct sample_range range = {s, 1};
        if (!reading->uses[s]) continue;
        if (samples_read_end_of_model(reading->samples, run, range, &mode, err) ||
            samples_read_end_of_model(reading->samples, reference, range, &ref, err))
            return err->status;
        end_of_model_fill(&ref, &mode, reading->a->samples, n++, table);
    }
    return STATUS_OK;
}

static enum status read_layer(const struct reading *reading, int run, double *table, struct error *err)
{
    int n = 0;
    if (samples_read(reading->samples, run, reading->a->layer, reading->component, reading->uses,
                     reading->rows, NULL, err))
        return err->status;
    for (int s = 0; s < result_samples(reading->result); s++)
        if (reading->uses[s]) reading->rows[n++] = reading->rows[s];
    moments_fill(reading->rows, n, table);
    return STATUS_OK;
}

static enum status read_run(const struct reading *reading, int run, double *table, struct error *err)
{
    return reading->a->layer < 0 ? read_predictions(reading, run, table, err)
                                 : read_layer(reading, run, table, err);
}

// Done in every run, re-runs of the mode too.
static void choose_samples(struct reading *reading, struct attribution *a)
{
    const struct result *result = reading->result;
    for (int s = 0; s < result_samples(result); s++) {
        reading->uses[s] = true;
        for (int r = 0; r < result_all_runs(result) && reading->uses[s]; r++)
            reading->uses[s] = result_state(result, r, s) == STORE_ITEM_DONE;
        a->samples += reading->uses[s];
        a->tokens += reading->uses[s] ? result_length(result, s) : 0;
    }
}

static enum status open_reading(struct reading *reading, struct attribution *a, struct error *err)
{
    const size_t samples = (size_t)result_samples(reading->result);
    reading->a = a;
    reading->component = arch_output(result_arch(reading->result));
    a->component = result_arch(reading->result)->components[reading->component].name;
    reading->uses = calloc(samples + 1, sizeof *reading->uses);
    reading->rows = calloc(samples + 1, sizeof *reading->rows);
    if (!reading->uses || !reading->rows)
        return error_memory(err, samples * sizeof *reading->rows, "the samples");
    if (samples_open(&reading->samples, reading->result, a->reference, NULL, err)) return err->status;
    choose_samples(reading, a);
    if (a->samples > 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "no sample is done in all runs: go on with --resume");
}

static void close_reading(struct reading *reading)
{
    samples_close(reading->samples);
    free(reading->uses);
    free(reading->rows);
}

// ---- the pieces ----

// Tables of two runs, the second one that of the mode.
struct paired {
    struct bootstrap *bootstrap;
    double *tables[2];
};

static enum status measure(const struct reading *reading, const struct paired *paired,
                           const struct mode *mode, struct interval *interval, struct change *change,
                           struct error *err)
{
    struct interval both[2];
    int run;
    if (need_run(reading->result, mode, &run, err) || read_run(reading, run, paired->tables[0], err))
        return err->status;
    bootstrap_run(paired->bootstrap, reading->a->metric, (const double *const *)paired->tables, NULL, 2, both,
                  change);
    *interval = both[0];
    return STATUS_OK;
}

static void share_out(struct attribution *a)
{
    const double whole = error_of(a->metric, &a->whole), none = error_of(a->metric, &a->none);
    a->whole_error = whole - none;
    a->interaction_without = a->interaction_only = 1;
    for (int i = 0; i < a->count; i++) {
        struct attributed *item = &a->items[i];
        const bool known = a->whole_error > 0;
        item->share_without =
            known ? (whole - error_of(a->metric, &item->without)) / a->whole_error : (double)NAN;
        item->share_only = known ? (error_of(a->metric, &item->only) - none) / a->whole_error : (double)NAN;
        a->interaction_without -= item->share_without;
        a->interaction_only -= item->share_only;
    }
}

// Holm (1979) over all pieces; those that cannot be told are no tests.
static int compare_p(const void *x, const void *y)
{
    const struct attributed *a = *(const struct attributed *const *)x,
                            *b = *(const struct attributed *const *)y;
    const double p = a->without_change.p, q = b->without_change.p;
    return p < q ? -1 : p > q;
}

static enum status adjust(struct attribution *a, struct error *err)
{
    struct attributed **order = calloc((size_t)a->count + 1, sizeof *order);
    int tests = 0;
    double least = 0;
    if (!order) return error_memory(err, (size_t)a->count * sizeof *order, "the pieces");
    for (int i = 0; i < a->count; i++) {
        a->items[i].adjusted = NAN;
        if (!isnan(a->items[i].without_change.p)) order[tests++] = &a->items[i];
    }
    qsort(order, (size_t)tests, sizeof *order, compare_p);
    for (int i = 0; i < tests; i++) {
        const double p = order[i]->without_change.p * (tests - i);
        least = fmax(least, fmin(p, 1));
        order[i]->adjusted = least;
        order[i]->significant = least <= 1 - BOOTSTRAP_LEVEL;
    }
    free(order);
    return STATUS_OK;
}

// The one with the largest share first; the pieces' own order among equals, NaN last.
static int compare_effect(const void *x, const void *y)
{
    const struct attributed *a = x, *b = y;
    const double p = a->share_without, q = b->share_without;
    if (isnan(p) != isnan(q)) return isnan(p) ? 1 : -1;
    if (!isnan(p) && p != q) return p > q ? -1 : 1;
    return a->piece < b->piece ? -1 : a->piece > b->piece;
}

static enum status measure_pieces(struct attribution *a, const struct reading *reading,
                                  const struct paired *paired, struct error *err)
{
    const struct pieces *pieces = a->pieces;
    struct change unused;
    int run;
    if (need_run(reading->result, pieces->mode, &run, err) ||
        read_run(reading, run, paired->tables[1], err) ||
        measure(reading, paired, pieces->mode, &a->whole, &unused, err) ||
        measure(reading, paired, pieces->none, &a->none, &unused, err))
        return err->status;
    for (int p = 0; p < pieces->count; p++) {
        struct attributed *item = &a->items[p];
        item->piece = &pieces->items[p];
        if (measure(reading, paired, item->piece->without, &item->without, &item->without_change, err) ||
            measure(reading, paired, item->piece->only, &item->only, &item->only_change, err))
            return err->status;
    }
    a->count = pieces->count;
    share_out(a);
    return adjust(a, err);
}

// ---- noise ----

// How far re-runs of the mode lie from it in the metric; a piece changes as much again.
static enum status measure_noise(struct attribution *a, const struct reading *reading,
                                 const struct paired *paired, struct error *err)
{
    double values[MOST_RERUNS];
    int run;
    a->floor = (struct noise_floor){NAN, NAN, 0};
    while (a->n_reruns < MOST_RERUNS &&
           (run = find_run(reading->result, a->pieces->mode, a->n_reruns + 1)) >= 0) {
        if (read_run(reading, run, paired->tables[0], err)) return err->status;
        values[a->n_reruns++] = metric_of_table(a->metric, paired->tables[0], a->samples);
    }
    if (a->n_reruns == 0) return STATUS_OK;
    a->floor = noise_floor_make(a->metric, a->whole.value, values, NULL, a->n_reruns, 1);
    for (int i = 0; i < a->count; i++)
        a->items[i].within_noise = change_below_floor(a->items[i].without_change.phi, &a->floor, &a->floor);
    return STATUS_OK;
}

// ---- the whole ----

static enum status make(struct attribution *a, struct reading *reading, struct error *err)
{
    const size_t table = (size_t)COLUMNS * (size_t)a->samples;
    struct paired paired = {.tables = {calloc(table, sizeof(double)), calloc(table, sizeof(double))}};
    a->items = calloc((size_t)a->pieces->count + 1, sizeof *a->items);
    if (!paired.tables[0] || !paired.tables[1] || !a->items)
        error_memory(err, 2 * table * sizeof(double), "the attribution");
    else if (bootstrap_open(&paired.bootstrap, (uint64_t)a->seed, a->resamples, a->samples, 2, err) ==
                 STATUS_OK &&
             measure_pieces(a, reading, &paired, err) == STATUS_OK &&
             measure_noise(a, reading, &paired, err) == STATUS_OK) {
        qsort(a->items, (size_t)a->count, sizeof *a->items, compare_effect);
        for (int i = 0; i < a->count; i++)
            a->items[i].place = i + 1;
    }
    bootstrap_close(paired.bootstrap);
    free(paired.tables[0]);
    free(paired.tables[1]);
    return err->status;
}

enum status attribution_make(struct attribution *attribution, struct result *result, const struct job *job,
                             struct error *err)
{
    struct attribution a = {.pieces = pieces_made(),
                            .reference = job->reference,
                            .metric = find_metric(job->metric, err),
                            .layer = -1,
                            .resamples = job->bootstrap,
                            .seed = job->seed};
    struct reading reading = {.result = result};
    if (a.metric && a.metric->subject == SUBJECT_OUTPUTS)
        find_layer(job->at, result_model_layers(result), &a.layer, err);
    if (!err->status && open_reading(&reading, &a, err) == STATUS_OK) make(&a, &reading, err);
    close_reading(&reading);
    if (err->status)
        attribution_clear(&a);
    else
        *attribution = a;
    return err->status;
}

void attribution_clear(struct attribution *attribution)
{
    free(attribution->items);
    *attribution = (struct attribution){0};
}
