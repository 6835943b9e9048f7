// SPDX-License-Identifier: Apache-2.0
// One layer of the float Mamba-2 (docs/numerics.md, section 8).
#include <math.h>
#include <string.h>

#include "layer_parts.h"
#include "mamba2_parts.h"

// What the steps of one layer share.
struct layer {
    const struct pass *pass;
    const struct backend *on;
    struct batch *batch;
    const struct dims *d;
    const struct mamba2_work *w;
    const struct mamba2_float_layer *p;
    struct mamba2_width width;
    bool half;
    float *state; // where the scan leaves it; NULL: nobody looks at that of samples that go together
};

// r = r + h; x̂ = r / sqrt(mean(r²) + eps); n = x̂ · w_norm; z, x, B, C, dt = n W_inᵀ
static void project_in(const struct layer *l)
{
    norm_in(l->pass, l->width.ldD, l->p->norm);
    product(l->pass, l->pass->normed, l->width.ldD, l->p->in_proj, l->d->d_model, l->w->in, l->width.ld_in);
}

// u, B, C = silu(b + conv1d(x, B, C))
static void convolve(const struct layer *l)
{
    const struct conv1d conv1d = {.x_float = l->w->in + l->width.ldI,
                                  .ldx = l->width.ld_in,
                                  .w = l->p->conv_w,
                                  .b = l->p->conv_b,
                                  .ldw = l->width.ld_conv,
                                  .d_conv = l->d->d_conv,
                                  .half = l->half,
                                  .v = l->w->conv,
                                  .ldv = l->width.ld_conv};
    l->on->conv1d(l->batch, &conv1d, l->width.ld_conv);
}

// y = scan(u, clamp(softplus(dt + b_dt)), A, B, C) + D u
static void scan_tokens(const struct layer *l)
{
    const struct mamba2_work *w = l->w;
    const struct mamba2_width *width = &l->width;
    const struct ssd ssd = {.length = l->batch->tokens,
                            .heads = width->H,
                            .head_dim = l->d->head_dim,
                            .groups = l->d->n_groups,
                            .d_state = l->d->d_state,
                            .chunk = l->d->chunk_size,
                            .order = SSD_SEQUENTIAL,
                            .u = w->conv,
                            .ldu = width->ld_conv,
                            .dt = w->in + width->ldI + width->ld_conv,
                            .lddt = width->ld_in,
                            .dt_bias = l->p->dt_bias,
                            .A = l->p->A,
                            .D = l->p->D_skip,
                            .dt_min = l->d->dt_min,
                            .dt_max = l->d->dt_max,
                            .B = w->conv + width->I,
                            .C = w->conv + width->I + width->BC,
                            .ldbc = width->ld_conv,
                            .y = w->y,
                            .ldy = width->ldI,
                            .half = l->half,
                            .delta = w->delta,
                            .dA = w->dA,
                            .of_samples = l->pass->samples > 0 && l->state,
                            .state = l->state ? l->state : w->state};
    l->on->ssd(l->batch, &ssd);
}

// v = RMSNorm(y · silu(z)) · w_gate, or the gate last
static void norm_gated(const struct layer *l)
{
    const struct gated_norm norm = {.y = l->w->y,
                                    .z = l->w->in,
                                    .ldy = l->width.ldI,
                                    .ldz = l->width.ld_in,
                                    .weight = l->p->gate,
                                    .width = l->width.I,
                                    .parts = l->d->norm_groups,
                                    .eps = l->d->norm_eps,
                                    .gate_last = l->d->gate_last,
                                    .half = l->half,
                                    .out = l->w->normed,
                                    .ldo = l->width.ldI};
    l->on->gated_norm(l->batch, &norm);
}

static bool give(const struct layer *l, int component, const float *values, long ld, int width)
{
    return l->pass->give(l->pass, component, &(struct seen){.values = values, .ld = ld, .width = width});
}

static bool give_inputs(const struct layer *l)
{
    const struct mamba2_width *w = &l->width;
    const float *conv = l->w->conv, *in = l->w->in + w->ldI;
    return give(l, MAMBA2_CONV1D_INPUT, in, w->ld_in, w->conv) &&
           give(l, MAMBA2_CONV1D_OUTPUT, conv, w->ld_conv, w->conv) &&
           give(l, MAMBA2_SSM_INPUT, conv, w->ld_conv, w->I) &&
           give(l, MAMBA2_SSM_B, conv + w->I, w->ld_conv, w->BC) &&
           give(l, MAMBA2_SSM_C, conv + w->I + w->BC, w->ld_conv, w->BC) &&
           give(l, MAMBA2_SSM_DT, in + w->ld_conv, w->ld_in, w->H);
}

// ---- observers ----

// One part of what a step leaves, compact, with zeros behind it up to a multiple of 16.
static void observe_part(const struct layer *l, int site, const float *values, long ld, int width,
                         const int32_t *order, const struct hadamard *rotation)
{
    float *room = l->pass->room;
    const struct seen seen = {
        .values = values, .ld = ld, .width = width, .order = order, .rotation = rotation};
    const int count = l->batch->tokens * width, padded = round_up16(count);
    const struct observed rows = {room, l->batch->tokens, width, {{0, width}}, 1, .scratch = room};
    l->on->keep(l->batch, &seen, room);
    if (padded > count) l->on->zero(l->batch, room + count, padded - count);
    l->pass->observe(l->pass, site, &rows);
}

static void observe(const struct layer *l)
{
    const struct mamba2_width *w = &l->width;
    const float *in = l->w->in, *conv = l->w->conv;
    const struct rotations *turn = l->pass->rotations;
    const struct layer_groups *groups = l->pass->groups;
    const struct {
        int site;
        const float *values;
        long ld;
        int width;
        const struct hadamard *rotation;
    } parts[] = {
        {MAMBA2_SITE_IN_PROJ_INPUT, l->pass->xhat, w->ldD, l->d->d_model, &turn->model.forward},
        {MAMBA2_SITE_Z, in, w->ld_in, w->I, NULL},
        {MAMBA2_SITE_X_IN, in + w->ldI, w->ld_in, w->I, NULL},
        {MAMBA2_SITE_B_IN, in + w->ldI + w->I, w->ld_in, w->BC, NULL},
        {MAMBA2_SITE_C_IN, in + w->ldI + w->I + w->BC, w->ld_in, w->BC, NULL},
        {MAMBA2_SITE_DT, in + w->ldI + w->ld_conv, w->ld_in, w->H, NULL},
        {MAMBA2_SITE_X_OUT, conv, w->ld_conv, w->I, NULL},
        {MAMBA2_SITE_B_OUT, conv + w->I, w->ld_conv, w->BC, NULL},
        {MAMBA2_SITE_C_OUT, conv + w->I + w->BC, w->ld_conv, w->BC, NULL},
        {MAMBA2_SITE_OUT_PROJ_INPUT, l->w->normed, w->ldI, w->I, &turn->inner.forward},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        observe_part(l, parts[i].site, parts[i].values, parts[i].ld, parts[i].width,
                     parts[i].site == MAMBA2_SITE_OUT_PROJ_INPUT && groups ? groups->channels : NULL,
                     parts[i].rotation);
    const struct observed state = {l->state,
                                   (long)w->H * l->d->d_state,
                                   w->ldP,
                                   {{0, l->d->head_dim}},
                                   1,
                                   .scratch = l->pass->room,
                                   .of_samples = true};
    l->pass->observe(l->pass, MAMBA2_SITE_STATE, &state);
}

// ---- groups ----

// *most becomes max|x| of it and of elements [0, count), `stride` apart.
static void take_most(float *most, const float *x, long count, long stride)
{
    for (long i = 0; i < count; i++)
        if (fabsf(x[i * stride]) > *most) *most = fabsf(x[i * stride]);
}

// max|x| of columns [0, count) of the rows, count <= BESIDE.
enum { BESIDE = 64 };
static void find_largest(const float *rows, long tokens, long ld, int count, float largest[BESIDE])
{
    memset(largest, 0, BESIDE * sizeof *largest);
    for (long t = 0; t < tokens; t++)
        for (int i = 0; i < count; i++)
            largest[i] = fabsf(rows[t * ld + i]) > largest[i] ? fabsf(rows[t * ld + i]) : largest[i];
}

// Every channel of u counts in the group of its place, B and C in their own groups.
static void observe_groups(const struct layer *l, const float *conv, long tokens, float *most)
{
    const struct mamba2_width *w = &l->width;
    const struct layer_groups *groups = l->pass->groups;
    const struct groups_scales at = groups_scales(l->d);
    const int N = l->d->d_state;
    float largest[BESIDE];
    memset(most, 0, (size_t)at.count * sizeof *most);
    for (int first = 0; first < w->conv; first += BESIDE) {
        const int count = w->conv - first < BESIDE ? w->conv - first : BESIDE;
        find_largest(conv + first, tokens, w->ld_conv, count, largest);
        for (int i = first; i < first + count; i++) {
            const int group = i < w->I           ? at.u + groups->of_place[groups->places[i]]
                              : i < w->I + w->BC ? at.B + (i - w->I) / N
                                                 : at.C + (i - w->I - w->BC) / N;
            take_most(most + group, &largest[i - first], 1, 1);
        }
    }
}

// So does every channel of the state.
static void observe_group_states(const struct layer *l, const float *states, float *most)
{
    const struct mamba2_width *w = &l->width;
    const struct layer_groups *groups = l->pass->groups;
    const long N = l->d->d_state, P = l->d->head_dim;
    most += groups_scales(l->d).state;
    for (int place = 0; place < w->I; place++) {
        const long channel = groups->channels[place];
        const float *state = states + channel / P * N * w->ldP + channel % P;
        for (long n = 0; n < N; n++)
            take_most(most + groups->of_place[place] * N + n, state + n * w->ldP, 1, 1);
    }
}

// mean over the tokens of |u|, summed in FP32 in their order
static void average_channels(const struct layer *l, const float *conv, int tokens, float *means)
{
    memset(means, 0, (size_t)l->width.I * sizeof *means);
    for (int t = 0; t < tokens; t++)
        for (int i = 0; i < l->width.I; i++)
            means[i] += fabsf(conv[t * (long)l->width.ld_conv + i]);
    for (int i = 0; i < l->width.I; i++)
        means[i] /= (float)tokens;
}

// On the host; NULL where it could not be had.
static const float *here(const struct layer *l, const float *values, long count)
{
    return l->on->fetch ? l->on->fetch(l->batch, values, count) : values;
}

// What groups are asked for of samples that go together: the threads of the host share them.
struct on_host {
    const struct layer *layer;
    const float *values; // of all samples
};

static void observe_convs(void *context, int part, int begin, int end)
{
    const struct on_host *on_host = context;
    const struct layer *l = on_host->layer;
    const struct pass *p = l->pass;
    const float *conv = on_host->values;
    (void)part;
    for (int s = 0; s < end; s++) {
        const int tokens = p->samples > 0 ? p->lengths[s] : l->batch->tokens;
        if (s >= begin && p->group_most) observe_groups(l, conv, tokens, p->group_most + s * p->group_row);
        if (s >= begin && p->channel_means)
            average_channels(l, conv, tokens, p->channel_means + s * p->means_row);
        conv += tokens * (long)l->width.ld_conv;
    }
}

static void observe_states(void *context, int part, int begin, int end)
{
    const struct on_host *on_host = context;
    const struct layer *l = on_host->layer;
    const long states = (long)l->width.H * l->d->d_state * l->width.ldP;
    (void)part;
    for (int s = begin; s < end; s++)
        observe_group_states(l, on_host->values + s * states, l->pass->group_most + s * l->pass->group_row);
}

// NULL: lost.
static void share(const struct layer *l, const float *values, team_range body)
{
    const int samples = l->pass->samples > 0 ? l->pass->samples : 1,
              parts = samples < TEAM_MOST_PARTS ? samples : TEAM_MOST_PARTS;
    struct on_host on_host = {l, values};
    if (values) team_divide(l->on->team(l->batch), parts, samples, 1, body, &on_host);
}

static void observe_channels(const struct layer *l)
{
    const struct pass *p = l->pass;
    const long samples = p->samples > 0 ? p->samples : 1,
               states = (long)l->width.H * l->d->d_state * l->width.ldP;
    share(l, here(l, l->w->conv, l->batch->tokens * (long)l->width.ld_conv), observe_convs);
    if (p->group_most && l->state) share(l, here(l, l->state, samples * states), observe_states);
}

// Where the scan leaves its state for observers: of each sample, where some go together.
static float *place_of_state(const struct pass *pass, const struct mamba2_width *w)
{
    const struct mamba2_work *work = pass->work;
    if (pass->samples == 0) return work->state;
    if (!pass->observe) return NULL;
    return pass->batch->backend->per_sample(pass->batch, (long)w->H * pass->dims->d_state * w->ldP);
}

bool mamba2_layer_float(const struct pass *pass)
{
    const struct mamba2_width width = mamba2_width_of(pass->dims);
    const struct layer l = {.pass = pass,
                            .on = pass->batch->backend,
                            .batch = pass->batch,
                            .d = pass->dims,
                            .w = pass->work,
                            .p = pass->weights,
                            .width = width,
                            .half = pass->recipe->precision == PRECISION_FP16,
                            .state = place_of_state(pass, &width)};
    const int D = pass->dims->d_model, I = pass->dims->d_inner;
    pass->batch->broken = pass->batch->tokens; // no cast hides what is not finite
    project_in(&l);
    if (!give(&l, MAMBA2_MIXER_INPUT, pass->xhat, l.width.ldD, D)) return false;
    convolve(&l);
    if (!give_inputs(&l)) return false;
    scan_tokens(&l);
    if (!give(&l, MAMBA2_SSM_OUTPUT, l.w->y, l.width.ldI, I)) return false;
    norm_gated(&l);
    if (pass->observe) observe(&l);
    if (pass->group_most || pass->channel_means) observe_channels(&l);
    if (!give(&l, MAMBA2_NORM_OUTPUT, l.w->normed, l.width.ldI, I)) return false;
    product(pass, l.w->normed, l.width.ldI, l.p->out_proj, I, pass->h, l.width.ldD); // o = v W_outᵀ
    return give(&l, MAMBA2_MIXER_OUTPUT, pass->h, l.width.ldD, D);
}
