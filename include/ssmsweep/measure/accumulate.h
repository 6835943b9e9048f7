// SPDX-License-Identifier: Apache-2.0
// Streaming moments and extremes of (reference, mode) pairs of float32.  Sums are double-double, but for four
// neighbours each that are added in double first (their error is below 2^-52 of the sum of |v|, and none
// where their sizes are within 2^26 of each other).  Second moments are taken around the mean of the block in
// front, so that a mean far above the spread costs no digits.  The order of all additions is fixed by the
// data alone: the bits do not depend on ranks, threads or vector width.
#ifndef SSMSWEEP_MEASURE_ACCUMULATE_H
#define SSMSWEEP_MEASURE_ACCUMULATE_H

#include <math.h>
#include <stdint.h>

#include "ssmsweep/measure/percentile.h"

// An unevaluated sum hi + lo, |lo| <= ulp(hi)/2.
struct wide {
    double hi, lo;
};

// One side of the pairs.
struct side {
    struct wide sum, abs_sum; // sum of v and of |v|
    struct wide squares;      // sum of (v - mean)^2
    float min, max;
    uint64_t
        nonfinite; // NaN or Inf, which the others take for 0: where there are any, nothing else means much
};

// Plain data without pointers: may be copied and stored.  One of a sample, merged in the order of the
// samples, gives the same bits as accumulating the samples directly.
struct accumulator {
    uint64_t count;
    struct side ref, mode;
    struct wide products;               // sum of (ref - mean ref) (mode - mean mode)
    struct wide abs_diff, diff_squares; // of mode - ref: sum of |d|, sum of (d - mean d)^2
    double diff_min, diff_max;          // of the pairs that are finite on both sides
};

void accumulator_clear(struct accumulator *total);

// total <- total followed by part.
void accumulator_merge(struct accumulator *total, const struct accumulator *part);

// What is measured of a (reference, mode) pair of outputs, over any samples.
struct measurement {
    struct accumulator moments;
    double abs_diff_percentiles[PERCENTILES]; // NaN: not known
    double max_ulp;                           // of float32; NaN: not known
    double isolated_mse;                      // of the layer by itself; NaN: not known
};

// What sums alone tell: percentiles only where all differences are the same, no distance in ULP, nothing of
// layers by themselves.
struct measurement measurement_of_sums(const struct accumulator *sums);

// ---- sums of samples side by side ----

// Accumulators of single samples as columns of plain doubles, made so that a metric of any subset or
// resample of the samples is a function of weighted sums of columns.
// A table is double[columns][samples]; a = reference, b = mode, d = b - a, each sum over one sample.  What is
// centred is so on the mean over all samples of the table: the same constant for each, so any weighted sum is
// one around that constant, and a mean far above the spread costs no digits.
enum moment_column {
    MOMENT_COUNT,            // elements
    MOMENT_ABS_DIFF,         // sum |d|
    MOMENT_DIFF_SQUARES,     // sum d^2
    MOMENT_REF_ABS,          // sum |a|
    MOMENT_REF_SQUARES,      // sum a^2
    MOMENT_MODE_SQUARES,     // sum b^2
    MOMENT_REF_SUM,          // sum (a - mean a)
    MOMENT_MODE_SUM,         // sum (b - mean b)
    MOMENT_DIFF_SUM,         // sum (d - mean d)
    MOMENT_REF_CENTRED,      // sum (a - mean a)^2
    MOMENT_MODE_CENTRED,     // sum (b - mean b)^2
    MOMENT_DIFF_CENTRED,     // sum (d - mean d)^2
    MOMENT_ISOLATED_SQUARES, // sum d^2 of the layer by itself; NaN until isolated_fill()
    MOMENT_COLUMNS
};

// Fills table [MOMENT_COLUMNS][count] from samples[count].  A sample with NaN or Inf on either side is a
// column of NaN but for MOMENT_COUNT; an empty sample is all 0.  A side that is constant over all samples has
// 0 in its centred columns.  Local; no memory is taken.
void moments_fill(const struct accumulator *samples, int count, double *table);

// Local.  MOMENT_ISOLATED_SQUARES of such a table, from samples[count] of the layer by itself.
void isolated_fill(const struct accumulator *samples, int count, double *table);

// ---- wide ----

// Double-double arithmetic, as far as the accumulators need it.

static inline struct wide two_sum(double a, double b)
{
    double s = a + b, t = s - a;
    return (struct wide){s, (a - (s - t)) + (b - t)};
}

// Needs |hi| >= |lo|.
static inline struct wide wide_normalize(double hi, double lo)
{
    double s = hi + lo;
    return (struct wide){s, lo - (s - hi)};
}

static inline struct wide wide_add(struct wide a, struct wide b)
{
    struct wide s = two_sum(a.hi, b.hi), t = two_sum(a.lo, b.lo);
    s = wide_normalize(s.hi, s.lo + t.hi);
    return wide_normalize(s.hi, s.lo + t.lo);
}

static inline struct wide wide_add_double(struct wide a, double b)
{
    struct wide s = two_sum(a.hi, b);
    return wide_normalize(s.hi, s.lo + a.lo);
}

static inline struct wide wide_subtract(struct wide a, struct wide b)
{
    return wide_add(a, (struct wide){-b.hi, -b.lo});
}

static inline struct wide wide_multiply(struct wide a, double b)
{
    double p = a.hi * b;
    return wide_normalize(p, fma(a.hi, b, -p) + a.lo * b);
}

#endif
