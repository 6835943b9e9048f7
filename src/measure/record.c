// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/measure/record.h"

#include <math.h>
#include <string.h>

struct measurement measurement_of_sums(const struct accumulator *sums)
{
    const double p = sums->diff_min == sums->diff_max ? fabs(sums->diff_min) : (double)NAN;
    return (struct measurement){.moments = *sums, .abs_diff_percentiles = {p, p, p, p}, .max_ulp = NAN};
}

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

// Numbers the float32: neighbours differ by 1, both zeros are 0.
static int64_t float_place(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    int64_t magnitude = (int64_t)(bits & 0x7fffffffu);
    return bits >> 31 ? -magnitude : magnitude;
}

double record_ulp_distance(const float *ref, const float *mode, size_t count)
{
    int64_t most = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t distance = float_place(mode[i]) - float_place(ref[i]);
        if (distance < 0) distance = -distance;
        if (distance > most) most = distance;
    }
    return (double)most;
}
