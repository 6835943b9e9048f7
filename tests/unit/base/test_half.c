// SPDX-License-Identifier: Apache-2.0
// Halves to floats and back.  Both are monotonic, so that the middles between neighbours say it all.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "ssmsweep/base/half.h"

enum { INFINITE = 0x7c00, NEGATIVE = 0x8000 };

// What a half is, by its definition.
static double value_of(uint16_t half)
{
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    const double size = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return half & NEGATIVE ? -size : size;
}

static void test_every_half(void **state)
{
    (void)state;
    for (int h = 0; h < INFINITE; h++)
        for (int sign = 0; sign <= NEGATIVE; sign += NEGATIVE) {
            const uint16_t half = (uint16_t)(h | sign);
            assert_true((double)half_to_float(half) == value_of(half));
            assert_int_equal(half_of_float(half_to_float(half)), half);
        }
    assert_true(isinf(half_to_float(INFINITE)) && half_to_float(INFINITE | NEGATIVE) == -INFINITY);
    for (int h = INFINITE + 1; h < NEGATIVE; h++)
        assert_true(isnan(half_to_float((uint16_t)h)));
}

// From the largest half, the next would be 65536.
static void test_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (int h = 0; h < INFINITE; h++) {
        const double next = h + 1 < INFINITE ? value_of((uint16_t)(h + 1)) : 65536;
        const float middle = (float)((value_of((uint16_t)h) + next) / 2);
        const int even = h % 2 == 0 ? h : h + 1;
        assert_int_equal(half_of_float(middle), even);
        assert_int_equal(half_of_float(nextafterf(middle, 0)), h);
        assert_int_equal(half_of_float(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(half_of_float(-middle), even | NEGATIVE);
    }
}

static void test_what_is_no_number(void **state)
{
    (void)state;
    assert_int_equal(half_of_float(INFINITY), INFINITE);
    assert_int_equal(half_of_float(-INFINITY), INFINITE | NEGATIVE);
    assert_int_equal(half_of_float(3e38f), INFINITE);
    assert_int_equal(half_of_float(1e-45f), 0);
    assert_int_equal(half_of_float(-0.0f), NEGATIVE);
    assert_true(isnan(half_to_float(half_of_float(NAN))));
    assert_true(isnan(half_to_float(half_of_float(float_of_bits(0x7f800001u)))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half),
        cmocka_unit_test(test_rounds_to_nearest_even),
        cmocka_unit_test(test_what_is_no_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
