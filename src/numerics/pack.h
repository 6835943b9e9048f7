// SPDX-License-Identifier: Apache-2.0
// Filling the block of packed weights, one layer at a time.
#ifndef SSMSWEEP_NUMERICS_PACK_H
#define SSMSWEEP_NUMERICS_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "weights_view.h"

// half: projections and conv1d rounded to FP16 (docs/numerics.md, float model), into weights->fp16.
enum status pack_float_layer(struct weights *weights, int layer, bool half, struct error *err);
enum status pack_w8a8_layer(struct weights *weights, int layer, struct error *err);
enum status pack_lm_head(struct weights *weights, struct error *err);

// ---- what the makers of a layer share ----

// A layer's tensors as float32, row-major, in malloc'ed memory with room up to a multiple of 16 elements.
struct float_tensors {
    float *norm, *in_proj, *conv_w, *conv_b, *x_proj, *dt_proj, *dt_bias, *A_log, *D_skip, *out_proj;
};

// Of MODEL_W8A8: dequantized and rotated back (docs/numerics.md, "Quantized weights").  On failure the
// members that were made still need pack_free_tensors().
void pack_load_codes(const struct weights *w, const struct model *model, int layer, struct float_tensors *t,
                     struct error *err);
void pack_free_tensors(struct float_tensors *t);
// The codes and scales of MODEL_W8A8 as they are.
enum status pack_given_codes(struct weights *weights, int layer, struct error *err);

// Room for the tensor; NULL and an error when memory is out.
float *pack_load(const struct tensor *tensor, struct error *err);
// Outputs [first, first + count) of codes [*, depth] -> panels from `packed`, whose end is returned.
uint8_t *pack_codes(const int8_t *codes, int first, int count, int depth, uint8_t *packed);
void pack_transposed(const float *matrix, int channels, int taps, int ld, float *out);
void pack_vector(const float *vector, int count, int ld, float *out);
void pack_A(const struct weights *w, float *A_log, float *out); // A_log [I, N] is scratch afterwards
// A rotation of the columns of a matrix [d_model, columns].  Columns are taken 16 at a time, as they share
// cache lines.  block: scratch of 16 columns of ld_model floats.
void pack_rotate_columns(const struct weights *w, const struct hadamard *hadamard, float *matrix, int rows,
                         int columns, float *block);

#endif
