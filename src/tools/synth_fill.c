// SPDX-License-Identifier: Apache-2.0
#include <string.h>

#include "ssmsweep/base/random.h"
#include "synth_tensors.h"

enum { BLOCK = 4096, HOT_ROWS = 64, HOT_FACTOR = 6 };

size_t synth_item_bytes(enum synth_dtype dtype)
{
    return dtype == SYNTH_F32 ? 4 : 2;
}

// ---- float32 to 16 bits, to the nearest, ties to even; no value here is near the ends of the range ----

static uint16_t to_half(float value)
{
    const float half = 0.5F; // its last place is half precision's smallest number
    uint32_t bits, magic;
    memcpy(&bits, &value, sizeof bits);
    memcpy(&magic, &half, sizeof magic);
    uint32_t sign = bits >> 16 & 0x8000U;
    bits &= 0x7fffffffU;
    if (bits < 0x38800000U) { // subnormal in half precision: the addition rounds
        float sum;
        memcpy(&sum, &bits, sizeof sum);
        sum += half;
        memcpy(&bits, &sum, sizeof bits);
        return (uint16_t)(sign | (bits - magic));
    }
    bits += 0xc8000fffU + (bits >> 13 & 1);
    return (uint16_t)(sign | bits >> 13);
}

static uint16_t to_bfloat(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fffU + (bits >> 16 & 1)) >> 16);
}

static void store(void *out, int64_t at, const float *values, int64_t count, enum synth_dtype dtype)
{
    unsigned char *to = (unsigned char *)out + (size_t)at * synth_item_bytes(dtype);
    uint16_t narrow[BLOCK];
    if (dtype == SYNTH_F32) {
        memcpy(to, values, (size_t)count * sizeof *values);
        return;
    }
    for (int64_t i = 0; i < count; i++)
        narrow[i] = dtype == SYNTH_F16 ? to_half(values[i]) : to_bfloat(values[i]);
    memcpy(to, narrow, (size_t)count * sizeof *narrow);
}

// ---- the laws: values[count] of the elements from `first` ----

// Row `row` of LAW_HOT is an outlier if it is the one that was drawn among its 64 neighbours.
static double row_factor(const struct synth_tensor *t, uint64_t hot_stream, int64_t row)
{
    int64_t rows = t->shape[0] / 2, groups = rows >= HOT_ROWS ? rows / HOT_ROWS : 1,
            group_rows = rows / groups;
    int64_t group = row / group_rows;
    if (row >= groups * group_rows) return 1;
    bool hot = random_below(hot_stream, (uint64_t)group, (uint64_t)group_rows) == row % group_rows;
    return hot ? HOT_FACTOR : 1;
}

static void fill_normal(float *values, uint64_t stream, int64_t first, int64_t count, double mean, double std)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)(mean + std * random_normal(stream, (uint64_t)(first + i)));
}

static void fill_hot(float *values, const struct synth_tensor *t, uint64_t stream, int64_t first,
                     int64_t count)
{
    const int64_t width = t->shape[1];
    const uint64_t hot_stream = random_bits(stream, UINT64_MAX - 1);
    for (int64_t i = 0, run = 0; i < count; i += run) {
        int64_t row = (first + i) / width;
        run = (row + 1) * width - (first + i);
        if (run > count - i) run = count - i;
        fill_normal(values + i, stream, first + i, run, t->mean, t->std * row_factor(t, hot_stream, row));
    }
}

static void fill_dt(float *values, uint64_t stream, int64_t first, int64_t count)
{
    const double low = random_log(1e-3), high = random_log(1e-1);
    for (int64_t i = 0; i < count; i++) {
        double dt = random_exp(low + (high - low) * random_uniform(stream, (uint64_t)(first + i)));
        values[i] = (float)(dt + random_log(1 - random_exp(-dt)));
    }
}

static void fill_a_log(float *values, const struct synth_tensor *t, uint64_t stream, int64_t first,
                       int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double column = (double)((first + i) % t->shape[1]);
        values[i] = (float)(random_log(column + 1) + t->std * random_normal(stream, (uint64_t)(first + i)));
    }
}

void synth_fill(void *out, const struct synth_tensor *tensor, unsigned seed, enum synth_dtype dtype,
                int64_t first, int64_t count)
{
    const uint64_t stream = random_stream(seed, tensor->name);
    float values[BLOCK];
    for (int64_t at = 0; at < count; at += BLOCK) {
        int64_t n = count - at < BLOCK ? count - at : BLOCK;
        if (tensor->law == LAW_NORMAL)
            fill_normal(values, stream, first + at, n, tensor->mean, tensor->std);
        else if (tensor->law == LAW_HOT)
            fill_hot(values, tensor, stream, first + at, n);
        else if (tensor->law == LAW_DT)
            fill_dt(values, stream, first + at, n);
        else
            fill_a_log(values, tensor, stream, first + at, n);
        store(out, at, values, n, dtype);
    }
}
