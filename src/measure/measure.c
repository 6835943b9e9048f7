// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/measure/measure.h"

#include <math.h>
#include <stdbool.h>

#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/metric.h"

// Moments and the largest distance come from the first pass only (acc != NULL).
static enum status feed(const struct pair_source *source, struct accumulator *acc, double *max_ulp,
                        struct percentile *percentile, struct error *err)
{
    for (int i = 0; i < source->samples; i++) {
        struct pairs pairs = {0};
        if (source->sample(source->context, i, &pairs, err)) return err->status;
        if (acc) {
            accumulator_add_sample(acc, pairs.ref, pairs.mode, pairs.count);
            *max_ulp = fmax(*max_ulp, metric_ulp_distance(pairs.ref, pairs.mode, pairs.count));
        }
        percentile_add(percentile, pairs.ref, pairs.mode, pairs.count);
    }
    return STATUS_OK;
}

enum status measure_pairs(struct record *record, const struct pair_source *source,
                          struct percentile *percentile, struct error *err)
{
    struct accumulator acc;
    double values[PERCENTILES], max_ulp = 0;
    accumulator_clear(&acc);
    percentile_start(percentile);
    if (feed(source, &acc, &max_ulp, percentile, err)) return err->status;
    bool constant = acc.diff_min == acc.diff_max;
    if (constant || acc.ref.nonfinite || acc.mode.nonfinite) { // nothing left to find out
        for (int k = 0; k < PERCENTILES; k++)
            values[k] = constant ? fabs(acc.diff_min) : NAN;
    } else {
        while (percentile_next_pass(percentile))
            if (feed(source, NULL, NULL, percentile, err)) return err->status;
        if (!percentile_values(percentile, values))
            return error_set(err, STATUS_INPUT,
                             "comparison: the outputs changed while they were read; "
                             "wait until the sweep that writes them ends, then compare again");
    }
    *record = record_make(&acc, values);
    if (!isnan(record->mse)) record->max_ulp = max_ulp;
    return STATUS_OK;
}
