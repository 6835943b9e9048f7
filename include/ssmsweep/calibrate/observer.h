// SPDX-License-Identifier: Apache-2.0
// Where scales of activations come from: the sites of a layer, and what an observer makes of what it sees
// there (docs/calibration.md).
#ifndef SSMSWEEP_CALIBRATE_OBSERVER_H
#define SSMSWEEP_CALIBRATE_OBSERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/calibrate/histogram.h"

// The order in which scales are stored; beside each the observer that the reference has there.
enum scale_site {
    SITE_IN_PROJ_INPUT,  // had(x̂)                     minmax
    SITE_IN_PROJ_OUTPUT, // xz                          minmax
    SITE_X_PROJ_INPUT,   // c                           ema-percentile
    SITE_X_PROJ_OUTPUT,  // dbl                         minmax
    SITE_DT_PROJ_OUTPUT, // dt before its bias          minmax
    SITE_OUT_PROJ_INPUT, // had(y)                      minmax
    SITE_SSM_STATE,      // state after the last token  ema-percentile
    SITE_COUNT
};

const char *site_name(enum scale_site site); // "in_proj:input", ..., as in docs/numerics.md

enum observer {
    OBSERVER_MINMAX,         // maximum of |v|
    OBSERVER_PERCENTILE,     // mean over the samples of the alpha-quantile of |v|
    OBSERVER_EMA_PERCENTILE, // exponential moving average of that quantile
    OBSERVER_MSE,            // least mean square of what quantization changes
    OBSERVER_ENTROPY,        // least divergence of the quantized distribution from that of |v|
    OBSERVER_COUNT
};

struct observers {
    enum observer of_site[SITE_COUNT];
    double percentile_alpha;
};

const char *observer_name(enum observer observer);

// text: NULL, or a comma list of KIND (every site) and SITE=KIND or GROUP=KIND, of which the later ones win;
// sites that are not named keep what the reference has.  percentile_alpha is left alone.  STATUS_USAGE: an
// unknown site or kind.
enum status observers_parse(struct observers *observers, const char *text, struct error *err);

bool observer_takes_quantile(enum observer observer);  // else the maximum
bool observer_takes_histogram(enum observer observer); // besides the maximum
bool observers_take_histogram(const struct observers *observers);

// The |v| that becomes code 127, by a histogram of |v| and its maximum.
double threshold_mse(const uint64_t bins[HISTOGRAM_BINS], double max);
double threshold_entropy(const uint64_t bins[HISTOGRAM_BINS], double max);

#endif
