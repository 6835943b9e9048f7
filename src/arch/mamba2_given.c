// SPDX-License-Identifier: Apache-2.0
// Layers of a quantized checkpoint of Mamba-2: their weights as they come, and as floats.  What they hold was
// checked when they were bound.
#include <string.h>

#include "codes_parts.h"
#include "mamba2_parts.h"
#include "ssmsweep/arch/codes4.h"
#include "ssmsweep/arch/pack.h"

static const struct tensor *tensor_of(const struct packing *p, enum mamba2_tensor tensor)
{
    return model_tensor(p->model, p->layer, (int)tensor);
}

// Ends of the parts of in_proj's outputs.
static void find_ends(const struct dims *d, int ends[MAMBA2_PARTS])
{
    const struct mamba2_width w = mamba2_width_of(d);
    ends[PART_Z] = w.I;
    ends[PART_X] = ends[PART_Z] + w.I;
    ends[PART_B] = ends[PART_X] + w.BC;
    ends[PART_C] = ends[PART_B] + w.BC;
    ends[PART_DT] = ends[PART_C] + w.H;
}

// What the codes of in_proj's outputs mean behind it: [2I + 2GN + H].
static float *output_scales(const struct packing *p)
{
    static const enum mamba2_site sites[MAMBA2_PARTS] = {MAMBA2_SITE_Z, MAMBA2_SITE_X_IN, MAMBA2_SITE_B_IN,
                                                         MAMBA2_SITE_C_IN, MAMBA2_SITE_DT};
    int ends[MAMBA2_PARTS];
    find_ends(&p->model->dims, ends);
    float *scales = pack_take(p->scratch, ends[PART_DT]);
    for (int n = 0, part = 0; n < ends[PART_DT]; n++) {
        if (n == ends[part]) part++;
        scales[n] = model_scales(p->model, p->layer)[sites[part]];
    }
    return scales;
}

// ---- scales of rows ----

// s_W / s_o of in_proj's outputs as they are; s_W of a part is that of its first output.
static void set_in_proj(const struct packing *p, struct loaded_weight *loaded)
{
    struct error ignored = {0};
    int ends[MAMBA2_PARTS];
    find_ends(&p->model->dims, ends);
    float *factors = pack_take(p->scratch, round_up16(ends[PART_DT])), *scales = output_scales(p);
    mamba2_in_proj_steps(p->model, p->layer, factors, &ignored);
    for (int part = 0, n = 0; part < MAMBA2_PARTS; part++) {
        const float scale = factors[n] * scales[n];
        while (n < ends[part])
            scales[n++] = scale;
    }
    loaded->factors = factors;
    loaded->scales = scales;
}

// conv1d's weight or bias: a scale for each of x, B, C.
static void set_conv(const struct packing *p, bool bias, struct loaded_weight *loaded)
{
    const struct mamba2_width w = mamba2_width_of(&p->model->dims);
    struct error ignored = {0};
    float parts[6], *scales = pack_take(p->scratch, w.conv);
    mamba2_part_scales(p->model, p->layer, parts, &ignored);
    for (int i = 0; i < w.conv; i++)
        scales[i] = parts[(bias ? 3 : 0) + (i >= w.I) + (i >= w.I + w.BC)];
    loaded->scales = scales;
}

static void load_codes(const struct packing *p, enum mamba2_tensor index, struct loaded_weight *loaded)
{
    const struct tensor *tensor = tensor_of(p, index);
    const long count = (long)tensor_elements(tensor), depth = tensor->dims > 1 ? (long)tensor->shape[1] : 1;
    const bool rows = index == MAMBA2_IN_PROJ || index == MAMBA2_CONV_W || index == MAMBA2_CONV_B;
    int8_t *codes = arena_take(p->scratch, (size_t)count + KERNEL_LANES);
    loaded->values = pack_load_codes(p->scratch, tensor, 1.0f, codes);
    loaded->given = FORMAT_INT8;
    loaded->codes = codes;
    loaded->scales = &model_scales(p->model, p->layer)[MAMBA2_SITES + index];
    if (index == MAMBA2_IN_PROJ) set_in_proj(p, loaded);
    if (rows && index != MAMBA2_IN_PROJ) set_conv(p, index == MAMBA2_CONV_B, loaded);
    for (long i = 0; i < count; i++)
        loaded->values[i] *= loaded->scales[rows ? i / depth : 0];
}

// The file has s_ch / s_o of in_proj.
static void load_four_bits(const struct packing *p, enum mamba2_tensor index, struct loaded_weight *loaded)
{
    const struct dims *d = &p->model->dims;
    const bool in_proj = index == MAMBA2_IN_PROJ;
    const int outputs = in_proj ? (int)arch_size(EXTENT_2I_2GN_H, d) : d->d_model;
    char name[CODES_NAME_CHARS];
    codes_layer_name(p->layer, in_proj ? "mixer.in_proj" : "mixer.out_proj", name);
    const struct codes4 codes = codes4_find(p->model, name, outputs, in_proj ? d->d_model : d->d_inner);
    codes4_load_weight(&codes, p->kernels, p->scratch, in_proj && codes.a8 ? output_scales(p) : NULL, 1,
                       loaded);
}

void mamba2_load_given(const struct packing *p, enum mamba2_tensor tensor, struct loaded_weight *loaded)
{
    *loaded = (struct loaded_weight){0};
    switch (tensor_of(p, tensor)->dtype) {
    case DTYPE_I8:
        load_codes(p, tensor, loaded);
        break;
    case DTYPE_I32:
        load_four_bits(p, tensor, loaded);
        break;
    default:
        loaded->values = pack_load(p->scratch, tensor_of(p, tensor));
        loaded->given = FORMAT_FP16;
    }
}

// ---- as floats ----

static float *floats_of(const struct packing *p, enum mamba2_tensor tensor)
{
    struct loaded_weight loaded;
    mamba2_load_given(p, tensor, &loaded);
    return loaded.values;
}

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

static void dequantize_projections(const struct packing *p, bool half, struct mamba2_float_layer *out)
{
    const int D = p->model->dims.d_model;
    const struct mamba2_width w = mamba2_width_of(&p->model->dims);
    const int rows = w.I + w.conv + w.H;
    const size_t mark = p->scratch->used_bytes;
    float *values = floats_of(p, MAMBA2_IN_PROJ);
    for (int n = 0; n < rows; n++)
        p->kernels->hadamard(&p->rotations->model.inverse, values + (long)n * D);
    pack_rows_of(p, values, rows, D, 0, w.I, half, out->in_proj);
    pack_rows_of(p, values, rows, D, w.I, w.conv, half, out->in_proj + (long)w.ldI * D);
    pack_rows_of(p, values, rows, D, w.I + w.conv, w.H, half, out->in_proj + (long)(w.ldI + w.ld_conv) * D);
    p->scratch->used_bytes = mark;
    values = floats_of(p, MAMBA2_OUT_PROJ);
    pack_rotate_columns(p->kernels, p->scratch, &p->rotations->model.inverse, values, D, w.I);
    for (int n = 0; n < D; n++)
        p->kernels->hadamard(&p->rotations->inner.inverse, values + (long)n * w.I);
    pack_rows_of(p, values, D, w.I, 0, D, half, out->out_proj);
    p->scratch->used_bytes = mark;
}

void mamba2_dequantize(const struct packing *p, bool half, struct mamba2_float_layer *out)
{
    const struct dims *d = &p->model->dims;
    const struct mamba2_width w = mamba2_width_of(d);
    dequantize_projections(p, half, out);
    float *weight = floats_of(p, MAMBA2_CONV_W), *bias = floats_of(p, MAMBA2_CONV_B),
          *gate = floats_of(p, MAMBA2_GATE);
    if (half) {
        const long taps = (long)w.conv * d->d_conv;
        p->kernels->round_half(weight, (taps + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES);
        p->kernels->round_half(bias, w.ld_conv);
        p->kernels->round_half(gate, w.ldI);
    }
    pack_transposed(weight, w.conv, d->d_conv, w.ld_conv, out->conv_w);
    pack_vector(bias, w.conv, w.ld_conv, out->conv_b);
    pack_vector(gate, w.I, w.ldI, out->gate);
    pack_vector(pack_view(p->kernels, p->scratch, tensor_of(p, MAMBA2_NORM), false), d->d_model, w.ldD,
                out->norm);
    pack_vector(floats_of(p, MAMBA2_D_SKIP), w.H, w.ldH, out->D_skip);
    pack_vector(floats_of(p, MAMBA2_DT_BIAS), w.H, w.ldH, out->dt_bias);
    mamba2_pack_decay(p, floats_of(p, MAMBA2_A_LOG), out->A);
}
