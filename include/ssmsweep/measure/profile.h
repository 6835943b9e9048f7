// SPDX-License-Identifier: Apache-2.0
// Where the error lies: a coarse histogram of |mode - ref| and the error by token position, so that
// percentiles and the drift along the recurrence can be told without the tensors.  Plain data, merged by
// adding, in the order of the samples.
#ifndef SSMSWEEP_MEASURE_PROFILE_H
#define SSMSWEEP_MEASURE_PROFILE_H

#include <stddef.h>
#include <stdint.h>

// Half octaves of |d| from 2^-40 to 2^24, bounds at 2^e and 1.5 * 2^e; in front of them zero and what is
// smaller, behind them what is larger (infinities too).  NaN is in none.
enum {
    PROFILE_LOWEST = -40,
    PROFILE_HIGHEST = 24,
    PROFILE_BINS = 2 * (PROFILE_HIGHEST - PROFILE_LOWEST) + 3,
    PROFILE_ZERO = 0,
    PROFILE_BELOW = 1,
    PROFILE_ABOVE = PROFILE_BINS - 1,
    PROFILE_POSITIONS = 21 // tokens 0, 1, 2-3, 4-7, ...; the last bucket takes all that follow
};

struct profile {
    uint64_t bins[PROFILE_BINS];
    uint64_t position_count[PROFILE_POSITIONS]; // elements
    double position_squares[PROFILE_POSITIONS]; // sum of d^2
    double position_abs[PROFILE_POSITIONS];     // sum of |d|
};

void profile_clear(struct profile *total);
void profile_merge(struct profile *total, const struct profile *part); // total <- total followed by part

int profile_bin(double abs_difference);                  // the bin that holds it
void profile_bounds(int bin, double *low, double *high); // [low, high); PROFILE_ABOVE ends at infinity
int profile_position(int token);                         // bucket of a token
void profile_tokens(int bucket, int *first, int *last);  // the last bucket ends at INT_MAX
// Percentile p in [0, 100] of |d|: bounds of the bin that holds that rank, between which the exact one lies.
// Returns 0 where the profile is empty.
int profile_percentile(const struct profile *profile, double p, double *low, double *high);

#endif
