// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/calibrate/histogram.h"

#include <string.h>

// A float's exponent and the first 4 bits of its mantissa number the bins.
enum { MANTISSA_BITS = 23, SHIFT = MANTISSA_BITS - 4, BIAS = 127 };
static const uint32_t lowest = (uint32_t)(HISTOGRAM_LOWEST + BIAS) << MANTISSA_BITS,
                      highest = (uint32_t)(HISTOGRAM_HIGHEST + BIAS) << MANTISSA_BITS,
                      infinity = UINT32_C(0xff) << MANTISSA_BITS;

void histogram_add(uint32_t bins[HISTOGRAM_BINS], const float *values, long count)
{
    for (long i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits &= UINT32_C(0x7fffffff);
        if (bits < lowest)
            bins[0]++;
        else if (bits < highest)
            bins[1 + ((bits - lowest) >> SHIFT)]++;
        else if (bits <= infinity)
            bins[HISTOGRAM_ABOVE]++;
    }
}

double histogram_low(int bin)
{
    if (bin == 0) return 0;
    const uint32_t bits = lowest + ((uint32_t)(bin - 1) << SHIFT);
    float low;
    memcpy(&low, &bits, sizeof low);
    return (double)low;
}
