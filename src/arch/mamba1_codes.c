// SPDX-License-Identifier: Apache-2.0
// A quantized checkpoint of Mamba-1 in Quamba2's layout: W8A8, W4A8 or W4A16.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codes_parts.h"
#include "mamba1_parts.h"
#include "ssmsweep/arch/codes4.h"

enum { NAME_CHARS = CODES_NAME_CHARS, SCALES = (int)MAMBA1_SITES + (int)MAMBA1_TENSORS };

// ---- names ----

// How a tensor of one layer is stored: codes, by input or as the equations have it; floats; or 4 bits, of
// which the name is the beginning.
enum stored { CODES_BY_INPUT, CODES, FLOATS, FOUR_BITS };
struct field {
    const char *name;
    int tensor;
    enum stored stored;
};
static const struct field w8a8_fields[] = {
    {"mixer.in_proj.weight", TENSOR_IN_PROJ, CODES_BY_INPUT},
    {"mixer.conv1d.weight", TENSOR_CONV_W, CODES},
    {"mixer.conv1d.bias", TENSOR_CONV_B, CODES},
    {"mixer.x_proj.weight", TENSOR_X_PROJ, CODES_BY_INPUT},
    {"mixer.out_proj.weight", TENSOR_OUT_PROJ, CODES_BY_INPUT},
    {"mixer.dt_proj.weight", TENSOR_DT_PROJ, CODES_BY_INPUT},
    {"mixer.selective_scan.dt_bias", TENSOR_DT_BIAS, CODES},
    {"mixer.selective_scan.A_log", TENSOR_A_LOG, CODES},
    {"mixer.selective_scan.D", TENSOR_D_SKIP, CODES},
};
enum { FIELDS = sizeof w8a8_fields / sizeof w8a8_fields[0] };

static const struct field w4a8_fields[FIELDS] = {
    {"mixer.in_proj", TENSOR_IN_PROJ, FOUR_BITS},
    {"mixer.x_proj", TENSOR_X_PROJ, FOUR_BITS},
    {"mixer.out_proj", TENSOR_OUT_PROJ, FOUR_BITS},
    {"mixer.dt_proj.weight", TENSOR_DT_PROJ, CODES_BY_INPUT},
    {"mixer.conv1d.weight", TENSOR_CONV_W, CODES},
    {"mixer.conv1d.bias", TENSOR_CONV_B, CODES},
    {"mixer.selective_scan.dt_bias", TENSOR_DT_BIAS, CODES},
    {"mixer.selective_scan.A_log", TENSOR_A_LOG, CODES},
    {"mixer.selective_scan.D", TENSOR_D_SKIP, CODES},
};

static const struct field w4a16_fields[FIELDS] = {
    {"mixer.in_proj", TENSOR_IN_PROJ, FOUR_BITS},
    {"mixer.x_proj", TENSOR_X_PROJ, FOUR_BITS},
    {"mixer.out_proj", TENSOR_OUT_PROJ, FOUR_BITS},
    {"mixer.dt_proj.weight", TENSOR_DT_PROJ, FLOATS},
    {"mixer.conv1d.weight", TENSOR_CONV_W, FLOATS},
    {"mixer.conv1d.bias", TENSOR_CONV_B, FLOATS},
    {"mixer.dt_proj_bias", TENSOR_DT_BIAS, FLOATS},
    {"mixer.A_log", TENSOR_A_LOG, FLOATS},
    {"mixer.D", TENSOR_D_SKIP, FLOATS},
};

static const struct field *fields_of(enum model_kind kind)
{
    return kind == MODEL_W4A16 ? w4a16_fields : kind == MODEL_W4A8 ? w4a8_fields : w8a8_fields;
}

// Scales of a layer: those of the sites, then those of the tensors, as model_scales() has them.
#define SCALE_OF(tensor) (MAMBA1_SITES + (int)(tensor))

// Numbers that all but W4A16 have; `w8a8`: that alone.
static const struct scale_field {
    const char *name;
    int place; // among the scales of a layer
    bool w8a8;
} scale_fields[] = {
    {"norm.output_scale", SITE_IN_PROJ_INPUT, false},
    {"mixer.conv1d.input_scale", SITE_IN_PROJ_OUTPUT, false},
    {"mixer.conv1d.output_scale", SITE_X_PROJ_INPUT, false},
    {"mixer.selective_scan.B_scale", SITE_X_PROJ_OUTPUT, false},
    {"mixer.selective_scan.dt_scale", SITE_DT_PROJ_OUTPUT, false},
    {"mixer.had.x_H_scale", SITE_OUT_PROJ_INPUT, false},
    {"mixer.selective_scan.ssm_state_scale", SITE_SSM_STATE, false},
    {"mixer.in_proj.b", SCALE_OF(TENSOR_IN_PROJ), true},
    {"mixer.conv1d.weight_scale", SCALE_OF(TENSOR_CONV_W), false},
    {"mixer.conv1d.bias_scale", SCALE_OF(TENSOR_CONV_B), false},
    {"mixer.x_proj.b", SCALE_OF(TENSOR_X_PROJ), true},
    {"mixer.dt_proj.b", SCALE_OF(TENSOR_DT_PROJ), false},
    {"mixer.selective_scan.dt_bias_scale", SCALE_OF(TENSOR_DT_BIAS), false},
    {"mixer.selective_scan.A_scale", SCALE_OF(TENSOR_A_LOG), false},
    {"mixer.selective_scan.D_scale", SCALE_OF(TENSOR_D_SKIP), false},
    {"mixer.out_proj.b", SCALE_OF(TENSOR_OUT_PROJ), true},
};
enum { SCALE_FIELDS = sizeof scale_fields / sizeof scale_fields[0] };

// What the file says a second time: the scale `over` divided by the scale `under`.
enum { ONE = -1 };
static const struct check_field {
    const char *name;
    int over, under; // places, or ONE
    bool w8a8;
} check_fields[] = {
    {"mixer.selective_scan.z_scale", SITE_IN_PROJ_OUTPUT, ONE, false},
    {"mixer.selective_scan.u_scale", SITE_X_PROJ_INPUT, ONE, false},
    {"mixer.selective_scan.C_scale", SITE_X_PROJ_OUTPUT, ONE, false},
    {"mixer.in_proj.a", SITE_IN_PROJ_INPUT, SITE_IN_PROJ_OUTPUT, true},
    {"mixer.x_proj.a", SITE_X_PROJ_INPUT, SITE_X_PROJ_OUTPUT, true},
    {"mixer.dt_proj.a", SITE_X_PROJ_OUTPUT, SITE_DT_PROJ_OUTPUT, false},
    {"mixer.out_proj.a", SITE_OUT_PROJ_INPUT, ONE, true},
};
enum { CHECK_FIELDS = sizeof check_fields / sizeof check_fields[0] };

// A projection's alpha is its a, as above, times its b: s_W · s_in / s_out.  It is 1 in files of some
// writers; no mode uses it.
static const struct alpha_field {
    const char *name;
    int over, under, times; // places, or ONE
} alpha_fields[] = {
    {"mixer.in_proj.alpha", SITE_IN_PROJ_INPUT, SITE_IN_PROJ_OUTPUT, SCALE_OF(TENSOR_IN_PROJ)},
    {"mixer.x_proj.alpha", SITE_X_PROJ_INPUT, SITE_X_PROJ_OUTPUT, SCALE_OF(TENSOR_X_PROJ)},
    {"mixer.dt_proj.alpha", SITE_X_PROJ_OUTPUT, SITE_DT_PROJ_OUTPUT, SCALE_OF(TENSOR_DT_PROJ)},
    {"mixer.out_proj.alpha", SITE_OUT_PROJ_INPUT, ONE, SCALE_OF(TENSOR_OUT_PROJ)},
};
enum { ALPHA_FIELDS = sizeof alpha_fields / sizeof alpha_fields[0] };

static bool has_scales(enum model_kind kind)
{
    return kind != MODEL_W4A16;
}

static bool is_field(const struct field *field, const char *rest)
{
    const size_t bytes = strlen(field->name);
    if (field->stored != FOUR_BITS) return strcmp(rest, field->name) == 0;
    return strncmp(rest, field->name, bytes) == 0 && rest[bytes] == '.' && codes4_is_part(rest + bytes + 1);
}

bool mamba1_knows_codes(const struct model *model, const char *name)
{
    const char *rest;
    int layer;
    const bool w8a8 = model->kind == MODEL_W8A8;
    if (!codes_split_name(name, model->dims.n_layer, &layer, &rest)) return codes_is_end(name);
    if (strcmp(rest, "norm.weight") == 0) return true;
    for (int i = 0; i < FIELDS; i++)
        if (is_field(&fields_of(model->kind)[i], rest)) return true;
    if (!has_scales(model->kind)) return false;
    for (int i = 0; i < SCALE_FIELDS; i++)
        if (strcmp(rest, scale_fields[i].name) == 0) return w8a8 || !scale_fields[i].w8a8;
    for (int i = 0; i < CHECK_FIELDS; i++)
        if (strcmp(rest, check_fields[i].name) == 0) return w8a8 || !check_fields[i].w8a8;
    for (int i = 0; i < ALPHA_FIELDS; i++)
        if (strcmp(rest, alpha_fields[i].name) == 0)
            return w8a8 || alpha_fields[i].times == SCALE_OF(TENSOR_DT_PROJ);
    return false;
}

// ---- a layer ----

// [rows, columns] of a weight as the equations have it; columns 0: a vector.
static void expected_shape(const struct dims *d, int tensor, int64_t shape[2])
{
    const int64_t I = d->d_inner;
    shape[0] = I, shape[1] = 0;
    if (tensor == TENSOR_IN_PROJ) shape[0] = 2 * I, shape[1] = d->d_model;
    if (tensor == TENSOR_CONV_W) shape[1] = d->d_conv;
    if (tensor == TENSOR_X_PROJ) shape[0] = d->dt_rank + 2 * d->d_state, shape[1] = I;
    if (tensor == TENSOR_DT_PROJ) shape[1] = d->dt_rank;
    if (tensor == TENSOR_A_LOG) shape[1] = d->d_state;
    if (tensor == TENSOR_OUT_PROJ) shape[0] = d->d_model, shape[1] = I;
}

// The site of what goes into a weight in 4 bits.
static int input_site(int tensor)
{
    return tensor == TENSOR_IN_PROJ  ? SITE_IN_PROJ_INPUT
           : tensor == TENSOR_X_PROJ ? SITE_X_PROJ_INPUT
                                     : SITE_OUT_PROJ_INPUT;
}

static enum status bind_field(struct model *model, int layer, const struct field *field, struct tensor *view,
                              struct error *err)
{
    char name[NAME_CHARS];
    int64_t shape[2];
    struct codes4 codes;
    codes_layer_name(layer, field->name, name);
    expected_shape(&model->dims, field->tensor, shape);
    const struct tensor **bound = &model->tensors[layer * MAMBA1_TENSORS + field->tensor];
    *bound = view;
    if (field->stored == FLOATS) return codes_bind_float(model, name, shape, view, err);
    if (field->stored != FOUR_BITS)
        return codes_bind(model, name, shape, field->stored == CODES_BY_INPUT, view, err);
    if (codes4_bind(&codes, model, name, (int)shape[0], (int)shape[1], has_scales(model->kind),
                    model_scales(model, layer)[input_site(field->tensor)], err))
        return err->status;
    *bound = codes.words;
    return STATUS_OK;
}

static enum status bind_layer_scale(struct model *model, int layer, const struct scale_field *field,
                                    struct error *err)
{
    char name[NAME_CHARS];
    float scale;
    codes_layer_name(layer, field->name, name);
    if (codes_scale(model, name, &scale, err)) return err->status;
    model->scales[layer * SCALES + field->place] = scale;
    return STATUS_OK;
}

static double scale_at(const float *scales, int place)
{
    return place == ONE ? 1 : (double)scales[place];
}

static enum status check_layer_number(const struct model *model, int layer, const struct check_field *field,
                                      struct error *err)
{
    const float *s = model_scales(model, layer);
    char name[NAME_CHARS];
    codes_layer_name(layer, field->name, name);
    return codes_check(model, name, scale_at(s, field->over) / scale_at(s, field->under), err);
}

// ---- alpha ----

// The first that is not what it should be, and how many.
struct odd_alphas {
    char name[NAME_CHARS];
    int count;
};

static enum status look_at_alpha(const struct model *model, const char *name, double expected,
                                 struct odd_alphas *odd, struct error *err)
{
    double number = 0;
    bool found;
    if (codes_find_number(model, name, &number, &found, err) || !found || number == 1 ||
        codes_are_near(number, expected))
        return err->status;
    if (odd->count++ > 0) return STATUS_OK;
    snprintf(odd->name, sizeof odd->name, "%s", name);
    return STATUS_OK;
}

static enum status look_at_layer(const struct model *model, int layer, struct odd_alphas *odd,
                                 struct error *err)
{
    const float *s = model_scales(model, layer);
    char name[NAME_CHARS];
    for (const struct alpha_field *f = alpha_fields; f < alpha_fields + ALPHA_FIELDS; f++) {
        const double a = scale_at(s, f->over) / scale_at(s, f->under);
        codes_layer_name(layer, f->name, name);
        if (look_at_alpha(model, name, a * scale_at(s, f->times), odd, err)) return err->status;
    }
    return STATUS_OK;
}

static enum status note_alphas(struct model *model, struct error *err)
{
    static const char head_alpha[] = "lm_head.alpha";
    struct odd_alphas odd = {.count = 0};
    const struct code_ends *ends = &model->ends;
    for (int l = 0; l < model->dims.n_layer; l++)
        if (look_at_layer(model, l, &odd, err)) return err->status;
    if (ends->lm_head > 0 &&
        look_at_alpha(model, head_alpha, (double)ends->lm_head * (double)ends->lm_head_input, &odd, err))
        return err->status;
    if (odd.count > 0)
        notes_add(&model->notes, "%s: key '%s' is neither a times b nor 1 (%d such keys); no mode uses it",
                  checkpoint_path(model->checkpoint), odd.name, odd.count);
    return STATUS_OK;
}

static enum status bind_scales(struct model *model, int layer, struct error *err)
{
    const bool w8a8 = model->kind == MODEL_W8A8;
    for (int i = 0; i < SCALE_FIELDS; i++)
        if ((w8a8 || !scale_fields[i].w8a8) && bind_layer_scale(model, layer, &scale_fields[i], err))
            return err->status;
    for (int i = 0; i < CHECK_FIELDS; i++)
        if ((w8a8 || !check_fields[i].w8a8) && check_layer_number(model, layer, &check_fields[i], err))
            return err->status;
    return STATUS_OK;
}

// Weights in 4 bits, or all others.
static enum status bind_fields(struct model *model, int layer, bool four_bits, struct error *err)
{
    const struct field *fields = fields_of(model->kind);
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
    if (codes_norm(model, norm, "in_proj", &model->tensors[layer * MAMBA1_TENSORS + TENSOR_NORM], err) ||
        bind_fields(model, layer, false, err) || (has_scales(model->kind) && bind_scales(model, layer, err)))
        return err->status;
    return bind_fields(model, layer, true, err);
}

// ---- the whole ----

// What Quamba's code of 2024 would hold in memory; it saves no models.
static enum status refuse_2024(const struct model *model, struct error *err)
{
    static const char there[] = "backbone.layers.0.mixer.selective_scan.output_scale",
                      absent[] = "backbone.layers.0.norm.output_scale";
    const struct checkpoint *c = model->checkpoint;
    if ((!checkpoint_find(c, there) && !checkpoint_scalar(c, there)) || checkpoint_find(c, absent) ||
        checkpoint_scalar(c, absent))
        return STATUS_OK;
    return error_set(
        err, STATUS_INPUT,
        "%s: a W8A8 model of Quamba's code of 2024 (key '%s' is there, '%s' is not), whose numerics are "
        "others: expected one of Quamba2's code of 2025 or later; quantize the float model with that",
        checkpoint_path(c), there, absent);
}

enum status mamba1_bind_codes(struct model *model, const struct config *config, struct error *err)
{
    const size_t layers = (size_t)model->dims.n_layer, views = layers * FIELDS + 1;
    model->views = calloc(views, sizeof *model->views);
    model->scales = calloc(layers * SCALES, sizeof *model->scales);
    if (!model->views || !model->scales)
        return error_memory(err, views * sizeof *model->views, "a model's layers");
    if (refuse_2024(model, err)) return err->status;
    for (int l = 0; l < model->dims.n_layer; l++)
        if (bind_layer(model, l, err)) return err->status;
    if (codes_embedding(model, config, err) ||
        codes_norm(model, "backbone.norm_f.weight", "lm_head", &model->norm_f, err) ||
        codes_head(model, config, &model->views[views - 1], err) || note_alphas(model, err))
        return err->status;
    return codes_check_strangers(model, err);
}
