// SPDX-License-Identifier: Apache-2.0
// How values lie on INT8 grids: code = clamp(rint(v / scale), -128, 127), which stands for code * scale.  One
// set of formulas for the processor and a device.
#ifndef SSMSWEEP_COMPUTE_GRID_H
#define SSMSWEEP_COMPUTE_GRID_H

#include <math.h>
#include <stdint.h>

#include "ssmsweep/compute/steps.h"

enum {
    GRID_CODES = 256,
    GRID_OTHERS = 5, // scales that are tried beside a unit's own
    // Sums over the values of a sample: of v^2, then of (code * scale - v)^2 under the unit's own scale, that
    // of the column, that of the row, and the others.
    GRID_SQUARES = 0,
    GRID_OWN,
    GRID_COLUMN,
    GRID_ROW,
    GRID_OTHER,
    GRID_SUMS = GRID_OTHER + GRID_OTHERS
};

// How many values have code c, at c + 128, NaN left out; and how many of them were clamped.
struct grid_tally {
    uint64_t codes[GRID_CODES], clipped;
};

struct grid_scales {
    float own, others[GRID_OTHERS];
    const float *columns; // [columns of the parts]
};

// What is asked of the rows of each sample at hand, for the first `parts` parts of what is observed.  All of
// it is on the host, and set.
struct grid_for {
    const struct observed *observed;
    int parts;
    const struct grid_scales *scales; // NULL: `largest` alone is asked for
    float *largest;                   // [columns of the parts] largest |v| of all samples, NaN passed over
    double *sums; // part p of sample s: GRID_SUMS from s * stride + p * GRID_SUMS on, each in the
    long stride;  // order of the rows, NaN left out
    struct grid_tally *tallies; // [parts] of all samples, under their own scale
};

#ifdef __CUDACC__
#define GRID_FORMULA static __device__ __forceinline__
#else
#define GRID_FORMULA static inline
#endif

// The scale of a tensor or a column whose largest |v| this is, and of a row.
GRID_FORMULA float grid_scale(float largest)
{
    return (largest > 1e-5f ? largest : 1e-5f) / 127.0f;
}

GRID_FORMULA float grid_row_scale(float largest)
{
    return largest > 0 ? largest / 127.0f : 1.0f;
}

GRID_FORMULA float grid_clamp(float code)
{
    return code < -128 ? -128.0f : code > 127 ? 127.0f : code;
}

GRID_FORMULA double grid_error(float v, float scale)
{
    const double error = (double)grid_clamp(rintf(v / scale)) * (double)scale - (double)v;
    return error * error;
}

// What v, which is not NaN, adds to each sum.
GRID_FORMULA void grid_errors(const struct grid_scales *scales, float v, float column, float row,
                              double errors[GRID_SUMS])
{
    errors[GRID_SQUARES] = (double)v * (double)v;
    errors[GRID_OWN] = grid_error(v, scales->own);
    errors[GRID_COLUMN] = grid_error(v, column);
    errors[GRID_ROW] = grid_error(v, row);
    for (int o = 0; o < GRID_OTHERS; o++)
        errors[GRID_OTHER + o] = grid_error(v, scales->others[o]);
}

// The place of its code in a tally, -1: it has none; *clipped: it was clamped.
GRID_FORMULA int grid_place(float v, float scale, int *clipped)
{
    const float code = rintf(v / scale);
    *clipped = code < -128 || code > 127;
    return isnan(code) ? -1 : (int)grid_clamp(code) + 128;
}

#endif
