// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/measure/record.h"

#include <math.h>

#define KEY(name)                                                                                            \
    {                                                                                                        \
#name, offsetof(struct record, name)                                                                 \
    }
const struct record_key record_keys[RECORD_KEYS] = {
    KEY(fp_mean),       KEY(fp_std),       KEY(fp_min),      KEY(fp_max),       KEY(mode_mean),
    KEY(mode_std),      KEY(mode_min),     KEY(mode_max),    KEY(diff_mean),    KEY(diff_std),
    KEY(abs_diff_mean), KEY(abs_diff_max), KEY(mse),         KEY(rmse),         KEY(mae),
    KEY(relative_mse),  KEY(relative_mae), KEY(correlation), KEY(abs_diff_p50), KEY(abs_diff_p90),
    KEY(abs_diff_p95),  KEY(abs_diff_p99),
};
#undef KEY

double record_value(const struct record *record, int key)
{
    return *(const double *)((const char *)record + record_keys[key].offset);
}

static double value(struct wide sum)
{
    return sum.hi + sum.lo;
}

struct moments {
    double mean, std, min, max, abs_mean, mean_square;
};

static struct moments side_moments(const struct side *side, double n)
{
    if (n == 0 || side->nonfinite) return (struct moments){NAN, NAN, NAN, NAN, NAN, NAN};
    double mean = value(side->sum) / n, variance = side->min == side->max ? 0 : value(side->squares) / n;
    return (struct moments){mean,
                            sqrt(variance),
                            (double)side->min,
                            (double)side->max,
                            value(side->abs_sum) / n,
                            variance + mean * mean};
}

static double correlation_of(const struct accumulator *acc)
{
    if (acc->ref.min == acc->ref.max || acc->mode.min == acc->mode.max) return NAN;
    double scale = sqrt(value(acc->ref.squares) * value(acc->mode.squares));
    if (!(scale > 0)) return NAN;
    return fmin(1, fmax(-1, value(acc->products) / scale)); // rounding may pass 1 by a bit
}

// docs/numerics.md, section 6, for a count above 0 and finite sides.
static void set_shared(struct record *r, const struct accumulator *acc, double ref_mean_square,
                       const double *percentiles)
{
    double n = r->count;
    r->diff_mean = ((acc->mode.sum.hi - acc->ref.sum.hi) + (acc->mode.sum.lo - acc->ref.sum.lo)) / n;
    double variance = acc->diff_min == acc->diff_max ? 0 : value(acc->diff_squares) / n;
    r->diff_std = sqrt(variance);
    r->mae = r->abs_diff_mean = value(acc->abs_diff) / n;
    r->abs_diff_max = fmax(fabs(acc->diff_min), fabs(acc->diff_max));
    r->mse = variance + r->diff_mean * r->diff_mean;
    r->rmse = sqrt(r->mse);
    r->relative_mse = r->mse / (ref_mean_square + 1e-8);
    r->relative_mae = r->mae / (r->fp_abs_mean + 1e-8);
    r->correlation = correlation_of(acc);
    r->abs_diff_p50 = percentiles[0];
    r->abs_diff_p90 = percentiles[1];
    r->abs_diff_p95 = percentiles[2];
    r->abs_diff_p99 = percentiles[3];
}

static void clear_shared(struct record *r)
{
    r->diff_mean = r->diff_std = r->abs_diff_mean = r->abs_diff_max = NAN;
    r->mse = r->rmse = r->mae = r->relative_mse = r->relative_mae = r->correlation = NAN;
    r->abs_diff_p50 = r->abs_diff_p90 = r->abs_diff_p95 = r->abs_diff_p99 = NAN;
}

struct record record_make(const struct accumulator *acc, const double abs_diff_percentiles[PERCENTILES])
{
    double n = (double)acc->count;
    struct moments a = side_moments(&acc->ref, n), b = side_moments(&acc->mode, n);
    struct record r = {
        .count = n,
        .fp_nonfinite = (double)acc->ref.nonfinite,
        .mode_nonfinite = (double)acc->mode.nonfinite,
        .fp_mean = a.mean,
        .fp_std = a.std,
        .fp_min = a.min,
        .fp_max = a.max,
        .mode_mean = b.mean,
        .mode_std = b.std,
        .mode_min = b.min,
        .mode_max = b.max,
        .fp_abs_mean = a.abs_mean,
        .mode_abs_mean = b.abs_mean,
        .max_ulp = NAN,
    };
    if (acc->count == 0 || acc->ref.nonfinite || acc->mode.nonfinite)
        clear_shared(&r);
    else
        set_shared(&r, acc, a.mean_square, abs_diff_percentiles);
    return r;
}

// ---- grades ----

const char *grade_name(enum grade grade)
{
    static const char *const names[] = {"excellent", "good", "fair", "poor"};
    return names[grade];
}

// Limits of excellent, good, fair; NaN is poor.
static enum grade grade_below(double v, double excellent, double good, double fair)
{
    return v < excellent ? GRADE_EXCELLENT : v < good ? GRADE_GOOD : v < fair ? GRADE_FAIR : GRADE_POOR;
}

enum grade record_grade_mse(const struct record *record)
{
    return grade_below(record->mse, 1e-4, 1e-3, 1e-2);
}

enum grade record_grade_correlation(const struct record *record)
{
    if (isnan(record->correlation)) return record->mse == 0 ? GRADE_EXCELLENT : GRADE_POOR;
    return grade_below(-record->correlation, -0.9999, -0.999, -0.99);
}

enum grade record_grade_relative_mae(const struct record *record)
{
    return grade_below(record->relative_mae, 1e-3, 1e-2, 5e-2);
}

enum grade record_worst_grade(const struct record *record)
{
    enum grade worst = record_grade_mse(record), correlation = record_grade_correlation(record),
               relative_mae = record_grade_relative_mae(record);
    if (correlation > worst) worst = correlation;
    return relative_mae > worst ? relative_mae : worst;
}
