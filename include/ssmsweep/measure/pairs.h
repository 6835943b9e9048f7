// SPDX-License-Identifier: Apache-2.0
// Moments and profile of (reference, mode) pairs in one sweep over memory, at the speed of the machine's
// instruction set and with bits that do not depend on it.
#ifndef SSMSWEEP_MEASURE_PAIRS_H
#define SSMSWEEP_MEASURE_PAIRS_H

#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/profile.h"

// Adds one sample, ref and mode [length][width] (may be the same array), to both; either may be NULL.  The
// same bits as accumulator_add_sample() and profile_add_sample(); the moments do not depend on how the sample
// is divided into length and width.
void pairs_add_sample(struct accumulator *moments, struct profile *profile, const float *ref,
                      const float *mode, size_t length, int width);

#endif
