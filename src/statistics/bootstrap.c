// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/statistics/bootstrap.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/random.h"
#include "ssmsweep/statistics/student.h"

// A standard error below this part of the numbers that make it is their rounding.
static const double no_spread = 1e-13;
// A t beyond this comes from a replicate without spread.
static const double largest_t = 1e6;
// So many of the largest replicates are left to Student's tail: fewer of few, so that the tail begins below
// the 5 % point and p <= 0.05 is a count, as the interval's end is.
enum { TAIL = 10, TAIL_PART = 40 };
// Replicates side by side, each adding over the samples in their order: vectors of any width give the same
// bits.
enum { LANES = 8 };

struct bootstrap {
    uint64_t seed;
    int replicates, samples, max_runs;
    int tail;
    double tail_quantile; // Student's t at the p-value of the tail-th largest replicate
    double *weights;      // [samples][LANES]
    double *influence;    // [max_runs][samples][LANES]
    double *t;            // [max_runs + pairs][replicates]
};

// The runs of one call, as they are before resampling.
struct runs {
    const struct metric *metric;
    const double *const *tables;
    int runs;
    const double *values;            // [runs], or NULL
    struct interval *intervals;      // [runs]
    struct change *changes;          // [pairs] or NULL
    double size[BOOTSTRAP_MAX_RUNS]; // of the terms of the influences: what rounding is measured by
};

const char *interval_state_name(enum interval_state state)
{
    static const char *const names[] = {"ok",      "unbounded", "exact",     "equal",
                                        "too_few", "no_spread", "nonfinite", "undefined"};
    return names[state];
}

int pair_count(int runs)
{
    return runs * (runs - 1) / 2;
}

int pair_index(int runs, int a, int b)
{
    return a * (2 * runs - a - 1) / 2 + b - a - 1;
}

// ---- workspace ----

struct sizes {
    size_t weights, influence, t; // doubles
};

static struct sizes sizes(int replicates, int samples, int max_runs)
{
    size_t block = (size_t)samples * LANES;
    return (struct sizes){block, block * (size_t)max_runs,
                          (size_t)(max_runs + pair_count(max_runs)) * (size_t)replicates};
}

size_t bootstrap_bytes(int replicates, int samples, int max_runs)
{
    struct sizes s = sizes(replicates, samples, max_runs);
    return sizeof(struct bootstrap) + (s.weights + s.influence + s.t) * sizeof(double);
}

enum status bootstrap_open(struct bootstrap **bootstrap, uint64_t seed, int replicates, int samples,
                           int max_runs, struct error *err)
{
    if (replicates < BOOTSTRAP_MIN_REPLICATES || replicates > BOOTSTRAP_MAX_REPLICATES)
        return error_set(err, STATUS_USAGE, "bootstrap: replicates: expected %d to %d, got %d",
                         BOOTSTRAP_MIN_REPLICATES, BOOTSTRAP_MAX_REPLICATES, replicates);
    if (max_runs < 1 || max_runs > BOOTSTRAP_MAX_RUNS)
        return error_set(
            err, STATUS_USAGE,
            "bootstrap: runs compared with each other: expected 1 to %d, got %d; select fewer modes",
            BOOTSTRAP_MAX_RUNS, max_runs);
    if (samples < 1)
        return error_set(err, STATUS_USAGE, "bootstrap: samples: expected 1 or more, got %d", samples);
    struct bootstrap *b = calloc(1, sizeof *b);
    if (!b) return error_memory(err, sizeof *b, "the bootstrap");
    struct sizes s = sizes(replicates, samples, max_runs);
    *b = (struct bootstrap){.seed = seed, .replicates = replicates, .samples = samples, .max_runs = max_runs};
    b->tail = (replicates + 1) / TAIL_PART < TAIL ? (replicates + 1) / TAIL_PART : TAIL;
    b->tail_quantile = student_quantile((1.0 + b->tail) / (replicates + 1), samples > 1 ? samples - 1 : 1);
    b->weights = malloc(s.weights * sizeof *b->weights);
    b->influence = malloc(s.influence * sizeof *b->influence);
    b->t = malloc(s.t * sizeof *b->t);
    if (!b->weights || !b->influence || !b->t) {
        bootstrap_close(b);
        return error_memory(err, bootstrap_bytes(replicates, samples, max_runs), "the bootstrap");
    }
    *bootstrap = b;
    return STATUS_OK;
}

void bootstrap_close(struct bootstrap *b)
{
    if (!b) return;
    free(b->weights);
    free(b->influence);
    free(b->t);
    free(b);
}

// ---- the inner loops: LANES replicates at once ----

static void draw(uint64_t stream, int replicate, int samples, double *weights, int stride)
{
    uint64_t first = (uint64_t)replicate << 32;
    for (int i = 0; i < samples; i++)
        weights[(long)i * stride] = 0;
    for (int i = 0; i < samples; i++)
        weights[(long)random_below(stream, first + (uint64_t)i, (uint64_t)samples) * stride] += 1;
}

void bootstrap_weights(uint64_t seed, int replicate, int samples, double *weights, int stride)
{
    draw(random_stream(seed, "bootstrap"), replicate, samples, weights, stride);
}

// weights[samples][LANES] of the replicates first, first + 1, ...
static void resample_weights(uint64_t seed, int first, int samples, double *weights)
{
    uint64_t stream = random_stream(seed, "bootstrap");
    for (int lane = 0; lane < LANES; lane++)
        draw(stream, first + lane, samples, weights + lane, LANES);
}

static void weighted_sum(const double *weights, const double *column, int samples, double *sum)
{
    double total[LANES] = {0};
    for (int i = 0; i < samples; i++)
        for (int lane = 0; lane < LANES; lane++)
            total[lane] += weights[(long)i * LANES + lane] * column[i];
    memcpy(sum, total, sizeof total);
}

// influence += or = slope * column
static void add_influence(double *influence, const double *slope, const double *column, int samples,
                          int first)
{
    if (first)
        for (int i = 0; i < samples; i++)
            for (int lane = 0; lane < LANES; lane++)
                influence[(long)i * LANES + lane] = slope[lane] * column[i];
    else
        for (int i = 0; i < samples; i++)
            for (int lane = 0; lane < LANES; lane++)
                influence[(long)i * LANES + lane] += slope[lane] * column[i];
}

static void weighted_squares(const double *weights, const double *influence, int samples, double *sum)
{
    double total[LANES] = {0};
    for (int i = 0; i < samples; i++)
        for (int lane = 0; lane < LANES; lane++) {
            double u = influence[(long)i * LANES + lane];
            total[lane] += weights[(long)i * LANES + lane] * (u * u);
        }
    memcpy(sum, total, sizeof total);
}

// What one run's table says under the weights.
struct resampled {
    double phi[LANES];
    double variance[LANES]; // sum over samples of weight * influence^2
};

// influence[samples][LANES]: gradient * the sample's columns, whose weighted sum is 0.
static void resample_run(const struct metric *metric, const double *table, int samples, const double *weights,
                         double *influence, struct resampled *out)
{
    double sums[METRIC_MAX_COLUMNS][LANES], slopes[METRIC_MAX_COLUMNS][LANES];
    for (int c = 0; c < metric->columns; c++)
        weighted_sum(weights, table + (long)metric->column[c] * samples, samples, sums[c]);
    for (int lane = 0; lane < LANES; lane++) {
        double sum[METRIC_MAX_COLUMNS] = {0}, slope[METRIC_MAX_COLUMNS] = {0};
        for (int c = 0; c < metric->columns; c++)
            sum[c] = sums[c][lane];
        out->phi[lane] = metric->phi(sum, slope);
        for (int c = 0; c < metric->columns; c++)
            slopes[c][lane] = slope[c];
    }
    for (int c = 0; c < metric->columns; c++)
        add_influence(influence, slopes[c], table + (long)metric->column[c] * samples, samples, c == 0);
    weighted_squares(weights, influence, samples, out->variance);
}

// variance[LANES]: sum over samples of weight * (influence a - influence b)^2.
static void resample_pair(const double *influence_a, const double *influence_b, int samples,
                          const double *weights, double *variance)
{
    double total[LANES] = {0};
    for (int i = 0; i < samples; i++)
        for (int lane = 0; lane < LANES; lane++) {
            double u = influence_a[(long)i * LANES + lane] - influence_b[(long)i * LANES + lane];
            total[lane] += weights[(long)i * LANES + lane] * (u * u);
        }
    memcpy(variance, total, sizeof total);
}

// ---- where a run's numbers are ----

static double *influence_of(const struct bootstrap *b, int run)
{
    return b->influence + (size_t)run * (size_t)b->samples * LANES;
}

static double *replicates_of(const struct bootstrap *b, int row)
{
    return b->t + (size_t)row * (size_t)b->replicates;
}

static double standard_error(const struct bootstrap *b, double variance)
{
    double n = b->samples;
    return sqrt(variance * (n / (n - 1)));
}

// ---- the samples as they are ----

static bool columns_finite(const struct runs *g, int run, int samples)
{
    for (int c = 0; c < g->metric->columns; c++)
        for (int i = 0; i < samples; i++)
            if (!isfinite(g->tables[run][(long)g->metric->column[c] * samples + i])) return false;
    return true;
}

static bool columns_equal(const struct runs *g, int a, int b, int samples)
{
    for (int c = 0; c < g->metric->columns; c++) {
        long at = (long)g->metric->column[c] * samples;
        for (int i = 0; i < samples; i++)
            if (g->tables[a][at + i] != g->tables[b][at + i]) return false;
    }
    return true;
}

// Root of the sum of squares of the influences' terms, taken without their signs.
static double term_size(const struct runs *g, int run, int samples)
{
    double sums[METRIC_MAX_COLUMNS] = {0}, slope[METRIC_MAX_COLUMNS] = {0}, total = 0;
    for (int c = 0; c < g->metric->columns; c++)
        for (int i = 0; i < samples; i++)
            sums[c] += g->tables[run][(long)g->metric->column[c] * samples + i];
    g->metric->phi(sums, slope);
    for (int i = 0; i < samples; i++) {
        double terms = 0;
        for (int c = 0; c < g->metric->columns; c++)
            terms += fabs(slope[c] * g->tables[run][(long)g->metric->column[c] * samples + i]);
        total += terms * terms;
    }
    return sqrt(total);
}

static enum interval_state state_of(bool finite, double phi, double se, double size, int samples)
{
    if (!finite) return INTERVAL_NONFINITE;
    if (isnan(phi)) return INTERVAL_UNDEFINED;
    if (isinf(phi)) return INTERVAL_EXACT;
    if (samples < BOOTSTRAP_MIN_SAMPLES) return INTERVAL_TOO_FEW;
    return se > no_spread * size ? INTERVAL_OK : INTERVAL_NO_SPREAD;
}

static void start_run(struct bootstrap *b, struct runs *g, int run)
{
    struct interval *interval = &g->intervals[run];
    struct resampled all;
    resample_run(g->metric, g->tables[run], b->samples, b->weights, influence_of(b, run), &all);
    g->size[run] = term_size(g, run, b->samples);
    double phi = all.phi[0], se = standard_error(b, all.variance[0]);
    enum interval_state state =
        state_of(columns_finite(g, run, b->samples), phi, se, g->size[run], b->samples);
    double value = NAN, end = NAN;
    if (g->values)
        value = g->values[run];
    else if (state != INTERVAL_NONFINITE)
        value = scale_value(g->metric->scale, phi);
    if (state == INTERVAL_EXACT) end = scale_value(g->metric->scale, phi);
    *interval = (struct interval){.value = value,
                                  .low = end,
                                  .high = end,
                                  .phi = state == INTERVAL_NONFINITE ? (double)NAN : phi,
                                  .se = state == INTERVAL_OK ? se : (double)NAN,
                                  .samples = b->samples,
                                  .state = state};
}

// One of the two is at the end of the scale in every sample: under equality each sample in which the other is
// not would be as likely to be so the other way round (sign test).
static double sign_test(const struct bootstrap *b, const struct runs *g, int run)
{
    const struct metric *s = g->metric;
    double sum[METRIC_MAX_COLUMNS], slope[METRIC_MAX_COLUMNS], p = 2;
    for (int i = 0; i < b->samples; i++) {
        for (int c = 0; c < s->columns; c++)
            sum[c] = g->tables[run][(long)s->column[c] * b->samples + i];
        if (!isinf(s->phi(sum, slope))) p /= 2;
    }
    return fmin(1, fmax(BOOTSTRAP_SMALLEST_P, p));
}

static enum interval_state pair_state(const struct bootstrap *b, const struct runs *g, int i, int j,
                                      double phi, double se)
{
    enum interval_state a = g->intervals[i].state, c = g->intervals[j].state;
    if (a == INTERVAL_NONFINITE || c == INTERVAL_NONFINITE) return INTERVAL_NONFINITE;
    if (a == INTERVAL_UNDEFINED || c == INTERVAL_UNDEFINED) return INTERVAL_UNDEFINED;
    if (columns_equal(g, i, j, b->samples) ||
        (a == INTERVAL_EXACT && g->intervals[i].phi == g->intervals[j].phi))
        return INTERVAL_EQUAL;
    return state_of(true, phi, se, fmax(g->size[i], g->size[j]), b->samples);
}

static void start_pair(struct bootstrap *b, struct runs *g, int i, int j)
{
    const struct interval *x = &g->intervals[i], *y = &g->intervals[j];
    double variance[LANES], phi = x->phi - y->phi;
    resample_pair(influence_of(b, i), influence_of(b, j), b->samples, b->weights, variance);
    double se = standard_error(b, variance[0]);
    enum interval_state state = pair_state(b, g, i, j, phi, se);
    struct change change = {.phi = state == INTERVAL_EQUAL ? 0 : phi,
                            .low = NAN,
                            .high = NAN,
                            .se = state == INTERVAL_OK ? se : (double)NAN,
                            .p = NAN,
                            .samples = b->samples,
                            .state = state};
    change.value = scale_change(g->metric->scale, change.phi);
    if (state == INTERVAL_EQUAL) {
        change.low = change.high = change.value;
        change.p = 1;
    } else if (state == INTERVAL_EXACT) {
        change.p = sign_test(b, g, x->state == INTERVAL_EXACT ? j : i);
    }
    g->changes[pair_index(g->runs, i, j)] = change;
}

static void start(struct bootstrap *b, struct runs *g)
{
    for (long i = 0; i < (long)b->samples * LANES; i++)
        b->weights[i] = 1;
    for (int run = 0; run < g->runs; run++)
        start_run(b, g, run);
    for (int i = 0; g->changes && i < g->runs; i++)
        for (int j = i + 1; j < g->runs; j++)
            start_pair(b, g, i, j);
}

// ---- resamples ----

static void keep(const struct bootstrap *b, int row, int first, const double *distance,
                 const double *variance)
{
    double *t = replicates_of(b, row);
    for (int lane = 0; lane < LANES && first + lane < b->replicates; lane++) {
        double ratio = fabs(distance[lane]) / standard_error(b, variance[lane]);
        t[first + lane] = distance[lane] == 0 ? 0 : ratio < largest_t ? ratio : (double)INFINITY;
    }
}

static void resample_pairs(struct bootstrap *b, const struct runs *g, int first, const struct resampled *runs)
{
    for (int i = 0; i < g->runs; i++)
        for (int j = i + 1; j < g->runs; j++) {
            int pair = pair_index(g->runs, i, j);
            double distance[LANES], variance[LANES];
            if (g->changes[pair].state != INTERVAL_OK) continue;
            for (int lane = 0; lane < LANES; lane++)
                distance[lane] = runs[i].phi[lane] - runs[j].phi[lane] - g->changes[pair].phi;
            resample_pair(influence_of(b, i), influence_of(b, j), b->samples, b->weights, variance);
            keep(b, g->runs + pair, first, distance, variance);
        }
}

// A run whose samples are all alike still takes part in pairs.
static bool takes_part(const struct interval *interval)
{
    return interval->state == INTERVAL_OK || interval->state == INTERVAL_NO_SPREAD;
}

static void resample_block(struct bootstrap *b, const struct runs *g, int first)
{
    struct resampled runs[BOOTSTRAP_MAX_RUNS];
    resample_weights(b->seed, first, b->samples, b->weights);
    for (int run = 0; run < g->runs; run++) {
        if (!takes_part(&g->intervals[run])) continue;
        resample_run(g->metric, g->tables[run], b->samples, b->weights, influence_of(b, run), &runs[run]);
        if (g->intervals[run].state != INTERVAL_OK) continue;
        double distance[LANES];
        for (int lane = 0; lane < LANES; lane++)
            distance[lane] = runs[run].phi[lane] - g->intervals[run].phi;
        keep(b, run, first, distance, runs[run].variance);
    }
    if (g->changes) resample_pairs(b, g, first, runs);
}

// ---- quantiles and p-values ----

static void swap(double *a, double *b)
{
    double c = *a;
    *a = *b;
    *b = c;
}

// Afterwards v[k] is the k-th smallest (from 0), with none larger before it and none smaller behind it.
static void select_at(double *v, int n, int k)
{
    int low = 0, high = n - 1;
    while (low < high) {
        double pivot = v[low + (high - low) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i <= j) swap(&v[i++], &v[j--]);
        }
        if (k <= j)
            high = j;
        else if (k >= i)
            low = i;
        else
            return;
    }
}

static double interval_t(const struct bootstrap *b, double *t)
{
    int k = (int)ceil((b->replicates + 1) * BOOTSTRAP_LEVEL - 1e-9) - 1;
    select_at(t, b->replicates, k);
    return t[k];
}

// Infinite beyond what the metric lets pass for an interval.
static double bounded(const struct metric *metric, double width)
{
    return width <= metric->reach ? width : (double)INFINITY;
}

// Where hardly any replicate lies beyond, Student's tail goes on from the tail-th largest, scaled to meet it.
static double two_sided_p(const struct bootstrap *b, double *t, double observed)
{
    int beyond = 0, anchor = b->replicates - b->tail;
    for (int i = 0; i < b->replicates; i++)
        beyond += t[i] >= observed;
    double p = (1.0 + beyond) / (b->replicates + 1);
    if (beyond >= b->tail) return p;
    select_at(t, b->replicates, anchor);
    if (isinf(t[anchor])) return p;
    p = student_two_sided(observed * b->tail_quantile / t[anchor], b->samples - 1);
    return fmax(BOOTSTRAP_SMALLEST_P, p);
}

static void finish_run(struct bootstrap *b, const struct metric *s, struct interval *interval, double *t)
{
    const double width = bounded(s, interval_t(b, t) * interval->se);
    interval->low = scale_value(s->scale, interval->phi - width);
    interval->high = scale_value(s->scale, interval->phi + width);
    if (isinf(width)) interval->state = INTERVAL_UNBOUNDED;
}

// One that leaves out "no change" stays, however wide: its test is passed.
static void finish_change(struct bootstrap *b, const struct metric *s, struct change *change, double *t)
{
    const double observed = fabs(change->phi) / change->se, quantile = interval_t(b, t);
    double width = quantile * change->se;
    if (observed <= quantile) width = bounded(s, width);
    change->low = scale_change(s->scale, change->phi - width);
    change->high = scale_change(s->scale, change->phi + width);
    change->p = two_sided_p(b, t, observed);
    if (isinf(width)) change->state = INTERVAL_UNBOUNDED;
}

static void finish(struct bootstrap *b, struct runs *g)
{
    for (int run = 0; run < g->runs; run++)
        if (g->intervals[run].state == INTERVAL_OK)
            finish_run(b, g->metric, &g->intervals[run], replicates_of(b, run));
    for (int pair = 0; g->changes && pair < pair_count(g->runs); pair++)
        if (g->changes[pair].state == INTERVAL_OK)
            finish_change(b, g->metric, &g->changes[pair], replicates_of(b, g->runs + pair));
}

void bootstrap_run(struct bootstrap *b, const struct metric *metric, const double *const *tables,
                   const double *values, int runs, struct interval *intervals, struct change *changes)
{
    struct runs g = {.metric = metric,
                     .tables = tables,
                     .values = values,
                     .runs = runs,
                     .intervals = intervals,
                     .changes = changes};
    start(b, &g);
    for (int first = 0; first < b->replicates; first += LANES)
        resample_block(b, &g, first);
    finish(b, &g);
}
