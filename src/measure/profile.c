// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/measure/profile.h"

#include <limits.h>
#include <math.h>
#include <string.h>

enum { MANTISSA_BITS = 52, EXPONENT_BIAS = 1023 };

void profile_clear(struct profile *total)
{
    memset(total, 0, sizeof *total);
}

void profile_merge(struct profile *total, const struct profile *part)
{
    for (int i = 0; i < PROFILE_BINS; i++)
        total->bins[i] += part->bins[i];
    for (int i = 0; i < PROFILE_POSITIONS; i++) {
        total->position_count[i] += part->position_count[i];
        total->position_squares[i] += part->position_squares[i];
        total->position_abs[i] += part->position_abs[i];
    }
}

// Exponent and first bit of the mantissa number the half octaves.
int profile_bin(double abs_difference)
{
    if (abs_difference == 0) return PROFILE_ZERO;
    uint64_t bits;
    memcpy(&bits, &abs_difference, sizeof bits);
    const int half_octave = (int)(bits >> (MANTISSA_BITS - 1)) - 2 * (EXPONENT_BIAS + PROFILE_LOWEST);
    if (half_octave < 0) return PROFILE_BELOW;
    return half_octave + 2 < PROFILE_ABOVE ? half_octave + 2 : PROFILE_ABOVE;
}

static double half_octave_start(int half_octave)
{
    const int exponent = PROFILE_LOWEST + half_octave / 2;
    return ldexp(half_octave % 2 ? 1.5 : 1.0, exponent);
}

void profile_bounds(int bin, double *low, double *high)
{
    *low = bin <= PROFILE_BELOW ? 0.0 : half_octave_start(bin - 2);
    *high = bin == PROFILE_ZERO ? 0.0 : bin == PROFILE_ABOVE ? INFINITY : half_octave_start(bin - 1);
}

int profile_position(int token)
{
    int bucket = 0;
    for (; token > 0; token >>= 1)
        bucket++;
    return bucket < PROFILE_POSITIONS ? bucket : PROFILE_POSITIONS - 1;
}

void profile_tokens(int bucket, int *first, int *last)
{
    *first = bucket ? 1 << (bucket - 1) : 0;
    *last = bucket == PROFILE_POSITIONS - 1 ? INT_MAX : bucket ? (1 << bucket) - 1 : 0;
}

int profile_percentile(const struct profile *profile, double p, double *low, double *high)
{
    uint64_t count = 0, below = 0;
    for (int i = 0; i < PROFILE_BINS; i++)
        count += profile->bins[i];
    if (count == 0) return 0;
    // A percentile lies between two neighbouring ranks: low bound of the lower one's bin, high bound of the
    // upper one's.
    const double position = p / 100.0 * (double)(count - 1);
    const uint64_t lower = (uint64_t)floor(position), upper = (uint64_t)ceil(position);
    int lower_bin = -1, upper_bin = -1;
    for (int i = 0; i < PROFILE_BINS && upper_bin < 0; below += profile->bins[i++]) {
        if (lower_bin < 0 && lower < below + profile->bins[i]) lower_bin = i;
        if (upper < below + profile->bins[i]) upper_bin = i;
    }
    double ignored;
    profile_bounds(lower_bin, low, &ignored);
    profile_bounds(upper_bin, &ignored, high);
    return 1;
}
