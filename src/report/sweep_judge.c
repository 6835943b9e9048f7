// SPDX-License-Identifier: Apache-2.0
// Intervals and decisions of one unit of a sweep report.
#include <math.h>
#include <string.h>

#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/sweep_files.h"
#include "sweep_parts.h"

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
                       const struct metric *metric, const struct interval *intervals,
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
                         const struct sweep_family *family)
{
    const struct sweep_unit *u = &report->units[unit];
    const struct metric *metric = sweep_metric(u, k);
    struct interval intervals[BOOTSTRAP_MAX_RUNS];
    struct change changes[MOST_PAIRS];
    double adjusted[MOST_PAIRS], values[BOOTSTRAP_MAX_RUNS];
    const bool ranked = sweep_ranks_by(u, k);
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

void sweep_judge(struct sweep_report *report, int unit, struct bootstrap *bootstrap, struct demands *demands,
                 const double *const *tables)
{
    const struct source source = {bootstrap, demands, tables};
    for (int k = 0; k < sweep_metric_count(&report->units[unit]); k++) {
        for (int f = 0; f < report->n_families; f++)
            judge_family(&source, report, unit, k, &report->families[f]);
        for (int t = 0; t < report->n_trends && sweep_ranks_by(&report->units[unit], k); t++)
            judge_trend(&source, report, unit, k, t);
    }
}
