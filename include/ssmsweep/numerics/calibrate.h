// SPDX-License-Identifier: Apache-2.0
// Activation scales from per-sample observations (NUMERICS.md §3).  Observers need one number per sample and
// site, so calibration can be spread over ranks and still give the bits of a sequential run, for every prefix
// of samples.
#ifndef SSMSWEEP_NUMERICS_CALIBRATE_H
#define SSMSWEEP_NUMERICS_CALIBRATE_H

// The order in which scales are stored.
enum scale_site {
    SITE_IN_PROJ_INPUT,  // had(x̂)                     minmax
    SITE_IN_PROJ_OUTPUT, // xz                          minmax
    SITE_X_PROJ_INPUT,   // c                           percentile
    SITE_X_PROJ_OUTPUT,  // dbl                         minmax
    SITE_DT_PROJ_OUTPUT, // dt before its bias          minmax
    SITE_OUT_PROJ_INPUT, // had(y)                      minmax
    SITE_SSM_STATE,      // state after the last token  percentile
    SITE_COUNT
};

struct w8a8_scales;

const char *site_name(enum scale_site site); // "in_proj:input", ..., as in NUMERICS.md

// observed: [samples][n_layer][SITE_COUNT], one number per sample and site as forward_observe() gives them
// (max |v|, or the alpha-quantile of |v|).  scales: [n_layer][SITE_COUNT], from the first `samples` samples
// in order.
void calibrate_scales(const float *observed, int samples, int n_layer, float *scales);

// The same from what a W8A8 checkpoint says of its layers: given[n_layer].
void calibrate_from_checkpoint(const struct w8a8_scales *given, int n_layer, float *scales);

// alpha-quantile of |v[0..count)| with linear interpolation, exact; reorders v (which it takes as scratch).
// count >= 1.  NumPy: sort, pos = alpha*(count-1), float32 interpolation.
float calibrate_quantile(float *v, long count, double alpha);

#endif
