// SPDX-License-Identifier: Apache-2.0
// The inner loops of the bootstrap: LANES replicates side by side, each adding over the samples in their
// order, so that vectors of any width give the same bits.
#ifndef SSMSWEEP_STATISTICS_RESAMPLE_H
#define SSMSWEEP_STATISTICS_RESAMPLE_H

#include <stdint.h>

#include "ssmsweep/measure/metric.h"

enum { LANES = 8 };

// weights[samples][LANES] of the replicates first, first + 1, ...
void resample_weights(uint64_t seed, int first, int samples, double *weights);

// What one run's table says under the weights.
struct resampled {
    double phi[LANES];
    double variance[LANES]; // sum over samples of weight * influence^2
};

// influence[samples][LANES]: gradient * the sample's columns, whose weighted sum is 0.
void resample_run(const struct metric *metric, const double *table, int samples, const double *weights,
                  double *influence, struct resampled *out);

// variance[LANES]: sum over samples of weight * (influence a - influence b)^2.
void resample_pair(const double *influence_a, const double *influence_b, int samples, const double *weights,
                   double *variance);

#endif
