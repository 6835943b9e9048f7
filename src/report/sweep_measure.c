// SPDX-License-Identifier: Apache-2.0
// The numbers of one unit of a sweep report: values, noise floors, intervals and decisions.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/recipe/mode.h"
#include "sweep_parts.h"

enum {
    COLUMNS = (int)MOMENT_COLUMNS > (int)TEXT_COLUMNS ? (int)MOMENT_COLUMNS : (int)TEXT_COLUMNS,
    AT_ONCE = 32, // samples of which predictions are in memory
};

struct sweep_measure {
    const struct sweep_report *report;
    struct samples *samples;
    const bool *uses;
    struct accumulator *rows; // [samples of the file]
    double *tables;           // [n_runs + 1][COLUMNS][report->samples], the last of a re-run
    const double **tables_at; // [n_runs]
    struct bootstrap *bootstrap;
    struct demands *demands;
};

static int most_runs(const struct sweep_report *report)
{
    int most = 1;
    for (int f = 0; f < report->n_families; f++)
        most = report->families[f].count > most ? report->families[f].count : most;
    if (report->n_pieces > 0) most = BOOTSTRAP_MAX_RUNS;
    for (int t = 0; t < report->n_trends; t++)
        most = report->trends[t].count > most ? report->trends[t].count : most;
    return most;
}

enum status sweep_measure_open(struct sweep_measure **measure, const struct sweep_report *report,
                               struct samples *samples, const bool *uses, struct error *err)
{
    size_t rows = (size_t)result_samples(report->result),
           cells = ((size_t)report->n_runs + 1) * COLUMNS * (size_t)report->samples;
    struct sweep_measure *m = calloc(1, sizeof *m);
    if (!m) return error_memory(err, sizeof *m, "the statistics");
    *m = (struct sweep_measure){.report = report, .samples = samples, .uses = uses};
    m->rows = malloc(rows * sizeof *m->rows);
    m->tables = malloc(cells * sizeof *m->tables);
    m->tables_at = calloc((size_t)report->n_runs + 1, sizeof *m->tables_at);
    if (!m->rows || !m->tables || !m->tables_at)
        error_memory(err, rows * sizeof *m->rows + cells * sizeof *m->tables, "the statistics");
    else if (bootstrap_open(&m->bootstrap, report->seed, report->replicates, report->samples,
                            most_runs(report), err) == STATUS_OK)
        demands_open(&m->demands, 1 - BOOTSTRAP_LEVEL, RANKING_POWER, pair_count(most_runs(report)), err);
    if (err->status)
        sweep_measure_close(m);
    else
        *measure = m;
    return err->status;
}

void sweep_measure_close(struct sweep_measure *measure)
{
    if (!measure) return;
    demands_close(measure->demands);
    bootstrap_close(measure->bootstrap);
    free(measure->rows);
    free(measure->tables);
    free(measure->tables_at);
    free(measure);
}

size_t sweep_measure_bytes(int runs, int most_runs, int samples, int replicates)
{
    const size_t each = (size_t)samples;
    return each * sizeof(struct accumulator) + (size_t)runs * COLUMNS * each * sizeof(double) +
           bootstrap_bytes(replicates, samples, most_runs);
}

static double *table_of(struct sweep_measure *m, int run)
{
    return m->tables + (size_t)run * COLUMNS * (size_t)m->report->samples;
}

// ---- values ----

static void set_profile(struct sweep_entry *entry, const struct profile *profile)
{
    for (int p = 0; p < SWEEP_PERCENTILES; p++) {
        double *bounds = entry->percentiles[p];
        if (!profile_percentile(profile, sweep_percentiles[p], &bounds[0], &bounds[1]))
            bounds[0] = bounds[1] = NAN;
    }
    memcpy(entry->bins, profile->bins, sizeof entry->bins);
    for (int b = 0; b < PROFILE_POSITIONS; b++) {
        double count = (double)profile->position_count[b];
        entry->position_count[b] = count;
        entry->position_mse[b] = profile->position_squares[b] / count;
        entry->position_mae[b] = profile->position_abs[b] / count;
    }
}

static void set_values(struct sweep_entry *entry, const struct sweep_unit *unit, const struct record *record)
{
    entry->elements = record->count;
    entry->nonfinite[0] = record->fp_nonfinite;
    entry->nonfinite[1] = record->mode_nonfinite;
    entry->largest = record->value[METRIC_ABS_DIFF_MAX];
    entry->top1_correct = NAN;
    for (int k = 0; k < sweep_metric_count(unit); k++)
        entry->intervals[k].value = record->value[sweep_metric(unit, k) - metric_table];
}

// Those samples in m->rows that are used move to its front: how many.
static int pack_rows(struct sweep_measure *m)
{
    int n = 0;
    for (int s = 0; s < result_samples(m->report->result); s++)
        if (m->uses[s]) m->rows[n++] = m->rows[s];
    return n;
}

static void fill_moments(struct sweep_measure *m, double *table)
{
    moments_fill(m->rows, pack_rows(m), table);
}

// The table of a run of the file and, unless `entry` is NULL, what needs no resamples.
static enum status read_layer(struct sweep_measure *m, const struct sweep_unit *unit, int run, double *table,
                              struct sweep_entry *entry, struct error *err)
{
    struct record record;
    struct profile profile;
    if (samples_measure(m->samples, run, unit->layer, unit->component, m->uses, m->rows,
                        entry ? &profile : NULL, entry ? &record : NULL, err))
        return err->status;
    fill_moments(m, table);
    if (!entry) return STATUS_OK;
    set_values(entry, unit, &record);
    set_profile(entry, &profile);
    if (!unit->isolated || samples_read_isolated(m->samples, run, unit->layer, unit->component, m->rows, err))
        return err->status;
    isolated_fill(m->rows, pack_rows(m), table);
    return STATUS_OK;
}

// ---- the whole model ----

static void set_text_values(struct sweep_entry *entry, const struct end_of_model *total)
{
    struct profile kl;
    profile_clear(&kl);
    memcpy(kl.bins, total->kl_bins, sizeof kl.bins);
    set_profile(entry, &kl);
    entry->elements = (double)total->tokens;
    entry->nonfinite[1] = (double)total->nonfinite;
    entry->largest = total->kl_max;
    entry->top1_correct = (double)total->top1_correct / (double)total->tokens;
}

// Predictions of a run against those of another one.
struct text_pair {
    int ref, run; // of the file; ref -1: only distances are asked for
    enum status (*read)(struct samples *, int, struct sample_range, struct end_of_model *, struct error *);
};

static enum status read_text_pair(struct sweep_measure *m, const struct text_pair *pair, double *table,
                                  struct sweep_entry *entry, struct error *err)
{
    const struct sweep_report *report = m->report;
    const int samples = result_samples(report->result);
    struct end_of_model total, ref[AT_ONCE], mode[AT_ONCE];
    int n = 0;
    end_of_model_clear(&total);
    for (int first = 0; first < samples; first += AT_ONCE) {
        const struct sample_range range = {first, samples - first < AT_ONCE ? samples - first : AT_ONCE};
        if (pair->read(m->samples, pair->run, range, mode, err)) return err->status;
        if (pair->ref >= 0 && samples_read_end_of_model(m->samples, pair->ref, range, ref, err))
            return err->status;
        for (int i = 0; i < range.count; i++) {
            if (!m->uses[first + i]) continue;
            end_of_model_merge(&total, &mode[i]);
            end_of_model_fill(pair->ref < 0 ? &mode[i] : &ref[i], &mode[i], report->samples, n++, table);
        }
    }
    if (entry) set_text_values(entry, &total);
    return STATUS_OK;
}

static enum status read_text(struct sweep_measure *m, int run, double *table, struct sweep_entry *entry,
                             struct error *err)
{
    const struct text_pair pair = {compare_reference_of(m->report->result, m->report->reference, run), run,
                                   samples_read_end_of_model};
    return read_text_pair(m, &pair, table, entry, err);
}

static enum status read_run(struct sweep_measure *m, const struct sweep_unit *unit, int run, double *table,
                            struct sweep_entry *entry, struct error *err)
{
    if (unit->layer == SWEEP_END_OF_MODEL) return read_text(m, run, table, entry, err);
    return read_layer(m, unit, run, table, entry, err);
}

// ---- noise ----

// The table of a re-run against the run that it repeats.
static enum status read_apart(struct sweep_measure *m, const struct sweep_unit *unit,
                              const struct sweep_rerun *rerun, double *table, struct error *err)
{
    const struct text_pair pair = {-1, rerun->run, samples_read_end_apart};
    if (unit->layer == SWEEP_END_OF_MODEL) return read_text_pair(m, &pair, table, NULL, err);
    if (samples_read_apart(m->samples, rerun->run, unit->layer, unit->component, m->rows, err))
        return err->status;
    fill_moments(m, table);
    return STATUS_OK;
}

// Every metric of a unit, by its table.
static void evaluate(const struct sweep_measure *m, const struct sweep_unit *unit, const double *table,
                     double values[METRIC_INTERVALS][SWEEP_MOST_RERUNS], int rerun)
{
    for (int k = 0; k < sweep_metric_count(unit); k++)
        values[k][rerun] = metric_of_table(sweep_metric(unit, k), table, m->report->samples);
}

// The floors of a run, from its re-runs.
static enum status measure_noise(struct sweep_measure *m, const struct sweep_unit *unit, int run,
                                 struct sweep_entry *entry, struct error *err)
{
    const struct sweep_report *report = m->report;
    double against_reference[METRIC_INTERVALS][SWEEP_MOST_RERUNS],
        against_self[METRIC_INTERVALS][SWEEP_MOST_RERUNS], own[METRIC_INTERVALS][SWEEP_MOST_RERUNS];
    double *table = table_of(m, report->n_runs);
    int reruns = 0;
    for (int i = 0; i < report->n_reruns && reruns < SWEEP_MOST_RERUNS; i++) {
        const struct sweep_rerun *rerun = &report->reruns[i];
        if (rerun->of != run) continue;
        if (read_run(m, unit, rerun->run, table, NULL, err)) return err->status;
        evaluate(m, unit, table, against_reference, reruns);
        if (read_apart(m, unit, rerun, table, err)) return err->status;
        evaluate(m, unit, table, against_self, reruns++);
    }
    for (int k = 0; k < METRIC_INTERVALS; k++)
        entry->floors[k] = (struct noise_floor){NAN, NAN, 0};
    if (reruns == 0) return STATUS_OK;
    evaluate(m, unit, table_of(m, run), own, 0);
    for (int k = 0; k < sweep_metric_count(unit); k++) {
        const struct metric *metric = sweep_metric(unit, k);
        if (metric->needs == NEEDS_OWN_ERRORS) continue; // re-runs have none
        entry->floors[k] = noise_floor_make(metric, own[k][0], against_reference[k],
                                            metric->no_distance ? NULL : against_self[k], reruns, 1);
    }
    return STATUS_OK;
}

// ---- intervals and decisions ----

enum { MOST_PAIRS = BOOTSTRAP_MAX_RUNS * (BOOTSTRAP_MAX_RUNS - 1) / 2 };

// Where the numbers of a unit come from.
struct source {
    struct bootstrap *bootstrap;
    struct demands *demands;
    const double *const *tables; // [report->n_runs]
};

// values[count]: those of the runs, where they are known; else NULL.
static void resample(const struct source *source, const struct metric *metric, const int *runs,
                     const double *values, int count, struct interval *intervals, struct change *changes)
{
    const double *tables[BOOTSTRAP_MAX_RUNS];
    for (int i = 0; i < count; i++)
        tables[i] = source->tables[runs[i]];
    bootstrap_run(source->bootstrap, metric, tables, values, count, intervals, changes);
}

// ---- modes that are one by definition ----

// The place of the mode that run `i` of a family repeats bit by bit, or -1.  Such a pair is one mode under
// two names: testing both would only make the correction of the others harder.
static int twin_of(const struct sweep_report *report, const struct sweep_family *family,
                   const struct change *changes, int i)
{
    const struct mode *mode = mode_find(result_run_at(report->result, report->runs[family->runs[i]])->mode);
    for (int o = 0; mode && mode->equals && o < family->count; o++) {
        const char *other = result_run_at(report->result, report->runs[family->runs[o]])->mode;
        if (o == i || strcmp(other, mode->equals) != 0) continue;
        int pair = pair_index(family->count, o < i ? o : i, o < i ? i : o);
        if (changes[pair].state == INTERVAL_EQUAL) return o;
    }
    return -1;
}

static int pair_of(int count, int a, int b)
{
    return a < b ? pair_index(count, a, b) : pair_index(count, b, a);
}

static uint64_t copy_bit(uint64_t set, int from, int to)
{
    uint64_t bit = UINT64_C(1) << to;
    return set & UINT64_C(1) << from ? set | bit : set & ~bit;
}

// What is known of run `o` holds for its twin.
static void copy_twin(struct standing *ranks, double *adjusted, int count, int o, int twin)
{
    for (int i = 0; i < count; i++) {
        if (i == twin) continue;
        ranks[i].tied = copy_bit(ranks[i].tied, o, twin);
        ranks[i].equal = copy_bit(ranks[i].equal, o, twin);
        ranks[i].better = copy_bit(ranks[i].better, o, twin);
        adjusted[pair_of(count, i, twin)] = i == o ? 1 : adjusted[pair_of(count, i, o)];
    }
    const uint64_t both = UINT64_C(1) << o | UINT64_C(1) << twin;
    ranks[twin] = ranks[o];
    for (int i = 0; i < 2; i++) {
        struct standing *rank = &ranks[i ? twin : o];
        rank->tied = (rank->tied | both) & ~(UINT64_C(1) << (i ? twin : o));
        rank->equal = (rank->equal | both) & ~(UINT64_C(1) << (i ? twin : o));
    }
}

// Ranks and corrected p-values, each mode counted once.  Returns the number of tests.
static int rank_family(const struct sweep_report *report, const struct sweep_family *family,
                       const struct metric *metric, const struct interval *intervals,
                       const struct change *changes, struct standing *ranks, double *adjusted)
{
    struct change tested[MOST_PAIRS];
    int twins[BOOTSTRAP_MAX_RUNS], count = family->count, distinct = 0;
    memcpy(tested, changes, (size_t)pair_count(count) * sizeof *tested);
    for (int i = 0; i < count; i++) {
        twins[i] = twin_of(report, family, changes, i);
        distinct += twins[i] < 0;
        for (int j = 0; j < count && twins[i] >= 0; j++)
            if (j != i) tested[pair_of(count, i, j)].p = NAN; // no test
    }
    ranking_make(metric, intervals, tested, count, 1 - BOOTSTRAP_LEVEL, ranks, adjusted);
    for (int i = 0; i < count; i++)
        if (twins[i] >= 0) copy_twin(ranks, adjusted, count, twins[i], i);
    for (int i = 0; i < count; i++)
        if (ranks[i].rank > 0) ranks[i].rank = 1 + __builtin_popcountll(ranks[i].better);
    return pair_count(distinct);
}

static void judge_pairs(struct demands *demands, struct sweep_report *report, int unit, int k,
                        const struct sweep_family *family, const struct change *changes,
                        const double *adjusted, int tests)
{
    const double alpha = 1 - BOOTSTRAP_LEVEL;
    struct sweep_pair *pairs = sweep_pairs_at(report, unit, k, family);
    for (int a = 0; a < family->count; a++)
        for (int b = a + 1; b < family->count; b++) {
            const int p = pair_index(family->count, a, b);
            double noise = change_floor(&sweep_entry_at(report, unit, family->runs[a])->floors[k],
                                        &sweep_entry_at(report, unit, family->runs[b])->floors[k]);
            bool tied = adjusted[p] > alpha && changes[p].state != INTERVAL_EQUAL;
            pairs[p] = (struct sweep_pair){.change = changes[p], .adjusted = adjusted[p], .noise = noise};
            pairs[p].needed = tied ? samples_needed(demands, &changes[p], noise, tests) : (double)NAN;
        }
}

static void judge_family(const struct source *source, struct sweep_report *report, int unit, int k,
                         const struct sweep_family *family, bool may_rank)
{
    const struct sweep_unit *u = &report->units[unit];
    const struct metric *metric = sweep_metric(u, k);
    struct interval intervals[BOOTSTRAP_MAX_RUNS];
    struct change changes[MOST_PAIRS];
    double adjusted[MOST_PAIRS], values[BOOTSTRAP_MAX_RUNS];
    const bool ranked = may_rank && sweep_ranks_by(u, k);
    for (int i = 0; i < family->count; i++)
        values[i] = sweep_entry_at(report, unit, family->runs[i])->intervals[k].value;
    resample(source, metric, family->runs, metric->value ? values : NULL, family->count, intervals,
             ranked ? changes : NULL);
    for (int i = 0; i < family->count; i++)
        sweep_entry_at(report, unit, family->runs[i])->intervals[k] = intervals[i];
    if (!ranked) return;
    int tests = rank_family(report, family, metric, intervals, changes,
                            sweep_ranks_at(report, unit, k, family), adjusted);
    judge_pairs(source->demands, report, unit, k, family, changes, adjusted, tests);
}

static void judge_trend(const struct source *source, struct sweep_report *report, int unit, int k, int t)
{
    const struct sweep_trend *trend = &report->trends[t];
    const struct metric *metric = sweep_metric(&report->units[unit], k);
    struct interval intervals[BOOTSTRAP_MAX_RUNS];
    struct change changes[MOST_PAIRS];
    double noise[MOST_PAIRS];
    resample(source, metric, trend->runs, NULL, trend->count, intervals, changes);
    for (int a = 0; a < trend->count; a++)
        for (int b = a + 1; b < trend->count; b++)
            noise[pair_index(trend->count, a, b)] =
                change_floor(&sweep_entry_at(report, unit, trend->runs[a])->floors[k],
                             &sweep_entry_at(report, unit, trend->runs[b])->floors[k]);
    *sweep_settles_at(report, unit, k, t) =
        trend_settles(metric, changes, noise, trend->count, 1 - BOOTSTRAP_LEVEL);
}

// Intervals, pairs, ranks and trends of a unit whose values and noise floors are there.
// tables[n_runs], as the unit's metrics want them.
static void judge(struct sweep_report *report, int unit, struct bootstrap *bootstrap, struct demands *demands,
                  const double *const *tables)
{
    const struct source source = {bootstrap, demands, tables};
    for (int k = 0; k < sweep_metric_count(&report->units[unit]); k++) {
        for (int f = 0; f < report->n_families; f++)
            judge_family(&source, report, unit, k, &report->families[f], true);
        for (int p = 0; p < report->n_pieces; p++)
            judge_family(&source, report, unit, k, &report->pieces[p], false);
        for (int t = 0; t < report->n_trends && sweep_ranks_by(&report->units[unit], k); t++)
            judge_trend(&source, report, unit, k, t);
    }
}

// ---- the whole ----

enum status sweep_measure_unit(struct sweep_measure *measure, struct sweep_report *report, int unit,
                               struct error *err)
{
    const struct sweep_unit *u = &report->units[unit];
    for (int i = 0; i < report->n_runs; i++) {
        struct sweep_entry *entry = sweep_entry_at(report, unit, i);
        measure->tables_at[i] = table_of(measure, i);
        if (read_run(measure, u, report->runs[i], table_of(measure, i), entry, err) ||
            measure_noise(measure, u, i, entry, err))
            return err->status;
    }
    judge(report, unit, measure->bootstrap, measure->demands, measure->tables_at);
    return STATUS_OK;
}
