// SPDX-License-Identifier: Apache-2.0
#include "resample.h"

#include <string.h>

#include "ssmsweep/base/random.h"
#include "ssmsweep/statistics/bootstrap.h"

static void draw(uint64_t stream, int replicate, int samples, double *weights, int stride)
{
    uint64_t first = (uint64_t)replicate << 32;
    for (int i = 0; i < samples; i++)
        weights[(long)i * stride] = 0;
    for (int i = 0; i < samples; i++)
        weights[(long)random_below(stream, first + (uint64_t)i, (uint64_t)samples) * stride] += 1;
}

void bootstrap_weights(uint64_t seed, int replicate, int samples, double *weights, int stride)
{
    draw(random_stream(seed, "bootstrap"), replicate, samples, weights, stride);
}

void resample_weights(uint64_t seed, int first, int samples, double *weights)
{
    uint64_t stream = random_stream(seed, "bootstrap");
    for (int lane = 0; lane < LANES; lane++)
        draw(stream, first + lane, samples, weights + lane, LANES);
}

static void weighted_sum(const double *weights, const double *column, int samples, double *sum)
{
    double total[LANES] = {0};
    for (int i = 0; i < samples; i++)
        for (int lane = 0; lane < LANES; lane++)
            total[lane] += weights[(long)i * LANES + lane] * column[i];
    memcpy(sum, total, sizeof total);
}

// influence += or = slope * column
static void add_influence(double *influence, const double *slope, const double *column, int samples,
                          int first)
{
    if (first)
        for (int i = 0; i < samples; i++)
            for (int lane = 0; lane < LANES; lane++)
                influence[(long)i * LANES + lane] = slope[lane] * column[i];
    else
        for (int i = 0; i < samples; i++)
            for (int lane = 0; lane < LANES; lane++)
                influence[(long)i * LANES + lane] += slope[lane] * column[i];
}

static void weighted_squares(const double *weights, const double *influence, int samples, double *sum)
{
    double total[LANES] = {0};
    for (int i = 0; i < samples; i++)
        for (int lane = 0; lane < LANES; lane++) {
            double u = influence[(long)i * LANES + lane];
            total[lane] += weights[(long)i * LANES + lane] * (u * u);
        }
    memcpy(sum, total, sizeof total);
}

void resample_run(const struct metric *metric, const double *table, int samples, const double *weights,
                  double *influence, struct resampled *out)
{
    double sums[METRIC_MAX_COLUMNS][LANES], slopes[METRIC_MAX_COLUMNS][LANES];
    for (int c = 0; c < metric->columns; c++)
        weighted_sum(weights, table + (long)metric->column[c] * samples, samples, sums[c]);
    for (int lane = 0; lane < LANES; lane++) {
        double sum[METRIC_MAX_COLUMNS] = {0}, slope[METRIC_MAX_COLUMNS] = {0};
        for (int c = 0; c < metric->columns; c++)
            sum[c] = sums[c][lane];
        out->phi[lane] = metric->phi(sum, slope);
        for (int c = 0; c < metric->columns; c++)
            slopes[c][lane] = slope[c];
    }
    for (int c = 0; c < metric->columns; c++)
        add_influence(influence, slopes[c], table + (long)metric->column[c] * samples, samples, c == 0);
    weighted_squares(weights, influence, samples, out->variance);
}

void resample_pair(const double *influence_a, const double *influence_b, int samples, const double *weights,
                   double *variance)
{
    double total[LANES] = {0};
    for (int i = 0; i < samples; i++)
        for (int lane = 0; lane < LANES; lane++) {
            double u = influence_a[(long)i * LANES + lane] - influence_b[(long)i * LANES + lane];
            total[lane] += weights[(long)i * LANES + lane] * (u * u);
        }
    memcpy(variance, total, sizeof total);
}
