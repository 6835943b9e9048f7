// SPDX-License-Identifier: Apache-2.0
// The passes of the percentiles against sorting; NumPy itself stands in check_record.py.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ssmsweep/measure/percentile.h"

enum { MAX_N = 600000, MAX_PASSES = 5 };

struct data {
    float *ref, *mode;
    double *sorted;
};

static int setup(void **state)
{
    static struct data data;
    data.ref = calloc(MAX_N, sizeof *data.ref);
    data.mode = calloc(MAX_N, sizeof *data.mode);
    data.sorted = calloc(MAX_N, sizeof *data.sorted);
    *state = &data;
    return data.ref && data.mode && data.sorted ? 0 : -1;
}

static int teardown(void **state)
{
    struct data *data = *state;
    free(data->ref);
    free(data->mode);
    free(data->sorted);
    return 0;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The definition: sort, then interpolate between the neighbours of (n - 1) p / 100.
static void assert_percentiles(struct data *data, size_t n, const double *values)
{
    static const double percents[PERCENTILES] = {50, 90, 95, 99};
    for (size_t i = 0; i < n; i++)
        data->sorted[i] = fabs((double)data->mode[i] - (double)data->ref[i]);
    qsort(data->sorted, n, sizeof *data->sorted, ascending);
    for (int k = 0; k < PERCENTILES; k++) {
        double index = (double)(n - 1) * (percents[k] / 100), t = index - floor(index);
        size_t low = (size_t)index, high = low + 1 < n ? low + 1 : low;
        double a = data->sorted[low], b = data->sorted[high];
        double want = t >= 0.5 ? b - (b - a) * (1 - t) : a + (b - a) * t;
        if (want != values[k])
            fail_msg("n %zu p%g: expected %.17g, got %.17g", n, percents[k], want, values[k]);
    }
}

// Feeds in pieces of `piece` until no pass is wanted; returns the number of passes.
static int run(struct percentile *p, const struct data *data, size_t n, size_t piece)
{
    int passes = 0;
    percentile_start(p);
    do {
        for (size_t i = 0; i < n; i += piece)
            percentile_add(p, data->ref + i, data->mode + i, n - i < piece ? n - i : piece);
        assert_true(++passes <= MAX_PASSES);
    } while (percentile_next_pass(p));
    return passes;
}

static void check(struct data *data, size_t n, size_t piece)
{
    struct percentile *p = percentile_open();
    double values[PERCENTILES];
    assert_non_null(p);
    run(p, data, n, piece);
    assert_true(percentile_values(p, values));
    assert_percentiles(data, n, values);
    percentile_close(p);
}

static void every_small_count(void **state)
{
    struct data *data = *state;
    memset(data->ref, 0, MAX_N * sizeof *data->ref);
    for (size_t n = 1; n < 250; n++) {
        for (size_t i = 0; i < n; i++)
            data->mode[i] = (float)(i * 7919 % 251) - 100.25f;
        check(data, n, 13);
    }
}

// From all equal to all different: the width of the values decides how many passes there are.
static void every_spread(void **state)
{
    struct data *data = *state;
    for (uint32_t spread = 1; spread < 1u << 24; spread *= 31) {
        uint32_t seed = 5;
        for (size_t i = 0; i < MAX_N; i++) {
            seed = seed * 1664525u + 1013904223u;
            data->ref[i] = i % 3 ? 8388608.0f : 0.0f;
            data->mode[i] = data->ref[i] + (float)((seed >> 8) % spread);
        }
        check(data, MAX_N, 1009);
    }
}

static void zeros_need_no_more_passes(void **state)
{
    struct data *data = *state;
    struct percentile *p = percentile_open();
    double values[PERCENTILES];
    assert_non_null(p);
    memset(data->ref, 0, MAX_N * sizeof *data->ref);
    memset(data->mode, 0, MAX_N * sizeof *data->mode);
    assert_int_equal(run(p, data, MAX_N, MAX_N), 1);
    assert_true(percentile_values(p, values));
    assert_true(values[0] == 0 && values[3] == 0);
    percentile_close(p);
}

static void nothing_gives_nan(void **state)
{
    struct percentile *p = percentile_open();
    double values[PERCENTILES] = {0};
    assert_non_null(p);
    assert_int_equal(run(p, *state, 0, 1), 1);
    assert_true(percentile_values(p, values));
    assert_true(isnan(values[0]) && isnan(values[3]));
    percentile_close(p);
}

// A file that changes between the passes is found out and overruns nothing.
static void changed_values_are_found(void **state)
{
    struct data *data = *state;
    struct percentile *p = percentile_open();
    double values[PERCENTILES];
    assert_non_null(p);
    memset(data->ref, 0, MAX_N * sizeof *data->ref);
    for (int grow = 0; grow < 2; grow++) {
        for (size_t i = 0; i < MAX_N; i++)
            data->mode[i] = grow && i < 1000 ? 3.0f : 1.0f + (float)i / MAX_N;
        percentile_start(p);
        percentile_add(p, data->ref, data->mode, MAX_N);
        assert_true(percentile_next_pass(p));
        for (size_t i = 0; i < MAX_N; i++) // all in one place, or gone
            data->mode[i] = grow ? 1.5f : 9.0f;
        do
            percentile_add(p, data->ref, data->mode, MAX_N);
        while (percentile_next_pass(p));
        assert_false(percentile_values(p, values));
    }
    percentile_close(p);
    percentile_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_small_count),         cmocka_unit_test(every_spread),
        cmocka_unit_test(zeros_need_no_more_passes), cmocka_unit_test(nothing_gives_nan),
        cmocka_unit_test(changed_values_are_found),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
