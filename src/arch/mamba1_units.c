// SPDX-License-Identifier: Apache-2.0
// One layer by its setting: each tensor on a grid or float (docs/numerics.md, "One quantized layer").  No
// name of a mode is known here.
//
// Products: where both operands are codes the sums are exact; where one is float both are taken as FP32
// values, and the sums are FP32.
#include "layer_parts.h"
#include "mamba1_parts.h"

// What one layer's steps share.
struct layer {
    const struct pass *pass;
    const struct backend *on;
    struct batch *batch;
    const struct dims *d;
    const struct mamba1_work *w;
    const struct unit_layer *p;
    const struct setting *asked;  // as the recipe has it
    const struct setting setting; // of which activations of FORMAT_INT8_GIVEN are FORMAT_INT8
    struct leading ld;
};

static enum format format_of(const struct layer *l, enum mamba1_unit unit)
{
    return (enum format)l->setting.of[unit];
}

// In the form in which its product takes it.
static const struct packed_weight *weight_of(const struct layer *l, enum mamba1_unit weight)
{
    return &l->p->of[weight][format_of(l, weight)][mamba1_takes_codes(&l->setting, weight)];
}

// The scale of an activation; that of u belongs to who makes its codes, conv1d or x_proj's input.
static const float *scale_of(const struct layer *l, enum mamba1_unit unit)
{
    const int site = mamba1_site_of((int)unit);
    if (site == SITE_X_PROJ_INPUT)
        unit = format_of(l, UNIT_CONV1D_OUTPUT) == FORMAT_INT8 ? UNIT_CONV1D_OUTPUT : UNIT_X_PROJ_INPUT;
    const bool given = l->asked->of[unit] == FORMAT_INT8_GIVEN && l->pass->given && l->pass->given[site] > 0;
    return (given ? l->pass->given : l->pass->scales) + site;
}

// Quotients of scales are taken in double, then FP32.
static float ratio(float a, float b)
{
    return (float)((double)a / (double)b);
}

// ---- projections ----

struct projection {
    struct operand a;
    float *room; // for its values, where it is codes and the weight is not: [L][ld_room]
    long ld_room;
    int depth;
    enum mamba1_unit weight;
    int first, outputs; // of the weight's, multiples of 16
    bool scale_first;   // on a grid: (acc · s_W) · (s_a / s_out), else (acc · (s_a / s_out)) · s_W
    // What comes out: values, and codes where `format` is INT8.
    enum format format;
    float step;
    float *values; // [L][ldv]
    int8_t *codes; // [L][ldq]
    long ldv, ldq;
};

// A scale of the sample is here, those of tokens are where the backend made them.
static void set_scale_of_input(const struct projection *p, float *one, const float **rows)
{
    if (p->a.by_row)
        *rows = p->a.scale;
    else
        *one = *p->a.scale;
}

// (acc · (s_ch / s_out)) · s_a; the quotient as a checkpoint has it, if one does.
static void set_factors_of_int4(const struct layer *l, const struct projection *p,
                                const struct packed_weight *w, struct gemm_s8 *gemm)
{
    const bool given = w->given && l->pass->kind == MODEL_W4A8;
    if (!given) l->on->quotients(l->batch, w->scales + p->first, p->outputs, p->step, l->w->factors);
    gemm->first_outputs = given ? w->given + p->first : l->w->factors;
    set_scale_of_input(p, &gemm->second, &gemm->second_rows);
}

// The scale of the operand over that of the output.
static void set_ratio(const struct layer *l, const struct projection *p, float *one, const float **rows)
{
    if (!p->a.by_row) {
        *one = ratio(*p->a.scale, p->step);
        return;
    }
    l->on->quotients(l->batch, p->a.scale, l->batch->tokens, p->step, l->w->ratios);
    *rows = l->w->ratios;
}

static void set_factors(const struct layer *l, const struct projection *p, const struct packed_weight *w,
                        struct gemm_s8 *gemm)
{
    const enum format format = format_of(l, p->weight);
    const float *s_W = w->scales + (weight_has_row_scales_of(format) ? p->first : 0),
                *outputs = weight_has_row_scales_of(format) ? s_W : NULL;
    if (p->format != FORMAT_INT8) { // (acc · s_W) · s_a
        gemm->first = *s_W, gemm->first_outputs = outputs;
        set_scale_of_input(p, &gemm->second, &gemm->second_rows);
    } else if (format_group(format) > 0) {
        set_factors_of_int4(l, p, w, gemm);
    } else if (p->scale_first) {
        gemm->first = *s_W, gemm->first_outputs = outputs;
        set_ratio(l, p, &gemm->second, &gemm->second_rows);
    } else {
        set_ratio(l, p, &gemm->first, &gemm->first_rows);
        gemm->second = *s_W, gemm->second_outputs = outputs;
    }
}

// bias128: that of a product of the same codes, or NULL; gives back what it took.
static const int32_t *project_codes(const struct layer *l, const struct projection *p,
                                    const struct packed_weight *w, const int32_t *bias128)
{
    struct gemm_s8 gemm = {.a = p->a.codes,
                           .lda = p->a.ld,
                           .w = w->codes + (long)p->first * ((p->depth + 3) / 4 * 4),
                           .depth = p->depth,
                           .bias128 = bias128,
                           .result = p->format == FORMAT_INT8   ? GEMM_S8_CODES
                                     : p->format == FORMAT_FP16 ? GEMM_S8_HALF
                                                                : GEMM_S8_FLOAT,
                           .out = p->format == FORMAT_INT8 ? (void *)p->codes : (void *)p->values,
                           .ldo = p->format == FORMAT_INT8 ? p->ldq : p->ldv};
    set_factors(l, p, w, &gemm);
    l->on->product_s8(l->batch, &gemm, p->outputs);
    return gemm.bias128;
}

// On a grid: sat8(rint(sum / s_out)).
static void project_values(const struct layer *l, const struct projection *p, const struct packed_weight *w)
{
    const struct operand a = valued(l->pass, &p->a, p->depth, p->room, p->ld_room);
    const struct gemm_f32 gemm = {.a = a.values,
                                  .lda = a.ld,
                                  .w = w->values + (long)p->first * p->depth,
                                  .depth = p->depth,
                                  .out = p->values,
                                  .ldo = p->ldv,
                                  .half = p->format == FORMAT_FP16};
    l->on->product_f32(l->batch, &gemm, p->outputs);
    if (p->format != FORMAT_INT8) return;
    const struct quantize quantize = {.x = p->values,
                                      .ldx = p->ldv,
                                      .width = p->outputs,
                                      .step = p->step,
                                      .codes = p->codes,
                                      .ldq = p->ldq};
    l->on->quantize(l->batch, &quantize);
}

// Gives what comes out.
static const int32_t *project(const struct layer *l, const struct projection *p, const int32_t *bias128)
{
    const struct packed_weight *w = weight_of(l, p->weight);
    if (w->codes) return project_codes(l, p, w, bias128);
    project_values(l, p, w);
    return bias128;
}

static struct operand result_of(const struct projection *p)
{
    return p->format == FORMAT_INT8 ? of_codes(p->codes, p->ldq, &p->step) : of_values(p->values, p->ldv);
}

// ---- norm and in_proj ----

// r' += h'; x̂'; on a grid n_q = sat8(rint(x̂' / s_in))
static struct operand normalize(const struct layer *l)
{
    const struct pass *pass = l->pass;
    const enum format format = format_of(l, UNIT_IN_PROJ_INPUT);
    const bool on_grid = format == FORMAT_INT8;
    const struct norm norm = {.residual = pass->residual,
                              .h = pass->h,
                              .ld = l->ld.D,
                              .width = l->d->d_model,
                              .eps = l->d->norm_eps,
                              .xhat = on_grid ? NULL : pass->xhat,
                              .codes = on_grid ? pass->codes : NULL,
                              .step = *scale_of(l, UNIT_IN_PROJ_INPUT)};
    l->on->norm(l->batch, &norm);
    l->on->find_broken(l->batch, pass->residual, l->ld.D, l->d->d_model);
    if (on_grid) return of_codes(pass->codes, l->ld.D, scale_of(l, UNIT_IN_PROJ_INPUT));
    if (format == FORMAT_FP16) l->on->round_half(l->batch, pass->xhat, l->ld.D);
    if (format != FORMAT_DYNAMIC_TOKEN) return of_values(pass->xhat, l->ld.D);
    const struct quantize quantize = {.x = pass->xhat,
                                      .ldx = l->ld.D,
                                      .width = l->ld.D,
                                      .of = STEP_OF_ROWS,
                                      .steps = l->w->n_scales,
                                      .codes = pass->codes,
                                      .ldq = l->ld.D};
    l->on->quantize(l->batch, &quantize);
    struct operand n = of_codes(pass->codes, l->ld.D, l->w->n_scales);
    n.by_row = true;
    return n;
}

// The x half by the maximum of the sample or of each token.
static struct operand quantize_x(const struct layer *l, const float *x, enum format format)
{
    const int inner = l->ld.I;
    const bool by_row = format == FORMAT_DYNAMIC_TOKEN;
    const struct quantize quantize = {.x = x,
                                      .ldx = inner,
                                      .width = inner,
                                      .of = by_row ? STEP_OF_ROWS : STEP_OF_SAMPLE,
                                      .steps = l->w->x_scales,
                                      .codes = l->w->xz_codes,
                                      .ldq = 2L * inner};
    l->on->quantize(l->batch, &quantize);
    struct operand made = of_codes(l->w->xz_codes, 2L * inner, l->w->x_scales);
    made.by_row = by_row;
    return made;
}

// xz = n W_inᵀ, each half in its format; on a grid xz_q = sat8(rint((acc · (s_in/s_xz)) · s_Win)).
static void project_in(const struct layer *l, const struct operand *n, struct operand *x, struct operand *z)
{
    const int inner = l->ld.I;
    const enum format x_format = format_of(l, UNIT_CONV1D_INPUT), z_format = format_of(l, UNIT_GATE_INPUT);
    const bool dynamic = x_format == FORMAT_DYNAMIC || x_format == FORMAT_DYNAMIC_TOKEN;
    const float *s_x = scale_of(l, UNIT_CONV1D_INPUT), *s_z = scale_of(l, UNIT_GATE_INPUT);
    const bool alike = x_format == z_format && *s_x == *s_z;
    struct projection first = {.a = *n,
                               .room = l->pass->normed,
                               .ld_room = l->ld.D,
                               .depth = l->d->d_model,
                               .weight = UNIT_IN_PROJ,
                               .outputs = alike ? 2 * inner : inner,
                               .format = dynamic ? FORMAT_FLOAT : x_format,
                               .step = *s_x,
                               .values = dynamic ? l->w->v : l->w->xz,
                               .codes = l->w->xz_codes,
                               .ldv = dynamic ? inner : 2L * inner,
                               .ldq = 2L * inner};
    struct projection second = first;
    second.first = second.outputs = inner;
    second.format = z_format;
    second.step = *s_z;
    second.values = l->w->xz + inner, second.ldv = 2L * inner;
    second.codes = l->w->xz_codes + inner;
    const int32_t *bias128 = project(l, &first, NULL);
    if (!alike) project(l, &second, bias128);
    *x = dynamic ? quantize_x(l, l->w->v, x_format) : result_of(&first);
    *z = result_of(&second);
    if (!dynamic) x->scale = s_x;
    z->scale = s_z;
}

// ---- conv1d ----

// Does somebody take the codes of conv1d's output?
static bool wants_codes(const struct layer *l)
{
    return format_of(l, UNIT_CONV1D_OUTPUT) == FORMAT_INT8 ||
           format_of(l, UNIT_X_PROJ_INPUT) == FORMAT_INT8 || format_of(l, UNIT_SCAN_U) == FORMAT_CODES;
}

// sat8(round(v / s_u))
static void quantize_u(const struct layer *l, const float *v, int8_t *codes)
{
    const struct quantize quantize = {.x = v,
                                      .ldx = l->ld.I,
                                      .width = l->ld.I,
                                      .step = *scale_of(l, UNIT_X_PROJ_INPUT),
                                      .codes = codes,
                                      .ldq = l->ld.I};
    l->on->quantize(l->batch, &quantize);
}

// v = silu((s_w s_x) · taps + b) of codes, else silu(taps + b) of values; on the grid sat8(roundf(v / s_u)),
// and the codes of a float v, sat8(rint(v / s_u)), where they are wanted: w->u_codes.
static struct operand convolve(const struct layer *l, const struct operand *x)
{
    const struct mamba1_work *w = l->w;
    const bool int8 = format_of(l, UNIT_CONV1D_OUTPUT) == FORMAT_INT8,
               half = format_of(l, UNIT_CONV1D_OUTPUT) == FORMAT_FP16,
               coded = mamba1_takes_codes(&l->setting, UNIT_CONV_W);
    const struct packed_weight *taps = weight_of(l, UNIT_CONV_W);
    const bool channels = coded && format_of(l, UNIT_CONV_W) == FORMAT_INT8_CHANNEL;
    const struct operand values = coded ? *x : valued(l->pass, x, l->ld.I, w->xz, 2L * l->ld.I);
    const struct conv1d conv1d = {.x_float = coded ? NULL : values.values,
                                  .x_codes = coded ? x->codes : NULL,
                                  .ldx = values.ld,
                                  .w = taps->values,
                                  .b = weight_of(l, UNIT_CONV_B)->values,
                                  .ldw = l->ld.I,
                                  .d_conv = l->d->d_conv,
                                  .tap_scale = coded && !channels ? *taps->scales : 1,
                                  .tap_scales = channels ? taps->scales : NULL,
                                  .x_scale = coded ? x->scale : NULL,
                                  .half = half,
                                  .v = int8 ? NULL : w->v,
                                  .ldv = l->ld.I,
                                  .codes = wants_codes(l) && !half ? w->u_codes : NULL,
                                  .ldq = l->ld.I,
                                  .step = *scale_of(l, UNIT_CONV1D_OUTPUT),
                                  .ties_away = int8};
    l->on->conv1d(l->batch, &conv1d, l->ld.I);
    if (half && wants_codes(l)) quantize_u(l, w->v, w->u_codes);
    return int8 ? of_codes(w->u_codes, l->ld.I, scale_of(l, UNIT_CONV1D_OUTPUT)) : of_values(w->v, l->ld.I);
}

// What the scan gets as u: the codes that are there; those that c gives once more; or c, behind an INT8
// conv1d its grid.
static struct operand scan_input(const struct layer *l, struct operand *c)
{
    const float *step = scale_of(l, UNIT_SCAN_U);
    if (format_of(l, UNIT_SCAN_U) == FORMAT_CODES) return of_codes(l->w->u_codes, l->ld.I, step);
    *c = valued(l->pass, c, l->ld.I, l->w->v, l->ld.I);
    if (format_of(l, UNIT_SCAN_U) != FORMAT_INT8) return *c;
    quantize_u(l, c->values, l->w->scan_codes);
    return of_codes(l->w->scan_codes, l->ld.I, step);
}

// ---- x_proj and dt_proj ----

// The three parts of dbl = c W_xᵀ.
enum part { PART_DT, PART_B, PART_C, PARTS };
static const enum mamba1_unit part_units[PARTS] = {UNIT_DT_PROJ_INPUT, UNIT_SCAN_B, UNIT_SCAN_C};

static bool same_formats(const struct layer *l)
{
    for (int i = PART_DT; i < PART_C; i++)
        if (format_of(l, part_units[i]) != format_of(l, part_units[i + 1]) ||
            *scale_of(l, part_units[i]) != *scale_of(l, part_units[i + 1]))
            return false;
    return true;
}

// On a grid dbl_q = sat8(rint((acc · s_Wx) · (s_u/s_dbl))).  Gives dt_low; B and C are values in w->dbl.
static struct operand project_x(const struct layer *l, struct operand *c)
{
    const struct mamba1_work *w = l->w;
    const float *s_u = scale_of(l, UNIT_X_PROJ_INPUT);
    const int firsts[PARTS + 1] = {0, l->ld.R, l->ld.R + l->ld.N, l->ld.dbl};
    const bool on_grid = format_of(l, UNIT_X_PROJ_INPUT) == FORMAT_INT8;
    if (!on_grid) *c = valued(l->pass, c, l->ld.I, w->v, l->ld.I);
    struct operand low = {0};
    const int32_t *bias128 = NULL;
    for (int i = 0, count; i < PARTS; i += count) {
        const float *s_dbl = scale_of(l, part_units[i]);
        count = same_formats(l) ? PARTS : 1;
        const struct projection p = {.a = on_grid ? of_codes(w->u_codes, l->ld.I, s_u) : *c,
                                     .room = w->dt,
                                     .ld_room = l->ld.I,
                                     .depth = l->d->d_inner,
                                     .weight = UNIT_X_PROJ,
                                     .first = firsts[i],
                                     .outputs = firsts[i + count] - firsts[i],
                                     .scale_first = true,
                                     .format = format_of(l, part_units[i]),
                                     .step = *s_dbl,
                                     .values = w->dbl + firsts[i],
                                     .codes = w->dbl_codes + firsts[i],
                                     .ldv = l->ld.dbl,
                                     .ldq = l->ld.dbl};
        bias128 = project(l, &p, bias128);
        struct operand made = result_of(&p);
        made.scale = s_dbl;
        if (i == PART_DT) low = made;
        if (i + count > PART_B) valued(l->pass, &made, p.outputs, w->dbl + firsts[i], l->ld.dbl);
    }
    return low;
}

// dt = dt_low W_dtᵀ; on a grid dt_q = sat8(rint((acc · (s_dbl/s_dt)) · s_Wdt)).
static struct operand project_dt(const struct layer *l, const struct operand *low)
{
    const struct projection p = {.a = *low,
                                 .room = l->w->dbl,
                                 .ld_room = l->ld.dbl,
                                 .depth = l->d->dt_rank,
                                 .weight = UNIT_DT_PROJ,
                                 .outputs = l->ld.I,
                                 .format = format_of(l, UNIT_SCAN_DT),
                                 .step = *scale_of(l, UNIT_SCAN_DT),
                                 .values = l->w->dt,
                                 .codes = l->w->dt_codes,
                                 .ldv = l->ld.I,
                                 .ldq = l->ld.I};
    project(l, &p, NULL);
    struct operand dt = result_of(&p);
    dt.scale = scale_of(l, UNIT_SCAN_DT);
    return dt;
}

// ---- scan and out_proj ----

static struct scan_operand scanned(const struct operand *o)
{
    return (struct scan_operand){.values = o->values,
                                 .codes = o->values ? NULL : o->codes,
                                 .scale = o->values ? 0 : *o->scale,
                                 .ld = o->ld};
}

// The scan in FP32 on values, whatever they were; dither comes before y is rounded to FP16.
static void scan_tokens(const struct layer *l, const struct operand *u, const struct operand *dt,
                        const struct operand *z)
{
    const struct mamba1_work *w = l->w;
    const uint64_t dither = l->pass->dither;
    const bool half = format_of(l, UNIT_SCAN_Y) == FORMAT_FP16;
    const struct scan scan = {.length = l->batch->tokens,
                              .d_state = l->d->d_state,
                              .u = scanned(u),
                              .dt = scanned(dt),
                              .z = scanned(z),
                              .dt_bias = weight_of(l, UNIT_DT_BIAS)->values,
                              .D = weight_of(l, UNIT_D_SKIP)->values,
                              .A = weight_of(l, UNIT_A_LOG)->values,
                              .ld_inner = l->ld.I,
                              .B = w->dbl + l->ld.R,
                              .C = w->dbl + l->ld.R + l->ld.N,
                              .ld_bc = l->ld.dbl,
                              .y = w->y,
                              .ldy = l->ld.I,
                              .half = half && dither == 0,
                              .blocked = format_of(l, UNIT_SCAN_ORDER) == FORMAT_BLOCKED};
    l->on->scan(l->batch, &scan);
    if (dither) l->on->dither(l->batch, w->y, l->ld.I, l->d->d_inner, dither + (uint64_t)l->pass->layer);
    if (dither && half) l->on->round_half(l->batch, w->y, l->ld.I);
    l->on->break_rest(l->batch, w->y, l->ld.I, l->d->d_inner);
}

// had(y); on a grid y_q = sat8(roundf(had(y) / s_y))
static struct operand rotate_y(const struct layer *l)
{
    const struct mamba1_work *w = l->w;
    const enum format format = format_of(l, UNIT_OUT_PROJ_INPUT);
    const bool by_row = format == FORMAT_DYNAMIC_TOKEN;
    l->on->rotate(l->batch, &l->pass->rotations->inner.forward, w->y, l->ld.I);
    if (format == FORMAT_FP16) l->on->round_half(l->batch, w->y, l->ld.I);
    if (format != FORMAT_INT8 && !by_row) return of_values(w->y, l->ld.I);
    const struct quantize quantize = {.x = w->y,
                                      .ldx = l->ld.I,
                                      .width = l->ld.I,
                                      .of = by_row ? STEP_OF_ROWS : STEP_GIVEN,
                                      .step = *scale_of(l, UNIT_OUT_PROJ_INPUT),
                                      .steps = w->y_scales,
                                      .ties_away = true,
                                      .codes = w->y_codes,
                                      .ldq = l->ld.I};
    l->on->quantize(l->batch, &quantize);
    struct operand y = of_codes(w->y_codes, l->ld.I, by_row ? w->y_scales : scale_of(l, UNIT_OUT_PROJ_INPUT));
    y.by_row = by_row;
    return y;
}

// h' = (acc · s_Wout) · s_y, or the sum of values; rounded to FP16 where the setting has it.
static void project_out(const struct layer *l)
{
    const struct projection p = {.a = rotate_y(l),
                                 .room = l->w->dt,
                                 .ld_room = l->ld.I,
                                 .depth = l->d->d_inner,
                                 .weight = UNIT_OUT_PROJ,
                                 .outputs = l->ld.D,
                                 .format = format_of(l, UNIT_MIXER_OUTPUT),
                                 .values = l->pass->h,
                                 .ldv = l->ld.D};
    project(l, &p, NULL);
    l->on->break_rows(l->batch, l->w->y, l->ld.I, l->d->d_inner, l->pass->h, l->ld.D, l->d->d_model);
}

// ---- the layer ----

// before: what was given before it, or NULL
static bool give(const struct layer *l, enum mamba1_component component, const struct operand *o,
                 const struct operand *before)
{
    const bool of_model = component == COMPONENT_MIXER_INPUT || component == COMPONENT_MIXER_OUTPUT;
    const struct seen seen = {.values = o->values,
                              .codes = o->codes,
                              .scale = o->scale,
                              .by_row = o->by_row,
                              .ld = o->ld,
                              .width = of_model ? l->d->d_model : l->d->d_inner,
                              .rotation = of_model ? &l->pass->rotations->model.inverse : NULL,
                              .again = before && o->values == before->values && o->codes == before->codes &&
                                       o->scale == before->scale};
    return l->pass->give(l->pass, (int)component, &seen);
}

static struct setting computed(const struct setting *asked)
{
    struct setting setting = *asked;
    for (int u = MAMBA1_WEIGHTS; u < MAMBA1_UNITS; u++)
        if (setting.of[u] == FORMAT_INT8_GIVEN) setting.of[u] = FORMAT_INT8;
    return setting;
}

bool mamba1_layer_units(const struct pass *pass)
{
    const struct layer l = {.pass = pass,
                            .on = pass->batch->backend,
                            .batch = pass->batch,
                            .d = pass->dims,
                            .w = pass->work,
                            .p = pass->weights,
                            .asked = pass_setting(pass),
                            .setting = computed(pass_setting(pass)),
                            .ld = leading_of(pass->dims)};
    const struct operand y = of_values(l.w->y, l.ld.I), h = of_values(pass->h, l.ld.D);
    struct operand x, z;
    const struct operand n = normalize(&l);
    if (!give(&l, COMPONENT_MIXER_INPUT, &n, NULL)) return false;
    project_in(&l, &n, &x, &z);
    if (!give(&l, COMPONENT_CONV1D_INPUT, &x, NULL)) return false;
    struct operand c = convolve(&l, &x);
    const struct operand given = c;
    if (!give(&l, COMPONENT_CONV1D_OUTPUT, &given, NULL)) return false;
    const struct operand u = scan_input(&l, &c);
    if (!give(&l, COMPONENT_SSM_INPUT, &u, &given)) return false;
    const struct operand low = project_x(&l, &c);
    const struct operand dt = project_dt(&l, &low);
    scan_tokens(&l, &u, &dt, &z);
    if (!give(&l, COMPONENT_SSM_OUTPUT, &y, NULL)) return false;
    project_out(&l);
    return give(&l, COMPONENT_MIXER_OUTPUT, &h, NULL);
}
