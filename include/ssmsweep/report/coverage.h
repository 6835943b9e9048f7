// SPDX-License-Identifier: Apache-2.0
// What a comparison of an unfinished sweep covers: which samples of which runs are there.
#ifndef SSMSWEEP_REPORT_COVERAGE_H
#define SSMSWEEP_REPORT_COVERAGE_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/store/store.h"

bool coverage_is_complete(const struct result *result); // every run, noisy re-runs too

// Into an open object, of one run and its reference: "complete"; where it is false also "samples_compared"
// and, of the run, "missing_samples" and "failed_samples" as ranges, "4" or "4-7".
void coverage_put_run(struct json_writer *writer, const struct result *result, int reference_run, int run);

// Into an open object: "complete"; where it is false also "incomplete_runs", an array with one object per
// run ("noise": of a noisy re-run, its number).
void coverage_put_all(struct json_writer *writer, const struct result *result);

// One line per incomplete run; nothing where all are complete.
void coverage_print(FILE *out, const struct result *result);

#endif
