// SPDX-License-Identifier: Apache-2.0
// One record from a source of samples, wherever they come from.
#ifndef SSMSWEEP_MEASURE_MEASURE_H
#define SSMSWEEP_MEASURE_MEASURE_H

#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/measure/percentile.h"
#include "ssmsweep/measure/record.h"

// The pairs of one sample; valid until the next is asked for.
struct pairs {
    const float *ref, *mode; // [count]; may be the same array
    size_t count;
};

// Every sample is asked for once per pass, in order, for as many passes as the percentiles take.
struct pair_source {
    int samples;
    enum status (*sample)(void *context, int index, struct pairs *pairs, struct error *err);
    void *context;
};

// Local.  `percentile` is scratch, used again from one call to the next.  STATUS_INPUT if the passes see
// different values.
enum status measure_pairs(struct record *record, const struct pair_source *source,
                          struct percentile *percentile, struct error *err);

#endif
