// SPDX-License-Identifier: Apache-2.0
// One layer by its setting (docs/numerics.md, "One quantized layer").  No name of a mode is known here.
#include "mamba1_parts.h"

// What one layer's steps share.
struct layer {
    const struct pass *pass;
    const struct backend *on;
    struct batch *batch;
    const struct dims *d;
    const struct mamba1_work *w;
    const struct w8a8_layer *p;
    const float *scale;   // [MAMBA1_SITES] of this layer
    const float *x_scale; // of the conv1d input
    const struct setting *setting;
    struct leading ld;
};

static enum format format_of(const struct layer *l, enum mamba1_unit unit)
{
    return (enum format)l->setting->of[unit];
}

// Quotients of scales are taken in double, then FP32.
static float ratio(float a, float b)
{
    return (float)((double)a / (double)b);
}

// r' += h'; n_q = sat8(rint(x̂' / s_in))
static void normalize(const struct layer *l)
{
    const struct norm norm = {.residual = l->pass->residual,
                              .h = l->pass->h,
                              .ld = l->ld.D,
                              .width = l->d->d_model,
                              .eps = l->d->norm_eps,
                              .codes = l->pass->codes,
                              .step = l->scale[SITE_IN_PROJ_INPUT]};
    l->on->norm(l->batch, &norm);
    l->on->find_broken(l->batch, l->pass->residual, l->ld.D, l->d->d_model);
}

// xz_q = sat8(rint((acc · (s_in/s_xz)) · s_Win)); where the mode has it, the x half as float, quantized by
// its own maximum over the sample.
static void project_in(const struct layer *l)
{
    const int inner = l->ld.I, depth = l->d->d_model;
    const float s_in = l->scale[SITE_IN_PROJ_INPUT], s_xz = l->scale[SITE_IN_PROJ_OUTPUT];
    struct gemm_s8 both = {.a = l->pass->codes,
                           .lda = l->ld.D,
                           .w = l->p->in_proj,
                           .depth = depth,
                           .result = GEMM_S8_CODES,
                           .first = ratio(s_in, s_xz),
                           .second = l->p->scale[TENSOR_IN_PROJ],
                           .out = l->w->xz_codes,
                           .ldo = 2L * inner};
    if (format_of(l, UNIT_CONV1D_INPUT) == FORMAT_INT8) {
        l->on->product_s8(l->batch, &both, 2 * inner);
        return;
    }
    struct gemm_s8 z = both;
    z.w += (long)inner * ((depth + 3) / 4 * 4);
    z.out = l->w->xz_codes + inner;
    l->on->product_s8(l->batch, &z, inner);
    struct gemm_s8 x = both;
    x.bias128 = z.bias128; // of the same codes
    x.result = GEMM_S8_FLOAT;
    x.first = l->p->scale[TENSOR_IN_PROJ], x.second = s_in;
    x.out = l->w->v, x.ldo = inner;
    l->on->product_s8(l->batch, &x, inner);
    l->on->quantize_dynamic(l->batch, l->w->v, inner, l->w->xz_codes, 2L * inner, l->w->x_scale);
}

// v = silu((s_w s_x) · taps + b_q s_b); codes for x_proj, the float value where the mode wants it.
static void convolve(const struct layer *l)
{
    const bool int8 = format_of(l, UNIT_CONV1D_OUTPUT) == FORMAT_INT8;
    const struct conv1d conv1d = {.x_codes = l->w->xz_codes,
                                  .ldx = 2L * l->ld.I,
                                  .w = l->p->conv_w,
                                  .b = l->p->conv_b,
                                  .ldw = l->ld.I,
                                  .d_conv = l->d->d_conv,
                                  .tap_scale = l->p->scale[TENSOR_CONV_W],
                                  .x_scale = l->x_scale,
                                  .v = int8 ? NULL : l->w->v,
                                  .ldv = l->ld.I,
                                  .codes = l->w->u_codes,
                                  .ldq = l->ld.I,
                                  .step = l->scale[SITE_X_PROJ_INPUT],
                                  .ties_away = int8};
    l->on->conv1d(l->batch, &conv1d, l->ld.I);
}

// What the scan gets as u.
static struct scan_operand scan_input(const struct layer *l)
{
    const struct mamba1_work *w = l->w;
    const long ld = l->ld.I;
    const float step = l->scale[SITE_X_PROJ_INPUT];
    const bool int8 = format_of(l, UNIT_CONV1D_OUTPUT) == FORMAT_INT8;
    const struct scan_operand codes = {.codes = w->u_codes, .scale = step, .ld = ld};
    const struct scan_operand values = {.values = w->v, .ld = ld};
    switch (format_of(l, UNIT_SCAN_U)) {
    case FORMAT_CODES:
        return codes;
    case FORMAT_INT8:
        if (int8) l->on->dequantize(l->batch, w->u_codes, ld, step, w->v);
        l->on->quantize(l->batch, w->v, ld, step, false, w->scan_codes);
        return (struct scan_operand){.codes = w->scan_codes, .scale = step, .ld = ld};
    default: // FP32; behind an INT8 conv1d there is nothing finer than its grid
        if (int8) l->on->dequantize(l->batch, w->u_codes, ld, step, w->v);
        return values;
    }
}

// dbl_q = sat8(rint((acc · s_Wx) · (s_u/s_dbl))); dt_q = sat8(rint((acc · (s_dbl/s_dt)) · s_Wdt)); B, C
// dequantized.
static void project_x(const struct layer *l)
{
    const struct mamba1_work *w = l->w;
    const float s_dbl = l->scale[SITE_X_PROJ_OUTPUT];
    struct gemm_s8 x_proj = {.a = w->u_codes,
                             .lda = l->ld.I,
                             .w = l->p->x_proj,
                             .depth = l->d->d_inner,
                             .result = GEMM_S8_CODES,
                             .first = l->p->scale[TENSOR_X_PROJ],
                             .second = ratio(l->scale[SITE_X_PROJ_INPUT], s_dbl),
                             .out = w->dbl_codes,
                             .ldo = l->ld.dbl};
    l->on->product_s8(l->batch, &x_proj, l->ld.dbl);
    struct gemm_s8 dt_proj = {.a = w->dbl_codes,
                              .lda = l->ld.dbl,
                              .w = l->p->dt_proj,
                              .depth = l->d->dt_rank,
                              .result = GEMM_S8_CODES,
                              .first = ratio(s_dbl, l->scale[SITE_DT_PROJ_OUTPUT]),
                              .second = l->p->scale[TENSOR_DT_PROJ],
                              .out = w->dt_codes,
                              .ldo = l->ld.I};
    l->on->product_s8(l->batch, &dt_proj, l->ld.I);
    l->on->dequantize(l->batch, w->dbl_codes, l->ld.dbl, s_dbl, w->dbl);
}

// The scan in FP32 on dequantized operands; y rounded to FP16, which dither comes before.
static void scan_tokens(const struct layer *l, struct scan_operand u)
{
    const struct mamba1_work *w = l->w;
    const struct scan scan = {
        .length = l->batch->tokens,
        .d_state = l->d->d_state,
        .u = u,
        .dt = {.codes = w->dt_codes, .scale = l->scale[SITE_DT_PROJ_OUTPUT], .ld = l->ld.I},
        .z = {.codes = w->xz_codes + l->ld.I, .scale = l->scale[SITE_IN_PROJ_OUTPUT], .ld = 2L * l->ld.I},
        .dt_bias = l->p->dt_bias,
        .D = l->p->D_skip,
        .A = l->p->A,
        .ld_inner = l->ld.I,
        .B = w->dbl + l->ld.R,
        .C = w->dbl + l->ld.R + l->ld.N,
        .ld_bc = l->ld.dbl,
        .y = w->y,
        .ldy = l->ld.I,
        .half = l->pass->dither == 0,
        .blocked = format_of(l, UNIT_SCAN_ORDER) == FORMAT_BLOCKED};
    l->on->scan(l->batch, &scan);
    if (l->pass->dither)
        l->on->dither(l->batch, w->y, l->ld.I, l->d->d_inner, l->pass->dither + (uint64_t)l->pass->layer);
    l->on->break_rest(l->batch, w->y, l->ld.I, l->d->d_inner);
}

// y_q = sat8(roundf(had(y) / s_y)); h' = FP16((acc · s_Wout) · s_y)
static void project_out(const struct layer *l)
{
    const struct mamba1_work *w = l->w;
    const float s_y = l->scale[SITE_OUT_PROJ_INPUT];
    l->on->rotate(l->batch, &l->pass->rotations->inner.forward, w->y, l->ld.I);
    l->on->quantize(l->batch, w->y, l->ld.I, s_y, true, w->y_codes);
    struct gemm_s8 out_proj = {.a = w->y_codes,
                               .lda = l->ld.I,
                               .w = l->p->out_proj,
                               .depth = l->d->d_inner,
                               .result = GEMM_S8_HALF,
                               .first = l->p->scale[TENSOR_OUT_PROJ],
                               .second = s_y,
                               .out = l->pass->h,
                               .ldo = l->ld.D};
    l->on->product_s8(l->batch, &out_proj, l->ld.D);
    l->on->break_rows(l->batch, w->y, l->ld.I, l->d->d_inner, l->pass->h, l->ld.D, l->d->d_model);
}

// ---- captures ----

static bool give_operand(const struct layer *l, int component, const struct scan_operand *o)
{
    const struct seen seen = {
        .values = o->values, .codes = o->codes, .scale = &o->scale, .ld = o->ld, .width = l->d->d_inner};
    return l->pass->give(l->pass, component, &seen);
}

static bool give_mixer_input(const struct layer *l)
{
    const struct seen seen = {.codes = l->pass->codes,
                              .scale = &l->scale[SITE_IN_PROJ_INPUT],
                              .ld = l->ld.D,
                              .width = l->d->d_model,
                              .rotation = &l->pass->rotations->model.inverse};
    return l->pass->give(l->pass, COMPONENT_MIXER_INPUT, &seen);
}

static bool give_mixer_output(const struct layer *l)
{
    const struct seen seen = {.values = l->pass->h,
                              .ld = l->ld.D,
                              .width = l->d->d_model,
                              .rotation = &l->pass->rotations->model.inverse};
    return l->pass->give(l->pass, COMPONENT_MIXER_OUTPUT, &seen);
}

static bool give_conv1d(const struct layer *l)
{
    const struct scan_operand codes = {
        .codes = l->w->u_codes, .scale = l->scale[SITE_X_PROJ_INPUT], .ld = l->ld.I};
    const struct scan_operand values = {.values = l->w->v, .ld = l->ld.I};
    const bool int8 = format_of(l, UNIT_CONV1D_OUTPUT) == FORMAT_INT8;
    return give_operand(l, COMPONENT_CONV1D_OUTPUT, int8 ? &codes : &values);
}

bool mamba1_layer_w8a8(const struct pass *pass)
{
    const struct mamba1_work *w = pass->work;
    const bool is_static = pass_setting(pass)->of[UNIT_CONV1D_INPUT] == FORMAT_INT8;
    const struct layer l = {.pass = pass,
                            .on = pass->batch->backend,
                            .batch = pass->batch,
                            .d = pass->dims,
                            .w = w,
                            .p = pass->weights,
                            .scale = pass->scales,
                            .x_scale = is_static ? &pass->scales[SITE_IN_PROJ_OUTPUT] : w->x_scale,
                            .setting = pass_setting(pass),
                            .ld = leading_of(pass->dims)};
    normalize(&l);
    if (!give_mixer_input(&l)) return false;
    project_in(&l);
    const struct seen x = {
        .codes = w->xz_codes, .scale = l.x_scale, .ld = 2L * l.ld.I, .width = l.d->d_inner};
    if (!pass->give(pass, COMPONENT_CONV1D_INPUT, &x)) return false;
    convolve(&l);
    if (!give_conv1d(&l)) return false;
    const struct scan_operand u = scan_input(&l);
    if (!give_operand(&l, COMPONENT_SSM_INPUT, &u)) return false;
    project_x(&l);
    scan_tokens(&l, u);
    const struct seen y = {.values = w->y, .ld = l.ld.I, .width = l.d->d_inner};
    if (!pass->give(pass, COMPONENT_SSM_OUTPUT, &y)) return false;
    project_out(&l);
    return give_mixer_output(&l);
}
