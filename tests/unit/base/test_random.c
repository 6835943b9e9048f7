// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "ssmsweep/base/random.h"

enum { MANY = 1 << 20 };

// SplitMix64 of seed 1234567, as published.
static void bits_are_those_of_splitmix64(void **state)
{
    (void)state;
    assert_true(random_bits(1234567, 0) == UINT64_C(6457827717110365317));
    assert_true(random_bits(1234567, 1) == UINT64_C(3203168211198807973));
    assert_true(random_bits(1234567, 4) == UINT64_C(16408922859458223821));
}

static void streams_differ(void **state)
{
    (void)state;
    assert_true(random_stream(1, "a") != random_stream(1, "b"));
    assert_true(random_stream(1, "a") != random_stream(2, "a"));
    assert_true(random_stream(1, "a") == random_stream(1, "a"));
}

static void normals_have_the_moments(void **state)
{
    (void)state;
    double sum = 0, squares = 0, fourth = 0, lag = 0, last = 0;
    const uint64_t stream = random_stream(5, "normal");
    for (uint64_t i = 0; i < MANY; i++) {
        double x = random_normal(stream, i);
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
        lag += x * last;
        last = x;
    }
    assert_true(fabs(sum / MANY) < 0.005);
    assert_true(fabs(squares / MANY - 1) < 0.007);
    assert_true(fabs(fourth / MANY - 2.97) < 0.05);
    assert_true(fabs(lag / MANY) < 0.005);
}

static void uniforms_fill_their_range(void **state)
{
    (void)state;
    int bins[7] = {0};
    double sum = 0;
    for (uint64_t i = 0; i < MANY; i++) {
        double u = random_uniform(3, i);
        uint32_t k = random_below(4, i, 7);
        assert_true(u >= 0 && u < 1 && k < 7);
        sum += u;
        bins[k]++;
    }
    assert_true(fabs(sum / MANY - 0.5) < 0.002);
    for (int k = 0; k < 7; k++)
        assert_true(abs(bins[k] - MANY / 7) < 2000);
}

static void functions_are_close_to_the_library(void **state)
{
    (void)state;
    for (int i = -7000; i <= 7000; i++) {
        double x = i * 0.1 + 0.0123, y = exp(x);
        assert_true(fabs(random_exp(x) - y) <= 4e-16 * 4 * y);
        assert_true(fabs(random_log(y) - x) <= 1e-15 * fmax(fabs(x), 0.1));
    }
    for (int n = 1; n <= 16; n++)
        assert_true((float)random_log(n) == (float)log(n));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_are_those_of_splitmix64),       cmocka_unit_test(streams_differ),
        cmocka_unit_test(normals_have_the_moments),           cmocka_unit_test(uniforms_fill_their_range),
        cmocka_unit_test(functions_are_close_to_the_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
