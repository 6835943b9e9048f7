// SPDX-License-Identifier: Apache-2.0
// Tensors of a checkpoint as the steps of a backend take them (compute/steps.h): panels, vectors, codes.
#ifndef SSMSWEEP_ARCH_PACK_H
#define SSMSWEEP_ARCH_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/base/arena.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/input/tensor.h"

// Parts of the block of packed weights: floats, and outputs of codes whose depth is rounded up to 4.
float *pack_floats(struct arena *arena, long count);
uint8_t *pack_outputs(struct arena *arena, long outputs, int depth);

// ---- scratch ----

// `count` floats and zeros behind them, up to a multiple of 16 and further.
float *pack_take(struct arena *scratch, long count);
// A tensor as float32, to be altered.
float *pack_load(struct arena *scratch, const struct tensor *tensor);
// To be read alone, no further than it goes: in the file where that has it as it is needed.
const float *pack_view(const struct kernels *kernels, struct arena *scratch, const struct tensor *tensor,
                       bool half);
// code * scale; `codes` has room for them.
float *pack_load_codes(struct arena *scratch, const struct tensor *tensor, float scale, int8_t *codes);
struct tensor pack_rows(const struct tensor *matrix, int first, int count); // rows [first, first + count)

// ---- panels ----

// How a matrix goes into panels.
struct panel_recipe {
    const struct hadamard *rotation; // of each row; NULL: none
    bool half;                       // rounded to FP16
    float scale;                     // of codes; 0: they are floats
};
// Outputs [first, first + count) of matrix [*, depth] -> consecutive panels from `packed`, zeros up to a
// multiple of 16; returns their end.  What is altered on the way stays in the cache.
float *pack_panels(const struct kernels *kernels, struct arena *scratch, const struct tensor *matrix,
                   int first, int count, struct panel_recipe recipe, float *packed);
// The same of codes [*, depth].
uint8_t *pack_codes(const int8_t *codes, int first, int count, int depth, uint8_t *packed);

// A rotation of the columns of a matrix [rows, columns].  Columns are taken 16 at a time, as they share cache
// lines.
void pack_rotate_columns(const struct kernels *kernels, struct arena *scratch,
                         const struct hadamard *hadamard, float *matrix, int rows, int columns);

// [channels, taps] -> [taps][ld], and [count] -> [ld].
void pack_transposed(const float *matrix, int channels, int taps, int ld, float *out);
void pack_vector(const float *vector, int count, int ld, float *out);

#endif
