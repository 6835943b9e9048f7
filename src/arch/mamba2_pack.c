// SPDX-License-Identifier: Apache-2.0
// The weights of a layer of Mamba-2 in the form of its steps.
#include "mamba2_parts.h"
#include "ssmsweep/arch/pack.h"

size_t mamba2_scratch_bytes(const struct dims *d)
{
    const long I = d->d_inner, D = d->d_model, conv = (long)arch_size(EXTENT_I_2GN, d);
    const long layer = (long)arch_size(EXTENT_2I_2GN_H, d) * D + I * D + conv * (d->d_conv + 1) + I + D;
    return (size_t)(layer + 2L * KERNEL_LANES * (D + I)) * sizeof(float) + ((size_t)1 << 16);
}

// -exp(A_log), by the project's own exp, so that the bits do not depend on a library.
static void pack_decay(const struct packing *p, float *A_log, float *out)
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
    pack_decay(p, pack_load(p->scratch, model_tensor(p->model, p->layer, MAMBA2_A_LOG)), out->A);
}

void mamba2_pack(const struct packing *p, enum packed_form form, void *layer)
{
    const struct mamba2_width w = mamba2_width_of(&p->model->dims);
    const struct tensor *in_proj = model_tensor(p->model, p->layer, MAMBA2_IN_PROJ);
    const struct panel_recipe recipe = {.half = form == PACKED_FP16};
    struct mamba2_float_layer *out = layer;
    if (form == PACKED_BY_UNIT) return;
    float *conv = pack_panels(p->kernels, p->scratch, in_proj, 0, w.I, recipe, out->in_proj);
    float *dt = pack_panels(p->kernels, p->scratch, in_proj, w.I, w.conv, recipe, conv);
    pack_panels(p->kernels, p->scratch, in_proj, w.I + w.conv, w.H, recipe, dt);
    pack_panels(p->kernels, p->scratch, model_tensor(p->model, p->layer, MAMBA2_OUT_PROJ), 0,
                p->model->dims.d_model, recipe, out->out_proj);
    pack_small(p, recipe.half, out);
}

void mamba2_carve_layer(const struct dims *d, enum packed_form form, const struct needs *needs,
                        struct arena *arena, void *layer)
{
    (void)needs;
    const struct mamba2_width w = mamba2_width_of(d);
    struct mamba2_float_layer *out = layer;
    *out = (struct mamba2_float_layer){0};
    if (form == PACKED_BY_UNIT) return;
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
