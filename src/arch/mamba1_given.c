// SPDX-License-Identifier: Apache-2.0
// Layers of a W8A8 checkpoint: its codes as they are for the W8A8 modes, and as floats for the others.
#include "mamba1_parts.h"
#include "ssmsweep/arch/pack.h"

// ---- codes as floats ----

// had is undone on the input axis of in_proj and on both axes of out_proj.
static void rotate_back(const struct packing *p, float *in_proj, float *out_proj)
{
    const int D = p->model->dims.d_model, I = p->model->dims.d_inner;
    for (int n = 0; n < 2 * I; n++)
        p->kernels->hadamard(&p->rotations->model.inverse, in_proj + (long)n * D);
    pack_rotate_columns(p, &p->rotations->model.inverse, out_proj, D, I);
    for (int n = 0; n < D; n++)
        p->kernels->hadamard(&p->rotations->inner.inverse, out_proj + (long)n * I);
}

// Makes a tensor of the shape of `codes`, row-major.
static struct tensor float_tensor(const struct tensor *codes, const float *values)
{
    struct tensor made = *codes;
    int64_t bytes;
    made.dtype = DTYPE_F32;
    made.data = (const unsigned char *)values;
    tensor_set_contiguous(&made, &bytes); // fits, as the scratch did
    return made;
}

void mamba1_dequantize(const struct packing *p, struct mamba1_given *given)
{
    const struct tensor *const *m = &p->model->tensors[p->layer * MAMBA1_TENSORS];
    const float *scale = model_scales(p->model, p->layer) + MAMBA1_SITES;
    float *values[MAMBA1_TENSORS] = {NULL};
    int8_t *codes = pack_take_codes(p);
    given->tensors[TENSOR_NORM] = m[TENSOR_NORM];
    for (int i = TENSOR_NORM + 1; i < MAMBA1_TENSORS; i++) {
        values[i] = pack_load_codes(p->scratch, m[i], scale[i], codes);
        given->made[i] = float_tensor(m[i], values[i]);
        given->tensors[i] = &given->made[i];
    }
    rotate_back(p, values[TENSOR_IN_PROJ], values[TENSOR_OUT_PROJ]);
}

// ---- codes as codes ----

static void pack_projections(const struct packing *p, const struct tensor *const *m, int8_t *codes,
                             struct w8a8_layer *out)
{
    const struct dims *d = &p->model->dims;
    const int I = d->d_inner, D = d->d_model, R = d->dt_rank, N = d->d_state;
    tensor_to_i8(m[TENSOR_IN_PROJ], codes);
    pack_codes(codes, I, I, D, pack_codes(codes, 0, I, D, out->in_proj));
    tensor_to_i8(m[TENSOR_X_PROJ], codes);
    uint8_t *x_proj_B = pack_codes(codes, 0, R, I, out->x_proj);
    pack_codes(codes, R + N, N, I, pack_codes(codes, R, N, I, x_proj_B));
    tensor_to_i8(m[TENSOR_DT_PROJ], codes);
    pack_codes(codes, 0, I, R, out->dt_proj);
    tensor_to_i8(m[TENSOR_OUT_PROJ], codes);
    pack_codes(codes, 0, D, I, out->out_proj);
}

static void put_vector(const struct packing *p, const struct tensor *tensor, float scale, int8_t *codes,
                       float *out)
{
    pack_vector(pack_load_codes(p->scratch, tensor, scale, codes), p->model->dims.d_inner,
                leading_of(&p->model->dims).I, out);
}

static void pack_small(const struct packing *p, const struct tensor *const *m, const float *s, int8_t *codes,
                       struct w8a8_layer *out)
{
    const struct dims *d = &p->model->dims;
    const float *conv_w = pack_load_codes(p->scratch, m[TENSOR_CONV_W], 1.0f, codes); // codes as integers
    pack_transposed(conv_w, d->d_inner, d->d_conv, leading_of(&p->model->dims).I, out->conv_w);
    pack_A(p, pack_load_codes(p->scratch, m[TENSOR_A_LOG], s[TENSOR_A_LOG], codes), out->A);
    put_vector(p, m[TENSOR_CONV_B], s[TENSOR_CONV_B], codes, out->conv_b);
    put_vector(p, m[TENSOR_DT_BIAS], s[TENSOR_DT_BIAS], codes, out->dt_bias);
    put_vector(p, m[TENSOR_D_SKIP], s[TENSOR_D_SKIP], codes, out->D_skip);
}

void mamba1_pack_codes(const struct packing *p, struct w8a8_layer *out)
{
    const struct tensor *const *m = &p->model->tensors[p->layer * MAMBA1_TENSORS];
    const float *scale = model_scales(p->model, p->layer) + MAMBA1_SITES;
    int8_t *codes = pack_take_codes(p);
    for (int i = TENSOR_NORM + 1; i < MAMBA1_TENSORS; i++)
        out->scale[i] = scale[i];
    pack_projections(p, m, codes, out);
    pack_small(p, m, scale, codes, out);
}
