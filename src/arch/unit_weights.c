// SPDX-License-Identifier: Apache-2.0
#include "unit_weights.h"

#include <math.h>
#include <string.h>

#include "ssmsweep/arch/pack.h"

// ---- what a setting asks for ----

bool weight_meets_codes(enum format activation)
{
    return activation == FORMAT_INT8 || activation == FORMAT_INT8_GIVEN || activation == FORMAT_DYNAMIC ||
           activation == FORMAT_DYNAMIC_TOKEN;
}

uint32_t weight_need_bit(enum format format, bool coded)
{
    return 1u << (2 * (int)format + coded);
}

bool weight_has_row_scales(const struct weight_shape *shape, enum format format)
{
    return weight_has_row_scales_of(format) || shape->n_parts > 0;
}

// May a checkpoint have s_W / s_o for each output of this form?
static bool has_given(const struct weight_shape *shape, enum format format)
{
    return shape->kind == WEIGHT_PROJECTION &&
           (format == FORMAT_INT4_G128 || (format == FORMAT_INT8 && shape->n_parts > 0));
}

void weight_carve(const struct weight_shape *shape, uint32_t needs, struct arena *arena,
                  struct packed_weight forms[WEIGHT_FORMATS][2])
{
    for (int f = 0; f < WEIGHT_FORMATS; f++)
        for (int coded = 0; coded < 2; coded++) {
            const enum format format = (enum format)f;
            struct packed_weight *out = &forms[f][coded];
            *out = (struct packed_weight){0};
            if (!(needs & weight_need_bit(format, coded))) continue;
            if (coded)
                out->scales = pack_floats(arena, weight_has_row_scales(shape, format) ? shape->padded : 1);
            if (coded && has_given(shape, format)) out->given = pack_floats(arena, shape->padded);
            if (coded && shape->kind == WEIGHT_PROJECTION)
                out->codes = pack_outputs(arena, shape->padded, shape->depth);
            else
                out->values = pack_floats(arena, (long)shape->padded * shape->depth);
        }
}

// Codes and scales, or values, each as long as carved.
static bool is_same_form(const struct weight_shape *s, const struct packed_weight *a,
                         const struct packed_weight *b)
{
    const size_t values = (size_t)s->padded * (size_t)s->depth * sizeof(float),
                 codes = (size_t)s->padded * (size_t)((s->depth + 3) / 4 * 4);
    if (!a->values != !b->values || !a->codes != !b->codes || !a->scales != !b->scales) return false;
    return (!a->scales || *a->scales == *b->scales) &&
           (!a->values || memcmp(a->values, b->values, values) == 0) &&
           (!a->codes || memcmp(a->codes, b->codes, codes) == 0);
}

bool weight_is_same(const struct weight_shape *shape, const struct packed_weight a[2],
                    const struct packed_weight b[2])
{
    return (a[0].values || a[1].scales) && is_same_form(shape, &a[0], &b[0]) &&
           is_same_form(shape, &a[1], &b[1]);
}

// ---- codes ----

// A weight on its way into the block, and room for what is made of it.
struct making {
    const struct packing *p;
    const struct weight_shape *shape;
    const struct loaded_weight *loaded;
    int8_t *codes; // [rows][depth] of the form at work
    float *scales; // [rows]
    float *grid;   // [rows][depth] what the codes stand for
    float *row;    // [depth rounded up]
};

static long up16(long count)
{
    return (count + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
}

static float scale_of(float most)
{
    return (most > 1e-5f ? most : 1e-5f) / 127.0f;
}

// Symmetric: s = max(max|w|, 1e-5) / 127, or as it is given; code = clamp(rint(w / s), -128, 127); returns s.
static float make_codes_of(const struct packing *p, const float *values, long count, float given,
                           int8_t *codes)
{
    const long whole = count / KERNEL_LANES * KERNEL_LANES;
    float most = p->kernels->absmax(values, whole);
    for (long i = whole; i < count; i++)
        if (fabsf(values[i]) > most) most = fabsf(values[i]);
    const float scale = given > 0 ? given : scale_of(most);
    p->kernels->quantize_even(values, whole, scale, codes);
    for (long i = whole; i < count; i++) {
        const float code = rintf(values[i] / scale);
        codes[i] = (int8_t)(code < -128 ? -128 : code > 127 ? 127 : code);
    }
    return scale;
}

// Per tensor, or per part of its rows.
static void make_int8(struct making *m, enum format format)
{
    const long depth = m->shape->depth;
    const float given = format == FORMAT_INT8_GIVEN ? m->loaded->own_scale : 0;
    if (m->shape->n_parts == 0) {
        m->scales[0] = make_codes_of(m->p, m->loaded->values, m->shape->rows * depth, given, m->codes);
        return;
    }
    for (int part = 0, first = 0; part < m->shape->n_parts; first = m->shape->part_ends[part++]) {
        const int end = m->shape->part_ends[part];
        const float scale = make_codes_of(m->p, m->loaded->values + first * depth, (end - first) * depth,
                                          given, m->codes + first * depth);
        for (int n = first; n < end; n++)
            m->scales[n] = scale;
    }
}

// A row with zeros behind it.
static const float *take_row(struct making *m, int row)
{
    const int depth = m->shape->depth;
    memset(m->row + up16(depth) - KERNEL_LANES, 0, KERNEL_LANES * sizeof *m->row);
    memcpy(m->row, m->loaded->values + (long)row * depth, (size_t)depth * sizeof *m->row);
    return m->row;
}

// The same for each row.
static void make_int8_channel(struct making *m)
{
    const int depth = m->shape->depth;
    int8_t *codes = arena_take(m->p->scratch, (size_t)up16(depth));
    for (int n = 0; n < m->shape->rows; n++) {
        const float *row = take_row(m, n);
        m->scales[n] = scale_of(m->p->kernels->absmax(row, up16(depth)));
        m->p->kernels->quantize_even(row, up16(depth), m->scales[n], codes);
        memcpy(m->codes + (long)n * depth, codes, (size_t)depth);
    }
}

// What codes of INT8 stand for.
static void set_grid(struct making *m, bool row_scales)
{
    const long depth = m->shape->depth;
    for (int n = 0; n < m->shape->rows; n++)
        for (long i = n * depth; i < (n + 1) * depth; i++)
            m->grid[i] = (float)m->codes[i] * m->scales[row_scales ? n : 0];
}

static float round_half(const struct kernels *kernels, float value)
{
    float lanes[KERNEL_LANES] = {value};
    kernels->round_half(lanes, KERNEL_LANES);
    return lanes[0];
}

// A group of 4-bit codes: s = FP16(max|w| · 2/15), q = clamp(rint(FP16(w/s)) + 8, 0, 15), value FP16((q - 8)
// s); `levels` are q - 8.  Returns s.
static float make_group(const struct packing *p, float *w, int count, int8_t *levels, float *values)
{
    const float step = round_half(p->kernels, p->kernels->absmax(w, count) * (float)(2.0 / 15));
    for (int k = 0; k < count; k++)
        w[k] = step > 0 ? w[k] / step : 0;
    p->kernels->round_half(w, count);
    for (int k = 0; k < count; k++) {
        const float level = rintf(w[k]);
        levels[k] = (int8_t)(level < -8 ? -8 : level > 7 ? 7 : level);
        values[k] = (float)levels[k] * step;
    }
    p->kernels->round_half(values, count);
    return step;
}

void weight_step_levels(int8_t *levels, const float *steps, int depth, int group)
{
    for (int k = 0; k < depth; k++) {
        const float code = rintf((float)levels[k] * steps[k / group]);
        levels[k] = (int8_t)(code < -128 ? -128 : code > 127 ? 127 : code);
    }
}

float weight_int8_of_int4(const struct kernels *kernels, int8_t *levels, const float *grid, float *steps,
                          int depth, int group)
{
    const float scale = round_half(kernels, kernels->absmax(grid, depth) / 127.0f);
    for (int g = 0; g < depth / group; g++)
        steps[g] = scale > 0 ? round_half(kernels, steps[g] / scale) : 0;
    weight_step_levels(levels, steps, depth, group);
    return scale;
}

// The grid is what products with values take, the codes what those with codes do.
static void make_int4(struct making *m, int group)
{
    const struct packing *p = m->p;
    const int depth = m->shape->depth;
    float *steps = arena_take(p->scratch, (size_t)(depth / group) * sizeof *steps);
    for (int n = 0; n < m->shape->rows; n++) {
        float *row = m->row, *grid = m->grid + (long)n * depth;
        int8_t *codes = m->codes + (long)n * depth;
        take_row(m, n);
        p->kernels->round_half(row, depth);
        for (int k = 0; k < depth; k += group)
            steps[k / group] = make_group(p, row + k, group, codes + k, grid + k);
        m->scales[n] = weight_int8_of_int4(p->kernels, codes, grid, steps, depth, group);
    }
}

static void take_given(struct making *m, bool row_scales)
{
    const size_t rows = (size_t)m->shape->rows, count = rows * (size_t)m->shape->depth;
    memcpy(m->codes, m->loaded->codes, count);
    memcpy(m->scales, m->loaded->scales, (row_scales ? rows : 1) * sizeof *m->scales);
    memcpy(m->grid, m->loaded->values, count * sizeof *m->grid);
}

static void make_codes(struct making *m, enum format format)
{
    const size_t mark = m->p->scratch->used_bytes;
    const int group = format_group(format);
    const bool row_scales = weight_has_row_scales(m->shape, format);
    if (m->loaded->given == format || (m->loaded->given == FORMAT_INT8 && format == FORMAT_INT8_GIVEN)) {
        take_given(m, row_scales);
    } else if (group > 0) {
        make_int4(m, group);
    } else {
        if (format == FORMAT_INT8_CHANNEL)
            make_int8_channel(m);
        else
            make_int8(m, format);
        set_grid(m, row_scales);
    }
    m->p->scratch->used_bytes = mark;
}

// ---- into the block ----

// One number for each row, to where the rows lie; `otherwise` between and behind them.
static void put_rows(const struct weight_shape *s, const float *rows, float otherwise, float *out)
{
    for (int n = 0; n < s->padded; n++)
        out[n] = otherwise;
    for (int i = 0; i < s->n_segments; i++)
        memcpy(out + s->segments[i].padded_first, rows + s->segments[i].first,
               (size_t)s->segments[i].count * sizeof *out);
    if (s->n_segments == 0) memcpy(out, rows, (size_t)s->rows * sizeof *out);
}

static void put_scales(const struct making *m, enum format format, const struct packed_weight *out)
{
    if (weight_has_row_scales(m->shape, format))
        put_rows(m->shape, m->scales, 0, out->scales);
    else
        *out->scales = m->scales[0];
    if (!out->given) return;
    if (m->loaded->given == format && m->loaded->factors)
        put_rows(m->shape, m->loaded->factors, 0, out->given);
    else
        out->given[0] = -1;
    for (int n = 1; n < m->shape->padded && out->given[0] < 0; n++)
        out->given[n] = -1;
}

static void put_codes(const struct making *m, const struct packed_weight *out)
{
    const struct weight_shape *s = m->shape;
    uint8_t *at = out->codes;
    for (int i = 0; i < s->n_segments; i++)
        at = pack_codes(m->codes, s->segments[i].first, s->segments[i].count, s->depth, at);
    if (s->kind == WEIGHT_PROJECTION) return;
    for (long i = 0; i < (long)s->rows * s->depth; i++) // taps as integers
        m->grid[i] = m->codes[i];
    pack_transposed(m->grid, s->rows, s->depth, s->padded, out->values);
}

static struct tensor matrix_of(const struct weight_shape *shape, const float *values)
{
    struct tensor matrix = {.dtype = DTYPE_F32,
                            .dims = 2,
                            .shape = {shape->rows, shape->depth},
                            .data = (const unsigned char *)values};
    int64_t bytes;
    tensor_set_contiguous(&matrix, &bytes); // fits, as the scratch did
    return matrix;
}

// -exp of values, by the project's own exp, so that the bits do not depend on a library.
static void turn_to_decays(const struct packing *p, float *values, long count)
{
    p->kernels->exp(values, up16(count), values);
    for (long i = 0; i < count; i++)
        values[i] = -values[i];
}

static void put_values(const struct making *m, float *out)
{
    const struct weight_shape *s = m->shape;
    if (s->kind == WEIGHT_DECAYS) turn_to_decays(m->p, m->grid, (long)s->rows * s->depth);
    if (s->kind != WEIGHT_PROJECTION) {
        pack_transposed(m->grid, s->rows, s->depth, s->padded, out);
        return;
    }
    const struct tensor matrix = matrix_of(s, m->grid);
    for (int i = 0; i < s->n_segments; i++)
        out = pack_panels(m->p->kernels, m->p->scratch, &matrix, s->segments[i].first, s->segments[i].count,
                          (struct panel_recipe){0}, out);
}

static void put_form(struct making *m, enum format format, const struct packed_weight *forms, bool coded,
                     bool valued)
{
    const long count = (long)m->shape->rows * m->shape->depth;
    if (format == FORMAT_FLOAT || format == FORMAT_FP16) {
        memcpy(m->grid, m->loaded->values, (size_t)count * sizeof *m->grid);
        if (format == FORMAT_FP16 && m->loaded->given != FORMAT_FP16)
            m->p->kernels->round_half(m->grid, up16(count));
    } else {
        make_codes(m, format);
    }
    if (valued) put_values(m, forms[0].values);
    if (!coded) return;
    put_scales(m, format, &forms[1]);
    put_codes(m, &forms[1]);
}

void weight_pack(const struct packing *packing, const struct weight_shape *shape, uint32_t needs,
                 const struct loaded_weight *loaded, struct packed_weight forms[WEIGHT_FORMATS][2])
{
    const long count = (long)shape->rows * shape->depth;
    struct making m = {.p = packing, .shape = shape, .loaded = loaded};
    m.codes = arena_take(packing->scratch, (size_t)up16(count));
    m.scales = pack_take(packing->scratch, shape->rows);
    m.grid = pack_take(packing->scratch, count);
    m.row = pack_take(packing->scratch, up16(shape->depth));
    for (int f = 0; f < WEIGHT_FORMATS; f++) {
        const enum format format = (enum format)f;
        const bool coded = needs & weight_need_bit(format, true),
                   valued = needs & weight_need_bit(format, false);
        if (coded || valued) put_form(&m, format, forms[f], coded, valued);
    }
}
