// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/statistics/statistic.h"

#include <math.h>
#include <string.h>

#include "ssmsweep/statistics/moments.h"
#include "ssmsweep/statistics/student.h"

#define DECIBEL 4.3429448190325182765       // 10 / ln 10
#define TEN 2.3025850929940457              // ln 10
static const double relative_offset = 1e-8; // of the relative errors, docs/numerics.md, section 6
// What is left of a difference below this part of what it was made of is rounding.
static const double residue = 1e-13;

// ---- errors: logarithms of ratios of sums ----

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
static double decibel(const double *s, double *g)
{
    if (s[0] == 0) return s[1] >= 0 ? (double)INFINITY : (double)NAN;
    g[0] = -DECIBEL / s[0];
    g[1] = DECIBEL / s[1];
    return DECIBEL * portable_log(s[1] / s[0]);
}

// ---- correlation ----

struct sides {
    double a, b, d; // squares of a, of b and of b - a
};

// atanh of r = (a + b - d) / 2 sqrt(a b), with 1 - r = (d - (sqrt a - sqrt b)^2) / 2 sqrt(a b), so that what
// is left beside 1 keeps its digits.  *g: its gradient.
static double fisher(const struct sides *s, struct sides *g)
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

static double cosine(const double *s, double *g)
{
    struct sides gradient = {0, 0, 0};
    double phi = fisher(&(struct sides){s[0], s[1], s[2]}, &gradient);
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
static double correlation(const double *s, double *g)
{
    double n = s[0];
    struct sides gradient = {0, 0, 0},
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

// Reach: ten times an error, the odds or what is missing to 1; the square of the rmse and the dB say the same
// as the mse.
const struct statistic moment_statistics[MOMENT_STATISTICS] = {
    {"mse", false, SCALE_LOG, TEN, 2, {MOMENT_COUNT, MOMENT_DIFF_SQUARES}, log_ratio},
    {"rmse", false, SCALE_LOG, TEN / 2, 2, {MOMENT_COUNT, MOMENT_DIFF_SQUARES}, log_root},
    {"mae", false, SCALE_LOG, TEN, 2, {MOMENT_COUNT, MOMENT_ABS_DIFF}, log_ratio},
    {"relative_mse",
     false,
     SCALE_LOG,
     TEN,
     3,
     {MOMENT_COUNT, MOMENT_DIFF_SQUARES, MOMENT_REF_SQUARES},
     log_relative},
    {"relative_mae", false, SCALE_LOG, TEN, 3, {MOMENT_COUNT, MOMENT_ABS_DIFF, MOMENT_REF_ABS}, log_relative},
    {"correlation",
     true,
     SCALE_FISHER,
     TEN / 2,
     7,
     {MOMENT_COUNT, MOMENT_REF_SUM, MOMENT_MODE_SUM, MOMENT_DIFF_SUM, MOMENT_REF_CENTRED, MOMENT_MODE_CENTRED,
      MOMENT_DIFF_CENTRED},
     correlation},
    {"sqnr_db", true, SCALE_IDENTITY, 10, 2, {MOMENT_DIFF_SQUARES, MOMENT_REF_SQUARES}, decibel},
    {"cosine_similarity",
     true,
     SCALE_FISHER,
     TEN / 2,
     3,
     {MOMENT_REF_SQUARES, MOMENT_MODE_SQUARES, MOMENT_DIFF_SQUARES},
     cosine},
};

// ---- the whole model ----

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

const struct statistic text_statistics[TEXT_STATISTICS] = {
    {"perplexity", false, SCALE_LOG, TEN, 2, {TEXT_TOKENS, TEXT_NLL_MODE}, mean},
    {"perplexity_ratio", false, SCALE_LOG, TEN, 3, {TEXT_TOKENS, TEXT_NLL_REF, TEXT_NLL_MODE}, mean_change},
    {"perplexity_change",
     false,
     SCALE_IDENTITY,
     INFINITY, // a difference has no factor
     3,
     {TEXT_TOKENS, TEXT_NLL_REF, TEXT_NLL_MODE},
     exp_change},
    {"kl_mean", false, SCALE_LOG, TEN, 2, {TEXT_TOKENS, TEXT_KL}, log_ratio},
    {"top1_agreement", true, SCALE_LOGIT, TEN, 2, {TEXT_TOKENS, TEXT_TOP1_AGREE}, log_odds},
};

const struct statistic *statistic_find(const struct statistic *statistics, int count, const char *name)
{
    for (int i = 0; i < count; i++)
        if (strcmp(statistics[i].name, name) == 0) return &statistics[i];
    return NULL;
}

double statistic_value(const struct statistic *statistic, const double *table, int count)
{
    double sums[STATISTIC_MAX_COLUMNS] = {0}, gradient[STATISTIC_MAX_COLUMNS];
    for (int c = 0; c < statistic->columns; c++)
        for (int i = 0; i < count; i++)
            sums[c] += table[(long)statistic->column[c] * count + i];
    return scale_value(statistic->scale, statistic->evaluate(sums, gradient));
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
