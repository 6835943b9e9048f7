// SPDX-License-Identifier: Apache-2.0
// `ssmsweep attribute --depth`: how the error of a mode adds up over the layers, and which layers make it.
//
// One sweep of the mode with --isolated.  Of each layer's output the metric as it is in the model, that of
// the layer by itself (fed with the reference's stream), and their quotient, paired over samples, with Holm's
// correction over the layers.  Amplification begins at the first layer whose error is surely larger than its
// own.
#ifndef SSMSWEEP_REPORT_DEPTH_H
#define SSMSWEEP_REPORT_DEPTH_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/report/reporting.h"

// Collective.  The sweep, then depth.json in the folder of the comparisons and a table; with --dry-run what
// it takes.  The metric is that of --metric if that is one of outputs, else relative_mse.
enum status depth_run(const struct program *with, struct error *err);

#endif
