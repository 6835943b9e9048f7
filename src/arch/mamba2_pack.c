// SPDX-License-Identifier: Apache-2.0
// The weights of a layer of Mamba-2 in the form of its steps.
#include <math.h>
#include <string.h>

#include "mamba2_parts.h"
#include "ssmsweep/arch/pack.h"

size_t mamba2_scratch_bytes(const struct dims *d)
{
    const long I = d->d_inner, D = d->d_model, conv = (long)arch_size(EXTENT_I_2GN, d);
    const long rows = (long)arch_size(EXTENT_2I_2GN_H, d), in_proj = rows * D, out_proj = I * D;
    const long small = 6 * conv * (d->d_conv + 1) + 4 * (rows + I + D) + 8L * d->n_heads;
    // The larger weight as it comes, what codes stand for, and both as codes.
    const long most = in_proj > out_proj ? in_proj : out_proj;
    return (size_t)(2 * most + most / 2 + small + 4L * KERNEL_LANES * (D + I)) * sizeof(float) +
           ((size_t)1 << 16);
}

// -exp(A_log), by the project's own exp, so that the bits do not depend on a library.
void mamba2_pack_decay(const struct packing *p, float *A_log, float *out)
{
    const int H = p->model->dims.n_heads, ldH = round_up16(H);
    p->kernels->exp(A_log, ldH, A_log);
    for (int h = 0; h < ldH; h++)
        out[h] = h < H ? -A_log[h] : 0.0f;
}

static void pack_small(const struct packing *p, bool half, struct mamba2_float_layer *out)
{
    const struct dims *d = &p->model->dims;
    const struct mamba2_width w = mamba2_width_of(d);
    const struct {
        int tensor, count, ld;
        bool halves;
        float *out;
    } vectors[] = {{MAMBA2_NORM, d->d_model, w.ldD, false, out->norm},
                   {MAMBA2_CONV_B, w.conv, w.ld_conv, true, out->conv_b},
                   {MAMBA2_DT_BIAS, w.H, w.ldH, false, out->dt_bias},
                   {MAMBA2_D_SKIP, w.H, w.ldH, false, out->D_skip},
                   {MAMBA2_GATE, w.I, w.ldI, true, out->gate}};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
        pack_vector(pack_view(p->kernels, p->scratch, model_tensor(p->model, p->layer, vectors[i].tensor),
                              half && vectors[i].halves),
                    vectors[i].count, vectors[i].ld, vectors[i].out);
    pack_transposed(pack_view(p->kernels, p->scratch, model_tensor(p->model, p->layer, MAMBA2_CONV_W), half),
                    w.conv, d->d_conv, w.ld_conv, out->conv_w);
    mamba2_pack_decay(p, pack_load(p->scratch, model_tensor(p->model, p->layer, MAMBA2_A_LOG)), out->A);
}

// ---- in the order and the basis of the weights by unit ----

// Row i becomes what row order[i] was; a row has so many floats.
static void move_rows(struct arena *scratch, float *rows, long width, const int32_t *order, int count)
{
    const size_t mark = scratch->used_bytes, bytes = (size_t)width * sizeof *rows;
    float *held = pack_take(scratch, width);
    unsigned char *done = arena_take(scratch, (size_t)count);
    memset(done, 0, (size_t)count);
    for (int start = 0; start < count; start++) { // along each cycle
        if (done[start] || order[start] == start) continue;
        int at = start;
        memcpy(held, rows + at * width, bytes);
        for (; order[at] != start; at = order[at]) {
            memcpy(rows + at * width, rows + order[at] * width, bytes);
            done[at] = 1;
        }
        memcpy(rows + at * width, held, bytes);
        done[at] = 1;
    }
    scratch->used_bytes = mark;
}

// A tensor as float32, to be altered, in the order in which the weights by unit are.
float *mamba2_load(const struct packing *p, enum mamba2_tensor tensor)
{
    const struct dims *d = &p->model->dims;
    const struct layer_groups *groups = p->groups;
    const int I = d->d_inner, H = d->n_heads;
    float *values = pack_load(p->scratch, model_tensor(p->model, p->layer, (int)tensor));
    if (!groups) return values;
    switch (tensor) {
    case MAMBA2_IN_PROJ: {
        const long D = d->d_model, dt = 2L * I + 2L * d->n_groups * d->d_state;
        move_rows(p->scratch, values, D, groups->channels, I);         // z
        move_rows(p->scratch, values + I * D, D, groups->channels, I); // x
        move_rows(p->scratch, values + dt * D, D, groups->heads, H);
        break;
    }
    case MAMBA2_CONV_W:
        move_rows(p->scratch, values, d->d_conv, groups->channels, I);
        break;
    case MAMBA2_CONV_B:
    case MAMBA2_GATE:
        move_rows(p->scratch, values, 1, groups->channels, I);
        break;
    case MAMBA2_DT_BIAS:
    case MAMBA2_A_LOG:
    case MAMBA2_D_SKIP:
        move_rows(p->scratch, values, 1, groups->heads, H);
        break;
    case MAMBA2_OUT_PROJ:
        for (int n = 0; n < d->d_model; n++)
            move_rows(p->scratch, values + (long)n * I, 1, groups->channels, I);
        break;
    default:
        break;
    }
    return values;
}

// had_rows(W_in diag(w_norm))
float *mamba2_rotated_in_proj(const struct packing *p)
{
    const int D = p->model->dims.d_model, rows = (int)arch_size(EXTENT_2I_2GN_H, &p->model->dims);
    const float *norm =
        pack_view(p->kernels, p->scratch, model_tensor(p->model, p->layer, MAMBA2_NORM), false);
    float *in_proj = mamba2_load(p, MAMBA2_IN_PROJ);
    for (int n = 0; n < rows; n++) {
        float *row = in_proj + (long)n * D;
        for (int k = 0; k < D; k++)
            row[k] *= norm[k];
        p->kernels->hadamard(&p->rotations->model.forward, row);
    }
    return in_proj;
}

// had over both axes of W_out [D, I].
float *mamba2_rotated_out_proj(const struct packing *p)
{
    const int D = p->model->dims.d_model, I = p->model->dims.d_inner;
    float *out_proj = mamba2_load(p, MAMBA2_OUT_PROJ);
    for (int n = 0; n < D; n++)
        p->kernels->hadamard(&p->rotations->inner.forward, out_proj + (long)n * I);
    pack_rotate_columns(p->kernels, p->scratch, &p->rotations->model.forward, out_proj, D, I);
    return out_proj;
}

void mamba2_pack(const struct packing *p, enum packed_form form, void *layer)
{
    const struct mamba2_width w = mamba2_width_of(&p->model->dims);
    const struct tensor *in_proj = model_tensor(p->model, p->layer, MAMBA2_IN_PROJ);
    const struct panel_recipe recipe = {.half = form == PACKED_FP16};
    struct mamba2_float_layer *out = layer;
    if (form == PACKED_BY_UNIT) {
        mamba2_pack_units(p, layer);
        return;
    }
    if (model_is_codes(p->model)) {
        mamba2_dequantize(p, recipe.half, out);
        return;
    }
    float *conv = pack_panels(p->kernels, p->scratch, in_proj, 0, w.I, recipe, out->in_proj);
    float *dt = pack_panels(p->kernels, p->scratch, in_proj, w.I, w.conv, recipe, conv);
    pack_panels(p->kernels, p->scratch, in_proj, w.I + w.conv, w.H, recipe, dt);
    pack_panels(p->kernels, p->scratch, model_tensor(p->model, p->layer, MAMBA2_OUT_PROJ), 0,
                p->model->dims.d_model, recipe, out->out_proj);
    pack_small(p, recipe.half, out);
}

static void carve_float(const struct dims *d, struct arena *arena, struct mamba2_float_layer *out)
{
    const struct mamba2_width w = mamba2_width_of(d);
    out->norm = pack_floats(arena, w.ldD);
    out->in_proj = pack_floats(arena, (long)w.ld_in * d->d_model);
    out->conv_w = pack_floats(arena, (long)d->d_conv * w.ld_conv);
    out->conv_b = pack_floats(arena, w.ld_conv);
    out->dt_bias = pack_floats(arena, w.ldH);
    out->A = pack_floats(arena, w.ldH);
    out->D_skip = pack_floats(arena, w.ldH);
    out->gate = pack_floats(arena, w.ldI);
    out->out_proj = pack_floats(arena, (long)w.ldD * d->d_inner);
}

void mamba2_carve_layer(const struct dims *d, enum packed_form form, const struct needs *needs,
                        struct arena *arena, void *layer)
{
    union mamba2_layer *out = layer;
    if (form == PACKED_BY_UNIT)
        mamba2_carve_units(d, needs, arena, &out->u);
    else
        carve_float(d, arena, &out->f);
}
