// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/arch/pack.h"

#include <string.h>

float *pack_floats(struct arena *arena, long count)
{
    return arena_take(arena, (size_t)count * sizeof(float));
}

uint8_t *pack_outputs(struct arena *arena, long outputs, int depth)
{
    return arena_take(arena, (size_t)(outputs * ((depth + 3) / 4 * 4)));
}

// ---- a tensor as float32 ----

float *pack_take(struct arena *scratch, long count)
{
    float *values = arena_take(scratch, ((size_t)count + KERNEL_LANES) * sizeof *values);
    memset(values + count, 0, KERNEL_LANES * sizeof *values);
    return values;
}

float *pack_load(struct arena *scratch, const struct tensor *tensor)
{
    float *values = pack_take(scratch, (long)tensor_elements(tensor));
    tensor_to_f32(tensor, values);
    return values;
}

float *pack_load_codes(struct arena *scratch, const struct tensor *tensor, float scale, int8_t *codes)
{
    const long count = (long)tensor_elements(tensor);
    float *values = pack_take(scratch, count);
    tensor_to_i8(tensor, codes);
    for (long i = 0; i < count; i++)
        values[i] = (float)codes[i] * scale;
    return values;
}

static void round_all_half(const struct kernels *kernels, float *values, long count)
{
    kernels->round_half(values, (count + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES);
}

const float *pack_view(const struct kernels *kernels, struct arena *scratch, const struct tensor *tensor,
                       bool half)
{
    const float *in_place = half ? NULL : tensor_as_f32(tensor);
    if (in_place) return in_place;
    float *values = pack_load(scratch, tensor);
    if (half) round_all_half(kernels, values, (long)tensor_elements(tensor));
    return values;
}

struct tensor pack_rows(const struct tensor *matrix, int first, int count)
{
    struct tensor rows = *matrix;
    rows.data += first * matrix->stride[0] * (int64_t)dtype_bytes(matrix->dtype);
    rows.shape[0] = count;
    return rows;
}

// ---- panels ----

// rows [lanes, depth] -> one panel, zeros up to 16 lanes.
static void pack_panel(const float *rows, int lanes, int depth, float *packed)
{
    for (int k = 0; k < depth; k++, packed += KERNEL_LANES)
        for (int lane = 0; lane < KERNEL_LANES; lane++)
            packed[lane] = lane < lanes ? rows[(long)lane * depth + k] : 0.0f;
}

// Rows to be altered.
static float *load_rows(struct arena *scratch, const struct tensor *rows, struct panel_recipe recipe)
{
    if (recipe.scale == 0) return pack_load(scratch, rows);
    int8_t *codes = arena_take(scratch, (size_t)tensor_elements(rows));
    return pack_load_codes(scratch, rows, recipe.scale, codes);
}

float *pack_panels(const struct kernels *kernels, struct arena *scratch, const struct tensor *matrix,
                   int first, int count, struct panel_recipe recipe, float *packed)
{
    const int depth = (int)matrix->shape[1];
    const size_t mark = scratch->used_bytes;
    for (int n0 = 0; n0 < count; n0 += KERNEL_LANES, packed += (long)KERNEL_LANES * depth) {
        const int lanes = count - n0 < KERNEL_LANES ? count - n0 : KERNEL_LANES;
        const struct tensor some = pack_rows(matrix, first + n0, lanes);
        if (recipe.rotation) {
            float *rows = load_rows(scratch, &some, recipe);
            for (int lane = 0; lane < lanes; lane++)
                kernels->hadamard(recipe.rotation, rows + (long)lane * depth);
            pack_panel(rows, lanes, depth, packed);
        } else {
            pack_panel(pack_view(kernels, scratch, &some, recipe.half), lanes, depth, packed);
        }
        scratch->used_bytes = mark;
    }
    return packed;
}

// Four codes of one output as they stand in a panel, from `row` at k; zeros behind the depth.
static uint32_t four_codes(const int8_t *row, int k, int depth)
{
    uint32_t four = 0;
    memcpy(&four, row + k, depth - k < 4 ? (size_t)(depth - k) : sizeof four);
    return four ^ 0x80808080u; // code + 128 in each byte
}

uint8_t *pack_codes(const int8_t *codes, int first, int count, int depth, uint8_t *packed)
{
    for (int n0 = 0; n0 < count; n0 += KERNEL_LANES) {
        const int8_t *rows = codes + (long)(first + n0) * depth;
        const int lanes = count - n0 < KERNEL_LANES ? count - n0 : KERNEL_LANES;
        for (int k = 0; k < depth; k += 4)
            for (int lane = 0; lane < KERNEL_LANES; lane++, packed += 4) {
                const uint32_t four =
                    lane < lanes ? four_codes(rows + (long)lane * depth, k, depth) : 0x80808080u;
                memcpy(packed, &four, sizeof four);
            }
    }
    return packed;
}

void pack_transposed(const float *matrix, int channels, int taps, int ld, float *out)
{
    for (int k = 0; k < taps; k++)
        for (int i = 0; i < ld; i++)
            out[(long)k * ld + i] = i < channels ? matrix[(long)i * taps + k] : 0.0f;
}

void pack_vector(const float *vector, int count, int ld, float *out)
{
    memset(out, 0, (size_t)ld * sizeof *out);
    memcpy(out, vector, (size_t)count * sizeof *out);
}

// ---- rotations ----

void pack_rotate_columns(const struct kernels *kernels, struct arena *scratch,
                         const struct hadamard *hadamard, float *matrix, int rows, int columns)
{
    const long ld = round_up16(rows);
    float *block = pack_take(scratch, KERNEL_LANES * ld);
    for (int k0 = 0; k0 < columns; k0 += KERNEL_LANES) {
        const int lanes = columns - k0 < KERNEL_LANES ? columns - k0 : KERNEL_LANES;
        for (int n = 0; n < rows; n++)
            for (int lane = 0; lane < lanes; lane++)
                block[lane * ld + n] = matrix[(long)n * columns + k0 + lane];
        for (int lane = 0; lane < lanes; lane++)
            kernels->hadamard(hadamard, block + lane * ld);
        for (int n = 0; n < rows; n++)
            for (int lane = 0; lane < lanes; lane++)
                matrix[(long)n * columns + k0 + lane] = block[lane * ld + n];
    }
}
