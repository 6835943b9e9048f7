// SPDX-License-Identifier: Apache-2.0
// Every metric that gates, baselines and reports know by name: the keys of a record, and what follows from
// them.
#ifndef SSMSWEEP_MEASURE_METRIC_H
#define SSMSWEEP_MEASURE_METRIC_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/measure/record.h"

// Follow the RECORD_KEYS: sqnr_db (power of the reference over that of the difference), cosine_similarity,
// psnr_db (range of the reference over rmse), max_ulp (of float32, float modes only; else NaN).
enum { METRIC_SQNR_DB = RECORD_KEYS, METRIC_COSINE, METRIC_PSNR_DB, METRIC_MAX_ULP, METRICS };

const char *metric_name(int metric);
int metric_find(const char *name, size_t length); // -1: no such metric
// NaN where undefined; the ratios in dB are infinite where nothing differs.
double metric_value(const struct record *record, int metric);

// Can it be told from stored outputs alone?  The others follow from sums too.
bool metric_needs_outputs(int metric);

// The most representable float32 between a pair; 0 for none.  No NaN, no Inf.
double metric_ulp_distance(const float *ref, const float *mode, size_t count);

#endif
