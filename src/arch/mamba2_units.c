// SPDX-License-Identifier: Apache-2.0
// One quantized layer of Mamba-2 by its setting (docs/numerics.md, section 8).  No name of a mode is known
// here.
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
    const struct mamba2_unit_layer *p;
    const float *scale; // [MAMBA2_SITES] of this layer
    const struct setting *setting;
    struct mamba2_width width;
};

static enum format format_of(const struct layer *l, enum mamba2_unit unit)
{
    return (enum format)l->setting->of[unit];
}

// In the form in which its product takes it.
static const struct packed_weight *weight_of(const struct layer *l, enum mamba2_unit weight)
{
    return &l->p->of[weight][format_of(l, weight)][mamba2_takes_codes(l->setting, weight)];
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

// ---- scales and factors of columns, made on the host ----

// What comes out of in_proj side by side: z; x, B and C; dt.
struct section {
    enum format format; // FORMAT_FLOAT of what is quantized behind it
    int first, width;   // of in_proj's padded outputs
    float *values;      // [L][ldv]
    long ldv;
};
enum { SECTION_Z, SECTION_CONV, SECTION_DT, SECTIONS };

static bool is_dynamic(enum format format)
{
    return format == FORMAT_DYNAMIC || format == FORMAT_DYNAMIC_TOKEN;
}

static void find_sections(const struct layer *l, struct section sections[SECTIONS])
{
    const struct mamba2_width *w = &l->width;
    const enum format conv = format_of(l, MAMBA2_UNIT_CONV1D_INPUT);
    float *in = l->w->in;
    sections[SECTION_Z] = (struct section){format_of(l, MAMBA2_UNIT_GATE_INPUT), 0, w->ldI, in, w->ld_in};
    sections[SECTION_CONV] = (struct section){conv, w->ldI, w->ld_conv, in + w->ldI, w->ld_in};
    sections[SECTION_DT] = (struct section){format_of(l, MAMBA2_UNIT_SCAN_DT), w->ldI + w->ld_conv, w->ldH,
                                            in + w->ldI + w->ld_conv, w->ld_in};
    if (!is_dynamic(conv)) return;
    sections[SECTION_CONV].format = FORMAT_FLOAT;
    sections[SECTION_CONV].values = l->w->conv, sections[SECTION_CONV].ldv = w->ld_conv;
}

// What codes mean behind in_proj.
static void set_steps(const struct layer *l, float *steps)
{
    for (int i = 0; i < l->width.ld_in; i++)
        steps[i] = 1; // between the parts
    for (int part = 0; part < MAMBA2_PARTS; part++)
        fill(l, steps, (enum mamba2_part)part, 0, l->scale[sites_in[part]]);
}

// Factors of the sums of codes: s_W / s_o, s_o of the part, as a checkpoint has it or in double, then FP32;
// of 4 bits in FP32; of what is no codes behind it s_W.
static void set_factors(const struct layer *l, const struct packed_weight *w, const struct section *section,
                        const float *steps, float *factors)
{
    const bool coded = section->format == FORMAT_INT8, given = w->given && w->given[0] >= 0,
               four_bits = format_group(format_of(l, MAMBA2_UNIT_IN_PROJ)) > 0;
    for (int i = section->first; i < section->first + section->width; i++) {
        const float s_W = w->scales[i], s_o = steps[i];
        factors[i] = !coded      ? s_W
                     : given     ? w->given[i]
                     : four_bits ? s_W / s_o
                                 : (float)((double)s_W / (double)s_o);
    }
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

// What codes mean behind conv1d.
static void set_conv_steps(const struct layer *l, float *steps)
{
    for (int i = 0; i < l->width.ld_conv; i++)
        steps[i] = 1; // behind the channels
    for (int part = PART_X; part <= PART_C; part++)
        fill(l, steps, (enum mamba2_part)part, l->width.ldI, l->scale[sites_out[part]]);
    for (int i = 0; i < l->width.conv && l->p->conv_steps[0] > 0; i++)
        steps[i] = l->p->conv_steps[i];
    if (l->pass->group_scales) set_group_steps(l, steps);
}

// All of them at once; what a backend has no memory for settle() tells.
static void set_vectors(const struct layer *l)
{
    const struct packed_weight *w = weight_of(l, MAMBA2_UNIT_IN_PROJ);
    const long ld_in = l->width.ld_in;
    struct section sections[SECTIONS];
    float *steps = l->on->draft(l->batch, l->w->steps, 2 * ld_in + l->width.ld_conv);
    if (!steps) return;
    find_sections(l, sections);
    set_steps(l, steps);
    for (int i = 0; i < SECTIONS && w->codes; i++)
        set_factors(l, w, &sections[i], steps, steps + ld_in);
    set_conv_steps(l, steps + 2 * ld_in);
    l->on->put(l->batch);
}

// x [L][ld] on a grid, of one scale or of each token's maximum.
static struct operand quantized(const struct layer *l, const float *x, long ld, const float *step,
                                bool ties_away, int8_t *codes)
{
    const struct quantize quantize = {.x = x,
                                      .ldx = ld,
                                      .width = (int)ld,
                                      .of = step ? STEP_GIVEN : STEP_OF_ROWS,
                                      .step = step ? *step : 0,
                                      .steps = l->w->row_scales,
                                      .ties_away = ties_away,
                                      .codes = codes,
                                      .ldq = ld};
    l->on->quantize(l->batch, &quantize);
    return (struct operand){
        .codes = codes, .ld = ld, .scale = step ? step : l->w->row_scales, .by_row = !step};
}

// ---- norm and in_proj ----

// r' += h'; x̂'; on a grid n_q = sat8(rint(x̂' / s_in))
static struct operand normalize(const struct layer *l)
{
    const struct pass *pass = l->pass;
    const enum format format = format_of(l, MAMBA2_UNIT_IN_PROJ_INPUT);
    const float *step = &l->scale[MAMBA2_SITE_IN_PROJ_INPUT];
    const bool on_grid = format == FORMAT_INT8;
    const struct norm norm = {.residual = pass->residual,
                              .h = pass->h,
                              .ld = l->width.ldD,
                              .width = l->d->d_model,
                              .eps = l->d->norm_eps,
                              .xhat = on_grid ? NULL : pass->xhat,
                              .codes = on_grid ? pass->codes : NULL,
                              .step = *step};
    l->on->norm(l->batch, &norm);
    l->on->find_broken(l->batch, pass->residual, l->width.ldD, l->d->d_model);
    if (on_grid) return of_codes(pass->codes, l->width.ldD, step);
    if (format == FORMAT_FP16) l->on->round_half(l->batch, pass->xhat, l->width.ldD);
    if (format == FORMAT_DYNAMIC_TOKEN)
        return quantized(l, pass->xhat, l->width.ldD, NULL, false, pass->codes);
    return of_values(pass->xhat, l->width.ldD);
}

static bool are_all_codes(const struct section sections[SECTIONS])
{
    return sections[SECTION_Z].format == FORMAT_INT8 && sections[SECTION_CONV].format == FORMAT_INT8 &&
           sections[SECTION_DT].format == FORMAT_INT8;
}

static const int32_t *project_codes(const struct layer *l, const struct operand *n,
                                    const struct section *section, const int32_t *bias128)
{
    const struct packed_weight *w = weight_of(l, MAMBA2_UNIT_IN_PROJ);
    const bool coded = section->format == FORMAT_INT8;
    struct gemm_s8 gemm = {.a = n->codes,
                           .lda = n->ld,
                           .w = w->codes + section->first * ((l->d->d_model + 3L) / 4 * 4),
                           .depth = l->d->d_model,
                           .bias128 = bias128,
                           .result = coded                            ? GEMM_S8_CODES
                                     : section->format == FORMAT_FP16 ? GEMM_S8_HALF
                                                                      : GEMM_S8_FLOAT,
                           .first_outputs = l->w->factors + section->first,
                           .second = n->by_row ? 0 : *n->scale, // those of tokens are the backend's
                           .second_rows = n->by_row ? n->scale : NULL,
                           .out = coded ? (void *)(l->w->in_codes + section->first) : (void *)section->values,
                           .ldo = coded ? l->width.ld_in : section->ldv};
    l->on->product_s8(l->batch, &gemm, section->width);
    return gemm.bias128;
}

// On a grid sat8(rint(sum / s_o)).
static void project_values(const struct layer *l, const struct operand *n, const struct section *section)
{
    const struct packed_weight *w = weight_of(l, MAMBA2_UNIT_IN_PROJ);
    const struct gemm_f32 gemm = {.a = n->values,
                                  .lda = n->ld,
                                  .w = w->values + (long)section->first * l->d->d_model,
                                  .depth = l->d->d_model,
                                  .out = section->values,
                                  .ldo = section->ldv,
                                  .half = section->format == FORMAT_FP16};
    l->on->product_f32(l->batch, &gemm, section->width);
    if (section->format != FORMAT_INT8) return;
    const struct columns columns = {.x = section->values,
                                    .ldx = section->ldv,
                                    .width = section->width,
                                    .steps = l->w->steps + section->first,
                                    .codes = l->w->in_codes + section->first,
                                    .ldq = l->width.ld_in};
    l->on->columns(l->batch, &columns);
}

// Scales that are made of a part: of each sample, or token; the memory is still free.
static float *made_steps(const struct layer *l, enum mamba2_part part)
{
    return l->w->delta + (part - PART_X) * (long)l->batch->tokens;
}

// x, B and C as values, each quantized by its own maximum of the sample or of each token.
static void quantize_dynamic(const struct layer *l, bool by_row)
{
    const struct mamba2_width *w = &l->width;
    for (int part = PART_X; part <= PART_C; part++) {
        int first;
        const int width = mamba2_part_of(w, (enum mamba2_part)part, &first);
        const struct quantize quantize = {.x = l->w->conv + first - w->ldI,
                                          .ldx = w->ld_conv,
                                          .width = width,
                                          .of = by_row ? STEP_OF_ROWS : STEP_OF_SAMPLE,
                                          .steps = made_steps(l, (enum mamba2_part)part),
                                          .codes = l->w->in_codes + first,
                                          .ldq = w->ld_in};
        l->on->quantize(l->batch, &quantize);
        const struct dequantize dequantize = {.codes = quantize.codes,
                                              .ldq = w->ld_in,
                                              .width = width,
                                              .scale = quantize.steps,
                                              .by_row = by_row,
                                              .values = l->w->in + first,
                                              .ldv = w->ld_in};
        l->on->dequantize(l->batch, &dequantize);
    }
}

// Codes of a part of in_proj's outputs as values.
static void dequantize(const struct layer *l, int first, int width)
{
    const struct columns columns = {.given = l->w->in_codes + first,
                                    .ldg = l->width.ld_in,
                                    .width = width,
                                    .steps = l->w->steps + first,
                                    .values = l->w->in + first,
                                    .ldv = l->width.ld_in};
    l->on->columns(l->batch, &columns);
}

// z, x, B, C and dt as values, and as codes where they are on a grid: sat8(rint((acc · (s_W / s_o)) · s_in)).
static void project_in(const struct layer *l, const struct operand *input)
{
    const struct packed_weight *w = weight_of(l, MAMBA2_UNIT_IN_PROJ);
    const enum format conv = format_of(l, MAMBA2_UNIT_CONV1D_INPUT);
    struct section sections[SECTIONS];
    const int32_t *bias128 = NULL;
    int count = SECTIONS;
    find_sections(l, sections);
    if (are_all_codes(sections)) {
        sections[0].width = l->width.ld_in;
        count = 1;
    }
    const struct operand n =
        w->codes ? *input : valued(l->pass, input, l->width.ldD, l->pass->normed, input->ld);
    for (int i = 0; i < count; i++) {
        if (w->codes)
            bias128 = project_codes(l, &n, &sections[i], bias128);
        else
            project_values(l, &n, &sections[i]);
    }
    if (is_dynamic(conv)) quantize_dynamic(l, conv == FORMAT_DYNAMIC_TOKEN);
    for (int i = 0; i < count; i++)
        if (sections[i].format == FORMAT_INT8) dequantize(l, sections[i].first, sections[i].width);
}

// ---- conv1d and scan ----

// v = silu((s_w s_x) · taps + b) of codes, else silu(taps + b) of values
static void convolve(const struct layer *l)
{
    const struct mamba2_width *w = &l->width;
    const struct packed_weight *taps = weight_of(l, MAMBA2_UNIT_CONV_W);
    const bool coded = mamba2_takes_codes(l->setting, MAMBA2_UNIT_CONV_W),
               dynamic = format_of(l, MAMBA2_UNIT_CONV1D_INPUT) == FORMAT_DYNAMIC;
    struct conv1d conv1d = {.x_float = coded ? NULL : l->w->in + w->ldI,
                            .x_codes = coded ? l->w->in_codes + w->ldI : NULL,
                            .ldx = w->ld_in,
                            .w = taps->values,
                            .b = weight_of(l, MAMBA2_UNIT_CONV_B)->values,
                            .ldw = w->ld_conv,
                            .d_conv = l->d->d_conv,
                            .tap_scale = 1,
                            .tap_scales = coded ? taps->scales : NULL,
                            .taps = l->w->taps,
                            .half = format_of(l, MAMBA2_UNIT_CONV1D_OUTPUT) == FORMAT_FP16,
                            .v = l->w->conv,
                            .ldv = w->ld_conv};
    for (int part = PART_X; part <= PART_C && coded; part++) {
        int first;
        const int count = mamba2_part_of(w, (enum mamba2_part)part, &first), i = part - PART_X;
        conv1d.part_ends[i] = first - w->ldI + count;
        conv1d.part_scales[i] = dynamic ? made_steps(l, (enum mamba2_part)part) : &l->scale[sites_in[part]];
    }
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

enum ssd_order mamba2_scan_order(const struct recipe *recipe, int layer)
{
    if (recipe_is_float(recipe)) return SSD_SEQUENTIAL;
    switch ((enum format)recipe->layers[layer].of[MAMBA2_UNIT_SCAN_ORDER]) {
    case FORMAT_CHUNKED:
        return SSD_CHUNKED;
    case FORMAT_CHUNKED_GPU:
        return SSD_CHUNKED_GPU;
    case FORMAT_CHUNKED_FP16:
        return SSD_CHUNKED_HALF;
    default:
        return SSD_SEQUENTIAL;
    }
}

// The scan on values; dither comes before y is rounded to FP16.
static void scan_tokens(const struct layer *l)
{
    const bool half = format_of(l, MAMBA2_UNIT_SCAN_Y) == FORMAT_FP16;
    const struct mamba2_work *w = l->w;
    const struct mamba2_width *width = &l->width;
    const struct ssd ssd = {.length = l->batch->tokens,
                            .heads = width->H,
                            .head_dim = l->d->head_dim,
                            .groups = l->d->n_groups,
                            .d_state = l->d->d_state,
                            .chunk = l->d->chunk_size,
                            .order = mamba2_scan_order(l->pass->recipe, l->pass->layer),
                            .u = w->conv,
                            .ldu = width->ld_conv,
                            .dt = w->in + width->ldI + width->ld_conv,
                            .lddt = width->ld_in,
                            .dt_bias = weight_of(l, MAMBA2_UNIT_DT_BIAS)->values,
                            .A = weight_of(l, MAMBA2_UNIT_A_LOG)->values,
                            .D = weight_of(l, MAMBA2_UNIT_D_SKIP)->values,
                            .dt_min = l->d->dt_min,
                            .dt_max = l->d->dt_max,
                            .B = w->conv + width->I,
                            .C = w->conv + width->I + width->BC,
                            .ldbc = width->ld_conv,
                            .y = w->y,
                            .ldy = width->ldI,
                            .half = half && l->pass->dither == 0,
                            .delta = w->delta,
                            .dA = w->dA,
                            .state = w->state};
    l->on->ssd(l->batch, &ssd);
    if (l->pass->dither)
        l->on->dither(l->batch, w->y, width->ldI, width->I, l->pass->dither + (uint64_t)l->pass->layer);
    if (l->pass->dither && half) l->on->round_half(l->batch, w->y, width->ldI);
    l->on->break_rest(l->batch, w->y, width->ldI, width->I);
}

// v = FP16(RMSNorm(y · silu(z)) · w_gate), or the gate last
static void norm_gated(const struct layer *l)
{
    const struct gated_norm norm = {.y = l->w->y,
                                    .z = l->w->in,
                                    .ldy = l->width.ldI,
                                    .ldz = l->width.ld_in,
                                    .weight = weight_of(l, MAMBA2_UNIT_GATE)->values,
                                    .width = l->width.I,
                                    .parts = l->d->norm_groups,
                                    .eps = l->d->norm_eps,
                                    .gate_last = l->d->gate_last,
                                    .half = format_of(l, MAMBA2_UNIT_NORM_OUTPUT) == FORMAT_FP16,
                                    .out = l->w->normed,
                                    .ldo = l->width.ldI};
    l->on->gated_norm(l->batch, &norm);
}

// had(v); on a grid y_q = sat8(roundf(had(v) / s_y))
static struct operand rotate_y(const struct layer *l)
{
    const struct mamba2_work *w = l->w;
    const enum format format = format_of(l, MAMBA2_UNIT_OUT_PROJ_INPUT);
    const float *s_y = format == FORMAT_INT8 ? &l->scale[MAMBA2_SITE_OUT_PROJ_INPUT] : NULL;
    l->on->rotate(l->batch, &l->pass->rotations->inner.forward, w->normed, l->width.ldI);
    if (s_y || format == FORMAT_DYNAMIC_TOKEN)
        return quantized(l, w->normed, l->width.ldI, s_y, true, w->y_codes);
    if (format == FORMAT_FP16) l->on->round_half(l->batch, w->normed, l->width.ldI);
    return of_values(w->normed, l->width.ldI);
}

// h' = (acc · s_Wout) · s_y, or the sum of values; rounded to FP16 where the setting has it
static void project_out(const struct layer *l)
{
    const struct mamba2_work *work = l->w;
    const struct packed_weight *w = weight_of(l, MAMBA2_UNIT_OUT_PROJ);
    const bool half = format_of(l, MAMBA2_UNIT_MIXER_OUTPUT) == FORMAT_FP16,
               row_scales = w->codes && weight_has_row_scales_of(format_of(l, MAMBA2_UNIT_OUT_PROJ));
    const struct operand input = rotate_y(l),
                         y = w->codes ? input : valued(l->pass, &input, l->width.ldI, work->y, input.ld);
    struct gemm_s8 coded = {.a = y.codes,
                            .lda = y.ld,
                            .w = w->codes,
                            .depth = l->width.I,
                            .result = half ? GEMM_S8_HALF : GEMM_S8_FLOAT,
                            .first = w->codes ? *w->scales : 0,
                            .first_outputs = row_scales ? w->scales : NULL,
                            .second = w->codes && !y.by_row ? *y.scale : 0,
                            .second_rows = y.by_row ? y.scale : NULL,
                            .out = l->pass->h,
                            .ldo = l->width.ldD};
    const struct gemm_f32 floats = {.a = y.values,
                                    .lda = y.ld,
                                    .w = w->values,
                                    .depth = l->width.I,
                                    .out = l->pass->h,
                                    .ldo = l->width.ldD,
                                    .half = half};
    if (w->codes)
        l->on->product_s8(l->batch, &coded, l->width.ldD);
    else
        l->on->product_f32(l->batch, &floats, l->width.ldD);
    l->on->break_rows(l->batch, work->normed, l->width.ldI, l->width.I, l->pass->h, l->width.ldD,
                      l->d->d_model);
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

static bool give_mixer_input(const struct layer *l, const struct operand *n)
{
    const struct seen seen = {.values = n->values,
                              .codes = n->codes,
                              .scale = n->scale,
                              .by_row = n->by_row,
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
    set_vectors(&l);
    const struct operand n = normalize(&l);
    if (!give_mixer_input(&l, &n)) return false;
    project_in(&l, &n);
    if (!give(&l, MAMBA2_CONV1D_INPUT, l.w->in + w->ldI, w->ld_in, w->conv)) return false;
    convolve(&l);
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
