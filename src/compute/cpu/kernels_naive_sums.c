// SPDX-License-Identifier: Apache-2.0
#include "kernels_naive_sums.h"

#include <math.h>
#include <string.h>

#include "ssmsweep/compute/fold.h"

static double naive_exp_double(double x)
{
    static const double c[] = {0x1.af38b54e1e505p-26,
                               0x1.28918590c4da6p-22,
                               0x1.71de0da7cb8b6p-19,
                               0x1.a019b90cf6663p-16,
                               0x1.a01a01a7c6c86p-13,
                               0x1.6c16c1788bea9p-10,
                               0x1.11111111109acp-7,
                               0x1.5555555553d63p-5,
                               0x1.5555555555556p-3,
                               0x1.0000000000001p-1,
                               1.0,
                               1.0};
    x = x > -700 ? x : -700;
    const double n = fma(x, 0x1.71547652b82fep+0, 0x1.8p+52) - 0x1.8p+52; // nearest integer
    const double r = fma(n, -0x1.a39ef35793c76p-33, fma(n, -0x1.62e42fee00000p-1, x));
    double p = c[0];
    for (int i = 1; i < 12; i++)
        p = fma(p, r, c[i]);
    return ldexp(p, (int)n);
}

void naive_logit_sums(const float *reference, const float *mode, int count, struct logit_sums *sums)
{
    double sum[2][SUM_LANES] = {{0}}, product[SUM_LANES] = {0};
    int top[2] = {0, 0};
    sums->finite = true;
    for (int i = 0; i < count; i++) {
        if (!isfinite(reference[i]) || !isfinite(mode[i])) sums->finite = false;
        if (reference[i] > reference[top[0]]) top[0] = i;
        if (mode[i] > mode[top[1]]) top[1] = i;
    }
    if (!sums->finite) return;
    for (int k = 0; k < 2; k++) {
        sums->top[k] = top[k];
        sums->most[k] = k ? mode[top[k]] : reference[top[k]];
    }
    for (int i = 0; i < count; i++) {
        const double r = (double)reference[i] - (double)sums->most[0];
        const double m = (double)mode[i] - (double)sums->most[1], p = naive_exp_double(r);
        sum[0][i % SUM_LANES] += p;
        sum[1][i % SUM_LANES] += naive_exp_double(m);
        product[i % SUM_LANES] = fma(p, r - m, product[i % SUM_LANES]);
    }
    sums->sum[0] = fold(sum[0]), sums->sum[1] = fold(sum[1]);
    sums->product = fold(product);
}

void naive_pair_ranges(const float *v, int count, struct pair_ranges *ranges)
{
    for (int j = 0; j < KERNEL_LANES; j++)
        ranges->min[j] = INFINITY, ranges->max[j] = -INFINITY;
    for (int i = 0; i < count || i % KERNEL_LANES != 0; i++) {
        const float x = v[i < count ? i : count - 1];
        float *min = &ranges->min[i % KERNEL_LANES], *max = &ranges->max[i % KERNEL_LANES];
        *min = x < *min ? x : *min;
        *max = x > *max ? x : *max;
    }
}

static void anchored_sums(const float *v, int count, double anchor, double *high, double *low)
{
    for (int j = 0; j < SUM_LANES; j++) {
        high[j] = anchor, low[j] = 0;
        for (int i = j; i < count; i += PAIR_STEP) {
            double row[PAIR_ROWS];
            for (int r = 0; r < PAIR_ROWS; r++)
                row[r] = i + r * SUM_LANES < count ? (double)v[i + r * SUM_LANES] : 0.0;
            const double sum = (row[0] + row[1]) + (row[2] + row[3]), before = high[j];
            high[j] = before + sum;
            low[j] += sum - (high[j] - before);
        }
    }
}

void naive_pair_sums(const float *a, const float *b, int count, const struct pair_centre *centre,
                     struct pair_lanes *lanes, uint16_t (*histograms)[PAIR_BINS])
{
    memset(lanes, 0, sizeof *lanes);
    anchored_sums(a, count, centre->anchor[0], lanes->high[0], lanes->low[0]);
    anchored_sums(b, count, centre->anchor[1], lanes->high[1], lanes->low[1]);
    for (int j = 0; j < SUM_LANES; j++)
        lanes->diff_min[j] = INFINITY, lanes->diff_max[j] = -INFINITY;
    for (int i = 0; i < count; i++) {
        const int j = i % SUM_LANES;
        const double u = (double)a[i], v = (double)b[i], d = v - u;
        const double x = u - centre->ref, y = v - centre->mode, z = d - centre->diff;
        lanes->abs[0][j] += fabs(u);
        lanes->abs[1][j] += fabs(v);
        lanes->abs_diff[j] += fabs(d);
        lanes->squares[0][j] = fma(x, x, lanes->squares[0][j]);
        lanes->squares[1][j] = fma(y, y, lanes->squares[1][j]);
        lanes->products[j] = fma(x, y, lanes->products[j]);
        lanes->diff_squares[j] = fma(z, z, lanes->diff_squares[j]);
        lanes->raw_squares[j] = fma(d, d, lanes->raw_squares[j]);
        lanes->diff_min[j] = d < lanes->diff_min[j] ? d : lanes->diff_min[j];
        lanes->diff_max[j] = d > lanes->diff_max[j] ? d : lanes->diff_max[j];
        histograms[i % PAIR_STEP][profile_bin(fabs(d))]++;
    }
}
