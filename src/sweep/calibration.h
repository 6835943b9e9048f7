// SPDX-License-Identifier: Apache-2.0
// What samples showed in calibration, on all ranks together, and the scales that are made of it.
#ifndef SSMSWEEP_SWEEP_CALIBRATION_H
#define SSMSWEEP_SWEEP_CALIBRATION_H

#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/plan/plan.h"

// What is known of the activations.
struct observations {
    float *observed;        // [samples][plan_of_sites()]
    unsigned char *present; // [samples]; where 0, the row above is zero
    int samples;
    float *numbers; // [plan_observed()] of the sample at work
    // [n_cells][n_layer][group_scales], the largest of the samples: each is in the first cell of each order
    // that has it.
    float *group_most;
    // [n_cells][n_layer][n_sites][HISTOGRAM_BINS], counted in the same cells.  NULL where no observer takes
    // a histogram.
    uint64_t *histogram;
    int added; // samples that calibration_observe() observed, also when it failed
};

// Local.  For the samples of the calibration, or for none; the longest has max_tokens.  STATUS_USAGE: too
// long for the counters of a histogram.  observations_clear() in any case.
enum status observations_open(struct observations *known, const struct plan *plan, const struct dims *dims,
                              int samples, int max_tokens, struct error *err);
void observations_clear(struct observations *known);

int observations_absent(const struct observations *known); // how many

// Local.  Takes a sample whose numbers are in `numbers`; counts[n_layer][n_sites][HISTOGRAM_BINS], or NULL
// where there is none.
void observations_take(struct observations *known, const struct plan *plan, int sample,
                       const uint32_t *counts);

struct worker;
struct store;
struct progress;
// Collective.  Observes the samples that are not present and stores each; afterwards all are present on every
// rank. `present` must be equal on all ranks; rows are needed on rank 0 alone.
enum status calibration_observe(const struct worker *worker, struct store *store, struct observations *known,
                                struct progress *progress, struct error *err);

// Collective.  Every rank brings samples that the others have not; all get all of them.
void observations_share(struct observations *known, const struct plan *plan, const struct comm *comm);
// Collective.  Rank 0 brings all.
void observations_spread(struct observations *known, const struct plan *plan, const struct comm *comm);

// Collective, once.  scales[n_cells][plan_observed()] (caller frees), the same bits for any number of
// ranks; adds histograms and groups up, cell by cell.
enum status calibration_scales(struct observations *known, const struct plan *plan, const struct comm *comm,
                               float **scales, struct error *err);

#endif
