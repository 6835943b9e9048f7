// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/measure/metric.h"

#include <math.h>
#include <string.h>

#include "ssmsweep/base/random.h"
#include "ssmsweep/measure/end_of_model.h"

#define DECIBEL 4.3429448190325182765       // 10 / ln 10
#define TEN 2.3025850929940457              // ln 10: ten times an error, the odds or what is missing to 1
static const double relative_offset = 1e-8; // of the relative errors, docs/numerics.md, section 6
// What is left of a difference below this part of what it was made of is rounding.
static const double residue = 1e-13;

// ---- values: docs/numerics.md, section 6 ----

static double total(struct wide sum)
{
    return sum.hi + sum.lo;
}

struct statistics {
    double mean, std, min, max, abs_mean, variance;
};

// NaN where a value is not finite, or there is none.
static struct statistics describe(const struct accumulator *acc, const struct side *side)
{
    const double n = (double)acc->count;
    if (acc->count == 0 || side->nonfinite) return (struct statistics){NAN, NAN, NAN, NAN, NAN, NAN};
    const double variance = side->min == side->max ? 0 : total(side->squares) / n;
    return (struct statistics){total(side->sum) / n, sqrt(variance),           (double)side->min,
                               (double)side->max,    total(side->abs_sum) / n, variance};
}

static struct statistics of_ref(const struct measurement *m)
{
    return describe(&m->moments, &m->moments.ref);
}

static struct statistics of_mode(const struct measurement *m)
{
    return describe(&m->moments, &m->moments.mode);
}

static double fp_mean(const struct measurement *m)
{
    return of_ref(m).mean;
}

static double fp_std(const struct measurement *m)
{
    return of_ref(m).std;
}

static double fp_min(const struct measurement *m)
{
    return of_ref(m).min;
}

static double fp_max(const struct measurement *m)
{
    return of_ref(m).max;
}

static double mode_mean(const struct measurement *m)
{
    return of_mode(m).mean;
}

static double mode_std(const struct measurement *m)
{
    return of_mode(m).std;
}

static double mode_min(const struct measurement *m)
{
    return of_mode(m).min;
}

static double mode_max(const struct measurement *m)
{
    return of_mode(m).max;
}

// Both sides are there, and finite.
static bool comparable(const struct measurement *m)
{
    return m->moments.count > 0 && !m->moments.ref.nonfinite && !m->moments.mode.nonfinite;
}

static double diff_mean(const struct measurement *m)
{
    const struct wide *a = &m->moments.ref.sum, *b = &m->moments.mode.sum;
    if (!comparable(m)) return NAN;
    return ((b->hi - a->hi) + (b->lo - a->lo)) / (double)m->moments.count;
}

static double diff_variance(const struct measurement *m)
{
    const struct accumulator *acc = &m->moments;
    if (!comparable(m)) return NAN;
    return acc->diff_min == acc->diff_max ? 0 : total(acc->diff_squares) / (double)acc->count;
}

static double diff_std(const struct measurement *m)
{
    return sqrt(diff_variance(m));
}

static double abs_diff_max(const struct measurement *m)
{
    return comparable(m) ? fmax(fabs(m->moments.diff_min), fabs(m->moments.diff_max)) : (double)NAN;
}

static double mse(const struct measurement *m)
{
    return diff_variance(m) + diff_mean(m) * diff_mean(m);
}

static double rmse(const struct measurement *m)
{
    return sqrt(mse(m));
}

static double mae(const struct measurement *m)
{
    return comparable(m) ? total(m->moments.abs_diff) / (double)m->moments.count : (double)NAN;
}

static double relative_mse(const struct measurement *m)
{
    const struct statistics ref = of_ref(m);
    return mse(m) / (ref.variance + ref.mean * ref.mean + relative_offset);
}

static double relative_mae(const struct measurement *m)
{
    return mae(m) / (of_ref(m).abs_mean + relative_offset);
}

static double correlation(const struct measurement *m)
{
    const struct side *a = &m->moments.ref, *b = &m->moments.mode;
    if (!comparable(m) || a->min == a->max || b->min == b->max) return NAN;
    const double scale = sqrt(total(a->squares) * total(b->squares));
    if (!(scale > 0)) return NAN;
    return fmin(1, fmax(-1, total(m->moments.products) / scale)); // rounding may pass 1 by a bit
}

static double abs_diff_percentile(const struct measurement *m, int p)
{
    return comparable(m) ? m->abs_diff_percentiles[p] : (double)NAN;
}

static double abs_diff_p50(const struct measurement *m)
{
    return abs_diff_percentile(m, 0);
}

static double abs_diff_p90(const struct measurement *m)
{
    return abs_diff_percentile(m, 1);
}

static double abs_diff_p95(const struct measurement *m)
{
    return abs_diff_percentile(m, 2);
}

static double abs_diff_p99(const struct measurement *m)
{
    return abs_diff_percentile(m, 3);
}

static double mean_square(struct statistics side)
{
    return side.mean * side.mean + side.std * side.std;
}

static double decibel(double power, double noise)
{
    if (isnan(power) || isnan(noise)) return NAN;
    const double ratio = power / noise;
    if (noise == 0 || isinf(ratio)) return (double)INFINITY;
    return ratio > 0 ? DECIBEL * random_log(ratio) : -(double)INFINITY;
}

// Power of the reference over that of the difference.
static double sqnr_db(const struct measurement *m)
{
    return decibel(mean_square(of_ref(m)), mse(m));
}

// Square of the reference's range over the mse.
static double psnr_db(const struct measurement *m)
{
    const double range = fp_max(m) - fp_min(m);
    return decibel(range * range, mse(m));
}

static double cosine_similarity(const struct measurement *m)
{
    const struct statistics a = of_ref(m), b = of_mode(m);
    const double norms = sqrt(mean_square(a)) * sqrt(mean_square(b)), r = correlation(m);
    if (!(norms > 0)) return NAN;
    // A constant side has no correlation, and no covariance.
    const double covariance = isnan(r) ? 0 : r * a.std * b.std;
    return fmin(1, fmax(-1, (covariance + a.mean * b.mean) / norms));
}

static double max_ulp(const struct measurement *m)
{
    return comparable(m) ? m->max_ulp : (double)NAN;
}

static double isolated_mse(const struct measurement *m)
{
    return comparable(m) ? m->isolated_mse : (double)NAN;
}

// By how much what the layers before made, and this one carries on, is more than what it makes itself.
static double amplification(const struct measurement *m)
{
    return mse(m) / m->isolated_mse;
}

#ifdef SSMSWEEP_TOY_METRIC
// Root of the power of the difference over that of the reference.
static double noise_ratio(const struct measurement *m)
{
    return sqrt(mse(m) / mean_square(of_ref(m)));
}
#endif

// ---- phi and its gradient: errors, logarithms of ratios of sums ----

// log(s1 / s0)
static double log_ratio(const double *s, double *g)
{
    g[0] = -1 / s[0];
    g[1] = 1 / s[1];
    return portable_log(s[1] / s[0]);
}

static double log_root(const double *s, double *g)
{
    double phi = log_ratio(s, g) / 2;
    g[0] /= 2;
    g[1] /= 2;
    return phi;
}

// log((s1 / s0) / (s2 / s0 + offset))
static double log_relative(const double *s, double *g)
{
    double below = s[2] + relative_offset * s[0];
    g[0] = -relative_offset / below;
    g[1] = 1 / s[1];
    g[2] = -1 / below;
    return portable_log(s[1] / below);
}

// 10 log10(s1 / s0)
static double decibel_ratio(const double *s, double *g)
{
    if (s[0] == 0) return s[1] >= 0 ? (double)INFINITY : (double)NAN;
    g[0] = -DECIBEL / s[0];
    g[1] = DECIBEL / s[1];
    return DECIBEL * portable_log(s[1] / s[0]);
}

// ---- phi and its gradient: correlation ----

struct power {
    double a, b, d; // squares of a, of b and of b - a
};

// atanh of r = (a + b - d) / 2 sqrt(a b), with 1 - r = (d - (sqrt a - sqrt b)^2) / 2 sqrt(a b), so that what
// is left beside 1 keeps its digits.  *g: its gradient.
static double fisher(const struct power *s, struct power *g)
{
    double scale = sqrt(s->a) * sqrt(s->b), step = (s->a - s->b) / (sqrt(s->a) + sqrt(s->b));
    if (!(scale > 0)) return NAN;
    double rest = (s->d - step * step) / (2 * scale); // 1 - r
    if (!(rest * scale > residue * fabs(s->a - s->b))) return isnan(rest) ? (double)NAN : (double)INFINITY;
    if (!(rest < 2)) return -INFINITY;
    double slope = 1 / (rest * (2 - rest)); // d atanh r / dr
    g->a = slope * (s->a - s->b + s->d) / (4 * scale * s->a);
    g->b = slope * (s->b - s->a + s->d) / (4 * scale * s->b);
    g->d = -slope / (2 * scale);
    return portable_log((2 - rest) / rest) / 2;
}

static double fisher_cosine(const double *s, double *g)
{
    struct power gradient = {0, 0, 0};
    double phi = fisher(&(struct power){s[0], s[1], s[2]}, &gradient);
    g[0] = gradient.a;
    g[1] = gradient.b;
    g[2] = gradient.d;
    return phi;
}

// Squares around the mean from those around a constant.
static double centred(double squares, double sum, double n)
{
    double v = squares - sum * (sum / n);
    return v <= residue * squares ? 0 : v; // NaN stays
}

// s: count, then sums of a, b, d, then their squares, all around constants.
static double fisher_correlation(const double *s, double *g)
{
    double n = s[0];
    struct power gradient = {0, 0, 0},
                 squares = {centred(s[4], s[1], n), centred(s[5], s[2], n), centred(s[6], s[3], n)};
    double phi = fisher(&squares, &gradient);
    double a = s[1] / n, b = s[2] / n, d = s[3] / n;
    g[0] = gradient.a * a * a + gradient.b * b * b + gradient.d * d * d;
    g[1] = -2 * a * gradient.a;
    g[2] = -2 * b * gradient.b;
    g[3] = -2 * d * gradient.d;
    g[4] = gradient.a;
    g[5] = gradient.b;
    g[6] = gradient.d;
    return phi;
}

// ---- phi and its gradient: predictions ----

// s1 / s0
static double mean(const double *s, double *g)
{
    g[0] = -s[1] / (s[0] * s[0]);
    g[1] = 1 / s[0];
    return s[1] / s[0];
}

// (s2 - s1) / s0
static double mean_change(const double *s, double *g)
{
    double phi = (s[2] - s[1]) / s[0];
    g[0] = -phi / s[0];
    g[1] = -1 / s[0];
    g[2] = 1 / s[0];
    return phi;
}

// exp(s2 / s0) - exp(s1 / s0)
static double exp_change(const double *s, double *g)
{
    double before = portable_exp(s[1] / s[0]), after = portable_exp(s[2] / s[0]);
    g[0] = (before * s[1] - after * s[2]) / (s[0] * s[0]);
    g[1] = -before / s[0];
    g[2] = after / s[0];
    return after - before;
}

// log(s1 / (s0 - s1))
static double log_odds(const double *s, double *g)
{
    double rest = s[0] - s[1];
    if (rest == 0) return s[0] > 0 ? (double)INFINITY : (double)NAN;
    g[0] = -1 / rest;
    g[1] = 1 / s[1] + 1 / rest;
    return portable_log(s[1] / rest);
}

// ---- the catalogue ----

const struct metric metric_table[METRICS] = {
#define METRIC(id, of, on, ...) [METRIC_##id] = {.subject = SUBJECT_##of, .scale = SCALE_##on, __VA_ARGS__},
#include "ssmsweep/measure/metrics.def"
#undef METRIC
};

int metric_find(const char *name, size_t length)
{
    for (int m = 0; m < METRICS; m++)
        if (strlen(metric_table[m].name) == length && memcmp(metric_table[m].name, name, length) == 0)
            return m;
    return -1;
}

int metric_at(enum metric_list list, int place)
{
    for (int m = 0; m < METRICS; m++)
        if (metric_table[m].subject == SUBJECT_OUTPUTS && metric_table[m].place[list] == place) return m;
    return -1;
}

const struct metric *metric_with_interval(enum metric_subject subject, int k)
{
    for (int m = 0; m < METRICS; m++)
        if (metric_table[m].subject == subject && metric_table[m].scale != SCALE_NONE && k-- == 0)
            return &metric_table[m];
    return NULL;
}

int metric_intervals(enum metric_subject subject)
{
    return subject == SUBJECT_OUTPUTS ? (int)METRIC_OUTPUT_INTERVALS : (int)METRIC_TEXT_INTERVALS;
}

int metric_interval_place(enum metric_id metric)
{
    int place = 0;
    for (int m = 0; m < (int)metric; m++)
        place +=
            metric_table[m].subject == metric_table[metric].subject && metric_table[m].scale != SCALE_NONE;
    return place;
}

int metric_ranked_most(void)
{
    int most = 0;
    for (int m = 0; m < METRICS; m++)
        most = metric_table[m].place[LIST_RANKED] > most ? metric_table[m].place[LIST_RANKED] : most;
    return most;
}

double metric_of_table(const struct metric *metric, const double *table, int samples)
{
    double sums[METRIC_MAX_COLUMNS] = {0}, gradient[METRIC_MAX_COLUMNS];
    for (int c = 0; c < metric->columns; c++)
        for (int i = 0; i < samples; i++)
            sums[c] += table[(long)metric->column[c] * samples + i];
    return scale_value(metric->scale, metric->phi(sums, gradient));
}

// ---- scales ----

double scale_value(enum scale scale, double phi)
{
    switch (scale) {
    case SCALE_LOG:
        return portable_exp(phi);
    case SCALE_FISHER: // odd, and without cancellation near 1
        if (fabs(phi) > 20) return phi > 0 ? 1 : -1;
        return 1 - 2 / (portable_exp(2 * phi) + 1);
    case SCALE_LOGIT:
        return 1 / (1 + portable_exp(-phi));
    default:
        return phi;
    }
}

double scale_phi(enum scale scale, double v)
{
    switch (scale) {
    case SCALE_LOG:
        return portable_log(v);
    case SCALE_FISHER:
        return portable_log((1 + v) / (1 - v)) / 2;
    case SCALE_LOGIT:
        return portable_log(v / (1 - v));
    default:
        return v;
    }
}

double scale_change(enum scale scale, double phi)
{
    return scale == SCALE_LOG || scale == SCALE_LOGIT ? portable_exp(phi) : phi;
}

const char *scale_change_name(enum scale scale)
{
    static const char *const names[] = {"difference", "ratio", "atanh_difference", "odds_ratio"};
    return names[scale];
}

double scale_no_change(enum scale scale)
{
    return scale_change(scale, 0);
}

// ---- records ----

struct record record_make(const struct measurement *measurement)
{
    const struct accumulator *acc = &measurement->moments;
    const struct side *mode = &acc->mode;
    const bool known = acc->count > 0 && !mode->nonfinite;
    struct record r = {
        .count = (double)acc->count,
        .fp_nonfinite = (double)acc->ref.nonfinite,
        .mode_nonfinite = (double)mode->nonfinite,
        .mode_abs_mean = known ? (mode->abs_sum.hi + mode->abs_sum.lo) / (double)acc->count : (double)NAN,
    };
    for (int m = 0; m < METRICS; m++)
        r.value[m] = metric_table[m].value ? metric_table[m].value(measurement) : (double)NAN;
    return r;
}

double record_judged(const struct record *record, enum metric_id metric)
{
    const double v = record->value[metric];
    return metric_table[metric].one_if_equal && isnan(v) && record->value[METRIC_MSE] == 0 ? 1 : v;
}

// ---- grades ----

const char *grade_name(enum grade grade)
{
    static const char *const names[] = {"excellent", "good", "fair", "poor"};
    return names[grade];
}

// NaN is poor.
enum grade record_grade(const struct record *record, enum metric_id metric)
{
    const double v = record_judged(record, metric);
    for (int g = GRADE_EXCELLENT; g < GRADE_POOR; g++) {
        const double limit = metric_table[metric].grades[g];
        if (metric_table[metric].better == BETTER_LARGER ? v > limit : v < limit) return (enum grade)g;
    }
    return GRADE_POOR;
}

enum grade record_worst_grade(const struct record *record)
{
    enum grade worst = GRADE_EXCELLENT;
    for (int i = 1, m; (m = metric_at(LIST_GRADED, i)) >= 0; i++) {
        const enum grade grade = record_grade(record, (enum metric_id)m);
        worst = grade > worst ? grade : worst;
    }
    return worst;
}
