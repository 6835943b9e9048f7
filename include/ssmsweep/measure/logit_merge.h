// SPDX-License-Identifier: Apache-2.0
// How sums over a piece of the vocabulary are merged into those in front of it: formulas of the processor and
// of a device, in basic operations alone.  For end_of_model.c and kernels.
#ifndef SSMSWEEP_MEASURE_LOGIT_MERGE_H
#define SSMSWEEP_MEASURE_LOGIT_MERGE_H

#include <math.h>
#include <stdbool.h>

#include "ssmsweep/measure/end_of_model.h"

#if defined(__CUDACC__)
#define ON_BOTH static __host__ __device__ __forceinline__
#else
#define ON_BOTH static inline
#endif

// x <- e^x for each x <= 0 within 1e-15: x = n log 2 + r, |r| <= log(2) / 2, and a series to r^13.  Many at
// once, up to EXPS, as each is a chain of divisions.
enum { EXPS = 8 };
ON_BOTH void natural_exps(double *x, int count)
{
    double n[EXPS], r[EXPS], series[EXPS];
    for (int i = 0; i < count; i++) {
        x[i] = x[i] > -700 ? x[i] : -700;
        n[i] = floor(x[i] * 0x1.71547652b82fep+0 + 0.5);
        r[i] =
            (x[i] - n[i] * 0x1.62e42fee00000p-1) - n[i] * 0x1.a39ef35793c76p-33; // the first product is exact
        series[i] = 1;
    }
    for (int k = 13; k > 0; k--)
        for (int i = 0; i < count; i++)
            series[i] = 1 + series[i] * r[i] / k;
    for (int i = 0; i < count; i++)
        x[i] = ldexp(series[i], (int)n[i]);
}

// How much larger the part's largest is than that in front of it.
ON_BOTH double logit_rise(float total_most, float part_most)
{
    return (double)part_most - (double)total_most;
}

// Both are brought to the larger of their largest logits; exps: e^-|rise| of each side.
ON_BOTH void logit_merge(struct logit_sums *total, const struct logit_sums *part, int first_id,
                         const double exps[2])
{
    double of_total[2], of_part[2], was[2], comes[2]; // most of each - the new one, and e to that
    for (int k = 0; k < 2; k++) {
        const double rise = logit_rise(total->most[k], part->most[k]);
        of_total[k] = rise > 0 ? -rise : 0, was[k] = rise > 0 ? exps[k] : 1;
        of_part[k] = rise > 0 ? 0 : rise, comes[k] = rise > 0 ? 1 : exps[k];
        if (!(rise > 0)) continue; // the lowest of equals
        total->most[k] = part->most[k];
        total->top[k] = first_id + part->top[k];
    }
    total->product = was[0] * (total->product + total->sum[0] * (of_total[0] - of_total[1])) +
                     comes[0] * (part->product + part->sum[0] * (of_part[0] - of_part[1]));
    for (int k = 0; k < 2; k++)
        total->sum[k] = was[k] * total->sum[k] + comes[k] * part->sum[k];
}

#endif
