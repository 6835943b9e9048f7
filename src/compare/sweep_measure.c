// SPDX-License-Identifier: Apache-2.0
// The numbers of one unit of a sweep report.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/compare/metric.h"
#include "ssmsweep/compare/record.h"
#include "ssmsweep/compare/sweep_files.h"
#include "ssmsweep/numerics/mode.h"
#include "ssmsweep/statistics/moments.h"
#include "sweep_parts.h"

enum {
    COLUMNS = (int)MOMENT_COLUMNS > (int)TEXT_COLUMNS ? (int)MOMENT_COLUMNS : (int)TEXT_COLUMNS,
};

struct sweep_measure {
    const struct sweep_report *report;
    struct samples *samples;
    const bool *uses;
    struct accumulator *rows;   // [samples of the file]
    struct end_of_model *texts; // [2][samples of the file], NULL where there are none
    double *tables;             // [n_runs][COLUMNS][report->samples]
    struct bootstrap *bootstrap;
};

static int most_runs(const struct sweep_report *report)
{
    int most = 1;
    for (int f = 0; f < report->n_families; f++)
        most = report->families[f].count > most ? report->families[f].count : most;
    for (int t = 0; t < report->n_trends; t++)
        most = report->trends[t].count > most ? report->trends[t].count : most;
    return most;
}

enum status sweep_measure_open(struct sweep_measure **measure, const struct sweep_report *report,
                               struct samples *samples, const bool *uses, struct error *err)
{
    size_t rows = (size_t)result_samples(report->result),
           cells = (size_t)report->n_runs * COLUMNS * (size_t)report->samples;
    struct sweep_measure *m = calloc(1, sizeof *m);
    if (!m) return error_memory(err, sizeof *m, "the statistics");
    *m = (struct sweep_measure){.report = report, .samples = samples, .uses = uses};
    m->rows = malloc(rows * sizeof *m->rows);
    m->tables = malloc(cells * sizeof *m->tables);
    bool text = samples_has_end_of_model(samples);
    if (text) m->texts = malloc(2 * rows * sizeof *m->texts);
    if (!m->rows || !m->tables || (text && !m->texts))
        error_memory(err, rows * sizeof *m->rows + cells * sizeof *m->tables, "the statistics");
    else
        bootstrap_open(&m->bootstrap, report->seed, report->replicates, report->samples, most_runs(report),
                       err);
    if (err->status)
        sweep_measure_close(m);
    else
        *measure = m;
    return err->status;
}

void sweep_measure_close(struct sweep_measure *measure)
{
    if (!measure) return;
    bootstrap_close(measure->bootstrap);
    free(measure->rows);
    free(measure->texts);
    free(measure->tables);
    free(measure);
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
    for (int b = 0; b < PROFILE_POSITIONS; b++) {
        double count = (double)profile->position_count[b];
        entry->position_count[b] = count;
        entry->position_mse[b] = profile->position_squares[b] / count;
        entry->position_mae[b] = profile->position_abs[b] / count;
    }
}

// Values as in the other reports, to the last bit.
static void set_values(struct sweep_entry *entry, const struct accumulator *total)
{
    static const double no_percentiles[PERCENTILES] = {NAN, NAN, NAN, NAN};
    const struct record record = record_make(total, no_percentiles);
    entry->elements = record.count;
    entry->nonfinite[0] = record.fp_nonfinite;
    entry->nonfinite[1] = record.mode_nonfinite;
    entry->largest = record.abs_diff_max;
    entry->top1_correct = NAN;
    for (int k = 0; k < MOMENT_STATISTICS; k++) {
        const char *name = moment_statistics[k].name;
        entry->intervals[k].value = metric_value(&record, metric_find(name, strlen(name)));
    }
}

// The table of a run, and what needs no resamples.
static enum status read_layer(struct sweep_measure *m, const struct sweep_unit *unit, int run,
                              struct sweep_entry *entry, struct error *err)
{
    struct accumulator total;
    struct profile profile;
    if (samples_read(m->samples, m->report->runs[run], unit->layer, unit->component, m->uses, m->rows,
                     &profile, err))
        return err->status;
    int n = 0;
    accumulator_clear(&total);
    for (int s = 0; s < result_samples(m->report->result); s++) {
        if (!m->uses[s]) continue;
        accumulator_merge(&total, &m->rows[s]);
        m->rows[n++] = m->rows[s];
    }
    moments_fill(m->rows, n, table_of(m, run));
    set_values(entry, &total);
    set_profile(entry, &profile);
    return STATUS_OK;
}

// ---- the whole model ----

static void fill_text(double *table, int samples, int i, const struct end_of_model *ref,
                      const struct end_of_model *mode)
{
    const double row[TEXT_COLUMNS] = {[TEXT_TOKENS] = (double)mode->tokens,
                                      [TEXT_NLL_REF] = ref->nll,
                                      [TEXT_NLL_MODE] = mode->nll,
                                      [TEXT_KL] = mode->kl,
                                      [TEXT_TOP1_AGREE] = (double)mode->top1_agree};
    for (int c = 0; c < TEXT_COLUMNS; c++) // a NaN among the logits spoils the sample
        table[c * samples + i] = ref->nonfinite || mode->nonfinite ? (double)NAN : row[c];
}

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

static enum status read_text(struct sweep_measure *m, int run, struct sweep_entry *entry, struct error *err)
{
    const struct sweep_report *report = m->report;
    int reference = compare_reference_of(report->result, report->reference, report->runs[run]), n = 0;
    struct end_of_model total, *ref = m->texts, *mode = m->texts + result_samples(report->result);
    if (samples_read_end_of_model(m->samples, reference, ref, err) ||
        samples_read_end_of_model(m->samples, report->runs[run], mode, err))
        return err->status;
    end_of_model_clear(&total);
    for (int s = 0; s < result_samples(report->result); s++) {
        if (!m->uses[s]) continue;
        end_of_model_merge(&total, &mode[s]);
        fill_text(table_of(m, run), report->samples, n++, &ref[s], &mode[s]);
    }
    set_text_values(entry, &total);
    return STATUS_OK;
}

static enum status read_run(struct sweep_measure *m, const struct sweep_unit *unit, int run,
                            struct sweep_entry *entry, struct error *err)
{
    if (unit->layer == SWEEP_END_OF_MODEL) return read_text(m, run, entry, err);
    return read_layer(m, unit, run, entry, err);
}

// ---- intervals and decisions ----

enum { MOST_PAIRS = BOOTSTRAP_MAX_RUNS * (BOOTSTRAP_MAX_RUNS - 1) / 2 };

// Of runs[count], as they stand in the tables.
static void resample(struct sweep_measure *m, const struct statistic *statistic, const int *runs, int count,
                     struct interval *intervals, struct change *changes)
{
    const double *tables[BOOTSTRAP_MAX_RUNS];
    for (int i = 0; i < count; i++)
        tables[i] = table_of(m, runs[i]);
    bootstrap_run(m->bootstrap, statistic, tables, count, intervals, changes);
}

// A value that the records of the other reports have stays as it is there.
static void take_interval(struct interval *to, const struct interval *from, bool has_value)
{
    double value = has_value ? to->value : from->value;
    *to = *from;
    to->value = value;
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
static void copy_twin(struct rank *ranks, double *adjusted, int count, int o, int twin)
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
        struct rank *rank = &ranks[i ? twin : o];
        rank->tied = (rank->tied | both) & ~(UINT64_C(1) << (i ? twin : o));
        rank->equal = (rank->equal | both) & ~(UINT64_C(1) << (i ? twin : o));
    }
}

// Ranks and corrected p-values, each mode counted once.  Returns the number of tests.
static int rank_family(const struct sweep_report *report, const struct sweep_family *family,
                       const struct statistic *statistic, const struct interval *intervals,
                       const struct change *changes, struct rank *ranks, double *adjusted)
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
    ranking_make(statistic, intervals, tested, count, 1 - BOOTSTRAP_LEVEL, ranks, adjusted);
    for (int i = 0; i < count; i++)
        if (twins[i] >= 0) copy_twin(ranks, adjusted, count, twins[i], i);
    for (int i = 0; i < count; i++)
        if (ranks[i].rank > 0) ranks[i].rank = 1 + __builtin_popcountll(ranks[i].better);
    return pair_count(distinct);
}

static void judge_family(struct sweep_measure *m, struct sweep_report *report, int unit, int k,
                         const struct sweep_family *family)
{
    const struct sweep_unit *u = &report->units[unit];
    const struct statistic *statistic = &sweep_statistics(u)[k];
    struct interval intervals[BOOTSTRAP_MAX_RUNS];
    struct change changes[MOST_PAIRS];
    double adjusted[MOST_PAIRS];
    resample(m, statistic, family->runs, family->count, intervals, changes);
    int tests = rank_family(report, family, statistic, intervals, changes,
                            sweep_ranks_at(report, unit, k, family), adjusted);
    for (int i = 0; i < family->count; i++)
        take_interval(&sweep_entry_at(report, unit, family->runs[i])->intervals[k], &intervals[i],
                      u->layer != SWEEP_END_OF_MODEL);
    struct sweep_pair *pairs = sweep_pairs_at(report, unit, k, family);
    for (int p = 0; p < pair_count(family->count); p++) {
        bool tied = adjusted[p] > 1 - BOOTSTRAP_LEVEL && changes[p].state != INTERVAL_EQUAL;
        double needed = tied && sweep_ranks_by(u, k)
                            ? samples_needed(&changes[p], 0, 1 - BOOTSTRAP_LEVEL, tests, RANKING_POWER)
                            : (double)NAN;
        pairs[p] = (struct sweep_pair){changes[p], adjusted[p], needed};
    }
}

static void judge_trend(struct sweep_measure *m, struct sweep_report *report, int unit, int k, int t)
{
    const struct sweep_trend *trend = &report->trends[t];
    const struct statistic *statistic = &sweep_statistics(&report->units[unit])[k];
    struct interval intervals[BOOTSTRAP_MAX_RUNS];
    struct change changes[MOST_PAIRS];
    resample(m, statistic, trend->runs, trend->count, intervals, changes);
    *sweep_settles_at(report, unit, k, t) =
        trend_settles(statistic, changes, trend->count, 1 - BOOTSTRAP_LEVEL);
}

enum status sweep_measure_unit(struct sweep_measure *measure, struct sweep_report *report, int unit,
                               struct error *err)
{
    const struct sweep_unit *u = &report->units[unit];
    for (int i = 0; i < report->n_runs; i++)
        if (read_run(measure, u, i, sweep_entry_at(report, unit, i), err)) return err->status;
    for (int k = 0; k < sweep_statistic_count(u); k++) {
        for (int f = 0; f < report->n_families; f++)
            judge_family(measure, report, unit, k, &report->families[f]);
        for (int t = 0; t < report->n_trends; t++)
            judge_trend(measure, report, unit, k, t);
    }
    return STATUS_OK;
}
