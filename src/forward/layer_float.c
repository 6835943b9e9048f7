// SPDX-License-Identifier: Apache-2.0
// One layer of the float model (docs/numerics.md, "The float model"), with the observers of calibration.
#include <string.h>

#include "ssmsweep/arch/mamba1.h"
#include "workspace.h"

// ---- observers ----

// What is at a site: rows of values, some columns of which count.
struct seen {
    const float *values;
    long rows, ld; // what lies beside the columns is zero
    struct {
        long first;
        int width;
    } columns[3];
    int parts;
    float *scratch; // room for a compact copy; may be `values`
};

static float absmax(const struct forward *f, const struct seen *seen)
{
    return f->weights->kernels->absmax(seen->values, seen->rows * seen->ld);
}

// The quantile of a compact copy, which it may reorder.
static float quantile(const struct seen *seen, double alpha)
{
    long count = 0;
    for (long t = 0; t < seen->rows; t++)
        for (int p = 0; p < seen->parts; p++) {
            const int width = seen->columns[p].width;
            memmove(seen->scratch + count, seen->values + t * seen->ld + seen->columns[p].first,
                    (size_t)width * sizeof *seen->scratch);
            count += width;
        }
    return calibrate_quantile(seen->scratch, count, alpha);
}

// The histogram first: the quantile may reorder the values.
static void observe_site(const struct forward *f, const struct observation *observation, int layer, int site,
                         const struct seen *seen)
{
    const enum observer observer = observation->observers->of_site[site];
    const long at = (long)layer * MAMBA1_SITES + (long)site;
    for (long t = 0; observer_takes_histogram(observer) && t < seen->rows; t++)
        for (int p = 0; p < seen->parts; p++)
            histogram_add(observation->histogram + at * HISTOGRAM_BINS,
                          seen->values + t * seen->ld + seen->columns[p].first, seen->columns[p].width);
    observation->numbers[at] = observer_takes_quantile(observer)
                                   ? quantile(seen, observation->observers->percentile_alpha)
                                   : absmax(f, seen);
}

// had(values); the rotation takes place in f->captured.
static void observe_rotated(const struct forward *f, const struct observation *observation, int layer,
                            int site, const struct rotation *rotation, const float *values, long ld,
                            int width)
{
    for (int t = 0; t < f->length; t++)
        memcpy(f->captured + t * ld, values + t * ld, (size_t)ld * sizeof *values);
    run_hadamard(f, &rotation->forward, f->captured, ld);
    const struct seen seen = {f->captured, f->length, ld, {{0, width}}, 1, f->captured};
    observe_site(f, observation, layer, site, &seen);
}

static void observe_inputs(const struct forward *f, const struct observation *observation, int layer)
{
    const struct weights *w = f->weights;
    const struct dims *d = &w->model->dims;
    const int I = d->d_inner;
    // `y`, with `captured` behind it, is still free.
    const struct seen xz = {f->xz, f->length, 2L * w->ld_inner, {{0, I}, {w->ld_inner, I}}, 2, f->y};
    const struct seen c = {f->v, f->length, w->ld_inner, {{0, I}}, 1, f->captured};
    observe_rotated(f, observation, layer, SITE_IN_PROJ_INPUT, &w->rotate_model, f->xhat, w->ld_model,
                    d->d_model);
    observe_site(f, observation, layer, SITE_IN_PROJ_OUTPUT, &xz);
    observe_site(f, observation, layer, SITE_X_PROJ_INPUT, &c);
}

static void observe_scan(const struct forward *f, const struct observation *observation, int layer)
{
    const struct weights *w = f->weights;
    const struct dims *d = &w->model->dims;
    const int I = d->d_inner, R = d->dt_rank, N = d->d_state;
    const struct seen dbl = {f->dbl,    f->length,
                             w->ld_dbl, {{0, R}, {w->ld_rank, N}, {w->ld_rank + w->ld_state, N}},
                             3,         f->captured};
    const struct seen dt = {f->dt, f->length, w->ld_inner, {{0, I}}, 1, f->captured};
    const struct seen state = {f->state, N, w->ld_inner, {{0, I}}, 1, f->captured};
    observe_site(f, observation, layer, SITE_X_PROJ_OUTPUT, &dbl);
    observe_site(f, observation, layer, SITE_DT_PROJ_OUTPUT, &dt);
    observe_site(f, observation, layer, SITE_SSM_STATE, &state);
    observe_rotated(f, observation, layer, SITE_OUT_PROJ_INPUT, &w->rotate_inner, f->y, w->ld_inner, I);
}

// ---- the layer ----

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
                 const struct observation *observation)
{
    const struct weights *w = f->weights;
    const bool half = mode->precision == PRECISION_FP16;
    const struct float_layer *p = half ? &w->fp16[layer] : &w->fp32[layer];
    const int D = w->model->dims.d_model, I = w->model->dims.d_inner;
    f->broken = f->length; // no cast hides what is not finite
    project_in(f, p, half);
    if (!give_values(f, capture, layer, COMPONENT_MIXER_INPUT, f->xhat, w->ld_model, D) ||
        !give_values(f, capture, layer, COMPONENT_CONV1D_INPUT, f->xz, 2L * w->ld_inner, I))
        return false;
    mix_tokens(f, p, half);
    if (observation) observe_inputs(f, observation, layer);
    if (!give_values(f, capture, layer, COMPONENT_CONV1D_OUTPUT, f->v, w->ld_inner, I) ||
        !give_values(f, capture, layer, COMPONENT_SSM_INPUT, f->v, w->ld_inner, I))
        return false;
    scan_tokens(f, p, mode, half);
    if (observation) observe_scan(f, observation, layer);
    if (!give_values(f, capture, layer, COMPONENT_SSM_OUTPUT, f->y, w->ld_inner, I)) return false;
    project_out(f, p, half);
    return give_values(f, capture, layer, COMPONENT_MIXER_OUTPUT, f->h, w->ld_model, D);
}
