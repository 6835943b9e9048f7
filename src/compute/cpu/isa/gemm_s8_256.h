// SPDX-License-Identifier: Apache-2.0
// The tiles of gemm_s8.h in 256 bits, six rows by a panel.  With AVX-VNNI the instruction is that of AVX-512.
// No instruction of AVX2 adds products of bytes that cannot saturate, so there operands are widened to INT16:
// the weights of a column of panels once for all rows, six rows of activations once for all panels.  Weights
// are sorted into pairs of k meanwhile, so that each lane has the whole sum of one output.
#include "gemm.h"
#include "vec.h"

enum { S8_ROWS = 6 };

VEC __m256i s8_words(const struct gemm_s8 *g, __m256i sums, int overflows)
{
    const vf v = _mm256_cvtepi32_ps(sums) * vf_set1(g->first) * vf_set1(g->second);
    return _mm256_cvtps_epi32(overflows ? vf_min(v, vf_set1(127.0f)) : v);
}

// Codes of two rows of a panel, whose packing saturates; it works inside 128-bit lanes, so that one
// permutation puts them in order.
VEC void s8_store_two(const struct gemm_s8 *g, int row, long column, const __m256i *sums, int overflows)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i a = _mm256_packs_epi32(s8_words(g, sums[0], overflows), s8_words(g, sums[1], overflows));
    const __m256i b = _mm256_packs_epi32(s8_words(g, sums[2], overflows), s8_words(g, sums[3], overflows));
    const __m256i packed = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order);
    int8_t *out = (int8_t *)g->out + row * g->ldo + column;
    _mm_storeu_si128((__m128i *)(void *)out, _mm256_castsi256_si128(packed));
    _mm_storeu_si128((__m128i *)(void *)(out + g->ldo), _mm256_extracti128_si256(packed, 1));
}

VEC void s8_panel_finish(const struct gemm_s8 *g, int row, long column, int rows, const __m256i *sums,
                         int overflows)
{
    int i = 0;
    if (g->result == GEMM_S8_CODES && s8_is_plain(g))
#pragma GCC unroll 4
        for (; i + 2 <= rows; i += 2)
            s8_store_two(g, row + i, column, sums + 2 * i, overflows);
#pragma GCC unroll 8
    for (; i < rows; i++) {
        s8_finish(g, row + i, column, (vi)sums[2 * i]);
        s8_finish(g, row + i, column + VW, (vi)sums[2 * i + 1]);
    }
}

#if defined(ISA_AVXVNNI)

enum { S8_PANELS = 1 };

#define S8_DOT(acc, u8, s8) __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(u8), "x"(s8))

// The sums of a panel, [rows][2] vectors.
VEC void s8_panel(const uint8_t *w, const int8_t *a, long lda, long groups, int rows, struct gemm_ahead ahead,
                  __m256i *sums)
{
    __m256i acc[S8_ROWS][2];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        acc[i][0] = acc[i][1] = sums[2 * i];
    for (long k = 0; k < groups; k++, w += 64, a += 4) {
        const __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)w);
        const __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(w + 32));
        __builtin_prefetch(ahead.at);
        ahead.at += ahead.step;
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            const __m256i x = _mm256_set1_epi32(s8_group(a + i * lda));
            S8_DOT(acc[i][0], w0, x);
            S8_DOT(acc[i][1], w1, x);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        sums[2 * i] = acc[i][0], sums[2 * i + 1] = acc[i][1];
}

VEC void s8_tile(const struct gemm_s8 *g, int row, int panel, int rows, int panels, int overflows,
                 struct gemm_ahead ahead)
{
    (void)panels;
    const long depth4 = s8_depth4(g);
    __m256i sums[2 * S8_ROWS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        sums[2 * i] = _mm256_set1_epi32(g->bias128[row + i]);
    s8_panel(g->w + panel * depth4 * 64, g->a + row * g->lda, g->lda, depth4, rows, ahead, sums);
    s8_panel_finish(g, row, (long)panel * KERNEL_LANES, rows, sums, overflows);
}

#else

#define S8_OWN_COLUMNS 1

// A column has up to S8_PANELS panels, and as many as S8_WEIGHTS hold; a depth above S8_CHUNK is taken chunk
// by chunk.
enum { S8_PANELS = 16, S8_CHUNK = 2048, S8_WIDE = S8_CHUNK + 16 };
enum { S8_WEIGHTS = S8_CHUNK * KERNEL_LANES, S8_BLOCK = GEMM_BLOCK_BYTES / S8_CHUNK + 2 * S8_ROWS };

// count: a multiple of four.
VEC void s8_widen(const int8_t *a, long count, int16_t *wide)
{
    long k = 0;
    for (; k + 16 <= count; k += 16)
        _mm256_storeu_si256((__m256i *)(void *)(wide + k),
                            _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(a + k))));
    for (; k < count; k += 4)
        _mm_storel_epi64((__m128i *)(void *)(wide + k),
                         _mm_cvtepi8_epi16(_mm_cvtsi32_si128(s8_group(a + k))));
}

// `groups` groups of four k of a panel -> [pair of k][16 outputs][2].
VEC void s8_widen_panel(const uint8_t *w, long groups, int16_t *wide)
{
    const __m256i first = _mm256_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1, 0, -1, 1,
                                           -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1);
    const __m256i second = _mm256_or_si256(first, _mm256_set1_epi16(2));
    for (long k = 0; k < groups; k++, w += 64, wide += 64)
        for (int half = 0; half < 2; half++) {
            const __m256i eight = _mm256_loadu_si256((const __m256i *)(const void *)(w + 32 * half));
            _mm256_storeu_si256((__m256i *)(void *)(wide + 16 * half), _mm256_shuffle_epi8(eight, first));
            _mm256_storeu_si256((__m256i *)(void *)(wide + 32 + 16 * half),
                                _mm256_shuffle_epi8(eight, second));
        }
}

#define S8_MADD(acc, w, x)                                                                                   \
    do {                                                                                                     \
        __m256i product;                                                                                     \
        __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(acc), "=&x"(product) : "x"(w), "x"(x));    \
    } while (0)

// Adds `pairs` pairs of k to the sums of a panel, [rows][2] vectors.
VEC void s8_panel(const int16_t *w, const int16_t *wide, long pairs, int rows, __m256i *sums)
{
    __m256i acc[S8_ROWS][2];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        acc[i][0] = sums[2 * i], acc[i][1] = sums[2 * i + 1];
    for (long k = 0; k < pairs; k++, w += 32, wide += 2) {
        const __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)w);
        const __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(w + 16));
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            int pair;
            memcpy(&pair, wide + i * S8_WIDE, sizeof pair);
            const __m256i x = _mm256_set1_epi32(pair);
            S8_MADD(acc[i][0], w0, x);
            S8_MADD(acc[i][1], w1, x);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        sums[2 * i] = acc[i][0], sums[2 * i + 1] = acc[i][1];
}

// Apart, because GCC 12 spills the accumulators where something is made of them behind the loop.
static __attribute__((noinline)) void s8_panel_rows(const int16_t *w, const int16_t *wide, long pairs,
                                                    __m256i *sums)
{
    s8_panel(w, wide, pairs, S8_ROWS, sums);
}

// Chunk [k0, k0 + groups) of some rows and panels; carried: [rows][2] vectors, the sums of the chunks in
// front of it: where there are some, there is one panel.
VEC void s8_tile(const struct gemm_s8 *g, int row, int panel, int rows, int panels, int overflows,
                 const int16_t *weights, long k0, long groups, __m256i *carried)
{
    const long depth4 = s8_depth4(g);
    int16_t wide[S8_ROWS * S8_WIDE];
    for (int i = 0; i < rows; i++)
        s8_widen(g->a + (row + i) * g->lda + 4 * k0, 4 * groups, wide + i * S8_WIDE);
    for (int p = 0; p < panels; p++, weights += groups * 64) {
        __m256i sums[2 * S8_ROWS];
#pragma GCC unroll 12
        for (int i = 0; i < 2 * rows; i++)
            sums[i] = k0 ? carried[i] : _mm256_set1_epi32(g->bias128[row + i / 2]);
        if (rows == S8_ROWS)
            s8_panel_rows(weights, wide, 2 * groups, sums);
        else
            s8_panel(weights, wide, 2 * groups, rows, sums);
        if (k0 + groups == depth4)
            s8_panel_finish(g, row, (long)(panel + p) * KERNEL_LANES, rows, sums, overflows);
        else
            memcpy(carried, sums, (size_t)(2 * rows) * sizeof *sums);
    }
}

#define S8_CASE(R)                                                                                           \
    case R:                                                                                                  \
        s8_tile(g, row, panel, R, panels, overflows, weights, k, groups, carried + 2 * (row - row0));        \
        break;

VEC void s8_column(const struct gemm_s8 *g, int row0, int row1, int panel, int panels, int overflows)
{
    const long depth4 = s8_depth4(g), most = S8_CHUNK / 4;
    int16_t weights[S8_WEIGHTS];
    __m256i carried[2 * S8_BLOCK];
    for (long k = 0; k < depth4; k += most) {
        const long groups = depth4 - k < most ? depth4 - k : most;
        for (int p = 0; p < panels; p++)
            s8_widen_panel(g->w + ((panel + p) * depth4 + k) * 64, groups, weights + p * groups * 64);
        int row = row0;
        for (; row + S8_ROWS <= row1; row += S8_ROWS)
            s8_tile(g, row, panel, S8_ROWS, panels, overflows, weights, k, groups,
                    carried + 2 * (row - row0));
        switch (row1 - row) {
            S8_CASE(1)
            S8_CASE(2)
            S8_CASE(3)
            S8_CASE(4)
            S8_CASE(5)
        default:
            break;
        }
    }
}
#undef S8_CASE

VEC void s8_columns(const struct gemm_s8 *g, int row0, int row1, int panel0, int panel1, int overflows)
{
    const long fit = S8_WEIGHTS / (64 * s8_depth4(g));
    const int most = fit < 1 ? 1 : fit < S8_PANELS ? (int)fit : S8_PANELS;
    for (int panel = panel0, panels; panel < panel1; panel += panels) {
        panels = panel1 - panel < most ? panel1 - panel : most;
        s8_column(g, row0, row1, panel, panels, overflows);
    }
}

#endif
