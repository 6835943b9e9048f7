// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/numerics/accumulate.h"

#include <math.h>

// A block stays in the L1 cache for its second pass; lanes are what the compiler turns into vectors.
enum { LANES = 8, BLOCK = 2048 };

static inline struct wide two_sum(double a, double b)
{
    double s = a + b, t = s - a;
    return (struct wide){s, (a - (s - t)) + (b - t)};
}

// Needs |hi| >= |lo|.
static struct wide normalize(double hi, double lo)
{
    double s = hi + lo;
    return (struct wide){s, lo - (s - hi)};
}

static struct wide wide_add(struct wide a, struct wide b)
{
    struct wide s = two_sum(a.hi, b.hi), t = two_sum(a.lo, b.lo);
    s = normalize(s.hi, s.lo + t.hi);
    return normalize(s.hi, s.lo + t.lo);
}

static struct wide wide_add_double(struct wide a, double b)
{
    struct wide s = two_sum(a.hi, b);
    return normalize(s.hi, s.lo + a.lo);
}

static struct wide wide_subtract(struct wide a, struct wide b)
{
    return wide_add(a, (struct wide){-b.hi, -b.lo});
}

static struct wide wide_divide(struct wide a, double b)
{
    double q = a.hi / b;
    double rest = fma(-q, b, a.hi) + a.lo; // fma: exact, q b is close to a.hi
    return normalize(q, rest / b);
}

static struct wide sum_lanes(const double hi[LANES], const double lo[LANES])
{
    struct wide sum = {0, 0};
    for (int j = 0; j < LANES; j++)
        sum = wide_add(sum, two_sum(hi[j], lo ? lo[j] : 0));
    return sum;
}

void accumulator_clear(struct accumulator *total)
{
    *total = (struct accumulator){0};
    total->ref.min = total->mode.min = INFINITY;
    total->ref.max = total->mode.max = -INFINITY;
    total->diff_min = INFINITY;
    total->diff_max = -INFINITY;
}

// ---- one block: v[0 .. n), element i in lane i % LANES ----

struct side_lanes {
    double sum[LANES], error[LANES], abs_sum[LANES];
    float min[LANES], max[LANES];
};

static inline void side_step(struct side_lanes *l, const float *v, int width)
{
    for (int j = 0; j < width; j++) {
        double x = (double)v[j];
        struct wide s = two_sum(l->sum[j], x);
        l->sum[j] = s.hi;
        l->error[j] += s.lo;
        l->abs_sum[j] += fabs(x);
        l->min[j] = v[j] < l->min[j] ? v[j] : l->min[j];
        l->max[j] = v[j] > l->max[j] ? v[j] : l->max[j];
    }
}

static uint64_t count_nonfinite(const float *v, size_t n)
{
    uint64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += isfinite(v[i]) ? 0 : 1;
    return count;
}

// Sums and extremes; the squares follow when the mean is known.
static void side_block(struct side *side, const float *v, size_t n)
{
    struct side_lanes l = {0};
    for (int j = 0; j < LANES; j++) {
        l.min[j] = INFINITY;
        l.max[j] = -INFINITY;
    }
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        side_step(&l, v + i, LANES);
    side_step(&l, v + i, (int)(n - i));
    side->sum = sum_lanes(l.sum, l.error);
    side->abs_sum = sum_lanes(l.abs_sum, NULL);
    for (int j = 0; j < LANES; j++) {
        side->min = l.min[j] < side->min ? l.min[j] : side->min;
        side->max = l.max[j] > side->max ? l.max[j] : side->max;
    }
    // A sum of finite floats cannot overflow a double.
    side->nonfinite = isfinite(side->abs_sum.hi) ? 0 : count_nonfinite(v, n);
}

struct diff_lanes {
    double abs_sum[LANES], min[LANES], max[LANES];
};

static inline void diff_step(struct diff_lanes *l, const float *a, const float *b, int width)
{
    for (int j = 0; j < width; j++) {
        double d = (double)b[j] - (double)a[j];
        l->abs_sum[j] += fabs(d);
        l->min[j] = d < l->min[j] ? d : l->min[j];
        l->max[j] = d > l->max[j] ? d : l->max[j];
    }
}

static void diff_block(struct accumulator *part, const float *a, const float *b, size_t n)
{
    struct diff_lanes l = {0};
    for (int j = 0; j < LANES; j++) {
        l.min[j] = INFINITY;
        l.max[j] = -INFINITY;
    }
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        diff_step(&l, a + i, b + i, LANES);
    diff_step(&l, a + i, b + i, (int)(n - i));
    part->abs_diff = sum_lanes(l.abs_sum, NULL);
    for (int j = 0; j < LANES; j++) {
        part->diff_min = l.min[j] < part->diff_min ? l.min[j] : part->diff_min;
        part->diff_max = l.max[j] > part->diff_max ? l.max[j] : part->diff_max;
    }
}

struct centre {
    double a, b, d;
};

struct square_lanes {
    double aa[LANES], bb[LANES], ab[LANES], dd[LANES];
};

static inline void square_step(struct square_lanes *l, const float *a, const float *b, int width,
                               const struct centre *c)
{
    for (int j = 0; j < width; j++) {
        double x = (double)a[j] - c->a, y = (double)b[j] - c->b;
        double d = ((double)b[j] - (double)a[j]) - c->d;
        l->aa[j] += x * x;
        l->bb[j] += y * y;
        l->ab[j] += x * y;
        l->dd[j] += d * d;
    }
}

static void square_block(struct accumulator *part, const float *a, const float *b, size_t n)
{
    const struct centre c = {wide_divide(part->ref.sum, (double)n).hi,
                             wide_divide(part->mode.sum, (double)n).hi,
                             wide_divide(wide_subtract(part->mode.sum, part->ref.sum), (double)n).hi};
    struct square_lanes l = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        square_step(&l, a + i, b + i, LANES, &c);
    square_step(&l, a + i, b + i, (int)(n - i), &c);
    part->ref.squares = sum_lanes(l.aa, NULL);
    part->mode.squares = sum_lanes(l.bb, NULL);
    part->products = sum_lanes(l.ab, NULL);
    part->diff_squares = sum_lanes(l.dd, NULL);
}

// ---- merging ----

// Mean of part minus mean of total.
static double mean_step(struct wide total, uint64_t total_count, struct wide part, uint64_t part_count)
{
    return wide_subtract(wide_divide(part, (double)part_count), wide_divide(total, (double)total_count)).hi;
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
    double n = (double)total->count, m = (double)part->count, weight = n * (m / (n + m));
    double a = mean_step(total->ref.sum, total->count, part->ref.sum, part->count);
    double b = mean_step(total->mode.sum, total->count, part->mode.sum, part->count);
    double d = mean_step(wide_subtract(total->mode.sum, total->ref.sum), total->count,
                         wide_subtract(part->mode.sum, part->ref.sum), part->count);
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
    struct accumulator sample;
    accumulator_clear(&sample);
    for (size_t i = 0; i < count; i += BLOCK) {
        size_t n = count - i < BLOCK ? count - i : BLOCK;
        struct accumulator part;
        accumulator_clear(&part);
        part.count = n;
        side_block(&part.ref, ref + i, n);
        side_block(&part.mode, mode + i, n);
        diff_block(&part, ref + i, mode + i, n);
        square_block(&part, ref + i, mode + i, n);
        accumulator_merge(&sample, &part);
    }
    accumulator_merge(total, &sample);
}
