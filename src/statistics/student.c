// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/statistics/student.h"

#include <math.h>

// atan x = 2 atan(x / (1 + sqrt(1 + x^2))), until the series is short.
static double arc_tangent(double x)
{
    enum { HALVINGS = 3, TERMS = 12 };
    double sum = 0;
    for (int i = 0; i < HALVINGS; i++)
        x = x / (1 + sqrt(1 + x * x));
    for (int k = TERMS; k >= 0; k--)
        sum = 1.0 / (2 * k + 1) - x * x * sum;
    return x * sum * (1 << HALVINGS);
}

// Finite series in the angle atan(t / sqrt freedom) (Abramowitz and Stegun 26.7.3 and 26.7.4).
double student_two_sided(double t, int freedom)
{
    if (isnan(t) || freedom < 1) return NAN;
    if (isinf(t)) return 0;
    if (freedom > STUDENT_MOST) freedom = STUDENT_MOST;
    double x = t / sqrt((double)freedom), square = 1 / (1 + x * x), sine = x * sqrt(square);
    double term = freedom % 2 ? sqrt(square) : 1, sum = freedom == 1 ? 0 : term;
    for (int k = freedom % 2 ? 3 : 2; k < freedom; k += 2) {
        term *= square * (k - 1) / k;
        sum += term;
    }
    double inside = freedom % 2 ? (arc_tangent(x) + sine * sum) * 0.63661977236758134308 : sine * sum;
    return inside < 1 ? 1 - inside : 0;
}

double student_quantile(double p, int freedom)
{
    double low = 0, high = 1;
    while (student_two_sided(high, freedom) > p && high < 1e10)
        high *= 2;
    for (int i = 0; i < 64; i++) {
        double middle = (low + high) / 2;
        if (student_two_sided(middle, freedom) > p)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}
