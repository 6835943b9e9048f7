// SPDX-License-Identifier: Apache-2.0
// Activation scales from what samples showed (docs/numerics.md, section 3).  Of each sample and site one
// number is kept, and where an observer asks for it a histogram: so calibration can be spread over ranks and
// still give the bits of a sequential run, for every prefix of every order of the samples.
#ifndef SSMSWEEP_CALIBRATE_CALIBRATE_H
#define SSMSWEEP_CALIBRATE_CALIBRATE_H

#include "ssmsweep/calibrate/observer.h"

struct observed; // compute/steps.h, as the next
struct look_found;

struct batch; // compute/backend.h

// Where a pass puts what it sees of a sample.  `histogram` is added to.
struct observation {
    const struct observers *observers;
    // [n_layer][n_sites]: max |v|, or its alpha-quantile, as the observer of the site; where weights have
    // groups, behind them max |v| of each group, as arch/groups.h has the scales of a layer.  NULL: nobody
    // asks.
    float *numbers;
    float *quantiles;     // [n_layer][n_sites], beside maxima in `numbers`: the quantiles; NULL: nobody asks
    float *channel_means; // [n_layer][d_inner] what groups are formed by; NULL: nobody asks
    uint32_t *histogram;  // [n_layer][n_sites][HISTOGRAM_BINS]; NULL where no observer takes one
    // For samples that go together (forward_divide()) numbers, quantiles and histogram are those of each, one
    // behind the other.  A number that is not finite is not to be trusted then: the processor may have
    // another one.
    int samples;              // 0: one, by itself
    long row;                 // numbers of a sample
    const int *lengths;       // [samples]
    struct look_found *found; // [samples] room
    // At each site before anything is noted, with the batch that has the values; NULL: nobody asks.
    void (*see)(void *context, struct batch *batch, int layer, int site, const struct observed *observed);
    void *context;
};

// The samples behind one set of scales.
struct calibration_set {
    const float *observed;     // [all samples][n_layer][n_sites]: their numbers, and of_groups behind them
    long of_groups;            // numbers of a sample that are of groups
    const int *order;          // the samples of the set in their order; NULL: 0, 1, ...
    int samples;               // in the set
    const uint64_t *histogram; // [n_layer][n_sites][HISTOGRAM_BINS] of the set; NULL as above
};

// One scale, that of a site of a layer.
float calibrate_scale(const struct observers *observers, const struct calibration_set *set, int n_layer,
                      int layer, int site);

// The scale of a group; `number` counts those of a sample, [n_layer][groups_scales().count].
float calibrate_group_scale(const struct calibration_set *set, int n_layer, int n_sites, long number);

// scales: [n_layer][n_sites], then those of groups.
void calibrate_scales(const struct observers *observers, const struct calibration_set *set, int n_layer,
                      float *scales);

// Where the quantile of `count` numbers lies: between those of two ranks in ascending order.
struct quantile {
    long low, high; // neighbours, or the same
    float weight;   // of the second
};
struct quantile quantile_place(long count, double alpha);
float quantile_between(const struct quantile *quantile, float low, float high); // the numbers there

// alpha-quantile of |v[0..count)| with linear interpolation, exact; reorders v (which it takes as scratch).
// count >= 1.  NumPy: sort, pos = alpha*(count-1), float32 interpolation.
float calibrate_quantile(float *v, long count, double alpha);

#endif
