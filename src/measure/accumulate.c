// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/measure/accumulate.h"

#include <stdbool.h>

void accumulator_clear(struct accumulator *total)
{
    *total = (struct accumulator){0};
    total->ref.min = total->mode.min = INFINITY;
    total->ref.max = total->mode.max = -INFINITY;
    total->diff_min = INFINITY;
    total->diff_max = -INFINITY;
}

// Mean of part minus mean of total, times the product of both counts.
static double mean_step(struct wide total, double total_count, struct wide part, double part_count)
{
    return wide_subtract(wide_multiply(part, total_count), wide_multiply(total, part_count)).hi;
}

static void side_merge(struct side *total, const struct side *part)
{
    total->sum = wide_add(total->sum, part->sum);
    total->abs_sum = wide_add(total->abs_sum, part->abs_sum);
    total->squares = wide_add(total->squares, part->squares);
    total->min = part->min < total->min ? part->min : total->min;
    total->max = part->max > total->max ? part->max : total->max;
    total->nonfinite += part->nonfinite;
}

// What the squares of two parts lack because each was taken around its own mean (Chan, Golub, LeVeque 1979).
static void add_between(struct accumulator *total, const struct accumulator *part)
{
    const double n = (double)total->count, m = (double)part->count;
    const double both = n * m, weight = both / (n + m);
    const double a = mean_step(total->ref.sum, n, part->ref.sum, m) / both;
    const double b = mean_step(total->mode.sum, n, part->mode.sum, m) / both;
    const double d = mean_step(wide_subtract(total->mode.sum, total->ref.sum), n,
                               wide_subtract(part->mode.sum, part->ref.sum), m) /
                     both;
    total->ref.squares = wide_add_double(total->ref.squares, a * a * weight);
    total->mode.squares = wide_add_double(total->mode.squares, b * b * weight);
    total->products = wide_add_double(total->products, a * b * weight);
    total->diff_squares = wide_add_double(total->diff_squares, d * d * weight);
}

void accumulator_merge(struct accumulator *total, const struct accumulator *part)
{
    if (part->count == 0) return;
    if (total->count == 0) {
        *total = *part;
        return;
    }
    add_between(total, part);
    side_merge(&total->ref, &part->ref);
    side_merge(&total->mode, &part->mode);
    total->products = wide_add(total->products, part->products);
    total->abs_diff = wide_add(total->abs_diff, part->abs_diff);
    total->diff_squares = wide_add(total->diff_squares, part->diff_squares);
    total->diff_min = part->diff_min < total->diff_min ? part->diff_min : total->diff_min;
    total->diff_max = part->diff_max > total->diff_max ? part->diff_max : total->diff_max;
    total->count += part->count;
}

struct measurement measurement_of_sums(const struct accumulator *sums)
{
    const double p = sums->diff_min == sums->diff_max ? fabs(sums->diff_min) : (double)NAN;
    return (struct measurement){
        .moments = *sums, .abs_diff_percentiles = {p, p, p, p}, .max_ulp = NAN, .isolated_mse = NAN};
}

// ---- sums of samples side by side ----

// What all samples share: centres (any constant near the mean will do) and which sides are constant.
struct pooled {
    double ref_mean, mode_mean, diff_mean;
    bool ref_constant, mode_constant, diff_constant;
};

static double value(struct wide sum)
{
    return sum.hi + sum.lo;
}

static struct wide diff_sum(const struct accumulator *a)
{
    return (struct wide){a->mode.sum.hi - a->ref.sum.hi, a->mode.sum.lo - a->ref.sum.lo};
}

static bool usable(const struct accumulator *a)
{
    return a->count > 0 && !a->ref.nonfinite && !a->mode.nonfinite;
}

static struct pooled pool(const struct accumulator *samples, int count)
{
    struct accumulator all;
    accumulator_clear(&all);
    for (int i = 0; i < count; i++)
        if (usable(&samples[i])) accumulator_merge(&all, &samples[i]);
    double n = (double)all.count;
    if (all.count == 0) return (struct pooled){0};
    return (struct pooled){value(all.ref.sum) / n,       value(all.mode.sum) / n,
                           value(diff_sum(&all)) / n,    all.ref.min == all.ref.max,
                           all.mode.min == all.mode.max, all.diff_min == all.diff_max};
}

// Sum and squares around `centre`, and squares around 0, of n numbers with this sum and with `squares` around
// their own mean.  fma: the difference is rounded once.
struct around {
    double sum, squares, raw;
};

static struct around around(struct wide sum, double squares, double n, double centre, bool constant)
{
    double shift = fma(-n, centre, sum.hi) + sum.lo, mean = value(sum) / n;
    return constant ? (struct around){0, 0, n * mean * mean}
                    : (struct around){shift, squares + shift * (shift / n), squares + n * mean * mean};
}

static void put(double *table, int count, int sample, enum moment_column column, double v)
{
    table[(int)column * (long)count + sample] = v;
}

static void fill_sample(const struct accumulator *a, const struct pooled *p, int count, int i, double *table)
{
    double n = (double)a->count;
    struct around ref = around(a->ref.sum, value(a->ref.squares), n, p->ref_mean, p->ref_constant);
    struct around mode = around(a->mode.sum, value(a->mode.squares), n, p->mode_mean, p->mode_constant);
    double squares = a->diff_min == a->diff_max ? 0 : value(a->diff_squares);
    struct around diff = around(diff_sum(a), squares, n, p->diff_mean, p->diff_constant);
    put(table, count, i, MOMENT_ABS_DIFF, value(a->abs_diff));
    put(table, count, i, MOMENT_DIFF_SQUARES, diff.raw);
    put(table, count, i, MOMENT_REF_ABS, value(a->ref.abs_sum));
    put(table, count, i, MOMENT_REF_SQUARES, ref.raw);
    put(table, count, i, MOMENT_MODE_SQUARES, mode.raw);
    put(table, count, i, MOMENT_REF_SUM, ref.sum);
    put(table, count, i, MOMENT_MODE_SUM, mode.sum);
    put(table, count, i, MOMENT_DIFF_SUM, diff.sum);
    put(table, count, i, MOMENT_REF_CENTRED, ref.squares);
    put(table, count, i, MOMENT_MODE_CENTRED, mode.squares);
    put(table, count, i, MOMENT_DIFF_CENTRED, diff.squares);
}

void moments_fill(const struct accumulator *samples, int count, double *table)
{
    struct pooled p = pool(samples, count);
    for (int i = 0; i < count; i++) {
        const struct accumulator *a = &samples[i];
        put(table, count, i, MOMENT_COUNT, (double)a->count);
        for (int c = MOMENT_COUNT + 1; c < MOMENT_COLUMNS; c++)
            put(table, count, i, (enum moment_column)c, a->count == 0 ? 0 : (double)NAN);
        if (usable(a)) fill_sample(a, &p, count, i, table);
    }
}

void isolated_fill(const struct accumulator *samples, int count, double *table)
{
    for (int i = 0; i < count; i++) {
        const struct accumulator *a = &samples[i];
        const double n = (double)a->count, squares = a->diff_min == a->diff_max ? 0 : value(a->diff_squares);
        const double raw = around(diff_sum(a), squares, n, 0, false).raw;
        put(table, count, i, MOMENT_ISOLATED_SQUARES, a->count == 0 ? 0 : usable(a) ? raw : (double)NAN);
    }
}
