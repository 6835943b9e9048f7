// SPDX-License-Identifier: Apache-2.0
// Double-double arithmetic, as far as the accumulators need it.
#ifndef SSMSWEEP_MEASURE_WIDE_H
#define SSMSWEEP_MEASURE_WIDE_H

#include <math.h>

#include "ssmsweep/measure/accumulate.h"

static inline struct wide two_sum(double a, double b)
{
    double s = a + b, t = s - a;
    return (struct wide){s, (a - (s - t)) + (b - t)};
}

// Needs |hi| >= |lo|.
static inline struct wide wide_normalize(double hi, double lo)
{
    double s = hi + lo;
    return (struct wide){s, lo - (s - hi)};
}

static inline struct wide wide_add(struct wide a, struct wide b)
{
    struct wide s = two_sum(a.hi, b.hi), t = two_sum(a.lo, b.lo);
    s = wide_normalize(s.hi, s.lo + t.hi);
    return wide_normalize(s.hi, s.lo + t.lo);
}

static inline struct wide wide_add_double(struct wide a, double b)
{
    struct wide s = two_sum(a.hi, b);
    return wide_normalize(s.hi, s.lo + a.lo);
}

static inline struct wide wide_subtract(struct wide a, struct wide b)
{
    return wide_add(a, (struct wide){-b.hi, -b.lo});
}

static inline struct wide wide_multiply(struct wide a, double b)
{
    double p = a.hi * b;
    return wide_normalize(p, fma(a.hi, b, -p) + a.lo * b);
}

#endif
