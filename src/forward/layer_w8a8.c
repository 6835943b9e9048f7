// SPDX-License-Identifier: Apache-2.0
// One quantized layer (docs/numerics.md, "One quantized layer").  A mode is its switches; no name is known
// here.
#include <math.h>
#include <string.h>

#include "ssmsweep/arch/mamba1.h"
#include "workspace.h"

// What one layer's steps share.
struct pass {
    struct forward *f;
    const struct weights *w;
    const struct w8a8_layer *p;
    const float *scale; // [MAMBA1_SITES] of this layer
    float x_scale;      // of the conv1d input
    const struct mode *mode;
};

// Quotients of scales are taken in double, then FP32.
static float ratio(float a, float b)
{
    return (float)((double)a / (double)b);
}

// r' += h'; n_q = sat8(rint(x̂' / s_in))
static void normalize(const struct pass *p)
{
    const struct dims *d = &p->w->model->dims;
    struct norm norm = {.residual = p->f->residual,
                        .h = p->f->h,
                        .ld = p->w->ld_model,
                        .width = d->d_model,
                        .eps = d->norm_eps,
                        .codes = p->f->n_codes,
                        .step = p->scale[SITE_IN_PROJ_INPUT]};
    run_norm(p->f, &norm);
    p->f->broken = first_broken(p->f, p->f->residual, p->w->ld_model, d->d_model);
}

// The x half as float, quantized by its own maximum over the sample: where that is none, no token is.
static float quantize_dynamic(const struct pass *p)
{
    struct forward *f = p->f;
    const long ld = p->w->ld_inner;
    const float most = p->w->kernels->absmax(f->v, f->length * ld);
    const float scale = most > 0 ? most / 127.0f : 1.0f;
    if (f->broken < f->length || !isfinite(most)) f->broken = 0;
    for (int t = 0; t < f->length; t++)
        p->w->kernels->quantize_even(f->v + t * ld, ld, scale, f->xz_codes + 2 * ld * t);
    return scale;
}

// xz_q = sat8(rint((acc · (s_in/s_xz)) · s_Win)); returns the scale of x.
static float project_in(const struct pass *p)
{
    struct forward *f = p->f;
    const int inner = p->w->ld_inner, panels = inner / KERNEL_LANES, depth = p->w->model->dims.d_model;
    const float s_in = p->scale[SITE_IN_PROJ_INPUT], s_xz = p->scale[SITE_IN_PROJ_OUTPUT];
    struct gemm_s8 both = {.a = f->n_codes,
                           .lda = p->w->ld_model,
                           .w = p->p->in_proj,
                           .depth = depth,
                           .result = GEMM_S8_CODES,
                           .first = ratio(s_in, s_xz),
                           .second = p->p->scale[SCALE_IN_PROJ],
                           .out = f->xz_codes,
                           .ldo = 2L * inner};
    run_row_sums(f, &both);
    if (p->mode->conv1d_input == CONV1D_IN_STATIC) {
        run_gemm_s8(f, &both, 2 * panels);
        return s_xz;
    }
    struct gemm_s8 z = both;
    z.w += (long)inner * ((depth + 3) / 4 * 4);
    z.out = f->xz_codes + inner;
    run_gemm_s8(f, &z, panels);
    struct gemm_s8 x = both;
    x.result = GEMM_S8_FLOAT;
    x.first = p->p->scale[SCALE_IN_PROJ], x.second = s_in;
    x.out = f->v, x.ldo = inner;
    run_gemm_s8(f, &x, panels);
    return quantize_dynamic(p);
}

// v = silu((s_w s_x) · taps + b_q s_b); codes for x_proj, the float value where the mode wants it.
static void convolve(const struct pass *p)
{
    struct forward *f = p->f;
    const bool int8 = p->mode->conv1d_output == CONV1D_OUT_INT8;
    struct conv1d conv1d = {.x_codes = f->xz_codes,
                            .ldx = 2L * p->w->ld_inner,
                            .w = p->p->conv_w,
                            .b = p->p->conv_b,
                            .ldw = p->w->ld_inner,
                            .d_conv = p->w->model->dims.d_conv,
                            .tap_scale = p->p->scale[SCALE_CONV_W] * p->x_scale,
                            .v = int8 ? NULL : f->v,
                            .ldv = p->w->ld_inner,
                            .codes = f->u_codes,
                            .ldq = p->w->ld_inner,
                            .step = p->scale[SITE_X_PROJ_INPUT],
                            .ties_away = int8};
    run_conv1d(f, &conv1d);
}

static void dequantize(const int8_t *codes, long count, float scale, float *out)
{
    for (long i = 0; i < count; i++)
        out[i] = (float)codes[i] * scale;
}

// What the scan gets as u.
static struct scan_operand scan_input(const struct pass *p)
{
    struct forward *f = p->f;
    const long ld = p->w->ld_inner, count = f->length * ld;
    const float step = p->scale[SITE_X_PROJ_INPUT];
    const bool int8 = p->mode->conv1d_output == CONV1D_OUT_INT8;
    const struct scan_operand codes = {.codes = f->u_codes, .scale = step, .ld = ld};
    const struct scan_operand values = {.values = f->v, .ld = ld};
    switch (p->mode->scan_input) {
    case SCAN_IN_CODES:
        return codes;
    case SCAN_IN_REQUANT:
        if (int8) dequantize(f->u_codes, count, step, f->v);
        p->w->kernels->quantize_even(f->v, count, step, f->scan_codes);
        return (struct scan_operand){.codes = f->scan_codes, .scale = step, .ld = ld};
    case SCAN_IN_GRID:
        dequantize(f->u_codes, count, step, f->v);
        return values;
    case SCAN_IN_FLOAT:
        if (int8) dequantize(f->u_codes, count, step, f->v); // nothing finer exists behind an INT8 conv1d
        return values;
    }
    return codes;
}

// dbl_q = sat8(rint((acc · s_Wx) · (s_u/s_dbl))); dt_q = sat8(rint((acc · (s_dbl/s_dt)) · s_Wdt)); B, C
// dequantized.
static void project_x(const struct pass *p)
{
    struct forward *f = p->f;
    const struct dims *d = &p->w->model->dims;
    const float s_dbl = p->scale[SITE_X_PROJ_OUTPUT];
    struct gemm_s8 x_proj = {.a = f->u_codes,
                             .lda = p->w->ld_inner,
                             .w = p->p->x_proj,
                             .depth = d->d_inner,
                             .result = GEMM_S8_CODES,
                             .first = p->p->scale[SCALE_X_PROJ],
                             .second = ratio(p->scale[SITE_X_PROJ_INPUT], s_dbl),
                             .out = f->dbl_codes,
                             .ldo = p->w->ld_dbl};
    run_row_sums(f, &x_proj);
    run_gemm_s8(f, &x_proj, p->w->ld_dbl / KERNEL_LANES);
    struct gemm_s8 dt_proj = {.a = f->dbl_codes,
                              .lda = p->w->ld_dbl,
                              .w = p->p->dt_proj,
                              .depth = d->dt_rank,
                              .result = GEMM_S8_CODES,
                              .first = ratio(s_dbl, p->scale[SITE_DT_PROJ_OUTPUT]),
                              .second = p->p->scale[SCALE_DT_PROJ],
                              .out = f->dt_codes,
                              .ldo = p->w->ld_inner};
    run_row_sums(f, &dt_proj);
    run_gemm_s8(f, &dt_proj, p->w->ld_inner / KERNEL_LANES);
    dequantize(f->dbl_codes, (long)f->length * p->w->ld_dbl, s_dbl, f->dbl);
}

// SplitMix64's finalizer (Steele, Lea and Flood 2014): every input bit reaches every output bit.
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

// Moves a normal number by -1, 0 or +1 unit in the last place; the rest stays.
static float nudge(float y, uint64_t random)
{
    if (!isnormal(y)) return y;
    uint32_t bits;
    memcpy(&bits, &y, sizeof bits);
    bits += (uint32_t)(random % 3) - 1u;
    memcpy(&y, &bits, sizeof bits);
    return y;
}

static void dither(const struct pass *p, int layer)
{
    struct forward *f = p->f;
    const uint64_t key = mix(f->dither + (uint64_t)layer);
    const long ld = p->w->ld_inner;
    for (int t = 0; t < f->length; t++)
        for (int i = 0; i < p->w->model->dims.d_inner; i++)
            f->y[t * ld + i] = nudge(f->y[t * ld + i], mix(key ^ ((uint64_t)t << 32 | (uint64_t)i)));
    p->w->kernels->round_half(f->y, f->length * ld);
}

// The scan in FP32 on dequantized operands; y rounded to FP16.
static void scan_tokens(const struct pass *p, struct scan_operand u)
{
    struct forward *f = p->f;
    const struct weights *w = p->w;
    struct scan scan = {
        .length = f->length,
        .d_state = w->model->dims.d_state,
        .u = u,
        .dt = {.codes = f->dt_codes, .scale = p->scale[SITE_DT_PROJ_OUTPUT], .ld = w->ld_inner},
        .z = {.codes = f->xz_codes + w->ld_inner,
              .scale = p->scale[SITE_IN_PROJ_OUTPUT],
              .ld = 2L * w->ld_inner},
        .dt_bias = p->p->dt_bias,
        .D = p->p->D_skip,
        .A = p->p->A,
        .ld_inner = w->ld_inner,
        .B = f->dbl + w->ld_rank,
        .C = f->dbl + w->ld_rank + w->ld_state,
        .ld_bc = w->ld_dbl,
        .y = f->y,
        .ldy = w->ld_inner,
        .half = f->dither == 0}; // dither comes before the rounding
    run_scan(f, &scan, p->mode->scan_order);
}

// y_q = sat8(roundf(had(y) / s_y)); h' = FP16((acc · s_Wout) · s_y)
static void project_out(const struct pass *p)
{
    struct forward *f = p->f;
    const float s_y = p->scale[SITE_OUT_PROJ_INPUT];
    run_hadamard(f, &p->w->rotate_inner.forward, f->y, p->w->ld_inner);
    p->w->kernels->quantize_away(f->y, (long)f->length * p->w->ld_inner, s_y, f->y_codes);
    struct gemm_s8 out_proj = {.a = f->y_codes,
                               .lda = p->w->ld_inner,
                               .w = p->p->out_proj,
                               .depth = p->w->model->dims.d_inner,
                               .result = GEMM_S8_HALF,
                               .first = p->p->scale[SCALE_OUT_PROJ],
                               .second = s_y,
                               .out = f->h,
                               .ldo = p->w->ld_model};
    run_row_sums(f, &out_proj);
    run_gemm_s8(f, &out_proj, p->w->ld_model / KERNEL_LANES);
    break_rows(f, f->y, p->w->ld_inner, p->w->model->dims.d_inner, f->h, p->w->ld_model,
               p->w->model->dims.d_model);
}

static bool give_mixer_input(const struct pass *p, int layer, const struct capture *capture)
{
    if (!wanted(capture, layer, COMPONENT_MIXER_INPUT)) return true;
    struct forward *f = p->f;
    dequantize(f->n_codes, (long)f->length * p->w->ld_model, p->scale[SITE_IN_PROJ_INPUT], f->xhat);
    return give_rotated(f, capture, layer, COMPONENT_MIXER_INPUT, f->xhat);
}

static bool give_operand(const struct pass *p, int layer, int component, const struct scan_operand *o,
                         const struct capture *capture)
{
    const int width = p->w->model->dims.d_inner;
    return o->values ? give_values(p->f, capture, layer, component, o->values, o->ld, width)
                     : give_codes(p->f, capture, layer, component, o->codes, o->ld, width, o->scale);
}

bool layer_w8a8(struct forward *f, const struct mode *mode, const float *scales, int layer,
                const struct capture *capture)
{
    const struct weights *w = f->weights;
    struct pass p = {
        .f = f, .w = w, .p = &w->w8a8[layer], .scale = scales + (long)layer * MAMBA1_SITES, .mode = mode};
    const struct scan_operand conv_codes = {
        .codes = f->u_codes, .scale = p.scale[SITE_X_PROJ_INPUT], .ld = w->ld_inner};
    const struct scan_operand conv_values = {.values = f->v, .ld = w->ld_inner};
    const bool int8 = mode->conv1d_output == CONV1D_OUT_INT8;
    normalize(&p);
    if (!give_mixer_input(&p, layer, capture)) return false;
    p.x_scale = project_in(&p);
    const struct scan_operand x = {.codes = f->xz_codes, .scale = p.x_scale, .ld = 2L * w->ld_inner};
    if (!give_operand(&p, layer, COMPONENT_CONV1D_INPUT, &x, capture)) return false;
    convolve(&p);
    if (!give_operand(&p, layer, COMPONENT_CONV1D_OUTPUT, int8 ? &conv_codes : &conv_values, capture))
        return false;
    const struct scan_operand u = scan_input(&p);
    if (!give_operand(&p, layer, COMPONENT_SSM_INPUT, &u, capture)) return false;
    project_x(&p);
    scan_tokens(&p, u);
    if (f->dither) dither(&p, layer);
    break_rest(f, f->y, w->ld_inner, w->model->dims.d_inner);
    if (!give_values(f, capture, layer, COMPONENT_SSM_OUTPUT, f->y, w->ld_inner, w->model->dims.d_inner))
        return false;
    project_out(&p);
    return give_rotated(f, capture, layer, COMPONENT_MIXER_OUTPUT, f->h);
}
