// SPDX-License-Identifier: Apache-2.0
// Where scales of activations come from: the sites of a layer, and what an observer makes of what it sees
// there (docs/calibration.md).
#ifndef SSMSWEEP_CALIBRATE_OBSERVER_H
#define SSMSWEEP_CALIBRATE_OBSERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/calibrate/histogram.h"

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
};

const char *observer_name(enum observer observer);

// text: NULL, or a comma list of KIND (every site) and SITE=KIND or GROUP=KIND, of which the later ones win;
// sites that are not named keep what the reference has.  arch NULL: before the model is known; some family
// must have all the sites.  percentile_alpha is left alone.  STATUS_USAGE: an
// unknown site or kind.
enum status observers_parse(struct observers *observers, const struct arch *arch, const char *text,
                            struct error *err);

bool observer_takes_quantile(enum observer observer);  // else the maximum
bool observer_takes_histogram(enum observer observer); // besides the maximum
bool observers_take_histogram(const struct observers *observers);

// The |v| that becomes code 127, by a histogram of |v| and its maximum.
double threshold_mse(const uint64_t bins[HISTOGRAM_BINS], double max);
double threshold_entropy(const uint64_t bins[HISTOGRAM_BINS], double max);

#endif
