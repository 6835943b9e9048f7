// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/measure/accumulate.h"

#include "ssmsweep/measure/pairs.h"
#include "wide.h"

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

void accumulator_add_sample(struct accumulator *total, const float *ref, const float *mode, size_t count)
{
    pairs_add_sample(total, NULL, ref, mode, count, 1);
}
