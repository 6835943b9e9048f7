// SPDX-License-Identifier: Apache-2.0
#include "w8a8.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_CHARS = 128, PAD = 16 };

// ---- names ----

// Of the codes of one layer.
static const struct field {
    const char *name;
    size_t offset; // in struct model_layer
    bool stored_by_input;
} fields[] = {
    {"mixer.in_proj.weight", offsetof(struct model_layer, in_proj), true},
    {"mixer.conv1d.weight", offsetof(struct model_layer, conv_w), false},
    {"mixer.conv1d.bias", offsetof(struct model_layer, conv_b), false},
    {"mixer.x_proj.weight", offsetof(struct model_layer, x_proj), true},
    {"mixer.dt_proj.weight", offsetof(struct model_layer, dt_proj), true},
    {"mixer.selective_scan.dt_bias", offsetof(struct model_layer, dt_bias), false},
    {"mixer.selective_scan.A_log", offsetof(struct model_layer, A_log), false},
    {"mixer.selective_scan.D", offsetof(struct model_layer, D_skip), false},
    {"mixer.out_proj.weight", offsetof(struct model_layer, out_proj), true},
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

#define SCALE(member) offsetof(struct w8a8_scales, member)

static const struct scale_field {
    const char *name;
    size_t offset; // in struct w8a8_scales
} scale_fields[] = {
    {"norm.output_scale", SCALE(in_proj_input)},
    {"mixer.conv1d.input_scale", SCALE(in_proj_output)},
    {"mixer.conv1d.output_scale", SCALE(x_proj_input)},
    {"mixer.selective_scan.B_scale", SCALE(x_proj_output)},
    {"mixer.selective_scan.dt_scale", SCALE(dt_proj_output)},
    {"mixer.had.x_H_scale", SCALE(out_proj_input)},
    {"mixer.selective_scan.ssm_state_scale", SCALE(ssm_state)},
    {"mixer.in_proj.b", SCALE(in_proj)},
    {"mixer.conv1d.weight_scale", SCALE(conv_w)},
    {"mixer.conv1d.bias_scale", SCALE(conv_b)},
    {"mixer.x_proj.b", SCALE(x_proj)},
    {"mixer.dt_proj.b", SCALE(dt_proj)},
    {"mixer.selective_scan.dt_bias_scale", SCALE(dt_bias)},
    {"mixer.selective_scan.A_scale", SCALE(A_log)},
    {"mixer.selective_scan.D_scale", SCALE(D_skip)},
    {"mixer.out_proj.b", SCALE(out_proj)},
};
enum { SCALE_FIELDS = sizeof scale_fields / sizeof scale_fields[0] };

// What the file says a second time: the scale `over` divided by the scale `under`.
enum { ONE = -1 };
static const struct check_field {
    const char *name;
    int over, under; // offsets, or ONE
} check_fields[] = {
    {"mixer.selective_scan.z_scale", SCALE(in_proj_output), ONE},
    {"mixer.selective_scan.u_scale", SCALE(x_proj_input), ONE},
    {"mixer.selective_scan.C_scale", SCALE(x_proj_output), ONE},
    {"mixer.in_proj.a", SCALE(in_proj_input), SCALE(in_proj_output)},
    {"mixer.x_proj.a", SCALE(x_proj_input), SCALE(x_proj_output)},
    {"mixer.dt_proj.a", SCALE(x_proj_output), SCALE(dt_proj_output)},
    {"mixer.out_proj.a", SCALE(out_proj_input), ONE},
    {"mixer.in_proj.alpha", ONE, ONE},
    {"mixer.x_proj.alpha", ONE, ONE},
    {"mixer.dt_proj.alpha", ONE, ONE},
    {"mixer.out_proj.alpha", ONE, ONE},
};
enum { CHECK_FIELDS = sizeof check_fields / sizeof check_fields[0] };

bool w8a8_knows(const char *name, int n_layer)
{
    static const char prefix[] = "backbone.layers.";
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return false;
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
    return false;
}

static void layer_name(int layer, const char *rest, char name[NAME_CHARS])
{
    snprintf(name, NAME_CHARS, "backbone.layers.%d.%s", layer, rest);
}

// ---- codes ----

// [rows, columns] of a weight as the equations have it; columns 0: a vector.
static void expected_shape(const struct dims *d, size_t offset, int64_t shape[2])
{
    const int64_t I = d->d_inner;
    shape[0] = I, shape[1] = 0;
    if (offset == offsetof(struct model_layer, in_proj)) shape[0] = 2 * I, shape[1] = d->d_model;
    if (offset == offsetof(struct model_layer, conv_w)) shape[1] = d->d_conv;
    if (offset == offsetof(struct model_layer, x_proj)) shape[0] = d->dt_rank + 2 * d->d_state, shape[1] = I;
    if (offset == offsetof(struct model_layer, dt_proj)) shape[1] = d->dt_rank;
    if (offset == offsetof(struct model_layer, A_log)) shape[1] = d->d_state;
    if (offset == offsetof(struct model_layer, out_proj)) shape[0] = d->d_model, shape[1] = I;
}

static void transpose(struct tensor *tensor)
{
    int64_t shape = tensor->shape[0], stride = tensor->stride[0];
    tensor->shape[0] = tensor->shape[1], tensor->stride[0] = tensor->stride[1];
    tensor->shape[1] = shape, tensor->stride[1] = stride;
}

// The tensor as [rows, columns] or [rows]; false if it has another shape.
static bool arrange(struct tensor *tensor, const struct field *field, const int64_t shape[2])
{
    const int dims = shape[1] ? 2 : 1;
    if (tensor->dims == 3 && tensor->shape[1] == 1 && !field->stored_by_input) { // conv1d: [I, 1, K]
        tensor->dims = 2;
        tensor->shape[1] = tensor->shape[2], tensor->stride[1] = tensor->stride[2];
    }
    if (tensor->dims != dims) return false;
    if (field->stored_by_input) transpose(tensor);
    const int64_t padded = (shape[0] + PAD - 1) / PAD * PAD;
    bool rows = tensor->shape[0] == shape[0] || (field->stored_by_input && tensor->shape[0] == padded);
    if (!rows || (dims == 2 && tensor->shape[1] != shape[1])) return false;
    tensor->shape[0] = shape[0];
    return true;
}

static enum status missing(const struct model *model, const char *name, struct error *err)
{
    return error_set(err, STATUS_INPUT, "%s: key '%s' is missing; a W8A8 Mamba checkpoint has it",
                     checkpoint_path(model->checkpoint), name);
}

static enum status bind_codes(struct model *model, int layer, const struct field *field, struct tensor *view,
                              struct error *err)
{
    char name[NAME_CHARS], expected[TENSOR_SHAPE_CHARS], got[TENSOR_SHAPE_CHARS];
    int64_t shape[2];
    layer_name(layer, field->name, name);
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    if (!tensor) return missing(model, name, err);
    if (tensor->dtype != DTYPE_I8)
        return error_set(err, STATUS_INPUT,
                         "%s: tensor '%s': expected INT8 codes, got %s; config.json names a "
                         "W8A8 model",
                         checkpoint_path(model->checkpoint), name, dtype_name(tensor->dtype));
    expected_shape(&model->dims, field->offset, shape);
    *view = *tensor;
    if (!arrange(view, field, shape)) {
        if (field->stored_by_input) {
            int64_t rows = shape[0];
            shape[0] = shape[1], shape[1] = rows;
        }
        tensor_shape_text(shape, shape[1] ? 2 : 1, expected);
        tensor_shape_text(tensor->shape, tensor->dims, got);
        return error_set(err, STATUS_INPUT,
                         "%s: tensor '%s': expected shape %s%s, got %s; config.json and weights differ",
                         checkpoint_path(model->checkpoint), name, expected,
                         field->stored_by_input ? " or its outputs rounded up to 16" : "", got);
    }
    memcpy((char *)&model->layers[layer] + field->offset, &view, sizeof view);
    return STATUS_OK;
}

// ---- scales ----

// A plain number, or a float tensor of one element; false: there is neither.
static bool find_number(const struct model *model, const char *name, double *number)
{
    const struct scalar *scalar = checkpoint_scalar(model->checkpoint, name);
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    float value = NAN;
    if (scalar) {
        *number = scalar->value;
        return true;
    }
    if (!tensor) return false;
    bool is_float = tensor->dtype == DTYPE_F32 || tensor->dtype == DTYPE_F16 || tensor->dtype == DTYPE_BF16;
    if (is_float && tensor_elements(tensor) == 1) tensor_to_f32(tensor, &value);
    *number = (double)value;
    return true;
}

static enum status bind_scale(struct model *model, int layer, const struct scale_field *field,
                              struct error *err)
{
    char name[NAME_CHARS];
    double number;
    layer_name(layer, field->name, name);
    if (!find_number(model, name, &number)) return missing(model, name, err);
    float scale = (float)number;
    if (!(scale > 0) || isinf(scale))
        return error_set(err, STATUS_INPUT, "%s: key '%s': expected one finite number above 0, got %g",
                         checkpoint_path(model->checkpoint), name, number);
    memcpy((char *)&model->scales[layer] + field->offset, &scale, sizeof scale);
    return STATUS_OK;
}

static double scale_at(const struct w8a8_scales *scales, int offset)
{
    float scale = 1;
    if (offset != ONE) memcpy(&scale, (const char *)scales + offset, sizeof scale);
    return (double)scale;
}

// The equations take each scale from one place; a file that says something else elsewhere means another
// model.
static enum status check_number(const struct model *model, int layer, const struct check_field *field,
                                struct error *err)
{
    const struct w8a8_scales *scales = &model->scales[layer];
    char name[NAME_CHARS];
    double number, expected = scale_at(scales, field->over) / scale_at(scales, field->under);
    layer_name(layer, field->name, name);
    if (!find_number(model, name, &number) || fabs(number - expected) <= 1e-6 * expected) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: key '%s': expected %.9g by the layer's other scales, got %.9g",
                     checkpoint_path(model->checkpoint), name, expected, number);
}

// ---- norm ----

static enum status bind_norm(struct model *model, int layer, struct error *err)
{
    char name[NAME_CHARS];
    layer_name(layer, "norm.weight", name);
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    if (!tensor) return missing(model, name, err);
    bool good = tensor->dims == 1 && tensor->shape[0] == model->dims.d_model &&
                (tensor->dtype == DTYPE_F32 || tensor->dtype == DTYPE_F16 || tensor->dtype == DTYPE_BF16);
    for (int i = 0; good && i < model->dims.d_model; i++) {
        struct tensor one = *tensor;
        float value;
        one.data += (size_t)(i * one.stride[0]) * dtype_bytes(one.dtype);
        one.shape[0] = 1;
        tensor_to_f32(&one, &value);
        good = value == 1.0f;
    }
    if (!good)
        return error_set(err, STATUS_INPUT,
                         "%s: tensor '%s': expected %d ones, as a W8A8 checkpoint has the norm's weight in "
                         "in_proj",
                         checkpoint_path(model->checkpoint), name, model->dims.d_model);
    model->layers[layer].norm = tensor;
    return STATUS_OK;
}

static enum status check_strange_numbers(const struct model *model, struct error *err)
{
    for (size_t i = 0; i < checkpoint_scalars(model->checkpoint); i++) {
        const char *name = checkpoint_scalar_at(model->checkpoint, i)->name;
        if (strncmp(name, "backbone.", 9) == 0 && !w8a8_knows(name, model->dims.n_layer))
            return error_set(err, STATUS_INPUT,
                             "%s: unknown key '%.200s': no part of a W8A8 model of %d layers",
                             checkpoint_path(model->checkpoint), name, model->dims.n_layer);
    }
    return STATUS_OK;
}

static enum status bind_layer(struct model *model, int layer, struct error *err)
{
    if (bind_norm(model, layer, err)) return err->status;
    for (int i = 0; i < FIELDS; i++)
        if (bind_codes(model, layer, &fields[i], &model->views[layer * FIELDS + i], err)) return err->status;
    for (int i = 0; i < SCALE_FIELDS; i++)
        if (bind_scale(model, layer, &scale_fields[i], err)) return err->status;
    for (int i = 0; i < CHECK_FIELDS; i++)
        if (check_number(model, layer, &check_fields[i], err)) return err->status;
    return STATUS_OK;
}

enum status w8a8_bind(struct model *model, struct error *err)
{
    const size_t layers = (size_t)model->dims.n_layer;
    model->views = calloc(layers * FIELDS, sizeof *model->views);
    model->scales = calloc(layers, sizeof *model->scales);
    if (!model->views || !model->scales)
        return error_memory(err, layers * FIELDS * sizeof *model->views, "a model's layers");
    for (int l = 0; l < model->dims.n_layer; l++)
        if (bind_layer(model, l, err)) return err->status;
    return check_strange_numbers(model, err);
}
