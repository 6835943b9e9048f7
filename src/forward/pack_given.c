// SPDX-License-Identifier: Apache-2.0
// Layers of a W8A8 checkpoint: its codes as they are for the W8A8 modes, and as floats for the others.
#include "pack.h"

// ---- codes as floats ----

// had is undone on the input axis of in_proj and on both axes of out_proj.
static void rotate_back(const struct weights *w, struct arena *scratch, float *in_proj, float *out_proj)
{
    const int D = w->model->dims.d_model, I = w->model->dims.d_inner;
    for (int n = 0; n < 2 * I; n++)
        w->kernels->hadamard(&w->rotate_model.inverse, in_proj + (long)n * D);
    pack_rotate_columns(w, scratch, &w->rotate_model.inverse, out_proj, D, I);
    for (int n = 0; n < D; n++)
        w->kernels->hadamard(&w->rotate_inner.inverse, out_proj + (long)n * I);
}

// Of the shape of `codes`, row-major.
static struct tensor float_tensor(const struct tensor *codes, const float *values)
{
    struct tensor made = *codes;
    int64_t bytes;
    made.dtype = DTYPE_F32;
    made.data = (const unsigned char *)values;
    tensor_set_contiguous(&made, &bytes); // fits, as the scratch did
    return made;
}

void pack_dequantize(const struct weights *w, struct arena *scratch, const struct model *model, int layer,
                     struct given_layer *given)
{
    const struct model_layer *m = &model->layers[layer];
    const struct w8a8_scales *s = &model->scales[layer];
    const struct {
        const struct tensor *codes, **made;
        float scale;
    } all[GIVEN_TENSORS] = {
        {m->in_proj, &given->layer.in_proj, s->in_proj}, {m->out_proj, &given->layer.out_proj, s->out_proj},
        {m->conv_w, &given->layer.conv_w, s->conv_w},    {m->conv_b, &given->layer.conv_b, s->conv_b},
        {m->x_proj, &given->layer.x_proj, s->x_proj},    {m->dt_proj, &given->layer.dt_proj, s->dt_proj},
        {m->dt_bias, &given->layer.dt_bias, s->dt_bias}, {m->A_log, &given->layer.A_log, s->A_log},
        {m->D_skip, &given->layer.D_skip, s->D_skip}};
    float *values[GIVEN_TENSORS];
    int8_t *codes = pack_take_codes(w, scratch);
    given->layer = *m;
    for (int i = 0; i < GIVEN_TENSORS; i++) {
        values[i] = pack_load_codes(scratch, all[i].codes, all[i].scale, codes);
        given->tensors[i] = float_tensor(all[i].codes, values[i]);
        *all[i].made = &given->tensors[i];
    }
    rotate_back(w, scratch, values[0], values[1]);
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

static void put_vector(const struct weights *w, struct arena *scratch, const struct tensor *tensor,
                       float scale, int8_t *codes, float *out)
{
    pack_vector(pack_load_codes(scratch, tensor, scale, codes), w->model->dims.d_inner, w->ld_inner, out);
}

static void pack_small(const struct weights *w, struct arena *scratch, const struct model_layer *m,
                       const struct w8a8_scales *s, int8_t *codes, struct w8a8_layer *out)
{
    const struct dims *d = &w->model->dims;
    const float *conv_w = pack_load_codes(scratch, m->conv_w, 1.0f, codes); // codes as integers
    pack_transposed(conv_w, d->d_inner, d->d_conv, w->ld_inner, out->conv_w);
    pack_A(w, pack_load_codes(scratch, m->A_log, s->A_log, codes), out->A);
    put_vector(w, scratch, m->conv_b, s->conv_b, codes, out->conv_b);
    put_vector(w, scratch, m->dt_bias, s->dt_bias, codes, out->dt_bias);
    put_vector(w, scratch, m->D_skip, s->D_skip, codes, out->D_skip);
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

void pack_given_codes(struct weights *weights, struct arena *scratch, int layer)
{
    const struct model *model = weights->model;
    int8_t *codes = pack_take_codes(weights, scratch);
    put_scales(&model->scales[layer], weights->w8a8[layer].scale);
    pack_projections(weights, &model->layers[layer], codes, &weights->w8a8[layer]);
    pack_small(weights, scratch, &model->layers[layer], &model->scales[layer], codes, &weights->w8a8[layer]);
}
