// SPDX-License-Identifier: Apache-2.0
// Layers of a W8A8 checkpoint: its codes as they are for the W8A8 modes, and as floats for the others.
#include <stdlib.h>
#include <string.h>

#include "pack.h"

// The largest tensor of a layer, in elements.
static size_t most_codes(const struct dims *d)
{
    const size_t I = (size_t)d->d_inner;
    const size_t sizes[] = {2 * I * (size_t)d->d_model, ((size_t)d->dt_rank + 2 * (size_t)d->d_state) * I,
                            I * (size_t)d->dt_rank, I * (size_t)d->d_state, I * (size_t)d->d_conv};
    size_t most = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i] > most) most = sizes[i];
    return most;
}

static int8_t *new_codes(const struct dims *d, struct error *err)
{
    int8_t *codes = malloc(most_codes(d));
    if (!codes) error_memory(err, most_codes(d), "a layer's codes");
    return codes;
}

// ---- codes as floats ----

// code * scale in malloc'ed memory; NULL and an error when memory is out.
static float *dequantize(const struct tensor *tensor, float scale, int8_t *codes, struct error *err)
{
    const size_t count = (size_t)tensor_elements(tensor), bytes = (count + KERNEL_LANES) * sizeof(float);
    float *values = err->status ? NULL : calloc(1, bytes);
    if (!values) {
        error_memory(err, bytes, tensor->name);
        return NULL;
    }
    tensor_to_i8(tensor, codes);
    for (size_t i = 0; i < count; i++)
        values[i] = (float)codes[i] * scale;
    return values;
}

// had is undone on the input axis of in_proj and on both axes of out_proj.
static void rotate_back(const struct weights *w, struct float_tensors *t, float *block)
{
    const int D = w->model->dims.d_model, I = w->model->dims.d_inner;
    for (int n = 0; n < 2 * I; n++)
        w->kernels->hadamard(&w->rotate_model.inverse, t->in_proj + (long)n * D);
    pack_rotate_columns(w, &w->rotate_model.inverse, t->out_proj, D, I, block);
    for (int n = 0; n < D; n++)
        w->kernels->hadamard(&w->rotate_inner.inverse, t->out_proj + (long)n * I);
}

void pack_load_codes(const struct weights *w, const struct model *model, int layer, struct float_tensors *t,
                     struct error *err)
{
    const struct model_layer *m = &model->layers[layer];
    const struct w8a8_scales *s = &model->scales[layer];
    const size_t block_bytes = (size_t)w->ld_model * KERNEL_LANES * sizeof(float);
    int8_t *codes = new_codes(&model->dims, err);
    float *block = malloc(block_bytes);
    *t = (struct float_tensors){0};
    if (!block) error_memory(err, block_bytes, "columns");
    if (!err->status)
        *t = (struct float_tensors){.norm = pack_load(m->norm, err),
                                    .in_proj = dequantize(m->in_proj, s->in_proj, codes, err),
                                    .conv_w = dequantize(m->conv_w, s->conv_w, codes, err),
                                    .conv_b = dequantize(m->conv_b, s->conv_b, codes, err),
                                    .x_proj = dequantize(m->x_proj, s->x_proj, codes, err),
                                    .dt_proj = dequantize(m->dt_proj, s->dt_proj, codes, err),
                                    .dt_bias = dequantize(m->dt_bias, s->dt_bias, codes, err),
                                    .A_log = dequantize(m->A_log, s->A_log, codes, err),
                                    .D_skip = dequantize(m->D_skip, s->D_skip, codes, err),
                                    .out_proj = dequantize(m->out_proj, s->out_proj, codes, err)};
    if (!err->status) rotate_back(w, t, block);
    free(block);
    free(codes);
}

// ---- codes as codes ----

static void pack_projections(const struct weights *w, const struct model_layer *m, int8_t *codes,
                             struct w8a8_layer *out)
{
    const struct dims *d = &w->model->dims;
    const int I = d->d_inner, D = d->d_model, R = d->dt_rank, N = d->d_state;
    tensor_to_i8(m->in_proj, codes);
    pack_codes(codes, I, I, D, pack_codes(codes, 0, I, D, out->in_proj));
    tensor_to_i8(m->x_proj, codes);
    uint8_t *x_proj_B = pack_codes(codes, 0, R, I, out->x_proj);
    pack_codes(codes, R + N, N, I, pack_codes(codes, R, N, I, x_proj_B));
    tensor_to_i8(m->dt_proj, codes);
    pack_codes(codes, 0, I, R, out->dt_proj);
    tensor_to_i8(m->out_proj, codes);
    pack_codes(codes, 0, D, I, out->out_proj);
}

static void put_vector(const struct weights *w, const struct tensor *tensor, float scale, int8_t *codes,
                       float *out, struct error *err)
{
    float *values = dequantize(tensor, scale, codes, err);
    if (values) pack_vector(values, w->model->dims.d_inner, w->ld_inner, out);
    free(values);
}

static void pack_small(const struct weights *w, const struct model_layer *m, const struct w8a8_scales *s,
                       int8_t *codes, struct w8a8_layer *out, struct error *err)
{
    const struct dims *d = &w->model->dims;
    float *conv_w = dequantize(m->conv_w, 1.0f, codes, err); // codes as integers
    if (conv_w) pack_transposed(conv_w, d->d_inner, d->d_conv, w->ld_inner, out->conv_w);
    free(conv_w);
    float *A_log = dequantize(m->A_log, s->A_log, codes, err);
    if (A_log) pack_A(w, A_log, out->A);
    free(A_log);
    put_vector(w, m->conv_b, s->conv_b, codes, out->conv_b, err);
    put_vector(w, m->dt_bias, s->dt_bias, codes, out->dt_bias, err);
    put_vector(w, m->D_skip, s->D_skip, codes, out->D_skip, err);
}

static void put_scales(const struct w8a8_scales *s, float *scale)
{
    scale[SCALE_IN_PROJ] = s->in_proj;
    scale[SCALE_CONV_W] = s->conv_w;
    scale[SCALE_CONV_B] = s->conv_b;
    scale[SCALE_X_PROJ] = s->x_proj;
    scale[SCALE_DT_PROJ] = s->dt_proj;
    scale[SCALE_DT_BIAS] = s->dt_bias;
    scale[SCALE_A_LOG] = s->A_log;
    scale[SCALE_D_SKIP] = s->D_skip;
    scale[SCALE_OUT_PROJ] = s->out_proj;
}

enum status pack_given_codes(struct weights *weights, int layer, struct error *err)
{
    const struct model *model = weights->model;
    int8_t *codes = new_codes(&model->dims, err);
    if (!codes) return err->status;
    put_scales(&model->scales[layer], weights->w8a8[layer].scale);
    pack_projections(weights, &model->layers[layer], codes, &weights->w8a8[layer]);
    pack_small(weights, &model->layers[layer], &model->scales[layer], codes, &weights->w8a8[layer], err);
    free(codes);
    return err->status;
}
