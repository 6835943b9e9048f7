// SPDX-License-Identifier: Apache-2.0
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/profile.h"

static void test_bins(void **state)
{
    (void)state;
    assert_int_equal(profile_bin(0.0), PROFILE_ZERO);
    assert_int_equal(profile_bin(0x1p-60), PROFILE_BELOW);
    assert_int_equal(profile_bin(nextafter(0x1p-40, 0)), PROFILE_BELOW);
    assert_int_equal(profile_bin(0x1p-40), 2);
    assert_int_equal(profile_bin(nextafter(0x1p24, 0)), PROFILE_ABOVE - 1);
    assert_int_equal(profile_bin(0x1p24), PROFILE_ABOVE);
    assert_int_equal(profile_bin(INFINITY), PROFILE_ABOVE);
    for (int bin = PROFILE_BELOW; bin < PROFILE_BINS;
         bin++) { // every bin holds its bounds and what lies between
        double low, high;
        profile_bounds(bin, &low, &high);
        if (low > 0) assert_int_equal(profile_bin(low), bin);
        if (high < INFINITY) assert_int_equal(profile_bin(nextafter(high, 0)), bin);
        if (high < INFINITY) assert_int_equal(profile_bin(high), bin + 1);
    }
}

static void test_positions(void **state)
{
    (void)state;
    int next = 0;
    for (int bucket = 0; bucket < PROFILE_POSITIONS; bucket++) {
        int first, last;
        profile_tokens(bucket, &first, &last);
        assert_int_equal(first, next);
        assert_int_equal(profile_position(first), bucket);
        assert_int_equal(profile_position(last), bucket);
        next = last == INT_MAX ? 0 : last + 1;
    }
    assert_int_equal(next, 0);
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fill(float *ref, float *mode, int count, unsigned seed)
{
    for (int i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        ref[i] = (float)(seed >> 8) / 1e6f - 8.0f;
        seed = seed * 1664525u + 1013904223u;
        mode[i] = ref[i] +
                  (seed % 5 ? ldexpf((float)(seed >> 8) / 16777216.0f - 0.5f, (int)(seed % 31) - 20) : 0.0f);
    }
}

static void test_against_brute_force(void **state)
{
    (void)state;
    enum { LENGTH = 71, WIDTH = 13, COUNT = LENGTH * WIDTH };
    float ref[COUNT], mode[COUNT];
    double d[COUNT], squares[PROFILE_POSITIONS] = {0}, abs[PROFILE_POSITIONS] = {0};
    struct profile p;
    fill(ref, mode, COUNT, 7);
    profile_clear(&p);
    profile_add_sample(&p, ref, mode, LENGTH, WIDTH);
    for (int i = 0; i < COUNT; i++) {
        d[i] = fabs((double)mode[i] - (double)ref[i]);
        squares[profile_position(i / WIDTH)] += d[i] * d[i];
        abs[profile_position(i / WIDTH)] += d[i];
    }
    for (int b = 0; b < PROFILE_POSITIONS; b++) {
        assert_true(fabs(p.position_squares[b] - squares[b]) <= 1e-12 * squares[b]);
        assert_true(fabs(p.position_abs[b] - abs[b]) <= 1e-12 * abs[b]);
    }
    qsort(d, COUNT, sizeof *d, compare_doubles);
    for (double percent = 0; percent <= 100; percent += 2.5) {
        const double at = percent / 100 * (COUNT - 1), w = at - floor(at);
        const double exact = d[(int)at] + (d[(int)ceil(at)] - d[(int)at]) * w;
        double low, high;
        assert_true(profile_percentile(&p, percent, &low, &high));
        assert_true(low <= exact && exact <= high);
        // One half octave wide where the neighbouring ranks share a bin.
        if (low > 0 && profile_bin(d[(int)at]) == profile_bin(d[(int)ceil(at)]))
            assert_true(high / low <= 1.5);
    }
}

static void test_merge(void **state)
{
    (void)state;
    enum { LENGTH = 9, WIDTH = 5, COUNT = LENGTH * WIDTH };
    float ref[2][COUNT], mode[2][COUNT];
    struct profile direct, first, second;
    fill(ref[0], mode[0], COUNT, 1), fill(ref[1], mode[1], COUNT, 2);
    mode[1][3] = NAN, mode[1][4] = INFINITY;
    profile_clear(&direct), profile_clear(&first), profile_clear(&second);
    for (int s = 0; s < 2; s++) {
        profile_add_sample(&direct, ref[s], mode[s], LENGTH, WIDTH);
        profile_add_sample(s ? &second : &first, ref[s], mode[s], LENGTH, WIDTH);
    }
    profile_merge(&first, &second);
    assert_memory_equal(&direct, &first, sizeof direct);
    uint64_t all = 0;
    for (int i = 0; i < PROFILE_BINS; i++)
        all += direct.bins[i];
    assert_int_equal(all, 2 * COUNT - 1); // NaN is in none
    assert_int_equal(direct.bins[PROFILE_ABOVE], 1);
    struct profile empty;
    double low, high;
    profile_clear(&empty);
    assert_false(profile_percentile(&empty, 50, &low, &high));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bins), cmocka_unit_test(test_positions),
                                       cmocka_unit_test(test_against_brute_force),
                                       cmocka_unit_test(test_merge)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
