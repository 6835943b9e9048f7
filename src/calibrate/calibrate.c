// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/calibrate/calibrate.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Number i of a set at one site of one layer; `stride` floats lie between samples.
struct numbers {
    const float *first;
    const int *order;
    long stride;
    int count;
};

static float number_at(const struct numbers *numbers, int i)
{
    return numbers->first[(numbers->order ? numbers->order[i] : i) * numbers->stride];
}

static float running_maximum(const struct numbers *numbers)
{
    float value = 0;
    for (int i = 0; i < numbers->count; i++) {
        const float x = number_at(numbers, i), m = x > 1e-5f ? x : 1e-5f;
        value = m > value ? m : value;
    }
    return value;
}

static float moving_average(const struct numbers *numbers)
{
    float value = number_at(numbers, 0);
    for (int i = 1; i < numbers->count; i++) {
        const float step = 0.01f * (number_at(numbers, i) - value);
        value += step;
    }
    return value;
}

static float mean(const struct numbers *numbers)
{
    double sum = 0;
    for (int i = 0; i < numbers->count; i++)
        sum += (double)number_at(numbers, i);
    return (float)(sum / numbers->count);
}

// The threshold becomes code 127.
static float scale_of(float threshold)
{
    const float scale = threshold / 127.0f;
    return scale > 1e-6f ? scale : 1e-6f;
}

float calibrate_scale(const struct observers *observers, const struct calibration_set *set, int n_layer,
                      int layer, int site)
{
    const long sites = observers->n_sites, at = layer * sites + site;
    const struct numbers numbers = {set->observed + at, set->order, n_layer * sites + set->of_groups,
                                    set->samples};
    const uint64_t *bins = set->histogram ? set->histogram + at * HISTOGRAM_BINS : NULL;
    float value = 0;
    switch (observers->of_site[site]) {
    case OBSERVER_PERCENTILE:
        value = mean(&numbers);
        break;
    case OBSERVER_EMA_PERCENTILE:
        value = moving_average(&numbers);
        break;
    case OBSERVER_MSE:
        value = (float)threshold_mse(bins, (double)running_maximum(&numbers));
        break;
    case OBSERVER_ENTROPY:
        value = (float)threshold_entropy(bins, (double)running_maximum(&numbers));
        break;
    default:
        value = running_maximum(&numbers);
    }
    return scale_of(value);
}

float calibrate_group_scale(const struct calibration_set *set, int n_layer, int n_sites, long number)
{
    const long of_sites = (long)n_layer * n_sites;
    const struct numbers numbers = {set->observed + of_sites + number, set->order, of_sites + set->of_groups,
                                    set->samples};
    return scale_of(running_maximum(&numbers));
}

void calibrate_scales(const struct observers *observers, const struct calibration_set *set, int n_layer,
                      float *scales)
{
    for (int l = 0; l < n_layer; l++)
        for (int s = 0; s < observers->n_sites; s++)
            scales[l * observers->n_sites + s] = calibrate_scale(observers, set, n_layer, l, s);
    for (long i = 0; i < set->of_groups; i++)
        scales[n_layer * observers->n_sites + i] = calibrate_group_scale(set, n_layer, observers->n_sites, i);
}

// k-th smallest (0-based) of v; partitions in three, so that equal values cost nothing.
static float select_kth(float *v, long count, long k)
{
    long low = 0, high = count - 1;
    while (low < high) {
        const float pivot = v[low + (high - low) / 2];
        long below = low, at = low, above = high;
        while (at <= above) {
            const float x = v[at];
            if (x < pivot) {
                v[at++] = v[below];
                v[below++] = x;
            } else if (x > pivot) {
                v[at] = v[above];
                v[above--] = x;
            } else {
                at++;
            }
        }
        if (k < below)
            high = below - 1;
        else if (k > above)
            low = above + 1;
        else
            return pivot;
    }
    return v[low];
}

static uint32_t bin_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits & 0x7fffffffu) >> 16;
}

// Keeps of |v| the values in the bins of ranks `low` and `high`; returns how many and lowers *low and *high
// to ranks among them.  The order of magnitudes is the order of their bit patterns.
static long keep_candidates(float *v, long count, long *low, long *high)
{
    enum { BINS = 0x8000 };
    static const long none = -1;
    long histogram[BINS] = {0}, below = 0, low_bin = none, high_bin = none, low_start = 0;
    for (long i = 0; i < count; i++)
        histogram[bin_of(v[i])]++;
    for (long bin = 0; bin < BINS && high_bin == none; below += histogram[bin++]) {
        if (low_bin == none && *low < below + histogram[bin]) low_bin = bin, low_start = below;
        if (*high < below + histogram[bin]) high_bin = bin;
    }
    long kept = 0;
    for (long i = 0; i < count; i++) {
        const long bin = (long)bin_of(v[i]);
        if (bin == low_bin || bin == high_bin) v[kept++] = fabsf(v[i]);
    }
    *low -= low_start;
    *high -= low_start; // between the two bins lies nothing: their ranks are neighbours
    return kept;
}

struct quantile quantile_place(long count, double alpha)
{
    const double position = alpha * (double)(count - 1);
    const long low = (long)floor(position);
    return (struct quantile){low, low + 1 < count ? low + 1 : count - 1, (float)(position - (double)low)};
}

float quantile_between(const struct quantile *quantile, float low, float high)
{
    const float slope = high - low;
    return low + slope * quantile->weight;
}

float calibrate_quantile(float *v, long count, double alpha)
{
    const struct quantile at = quantile_place(count, alpha);
    long low = at.low, high = at.high;
    const long kept = keep_candidates(v, count, &low, &high);
    const float a = select_kth(v, kept, low), b = select_kth(v, kept, high);
    return quantile_between(&at, a, b);
}
