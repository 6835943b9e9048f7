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

#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/report/view.h"

static void keys_are_the_published_ones(void **state)
{
    static const char *const names =
        "fp_mean fp_std fp_min fp_max mode_mean mode_std mode_min mode_max diff_mean diff_std abs_diff_mean "
        "abs_diff_max mse "
        "rmse mae relative_mse relative_mae correlation abs_diff_p50 abs_diff_p90 abs_diff_p95 abs_diff_p99 ";
    char joined[512] = "";
    (void)state;
    for (int m = 0; m <= METRIC_ABS_DIFF_P99; m++) {
        strcat(joined, metric_table[m].name);
        strcat(joined, " ");
    }
    assert_string_equal(joined, names);
}

static struct record graded(double mse, double correlation, double relative_mae)
{
    return (struct record){
        .value = {
            [METRIC_MSE] = mse, [METRIC_CORRELATION] = correlation, [METRIC_RELATIVE_MAE] = relative_mae}};
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
        const struct record r = graded(rows[i].mse, rows[i].correlation, rows[i].relative_mae);
        assert_int_equal(record_grade(&r, METRIC_MSE), rows[i].grade);
        assert_int_equal(record_grade(&r, METRIC_CORRELATION), rows[i].grade);
        assert_int_equal(record_grade(&r, METRIC_RELATIVE_MAE), rows[i].grade);
        assert_int_equal(record_worst_grade(&r), rows[i].grade);
    }
}

static void worst_grade_is_the_worst(void **state)
{
    (void)state;
    const struct record mse = graded(1, 1, 0), correlation = graded(0, 0.995, 0),
                        relative = graded(0, 1, 0.005), undefined = graded(0, NAN, 0);
    assert_int_equal(record_worst_grade(&mse), GRADE_POOR);
    assert_int_equal(record_worst_grade(&correlation), GRADE_FAIR);
    assert_int_equal(record_worst_grade(&relative), GRADE_GOOD);
    assert_int_equal(record_worst_grade(&undefined), GRADE_EXCELLENT); // equal constants
    assert_string_equal(grade_name(GRADE_FAIR), "fair");
}

static struct record record_of(const float *ref, const float *mode, size_t n)
{
    struct measurement m = {.abs_diff_percentiles = {1, 2, 3, 4}, .max_ulp = 5};
    accumulator_clear(&m.moments);
    accumulator_add_sample(&m.moments, ref, mode, n);
    return record_make(&m);
}

static void a_damaged_side_leaves_the_other(void **state)
{
    const float good[] = {1, 2, 3, 6}, bad[] = {1, NAN, INFINITY, 6};
    (void)state;
    struct record r = record_of(good, bad, 4);
    assert_true(r.value[METRIC_FP_MEAN] == 3 && r.value[METRIC_FP_MAX] == 6 && r.fp_nonfinite == 0 &&
                r.mode_nonfinite == 2);
    assert_true(isnan(r.value[METRIC_MODE_MEAN]) && isnan(r.value[METRIC_MODE_MIN]) &&
                isnan(r.value[METRIC_MSE]) && isnan(r.value[METRIC_CORRELATION]) &&
                isnan(r.value[METRIC_ABS_DIFF_P50]));
    r = record_of(bad, good, 4);
    assert_true(isnan(r.value[METRIC_FP_MEAN]) && isnan(r.value[METRIC_RELATIVE_MAE]) &&
                r.value[METRIC_MODE_MEAN] == 3 && r.mode_abs_mean == 3);
    r = record_of(NULL, NULL, 0);
    assert_true(r.count == 0 && isnan(r.value[METRIC_FP_MEAN]) && isnan(r.value[METRIC_MSE]));
}

static void equal_sides_are_exact(void **state)
{
    const float v[] = {0.1f, -7.3f, 1e-3f, 12.5f, 3.3f};
    (void)state;
    struct record r = record_of(v, v, 5);
    assert_true(r.value[METRIC_CORRELATION] == 1 && r.value[METRIC_MSE] == 0 &&
                r.value[METRIC_DIFF_STD] == 0 && r.value[METRIC_RELATIVE_MSE] == 0 &&
                r.value[METRIC_ABS_DIFF_MAX] == 0);
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
