// SPDX-License-Identifier: Apache-2.0
// The weights of a layer: float, and codes as they are made of float ones.
#include <string.h>

#include "mamba1_parts.h"
#include "ssmsweep/arch/pack.h"

// A = -exp(A_log), [I, N] -> [N][ldI]; by the project's own exp, so that the bits do not depend on a library.
void pack_A(const struct packing *p, float *A_log, float *out)
{
    const struct dims *d = &p->model->dims;
    const long count = (long)d->d_inner * d->d_state;
    p->kernels->exp(A_log, (count + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES, A_log);
    for (long i = 0; i < count; i++)
        A_log[i] = -A_log[i];
    pack_transposed(A_log, d->d_inner, d->d_state, leading_of(&p->model->dims).I, out);
}

size_t mamba1_scratch_bytes(const struct dims *d)
{
    const long I = d->d_inner, D = d->d_model, R = d->dt_rank, N = d->d_state, K = d->d_conv;
    const struct leading ld = leading_of(d);
    // A layer of floats, its largest tensor once more, codes and a block of columns (of W8A8 weights).
    const long layer = I * (3 * D + 2 * R + 3 * N + K + 4) + D, spare = I * (2 * D + R + 2 * N + K);
    return (size_t)(layer + 2 * spare + 2L * KERNEL_LANES * (ld.D + ld.I)) * sizeof(float) +
           ((size_t)1 << 16);
}

// ---- float ----

static void pack_float(const struct packing *p, const struct tensor *const *m, bool half,
                       struct float_layer *out)
{
    const struct dims *d = &p->model->dims;
    const struct panel_recipe recipe = {.half = half};
    const int I = d->d_inner, D = d->d_model, R = d->dt_rank, N = d->d_state;
    float *in_proj_z = pack_panels(p->kernels, p->scratch, m[TENSOR_IN_PROJ], 0, I, recipe, out->in_proj);
    pack_panels(p->kernels, p->scratch, m[TENSOR_IN_PROJ], I, I, recipe, in_proj_z);
    float *x_proj_B = pack_panels(p->kernels, p->scratch, m[TENSOR_X_PROJ], 0, R, recipe, out->x_proj);
    float *x_proj_C = pack_panels(p->kernels, p->scratch, m[TENSOR_X_PROJ], R, N, recipe, x_proj_B);
    pack_panels(p->kernels, p->scratch, m[TENSOR_X_PROJ], R + N, N, recipe, x_proj_C);
    pack_panels(p->kernels, p->scratch, m[TENSOR_DT_PROJ], 0, I, recipe, out->dt_proj);
    pack_panels(p->kernels, p->scratch, m[TENSOR_OUT_PROJ], 0, D, recipe, out->out_proj);
    pack_vector(pack_view(p->kernels, p->scratch, m[TENSOR_NORM], false), D, leading_of(&p->model->dims).D,
                out->norm);
    pack_transposed(pack_view(p->kernels, p->scratch, m[TENSOR_CONV_W], half), I, d->d_conv,
                    leading_of(&p->model->dims).I, out->conv_w);
    pack_vector(pack_view(p->kernels, p->scratch, m[TENSOR_CONV_B], half), I, leading_of(&p->model->dims).I,
                out->conv_b);
    pack_vector(pack_view(p->kernels, p->scratch, m[TENSOR_DT_BIAS], false), I, leading_of(&p->model->dims).I,
                out->dt_bias);
    pack_vector(pack_view(p->kernels, p->scratch, m[TENSOR_D_SKIP], false), I, leading_of(&p->model->dims).I,
                out->D_skip);
    pack_A(p, pack_load(p->scratch, m[TENSOR_A_LOG]), out->A);
}

// ---- W8A8 ----

// Per tensor, symmetric: s = max(max|w|, 1e-5) / 127, code = clamp(rint(w / s), -128, 127).
static float quantize(const struct packing *p, const float *values, long count, int8_t *codes)
{
    const long padded = (count + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
    const float most = p->kernels->absmax(values, padded), scale = (most > 1e-5f ? most : 1e-5f) / 127.0f;
    p->kernels->quantize_even(values, padded, scale, codes);
    return scale;
}

// Quantizes in place: values become code * scale.
static float quantize_in_place(const struct packing *p, float *values, long count, int8_t *codes)
{
    const float scale = quantize(p, values, count, codes);
    for (long i = 0; i < count; i++)
        values[i] = (float)codes[i] * scale;
    return scale;
}

// had_rows(W_in diag(w_norm))
static float *rotated_in_proj(const struct packing *p, const struct tensor *const *m)
{
    const int D = p->model->dims.d_model, rows = 2 * p->model->dims.d_inner;
    float *in_proj = pack_take(p->scratch, (long)rows * D);
    const float *norm = pack_view(p->kernels, p->scratch, m[TENSOR_NORM], false);
    for (int n = 0; n < rows; n++) {
        const struct tensor one = pack_rows(m[TENSOR_IN_PROJ], n, 1);
        float *row = in_proj + (long)n * D;
        tensor_to_f32(&one, row);
        for (int k = 0; k < D; k++)
            row[k] *= norm[k];
        p->kernels->hadamard(&p->rotations->model.forward, row);
    }
    return in_proj;
}

void pack_rotate_columns(const struct packing *p, const struct hadamard *hadamard, float *matrix, int rows,
                         int columns)
{
    const long ld = leading_of(&p->model->dims).D;
    float *block = pack_take(p->scratch, KERNEL_LANES * ld);
    for (int k0 = 0; k0 < columns; k0 += KERNEL_LANES) {
        const int lanes = columns - k0 < KERNEL_LANES ? columns - k0 : KERNEL_LANES;
        for (int n = 0; n < rows; n++)
            for (int lane = 0; lane < lanes; lane++)
                block[lane * ld + n] = matrix[(long)n * columns + k0 + lane];
        for (int lane = 0; lane < lanes; lane++)
            p->kernels->hadamard(hadamard, block + lane * ld);
        for (int n = 0; n < rows; n++)
            for (int lane = 0; lane < lanes; lane++)
                matrix[(long)n * columns + k0 + lane] = block[lane * ld + n];
    }
}

// had over both axes of W_out [D, I].
static float *rotated_out_proj(const struct packing *p, const struct tensor *const *m)
{
    const int D = p->model->dims.d_model, I = p->model->dims.d_inner;
    float *out_proj = pack_take(p->scratch, (long)D * I);
    for (int n = 0; n < D; n++) {
        const struct tensor one = pack_rows(m[TENSOR_OUT_PROJ], n, 1);
        tensor_to_f32(&one, out_proj + (long)n * I);
        p->kernels->hadamard(&p->rotations->inner.forward, out_proj + (long)n * I);
    }
    pack_rotate_columns(p, &p->rotations->model.forward, out_proj, D, I);
    return out_proj;
}

// Scratch is given back after each tensor, so that the next one finds it in the cache.
static void pack_projections(const struct packing *p, const struct tensor *const *m, int8_t *codes,
                             struct w8a8_layer *out)
{
    const struct dims *d = &p->model->dims;
    const int I = d->d_inner, D = d->d_model, R = d->dt_rank, N = d->d_state;
    const size_t mark = p->scratch->used_bytes;
    out->scale[TENSOR_IN_PROJ] = quantize(p, rotated_in_proj(p, m), 2L * I * D, codes);
    pack_codes(codes, I, I, D, pack_codes(codes, 0, I, D, out->in_proj));
    p->scratch->used_bytes = mark;
    out->scale[TENSOR_OUT_PROJ] = quantize(p, rotated_out_proj(p, m), (long)D * I, codes);
    pack_codes(codes, 0, D, I, out->out_proj);
    p->scratch->used_bytes = mark;
    out->scale[TENSOR_X_PROJ] = quantize(p, pack_load(p->scratch, m[TENSOR_X_PROJ]), (R + 2L * N) * I, codes);
    uint8_t *x_proj_B = pack_codes(codes, 0, R, I, out->x_proj);
    pack_codes(codes, R + N, N, I, pack_codes(codes, R, N, I, x_proj_B));
    p->scratch->used_bytes = mark;
    out->scale[TENSOR_DT_PROJ] = quantize(p, pack_load(p->scratch, m[TENSOR_DT_PROJ]), (long)I * R, codes);
    pack_codes(codes, 0, I, R, out->dt_proj);
    p->scratch->used_bytes = mark;
}

// [I], dequantized; returns the scale.
static float pack_rounded(const struct packing *p, const struct tensor *tensor, int8_t *codes, float *out)
{
    const int I = p->model->dims.d_inner;
    float *values = pack_load(p->scratch, tensor);
    const float scale = quantize_in_place(p, values, I, codes);
    pack_vector(values, I, leading_of(&p->model->dims).I, out);
    return scale;
}

static void pack_small(const struct packing *p, const struct tensor *const *m, int8_t *codes,
                       struct w8a8_layer *out)
{
    const struct dims *d = &p->model->dims;
    const int I = d->d_inner;
    float *conv_w = pack_load(p->scratch, m[TENSOR_CONV_W]), *A_log = pack_load(p->scratch, m[TENSOR_A_LOG]);
    out->scale[TENSOR_CONV_W] = quantize(p, conv_w, (long)I * d->d_conv, codes);
    for (long i = 0; i < (long)I * d->d_conv; i++)
        conv_w[i] = codes[i];
    pack_transposed(conv_w, I, d->d_conv, leading_of(&p->model->dims).I, out->conv_w);
    out->scale[TENSOR_CONV_B] = pack_rounded(p, m[TENSOR_CONV_B], codes, out->conv_b);
    out->scale[TENSOR_DT_BIAS] = pack_rounded(p, m[TENSOR_DT_BIAS], codes, out->dt_bias);
    out->scale[TENSOR_D_SKIP] = pack_rounded(p, m[TENSOR_D_SKIP], codes, out->D_skip);
    out->scale[TENSOR_A_LOG] = quantize_in_place(p, A_log, (long)I * d->d_state, codes);
    pack_A(p, A_log, out->A);
}

int8_t *pack_take_codes(const struct packing *p)
{
    const struct dims *d = &p->model->dims;
    const size_t I = (size_t)d->d_inner;
    const size_t sizes[] = {2 * I * (size_t)d->d_model, ((size_t)d->dt_rank + 2 * (size_t)d->d_state) * I,
                            I * (size_t)d->dt_rank, I * (size_t)d->d_state, I * (size_t)d->d_conv};
    size_t most = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i] > most) most = sizes[i];
    return arena_take(p->scratch, most + KERNEL_LANES);
}

static void pack_w8a8(const struct packing *p, struct w8a8_layer *out)
{
    const struct tensor *const *m = &p->model->tensors[p->layer * MAMBA1_TENSORS];
    int8_t *codes = pack_take_codes(p);
    pack_projections(p, m, codes, out);
    pack_small(p, m, codes, out);
}

void mamba1_pack(const struct packing *p, enum packed_form form, void *layer)
{
    const bool given = p->model->kind == MODEL_W8A8;
    union mamba1_layer *out = layer;
    if (form == PACKED_W8A8) {
        (given ? mamba1_pack_codes : pack_w8a8)(p, &out->q);
        return;
    }
    struct mamba1_given made;
    if (given) mamba1_dequantize(p, &made);
    pack_float(p, given ? made.tensors : &p->model->tensors[p->layer * MAMBA1_TENSORS], form == PACKED_FP16,
               &out->f);
}

// ---- the block ----

static void carve_float(const struct dims *d, struct arena *arena, struct float_layer *layer)
{
    const struct leading ld = leading_of(d);
    layer->norm = pack_floats(arena, ld.D);
    layer->in_proj = pack_floats(arena, 2L * ld.I * d->d_model);
    layer->conv_w = pack_floats(arena, (long)d->d_conv * ld.I);
    layer->conv_b = pack_floats(arena, ld.I);
    layer->x_proj = pack_floats(arena, (long)ld.dbl * d->d_inner);
    layer->dt_proj = pack_floats(arena, (long)ld.I * d->dt_rank);
    layer->dt_bias = pack_floats(arena, ld.I);
    layer->A = pack_floats(arena, (long)d->d_state * ld.I);
    layer->D_skip = pack_floats(arena, ld.I);
    layer->out_proj = pack_floats(arena, (long)ld.D * d->d_inner);
}

static void carve_w8a8(const struct dims *d, struct arena *arena, struct w8a8_layer *layer)
{
    const struct leading ld = leading_of(d);
    layer->scale = pack_floats(arena, MAMBA1_TENSORS);
    layer->in_proj = pack_outputs(arena, 2L * ld.I, d->d_model);
    layer->conv_w = pack_floats(arena, (long)d->d_conv * ld.I);
    layer->conv_b = pack_floats(arena, ld.I);
    layer->x_proj = pack_outputs(arena, ld.dbl, d->d_inner);
    layer->dt_proj = pack_outputs(arena, ld.I, d->dt_rank);
    layer->dt_bias = pack_floats(arena, ld.I);
    layer->A = pack_floats(arena, (long)d->d_state * ld.I);
    layer->D_skip = pack_floats(arena, ld.I);
    layer->out_proj = pack_outputs(arena, ld.D, d->d_inner);
}

void mamba1_carve_layer(const struct dims *dims, enum packed_form form, struct arena *arena, void *layer)
{
    union mamba1_layer *out = layer;
    if (form == PACKED_W8A8)
        carve_w8a8(dims, arena, &out->q);
    else
        carve_float(dims, arena, &out->f);
}
