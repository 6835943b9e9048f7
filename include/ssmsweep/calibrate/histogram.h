// SPDX-License-Identifier: Apache-2.0
// Histogram of |v| with fixed bins: counts of samples add up to the counts of all, in any order.
#ifndef SSMSWEEP_CALIBRATE_HISTOGRAM_H
#define SSMSWEEP_CALIBRATE_HISTOGRAM_H

#include <stdint.h>

// 16 bins of equal width in every octave of [2^-24, 2^16); in front of them one for all that is smaller, zero
// too, behind them one for all that is larger, infinity too.  NaN is in none.
enum {
    HISTOGRAM_LOWEST = -24,
    HISTOGRAM_HIGHEST = 16,
    HISTOGRAM_PER_OCTAVE = 16,
    HISTOGRAM_BINS = (HISTOGRAM_HIGHEST - HISTOGRAM_LOWEST) * HISTOGRAM_PER_OCTAVE + 2,
    HISTOGRAM_ABOVE = HISTOGRAM_BINS - 1
};

void histogram_add(uint32_t bins[HISTOGRAM_BINS], const float *values, long count);
double histogram_low(int bin); // a bin holds [low, low of the next); 0 for the first

#endif
