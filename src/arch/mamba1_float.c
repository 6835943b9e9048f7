// SPDX-License-Identifier: Apache-2.0
// One layer of the float model (docs/numerics.md, "The float model"), and what calibration observes of it.
#include "layer_parts.h"
#include "mamba1_parts.h"

// What the steps of one layer share.
struct layer {
    const struct pass *pass;
    const struct backend *on;
    struct batch *batch;
    const struct dims *d;
    const struct mamba1_work *w;
    const struct float_layer *p;
    struct leading ld;
    bool half;
    float *state; // where the scan leaves it for observers, of each sample; NULL: nobody observes
};

// ---- observers ----

// had(values), turned in the room for captures, in memory of the backend.
static void observe_rotated(const struct layer *l, int site, const struct hadamard *rotation,
                            const float *values, long ld, int width)
{
    float *room = l->pass->room;
    const struct seen seen = {.values = values, .ld = ld, .width = (int)ld, .rotation = rotation};
    l->on->keep(l->batch, &seen, room);
    const struct observed observed = {room, l->batch->tokens, ld, {{0, width}}, 1, .scratch = room};
    l->pass->observe(l->pass, site, &observed);
}

static void observe_inputs(const struct layer *l)
{
    const struct mamba1_work *w = l->w;
    const int I = l->d->d_inner, tokens = l->batch->tokens;
    float *room = l->pass->room;
    // `y`, with the room behind it, is still free.
    const struct observed xz = {w->xz, tokens, 2L * l->ld.I, {{0, I}, {l->ld.I, I}}, 2, .scratch = w->y};
    const struct observed c = {w->v, tokens, l->ld.I, {{0, I}}, 1, .scratch = room};
    observe_rotated(l, SITE_IN_PROJ_INPUT, &l->pass->rotations->model.forward, l->pass->xhat, l->ld.D,
                    l->d->d_model);
    l->pass->observe(l->pass, SITE_IN_PROJ_OUTPUT, &xz);
    l->pass->observe(l->pass, SITE_X_PROJ_INPUT, &c);
}

static void observe_scan(const struct layer *l)
{
    const struct mamba1_work *w = l->w;
    const struct leading *ld = &l->ld;
    const int I = l->d->d_inner, R = l->d->dt_rank, N = l->d->d_state, tokens = l->batch->tokens;
    float *room = l->pass->room;
    const struct observed dbl = {w->dbl, tokens,         ld->dbl, {{0, R}, {ld->R, N}, {ld->R + ld->N, N}},
                                 3,      .scratch = room};
    const struct observed dt = {w->dt, tokens, ld->I, {{0, I}}, 1, .scratch = room};
    const struct observed state = {l->state, N, ld->I, {{0, I}}, 1, room, .of_samples = true};
    l->pass->observe(l->pass, SITE_X_PROJ_OUTPUT, &dbl);
    l->pass->observe(l->pass, SITE_DT_PROJ_OUTPUT, &dt);
    l->pass->observe(l->pass, SITE_SSM_STATE, &state);
    observe_rotated(l, SITE_OUT_PROJ_INPUT, &l->pass->rotations->inner.forward, w->y, ld->I, I);
}

// ---- the layer ----

// r = r + h; x̂ = r / sqrt(mean(r²) + eps); n = x̂ · w_norm; xz = n W_inᵀ
static void project_in(const struct layer *l)
{
    norm_in(l->pass, l->ld.D, l->p->norm);
    product(l->pass, l->pass->normed, l->ld.D, l->p->in_proj, l->d->d_model, l->w->xz, 2 * l->ld.I);
}

// dt_low, B and C, each divided by its own sqrt(mean(v²) + eps), in place.
static void norm_parts(const struct layer *l)
{
    const struct leading *ld = &l->ld;
    const struct {
        long first;
        int width;
    } parts[] = {{0, l->d->dt_rank}, {ld->R, l->d->d_state}, {ld->R + ld->N, l->d->d_state}};
    for (int i = 0; i < 3; i++) {
        float *values = l->w->dbl + parts[i].first;
        const struct norm norm = {.residual = values,
                                  .ld = ld->dbl,
                                  .width = parts[i].width,
                                  .eps = l->d->mixer_eps,
                                  .xhat = values};
        l->on->norm(l->batch, &norm);
    }
    if (l->half) l->on->round_half(l->batch, l->w->dbl, ld->dbl);
}

// c = silu(b + conv1d(x)); dbl = c W_xᵀ; dt = dt_low W_dtᵀ
static void mix_tokens(const struct layer *l)
{
    const struct conv1d conv1d = {.x_float = l->w->xz,
                                  .ldx = 2L * l->ld.I,
                                  .w = l->p->conv_w,
                                  .b = l->p->conv_b,
                                  .ldw = l->ld.I,
                                  .d_conv = l->d->d_conv,
                                  .half = l->half,
                                  .v = l->w->v,
                                  .ldv = l->ld.I};
    l->on->conv1d(l->batch, &conv1d, l->ld.I);
    product(l->pass, l->w->v, l->ld.I, l->p->x_proj, l->d->d_inner, l->w->dbl, l->ld.dbl);
    if (l->d->mixer_eps > 0) norm_parts(l);
    product(l->pass, l->w->dbl, l->ld.dbl, l->p->dt_proj, l->d->dt_rank, l->w->dt, l->ld.I);
}

// y = selective_scan(c, softplus(dt + b_dt), A, B, C, D) · silu(z)
static void scan_tokens(const struct layer *l)
{
    const struct mamba1_work *w = l->w;
    const struct scan scan = {.length = l->batch->tokens,
                              .d_state = l->d->d_state,
                              .u = {.values = w->v, .ld = l->ld.I},
                              .dt = {.values = w->dt, .ld = l->ld.I},
                              .z = {.values = w->xz + l->ld.I, .ld = 2L * l->ld.I},
                              .dt_bias = l->p->dt_bias,
                              .D = l->p->D_skip,
                              .A = l->p->A,
                              .ld_inner = l->ld.I,
                              .B = w->dbl + l->ld.R,
                              .C = w->dbl + l->ld.R + l->ld.N,
                              .ld_bc = l->ld.dbl,
                              .y = w->y,
                              .ldy = l->ld.I,
                              .half = l->half,
                              .last_state = l->state};
    l->on->scan(l->batch, &scan);
}

static bool give(const struct layer *l, int component, const float *values, long ld, int width)
{
    return l->pass->give(
        l->pass, component,
        &(struct seen){
            .values = values, .ld = ld, .width = width, .again = component == COMPONENT_SSM_INPUT});
}

// Where the backend takes one sample at a time the family's own place.
static float *place_of_state(const struct pass *pass)
{
    const struct mamba1_work *w = pass->work;
    const struct backend *on = pass->batch->backend;
    const long count = (long)pass->dims->d_state * round_up16(pass->dims->d_inner);
    if (!pass->observe) return NULL;
    return on->per_sample ? on->per_sample(pass->batch, count) : w->state;
}

bool mamba1_layer_float(const struct pass *pass)
{
    const struct layer l = {.pass = pass,
                            .on = pass->batch->backend,
                            .batch = pass->batch,
                            .d = pass->dims,
                            .w = pass->work,
                            .p = pass->weights,
                            .ld = leading_of(pass->dims),
                            .half = pass->recipe->precision == PRECISION_FP16,
                            .state = place_of_state(pass)};
    const int D = pass->dims->d_model, I = pass->dims->d_inner;
    pass->batch->broken = pass->batch->tokens; // no cast hides what is not finite
    project_in(&l);
    if (!give(&l, COMPONENT_MIXER_INPUT, pass->xhat, l.ld.D, D) ||
        !give(&l, COMPONENT_CONV1D_INPUT, l.w->xz, 2L * l.ld.I, I))
        return false;
    mix_tokens(&l);
    if (pass->observe) observe_inputs(&l);
    if (!give(&l, COMPONENT_CONV1D_OUTPUT, l.w->v, l.ld.I, I) ||
        !give(&l, COMPONENT_SSM_INPUT, l.w->v, l.ld.I, I))
        return false;
    scan_tokens(&l);
    if (pass->observe) observe_scan(&l);
    if (!give(&l, COMPONENT_SSM_OUTPUT, l.w->y, l.ld.I, I)) return false;
    product(pass, l.w->y, l.ld.I, l.p->out_proj, I, pass->h, l.ld.D); // o = y W_outᵀ
    return give(&l, COMPONENT_MIXER_OUTPUT, pass->h, l.ld.D, D);
}
