// SPDX-License-Identifier: Apache-2.0
// What memory a sweep takes, told beforehand.
#ifndef SSMSWEEP_SWEEP_PREDICT_H
#define SSMSWEEP_SWEEP_PREDICT_H

#include <stddef.h>

#include "ssmsweep/sweep/sweep.h"

// Bytes beside what a rank holds after sweep_open().
struct predicted_sweep {
    size_t weights; // once per node
    size_t rank;    // at the worst moment of calibration and items; may be less than `ids`
    size_t reader;  // of the result file, once it is open for reading
    size_t ids;     // token ids, given back before the items
};

// Local.
struct predicted_sweep predict_sweep(const struct sweep *sweep);

#endif
