// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/arch/codes4.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "codes_parts.h"
#include "unit_weights.h"

enum { TILE_INPUTS = 16, TILE_WORDS = 128, WORD_CODES = 8, ROOM_CHARS = CODES_NAME_CHARS + 16 };

static const char *const part_names[] = {"weight",    "input_scale", "s_group",
                                         "s_channel", "scale",       "workspace"};

bool codes4_is_part(const char *rest)
{
    for (size_t i = 0; i < sizeof part_names / sizeof part_names[0]; i++)
        if (strcmp(rest, part_names[i]) == 0) return true;
    return false;
}

// ---- binding ----

static const struct tensor *find(const struct model *model, const char *prefix, const char *rest,
                                 char name[ROOM_CHARS])
{
    snprintf(name, ROOM_CHARS, "%s.%s", prefix, rest);
    return checkpoint_find(model->checkpoint, name);
}

static enum status find_matrix(const struct tensor **found, const struct model *model, const char *prefix,
                               const char *rest, enum dtype dtype, int64_t rows, int64_t columns,
                               struct error *err)
{
    char name[ROOM_CHARS], expected[TENSOR_SHAPE_CHARS], got[TENSOR_SHAPE_CHARS];
    const struct tensor *tensor = find(model, prefix, rest, name);
    if (!tensor) return codes_missing(model, name, err);
    *found = tensor;
    if (tensor->dtype == dtype && tensor->dims == 2 && tensor->shape[0] == rows &&
        tensor->shape[1] == columns)
        return STATUS_OK;
    tensor_shape_text((const int64_t[]){rows, columns}, 2, expected);
    tensor_shape_text(tensor->shape, tensor->dims, got);
    return error_set(err, STATUS_INPUT,
                     "%s: tensor '%s': expected %s of shape %s, got %s of %s; config.json and weights differ",
                     checkpoint_path(model->checkpoint), name, dtype_name(dtype), expected,
                     tensor_dtype_name(tensor), got);
}

// Where the step and the channel scale of an output stand.
static int step_place(int output)
{
    const int block = output / 64 * 64, o = output % 64;
    return block + 8 * (o % 8) + o / 8;
}

static int channel_place(int output)
{
    const int block = output / 32 * 32, o = output % 32;
    return block + 8 * (o % 8 / 2) + 2 * (o / 8) + o % 2;
}

static float element(const struct tensor *tensor, int64_t row, int64_t column)
{
    struct tensor one = *tensor;
    float value;
    one.data += (size_t)(row * one.stride[0] + column * one.stride[1]) * dtype_bytes(one.dtype);
    one.shape[0] = one.shape[1] = 1;
    tensor_to_f32(&one, &value);
    return value;
}

static enum status check_steps(const struct codes4 *c, const struct model *model, struct error *err)
{
    const int padded = (int)c->steps->shape[1];
    for (int n = 0; n < padded; n++)
        for (int64_t g = 0; g < c->steps->shape[0]; g++) {
            const float step = element(c->steps, g, step_place(n));
            if (n < c->outputs ? step >= 0 && !isinf(step) : step == 0) continue;
            return error_set(
                err, STATUS_INPUT, "%s: tensor '%s': inputs from %d on, output %d: expected %s, got %g",
                checkpoint_path(model->checkpoint), c->steps->name, (int)g * CODES4_GROUP, n,
                n < c->outputs ? "a finite step, 0 or above" : "0, as that output is padding", (double)step);
        }
    for (int n = 0; c->channel && n < c->outputs; n++) {
        const float scale = element(c->channel, 0, channel_place(n));
        if (!(scale >= 0) || isinf(scale))
            return error_set(err, STATUS_INPUT,
                             "%s: tensor '%s': output %d: expected a finite scale, 0 or above, got %g",
                             checkpoint_path(model->checkpoint), c->channel->name, n, (double)scale);
    }
    return STATUS_OK;
}

static enum status check_depth(const struct model *model, const char *prefix, int depth, struct error *err)
{
    if (depth % CODES4_GROUP == 0 && depth > CODES4_GROUP) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "%s: '%s': a layer with %d inputs in 4 bits: expected a multiple of %d above it%s; not "
                     "supported",
                     checkpoint_path(model->checkpoint), prefix, depth, CODES4_GROUP,
                     depth == CODES4_GROUP ? " (one group is packed otherwise)" : "");
}

enum status codes4_bind(struct codes4 *codes, const struct model *model, const char *prefix, int outputs,
                        int depth, bool a8, float input, struct error *err)
{
    const int multiple = a8 ? 64 : 256, padded = (outputs + multiple - 1) / multiple * multiple;
    struct codes4 found = {.outputs = outputs, .depth = depth, .a8 = a8};
    char name[ROOM_CHARS];
    if (check_depth(model, prefix, depth, err) ||
        find_matrix(&found.words, model, prefix, "weight", DTYPE_I32, depth / TILE_INPUTS, 2L * padded,
                    err) ||
        find_matrix(&found.steps, model, prefix, a8 ? "s_group" : "scale", DTYPE_F16, depth / CODES4_GROUP,
                    padded, err) ||
        (a8 && find_matrix(&found.channel, model, prefix, "s_channel", DTYPE_F32, 1, padded, err)) ||
        check_steps(&found, model, err))
        return err->status;
    snprintf(name, sizeof name, "%s.input_scale", prefix);
    if (a8 && codes_check(model, name, (double)input, err)) return err->status;
    *codes = found;
    return STATUS_OK;
}

struct codes4 codes4_find(const struct model *model, const char *prefix, int outputs, int depth)
{
    char name[ROOM_CHARS];
    struct codes4 c = {.outputs = outputs, .depth = depth};
    c.words = find(model, prefix, "weight", name);
    c.channel = find(model, prefix, "s_channel", name);
    c.a8 = c.channel != NULL;
    c.steps = find(model, prefix, c.a8 ? "s_group" : "scale", name);
    return c;
}

// ---- unpacking ----

// Nibble t of word 4i + j of a tile holds element m = (0, 2, 4, 6, 1, 3, 5, 7)[t] of its eight: output 16j +
// i / 4 + 8 (m / 4); with r = m mod 4 input 4 (i mod 4) + r (a8), or 2 (i mod 4) + 8 (r / 2) + r mod 2.
static void unpack_word(uint32_t word, int place, bool a8, int first, int count, long depth, int8_t *levels)
{
    const int i = place / 4, j = place % 4;
    for (int t = 0; t < WORD_CODES; t++) {
        const int m = t < 4 ? 2 * t : 2 * t - 7, r = m % 4;
        const int output = 16 * j + i / 4 + 8 * (m / 4),
                  input = a8 ? 4 * (i % 4) + r : 2 * (i % 4) + 8 * (r / 2) + r % 2;
        if (output < first || output >= first + count) continue;
        levels[(output - first) * depth + input] = (int8_t)((int)(word >> 4 * t & 15u) - 8);
    }
}

void codes4_levels(const struct codes4 *c, int first, int count, int8_t *levels)
{
    const struct tensor *words = c->words;
    for (int n0 = first / CODES4_OUTPUTS * CODES4_OUTPUTS; n0 < first + count; n0 += CODES4_OUTPUTS)
        for (int k0 = 0; k0 < c->depth; k0 += TILE_INPUTS)
            for (int w = 0; w < TILE_WORDS; w++) {
                const int64_t column = 2L * n0 + w;
                uint32_t word;
                memcpy(&word,
                       words->data + (k0 / TILE_INPUTS * words->stride[0] + column * words->stride[1]) *
                                         (int64_t)sizeof word,
                       sizeof word);
                unpack_word(word, w, c->a8, first - n0, count, c->depth, levels + k0);
            }
}

// One output: INT8 codes in place of levels, their scale, and values.
static float load_output(const struct codes4 *c, const struct kernels *kernels, int output, float *steps,
                         int8_t *levels, float *values)
{
    for (int g = 0; g < c->depth / CODES4_GROUP; g++)
        steps[g] = element(c->steps, g, step_place(output));
    if (!c->a8) {
        for (int k = 0; k < c->depth; k++)
            values[k] = (float)levels[k] * steps[k / CODES4_GROUP];
        kernels->round_half(values, c->depth);
        return weight_int8_of_int4(kernels, levels, values, steps, c->depth, CODES4_GROUP);
    }
    const float scale = element(c->channel, 0, channel_place(output));
    weight_step_levels(levels, steps, c->depth, CODES4_GROUP);
    for (int k = 0; values && k < c->depth; k++)
        values[k] = (float)levels[k] * scale;
    return scale;
}

void codes4_load(const struct codes4 *c, const struct kernels *kernels, struct arena *scratch, int first,
                 int count, int8_t *int8, float *scales, float *values)
{
    const size_t mark = scratch->used_bytes;
    float *steps = arena_take(scratch, (size_t)(c->depth / CODES4_GROUP) * sizeof *steps);
    float *row = values ? NULL : arena_take(scratch, (size_t)c->depth * sizeof *row);
    codes4_levels(c, first, count, int8);
    for (int n = 0; n < count; n++)
        scales[n] = load_output(c, kernels, first + n, steps, int8 + (long)n * c->depth,
                                values ? values + (long)n * c->depth : row);
    scratch->used_bytes = mark;
}

void codes4_load_weight(const struct codes4 *c, const struct kernels *kernels, struct arena *scratch,
                        const float *s_o, int stride, struct loaded_weight *loaded)
{
    const long depth = c->depth, count = c->outputs * depth;
    float *values = pack_take(scratch, count), *scales = pack_take(scratch, c->outputs),
          *factors = s_o ? pack_take(scratch, c->outputs) : NULL;
    int8_t *codes = arena_take(scratch, (size_t)count + KERNEL_LANES);
    codes4_load(c, kernels, scratch, 0, c->outputs, codes, scales, values);
    for (int n = 0; s_o && n < c->outputs; n++) {
        factors[n] = scales[n];
        scales[n] *= s_o[n * stride];
        for (long i = n * depth; i < (n + 1) * depth; i++)
            values[i] = (float)codes[i] * scales[n];
    }
    *loaded = (struct loaded_weight){
        .values = values, .given = FORMAT_INT4_G128, .codes = codes, .scales = scales, .factors = factors};
}
