// SPDX-License-Identifier: Apache-2.0
// Keys, grades and their limits (docs/numerics.md, section 6), and what a damaged side leaves intact.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ssmsweep/measure/record.h"
#include "ssmsweep/report/view.h"

static void keys_are_the_published_ones(void **state)
{
    static const char *const names =
        "fp_mean fp_std fp_min fp_max mode_mean mode_std mode_min mode_max diff_mean diff_std abs_diff_mean "
        "abs_diff_max mse "
        "rmse mae relative_mse relative_mae correlation abs_diff_p50 abs_diff_p90 abs_diff_p95 abs_diff_p99 ";
    char joined[512] = "";
    (void)state;
    for (int k = 0; k < RECORD_KEYS; k++) {
        strcat(joined, record_keys[k].name);
        strcat(joined, " ");
    }
    assert_string_equal(joined, names);
    struct record record = {.mse = 5, .abs_diff_p99 = 7};
    assert_true(record_value(&record, 12) == 5 && record_value(&record, RECORD_KEYS - 1) == 7);
}

static void limits_belong_to_the_lower_grade(void **state)
{
    static const struct {
        double mse, correlation, relative_mae;
        enum grade grade;
    } rows[] = {
        {0, 1, 0, GRADE_EXCELLENT},       {0.99e-4, 0.99991, 0.99e-3, GRADE_EXCELLENT},
        {1e-4, 0.9999, 1e-3, GRADE_GOOD}, {0.99e-3, 0.9991, 0.99e-2, GRADE_GOOD},
        {1e-3, 0.999, 1e-2, GRADE_FAIR},  {0.99e-2, 0.991, 4.99e-2, GRADE_FAIR},
        {1e-2, 0.99, 5e-2, GRADE_POOR},   {1, -1, 1, GRADE_POOR},
        {NAN, NAN, NAN, GRADE_POOR},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct record r = {
            .mse = rows[i].mse, .correlation = rows[i].correlation, .relative_mae = rows[i].relative_mae};
        assert_int_equal(record_grade_mse(&r), rows[i].grade);
        assert_int_equal(record_grade_correlation(&r), rows[i].grade);
        assert_int_equal(record_grade_relative_mae(&r), rows[i].grade);
        assert_int_equal(record_worst_grade(&r), rows[i].grade);
    }
}

static void worst_grade_is_the_worst(void **state)
{
    (void)state;
    const struct record mse = {.mse = 1, .correlation = 1}, correlation = {.correlation = 0.995},
                        relative = {.correlation = 1, .relative_mae = 0.005},
                        undefined = {.correlation = NAN};
    assert_int_equal(record_worst_grade(&mse), GRADE_POOR);
    assert_int_equal(record_worst_grade(&correlation), GRADE_FAIR);
    assert_int_equal(record_worst_grade(&relative), GRADE_GOOD);
    assert_int_equal(record_worst_grade(&undefined), GRADE_EXCELLENT); // equal constants
    assert_string_equal(grade_name(GRADE_FAIR), "fair");
}

static struct record record_of(const float *ref, const float *mode, size_t n)
{
    const double percentiles[PERCENTILES] = {1, 2, 3, 4};
    struct accumulator acc;
    accumulator_clear(&acc);
    accumulator_add_sample(&acc, ref, mode, n);
    return record_make(&acc, percentiles);
}

static void a_damaged_side_leaves_the_other(void **state)
{
    const float good[] = {1, 2, 3, 6}, bad[] = {1, NAN, INFINITY, 6};
    (void)state;
    struct record r = record_of(good, bad, 4);
    assert_true(r.fp_mean == 3 && r.fp_max == 6 && r.fp_nonfinite == 0 && r.mode_nonfinite == 2);
    assert_true(isnan(r.mode_mean) && isnan(r.mode_min) && isnan(r.mse) && isnan(r.correlation) &&
                isnan(r.abs_diff_p50));
    r = record_of(bad, good, 4);
    assert_true(isnan(r.fp_mean) && isnan(r.relative_mae) && r.mode_mean == 3 && r.mode_abs_mean == 3);
    r = record_of(NULL, NULL, 0);
    assert_true(r.count == 0 && isnan(r.fp_mean) && isnan(r.mse));
}

static void equal_sides_are_exact(void **state)
{
    const float v[] = {0.1f, -7.3f, 1e-3f, 12.5f, 3.3f};
    (void)state;
    struct record r = record_of(v, v, 5);
    assert_true(r.correlation == 1 && r.mse == 0 && r.diff_std == 0 && r.relative_mse == 0 &&
                r.abs_diff_max == 0);
}

// One layer that holds NaN spoils them all; one that is merely undefined is left out.
static void averages_over_layers(void **state)
{
    const struct record whole = {.count = 4}, torn = {.count = 4, .mode_nonfinite = 1};
    struct layer_average average = {0}, spoiled = {0};
    (void)state;
    assert_true(isnan(view_average(&average)));
    view_add_layer(&average, &whole, 3);
    view_add_layer(&average, &whole, (double)NAN);
    view_add_layer(&average, &whole, 4);
    assert_true(view_average(&average) == 3.5);
    view_add_layer(&spoiled, &torn, (double)NAN);
    view_add_layer(&spoiled, &whole, 3);
    assert_true(isnan(view_average(&spoiled)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_the_published_ones), cmocka_unit_test(limits_belong_to_the_lower_grade),
        cmocka_unit_test(worst_grade_is_the_worst),    cmocka_unit_test(a_damaged_side_leaves_the_other),
        cmocka_unit_test(equal_sides_are_exact),       cmocka_unit_test(averages_over_layers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
