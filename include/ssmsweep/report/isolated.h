// SPDX-License-Identifier: Apache-2.0
// Which layers make an error, and which carry it on: of each layer the error at its output that has added up,
// its own when it is fed with the reference's stream (--isolated), and their quotient.
#ifndef SSMSWEEP_REPORT_ISOLATED_H
#define SSMSWEEP_REPORT_ISOLATED_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/store/store.h"

// At the output of a layer, over all samples that count.  NaN: undefined.
struct isolated_layer {
    double mse, isolated_mse;
    double amplification; // mse / isolated_mse
};

// Local.  Does the file have the errors of layers by themselves, against this reference?
bool isolated_known(const struct result *result, const char *reference);

// Local.  *mse: of a layer by itself, over those samples that count.  rows[result_samples()] get the sums of
// all samples.
enum status isolated_mse(double *mse, struct result *result, int run, int layer, int component,
                         const bool *uses, struct accumulator *rows, struct error *err);

// Local.  layers[result_model_layers()]: of a run (no re-run) against the reference of the file.
// uses[result_samples()]: which samples count; they are done in the run and in its reference.  STATUS_INPUT:
// the file was made without --isolated.
enum status isolated_layers(struct isolated_layer *layers, struct result *result, int run, const bool *uses,
                            struct error *err);

#endif
