// SPDX-License-Identifier: Apache-2.0
// The weights of a layer of Mamba-1 by unit: how each lies, and what it is in the basis of the layer.
#include <string.h>

#include "mamba1_parts.h"
#include "ssmsweep/arch/pack.h"

_Static_assert((int)UNIT_IN_PROJ + 1 == (int)TENSOR_IN_PROJ && (int)UNIT_CONV_W + 1 == (int)TENSOR_CONV_W &&
                   (int)UNIT_A_LOG + 1 == (int)TENSOR_A_LOG && (int)UNIT_OUT_PROJ + 1 == (int)TENSOR_OUT_PROJ,
               "units of weights are the tensors behind the norm");
_Static_assert(sizeof(union mamba1_layer) <= ARCH_MOST_POINTERS_BYTES, "room for the pointers of a layer");

// ---- what a setting asks for ----

bool mamba1_takes_codes(const struct setting *setting, enum mamba1_unit weight)
{
    const enum format format = (enum format)setting->of[weight];
    if (format == FORMAT_FLOAT || format == FORMAT_FP16) return false;
    switch (weight) {
    case UNIT_IN_PROJ:
        return weight_meets_codes((enum format)setting->of[UNIT_IN_PROJ_INPUT]);
    case UNIT_CONV_W: // its taps are of several tokens, which share a scale or are values
        return weight_meets_codes((enum format)setting->of[UNIT_CONV1D_INPUT]) &&
               setting->of[UNIT_CONV1D_INPUT] != FORMAT_DYNAMIC_TOKEN;
    case UNIT_X_PROJ:
        return weight_meets_codes((enum format)setting->of[UNIT_X_PROJ_INPUT]);
    case UNIT_DT_PROJ:
        return weight_meets_codes((enum format)setting->of[UNIT_DT_PROJ_INPUT]);
    case UNIT_OUT_PROJ:
        return weight_meets_codes((enum format)setting->of[UNIT_OUT_PROJ_INPUT]);
    default:
        return false;
    }
}

void mamba1_need(const struct setting *setting, struct needs *needs)
{
    for (int w = 0; w < MAMBA1_WEIGHTS; w++)
        needs->of[w] |=
            weight_need_bit((enum format)setting->of[w], mamba1_takes_codes(setting, (enum mamba1_unit)w));
}

// ---- shapes ----

static struct weight_shape shape_of(const struct dims *d, enum mamba1_unit weight)
{
    const int D = d->d_model, I = d->d_inner, R = d->dt_rank, N = d->d_state;
    const struct leading ld = leading_of(d);
    switch (weight) {
    case UNIT_IN_PROJ:
        return (struct weight_shape){WEIGHT_PROJECTION,         2 * I, D,   2 * ld.I,
                                     {{0, I, 0}, {I, I, ld.I}}, 2,     {0}, 0};
    case UNIT_X_PROJ:
        return (struct weight_shape){WEIGHT_PROJECTION,
                                     R + 2 * N,
                                     I,
                                     ld.dbl,
                                     {{0, R, 0}, {R, N, ld.R}, {R + N, N, ld.R + ld.N}},
                                     3,
                                     {0},
                                     0};
    case UNIT_DT_PROJ:
        return (struct weight_shape){WEIGHT_PROJECTION, I, R, ld.I, {{0, I, 0}}, 1, {0}, 0};
    case UNIT_OUT_PROJ:
        return (struct weight_shape){WEIGHT_PROJECTION, D, I, ld.D, {{0, D, 0}}, 1, {0}, 0};
    case UNIT_CONV_W:
        return (struct weight_shape){.kind = WEIGHT_CHANNELS, .rows = I, .depth = d->d_conv, .padded = ld.I};
    case UNIT_A_LOG:
        return (struct weight_shape){.kind = WEIGHT_DECAYS, .rows = I, .depth = d->d_state, .padded = ld.I};
    default:
        return (struct weight_shape){.kind = WEIGHT_CHANNELS, .rows = I, .depth = 1, .padded = ld.I};
    }
}

int mamba1_depth(const struct dims *dims, int unit)
{
    if (unit >= MAMBA1_WEIGHTS) return 0;
    const struct weight_shape shape = shape_of(dims, (enum mamba1_unit)unit);
    return shape.kind == WEIGHT_PROJECTION ? shape.depth : 0;
}

void mamba1_carve_units(const struct dims *d, const struct needs *needs, struct arena *arena,
                        struct unit_layer *layer)
{
    for (int w = 0; w < MAMBA1_WEIGHTS; w++) {
        const struct weight_shape shape = shape_of(d, (enum mamba1_unit)w);
        weight_carve(&shape, needs->of[w], arena, layer->of[w]);
    }
}

bool mamba1_same_weight(const struct dims *dims, const void *layer, int unit, enum format a, enum format b)
{
    const struct unit_layer *of = layer;
    if (unit >= MAMBA1_WEIGHTS) return false;
    const struct weight_shape shape = shape_of(dims, (enum mamba1_unit)unit);
    return weight_is_same(&shape, of->of[unit][a], of->of[unit][b]);
}

// ---- the weights as they come ----

static float *values_of(const struct packing *p, enum mamba1_unit weight)
{
    const struct tensor *const *m = &p->model->tensors[p->layer * MAMBA1_TENSORS];
    if (weight == UNIT_IN_PROJ) return mamba1_rotated_in_proj(p, m);
    if (weight == UNIT_OUT_PROJ) return mamba1_rotated_out_proj(p, m);
    return pack_load(p->scratch, m[weight + 1]);
}

static void load_weight(const struct packing *p, enum mamba1_unit weight, struct loaded_weight *loaded)
{
    *loaded = (struct loaded_weight){0};
    if (model_is_codes(p->model)) {
        mamba1_load_given(p, weight, loaded);
        return;
    }
    loaded->values = values_of(p, weight);
    if (p->model->scales) loaded->own_scale = model_scales(p->model, p->layer)[MAMBA1_SITES + weight + 1];
}

const float *mamba1_weight_values(const struct packing *packing, int unit, int *rows, int *depth)
{
    const struct weight_shape shape = shape_of(&packing->model->dims, (enum mamba1_unit)unit);
    struct loaded_weight loaded;
    load_weight(packing, (enum mamba1_unit)unit, &loaded);
    *rows = shape.rows;
    *depth = shape.depth;
    return loaded.values;
}

static void pack_weight(const struct packing *p, enum mamba1_unit weight, struct unit_layer *layer)
{
    const struct weight_shape shape = shape_of(&p->model->dims, weight);
    struct loaded_weight loaded;
    load_weight(p, weight, &loaded);
    weight_pack(p, &shape, p->needs->of[weight], &loaded, layer->of[weight]);
}

// Scratch is given back after each tensor, so that the next one finds it in the cache.
void mamba1_pack_units(const struct packing *p, struct unit_layer *layer)
{
    const size_t mark = p->scratch->used_bytes;
    for (int w = 0; w < MAMBA1_WEIGHTS; w++) {
        if (p->needs->of[w]) pack_weight(p, (enum mamba1_unit)w, layer);
        p->scratch->used_bytes = mark;
    }
}
