// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/measure/record.h"

#include <math.h>

struct record record_make(const struct measurement *measurement)
{
    const struct accumulator *acc = &measurement->moments;
    const struct side *mode = &acc->mode;
    const bool known = acc->count > 0 && !mode->nonfinite;
    struct record r = {
        .count = (double)acc->count,
        .fp_nonfinite = (double)acc->ref.nonfinite,
        .mode_nonfinite = (double)mode->nonfinite,
        .mode_abs_mean = known ? (mode->abs_sum.hi + mode->abs_sum.lo) / (double)acc->count : (double)NAN,
    };
    for (int m = 0; m < METRICS; m++)
        r.value[m] = metric_table[m].value ? metric_table[m].value(measurement) : (double)NAN;
    return r;
}

double record_judged(const struct record *record, enum metric_id metric)
{
    const double v = record->value[metric];
    return metric_table[metric].one_if_equal && isnan(v) && record->value[METRIC_MSE] == 0 ? 1 : v;
}

// ---- grades ----

const char *grade_name(enum grade grade)
{
    static const char *const names[] = {"excellent", "good", "fair", "poor"};
    return names[grade];
}

// NaN is poor.
enum grade record_grade(const struct record *record, enum metric_id metric)
{
    const double v = record_judged(record, metric);
    for (int g = GRADE_EXCELLENT; g < GRADE_POOR; g++) {
        const double limit = metric_table[metric].grades[g];
        if (metric_table[metric].better == BETTER_LARGER ? v > limit : v < limit) return (enum grade)g;
    }
    return GRADE_POOR;
}

enum grade record_worst_grade(const struct record *record)
{
    enum grade worst = GRADE_EXCELLENT;
    for (int i = 1, m; (m = metric_at(LIST_GRADED, i)) >= 0; i++) {
        const enum grade grade = record_grade(record, (enum metric_id)m);
        worst = grade > worst ? grade : worst;
    }
    return worst;
}
