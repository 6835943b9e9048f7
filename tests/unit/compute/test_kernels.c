// SPDX-License-Identifier: Apache-2.0
// Every kernel of every instruction set that this machine has, against its plain twin: the same bits, at odd
// sizes, with zeros, extremes of INT8, denormals, infinities and NaN.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ssmsweep/compute/kernels.h"

extern const struct kernels kernels_one; // kernels_one.c

enum { MOST_VARIANTS = 5 };
static const struct kernels *variants[MOST_VARIANTS];
static int n_variants;

// xorshift, seeded per test: the same numbers everywhere.
static uint32_t next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    return *seed ^= *seed << 5;
}

static float uniform(uint32_t *seed, float scale)
{
    return ((float)(next(seed) >> 8) / 8388608.0f - 1.0f) * scale;
}

// `width` of each row of `ld` random, the rest zero.
static float *floats(uint32_t seed, long rows, long ld, long width, float scale)
{
    float *v = aligned_alloc(64, (size_t)(rows * ld + 16) / 16 * 16 * sizeof *v);
    assert_non_null(v);
    for (long t = 0; t < rows; t++)
        for (long i = 0; i < ld; i++)
            v[t * ld + i] = i < width ? uniform(&seed, scale) : 0.0f;
    return v;
}

// Codes with many of the edges -128, -127, 0, 127.
static int8_t *codes(uint32_t seed, long rows, long ld, long width)
{
    static const int8_t edges[] = {-128, -127, 0, 127};
    int8_t *v = aligned_alloc(64, (size_t)(rows * ld + 63) / 64 * 64);
    assert_non_null(v);
    for (long t = 0; t < rows; t++)
        for (long i = 0; i < ld; i++) {
            const uint32_t r = next(&seed);
            v[t * ld + i] = i >= width ? 0 : r % 4 == 0 ? edges[r / 4 % 4] : (int8_t)(r >> 24);
        }
    return v;
}

static void *blank(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(p);
    memset(p, 0, bytes);
    return p;
}

// Equal bits, any NaN for any NaN.
static void same_floats(const float *a, const float *b, long count)
{
    for (long i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i])))
            fail_msg("element %ld: %a against %a", i, (double)a[i], (double)b[i]);
}

static long up16(long n)
{
    return (n + 15) / 16 * 16;
}

// ---- elementwise ----

static const float specials[] = {
    0.0f,      -0.0f,    1e-45f,   -1e-40f,       1e-8f,    0.49999997f, 0.5f,    1.5f,    2.5f,
    -0.5f,     20.0f,    20.1f,    87.3f,         88.7f,    88.73f,      89.5f,   1e4f,    65503.0f,
    65519.99f, 65520.0f, 1e10f,    -87.5f,        -88.0f,   -103.9f,     -104.5f, -1e30f,  3e38f,
    6.1e-5f,   5.96e-8f, 2.98e-8f, 2.9802322e-8f, 2.99e-8f, 126.5f,      127.5f,  -127.5f, -128.5f};

// All specials, infinities, NaN, then random numbers of many sizes.
static float *sweep_values(long count)
{
    float *v = floats(77, 1, count, count, 1.0f);
    uint32_t seed = 5;
    for (long i = 0; i < count; i++)
        v[i] = ldexpf(v[i], (int)(next(&seed) % 40) - 26);
    memcpy(v, specials, sizeof specials);
    const long at = sizeof specials / sizeof specials[0];
    v[at] = INFINITY, v[at + 1] = -INFINITY, v[at + 2] = NAN;
    return v;
}

static void test_elementwise(void **state)
{
    (void)state;
    enum { COUNT = 1 << 14 };
    static const float steps[] = {0.25f, 0.1f, 0.0073f, 3.3f, 1e-30f, 1e30f, 0.0f, INFINITY, NAN};
    float *x = sweep_values(COUNT), *want = blank(COUNT * sizeof *want), *got = blank(COUNT * sizeof *got);
    int8_t *want_codes = blank(COUNT), *got_codes = blank(COUNT);
    for (int v = 0; v < n_variants; v++) {
        const struct kernels *k = variants[v];
        kernels_naive.exp(x, COUNT, want), k->exp(x, COUNT, got);
        same_floats(want, got, COUNT);
        kernels_naive.softplus(x, COUNT, want), k->softplus(x, COUNT, got);
        same_floats(want, got, COUNT);
        memcpy(want, x, COUNT * sizeof *x), memcpy(got, x, COUNT * sizeof *x);
        kernels_naive.round_half(want, COUNT), k->round_half(got, COUNT);
        same_floats(want, got, COUNT);
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            kernels_naive.quantize_away(x, COUNT, steps[i], want_codes),
                k->quantize_away(x, COUNT, steps[i], got_codes);
            assert_memory_equal(want_codes, got_codes, COUNT);
            kernels_naive.quantize_even(x, COUNT, steps[i], want_codes),
                k->quantize_even(x, COUNT, steps[i], got_codes);
            assert_memory_equal(want_codes, got_codes, COUNT);
        }
        assert_true(kernels_naive.absmax(x, COUNT) == k->absmax(x, COUNT));
        for (long at = 0; at < 200; at++)
            for (long count = 0; count < 100; count += 9)
                assert_true(kernels_naive.finite(x + at, count) == k->finite(x + at, count));
    }
    free(x), free(want), free(got), free(want_codes), free(got_codes);
}

// docs/recipes.md, "Runs that are the same", rule 1: codes that are dequantized and quantized again give the
// values that they gave, for every scale there is.  Beyond 2^121, where values are infinite, other codes may
// give them.
static void check_again(const struct kernels *k, float scale, uint32_t *changed)
{
    float values[256], again[256];
    int8_t made[256];
    for (int i = 0; i < 256; i++)
        values[i] = (float)(i - 128) * scale;
    k->quantize_even(values, 256, scale, made);
    for (int i = 0; i < 256; i++) {
        again[i] = (float)made[i] * scale;
        *changed += made[i] != i - 128;
        assert_true(made[i] == i - 128 || isinf(values[i]));
    }
    same_floats(values, again, 256);
}

static void test_codes_again(void **state)
{
    (void)state;
    static const uint32_t edges[] = {1,        2,        3,
                                     0x400000, 0x7ffffe, 0x7fffff}; // of mantissas; the first is not 0
    enum { EDGES = sizeof edges / sizeof edges[0], MANTISSAS = 40 };
    for (int v = 0; v <= n_variants; v++) {
        uint32_t seed = 11, changed = 0;
        for (uint32_t exponent = 0; exponent < 255; exponent++)
            for (int m = 0; m < MANTISSAS; m++) {
                const uint32_t bits = exponent << 23 | (m < EDGES ? edges[m] : next(&seed) >> 9);
                float scale;
                memcpy(&scale, &bits, sizeof scale);
                if (scale > 0) check_again(v < n_variants ? variants[v] : &kernels_naive, scale, &changed);
            }
        assert_true(changed > 0); // of infinite values
    }
}

// Distance from the double result in units of the float's last place.
static double ulps(float got, double want)
{
    const double unit = fmax(ldexp(1.0, ilogb(want) - 23), 0x1p-149);
    return fabs((double)got - want) / unit;
}

static void test_accuracy(void **state)
{
    (void)state;
    enum { COUNT = 1 << 20 };
    float *x = floats(9, 1, COUNT, COUNT, 87.0f), *y = blank(COUNT * sizeof *y);
    double worst_exp = 0, worst_softplus = 0;
    variants[0]->exp(x, COUNT, y);
    for (int i = 0; i < COUNT; i++)
        worst_exp = fmax(worst_exp, ulps(y[i], exp((double)x[i])));
    variants[0]->softplus(x, COUNT, y);
    for (int i = 0; i < COUNT; i++)
        worst_softplus = fmax(worst_softplus, ulps(y[i], x[i] > 0 ? x[i] + log1p(exp(-(double)x[i]))
                                                                  : log1p(exp((double)x[i]))));
    print_message("exp: %.3f ulp, softplus: %.3f ulp\n", worst_exp, worst_softplus);
    assert_true(worst_exp < 1.0);
    assert_true(worst_softplus < 2.5);
    free(x), free(y);
}

// ---- GEMM ----

static void test_gemm_f32(void **state)
{
    (void)state;
    static const struct {
        int rows, depth, panels;
    } shapes[] = {{1, 1, 1},  {2, 3, 2},   {3, 48, 3},  {5, 7, 4},
                  {8, 64, 5}, {13, 96, 7}, {17, 33, 6}, {42, 3300, 1}}; // the last: blocks of rows
    for (size_t c = 0; c < sizeof shapes / sizeof shapes[0]; c++) {
        const int rows = shapes[c].rows, depth = shapes[c].depth, panels = shapes[c].panels;
        const long lda = up16(depth), ldo = panels * 16;
        float *a = floats(1, rows, lda, depth, 3.0f), *w = floats(2, panels, depth * 16L, depth * 16L, 1.0f);
        a[0] = 0.0f, a[rows * lda / 2] = 1e-42f;
        float *want = blank((size_t)(rows * ldo) * sizeof *want),
              *got = blank((size_t)(rows * ldo) * sizeof *got);
        for (int half = 0; half < 2; half++)
            for (int v = 0; v < n_variants; v++) {
                struct gemm_f32 g = {
                    .a = a, .lda = lda, .w = w, .depth = depth, .out = want, .ldo = ldo, .half = half};
                kernels_naive.gemm_f32(&g, 0, rows, 0, panels);
                g.out = got;
                memset(got, 0xff, (size_t)(rows * ldo) * sizeof *got);
                variants[v]->gemm_f32(&g, 0, rows / 2, 0, panels); // in pieces, as threads do
                variants[v]->gemm_f32(&g, rows / 2, rows, 0, panels / 2);
                variants[v]->gemm_f32(&g, rows / 2, rows, panels / 2, panels);
                same_floats(want, got, rows * ldo);
            }
        free(a), free(w), free(want), free(got);
    }
}

static void test_gemm_s8(void **state)
{
    (void)state;
    static const struct {
        int rows, depth, panels;
    } shapes[] = {{1, 1, 1},   {2, 3, 2},   {3, 48, 3},  {5, 7, 4},     {8, 1536, 5},
                  {13, 96, 7}, {17, 33, 6}, {4, 40, 37}, {34, 15500, 1}};
    for (size_t c = 0; c < sizeof shapes / sizeof shapes[0]; c++) {
        const int rows = shapes[c].rows, depth = shapes[c].depth, panels = shapes[c].panels,
                  depth4 = (depth + 3) / 4 * 4;
        const long lda = up16(depth), ldo = panels * 16;
        const size_t bytes = (size_t)(rows * ldo) * sizeof(float);
        int8_t *a = codes(1, rows, lda, depth), *w = codes(2, panels * 16L, depth4, depth);
        int32_t *bias = blank((size_t)rows * sizeof *bias);
        void *want = blank(bytes), *got = blank(bytes);
        float *by_row = floats(3, 1, rows, rows, 0.02f), *by_output = floats(4, 1, ldo, ldo, 0.01f);
        for (int result = GEMM_S8_CODES; result <= GEMM_S8_HALF; result++)
            for (int v = 0; v < 10 * n_variants; v++) {
                const int factors =
                    v / 2 / n_variants; // 0: plain; else which of the two has rows and outputs
                const float large = v % 2 ? 1e7f : 1.0f; // results beyond INT32, which must saturate
                struct gemm_s8 g = {.a = a,
                                    .lda = lda,
                                    .w = (uint8_t *)w,
                                    .depth = depth,
                                    .bias128 = bias,
                                    .first = 0.0123f * large,
                                    .second = 0.0077f,
                                    .first_rows = factors == 1 || factors == 3 ? by_row : NULL,
                                    .first_outputs = factors == 2 || factors == 4 ? by_output : NULL,
                                    .second_rows = factors == 2 ? by_row : NULL,
                                    .second_outputs = factors == 3 ? by_output : NULL,
                                    .result = (enum gemm_s8_result)result,
                                    .out = want,
                                    .ldo = ldo};
                memset(want, 0, bytes), memset(got, 0, bytes);
                kernels_naive.row_sums(&g, 0, rows, bias);
                kernels_naive.gemm_s8(&g, 0, rows, 0, panels);
                g.out = got;
                memset(bias, 0, (size_t)rows * sizeof *bias);
                const struct kernels *variant = variants[v / 2 % n_variants];
                variant->row_sums(&g, 0, rows, bias);
                variant->gemm_s8(&g, 0, rows / 2, 0, panels);
                variant->gemm_s8(&g, rows / 2, rows, 0, panels);
                assert_memory_equal(want, got, bytes);
            }
        free(by_row), free(by_output);
        free(a), free(w), free(bias), free(want), free(got);
    }
}

// ---- norm, conv1d, hadamard ----

static void test_norm(void **state)
{
    (void)state;
    static const int widths[] = {16, 40, 64, 96, 768};
    for (size_t c = 0; c < sizeof widths / sizeof widths[0]; c++) {
        enum { ROWS = 3 };
        const int width = widths[c];
        const long ld = up16(width), count = ROWS * ld;
        for (int v = 0; v < n_variants; v++) {
            float *r[2], *xhat[2], *scaled[2], *h = floats(2, ROWS, ld, width, 1.0f),
                                               *weight = floats(3, 1, ld, width, 2.0f);
            int8_t *q[2];
            for (int i = 0; i < 2; i++) {
                r[i] = floats(1, ROWS, ld, width, 5.0f);
                xhat[i] = blank((size_t)count * 4), scaled[i] = blank((size_t)count * 4),
                q[i] = blank((size_t)count);
                struct norm n = {.residual = r[i],
                                 .h = h,
                                 .ld = ld,
                                 .width = width,
                                 .eps = 1e-5f,
                                 .xhat = xhat[i],
                                 .weight = weight,
                                 .scaled = scaled[i],
                                 .half = v % 2,
                                 .codes = q[i],
                                 .step = 0.013f};
                (i ? variants[v] : &kernels_naive)->norm(&n, 0, 1);
                (i ? variants[v] : &kernels_naive)->norm(&n, 1, ROWS);
            }
            same_floats(r[0], r[1], count), same_floats(xhat[0], xhat[1], count),
                same_floats(scaled[0], scaled[1], count);
            assert_memory_equal(q[0], q[1], (size_t)count);
            for (int i = 0; i < 2; i++)
                free(r[i]), free(xhat[i]), free(scaled[i]), free(q[i]);
            free(h), free(weight);
        }
    }
}

static void test_conv1d(void **state)
{
    (void)state;
    enum { ROWS = 5, K = 4, LD = 48, WIDTH = 40 };
    float *x = floats(1, ROWS + K - 1, LD, WIDTH, 8.0f), *w = floats(2, K, LD, WIDTH, 1.0f),
          *b = floats(3, 1, LD, WIDTH, 1.0f);
    int8_t *xq = codes(4, ROWS + K - 1, LD, WIDTH);
    memset(x, 0, (K - 1) * LD * sizeof *x), memset(xq, 0, (K - 1) * LD);
    for (int kind = 0; kind < 8; kind++)
        for (int n = 0; n < n_variants; n++) {
            float *v[2];
            int8_t *q[2];
            for (int i = 0; i < 2; i++) {
                v[i] = blank(ROWS * LD * sizeof(float)), q[i] = blank(ROWS * LD);
                struct conv1d c = {.x_float = kind < 2 ? x + (K - 1) * LD : NULL,
                                   .x_codes = kind < 2 ? NULL : xq + (K - 1) * LD,
                                   .ldx = LD,
                                   .w = w,
                                   .b = b,
                                   .ldw = LD,
                                   .d_conv = K,
                                   .tap_scale = 0.02f,
                                   .tap_scales = kind > 5 ? b : NULL,
                                   .half = kind % 2,
                                   .v = v[i],
                                   .ldv = LD,
                                   .codes = q[i],
                                   .ldq = LD,
                                   .step = 0.03125f,
                                   .ties_away = kind > 3};
                (i ? variants[n] : &kernels_naive)->conv1d(&c, 0, ROWS, 0, LD);
            }
            same_floats(v[0], v[1], ROWS * LD);
            assert_memory_equal(q[0], q[1], ROWS * LD);
            for (int i = 0; i < 2; i++)
                free(v[i]), free(q[i]);
        }
    free(x), free(w), free(b), free(xq);
}

// The same rule: the codes that conv1d makes of a float v are those of the quantizer.
static void test_conv1d_codes(void **state)
{
    (void)state;
    enum { ROWS = 64, LD = 256, COUNT = ROWS * LD };
    static const float steps[] = {0.25f, 0.1f, 0.0073f, 3.3f, 1e-45f, 1e-30f, 1e30f};
    float *x = sweep_values(COUNT), *one = blank(LD * sizeof *one), *b = blank(LD * sizeof *b);
    float *v = blank(COUNT * sizeof *v);
    int8_t *of_conv1d = blank(COUNT), *of_v = blank(COUNT);
    for (int i = 0; i < LD; i++)
        one[i] = 1;
    for (int n = 0; n <= n_variants; n++) {
        const struct kernels *k = n < n_variants ? variants[n] : &kernels_naive;
        for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
            const struct conv1d c = {.x_float = x,
                                     .ldx = LD,
                                     .w = one,
                                     .b = b,
                                     .ldw = LD,
                                     .d_conv = 1,
                                     .v = v,
                                     .ldv = LD,
                                     .codes = of_conv1d,
                                     .ldq = LD,
                                     .step = steps[i]};
            k->conv1d(&c, 0, ROWS, 0, LD);
            k->quantize_even(v, COUNT, steps[i], of_v);
            assert_memory_equal(of_conv1d, of_v, COUNT);
        }
    }
    free(x), free(one), free(b), free(v), free(of_conv1d), free(of_v);
}

static void test_hadamard(void **state)
{
    (void)state;
    static const int sizes[][2] = {{1, 16},  {1, 64},  {1, 2},  {12, 1}, {12, 8},
                                   {12, 16}, {12, 64}, {40, 2}, {40, 64}};
    for (size_t c = 0; c < sizeof sizes / sizeof sizes[0]; c++) {
        const int base = sizes[c][0], power = sizes[c][1], dim = base * power;
        float *matrix = floats(1, 1, base * base, base * base, 1.0f);
        for (int i = 0; i < base * base; i++)
            matrix[i] = matrix[i] > 0 ? 1.0f : -1.0f; // any signs will do here
        const struct hadamard h = {
            .dim = dim, .base = base, .power = power, .matrix = base > 1 ? matrix : NULL, .factor = 0.123f};
        for (int v = 0; v < n_variants; v++) {
            float *want = floats(2, 1, dim, dim, 4.0f), *got = floats(2, 1, dim, dim, 4.0f);
            kernels_naive.hadamard(&h, want), variants[v]->hadamard(&h, got);
            same_floats(want, got, dim);
            free(want), free(got);
        }
        free(matrix);
    }
}

// ---- scans ----

// most: of |A|, so that exponents stay in or leave the range in which exp is done in short; broken: some dt
// is not finite.
static void check_scan(int length, int d_state, int quantized, float most, int broken)
{
    enum { LD = 32, WIDTH = 24 };
    const long ld_bc = up16(d_state);
    float *u = floats(1, length, LD, WIDTH, 3.0f), *dt = floats(2, length, LD, WIDTH, 4.0f),
          *z = floats(3, length, LD, WIDTH, 5.0f);
    int8_t *uq = codes(1, length, LD, WIDTH), *dtq = codes(2, length, LD, WIDTH),
           *zq = codes(3, length, LD, WIDTH);
    float *A = floats(4, d_state, LD, WIDTH, most), *B = floats(5, length, ld_bc, d_state, 1.0f),
          *C = floats(6, length, ld_bc, d_state, 1.0f);
    float *bias = floats(7, 1, LD, WIDTH, 3.0f), *D = floats(8, 1, LD, WIDTH, 1.0f);
    for (int i = 0; i < d_state * LD; i++)
        A[i] = -fabsf(A[i]);
    for (long i = 0; broken == 2 && i < (long)length * LD; i++)
        if (i / LD % 100 > 2) u[i] = i % 3 ? 0.0f : u[i] * 1e-37f, uq[i] = 0;
    if (broken == 1)
        dt[length / 2 * LD + 3] = NAN, dt[length / 3 * LD + 17] = INFINITY, u[length / 4 * LD] = NAN;
    const size_t scratch_bytes = (size_t)scan_scratch_floats(length, d_state) * sizeof(float);
    float *scratch = blank(scratch_bytes);
    for (int n = 0; n < n_variants; n++)
        for (int blocked = 0; blocked < 2; blocked++) {
            float *y[2], *last[2];
            for (int i = 0; i < 2; i++) {
                y[i] = blank((size_t)length * LD * sizeof(float)),
                last[i] = blank((size_t)(d_state * LD) * sizeof(float));
                memset(scratch, 0xff, scratch_bytes); // nothing may be left over from another call
                struct scan s = {.length = length,
                                 .d_state = d_state,
                                 .dt_bias = bias,
                                 .D = D,
                                 .A = A,
                                 .ld_inner = LD,
                                 .B = B,
                                 .C = C,
                                 .ld_bc = ld_bc,
                                 .y = y[i],
                                 .ldy = LD,
                                 .half = quantized,
                                 .last_state = last[i],
                                 .u = {quantized ? NULL : u, uq, 0.03f, LD},
                                 .dt = {quantized ? NULL : dt, dtq, 0.05f, LD},
                                 .z = {quantized ? NULL : z, zq, 0.04f, LD}};
                const struct kernels *k = i ? variants[n] : &kernels_naive;
                (blocked ? k->scan_blocked : k->scan_sequential)(&s, 0, 16, scratch);
                (blocked ? k->scan_blocked : k->scan_sequential)(&s, 16, LD, scratch);
            }
            same_floats(y[0], y[1], (long)length * LD);
            if (!blocked) same_floats(last[0], last[1], (long)d_state * LD);
            for (int i = 0; i < 2; i++)
                free(y[i]), free(last[i]);
        }
    free(u), free(dt), free(z), free(uq), free(dtq), free(zq), free(A), free(B), free(C), free(bias), free(D),
        free(scratch);
}

static void test_scan(void **state)
{
    (void)state;
    static const int lengths[] = {1, 3, 4, 5, 64, 65, 128, 129, 513, 1025, 2049};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++)
        for (int quantized = 0; quantized < 2; quantized++)
            for (int kind = 0; kind < (lengths[i] == 65 || lengths[i] == 513 ? 4 : 1); kind++)
                check_scan(lengths[i], 16, quantized, kind == 1 ? 40.0f : 8.0f, kind < 2 ? 0 : kind - 1);
    check_scan(33, 8, 0, 8.0f, 0);
    check_scan(33, 5, 1, 40.0f, 0);
}

// ---- Mamba-2 ----

struct ssd_shape {
    int heads, head_dim, groups, d_state, length, chunk;
};

// What one set of kernels makes of it, the units in pieces of three.
static void run_ssd(const struct kernels *k, struct ssd *s, float *scratch, size_t scratch_bytes)
{
    const int units = s->heads * (int)(up16(s->head_dim) / 16);
    k->ssd_times(s, 0, s->length / 2);
    k->ssd_times(s, s->length / 2, s->length);
    for (int unit = 0; unit < units; unit += 3) {
        memset(scratch, 0xff, scratch_bytes); // nothing may be left over from another call
        const int end = unit + 3 < units ? unit + 3 : units;
        (s->order == SSD_SEQUENTIAL ? k->ssd_sequential : k->ssd_chunked)(s, unit, end, scratch);
    }
}

static void check_ssd(struct ssd_shape shape, bool broken)
{
    const long L = shape.length, ldh = up16(shape.heads), inner = (long)shape.heads * shape.head_dim,
               ldu = up16(inner), bc = (long)shape.groups * shape.d_state, ldp = up16(shape.head_dim);
    float *u = floats(1, L, ldu, inner, 3.0f), *dt = floats(2, L, ldh, shape.heads, 4.0f),
          *B = floats(3, L, bc, bc, 1.0f), *C = floats(4, L, bc, bc, 1.0f),
          *bias = floats(5, 1, ldh, shape.heads, 2.0f), *A = floats(6, 1, ldh, shape.heads, 1.0f),
          *D = floats(7, 1, ldh, shape.heads, 1.0f);
    const long states = (long)shape.heads * shape.d_state * ldp;
    for (int h = 0; h < shape.heads; h++)
        A[h] = -fabsf(A[h]) * 4;
    if (broken) u[L / 2 * ldu + 1] = NAN, dt[L / 3 * ldh] = NAN, B[L / 4 * bc] = INFINITY;
    const size_t scratch_bytes = (size_t)ssd_scratch_floats(shape.length, shape.chunk, shape.d_state) * 4;
    float *scratch = blank(scratch_bytes);
    for (int order = SSD_SEQUENTIAL; order <= SSD_CHUNKED_GPU; order++) {
        float *y[MOST_VARIANTS + 1] = {0}, *state[MOST_VARIANTS + 1] = {0};
        for (int v = 0; v <= n_variants; v++) {
            y[v] = blank((size_t)(L * ldu) * 4), state[v] = blank((size_t)states * 4);
            float *delta = blank((size_t)(L * ldh) * 4), *dA = blank((size_t)(L * ldh) * 4);
            struct ssd s = {shape.length,
                            shape.heads,
                            shape.head_dim,
                            shape.groups,
                            shape.d_state,
                            shape.chunk,
                            (enum ssd_order)order,
                            u,
                            ldu,
                            dt,
                            ldh,
                            bias,
                            A,
                            D,
                            0.01f,
                            order ? 3.0f : INFINITY,
                            B,
                            C,
                            bc,
                            y[v],
                            ldu,
                            order == SSD_CHUNKED_HALF,
                            delta,
                            dA,
                            .state = state[v]};
            run_ssd(v ? variants[v - 1] : &kernels_naive, &s, scratch, scratch_bytes);
            same_floats(y[0], y[v], L * ldu);
            for (long row = 0; row < states; row += ldp) // what lies behind a head is nobody's
                same_floats(state[0] + row, state[v] + row, shape.head_dim);
            free(delta), free(dA);
        }
        assert_true(y[0][0] != 0 && state[0][0] != 0);
        for (int v = 0; v <= n_variants; v++)
            free(y[v]), free(state[v]);
    }
    free(u), free(dt), free(B), free(C), free(bias), free(A), free(D), free(scratch);
}

static void test_ssd(void **state)
{
    (void)state;
    static const struct ssd_shape shapes[] = {
        {3, 16, 1, 16, 1, 16},   {4, 32, 2, 32, 37, 16},  {2, 64, 1, 128, 65, 64}, {4, 8, 4, 5, 33, 16},
        {2, 96, 1, 24, 130, 64}, {6, 20, 3, 17, 70, 256}, {17, 3, 1, 8, 40, 7},    {1, 16, 1, 16, 300, 128}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
        for (int broken = 0; broken < 2; broken++)
            check_ssd(shapes[i], broken);
}

static void test_columns(void **state)
{
    (void)state;
    enum { COUNT = 1 << 12, WIDTH = 64, LD = 80, ROWS = COUNT / LD };
    float *x = sweep_values(COUNT), *steps = floats(9, 1, WIDTH, WIDTH, 1.0f);
    int8_t *given = codes(3, ROWS, LD, WIDTH);
    for (int i = 0; i < WIDTH; i++)
        steps[i] = 0.01f + fabsf(steps[i]);
    for (int v = 0; v < n_variants; v++)
        for (int kind = 0; kind < 3; kind++) {
            int8_t *code[2];
            float *value[2];
            for (int i = 0; i < 2; i++) {
                code[i] = blank(COUNT), value[i] = blank(COUNT * 4);
                const struct columns c = {.x = kind < 2 ? x : NULL,
                                          .ldx = LD,
                                          .given = given,
                                          .ldg = LD,
                                          .width = WIDTH,
                                          .steps = steps,
                                          .ties_away = kind == 1,
                                          .codes = code[i],
                                          .ldq = LD,
                                          .values = value[i],
                                          .ldv = LD};
                const struct kernels *k = i ? variants[v] : &kernels_naive;
                k->columns(&c, 0, 7), k->columns(&c, 7, ROWS);
            }
            assert_memory_equal(code[0], code[1], COUNT);
            same_floats(value[0], value[1], COUNT);
            int not_zero = 0;
            for (int i = 0; i < COUNT; i++)
                not_zero += code[0][i] != 0;
            assert_true(not_zero > COUNT / 4);
            for (int i = 0; i < 2; i++)
                free(code[i]), free(value[i]);
        }
    free(x), free(steps), free(given);
}

static void test_gated_norm(void **state)
{
    (void)state;
    static const int shapes[][2] = {{16, 1}, {40, 1}, {96, 2}, {54, 3}, {768, 8}, {36, 4}};
    enum { ROWS = 3 };
    for (size_t c = 0; c < sizeof shapes / sizeof shapes[0]; c++)
        for (int v = 0; v < n_variants; v++)
            for (int kind = 0; kind < 4; kind++) {
                const int width = shapes[c][0];
                const long ld = up16(width);
                float *y = floats(1, ROWS, ld, width, 3.0f), *z = floats(2, ROWS, ld, width, 5.0f),
                      *weight = floats(3, 1, width, width, 2.0f), *out[2];
                for (int i = 0; i < 2; i++) {
                    out[i] = blank((size_t)(ROWS * ld) * 4);
                    const struct gated_norm n = {
                        y,      z, ld, ld, weight, width, shapes[c][1], 1e-5f, kind & 1, (kind & 2) != 0,
                        out[i], ld};
                    const struct kernels *k = i ? variants[v] : &kernels_naive;
                    k->gated_norm(&n, 0, 2), k->gated_norm(&n, 2, ROWS);
                }
                same_floats(out[0], out[1], ROWS * ld);
                assert_true(out[0][0] != 0);
                struct gated_norm in_place = {
                    y, z, ld, ld, weight, width, shapes[c][1], 1e-5f, kind & 1, (kind & 2) != 0, y, ld};
                variants[v]->gated_norm(&in_place, 0, ROWS);
                same_floats(out[0], y, ROWS * ld);
                free(y), free(z), free(weight), free(out[0]), free(out[1]);
            }
}

int main(void)
{
    static const char *const names[] = {"avx512", "avxvnni", "avx2", "scalar"};
    for (int i = 0; i < 4; i++) {
        const struct kernels *k = kernels_find(names[i]);
        if (k) variants[n_variants++] = k;
        print_message("%s: %s\n", names[i], k ? "tested" : "not on this machine");
    }
    variants[n_variants++] = &kernels_one;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_elementwise),  cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_gemm_f32),     cmocka_unit_test(test_gemm_s8),
        cmocka_unit_test(test_norm),         cmocka_unit_test(test_conv1d),
        cmocka_unit_test(test_hadamard),     cmocka_unit_test(test_scan),
        cmocka_unit_test(test_ssd),          cmocka_unit_test(test_gated_norm),
        cmocka_unit_test(test_columns),      cmocka_unit_test(test_codes_again),
        cmocka_unit_test(test_conv1d_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
