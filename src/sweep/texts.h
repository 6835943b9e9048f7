// SPDX-License-Identifier: Apache-2.0
// The two texts of a sweep: that behind the scales, and that on which modes are compared.
#ifndef SSMSWEEP_SWEEP_TEXTS_H
#define SSMSWEEP_SWEEP_TEXTS_H

#include "ssmsweep/sweep/sweep.h"

// Local.  Without samples where a checkpoint brings the scales and the other text is one of its own.
const struct corpus *texts_calibration(const struct sweep *sweep);
bool texts_calibrate(
    const struct sweep *sweep); // not where a checkpoint brings the scales, or none are needed
const char *texts_evaluated(const struct sweep *sweep);     // STORE_EVALUATES_...
const char *texts_tokenizer_hex(const struct sweep *sweep); // of either: one of them may be token ids
int texts_most_tokens(const struct sweep *sweep);           // of the longest sample of both

#endif
