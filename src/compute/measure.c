// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/compute/measure.h"

#include <math.h>
#include <string.h>

// Numbers the float32: neighbours differ by 1, both zeros are 0.
static int64_t float_place(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    int64_t magnitude = (int64_t)(bits & 0x7fffffffu);
    return bits >> 31 ? -magnitude : magnitude;
}

// The most representable float32 between a pair; 0 for none.  No NaN, no Inf.
static double ulp_distance(const float *ref, const float *mode, size_t count)
{
    int64_t most = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t distance = float_place(mode[i]) - float_place(ref[i]);
        if (distance < 0) distance = -distance;
        if (distance > most) most = distance;
    }
    return (double)most;
}

// Moments and the largest distance come from the first pass only (sums != NULL).
static enum status feed(const struct pair_source *source, struct accumulator *sums, double *max_ulp,
                        struct percentile *percentile, struct error *err)
{
    for (int i = 0; i < source->samples; i++) {
        struct output_pair pair = {0};
        if (source->sample(source->context, i, &pair, err)) return err->status;
        if (sums) {
            accumulator_add_sample(sums, pair.ref, pair.mode, pair.count);
            *max_ulp = fmax(*max_ulp, ulp_distance(pair.ref, pair.mode, pair.count));
        }
        percentile_add(percentile, pair.ref, pair.mode, pair.count);
    }
    return STATUS_OK;
}

enum status measure_pairs(struct measurement *measurement, const struct pair_source *source,
                          struct percentile *percentile, struct error *err)
{
    struct accumulator sums;
    double max_ulp = 0;
    accumulator_clear(&sums);
    percentile_start(percentile);
    if (feed(source, &sums, &max_ulp, percentile, err)) return err->status;
    struct measurement measured = measurement_of_sums(&sums);
    measured.max_ulp = max_ulp;
    // Where all differences are the same, or some are not finite, nothing is left to find out.
    if (sums.diff_min != sums.diff_max && !sums.ref.nonfinite && !sums.mode.nonfinite) {
        while (percentile_next_pass(percentile))
            if (feed(source, NULL, NULL, percentile, err)) return err->status;
        if (!percentile_values(percentile, measured.abs_diff_percentiles))
            return error_set(err, STATUS_INPUT,
                             "comparison: the outputs changed while they were read; "
                             "wait until the sweep that writes them ends, then compare again");
    }
    *measurement = measured;
    return STATUS_OK;
}
