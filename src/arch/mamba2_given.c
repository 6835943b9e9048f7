// SPDX-License-Identifier: Apache-2.0
// Layers of a W8A8 checkpoint of Mamba-2: their codes and scales as they are, and as floats.  What they hold
// was checked when they were bound.
#include <string.h>

#include "mamba2_parts.h"
#include "ssmsweep/arch/pack.h"

static const struct tensor *tensor_of(const struct packing *p, enum mamba2_tensor tensor)
{
    return model_tensor(p->model, p->layer, (int)tensor);
}

static float scale_of(const struct packing *p, enum mamba2_tensor tensor)
{
    return model_scales(p->model, p->layer)[MAMBA2_SITES + tensor];
}

static int8_t *take_codes(const struct packing *p)
{
    const struct dims *d = &p->model->dims;
    const size_t in_proj = (size_t)arch_size(EXTENT_2I_2GN_H, d) * (size_t)d->d_model,
                 out_proj = (size_t)d->d_model * (size_t)d->d_inner;
    return arena_take(p->scratch, (in_proj > out_proj ? in_proj : out_proj) + KERNEL_LANES);
}

// s_W / s_o of in_proj's outputs, from the order of the file to that of memory.
static void spread_steps(const struct packing *p, float *given)
{
    const struct mamba2_width w = mamba2_width_of(&p->model->dims);
    float *steps = pack_take(p->scratch, round_up16(w.I + w.conv + w.H));
    struct error ignored = {0};
    mamba2_in_proj_steps(p->model, p->layer, steps, &ignored);
    memset(given, 0, (size_t)w.ld_in * sizeof *given);
    memcpy(given, steps, (size_t)w.I * sizeof *given);
    memcpy(given + w.ldI, steps + w.I, (size_t)w.conv * sizeof *given);
    memcpy(given + w.ldI + w.ld_conv, steps + w.I + w.conv, (size_t)w.H * sizeof *given);
}

// Scales of the parts of in_proj: those of their first outputs.
static void find_part_scales(const struct packing *p, const float *given, float scales[MAMBA2_PARTS])
{
    static const enum mamba2_site sites[MAMBA2_PARTS] = {MAMBA2_SITE_Z, MAMBA2_SITE_X_IN, MAMBA2_SITE_B_IN,
                                                         MAMBA2_SITE_C_IN, MAMBA2_SITE_DT};
    const struct mamba2_width w = mamba2_width_of(&p->model->dims);
    for (int part = 0; part < MAMBA2_PARTS; part++) {
        int first;
        mamba2_part_of(&w, (enum mamba2_part)part, &first);
        scales[part] = given[first] * model_scales(p->model, p->layer)[sites[part]];
    }
}

// conv1d's bias [I + 2GN], and its weight as codes (in scratch) with the scales of its parts.
static float *load_conv(const struct packing *p, int8_t *codes, float scales[6], float **bias)
{
    const struct mamba2_width w = mamba2_width_of(&p->model->dims);
    struct error ignored = {0};
    mamba2_part_scales(p->model, p->layer, scales, &ignored);
    float *weight = pack_load_codes(p->scratch, tensor_of(p, MAMBA2_CONV_W), 1.0f, codes); // as integers
    *bias = pack_load_codes(p->scratch, tensor_of(p, MAMBA2_CONV_B), 1.0f, codes);
    for (int i = 0; i < w.conv; i++)
        (*bias)[i] *= scales[3 + (i >= w.I) + (i >= w.I + w.BC)];
    return weight;
}

static void pack_projections(const struct packing *p, int8_t *codes, struct mamba2_unit_layer *out)
{
    const int D = p->model->dims.d_model;
    const struct mamba2_width w = mamba2_width_of(&p->model->dims);
    tensor_to_i8(tensor_of(p, MAMBA2_IN_PROJ), codes);
    uint8_t *conv = pack_codes(codes, 0, w.I, D, out->in_proj);
    uint8_t *dt = pack_codes(codes, w.I, w.conv, D, conv);
    pack_codes(codes, w.I + w.conv, w.H, D, dt);
    tensor_to_i8(tensor_of(p, MAMBA2_OUT_PROJ), codes);
    pack_codes(codes, 0, D, w.I, out->out_proj);
    *out->out_proj_scale = scale_of(p, MAMBA2_OUT_PROJ);
}

// A, D, dt_bias and the weight of the gated norm are alike in all forms but for rounding to FP16.
static void pack_heads(const struct packing *p, int8_t *codes, float *A, float *D_skip, float *dt_bias,
                       float *gate)
{
    const struct mamba2_width w = mamba2_width_of(&p->model->dims);
    const struct tensor *A_log = tensor_of(p, MAMBA2_A_LOG), *skip = tensor_of(p, MAMBA2_D_SKIP);
    mamba2_pack_decay(p, pack_load_codes(p->scratch, A_log, scale_of(p, MAMBA2_A_LOG), codes), A);
    pack_vector(pack_load_codes(p->scratch, skip, scale_of(p, MAMBA2_D_SKIP), codes), w.H, w.ldH, D_skip);
    pack_vector(pack_view(p->kernels, p->scratch, tensor_of(p, MAMBA2_DT_BIAS), true), w.H, w.ldH, dt_bias);
    pack_vector(pack_view(p->kernels, p->scratch, tensor_of(p, MAMBA2_GATE), true), w.I, w.ldI, gate);
}

void mamba2_pack_given(const struct packing *p, struct mamba2_unit_layer *out)
{
    const struct dims *d = &p->model->dims;
    const struct mamba2_width w = mamba2_width_of(d);
    int8_t *codes = take_codes(p);
    struct error ignored = {0};
    float scales[6], *bias;
    pack_projections(p, codes, out);
    spread_steps(p, out->given);
    find_part_scales(p, out->given, out->in_proj_scales);
    const float *weight = load_conv(p, codes, scales, &bias);
    for (int part = PART_X; part <= PART_C; part++)
        out->conv_w_scales[part] = scales[part - PART_X];
    pack_transposed(weight, w.conv, d->d_conv, w.ld_conv, out->conv_w);
    pack_vector(bias, w.conv, w.ld_conv, out->conv_b);
    memset(out->conv_steps, 0, (size_t)w.ld_conv * sizeof *out->conv_steps);
    mamba2_conv_steps(p->model, p->layer, out->conv_steps, &ignored);
    pack_heads(p, codes, out->A, out->D_skip, out->dt_bias, out->gate);
}

// ---- as floats ----

static void pack_rows_of(const struct packing *p, const float *values, int rows, int depth, int first,
                         int count, bool half, float *packed)
{
    const struct tensor made = {.dtype = DTYPE_F32,
                                .dims = 2,
                                .shape = {rows, depth},
                                .stride = {depth, 1},
                                .data = (const unsigned char *)values};
    pack_panels(p->kernels, p->scratch, &made, first, count, (struct panel_recipe){.half = half}, packed);
}

static void dequantize_in_proj(const struct packing *p, int8_t *codes, bool half, float *packed)
{
    const int D = p->model->dims.d_model;
    const struct mamba2_width w = mamba2_width_of(&p->model->dims);
    const int rows = w.I + w.conv + w.H;
    float *given = pack_take(p->scratch, w.ld_in), scales[MAMBA2_PARTS];
    spread_steps(p, given);
    find_part_scales(p, given, scales);
    float *values = pack_load_codes(p->scratch, tensor_of(p, MAMBA2_IN_PROJ), 1.0f, codes);
    const int ends[MAMBA2_PARTS] = {w.I, 2 * w.I, 2 * w.I + w.BC, 2 * w.I + 2 * w.BC, rows};
    for (int n = 0, part = 0; n < rows; n++) {
        if (n == ends[part]) part++;
        for (int k = 0; k < D; k++)
            values[(long)n * D + k] *= scales[part];
        p->kernels->hadamard(&p->rotations->model.inverse, values + (long)n * D);
    }
    pack_rows_of(p, values, rows, D, 0, w.I, half, packed);
    pack_rows_of(p, values, rows, D, w.I, w.conv, half, packed + (long)w.ldI * D);
    pack_rows_of(p, values, rows, D, w.I + w.conv, w.H, half, packed + (long)(w.ldI + w.ld_conv) * D);
}

void mamba2_dequantize(const struct packing *p, bool half, struct mamba2_float_layer *out)
{
    const struct dims *d = &p->model->dims;
    const struct mamba2_width w = mamba2_width_of(d);
    int8_t *codes = take_codes(p);
    const size_t mark = p->scratch->used_bytes;
    float scales[6], *bias;
    dequantize_in_proj(p, codes, half, out->in_proj);
    p->scratch->used_bytes = mark;
    float *values =
        pack_load_codes(p->scratch, tensor_of(p, MAMBA2_OUT_PROJ), scale_of(p, MAMBA2_OUT_PROJ), codes);
    pack_rotate_columns(p->kernels, p->scratch, &p->rotations->model.inverse, values, d->d_model, w.I);
    for (int n = 0; n < d->d_model; n++)
        p->kernels->hadamard(&p->rotations->inner.inverse, values + (long)n * w.I);
    pack_rows_of(p, values, d->d_model, w.I, 0, d->d_model, half, out->out_proj);
    p->scratch->used_bytes = mark;
    float *weight = load_conv(p, codes, scales, &bias);
    for (int i = 0; i < w.conv; i++)
        for (int k = 0; k < d->d_conv; k++)
            weight[(long)i * d->d_conv + k] *= scales[(i >= w.I) + (i >= w.I + w.BC)];
    if (half) {
        const long taps = (long)w.conv * d->d_conv;
        p->kernels->round_half(weight, (taps + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES);
        p->kernels->round_half(bias, w.ld_conv);
    }
    pack_transposed(weight, w.conv, d->d_conv, w.ld_conv, out->conv_w);
    pack_vector(bias, w.conv, w.ld_conv, out->conv_b);
    pack_vector(pack_view(p->kernels, p->scratch, tensor_of(p, MAMBA2_NORM), false), d->d_model, w.ldD,
                out->norm);
    pack_heads(p, codes, out->A, out->D_skip, out->dt_bias, out->gate);
}
