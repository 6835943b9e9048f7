// SPDX-License-Identifier: Apache-2.0
// Every metric that has an interval: a smooth function of sums over samples, of degree 0 (the same for sums
// and for means).  docs/statistics.md has the formulas.
#ifndef SSMSWEEP_STATISTICS_STATISTIC_H
#define SSMSWEEP_STATISTICS_STATISTIC_H

#include <stdbool.h>

enum { STATISTIC_MAX_COLUMNS = 7 };

// On which scale phi a metric v is nearly normal, where its standard error is taken; and how two of them are
// compared ("change"), which is always phi(a) - phi(b) carried back.
enum scale {
    SCALE_IDENTITY, // phi = v; change: v_a - v_b
    SCALE_LOG,      // phi = log v; change: v_a / v_b
    SCALE_FISHER,   // phi = atanh v; change: atanh v_a - atanh v_b
    SCALE_LOGIT,    // phi = log(v / (1 - v)); change: ratio of the odds
};

struct statistic {
    const char *name;
    bool larger_is_better;
    enum scale scale;
    double reach;                      // half width in phi beyond which an interval bounds nothing
    int columns;                       // of the table, that it needs
    int column[STATISTIC_MAX_COLUMNS]; // which
    // sums[columns] over the samples -> phi, and gradient[columns] = d phi / d sums.  NaN where undefined;
    // infinite at the end of the scale (mse 0, correlation 1), the gradient is then meaningless.
    double (*evaluate)(const double *sums, double *gradient);
};

// Over tables of moments.h: mse, rmse, mae, relative_mse, relative_mae, correlation, sqnr_db,
// cosine_similarity; names and values as in the records of a comparison.
enum { MOMENT_STATISTICS = 8 };
extern const struct statistic moment_statistics[MOMENT_STATISTICS];

// Columns of a table of the whole model's numbers, [TEXT_COLUMNS][samples], filled by the caller: sums over
// the predicted tokens of a sample, logarithms natural.
enum text_column {
    TEXT_TOKENS,     // predicted tokens
    TEXT_NLL_REF,    // sum of -log p(token) under the reference
    TEXT_NLL_MODE,   // the same under the mode
    TEXT_KL,         // sum of KL(reference || mode), nats
    TEXT_TOP1_AGREE, // tokens whose most likely successor is the same
    TEXT_COLUMNS
};

// perplexity, perplexity_ratio (to the reference), perplexity_change (mode minus reference), kl_mean (nats
// per token), top1_agreement (0 to 1).
enum { TEXT_STATISTICS = 5 };
extern const struct statistic text_statistics[TEXT_STATISTICS];

// NULL: no such name among `statistics[count]`.
const struct statistic *statistic_find(const struct statistic *statistics, int count, const char *name);

// The metric itself over all samples of table [..][count]; NaN where undefined.
double statistic_value(const struct statistic *statistic, const double *table, int count);

double scale_value(enum scale scale, double phi);  // phi -> v
double scale_phi(enum scale scale, double v);      // v -> phi
double scale_change(enum scale scale, double phi); // phi_a - phi_b -> change
const char *scale_change_name(enum scale scale);   // "difference", "ratio", "atanh_difference", "odds_ratio"
double scale_no_change(enum scale scale);          // 0 or 1

#endif
