// SPDX-License-Identifier: Apache-2.0
// A quantized checkpoint of Mamba-2 in Quamba2's layout, each layer W8A8, W4A8 or W4A16: with one scale for
// each site, or with scales of groups of heads and channels, which then stand in the order of the groups.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codes_parts.h"
#include "mamba2_parts.h"
#include "ssmsweep/arch/codes4.h"

enum {
    NAME_CHARS = CODES_NAME_CHARS,
    GROUPS = MAMBA2_GROUPS,
    SCALES = (int)MAMBA2_SITES + (int)MAMBA2_TENSORS
};

// ---- names ----

// How a tensor is stored: codes, by input or as the equations have it; floats; or 4 bits, of which the name
// is the beginning.
enum stored { CODES_BY_INPUT, CODES, FLOATS, FOUR_BITS };
struct field {
    const char *name;
    enum mamba2_tensor tensor;
    enum stored stored;
};

#define INT8_FIELDS                                                                                          \
    {"mixer.conv1d.weight", MAMBA2_CONV_W, CODES}, {"mixer.conv1d.bias", MAMBA2_CONV_B, CODES},              \
        {"mixer.qchunk_scan.dt_bias", MAMBA2_DT_BIAS, FLOATS},                                               \
        {"mixer.qchunk_scan.A_log", MAMBA2_A_LOG, CODES}, {"mixer.qchunk_scan.D", MAMBA2_D_SKIP, CODES},     \
    {                                                                                                        \
        "mixer.norm.weight", MAMBA2_GATE, FLOATS                                                             \
    }
enum { FIELDS = MAMBA2_TENSORS - 1 }; // all but the norm's weight

static const struct field w8a8_fields[FIELDS] = {{"mixer.in_proj.weight", MAMBA2_IN_PROJ, CODES_BY_INPUT},
                                                 INT8_FIELDS,
                                                 {"mixer.out_proj.weight", MAMBA2_OUT_PROJ, CODES_BY_INPUT}};
static const struct field w4a8_fields[FIELDS] = {INT8_FIELDS,
                                                 {"mixer.in_proj", MAMBA2_IN_PROJ, FOUR_BITS},
                                                 {"mixer.out_proj", MAMBA2_OUT_PROJ, FOUR_BITS}};
static const struct field w4a16_fields[FIELDS] = {{"mixer.conv1d.weight", MAMBA2_CONV_W, FLOATS},
                                                  {"mixer.conv1d.bias", MAMBA2_CONV_B, FLOATS},
                                                  {"mixer.dt_bias", MAMBA2_DT_BIAS, FLOATS},
                                                  {"mixer.A_log", MAMBA2_A_LOG, FLOATS},
                                                  {"mixer.D", MAMBA2_D_SKIP, FLOATS},
                                                  {"mixer.norm.weight", MAMBA2_GATE, FLOATS},
                                                  {"mixer.in_proj", MAMBA2_IN_PROJ, FOUR_BITS},
                                                  {"mixer.out_proj", MAMBA2_OUT_PROJ, FOUR_BITS}};

static const struct field *fields_of(enum model_kind kind)
{
    return kind == MODEL_W4A16 ? w4a16_fields : kind == MODEL_W4A8 ? w4a8_fields : w8a8_fields;
}

// Numbers: places among model_scales().
static const struct {
    const char *name;
    int place;
} scale_fields[] = {
    {"norm.output_scale", MAMBA2_SITE_IN_PROJ_INPUT},
    {"mixer.norm.z_scale", MAMBA2_SITE_Z},
    {"mixer.conv1d.x_scale", MAMBA2_SITE_X_IN},
    {"mixer.conv1d.B_scale", MAMBA2_SITE_B_IN},
    {"mixer.conv1d.C_scale", MAMBA2_SITE_C_IN},
    {"mixer.qchunk_scan.dt_scale", MAMBA2_SITE_DT},
    {"mixer.had.x_H_scale", MAMBA2_SITE_OUT_PROJ_INPUT},
    {"mixer.qchunk_scan.A_log_scale", MAMBA2_SITES + MAMBA2_A_LOG},
    {"mixer.qchunk_scan.D_scale", MAMBA2_SITES + MAMBA2_D_SKIP},
    {"mixer.out_proj.b", MAMBA2_SITES + MAMBA2_OUT_PROJ}, // the last: of W8A8 alone
};
enum { SCALE_FIELDS = sizeof scale_fields / sizeof scale_fields[0], W4A8_SCALE_FIELDS = SCALE_FIELDS - 1 };

static const char *const part_scales[] = {"mixer.conv1d.wx_scale", "mixer.conv1d.wB_scale",
                                          "mixer.conv1d.wC_scale", "mixer.conv1d.bx_scale",
                                          "mixer.conv1d.bB_scale", "mixer.conv1d.bC_scale"};
enum { PART_SCALES = sizeof part_scales / sizeof part_scales[0] };

// What may be of groups, twice in the file; and what else it may hold.
static const char x_out[] = "mixer.conv1d.x_out_scales", x_again[] = "mixer.qchunk_scan.x_scales",
                  B_out[] = "mixer.conv1d.B_out_scales", B_again[] = "mixer.qchunk_scan.B_scale",
                  C_out[] = "mixer.conv1d.C_out_scales", C_again[] = "mixer.qchunk_scan.C_scale",
                  heads[] = "mixer.conv1d.x_head_group_range",
                  heads_again[] = "mixer.qchunk_scan.x_head_group_range",
                  lanes[] = "mixer.conv1d.x_dim_group_range",
                  lanes_again[] = "mixer.qchunk_scan.x_dim_group_range",
                  states[] = "mixer.qchunk_scan.ssm_state_scale", in_proj_a[] = "mixer.in_proj.a",
                  in_proj_b[] = "mixer.in_proj.b", out_proj_a[] = "mixer.out_proj.a";

static bool is_listed(const char *rest, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(rest, names[i]) == 0) return true;
    return false;
}

static bool is_field(const struct field *field, const char *rest)
{
    const size_t bytes = strlen(field->name);
    if (field->stored != FOUR_BITS) return strcmp(rest, field->name) == 0;
    return strncmp(rest, field->name, bytes) == 0 && rest[bytes] == '.' && codes4_is_part(rest + bytes + 1);
}

// Layers with scales of activations have these, those of W8A8 the second list as well.
static bool is_scale(const char *rest, enum model_kind kind)
{
    static const char *const others[] = {x_out, x_again,     B_out,  B_again,
                                         C_out, C_again,     heads,  heads_again,
                                         lanes, lanes_again, states, "mixer.norm.output_scale"},
                             *const w8a8[] = {in_proj_a, in_proj_b, out_proj_a, "mixer.out_proj.alpha"};
    for (int i = 0; i < (kind == MODEL_W8A8 ? SCALE_FIELDS : W4A8_SCALE_FIELDS); i++)
        if (strcmp(rest, scale_fields[i].name) == 0) return true;
    return is_listed(rest, part_scales, PART_SCALES) ||
           is_listed(rest, others, sizeof others / sizeof others[0]) ||
           (kind == MODEL_W8A8 && is_listed(rest, w8a8, sizeof w8a8 / sizeof w8a8[0]));
}

bool mamba2_knows_codes(const struct model *model, const char *name)
{
    const char *rest;
    int layer;
    if (!codes_split_name(name, model->dims.n_layer, &layer, &rest)) return codes_is_end(name);
    const enum model_kind kind = model_layer_kind(model, layer);
    if (strcmp(rest, "norm.weight") == 0) return true;
    for (int i = 0; i < FIELDS; i++)
        if (is_field(&fields_of(kind)[i], rest)) return true;
    return kind != MODEL_W4A16 && is_scale(rest, kind);
}

// ---- arrays ----

static enum status bad_array(const struct model *model, const char *name, const char *expected,
                             struct error *err)
{
    return error_set(err, STATUS_INPUT, "%s: key '%s': expected %s; config.json and weights differ",
                     checkpoint_path(model->checkpoint), name, expected);
}

// `count` finite numbers above `above` of a float tensor of so many elements, or of a plain number.
static enum status read_floats(const struct model *model, int layer, const char *rest, int count, float above,
                               float *values, struct error *err)
{
    char name[NAME_CHARS], expected[64];
    codes_layer_name(layer, rest, name);
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    if (count == 1 && !tensor) return codes_scale(model, name, values, err);
    if (!tensor) return codes_missing(model, name, err);
    snprintf(expected, sizeof expected, "%d finite numbers%s", count, above < 0 ? "" : " above 0");
    if (!dtype_is_float(tensor->dtype) || tensor_elements(tensor) != count)
        return bad_array(model, name, expected, err);
    tensor_to_f32(tensor, values);
    for (int i = 0; i < count; i++)
        if (!(values[i] > above) || isinf(values[i])) return bad_array(model, name, expected, err);
    return STATUS_OK;
}

// The same numbers a second time.
static enum status check_floats(const struct model *model, int layer, const char *rest, int count,
                                const float *values, struct error *err)
{
    char name[NAME_CHARS];
    float *again = malloc((size_t)count * sizeof *again);
    if (!again) return error_memory(err, (size_t)count * sizeof *again, "scales");
    codes_layer_name(layer, rest, name);
    if (!read_floats(model, layer, rest, count, 0, again, err) &&
        memcmp(again, values, (size_t)count * sizeof *again) != 0)
        bad_array(model, name, "the scales that conv1d has", err);
    free(again);
    return err->status;
}

static bool is_dense(const struct tensor *tensor)
{
    int64_t stride = 1;
    for (int d = tensor->dims - 1; d >= 0; stride *= tensor->shape[d--])
        if (tensor->shape[d] != 1 && tensor->stride[d] != stride) return false;
    return true;
}

// Running ends: `rows` times GROUPS of them, ascending from above 0 to `last`.
static enum status read_ends(const struct model *model, int layer, const char *rest, int rows, int last,
                             int32_t *ends, struct error *err)
{
    char name[NAME_CHARS], expected[64];
    codes_layer_name(layer, rest, name);
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    if (!tensor) return codes_missing(model, name, err);
    snprintf(expected, sizeof expected, "I32, %d ascending ends of groups up to %d", rows * GROUPS, last);
    if (tensor->dtype != DTYPE_I32 || tensor_elements(tensor) != rows * GROUPS || !is_dense(tensor))
        return bad_array(model, name, expected, err);
    memcpy(ends, tensor->data, (size_t)(rows * GROUPS) * sizeof *ends);
    for (int i = 0; i < rows * GROUPS; i++)
        if (ends[i] <= (i % GROUPS ? ends[i - 1] : 0) || ends[i] > last ||
            (i % GROUPS == GROUPS - 1 && ends[i] != last))
            return bad_array(model, name, expected, err);
    return STATUS_OK;
}

bool mamba2_has_groups(const struct model *model, int layer)
{
    char name[NAME_CHARS];
    codes_layer_name(layer, heads, name);
    return checkpoint_find(model->checkpoint, name) != NULL;
}

// ---- scales of columns ----

// Spreads [G][GROUPS][GROUPS] scales over the channels of x.
static void spread(const struct dims *d, const int32_t *head_ends, const int32_t *lane_ends,
                   const float *scales, float *columns)
{
    const int per_group = d->n_heads / d->n_groups;
    for (int h = 0; h < d->n_heads; h++) {
        const int g = h / per_group;
        int k = 0, q = 0;
        while (h % per_group >= head_ends[g * GROUPS + k])
            k++;
        for (int p = 0; p < d->head_dim; p++) {
            while (p >= lane_ends[(g * GROUPS + k) * GROUPS + q])
                q++;
            columns[(long)h * d->head_dim + p] = scales[(g * GROUPS + k) * GROUPS + q];
        }
    }
}

static enum status read_groups(const struct model *model, int layer, float *columns, struct error *err)
{
    const struct dims *d = &model->dims;
    const int G = d->n_groups, I = d->d_inner, N = d->d_state;
    int32_t *ends = malloc((size_t)(2 * G * GROUPS * (GROUPS + 1)) * sizeof *ends);
    float *scales = malloc((size_t)(G * GROUPS * GROUPS + 2 * G) * sizeof *scales);
    if (!ends || !scales) {
        error_memory(err, (size_t)(G * GROUPS * GROUPS) * sizeof *scales, "scales of groups");
        goto free_both;
    }
    int32_t *head_ends = ends, *lane_ends = ends + G * GROUPS, *again = lane_ends + G * GROUPS * GROUPS;
    float *B = scales + G * GROUPS * GROUPS, *C = B + G;
    if (read_ends(model, layer, heads, G, d->n_heads / G, head_ends, err) ||
        read_ends(model, layer, lanes, G * GROUPS, d->head_dim, lane_ends, err) ||
        read_ends(model, layer, heads_again, G, d->n_heads / G, again, err) ||
        read_ends(model, layer, lanes_again, G * GROUPS, d->head_dim, again + G * GROUPS, err))
        goto free_both;
    if (memcmp(ends, again, (size_t)(G * GROUPS * (GROUPS + 1)) * sizeof *ends) != 0) {
        char name[NAME_CHARS];
        const bool same = memcmp(ends, again, (size_t)(G * GROUPS) * sizeof *ends) == 0;
        codes_layer_name(layer, same ? lanes_again : heads_again, name);
        bad_array(model, name, "the groups that conv1d has", err);
        goto free_both;
    }
    if (read_floats(model, layer, x_out, G * GROUPS * GROUPS, 0, scales, err) ||
        check_floats(model, layer, x_again, G * GROUPS * GROUPS, scales, err) ||
        read_floats(model, layer, B_out, G, 0, B, err) || check_floats(model, layer, B_again, G, B, err) ||
        read_floats(model, layer, C_out, G, 0, C, err) || check_floats(model, layer, C_again, G, C, err))
        goto free_both;
    spread(d, head_ends, lane_ends, scales, columns);
    for (int i = 0; i < G * N; i++) {
        columns[I + i] = B[i / N];
        columns[I + G * N + i] = C[i / N];
    }
free_both:
    free(ends);
    free(scales);
    return err->status;
}

static enum status read_singles(const struct model *model, int layer, float *columns, struct error *err)
{
    const struct dims *d = &model->dims;
    const int counts[] = {d->d_inner, d->n_groups * d->d_state, d->n_groups * d->d_state};
    const char *const names[][2] = {{x_out, x_again}, {B_out, B_again}, {C_out, C_again}};
    for (int part = 0; part < 3; part++) {
        float scale;
        if (read_floats(model, layer, names[part][0], 1, 0, &scale, err) ||
            check_floats(model, layer, names[part][1], 1, &scale, err))
            return err->status;
        for (int i = 0; i < counts[part]; i++)
            *columns++ = scale;
    }
    return STATUS_OK;
}

enum status mamba2_conv_steps(const struct model *model, int layer, float *columns, struct error *err)
{
    return (mamba2_has_groups(model, layer) ? read_groups : read_singles)(model, layer, columns, err);
}

// s_W / s_o of each output of in_proj, zeros behind them.
enum status mamba2_in_proj_steps(const struct model *model, int layer, float *steps, struct error *err)
{
    const int rows = (int)arch_size(EXTENT_2I_2GN_H, &model->dims);
    char name[NAME_CHARS];
    codes_layer_name(layer, in_proj_b, name);
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    if (!tensor) return codes_missing(model, name, err);
    if (!dtype_is_float(tensor->dtype) || tensor_elements(tensor) != round_up16(rows))
        return bad_array(model, name, "a number for each output, their count rounded up to 16", err);
    tensor_to_f32(tensor, steps);
    for (int n = 0; n < round_up16(rows); n++)
        if (n < rows ? !(steps[n] > 0) || isinf(steps[n]) : steps[n] != 0)
            return bad_array(model, name, "finite numbers above 0, and zeros behind the outputs", err);
    return STATUS_OK;
}

enum status mamba2_part_scales(const struct model *model, int layer, float scales[6], struct error *err)
{
    for (int i = 0; i < PART_SCALES; i++) {
        char name[NAME_CHARS];
        codes_layer_name(layer, part_scales[i], name);
        if (codes_scale(model, name, &scales[i], err)) return err->status;
    }
    return STATUS_OK;
}

// ---- a layer ----

static void expected_shape(const struct dims *d, enum mamba2_tensor tensor, int64_t shape[2])
{
    const int64_t conv = arch_size(EXTENT_I_2GN, d);
    const int64_t shapes[MAMBA2_TENSORS][2] = {[MAMBA2_NORM] = {d->d_model, 0},
                                               [MAMBA2_IN_PROJ] = {arch_size(EXTENT_2I_2GN_H, d), d->d_model},
                                               [MAMBA2_CONV_W] = {conv, d->d_conv},
                                               [MAMBA2_CONV_B] = {conv, 0},
                                               [MAMBA2_DT_BIAS] = {d->n_heads, 0},
                                               [MAMBA2_A_LOG] = {d->n_heads, 0},
                                               [MAMBA2_D_SKIP] = {d->n_heads, 0},
                                               [MAMBA2_GATE] = {d->d_inner, 0},
                                               [MAMBA2_OUT_PROJ] = {d->d_model, d->d_inner}};
    memcpy(shape, shapes[tensor], sizeof shapes[tensor]);
}

static enum status bind_field(struct model *model, int layer, const struct field *field, struct tensor *view,
                              struct error *err)
{
    const bool a8 = model_layer_kind(model, layer) != MODEL_W4A16;
    const enum mamba2_site input =
        field->tensor == MAMBA2_IN_PROJ ? MAMBA2_SITE_IN_PROJ_INPUT : MAMBA2_SITE_OUT_PROJ_INPUT;
    char name[NAME_CHARS];
    int64_t shape[2];
    struct codes4 codes;
    codes_layer_name(layer, field->name, name);
    expected_shape(&model->dims, field->tensor, shape);
    const struct tensor **bound = &model->tensors[layer * MAMBA2_TENSORS + (int)field->tensor];
    *bound = view;
    if (field->stored == FLOATS) return codes_bind_float(model, name, shape, view, err);
    if (field->stored != FOUR_BITS)
        return codes_bind(model, name, shape, field->stored == CODES_BY_INPUT, view, err);
    if (codes4_bind(&codes, model, name, (int)shape[0], (int)shape[1], a8, model_scales(model, layer)[input],
                    err))
        return err->status;
    *bound = codes.words;
    return STATUS_OK;
}

static float largest(const float *values, int count)
{
    float most = 0;
    for (int i = 0; i < count; i++)
        if (values[i] > most) most = values[i];
    return most;
}

// Reports show one scale of a site: of many the largest.
static enum status bind_site_scales(struct model *model, int layer, float *scales, struct error *err)
{
    const struct dims *d = &model->dims;
    const int G = d->n_groups, I = d->d_inner, BC = G * d->d_state,
              n_states = mamba2_has_groups(model, layer) ? G * GROUPS * GROUPS * d->d_state : 1;
    const int room = I + 2 * BC > n_states ? I + 2 * BC : n_states,
              outputs = round_up16((int)arch_size(EXTENT_2I_2GN_H, d));
    float *columns = malloc((size_t)(room + outputs) * sizeof *columns), parts[PART_SCALES];
    if (!columns) return error_memory(err, (size_t)room * sizeof *columns, "scales");
    if (!read_floats(model, layer, states, n_states, 0, columns, err))
        scales[MAMBA2_SITE_STATE] = largest(columns, n_states);
    if (!err->status && !mamba2_conv_steps(model, layer, columns, err)) {
        scales[MAMBA2_SITE_X_OUT] = largest(columns, I);
        scales[MAMBA2_SITE_B_OUT] = largest(columns + I, BC);
        scales[MAMBA2_SITE_C_OUT] = largest(columns + I + BC, BC);
    }
    if (!err->status && model_layer_kind(model, layer) == MODEL_W8A8)
        mamba2_in_proj_steps(model, layer, columns + room, err);
    if (!err->status) mamba2_part_scales(model, layer, parts, err);
    free(columns);
    return err->status;
}

static enum status bind_scales(struct model *model, int layer, struct error *err)
{
    const bool w8a8 = model_layer_kind(model, layer) == MODEL_W8A8;
    float *scales = model->scales + (long)layer * SCALES;
    char name[NAME_CHARS];
    for (int i = 0; i < (w8a8 ? SCALE_FIELDS : W4A8_SCALE_FIELDS); i++) {
        codes_layer_name(layer, scale_fields[i].name, name);
        if (codes_scale(model, name, &scales[scale_fields[i].place], err)) return err->status;
    }
    if (bind_site_scales(model, layer, scales, err) || !w8a8) return err->status;
    codes_layer_name(layer, in_proj_a, name);
    if (codes_check(model, name, (double)scales[MAMBA2_SITE_IN_PROJ_INPUT], err)) return err->status;
    codes_layer_name(layer, out_proj_a, name);
    return codes_check(model, name, (double)scales[MAMBA2_SITE_OUT_PROJ_INPUT], err);
}

// Weights in 4 bits, or all others.
static enum status bind_fields(struct model *model, int layer, bool four_bits, struct error *err)
{
    const struct field *fields = fields_of(model_layer_kind(model, layer));
    for (int i = 0; i < FIELDS; i++)
        if ((fields[i].stored == FOUR_BITS) == four_bits &&
            bind_field(model, layer, &fields[i], &model->views[layer * FIELDS + i], err))
            return err->status;
    return STATUS_OK;
}

// Scales stand between: those of what goes into them are checked with weights in 4 bits.
static enum status bind_layer(struct model *model, int layer, struct error *err)
{
    char norm[NAME_CHARS];
    codes_layer_name(layer, "norm.weight", norm);
    if (codes_norm(model, norm, "in_proj", &model->tensors[layer * MAMBA2_TENSORS + MAMBA2_NORM], err) ||
        bind_fields(model, layer, false, err) ||
        (model_layer_kind(model, layer) != MODEL_W4A16 && bind_scales(model, layer, err)))
        return err->status;
    return bind_fields(model, layer, true, err);
}

enum status mamba2_bind_codes(struct model *model, const struct config *config, struct error *err)
{
    const size_t layers = (size_t)model->dims.n_layer, views = layers * FIELDS + 1;
    model->views = calloc(views, sizeof *model->views);
    model->scales = calloc(layers * SCALES, sizeof *model->scales);
    if (!model->views || !model->scales)
        return error_memory(err, views * sizeof *model->views, "a model's layers");
    for (int l = 0; l < model->dims.n_layer; l++) {
        if (bind_layer(model, l, err)) return err->status;
        model->reordered = model->reordered || mamba2_has_groups(model, l);
    }
    if (codes_embedding(model, config, err) ||
        codes_norm(model, "backbone.norm_f.weight", "lm_head", &model->norm_f, err) ||
        codes_head(model, config, &model->views[views - 1], err))
        return err->status;
    return codes_check_strangers(model, err);
}
