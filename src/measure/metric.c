// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/measure/metric.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/random.h"

static const char *const more_names[METRICS - RECORD_KEYS] = {"sqnr_db", "cosine_similarity", "psnr_db",
                                                              "max_ulp"};

const char *metric_name(int metric)
{
    return metric < RECORD_KEYS ? record_keys[metric].name : more_names[metric - RECORD_KEYS];
}

int metric_find(const char *name, size_t length)
{
    for (int m = 0; m < METRICS; m++)
        if (strlen(metric_name(m)) == length && memcmp(metric_name(m), name, length) == 0) return m;
    return -1;
}

bool metric_needs_outputs(int metric)
{
    static const char percentiles[] = "abs_diff_p";
    return metric == METRIC_MAX_ULP || strncmp(metric_name(metric), percentiles, strlen(percentiles)) == 0;
}

static double mean_square(double mean, double std)
{
    return mean * mean + std * std;
}

static double decibel(double power, double noise)
{
    if (isnan(power) || isnan(noise)) return NAN;
    const double ratio = power / noise;
    if (noise == 0 || isinf(ratio)) return (double)INFINITY;
    return ratio > 0 ? 4.3429448190325182765 * random_log(ratio) : -(double)INFINITY; // 10 / ln 10
}

static double cosine(const struct record *r)
{
    double norms = sqrt(mean_square(r->fp_mean, r->fp_std)) * sqrt(mean_square(r->mode_mean, r->mode_std));
    if (!(norms > 0)) return NAN;
    // A constant side has no correlation, and no covariance.
    double covariance = isnan(r->correlation) ? 0 : r->correlation * r->fp_std * r->mode_std;
    return fmin(1, fmax(-1, (covariance + r->fp_mean * r->mode_mean) / norms));
}

double metric_value(const struct record *r, int metric)
{
    double range = r->fp_max - r->fp_min;
    switch (metric) {
    case METRIC_SQNR_DB:
        return decibel(mean_square(r->fp_mean, r->fp_std), r->mse);
    case METRIC_COSINE:
        return cosine(r);
    case METRIC_PSNR_DB:
        return decibel(range * range, r->mse);
    case METRIC_MAX_ULP:
        return r->max_ulp;
    default:
        return record_value(r, metric);
    }
}

// Neighbours differ by 1, both zeros are 0.
static int64_t float_place(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    int64_t magnitude = (int64_t)(bits & 0x7fffffffu);
    return bits >> 31 ? -magnitude : magnitude;
}

double metric_ulp_distance(const float *ref, const float *mode, size_t count)
{
    int64_t most = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t distance = float_place(mode[i]) - float_place(ref[i]);
        if (distance < 0) distance = -distance;
        if (distance > most) most = distance;
    }
    return (double)most;
}
