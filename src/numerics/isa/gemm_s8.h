// SPDX-License-Identifier: Apache-2.0
// INT8 GEMM, exact in INT32.  AVX-512 uses VNNI (unsigned weights times signed activations, four products a
// lane); AVX2 widens to INT16 and adds pairs, which cannot saturate; the scalar path multiplies in a loop.
#include "vec.h"

enum { S8_LANES = KERNEL_LANES };

VEC long s8_depth4(const struct gemm_s8 *g)
{
    return (g->depth + 3) / 4;
}

// What becomes of VW sums (bias already out) at column `column` of a row: the same formula on every width.
VEC void s8_finish(const struct gemm_s8 *g, int row, long column, vi sums)
{
    const long at = row * g->ldo + column;
    const vf v = __builtin_convertvector(sums, vf) * vf_set1(g->first) * vf_set1(g->second);
    if (g->result == GEMM_S8_CODES)
        vf_store_s8_sat((int8_t *)g->out + at, v);
    else
        vf_store((float *)g->out + at, g->result == GEMM_S8_HALF ? vf_round_half(v) : v);
}

VEC int32_t s8_group(const int8_t *p)
{
    int32_t four;
    memcpy(&four, p, sizeof four);
    return four;
}

#if defined(ISA_AVX512)

enum { S8_ROWS = 8, S8_PANELS = 3 };

// As an asm, because GCC 12 spills the accumulators of the intrinsic.
#define S8_DOT(acc, u8, s8) __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(u8), "v"(s8))

VEC void s8_tile(const struct gemm_s8 *g, int row, int panel, int rows, int panels)
{
    const long depth4 = s8_depth4(g), step = depth4 * S8_LANES * 4, lda = g->lda;
    const int8_t *a = g->a + row * lda;
    const uint8_t *w = g->w + panel * step;
    __m512i acc[S8_ROWS][S8_PANELS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < panels; j++)
            acc[i][j] = _mm512_set1_epi32(-g->bias128[row + i]);
    for (long k = 0; k < depth4; k++) {
        __m512i b[S8_PANELS];
#pragma GCC unroll 8
        for (int j = 0; j < panels; j++)
            b[j] = _mm512_loadu_si512(w + j * step + k * 64);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            __m512i x = _mm512_set1_epi32(s8_group(a + i * lda + 4 * k));
#pragma GCC unroll 8
            for (int j = 0; j < panels; j++)
                S8_DOT(acc[i][j], b[j], x);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < panels; j++)
            s8_finish(g, row + i, (long)(panel + j) * KERNEL_LANES, (vi)acc[i][j]);
}

#elif defined(ISA_AVX2)

enum { S8_ROWS = 2, S8_PANELS = 1 };

VEC __m256i s8_madd(__m256i acc, __m256i w16, __m256i a16)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(w16, a16));
}

// Pairs of partial sums (k01, k23) of eight outputs in two vectors -> eight sums in order.
VEC __m256i s8_fold(__m256i low, __m256i high)
{
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0xd8);
}

VEC void s8_tile(const struct gemm_s8 *g, int row, int panel, int rows, int panels)
{
    (void)panels;
    const long depth4 = s8_depth4(g), lda = g->lda;
    const int8_t *a = g->a + row * lda;
    const uint8_t *w = g->w + panel * depth4 * S8_LANES * 4;
    __m256i acc[S8_ROWS][4];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < 4; j++)
            acc[i][j] = _mm256_setzero_si256();
    for (long k = 0; k < depth4; k++) {
        __m256i b[4];
#pragma GCC unroll 8
        for (int j = 0; j < 4; j++)
            b[j] =
                _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)(w + k * 64 + j * 16)));
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            __m128i four = _mm_cvtepi8_epi16(_mm_cvtsi32_si128(s8_group(a + i * lda + 4 * k)));
            __m256i x = _mm256_broadcastq_epi64(four);
#pragma GCC unroll 8
            for (int j = 0; j < 4; j++)
                acc[i][j] = s8_madd(acc[i][j], b[j], x);
        }
    }
    for (int i = 0; i < rows; i++) {
        const __m256i bias = _mm256_set1_epi32(g->bias128[row + i]);
        const long column = (long)panel * KERNEL_LANES;
        s8_finish(g, row + i, column, (vi)_mm256_sub_epi32(s8_fold(acc[i][0], acc[i][1]), bias));
        s8_finish(g, row + i, column + VW, (vi)_mm256_sub_epi32(s8_fold(acc[i][2], acc[i][3]), bias));
    }
}

#else

enum { S8_ROWS = 1, S8_PANELS = 1 };

VEC void s8_tile(const struct gemm_s8 *g, int row, int panel, int rows, int panels)
{
    (void)rows, (void)panels;
    const long depth4 = s8_depth4(g);
    const int8_t *a = g->a + row * g->lda;
    const uint8_t *w = g->w + panel * depth4 * S8_LANES * 4;
    int32_t sums[KERNEL_LANES] = {0};
    for (long k = 0; k < depth4; k++, w += S8_LANES * 4)
        for (int n = 0; n < S8_LANES; n++)
            for (int q = 0; q < 4; q++)
                sums[n] += (int32_t)w[4 * n + q] * a[4 * k + q];
    for (int j = 0; j < KERNEL_LANES; j += VW) {
        vi part;
        memcpy(&part, sums + j, sizeof part);
        s8_finish(g, row, (long)panel * KERNEL_LANES + j, part - g->bias128[row]);
    }
}

#endif

#define S8_CASE(R)                                                                                           \
    case R:                                                                                                  \
        s8_tile(g, row, panel, (R) <= S8_ROWS ? (R) : S8_ROWS, panels);                                      \
        break;

VEC void s8_column(const struct gemm_s8 *g, int row0, int row1, int panel, int panels)
{
    int row = row0;
    for (; row + S8_ROWS <= row1; row += S8_ROWS)
        s8_tile(g, row, panel, S8_ROWS, panels);
    switch (row1 - row) {
        S8_CASE(1)
        S8_CASE(2)
        S8_CASE(3)
        S8_CASE(4)
        S8_CASE(5)
        S8_CASE(6)
        S8_CASE(7)
    default:
        break;
    }
}

// With little depth the tile's end weighs as much as its sums: narrow tiles let the processor overlap one
// tile's end with the next one's sums.
enum { S8_SHALLOW = 128 };

static void gemm_s8(const struct gemm_s8 *g, int row0, int row1, int panel0, int panel1)
{
    int panel = panel0;
    for (; g->depth > S8_SHALLOW && panel + S8_PANELS <= panel1; panel += S8_PANELS)
        s8_column(g, row0, row1, panel, S8_PANELS);
    for (; panel < panel1; panel++)
        s8_column(g, row0, row1, panel, 1);
}

VEC int32_t row_sum(const int8_t *a, long count)
{
    long k = 0;
    int32_t sum = 0;
#if defined(ISA_AVX512)
    __m512i acc = _mm512_setzero_si512();
    const __m512i ones = _mm512_set1_epi8(1);
    for (; k + 64 <= count; k += 64)
        acc = _mm512_dpbusd_epi32(acc, ones, _mm512_loadu_si512(a + k));
    const __mmask64 rest = ((__mmask64)1 << (count - k)) - 1;
    acc = _mm512_dpbusd_epi32(acc, ones, _mm512_maskz_loadu_epi8(rest, a + k));
    sum = _mm512_reduce_add_epi32(acc);
    k = count;
#endif
    for (; k < count; k++)
        sum += a[k];
    return sum;
}

static void row_sums(const struct gemm_s8 *g, int row0, int row1, int32_t *bias128)
{
    for (int row = row0; row < row1; row++)
        bias128[row] = 128 * row_sum(g->a + row * g->lda, g->depth);
}
