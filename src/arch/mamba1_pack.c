// SPDX-License-Identifier: Apache-2.0
// The weights of a layer of the float modes, and what is turned for the others.
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
    // A layer of floats, its largest tensor twice more, codes and a block of columns.
    const long layer = I * (3 * D + 2 * R + 3 * N + K + 4) + D, spare = I * (2 * D + R + 2 * N + K);
    return (size_t)(layer + 3 * spare + 2L * KERNEL_LANES * (ld.D + ld.I)) * sizeof(float) +
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

// ---- in the rotated basis ----

// had_rows(W_in diag(w_norm))
float *mamba1_rotated_in_proj(const struct packing *p, const struct tensor *const *m)
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

// had over both axes of W_out [D, I].
float *mamba1_rotated_out_proj(const struct packing *p, const struct tensor *const *m)
{
    const int D = p->model->dims.d_model, I = p->model->dims.d_inner;
    float *out_proj = pack_take(p->scratch, (long)D * I);
    for (int n = 0; n < D; n++) {
        const struct tensor one = pack_rows(m[TENSOR_OUT_PROJ], n, 1);
        tensor_to_f32(&one, out_proj + (long)n * I);
        p->kernels->hadamard(&p->rotations->inner.forward, out_proj + (long)n * I);
    }
    pack_rotate_columns(p->kernels, p->scratch, &p->rotations->model.forward, out_proj, D, I);
    return out_proj;
}

void mamba1_pack(const struct packing *p, enum packed_form form, void *layer)
{
    const bool given = model_is_codes(p->model);
    union mamba1_layer *out = layer;
    if (form == PACKED_BY_UNIT) {
        mamba1_pack_units(p, &out->u);
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

void mamba1_carve_layer(const struct dims *dims, enum packed_form form, const struct needs *needs,
                        struct arena *arena, void *layer)
{
    union mamba1_layer *out = layer;
    if (form == PACKED_BY_UNIT)
        mamba1_carve_units(dims, needs, arena, &out->u);
    else
        carve_float(dims, arena, &out->f);
}
