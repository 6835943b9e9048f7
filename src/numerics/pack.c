// SPDX-License-Identifier: Apache-2.0
#include "pack.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "weights_view.h"

// ---- a tensor as float32, in scratch ----

static long tensor_count(const struct tensor *tensor)
{
    long count = 1;
    for (int i = 0; i < tensor->dims; i++)
        count *= (long)tensor->shape[i];
    return count;
}

// Room for the tensor, a multiple of 16 elements; NULL and an error when memory is out.
float *pack_load(const struct tensor *tensor, struct error *err)
{
    const long count = tensor_count(tensor);
    const size_t bytes = ((size_t)count + KERNEL_LANES) * sizeof(float);
    float *values = err->status ? NULL : malloc(bytes);
    if (!values) {
        error_memory(err, bytes, tensor->name);
        return NULL;
    }
    tensor_to_f32(tensor, values);
    memset(values + count, 0, KERNEL_LANES * sizeof *values);
    return values;
}

static void round_all_half(const struct weights *w, float *values, long count)
{
    w->kernels->round_half(values, (count + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES);
}

// ---- panels ----

// Outputs [first, first + count) of matrix [*, depth] -> consecutive panels from `packed`, zeros up to a
// multiple of 16.
static float *pack_panels(const float *matrix, int first, int count, int depth, float *packed)
{
    for (int n0 = 0; n0 < count; n0 += KERNEL_LANES) {
        const float *rows = matrix + (long)(first + n0) * depth;
        const int lanes = count - n0 < KERNEL_LANES ? count - n0 : KERNEL_LANES;
        for (int k = 0; k < depth; k++, packed += KERNEL_LANES)
            for (int lane = 0; lane < KERNEL_LANES; lane++)
                packed[lane] = lane < lanes ? rows[(long)lane * depth + k] : 0.0f;
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

// ---- float ----

static void load_tensors(const struct weights *w, const struct model *model, int layer,
                         struct float_tensors *t, struct error *err)
{
    const struct model_layer *m = &model->layers[layer];
    if (model->kind == MODEL_W8A8) {
        pack_load_codes(w, model, layer, t, err);
        return;
    }
    *t = (struct float_tensors){.norm = pack_load(m->norm, err),
                                .in_proj = pack_load(m->in_proj, err),
                                .conv_w = pack_load(m->conv_w, err),
                                .conv_b = pack_load(m->conv_b, err),
                                .x_proj = pack_load(m->x_proj, err),
                                .dt_proj = pack_load(m->dt_proj, err),
                                .dt_bias = pack_load(m->dt_bias, err),
                                .A_log = pack_load(m->A_log, err),
                                .D_skip = pack_load(m->D_skip, err),
                                .out_proj = pack_load(m->out_proj, err)};
}

void pack_free_tensors(struct float_tensors *t)
{
    float *all[] = {t->norm,    t->in_proj, t->conv_w, t->conv_b, t->x_proj,
                    t->dt_proj, t->dt_bias, t->A_log,  t->D_skip, t->out_proj};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        free(all[i]);
}

static void round_tensors(const struct weights *w, struct float_tensors *t)
{
    const struct dims *d = &w->model->dims;
    const long I = d->d_inner;
    round_all_half(w, t->in_proj, 2 * I * d->d_model);
    round_all_half(w, t->conv_w, I * d->d_conv);
    round_all_half(w, t->conv_b, I);
    round_all_half(w, t->x_proj, (d->dt_rank + 2L * d->d_state) * I);
    round_all_half(w, t->dt_proj, I * d->dt_rank);
    round_all_half(w, t->out_proj, I * d->d_model);
}

static void pack_float(const struct weights *w, struct float_tensors *t, struct float_layer *out)
{
    const struct dims *d = &w->model->dims;
    const int I = d->d_inner, D = d->d_model, R = d->dt_rank, N = d->d_state;
    pack_vector(t->norm, D, w->ld_model, out->norm);
    pack_panels(t->in_proj, I, I, D, pack_panels(t->in_proj, 0, I, D, out->in_proj));
    pack_transposed(t->conv_w, I, d->d_conv, w->ld_inner, out->conv_w);
    pack_vector(t->conv_b, I, w->ld_inner, out->conv_b);
    float *x_proj_B = pack_panels(t->x_proj, 0, R, I, out->x_proj);
    pack_panels(t->x_proj, R + N, N, I, pack_panels(t->x_proj, R, N, I, x_proj_B));
    pack_panels(t->dt_proj, 0, I, R, out->dt_proj);
    pack_vector(t->dt_bias, I, w->ld_inner, out->dt_bias);
    pack_A(w, t->A_log, out->A);
    pack_vector(t->D_skip, I, w->ld_inner, out->D_skip);
    pack_panels(t->out_proj, 0, D, I, out->out_proj);
}

enum status pack_float_layer(struct weights *weights, int layer, bool half, struct error *err)
{
    struct float_tensors t;
    load_tensors(weights, weights_float_model(weights), layer, &t, err);
    if (!err->status) {
        if (half) round_tensors(weights, &t);
        pack_float(weights, &t, half ? &weights->fp16[layer] : &weights->fp32[layer]);
    }
    pack_free_tensors(&t);
    return err->status;
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
static void rotate_in_proj(const struct weights *w, struct float_tensors *t)
{
    const int D = w->model->dims.d_model, rows = 2 * w->model->dims.d_inner;
    for (int n = 0; n < rows; n++) {
        float *row = t->in_proj + (long)n * D;
        for (int k = 0; k < D; k++)
            row[k] *= t->norm[k];
        w->kernels->hadamard(&w->rotate_model.forward, row);
    }
}

void pack_rotate_columns(const struct weights *w, const struct hadamard *hadamard, float *matrix, int rows,
                         int columns, float *block)
{
    const long ld = w->ld_model;
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
static void rotate_out_proj(const struct weights *w, struct float_tensors *t, float *block)
{
    const int D = w->model->dims.d_model, I = w->model->dims.d_inner;
    for (int n = 0; n < D; n++)
        w->kernels->hadamard(&w->rotate_inner.forward, t->out_proj + (long)n * I);
    pack_rotate_columns(w, &w->rotate_model.forward, t->out_proj, D, I, block);
}

static void pack_projections(const struct weights *w, struct float_tensors *t, int8_t *codes,
                             struct w8a8_layer *out)
{
    const struct dims *d = &w->model->dims;
    const int I = d->d_inner, D = d->d_model, R = d->dt_rank, N = d->d_state;
    out->scale[SCALE_IN_PROJ] = quantize(w, t->in_proj, 2L * I * D, codes);
    pack_codes(codes, I, I, D, pack_codes(codes, 0, I, D, out->in_proj));
    out->scale[SCALE_X_PROJ] = quantize(w, t->x_proj, (R + 2L * N) * I, codes);
    uint8_t *x_proj_B = pack_codes(codes, 0, R, I, out->x_proj);
    pack_codes(codes, R + N, N, I, pack_codes(codes, R, N, I, x_proj_B));
    out->scale[SCALE_DT_PROJ] = quantize(w, t->dt_proj, (long)I * R, codes);
    pack_codes(codes, 0, I, R, out->dt_proj);
    out->scale[SCALE_OUT_PROJ] = quantize(w, t->out_proj, (long)D * I, codes);
    pack_codes(codes, 0, D, I, out->out_proj);
}

static void pack_small(const struct weights *w, struct float_tensors *t, int8_t *codes,
                       struct w8a8_layer *out)
{
    const struct dims *d = &w->model->dims;
    const int I = d->d_inner;
    out->scale[SCALE_CONV_W] = quantize(w, t->conv_w, (long)I * d->d_conv, codes);
    for (long i = 0; i < (long)I * d->d_conv; i++)
        t->conv_w[i] = codes[i];
    pack_transposed(t->conv_w, I, d->d_conv, w->ld_inner, out->conv_w);
    out->scale[SCALE_CONV_B] = quantize_in_place(w, t->conv_b, I, codes);
    pack_vector(t->conv_b, I, w->ld_inner, out->conv_b);
    out->scale[SCALE_DT_BIAS] = quantize_in_place(w, t->dt_bias, I, codes);
    pack_vector(t->dt_bias, I, w->ld_inner, out->dt_bias);
    out->scale[SCALE_A_LOG] = quantize_in_place(w, t->A_log, (long)I * d->d_state, codes);
    pack_A(w, t->A_log, out->A);
    out->scale[SCALE_D_SKIP] = quantize_in_place(w, t->D_skip, I, codes);
    pack_vector(t->D_skip, I, w->ld_inner, out->D_skip);
}

enum status pack_w8a8_layer(struct weights *weights, int layer, struct error *err)
{
    if (weights->model->kind == MODEL_W8A8) return pack_given_codes(weights, layer, err);
    const struct dims *d = &weights->model->dims;
    const long rows = 2L * d->d_inner, depth = d->d_model;
    const long x_proj = (d->dt_rank + 2L * d->d_state) * d->d_inner, dt_proj = (long)d->d_inner * d->dt_rank;
    long most = rows * depth > x_proj ? rows * depth : x_proj;
    if (dt_proj > most) most = dt_proj;
    if ((long)d->d_inner * d->d_state > most) most = (long)d->d_inner * d->d_state;
    if ((long)d->d_inner * d->d_conv > most) most = (long)d->d_inner * d->d_conv;
    struct float_tensors t;
    load_tensors(weights, weights->model, layer, &t, err);
    int8_t *codes = malloc((size_t)most + KERNEL_LANES);
    float *block = malloc((size_t)weights->ld_model * KERNEL_LANES * sizeof *block);
    if (!codes || !block) error_memory(err, (unsigned long long)most, "quantized weights");
    if (!err->status) {
        rotate_in_proj(weights, &t);
        rotate_out_proj(weights, &t, block);
        pack_projections(weights, &t, codes, &weights->w8a8[layer]);
        pack_small(weights, &t, codes, &weights->w8a8[layer]);
    }
    free(block);
    free(codes);
    pack_free_tensors(&t);
    return err->status;
}

static enum status pack_head(struct weights *weights, const struct model *model, struct head *head,
                             struct error *err)
{
    const struct dims *d = &model->dims;
    float *norm_f = pack_load(model->norm_f, err), *lm_head = pack_load(model->lm_head, err);
    if (!err->status) {
        for (int n = 0; n < d->vocab_size && model->kind == MODEL_W8A8; n++)
            weights->kernels->hadamard(&weights->rotate_model.inverse, lm_head + (long)n * d->d_model);
        pack_vector(norm_f, d->d_model, weights->ld_model, head->norm_f);
        pack_panels(lm_head, 0, d->vocab_size, d->d_model, head->lm_head);
    }
    free(lm_head);
    free(norm_f);
    return err->status;
}

enum status pack_lm_head(struct weights *weights, struct error *err)
{
    if (weights->model->reference && pack_head(weights, weights->model->reference, &weights->float_head, err))
        return err->status;
    return pack_head(weights, weights->model, &weights->head, err);
}
