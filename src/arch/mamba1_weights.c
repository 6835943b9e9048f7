// SPDX-License-Identifier: Apache-2.0
// The weights of a layer in the forms that settings ask for: codes for products with codes, values for those
// with values (docs/numerics.md, section 4).
#include <math.h>
#include <string.h>

#include "mamba1_parts.h"
#include "ssmsweep/arch/pack.h"

_Static_assert((int)UNIT_IN_PROJ + 1 == (int)TENSOR_IN_PROJ && (int)UNIT_CONV_W + 1 == (int)TENSOR_CONV_W &&
                   (int)UNIT_A_LOG + 1 == (int)TENSOR_A_LOG && (int)UNIT_OUT_PROJ + 1 == (int)TENSOR_OUT_PROJ,
               "units of weights are the tensors behind the norm");
_Static_assert(sizeof(union mamba1_layer) <= ARCH_MOST_POINTERS_BYTES, "room for the pointers of a layer");

// ---- what a setting asks for ----

static bool is_coded(enum format activation)
{
    return activation == FORMAT_INT8 || activation == FORMAT_INT8_GIVEN || activation == FORMAT_DYNAMIC ||
           activation == FORMAT_DYNAMIC_TOKEN;
}

bool mamba1_takes_codes(const struct setting *setting, enum mamba1_unit weight)
{
    const enum format format = (enum format)setting->of[weight];
    if (format == FORMAT_FLOAT || format == FORMAT_FP16) return false;
    switch (weight) {
    case UNIT_IN_PROJ:
        return is_coded((enum format)setting->of[UNIT_IN_PROJ_INPUT]);
    case UNIT_CONV_W: // its taps are of several tokens, which share a scale or are values
        return is_coded((enum format)setting->of[UNIT_CONV1D_INPUT]) &&
               setting->of[UNIT_CONV1D_INPUT] != FORMAT_DYNAMIC_TOKEN;
    case UNIT_X_PROJ:
        return is_coded((enum format)setting->of[UNIT_X_PROJ_INPUT]);
    case UNIT_DT_PROJ:
        return is_coded((enum format)setting->of[UNIT_DT_PROJ_INPUT]);
    case UNIT_OUT_PROJ:
        return is_coded((enum format)setting->of[UNIT_OUT_PROJ_INPUT]);
    default:
        return false;
    }
}

static uint32_t need_bit(int format, int coded)
{
    return 1u << (2 * format + coded);
}

void mamba1_need(const struct setting *setting, struct needs *needs)
{
    for (int w = 0; w < MAMBA1_WEIGHTS; w++)
        needs->of[w] |= need_bit(setting->of[w], mamba1_takes_codes(setting, (enum mamba1_unit)w));
}

static bool is_needed(const struct needs *needs, int weight, int format, int coded)
{
    return needs->of[weight] & need_bit(format, coded);
}

// ---- shapes ----

// Outputs that lie together, and where they begin among the padded ones.
struct segment {
    int first, count, padded_first;
};

struct shape {
    int rows, depth; // as the tensor has them
    int padded;      // outputs, or channels
    struct segment segments[3];
    int n_segments; // 0: no projection
};

static struct shape shape_of(const struct dims *d, enum mamba1_unit weight)
{
    const int D = d->d_model, I = d->d_inner, R = d->dt_rank, N = d->d_state;
    const struct leading ld = leading_of(d);
    switch (weight) {
    case UNIT_IN_PROJ:
        return (struct shape){2 * I, D, 2 * ld.I, {{0, I, 0}, {I, I, ld.I}}, 2};
    case UNIT_X_PROJ:
        return (struct shape){R + 2 * N, I, ld.dbl, {{0, R, 0}, {R, N, ld.R}, {R + N, N, ld.R + ld.N}}, 3};
    case UNIT_DT_PROJ:
        return (struct shape){I, R, ld.I, {{0, I, 0}}, 1};
    case UNIT_OUT_PROJ:
        return (struct shape){D, I, ld.D, {{0, D, 0}}, 1};
    case UNIT_CONV_W:
        return (struct shape){.rows = I, .depth = d->d_conv, .padded = ld.I};
    case UNIT_A_LOG:
        return (struct shape){.rows = I, .depth = d->d_state, .padded = ld.I};
    default:
        return (struct shape){.rows = I, .depth = 1, .padded = ld.I};
    }
}

int mamba1_depth(const struct dims *dims, int unit)
{
    if (unit >= MAMBA1_WEIGHTS) return 0;
    const struct shape shape = shape_of(dims, (enum mamba1_unit)unit);
    return shape.n_segments > 0 ? shape.depth : 0;
}

static bool has_row_scales(int format)
{
    return format == FORMAT_INT8_CHANNEL || format_group((enum format)format) > 0;
}

void mamba1_carve_units(const struct dims *d, const struct needs *needs, struct arena *arena,
                        struct unit_layer *layer)
{
    *layer = (struct unit_layer){0};
    for (int w = 0; w < MAMBA1_WEIGHTS; w++)
        for (int f = 0; f < WEIGHT_FORMATS; f++)
            for (int coded = 0; coded < 2; coded++) {
                if (!is_needed(needs, w, f, coded)) continue;
                const struct shape s = shape_of(d, (enum mamba1_unit)w);
                struct packed_weight *out = &layer->of[w][f][coded];
                if (coded) out->scales = pack_floats(arena, has_row_scales(f) ? s.padded : 1);
                if (coded && s.n_segments > 0)
                    out->codes = pack_outputs(arena, s.padded, s.depth);
                else
                    out->values = pack_floats(arena, (long)s.padded * s.depth);
            }
}

// Codes and scales, or values, each as long as carved.
static bool same_form(const struct shape *s, const struct packed_weight *a, const struct packed_weight *b)
{
    const size_t values = (size_t)s->padded * (size_t)s->depth * sizeof(float),
                 codes = (size_t)s->padded * (size_t)((s->depth + 3) / 4 * 4);
    if (!a->values != !b->values || !a->codes != !b->codes || !a->scales != !b->scales) return false;
    return (!a->scales || *a->scales == *b->scales) &&
           (!a->values || memcmp(a->values, b->values, values) == 0) &&
           (!a->codes || memcmp(a->codes, b->codes, codes) == 0);
}

bool mamba1_same_weight(const struct dims *dims, const void *layer, int unit, enum format a, enum format b)
{
    const struct unit_layer *of = layer;
    if (unit >= MAMBA1_WEIGHTS) return false;
    const struct shape shape = shape_of(dims, (enum mamba1_unit)unit);
    const struct packed_weight *one = of->of[unit][a], *two = of->of[unit][b];
    return (one[0].values || one[1].scales) && same_form(&shape, &one[0], &two[0]) &&
           same_form(&shape, &one[1], &two[1]);
}

// ---- codes ----

// A weight on its way into the block, and room for what is made of it.
struct making {
    const struct packing *p;
    enum mamba1_unit weight;
    struct shape shape;
    float *values;       // [rows][depth] in the basis of the layer
    const int8_t *given; // codes of a W8A8 checkpoint, their scale in scales[0]; NULL: to be made
    float given_scale;   // of those; of a float model that of FORMAT_INT8_GIVEN, 0: none
    int8_t *codes;       // [rows][depth] of the form at work
    float *scales;       // [rows]
    float *grid;         // [rows][depth] what the codes stand for
    float *row;          // [depth rounded up]
};

static float absmax_scale(const struct packing *p, const float *values, long padded)
{
    const float most = p->kernels->absmax(values, padded);
    return (most > 1e-5f ? most : 1e-5f) / 127.0f;
}

static long up16(long count)
{
    return (count + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
}

// Per tensor, symmetric: s = max(max|w|, 1e-5) / 127, or as it is given; code = clamp(rint(w / s), -128,
// 127).
static void make_int8(struct making *m, int format)
{
    const long count = (long)m->shape.rows * m->shape.depth;
    if (m->given) {
        memcpy(m->codes, m->given, (size_t)count);
        m->scales[0] = m->given_scale;
    } else {
        m->scales[0] = format == FORMAT_INT8_GIVEN && m->given_scale > 0
                           ? m->given_scale
                           : absmax_scale(m->p, m->values, up16(count));
        m->p->kernels->quantize_even(m->values, up16(count), m->scales[0], m->codes);
    }
    for (long i = 0; i < count; i++)
        m->grid[i] = (float)m->codes[i] * m->scales[0];
}

// A row with zeros behind it.
static const float *take_row(struct making *m, int row)
{
    const int depth = m->shape.depth;
    memset(m->row + up16(depth) - KERNEL_LANES, 0, KERNEL_LANES * sizeof *m->row);
    memcpy(m->row, m->values + (long)row * depth, (size_t)depth * sizeof *m->row);
    return m->row;
}

// The same for each row.
static void make_int8_channel(struct making *m)
{
    const int depth = m->shape.depth;
    int8_t *codes = arena_take(m->p->scratch, (size_t)up16(depth));
    for (int n = 0; n < m->shape.rows; n++) {
        const float *row = take_row(m, n);
        m->scales[n] = absmax_scale(m->p, row, up16(depth));
        m->p->kernels->quantize_even(row, up16(depth), m->scales[n], codes);
        memcpy(m->codes + (long)n * depth, codes, (size_t)depth);
        for (int k = 0; k < depth; k++)
            m->grid[(long)n * depth + k] = (float)codes[k] * m->scales[n];
    }
}

static float round_half(const struct packing *p, float value)
{
    float lanes[KERNEL_LANES] = {value};
    p->kernels->round_half(lanes, KERNEL_LANES);
    return lanes[0];
}

// A group of 4-bit codes: s = FP16(max|w| · 2/15), q = clamp(rint(FP16(w/s)) + 8, 0, 15), value FP16((q - 8)
// s); `levels` are q - 8.  Returns s.
static float make_group(const struct packing *p, float *w, int count, int8_t *levels, float *values)
{
    const float step = round_half(p, p->kernels->absmax(w, count) * (float)(2.0 / 15));
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

// The grid is what products with values take; those with codes take w8 = rint((q - 8) g) with a scale for
// each output, s_ch = FP16(max|value| / 127), g = FP16(s / s_ch).
static void make_int4(struct making *m, int group)
{
    const struct packing *p = m->p;
    const int depth = m->shape.depth;
    float *steps = arena_take(p->scratch, (size_t)(depth / group) * sizeof *steps);
    for (int n = 0; n < m->shape.rows; n++) {
        float *row = m->row, *grid = m->grid + (long)n * depth;
        int8_t *codes = m->codes + (long)n * depth;
        take_row(m, n);
        p->kernels->round_half(row, depth);
        for (int k = 0; k < depth; k += group)
            steps[k / group] = make_group(p, row + k, group, codes + k, grid + k);
        m->scales[n] = round_half(p, p->kernels->absmax(grid, depth) / 127.0f);
        float g = 0;
        for (int k = 0; k < depth; k++) {
            if (k % group == 0) g = m->scales[n] > 0 ? round_half(p, steps[k / group] / m->scales[n]) : 0;
            codes[k] = (int8_t)rintf((float)codes[k] * g);
        }
    }
}

static void make_codes(struct making *m, int format)
{
    const size_t mark = m->p->scratch->used_bytes;
    const int group = format_group((enum format)format);
    if (group > 0)
        make_int4(m, group);
    else if (format == FORMAT_INT8_CHANNEL)
        make_int8_channel(m);
    else
        make_int8(m, format);
    m->p->scratch->used_bytes = mark;
}

// ---- into the block ----

static void put_scales(const struct making *m, int format, float *out)
{
    const struct shape *s = &m->shape;
    if (!has_row_scales(format)) {
        *out = m->scales[0];
        return;
    }
    memset(out, 0, (size_t)s->padded * sizeof *out);
    for (int i = 0; i < s->n_segments; i++)
        memcpy(out + s->segments[i].padded_first, m->scales + s->segments[i].first,
               (size_t)s->segments[i].count * sizeof *out);
    if (s->n_segments == 0) memcpy(out, m->scales, (size_t)s->rows * sizeof *out);
}

static void put_codes(const struct making *m, const struct packed_weight *out)
{
    const struct shape *s = &m->shape;
    if (s->n_segments > 0) {
        uint8_t *at = out->codes;
        for (int i = 0; i < s->n_segments; i++)
            at = pack_codes(m->codes, s->segments[i].first, s->segments[i].count, s->depth, at);
        return;
    }
    for (long i = 0; i < (long)s->rows * s->depth; i++) // taps as integers
        m->grid[i] = m->codes[i];
    pack_transposed(m->grid, s->rows, s->depth, s->padded, out->values);
}

static struct tensor matrix_of(const struct making *m, const float *values)
{
    struct tensor matrix = {.dtype = DTYPE_F32,
                            .dims = 2,
                            .shape = {m->shape.rows, m->shape.depth},
                            .data = (const unsigned char *)values};
    int64_t bytes;
    tensor_set_contiguous(&matrix, &bytes); // fits, as the scratch did
    return matrix;
}

// `values` may be altered.
static void put_values(const struct making *m, float *values, float *out)
{
    const struct shape *s = &m->shape;
    if (m->weight == UNIT_A_LOG) {
        pack_A(m->p, values, out);
        return;
    }
    if (s->n_segments == 0) {
        pack_transposed(values, s->rows, s->depth, s->padded, out);
        return;
    }
    const struct tensor matrix = matrix_of(m, values);
    for (int i = 0; i < s->n_segments; i++)
        out = pack_panels(m->p->kernels, m->p->scratch, &matrix, s->segments[i].first, s->segments[i].count,
                          (struct panel_recipe){0}, out);
}

static void put_form(struct making *m, int format, const struct packed_weight *forms, bool coded, bool valued)
{
    const long count = (long)m->shape.rows * m->shape.depth;
    if (format == FORMAT_FLOAT || format == FORMAT_FP16) {
        memcpy(m->grid, m->values, (size_t)count * sizeof *m->grid);
        if (format == FORMAT_FP16) m->p->kernels->round_half(m->grid, up16(count));
    } else {
        make_codes(m, format);
    }
    if (valued) put_values(m, m->grid, forms[0].values);
    if (!coded) return;
    put_scales(m, format, forms[1].scales);
    put_codes(m, &forms[1]);
}

// ---- the weights as they come ----

static float *values_of(const struct packing *p, enum mamba1_unit weight)
{
    const struct tensor *const *m = &p->model->tensors[p->layer * MAMBA1_TENSORS];
    if (weight == UNIT_IN_PROJ) return mamba1_rotated_in_proj(p, m);
    if (weight == UNIT_OUT_PROJ) return mamba1_rotated_out_proj(p, m);
    return pack_load(p->scratch, m[weight + 1]);
}

static void load(struct making *m)
{
    const struct packing *p = m->p;
    if (p->model->scales) m->given_scale = model_scales(p->model, p->layer)[MAMBA1_SITES + m->weight + 1];
    if (p->model->kind != MODEL_W8A8) {
        m->values = values_of(p, m->weight);
        return;
    }
    const struct tensor *tensor = model_tensor(p->model, p->layer, (int)m->weight + 1);
    int8_t *codes = arena_take(p->scratch, (size_t)tensor_elements(tensor) + KERNEL_LANES);
    m->values = pack_load_codes(p->scratch, tensor, m->given_scale, codes);
    m->given = codes;
}

const float *mamba1_weight_values(const struct packing *packing, int unit, int *rows, int *depth)
{
    struct making m = {.p = packing,
                       .weight = (enum mamba1_unit)unit,
                       .shape = shape_of(&packing->model->dims, (enum mamba1_unit)unit)};
    load(&m);
    *rows = m.shape.rows;
    *depth = m.shape.depth;
    return m.values;
}

static void pack_weight(const struct packing *p, enum mamba1_unit weight, struct unit_layer *layer)
{
    struct making m = {.p = p, .weight = weight, .shape = shape_of(&p->model->dims, weight)};
    const long count = (long)m.shape.rows * m.shape.depth;
    load(&m);
    m.codes = arena_take(p->scratch, (size_t)up16(count));
    m.scales = pack_take(p->scratch, m.shape.rows);
    m.grid = pack_take(p->scratch, count);
    m.row = pack_take(p->scratch, up16(m.shape.depth));
    for (int f = 0; f < WEIGHT_FORMATS; f++) {
        const bool coded = is_needed(p->needs, (int)weight, f, 1),
                   valued = is_needed(p->needs, (int)weight, f, 0);
        if (coded || valued) put_form(&m, f, layer->of[weight][f], coded, valued);
    }
}

// Scratch is given back after each tensor, so that the next one finds it in the cache.
void mamba1_pack_units(const struct packing *p, struct unit_layer *layer)
{
    const size_t mark = p->scratch->used_bytes;
    for (int w = 0; w < MAMBA1_WEIGHTS; w++) {
        if (p->needs->of[w]) pack_weight(p, (enum mamba1_unit)w, layer);
        p->scratch->used_bytes = mark;
    }
}
