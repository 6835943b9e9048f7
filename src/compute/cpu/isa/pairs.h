// SPDX-License-Identifier: Apache-2.0
// Sums over pairs of floats in double, bins of their differences.  Where a register holds less than the eight
// lanes, the block is gone through once per part of the lanes, so that all sums stay in registers.
#include "vecd.h"

// ---- extremes ----

enum { RANGE_PARTS = KERNEL_LANES / VW };

struct range_lanes {
    vf min[RANGE_PARTS], max[RANGE_PARTS];
};

VEC void range_step(struct range_lanes *l, const float *v)
{
#pragma GCC unroll 4
    for (int part = 0; part < RANGE_PARTS; part++) {
        const vf x = vf_load(v + part * VW);
        l->min[part] = vf_min(x, l->min[part]);
        l->max[part] = vf_max(x, l->max[part]);
    }
}

static void pair_ranges(const float *v, int count, struct pair_ranges *ranges)
{
    struct range_lanes l;
#pragma GCC unroll 4
    for (int part = 0; part < RANGE_PARTS; part++)
        l.min[part] = vf_set1(INFINITY), l.max[part] = vf_set1(-INFINITY);
    int i = 0;
    for (; i + KERNEL_LANES <= count; i += KERNEL_LANES)
        range_step(&l, v + i);
    if (i < count) { // the last one again and again changes nothing
        float tail[KERNEL_LANES];
        for (int j = 0; j < KERNEL_LANES; j++)
            tail[j] = v[i + j < count ? i + j : count - 1];
        range_step(&l, tail);
    }
    memcpy(ranges->min, l.min, sizeof ranges->min);
    memcpy(ranges->max, l.max, sizeof ranges->max);
}

// ---- bins ----

// Bins of profile_bin() from the upper halves of |d|: exponent and first bit of the mantissa, which are 0 for
// zero alone.  One byte per pair of PAIR_ROWS rows of DW, in any order.
enum { BIN_SHIFT = 19, BIN_OFFSET = 2 * (1023 + PROFILE_LOWEST) - 2, BIN_BYTES = PAIR_ROWS * DW };

VEC void pair_bins(const vd size[PAIR_ROWS], uint8_t bins[BIN_BYTES])
{
#if defined(ISA_AVX512)
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#pragma GCC unroll 2
    for (int row = 0; row < PAIR_ROWS; row += 2) {
        __m512i upper = _mm512_permutex2var_epi32((__m512i)size[row], odd, (__m512i)size[row + 1]);
        __m512i half_octave = _mm512_srli_epi32(upper, BIN_SHIFT);
        __m512i bin = _mm512_sub_epi32(half_octave, _mm512_set1_epi32(BIN_OFFSET));
        bin = _mm512_max_epi32(bin, _mm512_set1_epi32(PROFILE_BELOW));
        bin = _mm512_maskz_min_epi32(_mm512_test_epi32_mask(half_octave, half_octave), bin,
                                     _mm512_set1_epi32(PROFILE_ABOVE));
        _mm_storeu_si128((__m128i *)(void *)(bins + row * DW), _mm512_cvtepi32_epi8(bin));
    }
#elif defined(ISA_AVX2)
    __m256i bin[PAIR_ROWS / 2];
#pragma GCC unroll 2
    for (int k = 0; k < PAIR_ROWS / 2; k++) {
        __m256i upper = (__m256i)_mm256_shuffle_ps((__m256)size[2 * k], (__m256)size[2 * k + 1], 0xdd);
        __m256i half_octave = _mm256_srli_epi32(upper, BIN_SHIFT);
        bin[k] = _mm256_sub_epi32(half_octave, _mm256_set1_epi32(BIN_OFFSET));
        bin[k] = _mm256_max_epi32(bin[k], _mm256_set1_epi32(PROFILE_BELOW));
        bin[k] = _mm256_min_epi32(bin[k], _mm256_set1_epi32(PROFILE_ABOVE));
        bin[k] = _mm256_andnot_si256(_mm256_cmpeq_epi32(half_octave, _mm256_setzero_si256()), bin[k]);
    }
    __m256i words = _mm256_packus_epi32(bin[0], bin[1]);
    __m128i bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128((__m128i *)(void *)bins, bytes);
#else
    for (int i = 0; i < BIN_BYTES; i++) {
        const int half_octave = (int)(((vl)size[i / DW])[i % DW] >> (32 + BIN_SHIFT));
        int bin = half_octave - BIN_OFFSET;
        bin = bin > PROFILE_BELOW ? bin : PROFILE_BELOW;
        bin = bin < PROFILE_ABOVE ? bin : PROFILE_ABOVE;
        bins[i] = (uint8_t)(half_octave ? bin : PROFILE_ZERO);
    }
#endif
}

// Eight bins at once: read as one word, because a load of a byte would have to wait for every count in front
// of it.
VEC void pair_count(uint16_t (*histograms)[PAIR_BINS], const uint8_t *bins)
{
    uint64_t word;
    memcpy(&word, bins, sizeof word);
#pragma GCC unroll 8
    for (int j = 0; j < 8; j++)
        histograms[j][(word >> (8 * j)) & 0xff]++;
}

// ---- sums ----

struct pair_part {
    vd high[2], low[2], abs[2], squares[2], products;
    vd abs_diff, diff_squares, raw_squares, diff_min, diff_max;
};

// v added to the anchored sum without an error: what the sum cannot hold goes to `low`.
VEC void anchored_add(vd *high, vd *low, vd v)
{
    const vd sum = *high + v;
    *low += v - (sum - *high);
    *high = sum;
}

// One row; real: mask of those of its pairs that are not filled up with zeros; known: a's own sums are.
VEC void pair_row(struct pair_part *s, const struct pair_centre *c, vd a, vd b, vd d, bool masked, vl real,
                  bool known)
{
    if (!known) s->abs[0] = vd_accumulate(s->abs[0], vd_abs(a));
    s->abs[1] = vd_accumulate(s->abs[1], vd_abs(b));
    s->abs_diff = vd_accumulate(s->abs_diff, vd_abs(d));
    s->raw_squares = vd_fma(d, d, s->raw_squares);
    vd x = a - vd_set1(c->ref), y = b - vd_set1(c->mode), z = d - vd_set1(c->diff);
    vd low = d, high = d;
    if (masked) {
        x = (vd)((vl)x & real), y = (vd)((vl)y & real), z = (vd)((vl)z & real);
        low = vd_select(real, d, vd_set1(INFINITY));
        high = vd_select(real, d, vd_set1(-INFINITY));
    }
    if (!known) s->squares[0] = vd_fma(x, x, s->squares[0]);
    s->squares[1] = vd_fma(y, y, s->squares[1]);
    s->products = vd_fma(x, y, s->products);
    s->diff_squares = vd_fma(z, z, s->diff_squares);
    s->diff_min = vd_min(low, s->diff_min);
    s->diff_max = vd_max(high, s->diff_max);
}

// DW lanes of PAIR_ROWS rows; masked: of these pairs only the first `count` are real.  Counts the bins of the
// rows before and leaves those of these rows in `bins`, so that counting never waits for arithmetic.
VEC void pair_rows(struct pair_part *s, const struct pair_centre *c, const float *a, const float *b,
                   uint8_t bins[BIN_BYTES], uint16_t (*histograms)[PAIR_BINS], bool masked, int count,
                   bool known)
{
    vd va[PAIR_ROWS], vb[PAIR_ROWS], size[PAIR_ROWS];
#pragma GCC unroll 4
    for (int row = 0; row < PAIR_ROWS; row++) {
        va[row] = vd_load_floats(a + row * SUM_LANES);
        vb[row] = vd_load_floats(b + row * SUM_LANES);
        const vd d = vb[row] - va[row];
        const vl real = masked ? vl_first(count - row * SUM_LANES, 0) : (vl)d;
        pair_row(s, c, va[row], vb[row], d, masked, real, known);
        size[row] = vd_abs(d);
        if ((row + 1) * DW % 8 == 0) pair_count(histograms + (row + 1) * DW - 8, bins + (row + 1) * DW - 8);
    }
    if (!known) anchored_add(&s->high[0], &s->low[0], (va[0] + va[1]) + (va[2] + va[3]));
    anchored_add(&s->high[1], &s->low[1], (vb[0] + vb[1]) + (vb[2] + vb[3]));
    pair_bins(size, bins);
}

VEC void pair_finish(const struct pair_part *s, struct pair_lanes *lanes, int at)
{
    for (int k = 0; k < 2; k++) {
        vd_store(lanes->high[k] + at, s->high[k]);
        vd_store(lanes->low[k] + at, s->low[k]);
        vd_store(lanes->abs[k] + at, s->abs[k]);
        vd_store(lanes->squares[k] + at, s->squares[k]);
    }
    vd_store(lanes->products + at, s->products);
    vd_store(lanes->abs_diff + at, s->abs_diff);
    vd_store(lanes->diff_squares + at, s->diff_squares);
    vd_store(lanes->raw_squares + at, s->raw_squares);
    vd_store(lanes->diff_min + at, s->diff_min);
    vd_store(lanes->diff_max + at, s->diff_max);
}

// What does not fill a step.
VEC void pair_tail(struct pair_part *s, const struct pair_centre *c, const float *a, const float *b,
                   uint8_t bins[BIN_BYTES], uint16_t (*histograms)[PAIR_BINS], int count, bool known)
{
    float rows[2][PAIR_STEP] = {{0}};
    memcpy(rows[0], a, (size_t)count * sizeof *a);
    memcpy(rows[1], b, (size_t)count * sizeof *b);
    pair_rows(s, c, rows[0], rows[1], bins, histograms, true, count, known);
    memset(bins, PAIR_NO_BIN, BIN_BYTES);
    for (int i = 0; i < count; i++)
        if (i % SUM_LANES < DW) *bins++ = (uint8_t)profile_bin(fabs((double)rows[1][i] - (double)rows[0][i]));
}

// The block after this one, whose extremes are taken next: there memory would be waited for, here it is not.
VEC void pair_prefetch(const float *a, const float *b)
{
    enum { LINE = 16 };
#pragma GCC unroll 2
    for (int i = 0; i < PAIR_STEP; i += LINE) {
        __builtin_prefetch(a + PAIR_BLOCK + i, 0, 2);
        __builtin_prefetch(b + PAIR_BLOCK + i, 0, 2);
    }
}

VEC void pair_all(const float *a, const float *b, int count, const struct pair_centre *centre,
                  struct pair_lanes *lanes, uint16_t (*histograms)[PAIR_BINS], bool known)
{
    for (int at = 0; at < SUM_LANES; at += DW, histograms += BIN_BYTES) {
        struct pair_part s = {.high = {vd_set1(centre->anchor[0]), vd_set1(centre->anchor[1])},
                              .diff_min = vd_set1(INFINITY),
                              .diff_max = vd_set1(-INFINITY)};
        uint8_t bins[BIN_BYTES];
        memset(bins, PAIR_NO_BIN, sizeof bins);
        int i = at;
        for (; i + PAIR_STEP - SUM_LANES + DW <= count; i += PAIR_STEP) {
            pair_prefetch(a + i, b + i);
            pair_rows(&s, centre, a + i, b + i, bins, histograms, false, 0, known);
        }
        if (i < count) pair_tail(&s, centre, a + i, b + i, bins, histograms, count - i, known);
        for (int j = 0; j < BIN_BYTES; j += 8)
            pair_count(histograms + j, bins + j);
        pair_finish(&s, lanes, at);
    }
}

static void pair_sums(const float *a, const float *b, int count, const struct pair_centre *centre,
                      struct pair_lanes *lanes, uint16_t (*histograms)[PAIR_BINS])
{
    pair_all(a, b, count, centre, lanes, histograms, false);
}

static void pair_sums_known(const float *a, const float *b, int count, const struct pair_centre *centre,
                            struct pair_lanes *lanes, uint16_t (*histograms)[PAIR_BINS])
{
    pair_all(a, b, count, centre, lanes, histograms, true);
}
