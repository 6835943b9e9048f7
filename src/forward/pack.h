// SPDX-License-Identifier: Apache-2.0
// Filling the block of packed weights, one layer at a time.
#ifndef SSMSWEEP_FORWARD_PACK_H
#define SSMSWEEP_FORWARD_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/base/arena.h"
#include "weights_view.h"

// Scratch is an arena of pack_scratch_bytes(); what is taken of it is the callee's until the task is done.
size_t pack_scratch_bytes(const struct weights *weights);

// half: projections and conv1d rounded to FP16 (docs/numerics.md, float model), into weights->fp16.
void pack_float_layer(struct weights *weights, struct arena *scratch, int layer, bool half);
void pack_w8a8_layer(struct weights *weights, struct arena *scratch, int layer);
// lm_head in slices 0 .. pack_head_slices()-1, each a part of its rows.
int pack_head_slices(const struct weights *weights);
void pack_head_slice(struct weights *weights, struct arena *scratch, int slice);

// ---- what the makers of a layer share ----

// A layer of MODEL_W8A8 as float32 in scratch, dequantized and rotated back (docs/numerics.md, "Quantized
// weights").
enum { GIVEN_TENSORS = 9 };
struct given_layer {
    struct model_layer layer; // norm is the model's own
    struct tensor tensors[GIVEN_TENSORS];
};
void pack_dequantize(const struct weights *w, struct arena *scratch, const struct model *model, int layer,
                     struct given_layer *given);
// The codes and scales of MODEL_W8A8 as they are.
void pack_given_codes(struct weights *weights, struct arena *scratch, int layer);

// `count` floats and zeros behind them, up to a multiple of 16 and further.
float *pack_take(struct arena *scratch, long count);
// code * scale; `codes` has room for them.
float *pack_load_codes(struct arena *scratch, const struct tensor *tensor, float scale, int8_t *codes);
int8_t *pack_take_codes(const struct weights *w, struct arena *scratch); // of the largest tensor of a layer
// Outputs [first, first + count) of codes [*, depth] -> panels from `packed`, whose end is returned.
uint8_t *pack_codes(const int8_t *codes, int first, int count, int depth, uint8_t *packed);
void pack_transposed(const float *matrix, int channels, int taps, int ld, float *out);
void pack_vector(const float *vector, int count, int ld, float *out);
void pack_A(const struct weights *w, float *A_log, float *out); // A_log [I, N] is scratch afterwards
// A rotation of the columns of a matrix [d_model, columns].  Columns are taken 16 at a time, as they share
// cache lines.
void pack_rotate_columns(const struct weights *w, struct arena *scratch, const struct hadamard *hadamard,
                         float *matrix, int rows, int columns);

#endif
