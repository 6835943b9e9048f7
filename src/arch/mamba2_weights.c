// SPDX-License-Identifier: Apache-2.0
// The weights of a layer of Mamba-2 by unit: how each lies, and what it is in the basis of the layer.
#include <string.h>

#include "mamba2_parts.h"
#include "ssmsweep/arch/pack.h"

_Static_assert(sizeof(union mamba2_layer) <= ARCH_MOST_POINTERS_BYTES, "room for the pointers of a layer");

static const enum mamba2_tensor tensors_of[MAMBA2_WEIGHTS] = {
    [MAMBA2_UNIT_IN_PROJ] = MAMBA2_IN_PROJ, [MAMBA2_UNIT_CONV_W] = MAMBA2_CONV_W,
    [MAMBA2_UNIT_CONV_B] = MAMBA2_CONV_B,   [MAMBA2_UNIT_DT_BIAS] = MAMBA2_DT_BIAS,
    [MAMBA2_UNIT_A_LOG] = MAMBA2_A_LOG,     [MAMBA2_UNIT_D_SKIP] = MAMBA2_D_SKIP,
    [MAMBA2_UNIT_GATE] = MAMBA2_GATE,       [MAMBA2_UNIT_OUT_PROJ] = MAMBA2_OUT_PROJ};

// ---- what a setting asks for ----

bool mamba2_takes_codes(const struct setting *setting, enum mamba2_unit weight)
{
    const enum format format = (enum format)setting->of[weight],
                      conv = (enum format)setting->of[MAMBA2_UNIT_CONV1D_INPUT];
    if (format == FORMAT_FLOAT || format == FORMAT_FP16) return false;
    switch (weight) {
    case MAMBA2_UNIT_IN_PROJ:
        return weight_meets_codes((enum format)setting->of[MAMBA2_UNIT_IN_PROJ_INPUT]);
    case MAMBA2_UNIT_CONV_W: // its taps are of several tokens, which share a scale or are values
        return weight_meets_codes(conv) && conv != FORMAT_DYNAMIC_TOKEN;
    case MAMBA2_UNIT_OUT_PROJ:
        return weight_meets_codes((enum format)setting->of[MAMBA2_UNIT_OUT_PROJ_INPUT]);
    default:
        return false;
    }
}

void mamba2_need(const struct setting *setting, struct needs *needs)
{
    for (int w = 0; w < MAMBA2_WEIGHTS; w++)
        needs->of[w] |=
            weight_need_bit((enum format)setting->of[w], mamba2_takes_codes(setting, (enum mamba2_unit)w));
}

// ---- shapes ----

static struct weight_shape shape_of(const struct dims *d, enum mamba2_unit weight)
{
    const struct mamba2_width w = mamba2_width_of(d);
    const int I = w.I, BC = w.BC, D = d->d_model;
    switch (weight) {
    case MAMBA2_UNIT_IN_PROJ:
        return (struct weight_shape){
            .kind = WEIGHT_PROJECTION,
            .rows = I + w.conv + w.H,
            .depth = D,
            .padded = w.ld_in,
            .segments = {{0, I, 0}, {I, w.conv, w.ldI}, {I + w.conv, w.H, w.ldI + w.ld_conv}},
            .n_segments = 3,
            .part_ends = {I, 2 * I, 2 * I + BC, 2 * I + 2 * BC, 2 * I + 2 * BC + w.H},
            .n_parts = MAMBA2_PARTS};
    case MAMBA2_UNIT_OUT_PROJ:
        return (struct weight_shape){.kind = WEIGHT_PROJECTION,
                                     .rows = D,
                                     .depth = I,
                                     .padded = w.ldD,
                                     .segments = {{0, D, 0}},
                                     .n_segments = 1};
    case MAMBA2_UNIT_CONV_W:
    case MAMBA2_UNIT_CONV_B:
        return (struct weight_shape){.kind = WEIGHT_CHANNELS,
                                     .rows = w.conv,
                                     .depth = weight == MAMBA2_UNIT_CONV_W ? d->d_conv : 1,
                                     .padded = w.ld_conv,
                                     .part_ends = {I, I + BC, I + 2 * BC},
                                     .n_parts = 3};
    case MAMBA2_UNIT_GATE:
        return (struct weight_shape){.kind = WEIGHT_CHANNELS, .rows = I, .depth = 1, .padded = w.ldI};
    default:
        return (struct weight_shape){.kind = weight == MAMBA2_UNIT_A_LOG ? WEIGHT_DECAYS : WEIGHT_CHANNELS,
                                     .rows = w.H,
                                     .depth = 1,
                                     .padded = w.ldH};
    }
}

int mamba2_depth(const struct dims *dims, int unit)
{
    if (unit >= MAMBA2_WEIGHTS) return 0;
    const struct weight_shape shape = shape_of(dims, (enum mamba2_unit)unit);
    return shape.kind == WEIGHT_PROJECTION ? shape.depth : 0;
}

void mamba2_carve_units(const struct dims *d, const struct needs *needs, struct arena *arena,
                        struct mamba2_unit_layer *layer)
{
    layer->conv_steps = pack_floats(arena, mamba2_width_of(d).ld_conv);
    for (int w = 0; w < MAMBA2_WEIGHTS; w++) {
        const struct weight_shape shape = shape_of(d, (enum mamba2_unit)w);
        weight_carve(&shape, needs->of[w], arena, layer->of[w]);
    }
}

// ---- the weights as they come ----

static float *values_of(const struct packing *p, enum mamba2_unit weight)
{
    if (weight == MAMBA2_UNIT_IN_PROJ) return mamba2_rotated_in_proj(p);
    if (weight == MAMBA2_UNIT_OUT_PROJ) return mamba2_rotated_out_proj(p);
    return mamba2_load(p, tensors_of[weight]);
}

static void pack_weight(const struct packing *p, enum mamba2_unit weight, struct mamba2_unit_layer *layer)
{
    const struct weight_shape shape = shape_of(&p->model->dims, weight);
    struct loaded_weight loaded = {0};
    if (model_is_codes(p->model))
        mamba2_load_given(p, tensors_of[weight], &loaded);
    else
        loaded.values = values_of(p, weight);
    weight_pack(p, &shape, p->needs->of[weight], &loaded, layer->of[weight]);
}

void mamba2_pack_units(const struct packing *p, struct mamba2_unit_layer *layer)
{
    const size_t mark = p->scratch->used_bytes,
                 steps = (size_t)mamba2_width_of(&p->model->dims).ld_conv * sizeof *layer->conv_steps;
    struct error ignored = {0};
    memset(layer->conv_steps, 0, steps);
    if (model_is_codes(p->model) && model_layer_kind(p->model, p->layer) != MODEL_W4A16)
        mamba2_conv_steps(p->model, p->layer, layer->conv_steps, &ignored);
    for (int w = 0; w < MAMBA2_WEIGHTS; w++) {
        if (p->needs->of[w]) pack_weight(p, (enum mamba2_unit)w, layer);
        p->scratch->used_bytes = mark;
    }
}
