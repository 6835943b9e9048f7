// SPDX-License-Identifier: Apache-2.0
// Codes, scales and floats out of a quantized checkpoint, and what stands around its layers.
#include "codes_parts.h"
#include "ssmsweep/arch/codes4.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_CHARS = CODES_NAME_CHARS, PAD = 16 };

// ---- names ----

static const char embedding_scales[] = "backbone.embedding.scales",
                  embeddings_scales[] = "backbone.embeddings.scales",
                  norm_f_scale[] = "backbone.norm_f.output_scale", head_weight[] = "lm_head.weight",
                  head_a[] = "lm_head.a", head_b[] = "lm_head.b", head_alpha[] = "lm_head.alpha",
                  head[] = "lm_head.";

bool codes_is_end(const char *name)
{
    const char *const known[] = {embedding_scales, embeddings_scales, norm_f_scale, head_a,
                                 head_b,           head_alpha};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i]) == 0) return true;
    return strncmp(name, head, sizeof head - 1) == 0 && codes4_is_part(name + sizeof head - 1);
}

void codes_layer_name(int layer, const char *rest, char name[NAME_CHARS])
{
    snprintf(name, NAME_CHARS, "backbone.layers.%d.%s", layer, rest);
}

bool codes_split_name(const char *name, int n_layer, int *layer, const char **rest)
{
    static const char prefix[] = "backbone.layers.";
    char *end, expected[NAME_CHARS];
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return false;
    const long number = strtol(name + sizeof prefix - 1, &end, 10);
    snprintf(expected, sizeof expected, "%s%ld.", prefix, number);
    if (number < 0 || number >= n_layer || strncmp(name, expected, strlen(expected)) != 0) return false;
    *layer = (int)number;
    *rest = end + 1;
    return true;
}

// ---- codes ----

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
    return error_set(err, STATUS_INPUT, "%s: key '%s' is missing; a %s Mamba checkpoint has it",
                     checkpoint_path(model->checkpoint), name, model_kind_name(model->kind));
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
                         "%s: tensor '%s': expected INT8 codes, got %s; config.json names a %s model",
                         checkpoint_path(model->checkpoint), name, tensor_dtype_name(tensor),
                         model_kind_name(model->kind));
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

// A tensor of a float dtype, finite; `view` is it as [rows, columns] or [rows].
enum status codes_bind_float(const struct model *model, const char *name, const int64_t shape[2],
                             struct tensor *view, struct error *err)
{
    const struct tensor *tensor = checkpoint_find(model->checkpoint, name);
    int64_t index;
    if (!tensor) return codes_missing(model, name, err);
    if (!dtype_is_float(tensor->dtype))
        return error_set(err, STATUS_INPUT, "%s: tensor '%s': expected a float dtype, got %s",
                         checkpoint_path(model->checkpoint), name, tensor_dtype_name(tensor));
    *view = *tensor;
    if (!arrange(view, shape, false)) return bad_shape(model, name, tensor, shape, false, err);
    if (!tensor_find_nonfinite(tensor, &index)) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "%s: tensor '%s': element %lld: expected finite numbers, got NaN or Inf",
                     checkpoint_path(model->checkpoint), name, (long long)index);
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
            "%s: key '%s': expected one number, got a tensor of %s, shape %s; a %s model has one scale "
            "for it",
            checkpoint_path(model->checkpoint), name, tensor_dtype_name(tensor), shape,
            model_kind_name(model->kind));
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

bool codes_are_near(double number, double expected)
{
    return fabs(number - expected) <= 1e-6 * expected; // four roundings to FP32 lie between two ways to it
}

// The equations take each scale from one place; a file that says something else elsewhere means another
// model.
enum status codes_check(const struct model *model, const char *name, double expected, struct error *err)
{
    double number = 0;
    bool found;
    if (codes_find_number(model, name, &number, &found, err) || !found || codes_are_near(number, expected))
        return err->status;
    return error_set(err, STATUS_INPUT, "%s: key '%s': expected %.9g by the file's other scales, got %.9g",
                     checkpoint_path(model->checkpoint), name, expected, number);
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
        return error_set(err, STATUS_INPUT,
                         "%s: tensor '%s': expected %d ones, as a %s checkpoint has the norm's weight in %s",
                         checkpoint_path(model->checkpoint), name, model->dims.d_model,
                         model_kind_name(model->kind), folded);
    *norm = tensor;
    return STATUS_OK;
}

// ---- embedding and lm_head ----

static enum status check_part(const struct model *model, const struct tensor *tensor, enum config_part said,
                              enum config_part four_bits, const char *key, struct error *err)
{
    static const char *const names[] = {[PART_FLOAT] = "a float dtype",
                                        [PART_INT8] = "INT8 codes",
                                        [PART_INT4_A8] = "4-bit codes for INT8 activations",
                                        [PART_INT4_A16] = "4-bit codes"};
    const enum config_part is = tensor->dtype == DTYPE_I8    ? PART_INT8
                                : tensor->dtype == DTYPE_I32 ? four_bits
                                                             : PART_FLOAT;
    if (said == PART_UNSAID || said == is) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: tensor '%s': expected %s, as config.json's '%s' says, got %s",
                     checkpoint_path(model->checkpoint), tensor->name, names[said], key,
                     tensor->dtype == DTYPE_I32 ? names[is] : tensor_dtype_name(tensor));
}

// A row is FP16(code * scale), which must be finite.  Scales come from the largest value of a row, not from
// the largest magnitude: they may be 0 or negative.
static enum status check_row_scales(const struct model *model, const struct tensor *scales, struct error *err)
{
    const int rows = model->dims.vocab_size, most = model->embedding->dtype == DTYPE_I32 ? 8 : 128;
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
        if (!(fabsf(value) * (float)most < 65520))
            return error_set(
                err, STATUS_INPUT,
                "%s: tensor '%s': element %d: expected a scale below %d in magnitude, as code times "
                "scale is rounded to FP16, got %g",
                checkpoint_path(model->checkpoint), scales->name, i, 65520 / most, (double)value);
    }
    return STATUS_OK;
}

// Words of eight codes.
static enum status check_words(const struct model *model, const struct tensor *words, struct error *err)
{
    const int64_t shape[2] = {model->dims.vocab_size, model->dims.d_model / 8};
    if (words->dims == 2 && words->shape[0] == shape[0] && words->shape[1] == shape[1] &&
        model->dims.d_model % 8 == 0)
        return STATUS_OK;
    char expected[TENSOR_SHAPE_CHARS], got[TENSOR_SHAPE_CHARS];
    tensor_shape_text(shape, 2, expected);
    tensor_shape_text(words->shape, words->dims, got);
    return error_set(
        err, STATUS_INPUT,
        "%s: tensor '%s': expected shape %s, eight codes of 4 bits in a word, got %s; config.json "
        "and weights differ",
        checkpoint_path(model->checkpoint), words->name, expected, got);
}

enum status codes_embedding(struct model *model, const struct config *config, struct error *err)
{
    static const char *const names[] = {"backbone.embeddings.weight", "backbone.embedding.weight"};
    const struct tensor *plural = checkpoint_find(model->checkpoint, names[0]),
                        *tensor = plural ? plural : checkpoint_find(model->checkpoint, names[1]);
    const char *scales = plural ? embeddings_scales : embedding_scales;
    const int64_t shape[2] = {model->dims.vocab_size, model->dims.d_model};
    struct tensor same;
    if (check_part(model, tensor, config->embedding, PART_INT4_A16, "embedding_cfg.layer", err))
        return err->status;
    if (dtype_is_float(tensor->dtype)) return STATUS_OK;
    if (tensor->dtype == DTYPE_I32 ? check_words(model, tensor, err)
                                   : codes_bind(model, tensor->name, shape, false, &same, err))
        return err->status;
    model->embedding = tensor;
    model->ends.embedding = checkpoint_find(model->checkpoint, scales);
    if (!model->ends.embedding) return codes_missing(model, scales, err);
    return check_row_scales(model, model->ends.embedding, err);
}

static enum status bind_head4(struct model *model, const struct tensor *words, bool a8, struct error *err)
{
    static const char input[] = "lm_head.input_scale";
    struct code_ends *ends = &model->ends;
    struct codes4 codes;
    if (a8 && (codes_scale(model, input, &ends->lm_head_input, err) ||
               codes_check(model, norm_f_scale, (double)ends->lm_head_input, err)))
        return err->status;
    if (codes4_bind(&codes, model, "lm_head", model->dims.vocab_size, model->dims.d_model, a8,
                    ends->lm_head_input, err))
        return err->status;
    ends->lm_head_4bit = true;
    model->lm_head = words;
    return STATUS_OK;
}

enum status codes_head(struct model *model, const struct config *config, struct tensor *view,
                       struct error *err)
{
    const struct tensor *tensor = checkpoint_find(model->checkpoint, head_weight);
    const int64_t shape[2] = {model->dims.vocab_size, model->dims.d_model};
    const bool a8 = checkpoint_find(model->checkpoint, "lm_head.s_channel") != NULL;
    struct code_ends *ends = &model->ends;
    if (!tensor) return codes_missing(model, head_weight, err);
    if (check_part(model, tensor, config->lm_head, a8 ? PART_INT4_A8 : PART_INT4_A16, "lm_head_cfg.layer",
                   err))
        return err->status;
    if (tensor->dtype == DTYPE_I32) return bind_head4(model, tensor, a8, err);
    if (dtype_is_float(tensor->dtype)) return STATUS_OK;
    if (codes_bind(model, head_weight, shape, true, view, err) ||
        codes_scale(model, head_a, &ends->lm_head_input, err) ||
        codes_scale(model, head_b, &ends->lm_head, err) ||
        codes_check(model, norm_f_scale, (double)ends->lm_head_input, err))
        return err->status;
    model->lm_head = view;
    return STATUS_OK;
}

enum status codes_check_strangers(const struct model *model, struct error *err)
{
    for (size_t i = 0; i < checkpoint_scalars(model->checkpoint); i++) {
        const char *name = checkpoint_scalar_at(model->checkpoint, i)->name;
        const bool ours = strncmp(name, "backbone.", 9) == 0 || strncmp(name, "lm_head.", 8) == 0;
        if (ours && !model->dims.arch->knows_codes(model, name))
            return error_set(
                err, STATUS_INPUT, "%s: unknown key '%.200s': no part of a %s model of %d layers",
                checkpoint_path(model->checkpoint), name, model_kind_name(model->kind), model->dims.n_layer);
    }
    return STATUS_OK;
}
