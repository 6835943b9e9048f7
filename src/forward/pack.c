// SPDX-License-Identifier: Apache-2.0
#include "pack.h"

#include <string.h>

#include "weights_view.h"

enum { HEAD_SLICE_ROWS = 1024 }; // a multiple of 16

// ---- a tensor as float32 ----

float *pack_take(struct arena *scratch, long count)
{
    float *values = arena_take(scratch, ((size_t)count + KERNEL_LANES) * sizeof *values);
    memset(values + count, 0, KERNEL_LANES * sizeof *values);
    return values;
}

static float *load(struct arena *scratch, const struct tensor *tensor)
{
    float *values = pack_take(scratch, (long)tensor_elements(tensor));
    tensor_to_f32(tensor, values);
    return values;
}

float *pack_load_codes(struct arena *scratch, const struct tensor *tensor, float scale, int8_t *codes)
{
    const long count = (long)tensor_elements(tensor);
    float *values = pack_take(scratch, count);
    tensor_to_i8(tensor, codes);
    for (long i = 0; i < count; i++)
        values[i] = (float)codes[i] * scale;
    return values;
}

static void round_all_half(const struct weights *w, float *values, long count)
{
    w->kernels->round_half(values, (count + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES);
}

// To be read alone, no further than it goes: in the file where that has it as it is needed.
static const float *view(const struct weights *w, struct arena *scratch, const struct tensor *tensor,
                         bool half)
{
    const float *in_place = half ? NULL : tensor_as_f32(tensor);
    if (in_place) return in_place;
    float *values = load(scratch, tensor);
    if (half) round_all_half(w, values, (long)tensor_elements(tensor));
    return values;
}

// Rows [first, first + count) of a matrix.
static struct tensor take_rows(const struct tensor *matrix, int first, int count)
{
    struct tensor rows = *matrix;
    rows.data += first * matrix->stride[0] * (int64_t)dtype_bytes(matrix->dtype);
    rows.shape[0] = count;
    return rows;
}

// ---- panels ----

// rows [lanes, depth] -> one panel, zeros up to 16 lanes.
static void pack_panel(const float *rows, int lanes, int depth, float *packed)
{
    for (int k = 0; k < depth; k++, packed += KERNEL_LANES)
        for (int lane = 0; lane < KERNEL_LANES; lane++)
            packed[lane] = lane < lanes ? rows[(long)lane * depth + k] : 0.0f;
}

// How a matrix goes into panels.
struct recipe {
    const struct hadamard *rotation; // of each row; NULL: none
    bool half;                       // rounded to FP16
    float scale;                     // of codes; 0: they are floats
};

// Rows to be altered.
static float *load_rows(struct arena *scratch, const struct tensor *rows, struct recipe recipe)
{
    if (recipe.scale == 0) return load(scratch, rows);
    int8_t *codes = arena_take(scratch, (size_t)tensor_elements(rows));
    return pack_load_codes(scratch, rows, recipe.scale, codes);
}

// Outputs [first, first + count) of matrix [*, depth] -> consecutive panels from `packed`, zeros up to a
// multiple of 16; returns their end.  What is altered on the way stays in the cache.
static float *pack_panels(const struct weights *w, struct arena *scratch, const struct tensor *matrix,
                          int first, int count, struct recipe recipe, float *packed)
{
    const int depth = (int)matrix->shape[1];
    const size_t mark = scratch->used_bytes;
    for (int n0 = 0; n0 < count; n0 += KERNEL_LANES, packed += (long)KERNEL_LANES * depth) {
        const int lanes = count - n0 < KERNEL_LANES ? count - n0 : KERNEL_LANES;
        const struct tensor some = take_rows(matrix, first + n0, lanes);
        if (recipe.rotation) {
            float *rows = load_rows(scratch, &some, recipe);
            for (int lane = 0; lane < lanes; lane++)
                w->kernels->hadamard(recipe.rotation, rows + (long)lane * depth);
            pack_panel(rows, lanes, depth, packed);
        } else {
            pack_panel(view(w, scratch, &some, recipe.half), lanes, depth, packed);
        }
        scratch->used_bytes = mark;
    }
    return packed;
}

// Four codes of one output as they stand in a panel, from `row` at k; zeros behind the depth.
static uint32_t four_codes(const int8_t *row, int k, int depth)
{
    uint32_t four = 0;
    memcpy(&four, row + k, depth - k < 4 ? (size_t)(depth - k) : sizeof four);
    return four ^ 0x80808080u; // code + 128 in each byte
}

uint8_t *pack_codes(const int8_t *codes, int first, int count, int depth, uint8_t *packed)
{
    for (int n0 = 0; n0 < count; n0 += KERNEL_LANES) {
        const int8_t *rows = codes + (long)(first + n0) * depth;
        const int lanes = count - n0 < KERNEL_LANES ? count - n0 : KERNEL_LANES;
        for (int k = 0; k < depth; k += 4)
            for (int lane = 0; lane < KERNEL_LANES; lane++, packed += 4) {
                const uint32_t four =
                    lane < lanes ? four_codes(rows + (long)lane * depth, k, depth) : 0x80808080u;
                memcpy(packed, &four, sizeof four);
            }
    }
    return packed;
}

// [channels, taps] -> [taps][ld]
void pack_transposed(const float *matrix, int channels, int taps, int ld, float *out)
{
    for (int k = 0; k < taps; k++)
        for (int i = 0; i < ld; i++)
            out[(long)k * ld + i] = i < channels ? matrix[(long)i * taps + k] : 0.0f;
}

void pack_vector(const float *vector, int count, int ld, float *out)
{
    memset(out, 0, (size_t)ld * sizeof *out);
    memcpy(out, vector, (size_t)count * sizeof *out);
}

// A = -exp(A_log), [I, N] -> [N][ldI]; by the project's own exp, so that the bits do not depend on a library.
void pack_A(const struct weights *w, float *A_log, float *out)
{
    const struct dims *d = &w->model->dims;
    const long count = (long)d->d_inner * d->d_state;
    w->kernels->exp(A_log, (count + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES, A_log);
    for (long i = 0; i < count; i++)
        A_log[i] = -A_log[i];
    pack_transposed(A_log, d->d_inner, d->d_state, w->ld_inner, out);
}

size_t pack_scratch_bytes(const struct weights *w)
{
    const struct dims *d = &w->model->dims;
    const long I = d->d_inner, D = d->d_model, R = d->dt_rank, N = d->d_state, K = d->d_conv;
    // A layer of floats, its largest tensor once more, codes and a block of columns (of W8A8 weights).
    const long layer = I * (3 * D + 2 * R + 3 * N + K + 4) + D, spare = I * (2 * D + R + 2 * N + K);
    return (size_t)(layer + 2 * spare + 2L * KERNEL_LANES * (w->ld_model + w->ld_inner)) * sizeof(float) +
           ((size_t)1 << 16);
}

// ---- float ----

static void pack_float(const struct weights *w, struct arena *scratch, const struct model_layer *m, bool half,
                       struct float_layer *out)
{
    const struct dims *d = &w->model->dims;
    const struct recipe recipe = {.half = half};
    const int I = d->d_inner, D = d->d_model, R = d->dt_rank, N = d->d_state;
    float *in_proj_z = pack_panels(w, scratch, m->in_proj, 0, I, recipe, out->in_proj);
    pack_panels(w, scratch, m->in_proj, I, I, recipe, in_proj_z);
    float *x_proj_B = pack_panels(w, scratch, m->x_proj, 0, R, recipe, out->x_proj);
    float *x_proj_C = pack_panels(w, scratch, m->x_proj, R, N, recipe, x_proj_B);
    pack_panels(w, scratch, m->x_proj, R + N, N, recipe, x_proj_C);
    pack_panels(w, scratch, m->dt_proj, 0, I, recipe, out->dt_proj);
    pack_panels(w, scratch, m->out_proj, 0, D, recipe, out->out_proj);
    pack_vector(view(w, scratch, m->norm, false), D, w->ld_model, out->norm);
    pack_transposed(view(w, scratch, m->conv_w, half), I, d->d_conv, w->ld_inner, out->conv_w);
    pack_vector(view(w, scratch, m->conv_b, half), I, w->ld_inner, out->conv_b);
    pack_vector(view(w, scratch, m->dt_bias, false), I, w->ld_inner, out->dt_bias);
    pack_vector(view(w, scratch, m->D_skip, false), I, w->ld_inner, out->D_skip);
    pack_A(w, load(scratch, m->A_log), out->A);
}

void pack_float_layer(struct weights *weights, struct arena *scratch, int layer, bool half)
{
    const struct model *model = weights_float_model(weights);
    struct float_layer *out = half ? &weights->fp16[layer] : &weights->fp32[layer];
    if (model->kind == MODEL_FLOAT) {
        pack_float(weights, scratch, &model->layers[layer], half, out);
        return;
    }
    struct given_layer given;
    pack_dequantize(weights, scratch, model, layer, &given);
    pack_float(weights, scratch, &given.layer, half, out);
}

// ---- W8A8 ----

// Per tensor, symmetric: s = max(max|w|, 1e-5) / 127, code = clamp(rint(w / s), -128, 127).
static float quantize(const struct weights *w, const float *values, long count, int8_t *codes)
{
    const long padded = (count + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    const float most = w->kernels->absmax(values, padded), scale = (most > 1e-5f ? most : 1e-5f) / 127.0f;
    w->kernels->quantize_even(values, padded, scale, codes);
    return scale;
}

// Quantizes in place: values become code * scale.
static float quantize_in_place(const struct weights *w, float *values, long count, int8_t *codes)
{
    const float scale = quantize(w, values, count, codes);
    for (long i = 0; i < count; i++)
        values[i] = (float)codes[i] * scale;
    return scale;
}

// had_rows(W_in diag(w_norm))
static float *rotated_in_proj(const struct weights *w, struct arena *scratch, const struct model_layer *m)
{
    const int D = w->model->dims.d_model, rows = 2 * w->model->dims.d_inner;
    float *in_proj = pack_take(scratch, (long)rows * D);
    const float *norm = view(w, scratch, m->norm, false);
    for (int n = 0; n < rows; n++) {
        const struct tensor one = take_rows(m->in_proj, n, 1);
        float *row = in_proj + (long)n * D;
        tensor_to_f32(&one, row);
        for (int k = 0; k < D; k++)
            row[k] *= norm[k];
        w->kernels->hadamard(&w->rotate_model.forward, row);
    }
    return in_proj;
}

void pack_rotate_columns(const struct weights *w, struct arena *scratch, const struct hadamard *hadamard,
                         float *matrix, int rows, int columns)
{
    const long ld = w->ld_model;
    float *block = pack_take(scratch, KERNEL_LANES * ld);
    for (int k0 = 0; k0 < columns; k0 += KERNEL_LANES) {
        const int lanes = columns - k0 < KERNEL_LANES ? columns - k0 : KERNEL_LANES;
        for (int n = 0; n < rows; n++)
            for (int lane = 0; lane < lanes; lane++)
                block[lane * ld + n] = matrix[(long)n * columns + k0 + lane];
        for (int lane = 0; lane < lanes; lane++)
            w->kernels->hadamard(hadamard, block + lane * ld);
        for (int n = 0; n < rows; n++)
            for (int lane = 0; lane < lanes; lane++)
                matrix[(long)n * columns + k0 + lane] = block[lane * ld + n];
    }
}

// had over both axes of W_out [D, I].
static float *rotated_out_proj(const struct weights *w, struct arena *scratch, const struct model_layer *m)
{
    const int D = w->model->dims.d_model, I = w->model->dims.d_inner;
    float *out_proj = pack_take(scratch, (long)D * I);
    for (int n = 0; n < D; n++) {
        const struct tensor one = take_rows(m->out_proj, n, 1);
        tensor_to_f32(&one, out_proj + (long)n * I);
        w->kernels->hadamard(&w->rotate_inner.forward, out_proj + (long)n * I);
    }
    pack_rotate_columns(w, scratch, &w->rotate_model.forward, out_proj, D, I);
    return out_proj;
}

// Scratch is given back after each tensor, so that the next one finds it in the cache.
static void pack_projections(const struct weights *w, struct arena *scratch, const struct model_layer *m,
                             int8_t *codes, struct w8a8_layer *out)
{
    const struct dims *d = &w->model->dims;
    const int I = d->d_inner, D = d->d_model, R = d->dt_rank, N = d->d_state;
    const size_t mark = scratch->used_bytes;
    out->scale[SCALE_IN_PROJ] = quantize(w, rotated_in_proj(w, scratch, m), 2L * I * D, codes);
    pack_codes(codes, I, I, D, pack_codes(codes, 0, I, D, out->in_proj));
    scratch->used_bytes = mark;
    out->scale[SCALE_OUT_PROJ] = quantize(w, rotated_out_proj(w, scratch, m), (long)D * I, codes);
    pack_codes(codes, 0, D, I, out->out_proj);
    scratch->used_bytes = mark;
    out->scale[SCALE_X_PROJ] = quantize(w, load(scratch, m->x_proj), (R + 2L * N) * I, codes);
    uint8_t *x_proj_B = pack_codes(codes, 0, R, I, out->x_proj);
    pack_codes(codes, R + N, N, I, pack_codes(codes, R, N, I, x_proj_B));
    scratch->used_bytes = mark;
    out->scale[SCALE_DT_PROJ] = quantize(w, load(scratch, m->dt_proj), (long)I * R, codes);
    pack_codes(codes, 0, I, R, out->dt_proj);
    scratch->used_bytes = mark;
}

// [I], dequantized; returns the scale.
static float pack_rounded(const struct weights *w, struct arena *scratch, const struct tensor *tensor,
                          int8_t *codes, float *out)
{
    const int I = w->model->dims.d_inner;
    float *values = load(scratch, tensor);
    const float scale = quantize_in_place(w, values, I, codes);
    pack_vector(values, I, w->ld_inner, out);
    return scale;
}

static void pack_small(const struct weights *w, struct arena *scratch, const struct model_layer *m,
                       int8_t *codes, struct w8a8_layer *out)
{
    const struct dims *d = &w->model->dims;
    const int I = d->d_inner;
    float *conv_w = load(scratch, m->conv_w), *A_log = load(scratch, m->A_log);
    out->scale[SCALE_CONV_W] = quantize(w, conv_w, (long)I * d->d_conv, codes);
    for (long i = 0; i < (long)I * d->d_conv; i++)
        conv_w[i] = codes[i];
    pack_transposed(conv_w, I, d->d_conv, w->ld_inner, out->conv_w);
    out->scale[SCALE_CONV_B] = pack_rounded(w, scratch, m->conv_b, codes, out->conv_b);
    out->scale[SCALE_DT_BIAS] = pack_rounded(w, scratch, m->dt_bias, codes, out->dt_bias);
    out->scale[SCALE_D_SKIP] = pack_rounded(w, scratch, m->D_skip, codes, out->D_skip);
    out->scale[SCALE_A_LOG] = quantize_in_place(w, A_log, (long)I * d->d_state, codes);
    pack_A(w, A_log, out->A);
}

int8_t *pack_take_codes(const struct weights *w, struct arena *scratch)
{
    const struct dims *d = &w->model->dims;
    const size_t I = (size_t)d->d_inner;
    const size_t sizes[] = {2 * I * (size_t)d->d_model, ((size_t)d->dt_rank + 2 * (size_t)d->d_state) * I,
                            I * (size_t)d->dt_rank, I * (size_t)d->d_state, I * (size_t)d->d_conv};
    size_t most = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i] > most) most = sizes[i];
    return arena_take(scratch, most + KERNEL_LANES);
}

void pack_w8a8_layer(struct weights *weights, struct arena *scratch, int layer)
{
    if (weights->model->kind == MODEL_W8A8) {
        pack_given_codes(weights, scratch, layer);
        return;
    }
    const struct model_layer *m = &weights->model->layers[layer];
    int8_t *codes = pack_take_codes(weights, scratch);
    pack_projections(weights, scratch, m, codes, &weights->w8a8[layer]);
    pack_small(weights, scratch, m, codes, &weights->w8a8[layer]);
}

// ---- lm_head ----

int pack_head_slices(const struct weights *weights)
{
    return (weights->model->dims.vocab_size + HEAD_SLICE_ROWS - 1) / HEAD_SLICE_ROWS;
}

// Rows [first, first + count) of a float lm_head or, with their scale, of codes; those of a W8A8 checkpoint
// are turned back.
static void pack_head_rows(const struct weights *w, struct arena *scratch, const struct model *model,
                           int first, int count, float *packed)
{
    const bool rotated = model->kind == MODEL_W8A8;
    const struct recipe recipe = {.rotation = rotated ? &w->rotate_model.inverse : NULL,
                                  .scale = model->ends.lm_head};
    pack_panels(w, scratch, model->lm_head, first, count, recipe, packed);
}

static void pack_head_codes(const struct weights *w, struct arena *scratch, int first, int count,
                            uint8_t *packed)
{
    const int depth = w->model->dims.d_model;
    int8_t *codes = arena_take(scratch, (size_t)(KERNEL_LANES * depth) + KERNEL_LANES);
    for (int n = 0; n < count; n += KERNEL_LANES) {
        const int lanes = count - n < KERNEL_LANES ? count - n : KERNEL_LANES;
        const struct tensor some = take_rows(w->model->lm_head, first + n, lanes);
        tensor_to_i8(&some, codes);
        packed = pack_codes(codes, 0, lanes, depth, packed);
    }
}

static void pack_head(const struct weights *w, struct arena *scratch, const struct model *model, int slice,
                      const struct head *head)
{
    const struct dims *d = &model->dims;
    const int first = slice * HEAD_SLICE_ROWS, left = d->vocab_size - first,
              count = left < HEAD_SLICE_ROWS ? left : HEAD_SLICE_ROWS;
    if (head->codes) {
        pack_head_codes(w, scratch, first, count, head->codes + (long)first * ((d->d_model + 3) / 4 * 4));
        return;
    }
    pack_head_rows(w, scratch, model, first, count, head->lm_head + (long)first * d->d_model);
    if (slice == 0)
        pack_vector(view(w, scratch, model->norm_f, false), d->d_model, w->ld_model, head->norm_f);
}

void pack_head_slice(struct weights *weights, struct arena *scratch, int slice)
{
    pack_head(weights, scratch, weights->model, slice, &weights->head);
    if (weights->model->reference || weights->head.codes)
        pack_head(weights, scratch, weights_float_model(weights), slice, &weights->float_head);
}
