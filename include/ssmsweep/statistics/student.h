// SPDX-License-Identifier: Apache-2.0
// Student's t and the functions under it, made of IEEE +, -, *, / and sqrt alone: the same bits everywhere,
// which libm does not promise.
#ifndef SSMSWEEP_STATISTICS_STUDENT_H
#define SSMSWEEP_STATISTICS_STUDENT_H

// P(|T| > t) for t >= 0 and freedom >= 1 degrees; above STUDENT_MOST of them, those of STUDENT_MOST (the
// quantiles are within 1e-4 of the normal ones there).  Absolute error below 1e-13.
enum { STUDENT_MOST = 10000 };
double student_two_sided(double t, int freedom);

// t with P(|T| > t) = p, 1e-9 <= p <= 1.
double student_quantile(double p, int freedom);

#endif
