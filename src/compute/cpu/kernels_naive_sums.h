// SPDX-License-Identifier: Apache-2.0
// The plain twins of the sums in double; see kernels.h.
#ifndef SSMSWEEP_COMPUTE_CPU_KERNELS_NAIVE_SUMS_H
#define SSMSWEEP_COMPUTE_CPU_KERNELS_NAIVE_SUMS_H

#include "ssmsweep/compute/kernels.h"

void naive_logit_sums(const float *reference, const float *mode, int count, struct logit_sums *sums);
void naive_pair_ranges(const float *v, int count, struct pair_ranges *ranges);
void naive_pair_sums(const float *a, const float *b, int count, const struct pair_centre *centre,
                     struct pair_lanes *lanes, uint16_t (*histograms)[PAIR_BINS]);

#endif
