// SPDX-License-Identifier: Apache-2.0

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "codes_parts.h"
#include "mamba1_parts.h"

enum { NAME_CHARS = CODES_NAME_CHARS, PAD = 16, SCALES = (int)MAMBA1_SITES + (int)MAMBA1_TENSORS };

// ---- names ----

// The codes of one layer.
static const struct field {
    const char *name;
    int tensor;
    bool stored_by_input;
} fields[] = {
    {"mixer.in_proj.weight", TENSOR_IN_PROJ, true},
    {"mixer.conv1d.weight", TENSOR_CONV_W, false},
    {"mixer.conv1d.bias", TENSOR_CONV_B, false},
    {"mixer.x_proj.weight", TENSOR_X_PROJ, true},
    {"mixer.dt_proj.weight", TENSOR_DT_PROJ, true},
    {"mixer.selective_scan.dt_bias", TENSOR_DT_BIAS, false},
    {"mixer.selective_scan.A_log", TENSOR_A_LOG, false},
    {"mixer.selective_scan.D", TENSOR_D_SKIP, false},
    {"mixer.out_proj.weight", TENSOR_OUT_PROJ, true},
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

// Scales of a layer: those of the sites, then those of the tensors, as model_scales() has them.
#define SCALE_OF(tensor) (MAMBA1_SITES + (int)(tensor))

static const struct scale_field {
    const char *name;
    int place; // among the scales of a layer
} scale_fields[] = {
    {"norm.output_scale", SITE_IN_PROJ_INPUT},
    {"mixer.conv1d.input_scale", SITE_IN_PROJ_OUTPUT},
    {"mixer.conv1d.output_scale", SITE_X_PROJ_INPUT},
    {"mixer.selective_scan.B_scale", SITE_X_PROJ_OUTPUT},
    {"mixer.selective_scan.dt_scale", SITE_DT_PROJ_OUTPUT},
    {"mixer.had.x_H_scale", SITE_OUT_PROJ_INPUT},
    {"mixer.selective_scan.ssm_state_scale", SITE_SSM_STATE},
    {"mixer.in_proj.b", SCALE_OF(TENSOR_IN_PROJ)},
    {"mixer.conv1d.weight_scale", SCALE_OF(TENSOR_CONV_W)},
    {"mixer.conv1d.bias_scale", SCALE_OF(TENSOR_CONV_B)},
    {"mixer.x_proj.b", SCALE_OF(TENSOR_X_PROJ)},
    {"mixer.dt_proj.b", SCALE_OF(TENSOR_DT_PROJ)},
    {"mixer.selective_scan.dt_bias_scale", SCALE_OF(TENSOR_DT_BIAS)},
    {"mixer.selective_scan.A_scale", SCALE_OF(TENSOR_A_LOG)},
    {"mixer.selective_scan.D_scale", SCALE_OF(TENSOR_D_SKIP)},
    {"mixer.out_proj.b", SCALE_OF(TENSOR_OUT_PROJ)},
};
enum { SCALE_FIELDS = sizeof scale_fields / sizeof scale_fields[0] };

// What the file says a second time: the scale `over` divided by the scale `under`.
enum { ONE = -1 };
static const struct check_field {
    const char *name;
    int over, under; // places, or ONE
} check_fields[] = {
    {"mixer.selective_scan.z_scale", SITE_IN_PROJ_OUTPUT, ONE},
    {"mixer.selective_scan.u_scale", SITE_X_PROJ_INPUT, ONE},
    {"mixer.selective_scan.C_scale", SITE_X_PROJ_OUTPUT, ONE},
    {"mixer.in_proj.a", SITE_IN_PROJ_INPUT, SITE_IN_PROJ_OUTPUT},
    {"mixer.x_proj.a", SITE_X_PROJ_INPUT, SITE_X_PROJ_OUTPUT},
    {"mixer.dt_proj.a", SITE_X_PROJ_OUTPUT, SITE_DT_PROJ_OUTPUT},
    {"mixer.out_proj.a", SITE_OUT_PROJ_INPUT, ONE},
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

static const char embedding_scales[] = "backbone.embedding.scales",
                  embeddings_scales[] = "backbone.embeddings.scales",
                  norm_f_scale[] = "backbone.norm_f.output_scale", head_weight[] = "lm_head.weight",
                  head_a[] = "lm_head.a", head_b[] = "lm_head.b", head_alpha[] = "lm_head.alpha";

bool codes_is_end(const char *name)
{
    const char *const known[] = {embedding_scales, embeddings_scales, norm_f_scale, head_a,
                                 head_b,           head_alpha};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i]) == 0) return true;
    return false;
}

bool mamba1_knows_codes(const char *name, int n_layer)
{
    static const char prefix[] = "backbone.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return codes_is_end(name);
    char *end;
    long layer = strtol(name + sizeof prefix - 1, &end, 10);
    char expected[NAME_CHARS];
    snprintf(expected, sizeof expected, "%s%ld.", prefix, layer);
    if (layer < 0 || layer >= n_layer || strncmp(name, expected, strlen(expected)) != 0) return false;
    const char *rest = end + 1;
    if (strcmp(rest, "norm.weight") == 0) return true;
    for (int i = 0; i < FIELDS; i++)
        if (strcmp(rest, fields[i].name) == 0) return true;
    for (int i = 0; i < SCALE_FIELDS; i++)
        if (strcmp(rest, scale_fields[i].name) == 0) return true;
    for (int i = 0; i < CHECK_FIELDS; i++)
        if (strcmp(rest, check_fields[i].name) == 0) return true;
    for (int i = 0; i < ALPHA_FIELDS; i++)
        if (strcmp(rest, alpha_fields[i].name) == 0) return true;
    return false;
}

void codes_layer_name(int layer, const char *rest, char name[NAME_CHARS])
{
    snprintf(name, NAME_CHARS, "backbone.layers.%d.%s", layer, rest);
}

// ---- codes ----

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

static void transpose(struct tensor *tensor)
{
    int64_t shape = tensor->shape[0], stride = tensor->stride[0];
    tensor->shape[0] = tensor->shape[1], tensor->stride[0] = tensor->stride[1];
    tensor->shape[1] = shape, tensor->stride[1] = stride;
}

// The tensor as [rows, columns] or [rows], which may have rows of padding behind them; false if it has
// another shape.
static bool arrange(struct tensor *tensor, const int64_t shape[2], bool stored_by_input)
{
    const int dims = shape[1] ? 2 : 1;
    if (tensor->dims == 3 && tensor->shape[1] == 1 && !stored_by_input) { // conv1d: [I, 1, K]
        tensor->dims = 2;
        tensor->shape[1] = tensor->shape[2], tensor->stride[1] = tensor->stride[2];
    }
    if (tensor->dims != dims) return false;
    if (stored_by_input) transpose(tensor);
    const int64_t padded = (shape[0] + PAD - 1) / PAD * PAD;
    bool rows = tensor->shape[0] == shape[0] || (stored_by_input && tensor->shape[0] == padded);
    return rows && (dims == 1 || tensor->shape[1] == shape[1]);
}

// Are the rows from `first` on zeros?  They are cut off.
static bool cut_padding(struct tensor *matrix, int64_t first)
{
    bool zeros = true;
    for (int64_t n = first; n < matrix->shape[0]; n++)
        for (int64_t k = 0; k < matrix->shape[1]; k++)
            zeros = zeros && matrix->data[n * matrix->stride[0] + k * matrix->stride[1]] == 0;
    matrix->shape[0] = first;
    return zeros;
}

enum status codes_missing(const struct model *model, const char *name, struct error *err)
{
    return error_set(err, STATUS_INPUT, "%s: key '%s' is missing; a W8A8 Mamba checkpoint has it",
                     checkpoint_path(model->checkpoint), name);
}

static enum status bad_shape(const struct model *model, const char *name, const struct tensor *tensor,
                             const int64_t shape[2], bool stored_by_input, struct error *err)
{
    char expected[TENSOR_SHAPE_CHARS], got[TENSOR_SHAPE_CHARS];
    const int64_t stored[2] = {stored_by_input ? shape[1] : shape[0], stored_by_input ? shape[0] : shape[1]};
    tensor_shape_text(stored, shape[1] ? 2 : 1, expected);
    tensor_shape_text(tensor->shape, tensor->dims, got);
    return error_set(err, STATUS_INPUT,
                     "%s: tensor '%s': expected shape %s%s, got %s; config.json and weights differ",
                     checkpoint_path(model->checkpoint), name, expected,
                     stored_by_input ? " or its outputs rounded up to 16" : "", got);
}

// `view` becomes [rows, columns], or [rows] where shape[1] is 0, of the tensor's codes.
enum status codes_bind(const struct model *model, const char *name, const int64_t shape[2],
                       bool stored_by_input, struct tensor *view, struct error *err)
{
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    if (!tensor) return codes_missing(model, name, err);
    if (tensor->dtype != DTYPE_I8)
        return error_set(err, STATUS_INPUT,
                         "%s: tensor '%s': expected INT8 codes, got %s; config.json names a "
                         "W8A8 model",
                         checkpoint_path(model->checkpoint), name, tensor_dtype_name(tensor));
    *view = *tensor;
    if (!arrange(view, shape, stored_by_input))
        return bad_shape(model, name, tensor, shape, stored_by_input, err);
    if (stored_by_input && !cut_padding(view, shape[0]))
        return error_set(
            err, STATUS_INPUT,
            "%s: tensor '%s': expected zeros behind output %lld, where rows are padded, got other "
            "codes; config.json and weights differ",
            checkpoint_path(model->checkpoint), name, (long long)shape[0]);
    return STATUS_OK;
}

static enum status bind_layer_codes(struct model *model, int layer, const struct field *field,
                                    struct tensor *view, struct error *err)
{
    char name[NAME_CHARS];
    int64_t shape[2];
    codes_layer_name(layer, field->name, name);
    expected_shape(&model->dims, field->tensor, shape);
    if (codes_bind(model, name, shape, field->stored_by_input, view, err)) return err->status;
    model->tensors[layer * MAMBA1_TENSORS + field->tensor] = view;
    return STATUS_OK;
}

// ---- scales ----

// A plain number, or a float tensor of one element; *found is false where there is neither.
enum status codes_find_number(const struct model *model, const char *name, double *number, bool *found,
                              struct error *err)
{
    const struct scalar *scalar = checkpoint_scalar(model->checkpoint, name);
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    float value = 0;
    *found = scalar || tensor;
    if (scalar) *number = scalar->value;
    if (scalar || !tensor) return STATUS_OK;
    if (!dtype_is_float(tensor->dtype) || tensor_elements(tensor) != 1) {
        char shape[TENSOR_SHAPE_CHARS];
        tensor_shape_text(tensor->shape, tensor->dims, shape);
        return error_set(
            err, STATUS_INPUT,
            "%s: key '%s': expected one number, got a tensor of %s, shape %s; a W8A8 model has one scale "
            "for it",
            checkpoint_path(model->checkpoint), name, tensor_dtype_name(tensor), shape);
    }
    tensor_to_f32(tensor, &value);
    *number = (double)value;
    return STATUS_OK;
}

enum status codes_scale(const struct model *model, const char *name, float *scale, struct error *err)
{
    double number = 0;
    bool found;
    if (codes_find_number(model, name, &number, &found, err)) return err->status;
    if (!found) return codes_missing(model, name, err);
    *scale = (float)number;
    if (!(*scale > 0) || isinf(*scale))
        return error_set(err, STATUS_INPUT, "%s: key '%s': expected one finite number above 0, got %g",
                         checkpoint_path(model->checkpoint), name, number);
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

static bool is_near(double number, double expected)
{
    return fabs(number - expected) <= 1e-6 * expected; // four roundings to FP32 lie between two ways to it
}

// The equations take each scale from one place; a file that says something else elsewhere means another
// model.
enum status codes_check(const struct model *model, const char *name, double expected, struct error *err)
{
    double number = 0;
    bool found;
    if (codes_find_number(model, name, &number, &found, err) || !found || is_near(number, expected))
        return err->status;
    return error_set(err, STATUS_INPUT, "%s: key '%s': expected %.9g by the file's other scales, got %.9g",
                     checkpoint_path(model->checkpoint), name, expected, number);
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
        is_near(number, expected))
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
    struct odd_alphas odd = {.count = 0};
    const struct w8a8_ends *ends = &model->ends;
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

// ---- norms ----

static bool is_ones(const struct tensor *tensor, int count)
{
    bool good = tensor->dims == 1 && tensor->shape[0] == count && dtype_is_float(tensor->dtype);
    for (int i = 0; good && i < count; i++) {
        struct tensor one = *tensor;
        float value;
        one.data += (size_t)(i * one.stride[0]) * dtype_bytes(one.dtype);
        one.shape[0] = 1;
        tensor_to_f32(&one, &value);
        good = value == 1.0f;
    }
    return good;
}

enum status codes_norm(const struct model *model, const char *name, const char *folded,
                       const struct tensor **norm, struct error *err)
{
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    if (!tensor) return codes_missing(model, name, err);
    if (!is_ones(tensor, model->dims.d_model))
        return error_set(
            err, STATUS_INPUT,
            "%s: tensor '%s': expected %d ones, as a W8A8 checkpoint has the norm's weight in %s",
            checkpoint_path(model->checkpoint), name, model->dims.d_model, folded);
    *norm = tensor;
    return STATUS_OK;
}

static enum status bind_layer(struct model *model, int layer, struct error *err)
{
    char norm[NAME_CHARS];
    codes_layer_name(layer, "norm.weight", norm);
    if (codes_norm(model, norm, "in_proj", &model->tensors[layer * MAMBA1_TENSORS + TENSOR_NORM], err))
        return err->status;
    for (int i = 0; i < FIELDS; i++)
        if (bind_layer_codes(model, layer, &fields[i], &model->views[layer * FIELDS + i], err))
            return err->status;
    for (int i = 0; i < SCALE_FIELDS; i++)
        if (bind_layer_scale(model, layer, &scale_fields[i], err)) return err->status;
    for (int i = 0; i < CHECK_FIELDS; i++)
        if (check_layer_number(model, layer, &check_fields[i], err)) return err->status;
    return STATUS_OK;
}

// ---- embedding and lm_head ----

static enum status check_part(const struct model *model, const struct tensor *tensor, enum config_part said,
                              const char *key, struct error *err)
{
    const enum config_part is = tensor->dtype == DTYPE_I8 ? PART_INT8 : PART_FLOAT;
    if (said == PART_UNSAID || said == is) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: tensor '%s': expected %s, as config.json's '%s' says, got %s",
                     checkpoint_path(model->checkpoint), tensor->name,
                     said == PART_INT8 ? "INT8 codes" : "a float dtype", key, tensor_dtype_name(tensor));
}

// A row is FP16(code * scale), which must be finite.  Scales come from the largest value of a row, not from
// the largest magnitude: they may be 0 or negative.
static enum status check_row_scales(const struct model *model, const struct tensor *scales, struct error *err)
{
    const int rows = model->dims.vocab_size;
    if (scales->dtype != DTYPE_F16 || scales->dims != 1 || scales->shape[0] != rows) {
        char shape[TENSOR_SHAPE_CHARS];
        tensor_shape_text(scales->shape, scales->dims, shape);
        return error_set(
            err, STATUS_INPUT,
            "%s: tensor '%s': expected F16 of shape [%d], a scale for each row, got %s of shape %s",
            checkpoint_path(model->checkpoint), scales->name, rows, tensor_dtype_name(scales), shape);
    }
    for (int i = 0; i < rows; i++) {
        struct tensor one = *scales;
        float value;
        one.data += (size_t)(i * one.stride[0]) * dtype_bytes(one.dtype);
        one.shape[0] = 1;
        tensor_to_f32(&one, &value);
        if (!(fabsf(value) * 128 < 65520))
            return error_set(
                err, STATUS_INPUT,
                "%s: tensor '%s': element %d: expected a scale below 511 in magnitude, as code times "
                "scale is rounded to FP16, got %g",
                checkpoint_path(model->checkpoint), scales->name, i, (double)value);
    }
    return STATUS_OK;
}

enum status codes_embedding(struct model *model, const struct config *config, struct error *err)
{
    static const char *const names[] = {"backbone.embeddings.weight", "backbone.embedding.weight"};
    const struct tensor *plural = checkpoint_find(model->checkpoint, names[0]),
                        *tensor = plural ? plural : checkpoint_find(model->checkpoint, names[1]);
    const char *scales = plural ? embeddings_scales : embedding_scales;
    const int64_t shape[2] = {model->dims.vocab_size, model->dims.d_model};
    struct tensor same;
    if (check_part(model, tensor, config->embedding, "embedding_cfg.layer", err)) return err->status;
    if (tensor->dtype != DTYPE_I8) return STATUS_OK;
    if (codes_bind(model, tensor->name, shape, false, &same, err)) return err->status;
    model->embedding = tensor;
    model->ends.embedding = checkpoint_find(model->checkpoint, scales);
    if (!model->ends.embedding) return codes_missing(model, scales, err);
    return check_row_scales(model, model->ends.embedding, err);
}

enum status codes_head(struct model *model, const struct config *config, struct tensor *view,
                       struct error *err)
{
    const struct tensor *tensor = checkpoint_find(model->checkpoint, head_weight);
    const int64_t shape[2] = {model->dims.vocab_size, model->dims.d_model};
    struct w8a8_ends *ends = &model->ends;
    if (!tensor) return codes_missing(model, head_weight, err);
    if (check_part(model, tensor, config->lm_head, "lm_head_cfg.layer", err)) return err->status;
    if (tensor->dtype != DTYPE_I8) return STATUS_OK;
    if (codes_bind(model, head_weight, shape, true, view, err) ||
        codes_scale(model, head_a, &ends->lm_head_input, err) ||
        codes_scale(model, head_b, &ends->lm_head, err) ||
        codes_check(model, norm_f_scale, (double)ends->lm_head_input, err))
        return err->status;
    model->lm_head = view;
    return STATUS_OK;
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

enum status codes_check_strangers(const struct model *model, struct error *err)
{
    for (size_t i = 0; i < checkpoint_scalars(model->checkpoint); i++) {
        const char *name = checkpoint_scalar_at(model->checkpoint, i)->name;
        const bool ours = strncmp(name, "backbone.", 9) == 0 || strncmp(name, "lm_head.", 8) == 0;
        if (ours && !model->dims.arch->knows_codes(name, model->dims.n_layer))
            return error_set(err, STATUS_INPUT,
                             "%s: unknown key '%.200s': no part of a W8A8 model of %d layers",
                             checkpoint_path(model->checkpoint), name, model->dims.n_layer);
    }
    return STATUS_OK;
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
