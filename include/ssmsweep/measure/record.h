// SPDX-License-Identifier: Apache-2.0
// One comparison record: the keys of docs/numerics.md, section 6, and their grades.
#ifndef SSMSWEEP_REPORT_RECORD_H
#define SSMSWEEP_REPORT_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/percentile.h"

// `fp_*` are of the reference, `mode_*` of the compared mode, `diff` is mode - reference.  std is the
// population one. correlation is NaN where it is undefined (a constant side).  Nothing but doubles: ranks
// exchange it as such.
struct record {
    double count; // elements compared
    // NaN or Inf among them; above 0 the metrics of that side and the shared ones are NaN.
    double fp_nonfinite, mode_nonfinite;
    double fp_mean, fp_std, fp_min, fp_max;
    double mode_mean, mode_std, mode_min, mode_max;
    double fp_abs_mean, mode_abs_mean; // for *_stats.json; not among the 22 keys
    double diff_mean, diff_std, abs_diff_mean, abs_diff_max;
    double mse, rmse, mae, relative_mse, relative_mae, correlation;
    double abs_diff_p50, abs_diff_p90, abs_diff_p95, abs_diff_p99;
    double max_ulp; // of float32, set by who measures float modes; NaN elsewhere
};

// The 22 published keys, in the order of docs/numerics.md, section 6: name and offset of the double in struct
// record.
struct record_key {
    const char *name;
    size_t offset;
};
enum { RECORD_KEYS = 22 };
extern const struct record_key record_keys[RECORD_KEYS];
double record_value(const struct record *record, int key); // key: index into record_keys

// The record of what was accumulated; all NaN but the counts where nothing was.
struct record record_make(const struct accumulator *accumulator,
                          const double abs_diff_percentiles[PERCENTILES]);

enum grade { GRADE_EXCELLENT, GRADE_GOOD, GRADE_FAIR, GRADE_POOR };
const char *grade_name(enum grade grade);
enum grade record_grade_mse(const struct record *record);
enum grade record_grade_correlation(const struct record *record); // undefined: GRADE_POOR unless mse is 0
enum grade record_grade_relative_mae(const struct record *record);
enum grade record_worst_grade(const struct record *record);

#endif
