// SPDX-License-Identifier: Apache-2.0
// The implementation-noise floor: what another legal order of summation, or a dither of the last bit, makes
// of a metric.  A difference of that size means nothing.
#ifndef SSMSWEEP_STATISTICS_FLOOR_H
#define SSMSWEEP_STATISTICS_FLOOR_H

#include <stdbool.h>

#include "ssmsweep/measure/metric.h"

// Of one (run, layer, component, metric), from K re-runs of the run.  NaN: not known.
struct noise_floor {
    double change; // largest |phi(re-run) - phi(run)|, both measured against the reference
    double value;  // the metric of the re-runs against the run itself: the worst of them
    int reruns;    // K
};

// `own`: the run's metric against the reference; `against_reference[reruns]`, `against_self[reruns]`: those
// of the re-runs (either may be NULL).  `quantile` 1 takes the largest, 0.9 the one that 90 % do not exceed
// (the order statistic ceil(K quantile)).  A NaN among the values makes that floor NaN; reruns 0 makes both
// so.  A re-run infinitely far away does not count: it or the run is the reference in every bit, and that
// says nothing of a noise that others could have; where all are, the change is NaN.
struct noise_floor noise_floor_make(const struct metric *metric, double own, const double *against_reference,
                                    const double *against_self, int reruns, double quantile);

// The run is as near to the reference as to its own re-runs: its value is not above the floor (for metrics
// that are better when larger: not below it).  False where either is NaN.
bool value_below_floor(const struct metric *metric, double value, const struct noise_floor *floor);

// A change phi of run a to run b lies within what the noise of both can make: |phi| <= a->change + b->change.
// NULL or NaN floors count as 0 (a float mode has none).  A change of exactly 0 is always below.
bool change_below_floor(double phi, const struct noise_floor *a, const struct noise_floor *b);
double change_floor(const struct noise_floor *a, const struct noise_floor *b); // a->change + b->change

#endif
