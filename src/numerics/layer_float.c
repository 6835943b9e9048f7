// SPDX-License-Identifier: Apache-2.0
// One layer of the float model (docs/numerics.md, "The float model"), with the observers of calibration.
#include <string.h>

#include "workspace.h"

static float absmax(const struct forward *f, const float *values, long count)
{
    return f->weights->kernels->absmax(values, count);
}

// Compact copy of [rows][ld] in f->captured, which the observer may reorder.
static float quantile(const struct forward *f, const float *values, int rows, long ld, int width,
                      double alpha)
{
    for (int t = 0; t < rows; t++)
        memcpy(f->captured + (long)t * width, values + t * ld, (size_t)width * sizeof *values);
    return calibrate_quantile(f->captured, (long)rows * width, alpha);
}

// max |had(values)|; the rotation takes place in f->captured.
static float rotated_absmax(const struct forward *f, const struct rotation *rotation, const float *values,
                            long ld)
{
    for (int t = 0; t < f->length; t++)
        memcpy(f->captured + t * ld, values + t * ld, (size_t)ld * sizeof *values);
    run_hadamard(f, &rotation->forward, f->captured, ld);
    return absmax(f, f->captured, f->length * ld);
}

static void observe_inputs(const struct forward *f, double alpha, float *observed)
{
    const struct weights *w = f->weights;
    const struct dims *d = &w->model->dims;
    observed[SITE_IN_PROJ_INPUT] = rotated_absmax(f, &w->rotate_model, f->xhat, w->ld_model);
    observed[SITE_IN_PROJ_OUTPUT] = absmax(f, f->xz, 2L * f->length * w->ld_inner);
    observed[SITE_X_PROJ_INPUT] = quantile(f, f->v, f->length, w->ld_inner, d->d_inner, alpha);
}

static void observe_scan(const struct forward *f, double alpha, float *observed)
{
    const struct weights *w = f->weights;
    const struct dims *d = &w->model->dims;
    observed[SITE_X_PROJ_OUTPUT] = absmax(f, f->dbl, (long)f->length * w->ld_dbl);
    observed[SITE_DT_PROJ_OUTPUT] = absmax(f, f->dt, (long)f->length * w->ld_inner);
    observed[SITE_SSM_STATE] = quantile(f, f->state, d->d_state, w->ld_inner, d->d_inner, alpha);
    observed[SITE_OUT_PROJ_INPUT] = rotated_absmax(f, &w->rotate_inner, f->y, w->ld_inner);
}

// r = r + h; x̂ = r / sqrt(mean(r²) + eps); n = x̂ · w_norm; xz = n W_inᵀ
static void project_in(struct forward *f, const struct float_layer *layer, bool half)
{
    const struct weights *w = f->weights;
    const struct dims *d = &w->model->dims;
    struct norm norm = {.residual = f->residual,
                        .h = f->h,
                        .ld = w->ld_model,
                        .width = d->d_model,
                        .eps = d->norm_eps,
                        .xhat = f->xhat,
                        .weight = layer->norm,
                        .scaled = f->normed,
                        .half = half};
    run_norm(f, &norm);
    struct gemm_f32 in_proj = {.a = f->normed,
                               .lda = w->ld_model,
                               .w = layer->in_proj,
                               .depth = d->d_model,
                               .out = f->xz,
                               .ldo = 2L * w->ld_inner,
                               .half = half};
    run_gemm_f32(f, &in_proj, 2 * w->ld_inner / KERNEL_LANES);
}

// c = silu(b + conv1d(x)); dbl = c W_xᵀ; dt = dt_low W_dtᵀ
static void mix_tokens(struct forward *f, const struct float_layer *layer, bool half)
{
    const struct weights *w = f->weights;
    const struct dims *d = &w->model->dims;
    struct conv1d conv1d = {.x_float = f->xz,
                            .ldx = 2L * w->ld_inner,
                            .w = layer->conv_w,
                            .b = layer->conv_b,
                            .ldw = w->ld_inner,
                            .d_conv = d->d_conv,
                            .half = half,
                            .v = f->v,
                            .ldv = w->ld_inner};
    run_conv1d(f, &conv1d);
    struct gemm_f32 x_proj = {.a = f->v,
                              .lda = w->ld_inner,
                              .w = layer->x_proj,
                              .depth = d->d_inner,
                              .out = f->dbl,
                              .ldo = w->ld_dbl,
                              .half = half};
    run_gemm_f32(f, &x_proj, w->ld_dbl / KERNEL_LANES);
    struct gemm_f32 dt_proj = {.a = f->dbl,
                               .lda = w->ld_dbl,
                               .w = layer->dt_proj,
                               .depth = d->dt_rank,
                               .out = f->dt,
                               .ldo = w->ld_inner,
                               .half = half};
    run_gemm_f32(f, &dt_proj, w->ld_inner / KERNEL_LANES);
}

// y = selective_scan(c, softplus(dt + b_dt), A, B, C, D) · silu(z)
static void scan_tokens(struct forward *f, const struct float_layer *layer, const struct mode *mode,
                        bool half)
{
    const struct weights *w = f->weights;
    const struct dims *d = &w->model->dims;
    struct scan scan = {.length = f->length,
                        .d_state = d->d_state,
                        .u = {.values = f->v, .ld = w->ld_inner},
                        .dt = {.values = f->dt, .ld = w->ld_inner},
                        .z = {.values = f->xz + w->ld_inner, .ld = 2L * w->ld_inner},
                        .dt_bias = layer->dt_bias,
                        .D = layer->D_skip,
                        .A = layer->A,
                        .ld_inner = w->ld_inner,
                        .B = f->dbl + w->ld_rank,
                        .C = f->dbl + w->ld_rank + w->ld_state,
                        .ld_bc = w->ld_dbl,
                        .y = f->y,
                        .ldy = w->ld_inner,
                        .half = half,
                        .last_state = f->state};
    run_scan(f, &scan, mode->scan_order);
}

// o = y W_outᵀ
static void project_out(struct forward *f, const struct float_layer *layer, bool half)
{
    const struct weights *w = f->weights;
    const struct dims *d = &w->model->dims;
    struct gemm_f32 out_proj = {.a = f->y,
                                .lda = w->ld_inner,
                                .w = layer->out_proj,
                                .depth = d->d_inner,
                                .out = f->h,
                                .ldo = w->ld_model,
                                .half = half};
    run_gemm_f32(f, &out_proj, w->ld_model / KERNEL_LANES);
}

bool layer_float(struct forward *f, const struct mode *mode, int layer, const struct capture *capture,
                 double alpha, float *observed)
{
    const struct weights *w = f->weights;
    const bool half = mode->precision == PRECISION_FP16;
    const struct float_layer *p = half ? &w->fp16[layer] : &w->fp32[layer];
    const int D = w->model->dims.d_model, I = w->model->dims.d_inner;
    project_in(f, p, half);
    if (!give_values(f, capture, layer, COMPONENT_MIXER_INPUT, f->xhat, w->ld_model, D) ||
        !give_values(f, capture, layer, COMPONENT_CONV1D_INPUT, f->xz, 2L * w->ld_inner, I))
        return false;
    mix_tokens(f, p, half);
    if (observed) observe_inputs(f, alpha, observed);
    if (!give_values(f, capture, layer, COMPONENT_CONV1D_OUTPUT, f->v, w->ld_inner, I) ||
        !give_values(f, capture, layer, COMPONENT_SSM_INPUT, f->v, w->ld_inner, I))
        return false;
    scan_tokens(f, p, mode, half);
    if (observed) observe_scan(f, alpha, observed);
    if (!give_values(f, capture, layer, COMPONENT_SSM_OUTPUT, f->y, w->ld_inner, I)) return false;
    project_out(f, p, half);
    return give_values(f, capture, layer, COMPONENT_MIXER_OUTPUT, f->h, w->ld_model, D);
}
