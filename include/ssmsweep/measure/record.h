// SPDX-License-Identifier: Apache-2.0
// One comparison record: every metric of a (reference, mode) pair of outputs, computed once, and its grades.
#ifndef SSMSWEEP_MEASURE_RECORD_H
#define SSMSWEEP_MEASURE_RECORD_H

#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/measure/metric.h"

// Nothing but doubles: ranks exchange it as such.
struct record {
    double count; // elements compared
    // NaN or Inf among them; above 0 the metrics of that side and the shared ones are NaN.
    double fp_nonfinite, mode_nonfinite;
    double mode_abs_mean;  // for *_stats.json
    double value[METRICS]; // NaN: undefined, not known, or a metric of predictions
};

struct record record_make(const struct measurement *measurement);
// The value by which gates, baselines and grades judge: 1 for the undefined correlation of equal outputs.
double record_judged(const struct record *record, enum metric_id metric);

enum grade { GRADE_EXCELLENT, GRADE_GOOD, GRADE_FAIR, GRADE_POOR };
const char *grade_name(enum grade grade);
enum grade record_grade(const struct record *record, enum metric_id metric); // one of LIST_GRADED
enum grade record_worst_grade(const struct record *record);

#endif
