// SPDX-License-Identifier: Apache-2.0
// The comparison of every sample by itself, the worst first.
#ifndef SSMSWEEP_REPORT_PER_SAMPLE_H
#define SSMSWEEP_REPORT_PER_SAMPLE_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/report/compare.h"

// Local: for one rank.  Writes DIRECTORY/per_sample.json and DIRECTORY/per_sample.csv, see samples.h for
// where it comes from: per (mode, layer, component) the samples by falling mse.  Runs that are not complete
// are left out.
enum status per_sample_write(const struct comparison *comparison, struct result *result,
                             const char *directory, struct error *err);

#endif
