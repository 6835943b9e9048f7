// SPDX-License-Identifier: Apache-2.0
#ifndef SSMSWEEP_COMPUTE_FOLD_H
#define SSMSWEEP_COMPUTE_FOLD_H

#include <string.h>

#include "ssmsweep/compute/kernels.h"

// Sum of the lanes in their fixed order: 4, 2, 1.
static inline double fold(const double values[SUM_LANES])
{
    double lane[SUM_LANES];
    memcpy(lane, values, sizeof lane);
    for (int half = SUM_LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

#endif
