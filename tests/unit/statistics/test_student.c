// SPDX-License-Identifier: Apache-2.0
// Student's t against its density, integrated, and against published quantiles.
#include <math.h>

#include "../support.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/statistics/student.h"

static double density(double x, double freedom)
{
    double log_scale =
        lgamma((freedom + 1) / 2) - lgamma(freedom / 2) - log(freedom * 3.14159265358979324) / 2;
    return exp(log_scale - (freedom + 1) / 2 * log1p(x * x / freedom));
}

// Simpson's rule over [-t, t].
static double outside(double t, int freedom)
{
    enum { STEPS = 20000 };
    double sum = 0, h = t / STEPS;
    for (int i = 0; i <= STEPS; i++)
        sum += (i == 0 || i == STEPS ? 1 : i % 2 ? 4 : 2) * density(i * h, freedom);
    return 1 - 2 * sum * h / 3;
}

static void is_the_integral_of_its_density(void **state)
{
    static const int freedoms[] = {1, 2, 3, 4, 9, 10, 29, 99, 511, 4096};
    static const double points[] = {0, 0.01, 0.5, 1, 1.96, 3, 6, 12};
    (void)state;
    for (size_t f = 0; f < sizeof freedoms / sizeof freedoms[0]; f++)
        for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
            double want = outside(points[i], freedoms[f]), got = student_two_sided(points[i], freedoms[f]);
            if (!(fabs(got - want) < 1e-11))
                fail_msg("freedom %d, t %g: %.15g, expected %.15g", freedoms[f], points[i], got, want);
        }
    assert_true(student_two_sided(INFINITY, 3) == 0 && isnan(student_two_sided(NAN, 3)));
    assert_true(student_two_sided(2, STUDENT_MOST + 5) == student_two_sided(2, STUDENT_MOST));
}

static void quantiles_are_the_published(void **state)
{
    static const struct {
        double p, t;
        int freedom;
    } rows[] = {{0.05, 12.706204736, 1}, {0.05, 4.302652730, 2},  {0.01, 4.604094871, 4},
                {0.05, 2.262157163, 9},  {0.05, 2.042272456, 30}, {0.001, 3.389, 100}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double tolerance = rows[i].t == 3.389 ? 2e-3 : 1e-8;
        assert_true(fabs(student_quantile(rows[i].p, rows[i].freedom) - rows[i].t) < tolerance);
    }
    assert_true(fabs(student_quantile(0.05, STUDENT_MOST) - 1.959964) < 3e-4);
    assert_true(student_quantile(1, 7) < 1e-12);
}

static void logarithm_and_exponential(void **state)
{
    (void)state;
    for (double x = 1e-300; x < 1e300; x *= 37.5) {
        assert_true(fabs(portable_log(x) - log(x)) <= 4e-16 * fabs(log(x)) + 2e-16);
        if (fabs(log(x)) < 690) assert_true(fabs(portable_exp(log(x)) / exp(log(x)) - 1) < 1e-14);
    }
    assert_true(portable_log(0) == -INFINITY && portable_log(INFINITY) == INFINITY &&
                isnan(portable_log(-1)));
    assert_true(portable_exp(-INFINITY) == 0 && portable_exp(INFINITY) == INFINITY &&
                isnan(portable_exp(NAN)));
    assert_true(portable_exp(0) == 1 && portable_log(1) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_integral_of_its_density),
        cmocka_unit_test(quantiles_are_the_published),
        cmocka_unit_test(logarithm_and_exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
