// SPDX-License-Identifier: Apache-2.0
// Histogram of |v| with fixed bins: counts of samples add up to the counts of all, in any order.
#ifndef SSMSWEEP_CALIBRATE_OBSERVER_H
#define SSMSWEEP_CALIBRATE_OBSERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/compute/steps.h"

// 16 bins of equal width in every octave of [2^-24, 2^16); in front of them one for all that is smaller, zero
// too, behind them one for all that is larger, infinity too.  NaN is in none.
enum {
    HISTOGRAM_LOWEST = -24,
    HISTOGRAM_HIGHEST = 16,
    HISTOGRAM_PER_OCTAVE = 16,
    HISTOGRAM_BINS = (HISTOGRAM_HIGHEST - HISTOGRAM_LOWEST) * HISTOGRAM_PER_OCTAVE + 2,
    HISTOGRAM_ABOVE = HISTOGRAM_BINS - 1
};

extern const struct bit_bins histogram_bit_bins; // the same, for a backend (compute/steps.h)
void histogram_add(uint32_t bins[HISTOGRAM_BINS], const float *values, long count);
double histogram_low(int bin); // a bin holds [low, low of the next); 0 for the first

// ---- observer ----

// Where scales of activations come from: the sites of a layer, and what an observer makes of what it sees
// there (docs/calibration.md).

enum observer {
    OBSERVER_MINMAX,         // maximum of |v|
    OBSERVER_PERCENTILE,     // mean over the samples of the alpha-quantile of |v|
    OBSERVER_EMA_PERCENTILE, // exponential moving average of that quantile
    OBSERVER_MSE,            // least mean square of what quantization changes
    OBSERVER_ENTROPY,        // least divergence of the quantized distribution from that of |v|
    OBSERVER_COUNT
};

struct observers {
    int n_sites;
    enum observer of_site[ARCH_MOST_SITES];
    double percentile_alpha;
    bool grouped; // sites behind conv1d have scales of groups: they are maxima
};

const char *observer_name(enum observer observer);

// text: NULL, or a comma list of KIND (every site) and SITE=KIND or GROUP=KIND, of which the later ones win;
// sites that are not named keep what the reference has.  arch NULL: before the model is known; some family
// must have all the sites.  percentile_alpha and grouped are left alone.  STATUS_USAGE: an unknown site or
// kind, or another kind than minmax where scales are of groups.
enum status observers_parse(struct observers *observers, const struct arch *arch, const char *text,
                            struct error *err);

bool observer_takes_quantile(enum observer observer);  // else the maximum
bool observer_takes_histogram(enum observer observer); // besides the maximum
bool observers_take_histogram(const struct observers *observers);

// The |v| that becomes code 127, by a histogram of |v| and its maximum.
double threshold_mse(const uint64_t bins[HISTOGRAM_BINS], double max);
double threshold_entropy(const uint64_t bins[HISTOGRAM_BINS], double max);

#endif
