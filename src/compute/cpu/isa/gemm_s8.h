// SPDX-License-Identifier: Apache-2.0
// INT8 GEMM, exact in INT32.  AVX-512 and AVX-VNNI have an instruction for it (unsigned weights times signed
// activations, four products a lane), AVX2 widens to INT16 and adds pairs, which cannot saturate; the scalar
// path multiplies in a loop.
#include "gemm.h"
#include "vec.h"

enum { S8_LANES = KERNEL_LANES };

VEC long s8_depth4(const struct gemm_s8 *g)
{
    return (g->depth + 3) / 4;
}

// A factor of VW sums at `column` of a row.
VEC vf s8_factor(float one, const float *rows, const float *outputs, int row, long column)
{
    return outputs ? vf_load(outputs + column) : vf_set1(rows ? rows[row] : one);
}

// Is each factor one number for all sums?
VEC int s8_is_plain(const struct gemm_s8 *g)
{
    return !g->first_rows && !g->first_outputs && !g->second_rows && !g->second_outputs;
}

// What becomes of VW sums (bias already out) at column `column` of a row: the same formula on every width.
VEC vf s8_value(const struct gemm_s8 *g, int row, long column, vi sums)
{
    const vf first = s8_factor(g->first, g->first_rows, g->first_outputs, row, column);
    const vf second = s8_factor(g->second, g->second_rows, g->second_outputs, row, column);
    const vf v = vf_of(sums) * first * second;
    return g->result == GEMM_S8_HALF ? vf_round_half(v) : v;
}

VEC void s8_finish(const struct gemm_s8 *g, int row, long column, vi sums)
{
    const long at = row * g->ldo + column;
    const vf v = s8_value(g, row, column, sums);
    if (g->result == GEMM_S8_CODES)
        vf_store_s8_sat((int8_t *)g->out + at, v);
    else
        vf_store((float *)g->out + at, v);
}

// Can a result leave INT32, so that its conversion must be kept from wrapping?  |sum| <= depth * 128 * 128.
VEC int s8_overflows(const struct gemm_s8 *g)
{
    const double most = (double)g->depth * (128 * 128) * (double)g->first * (double)g->second;
    return !(most < 0x1p30);
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

VEC __m512i s8_words(const struct gemm_s8 *g, __m512i sums, int overflows)
{
    const vf v = _mm512_cvtepi32_ps(sums) * vf_set1(g->first) * vf_set1(g->second);
    return _mm512_cvtps_epi32(overflows ? vf_min(v, vf_set1(127.0f)) : v);
}

// Three vectors of codes share their packing, which saturates; it works inside 128-bit lanes, so that one
// permutation puts them in order.
VEC void s8_store_three(const struct gemm_s8 *g, int8_t *out, const __m512i *acc, int overflows)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 0, 0, 0, 0);
    const __m512i a = s8_words(g, acc[0], overflows), b = s8_words(g, acc[1], overflows);
    const __m512i c = s8_words(g, acc[2], overflows);
    const __m512i packed = _mm512_packs_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, c));
    _mm512_mask_storeu_epi32(out, 0x0fff, _mm512_permutexvar_epi32(order, packed));
}

VEC void s8_row(const struct gemm_s8 *g, int row, long column, const __m512i *acc, int panels, int overflows)
{
    if (g->result == GEMM_S8_CODES && panels == 3 && s8_is_plain(g)) {
        int8_t *out = (int8_t *)g->out + row * g->ldo + column;
        if (overflows)
            s8_store_three(g, out, acc, 1);
        else
            s8_store_three(g, out, acc, 0);
        return;
    }
#pragma GCC unroll 8
    for (int j = 0; j < panels; j++)
        s8_finish(g, row, column + j * KERNEL_LANES, (vi)acc[j]);
}

VEC void s8_tile(const struct gemm_s8 *g, int row, int panel, int rows, int panels, int overflows,
                 struct gemm_ahead ahead)
{
    const long depth4 = s8_depth4(g), step = depth4 * S8_LANES * 4, lda = g->lda;
    const int8_t *a = g->a + row * lda;
    const uint8_t *w = g->w + panel * step;
    __m512i acc[S8_ROWS][S8_PANELS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < panels; j++)
            acc[i][j] = _mm512_set1_epi32(g->bias128[row + i]);
    for (long k = 0; k < depth4; k++) {
        __m512i b[S8_PANELS];
        __builtin_prefetch(ahead.at);
        ahead.at += ahead.step;
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
        s8_row(g, row + i, (long)panel * KERNEL_LANES, acc[i], panels, overflows);
}

#elif defined(ISA_AVX2)

#include "gemm_s8_256.h"

#else

enum { S8_ROWS = 1, S8_PANELS = 1 };

VEC void s8_tile(const struct gemm_s8 *g, int row, int panel, int rows, int panels, int overflows,
                 struct gemm_ahead ahead)
{
    (void)rows, (void)panels, (void)overflows, (void)ahead;
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
        s8_finish(g, row, (long)panel * KERNEL_LANES + j, part + g->bias128[row]);
    }
}

#endif

#if !defined(S8_OWN_COLUMNS)

// Panels of the column that begins at `panel`.
VEC int s8_wide(int panel, int panel1)
{
    const int left = panel1 - panel;
    return left < S8_PANELS ? left : S8_PANELS;
}

#define S8_CASE(R)                                                                                           \
    case R:                                                                                                  \
        s8_tile(g, row, panel, (R) <= S8_ROWS ? (R) : S8_ROWS, panels, overflows, here);                     \
        break;

// As f32_column().
VEC void s8_column(const struct gemm_s8 *g, int row0, int row1, int panel, int panels, int overflows,
                   int next)
{
    const long depth4 = s8_depth4(g), step = depth4 * S8_LANES * 4;
    const struct gemm_ahead here = {(const char *)(g->w + panel * step), 0};
    const int tiles = (row1 - row0) / S8_ROWS;
    int row = row0;
    for (int tile = 0; tile < tiles; tile++, row += S8_ROWS)
        s8_tile(g, row, panel, S8_ROWS, panels, overflows,
                next ? gemm_share(g->w + (panel + panels) * step, next * step, tile, tiles, depth4) : here);
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

VEC void s8_columns(const struct gemm_s8 *g, int row0, int row1, int panel0, int panel1, int overflows)
{
    for (int panel = panel0, panels = s8_wide(panel, panel1), next; panels > 0;
         panel += panels, panels = next) {
        next = s8_wide(panel + panels, panel1);
        if (panels == S8_PANELS)
            s8_column(g, row0, row1, panel, S8_PANELS, overflows, next);
        else if (S8_PANELS == 3 && panels == 2)
            s8_column(g, row0, row1, panel, 2, overflows, next);
        else
            s8_column(g, row0, row1, panel, S8_PANELS == 3 ? 1 : panels, overflows, next);
    }
}

#endif

// result, overflows and plain are constants after inlining; the copy cannot be aliased by the stores.
VEC void s8_panels(const struct gemm_s8 *caller, int row0, int row1, int panel0, int panel1,
                   enum gemm_s8_result result, int overflows, int plain)
{
    struct gemm_s8 copy = *caller;
    const struct gemm_s8 *g = &copy;
    copy.result = result;
    if (plain) copy.first_rows = copy.first_outputs = copy.second_rows = copy.second_outputs = NULL;
    const int some = gemm_block_rows(row1 - row0, g->depth, S8_ROWS);
    for (int row = row0; row < row1; row += some)
        s8_columns(g, row, row1 - row < some ? row1 : row + some, panel0, panel1, overflows);
}

// Apart, so that it costs the plain ones nothing.
static __attribute__((noinline)) void s8_scaled(const struct gemm_s8 *g, int row0, int row1, int panel0,
                                                int panel1)
{
    s8_panels(g, row0, row1, panel0, panel1, g->result, 1, 0);
}

static void gemm_s8(const struct gemm_s8 *g, int row0, int row1, int panel0, int panel1)
{
    if (!s8_is_plain(g))
        s8_scaled(g, row0, row1, panel0, panel1);
    else if (g->result == GEMM_S8_FLOAT)
        s8_panels(g, row0, row1, panel0, panel1, GEMM_S8_FLOAT, 0, 1);
    else if (g->result == GEMM_S8_HALF)
        s8_panels(g, row0, row1, panel0, panel1, GEMM_S8_HALF, 0, 1);
    else if (s8_overflows(g))
        s8_panels(g, row0, row1, panel0, panel1, GEMM_S8_CODES, 1, 1);
    else
        s8_panels(g, row0, row1, panel0, panel1, GEMM_S8_CODES, 0, 1);
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
        bias128[row] = -128 * row_sum(g->a + row * g->lda, g->depth);
}
