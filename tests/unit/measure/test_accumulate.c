// SPDX-License-Identifier: Apache-2.0
// What check_record.py cannot see: the state itself, how it merges, and its digits beyond 1e-9.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/accumulate.h"

enum { N = 30011 };

static double uniform(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(*seed >> 11) * 0x1p-53 - 0.5;
}

static void fill(float *ref, float *mode, double mean, double spread, double error)
{
    uint64_t seed = 99;
    for (int i = 0; i < N; i++) {
        double v = mean + spread * uniform(&seed);
        ref[i] = (float)v;
        mode[i] = (float)(v + error * uniform(&seed));
    }
}

static void assert_near(struct wide sum, long double want)
{
    long double error = fabsl((long double)sum.hi + (long double)sum.lo - want);
    if (!(error <= 1e-13L * fabsl(want)))
        fail_msg("expected %.20Lg, got %.17g + %.17g", want, sum.hi, sum.lo);
}

// Two passes over everything in long double.
static void assert_moments(const struct accumulator *acc, const float *ref, const float *mode)
{
    long double a = 0, b = 0, aa = 0, bb = 0, ab = 0, dd = 0, ad = 0;
    for (int i = 0; i < N; i++) {
        a += (long double)ref[i];
        b += (long double)mode[i];
        ad += fabsl((long double)mode[i] - (long double)ref[i]);
    }
    for (int i = 0; i < N; i++) {
        long double x = (long double)ref[i] - a / N, y = (long double)mode[i] - b / N;
        aa += x * x;
        bb += y * y;
        ab += x * y;
        dd += (y - x) * (y - x);
    }
    assert_near(acc->ref.sum, a);
    assert_near(acc->mode.sum, b);
    assert_near(acc->abs_diff, ad);
    assert_near(acc->ref.squares, aa);
    assert_near(acc->mode.squares, bb);
    assert_near(acc->products, ab);
    assert_near(acc->diff_squares, dd);
}

static void moments_keep_their_digits(void **state)
{
    static const double shapes[][3] = {
        {0.3, 1, 0.01}, {1e6, 1, 0.5}, {-3e5, 100, 1e-1}, {1e-30, 1e-31, 1e-32}, {1, 1e30, 1e28}};
    static float ref[N], mode[N];
    (void)state;
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        struct accumulator acc;
        accumulator_clear(&acc);
        fill(ref, mode, shapes[s][0], shapes[s][1], shapes[s][2]);
        for (size_t at = 0, n = 1; at < N; at += n, n = n * 3 + 1)
            accumulator_add_sample(&acc, ref + at, mode + at, n < N - at ? n : N - at);
        assert_int_equal(acc.count, N);
        assert_moments(&acc, ref, mode);
    }
}

// Terms of many sizes that cancel but for the last one.  Neighbours are added in double before the sum is
// doubly precise, so their sizes stay within that.
static void sums_survive_cancellation(void **state)
{
    static float ref[N], mode[N];
    struct accumulator acc;
    uint64_t seed = 3;
    (void)state;
    for (int i = 0; i < N / 2 - 32; i++) {
        ref[i] = (float)ldexp(1 + fabs(uniform(&seed)), i % 25 - 12);
        ref[N - 65 - i] = -ref[i];
    }
    ref[N - 1] = 1e-12f;
    accumulator_clear(&acc);
    accumulator_add_sample(&acc, ref, mode, N);
    assert_true(acc.ref.sum.hi + acc.ref.sum.lo == (double)1e-12f);
}

// What is stored for a sample and merged later is what was summed at once.
static void merging_gives_the_same_bits(void **state)
{
    static float ref[N], mode[N];
    struct accumulator direct, merged;
    (void)state;
    fill(ref, mode, 2, 1, 0.01);
    accumulator_clear(&direct);
    accumulator_clear(&merged);
    for (size_t at = 0; at < N; at += 777) {
        size_t n = N - at < 777 ? N - at : 777;
        struct accumulator sample;
        accumulator_clear(&sample);
        accumulator_add_sample(&sample, ref + at, mode + at, n);
        accumulator_merge(&merged, &sample);
        accumulator_add_sample(&direct, ref + at, mode + at, n);
    }
    assert_memory_equal(&direct, &merged, sizeof direct);
}

static void nothing_merges_as_nothing(void **state)
{
    float ref = 3, mode = 5;
    struct accumulator empty, one, before;
    (void)state;
    accumulator_clear(&empty);
    accumulator_clear(&one);
    accumulator_add_sample(&one, &ref, &mode, 1);
    before = one;
    accumulator_merge(&one, &empty);
    assert_memory_equal(&one, &before, sizeof one);
    accumulator_add_sample(&one, NULL, NULL, 0);
    assert_memory_equal(&one, &before, sizeof one);
    accumulator_merge(&empty, &one);
    assert_memory_equal(&one, &empty, sizeof one);
    assert_true(one.ref.min == 3 && one.mode.max == 5 && one.diff_min == 2 && one.diff_max == 2 &&
                one.count == 1);
}

static void constant_sides_have_no_spread(void **state)
{
    static float ref[N], mode[N];
    struct accumulator acc;
    (void)state;
    for (int i = 0; i < N; i++) {
        ref[i] = 0.1f;
        mode[i] = 0.3f;
    }
    accumulator_clear(&acc);
    accumulator_add_sample(&acc, ref, mode, 5);
    accumulator_add_sample(&acc, ref, mode, N);
    assert_true(acc.ref.squares.hi == 0 && acc.mode.squares.hi == 0 && acc.products.hi == 0);
    assert_true(acc.ref.sum.hi + acc.ref.sum.lo == (double)0.1f * (N + 5));
}

// Each kind at each place of a block: first lanes, tail, second block.
static void nonfinite_values_are_counted(void **state)
{
    static float ref[N], mode[N];
    static const int places[] = {0, 7, 8, 8191, 8192, N - 1};
    const float kinds[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++)
        for (size_t k = 0; k < 3; k++) {
            struct accumulator acc;
            fill(ref, mode, 1, 1, 1);
            mode[places[p]] = kinds[k];
            accumulator_clear(&acc);
            accumulator_add_sample(&acc, ref, mode, N);
            assert_int_equal(acc.mode.nonfinite, 1);
            assert_int_equal(acc.ref.nonfinite, 0);
            assert_true(isfinite(acc.ref.squares.hi));
        }
    for (int i = 0; i < N; i++)
        ref[i] = i % 2 ? INFINITY : -INFINITY;
    struct accumulator acc;
    accumulator_clear(&acc);
    accumulator_add_sample(&acc, ref, mode, N);
    assert_int_equal(acc.ref.nonfinite, N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moments_keep_their_digits),     cmocka_unit_test(sums_survive_cancellation),
        cmocka_unit_test(merging_gives_the_same_bits),   cmocka_unit_test(nothing_merges_as_nothing),
        cmocka_unit_test(constant_sides_have_no_spread), cmocka_unit_test(nonfinite_values_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
