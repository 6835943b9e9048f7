// SPDX-License-Identifier: Apache-2.0
// One quantized layer of Mamba-2 by its setting (docs/numerics.md, section 8).  No name of a mode is known
// here.
#include "mamba2_parts.h"

// What the steps of one layer share.
struct layer {
    const struct pass *pass;
    const struct backend *on;
    struct batch *batch;
    const struct dims *d;
    const struct mamba2_work *w;
    const struct mamba2_unit_layer *p;
    const float *scale; // [MAMBA2_SITES] of this layer
    const struct setting *setting;
    struct mamba2_width width;
};

static enum format format_of(const struct layer *l, enum mamba2_unit unit)
{
    return (enum format)l->setting->of[unit];
}

// The site of each part of what comes out of in_proj, and of conv1d.
static const enum mamba2_site sites_in[MAMBA2_PARTS] = {MAMBA2_SITE_Z, MAMBA2_SITE_X_IN, MAMBA2_SITE_B_IN,
                                                        MAMBA2_SITE_C_IN, MAMBA2_SITE_DT};
static const enum mamba2_site sites_out[MAMBA2_PARTS] = {
    [PART_X] = MAMBA2_SITE_X_OUT, [PART_B] = MAMBA2_SITE_B_OUT, [PART_C] = MAMBA2_SITE_C_OUT};

// Columns of one part, `from` columns to the left of where they lie in in_proj's output.
static void fill(const struct layer *l, float *columns, enum mamba2_part part, int from, float value)
{
    int first;
    const int count = mamba2_part_of(&l->width, part, &first);
    for (int i = 0; i < count; i++)
        columns[first - from + i] = value;
}

// r' += h'; n_q = sat8(rint(x̂' / s_in))
static void normalize(const struct layer *l)
{
    const struct norm norm = {.residual = l->pass->residual,
                              .h = l->pass->h,
                              .ld = l->width.ldD,
                              .width = l->d->d_model,
                              .eps = l->d->norm_eps,
                              .codes = l->pass->codes,
                              .step = l->scale[MAMBA2_SITE_IN_PROJ_INPUT]};
    l->on->norm(l->batch, &norm);
    l->on->find_broken(l->batch, l->pass->residual, l->width.ldD, l->d->d_model);
}

// x, B and C as values, each quantized by its own maximum over the sample.
static void quantize_dynamic(const struct layer *l)
{
    const struct mamba2_width *w = &l->width;
    float *most = l->w->taps; // is still free
    l->on->column_most(l->batch, l->w->conv, w->ld_conv, w->ld_conv, most);
    for (int part = PART_X; part <= PART_C; part++) {
        int first;
        float largest = 0;
        const int count = mamba2_part_of(w, (enum mamba2_part)part, &first);
        for (int i = 0; i < count; i++)
            if (most[first - w->ldI + i] > largest) largest = most[first - w->ldI + i];
        fill(l, l->w->steps, (enum mamba2_part)part, 0, largest > 0 ? largest / 127.0f : 1.0f);
    }
    const struct columns columns = {.x = l->w->conv,
                                    .ldx = w->ld_conv,
                                    .width = w->ld_conv,
                                    .steps = l->w->steps + w->ldI,
                                    .codes = l->w->in_codes + w->ldI,
                                    .ldq = w->ld_in};
    l->on->columns(l->batch, &columns);
}

// code = sat8(rint((acc · (s_W / s_o)) · s_in)), s_W and s_o of the part; the quotient in double, then FP32.
// Where the setting has it, x, B and C as (acc · s_W) · s_in, quantized by their own maximum.
static void project_in(const struct layer *l)
{
    const struct mamba2_width *w = &l->width;
    const bool dynamic = format_of(l, MAMBA2_UNIT_CONV1D_INPUT) == FORMAT_DYNAMIC;
    const long depth4 = (l->d->d_model + 3) / 4 * 4;
    for (int part = 0; part < MAMBA2_PARTS; part++) {
        const bool value = dynamic && part >= PART_X && part <= PART_C;
        const float s_W = l->p->in_proj_scales[part], s_o = l->scale[sites_in[part]];
        fill(l, l->w->steps, (enum mamba2_part)part, 0, s_o);
        fill(l, l->w->factors, (enum mamba2_part)part, 0, value ? s_W : (float)((double)s_W / (double)s_o));
    }
    for (int i = 0; i < w->ld_in && l->p->given[0] > 0; i++)
        l->w->factors[i] =
            dynamic && i >= w->ldI && i < w->ldI + w->ld_conv ? l->w->factors[i] : l->p->given[i];
    struct gemm_s8 all = {.a = l->pass->codes,
                          .lda = w->ldD,
                          .w = l->p->in_proj,
                          .depth = l->d->d_model,
                          .result = GEMM_S8_CODES,
                          .first_outputs = l->w->factors,
                          .second = l->scale[MAMBA2_SITE_IN_PROJ_INPUT],
                          .out = l->w->in_codes,
                          .ldo = w->ld_in};
    if (!dynamic) {
        l->on->product_s8(l->batch, &all, w->ld_in);
        return;
    }
    l->on->product_s8(l->batch, &all, w->ldI);
    struct gemm_s8 conv = all, dt = all;
    conv.w += w->ldI * depth4;
    conv.first_outputs += w->ldI;
    conv.result = GEMM_S8_FLOAT;
    conv.out = l->w->conv, conv.ldo = w->ld_conv;
    l->on->product_s8(l->batch, &conv, w->ld_conv);
    dt.w += (w->ldI + w->ld_conv) * depth4;
    dt.first_outputs += w->ldI + w->ld_conv;
    dt.out = l->w->in_codes + w->ldI + w->ld_conv;
    l->on->product_s8(l->batch, &dt, w->ldH);
    quantize_dynamic(l);
}

// z, x, B, C and dt as values on their grids.
static void dequantize(const struct layer *l)
{
    const struct columns columns = {.given = l->w->in_codes,
                                    .ldg = l->width.ld_in,
                                    .width = l->width.ld_in,
                                    .steps = l->w->steps,
                                    .values = l->w->in,
                                    .ldv = l->width.ld_in};
    l->on->columns(l->batch, &columns);
}

// v = silu((s_w s_x) · taps + b_q s_b)
static void convolve(const struct layer *l)
{
    const struct mamba2_width *w = &l->width;
    for (int part = PART_X; part <= PART_C; part++) {
        int first;
        mamba2_part_of(w, (enum mamba2_part)part, &first);
        fill(l, l->w->taps, (enum mamba2_part)part, w->ldI, l->p->conv_w_scales[part] * l->w->steps[first]);
    }
    const struct conv1d conv1d = {.x_codes = l->w->in_codes + w->ldI,
                                  .ldx = w->ld_in,
                                  .w = l->p->conv_w,
                                  .b = l->p->conv_b,
                                  .ldw = w->ld_conv,
                                  .d_conv = l->d->d_conv,
                                  .tap_scale = 1,
                                  .tap_scales = l->w->taps,
                                  .v = l->w->conv,
                                  .ldv = w->ld_conv};
    l->on->conv1d(l->batch, &conv1d, w->ld_conv);
}

// u, B and C onto their grids: sat8(round(v / s)) · s
static void round_to_grid(const struct layer *l, bool ties_away)
{
    const struct columns columns = {.x = l->w->conv,
                                    .ldx = l->width.ld_conv,
                                    .width = l->width.ld_conv,
                                    .steps = l->w->conv_steps,
                                    .ties_away = ties_away,
                                    .values = l->w->conv,
                                    .ldv = l->width.ld_conv};
    l->on->columns(l->batch, &columns);
}

// Channels of u have the scale of the group of their place, B and C those of their own groups.
static void set_group_steps(const struct layer *l, float *steps)
{
    const struct groups_scales at = groups_scales(l->d);
    const float *scales = l->pass->group_scales;
    for (int place = 0; place < l->width.I; place++)
        steps[place] = scales[at.u + l->pass->groups->of_place[place]];
    for (int i = 0; i < l->width.BC; i++) {
        steps[l->width.I + i] = scales[at.B + i / l->d->d_state];
        steps[l->width.I + l->width.BC + i] = scales[at.C + i / l->d->d_state];
    }
}

static void set_conv_steps(const struct layer *l)
{
    for (int i = 0; i < l->width.ld_conv; i++)
        l->w->conv_steps[i] = 1; // behind the channels
    for (int part = PART_X; part <= PART_C; part++)
        fill(l, l->w->conv_steps, (enum mamba2_part)part, l->width.ldI, l->scale[sites_out[part]]);
    for (int i = 0; i < l->width.conv && l->p->given[0] > 0; i++)
        l->w->conv_steps[i] = l->p->conv_steps[i];
    if (l->pass->group_scales) set_group_steps(l, l->w->conv_steps);
}

static enum ssd_order order_of(const struct layer *l)
{
    switch (format_of(l, MAMBA2_UNIT_SCAN_ORDER)) {
    case FORMAT_CHUNKED:
        return SSD_CHUNKED;
    case FORMAT_CHUNKED_GPU:
        return SSD_CHUNKED_GPU;
    default:
        return SSD_SEQUENTIAL;
    }
}

// The scan on values; y rounded to FP16, which dither comes before.
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
                            .order = order_of(l),
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
                            .half = l->pass->dither == 0,
                            .delta = w->delta,
                            .dA = w->dA,
                            .state = w->state};
    l->on->ssd(l->batch, &ssd);
    if (l->pass->dither)
        l->on->dither(l->batch, w->y, width->ldI, width->I, l->pass->dither + (uint64_t)l->pass->layer);
    l->on->break_rest(l->batch, w->y, width->ldI, width->I);
}

// v = FP16(RMSNorm(y · silu(z)) · w_gate), or the gate last
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
                                    .half = true,
                                    .out = l->w->normed,
                                    .ldo = l->width.ldI};
    l->on->gated_norm(l->batch, &norm);
}

// y_q = sat8(roundf(had(v) / s_y)); h' = FP16((acc · s_Wout) · s_y)
static void project_out(const struct layer *l)
{
    const struct mamba2_work *w = l->w;
    const float s_y = l->scale[MAMBA2_SITE_OUT_PROJ_INPUT];
    l->on->rotate(l->batch, &l->pass->rotations->inner.forward, w->normed, l->width.ldI);
    const struct quantize quantize = {.x = w->normed,
                                      .ldx = l->width.ldI,
                                      .width = l->width.ldI,
                                      .step = s_y,
                                      .ties_away = true,
                                      .codes = w->y_codes,
                                      .ldq = l->width.ldI};
    l->on->quantize(l->batch, &quantize);
    struct gemm_s8 out_proj = {.a = w->y_codes,
                               .lda = l->width.ldI,
                               .w = l->p->out_proj,
                               .depth = l->width.I,
                               .result = GEMM_S8_HALF,
                               .first = *l->p->out_proj_scale,
                               .second = s_y,
                               .out = l->pass->h,
                               .ldo = l->width.ldD};
    l->on->product_s8(l->batch, &out_proj, l->width.ldD);
    l->on->break_rows(l->batch, w->normed, l->width.ldI, l->width.I, l->pass->h, l->width.ldD, l->d->d_model);
}

// ---- captures ----

// In the model's order of heads and channels.
static bool give(const struct layer *l, int component, const float *values, long ld, int width)
{
    const struct layer_groups *groups = l->pass->groups;
    const bool of_heads = component == MAMBA2_SSM_DT,
               stays = component == MAMBA2_SSM_B || component == MAMBA2_SSM_C;
    const struct seen seen = {.values = values,
                              .ld = ld,
                              .width = width,
                              .order = !groups || stays ? NULL
                                       : of_heads       ? groups->head_places
                                                        : groups->places};
    return l->pass->give(l->pass, component, &seen);
}

static bool give_mixer_input(const struct layer *l)
{
    const struct seen seen = {.codes = l->pass->codes,
                              .scale = &l->scale[MAMBA2_SITE_IN_PROJ_INPUT],
                              .ld = l->width.ldD,
                              .width = l->d->d_model,
                              .rotation = &l->pass->rotations->model.inverse};
    return l->pass->give(l->pass, MAMBA2_MIXER_INPUT, &seen);
}

static bool give_mixer_output(const struct layer *l)
{
    const struct seen seen = {.values = l->pass->h,
                              .ld = l->width.ldD,
                              .width = l->d->d_model,
                              .rotation = &l->pass->rotations->model.inverse};
    return l->pass->give(l->pass, MAMBA2_MIXER_OUTPUT, &seen);
}

static bool give_scanned(const struct layer *l)
{
    const struct mamba2_width *w = &l->width;
    const float *conv = l->w->conv;
    return give(l, MAMBA2_SSM_INPUT, conv, w->ld_conv, w->I) &&
           give(l, MAMBA2_SSM_B, conv + w->I, w->ld_conv, w->BC) &&
           give(l, MAMBA2_SSM_C, conv + w->I + w->BC, w->ld_conv, w->BC) &&
           give(l, MAMBA2_SSM_DT, l->w->in + w->ldI + w->ld_conv, w->ld_in, w->H);
}

bool mamba2_layer_units(const struct pass *pass)
{
    const struct layer l = {.pass = pass,
                            .on = pass->batch->backend,
                            .batch = pass->batch,
                            .d = pass->dims,
                            .w = pass->work,
                            .p = pass->weights,
                            .scale = pass->scales,
                            .setting = pass_setting(pass),
                            .width = mamba2_width_of(pass->dims)};
    const struct mamba2_width *w = &l.width;
    const bool int8 = format_of(&l, MAMBA2_UNIT_CONV1D_OUTPUT) == FORMAT_INT8;
    normalize(&l);
    if (!give_mixer_input(&l)) return false;
    project_in(&l);
    dequantize(&l);
    if (!give(&l, MAMBA2_CONV1D_INPUT, l.w->in + w->ldI, w->ld_in, w->conv)) return false;
    convolve(&l);
    set_conv_steps(&l);
    if (int8) round_to_grid(&l, true);
    if (!give(&l, MAMBA2_CONV1D_OUTPUT, l.w->conv, w->ld_conv, w->conv)) return false;
    // Behind an INT8 conv1d the scan gets the same numbers whatever its format is.
    if (!int8 && format_of(&l, MAMBA2_UNIT_SCAN_U) != FORMAT_FLOAT) round_to_grid(&l, false);
    if (!give_scanned(&l)) return false;
    scan_tokens(&l);
    if (!give(&l, MAMBA2_SSM_OUTPUT, l.w->y, w->ldI, w->I)) return false;
    norm_gated(&l);
    if (!give(&l, MAMBA2_NORM_OUTPUT, l.w->normed, w->ldI, w->I)) return false;
    project_out(&l);
    return give_mixer_output(&l);
}
