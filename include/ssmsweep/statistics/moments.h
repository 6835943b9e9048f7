// SPDX-License-Identifier: Apache-2.0
// The accumulators of single samples as columns of plain doubles, made so that a metric of any subset or
// resample of the samples is a function of weighted sums of columns.
#ifndef SSMSWEEP_STATISTICS_MOMENTS_H
#define SSMSWEEP_STATISTICS_MOMENTS_H

#include "ssmsweep/measure/accumulate.h"

// A table is double[columns][samples]; a = reference, b = mode, d = b - a, each sum over one sample.  What is
// centred is so on the mean over all samples of the table: the same constant for each, so any weighted sum is
// one around that constant, and a mean far above the spread costs no digits.
enum moment_column {
    MOMENT_COUNT,        // elements
    MOMENT_ABS_DIFF,     // sum |d|
    MOMENT_DIFF_SQUARES, // sum d^2
    MOMENT_REF_ABS,      // sum |a|
    MOMENT_REF_SQUARES,  // sum a^2
    MOMENT_MODE_SQUARES, // sum b^2
    MOMENT_REF_SUM,      // sum (a - mean a)
    MOMENT_MODE_SUM,     // sum (b - mean b)
    MOMENT_DIFF_SUM,     // sum (d - mean d)
    MOMENT_REF_CENTRED,  // sum (a - mean a)^2
    MOMENT_MODE_CENTRED, // sum (b - mean b)^2
    MOMENT_DIFF_CENTRED, // sum (d - mean d)^2
    MOMENT_COLUMNS
};

// Fills table [MOMENT_COLUMNS][count] from samples[count].  A sample with NaN or Inf on either side is a
// column of NaN but for MOMENT_COUNT; an empty sample is all 0.  A side that is constant over all samples has
// 0 in its centred columns.  Local; no memory is taken.
void moments_fill(const struct accumulator *samples, int count, double *table);

#endif
