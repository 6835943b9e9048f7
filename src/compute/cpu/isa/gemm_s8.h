// SPDX-License-Identifier: Apache-2.0
// INT8 GEMM, exact in INT32.  AVX-512 uses VNNI (unsigned weights times signed activations, four products a
// lane); AVX2 widens to INT16 and adds pairs, which cannot saturate; the scalar path multiplies in a loop.
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

// Activations are widened once for all panels of a column, S8_CHUNK of a row at a time.
enum { S8_ROWS = 6, S8_PANELS = 16, S8_CHUNK = 1024, S8_WIDE = S8_CHUNK + 16 };

VEC __m256i s8_madd(__m256i acc, __m256i w16, __m256i a16)
{
    return _mm256_add_epi32(acc, _mm256_madd_epi16(w16, a16));
}

// Pairs of partial sums (k01, k23) of eight outputs in two vectors -> eight sums in order.
VEC __m256i s8_fold(__m256i low, __m256i high)
{
    return _mm256_permute4x64_epi64(_mm256_hadd_epi32(low, high), 0xd8);
}

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

VEC __m256i s8_weights(const uint8_t *w)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)w));
}

// Adds `groups` groups of four k to the sums of half a panel, [rows][2] vectors of pairs.
VEC void s8_half(const uint8_t *w, const int16_t *wide, long groups, int rows, __m256i *sums)
{
    __m256i acc[S8_ROWS][2];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        acc[i][0] = sums[2 * i], acc[i][1] = sums[2 * i + 1];
    for (long k = 0; k < groups; k++) {
        const __m256i low = s8_weights(w + k * 64), high = s8_weights(w + k * 64 + 16);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            long long four;
            memcpy(&four, wide + i * S8_WIDE + 4 * k, sizeof four);
            const __m256i x = _mm256_set1_epi64x(four);
            acc[i][0] = s8_madd(acc[i][0], low, x);
            acc[i][1] = s8_madd(acc[i][1], high, x);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
        sums[2 * i] = acc[i][0], sums[2 * i + 1] = acc[i][1];
}

// Apart, because GCC 12 spills the accumulators where they are folded behind the loop.
static __attribute__((noinline)) void s8_half_rows(const uint8_t *w, const int16_t *wide, long groups,
                                                   __m256i *sums)
{
    s8_half(w, wide, groups, S8_ROWS, sums);
}

// Half a panel of a tile: what becomes of its sums.
VEC void s8_half_finish(const struct gemm_s8 *g, int row, long column, int rows, const __m256i *sums)
{
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++) {
        const __m256i bias = _mm256_set1_epi32(g->bias128[row + i]);
        s8_finish(g, row + i, column, (vi)_mm256_add_epi32(s8_fold(sums[2 * i], sums[2 * i + 1]), bias));
    }
}

// A depth of one chunk: the sums of half a panel at a time.
VEC void s8_tile_flat(const struct gemm_s8 *g, int row, int panel, int rows, int panels)
{
    const long depth4 = s8_depth4(g);
    int16_t wide[S8_ROWS * S8_WIDE];
    for (int i = 0; i < rows; i++)
        s8_widen(g->a + (row + i) * g->lda, 4 * depth4, wide + i * S8_WIDE);
    for (int half = 0; half < 2 * panels; half++) {
        __m256i sums[2 * S8_ROWS];
#pragma GCC unroll 12
        for (int i = 0; i < 2 * rows; i++)
            sums[i] = _mm256_setzero_si256();
        const uint8_t *w = g->w + (panel + half / 2) * depth4 * 64 + half % 2 * 32;
        if (rows == S8_ROWS)
            s8_half_rows(w, wide, depth4, sums);
        else
            s8_half(w, wide, depth4, rows, sums);
        s8_half_finish(g, row, (long)panel * KERNEL_LANES + half * VW, rows, sums);
    }
}

VEC void s8_tile(const struct gemm_s8 *g, int row, int panel, int rows, int panels, int overflows,
                 struct gemm_ahead ahead)
{
    (void)overflows, (void)ahead;
    const long depth4 = s8_depth4(g), most = S8_CHUNK / 4;
    if (depth4 <= most) {
        s8_tile_flat(g, row, panel, rows, panels);
        return;
    }
    int16_t wide[S8_ROWS * S8_WIDE];
    __m256i sums[2 * S8_PANELS][2 * S8_ROWS];
    memset(sums, 0, sizeof sums[0] * 2 * (size_t)panels);
    for (long k = 0; k < depth4; k += most) {
        const long groups = depth4 - k < most ? depth4 - k : most;
        for (int i = 0; i < rows; i++)
            s8_widen(g->a + (row + i) * g->lda + 4 * k, 4 * groups, wide + i * S8_WIDE);
        for (int half = 0; half < 2 * panels; half++)
            s8_half(g->w + ((panel + half / 2) * depth4 + k) * 64 + half % 2 * 32, wide, groups, rows,
                    sums[half]);
    }
    for (int half = 0; half < 2 * panels; half++)
        s8_half_finish(g, row, (long)panel * KERNEL_LANES + half * VW, rows, sums[half]);
}

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
