// SPDX-License-Identifier: Apache-2.0
// Streaming moments and extremes of (reference, mode) pairs of float32.  Sums are double-double, but for four
// neighbours each that are added in double first (their error is below 2^-52 of the sum of |v|, and none
// where their sizes are within 2^26 of each other).  Second moments are taken around the mean of the block in
// front, so that a mean far above the spread costs no digits.  The order of all additions is fixed by the
// data alone: the bits do not depend on ranks, threads or vector width.
#ifndef SSMSWEEP_MEASURE_ACCUMULATE_H
#define SSMSWEEP_MEASURE_ACCUMULATE_H

#include <stddef.h>
#include <stdint.h>

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

// Adds one sample: ref[count] and mode[count].  NaN and Inf are counted and spoil only the metrics of their
// side.
void accumulator_add_sample(struct accumulator *total, const float *ref, const float *mode, size_t count);

#endif
