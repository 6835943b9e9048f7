// SPDX-License-Identifier: Apache-2.0
// The catalogue of metrics: the one list that JSON keys, CSV columns, tables, gates, baselines, per-sample
// files, intervals and rankings follow.  A metric is one row of metrics.def and its formulas in metric.c;
// docs/design.md, "Adding a metric", says what else it takes.
//
// measure/ holds what was measured: sums of samples, how they merge, and the metrics that they make.  It
// knows base/ alone: no tensors (compute/ makes the sums), no files (store/ keeps them), no mode and no
// layer. statistics/ takes metrics over samples, report/ all of it.
#ifndef SSMSWEEP_MEASURE_METRIC_H
#define SSMSWEEP_MEASURE_METRIC_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/measure/accumulate.h"

enum metric_id {
#define METRIC(id, ...) METRIC_##id,
#include "ssmsweep/measure/metrics.def"
#undef METRIC
    METRICS
};

// What it is of: a pair of outputs (a component of a layer), or the predictions of the whole model.
enum metric_subject { SUBJECT_OUTPUTS, SUBJECT_PREDICTIONS };

enum better { BETTER_NEITHER, BETTER_SMALLER, BETTER_LARGER };

// Beyond the sums of every sample, which are always there: outputs that were stored (percentiles), and those
// of float modes alone; the errors of layers by themselves.
enum metric_needs { NEEDS_SUMS, NEEDS_OUTPUTS, NEEDS_FLOAT_OUTPUTS, NEEDS_OWN_ERRORS };

// On which scale phi a metric v is nearly normal, where its standard error is taken; and how two of them are
// compared ("change"), which is always phi(a) - phi(b) carried back.
enum scale {
    SCALE_IDENTITY, // phi = v; change: v_a - v_b
    SCALE_LOG,      // phi = log v; change: v_a / v_b
    SCALE_FISHER,   // phi = atanh v; change: atanh v_a - atanh v_b
    SCALE_LOGIT,    // phi = log(v / (1 - v)); change: ratio of the odds
    SCALE_NONE,     // no interval
};

// Listings that hold some of the metrics in an order of their own.
enum metric_list {
    LIST_RANKED,          // modes are ranked, and trends judged, by these; one list for each subject
    LIST_GRADED,          // excellent, good, fair, poor
    LIST_JUDGED,          // against a baseline; the numbers of a layer in a summary
    LIST_AVERAGED,        // over the layers of a run
    LIST_PER_SAMPLE,      // of every sample by itself
    LIST_BLOCK_REFERENCE, // blocks of the detailed table
    LIST_BLOCK_MODE,
    LIST_BLOCK_DIFFERENCE,
    LIST_BLOCK_ERROR,
    LIST_BLOCK_RELATIVE,
    LIST_BLOCK_PERCENTILES,
    METRIC_LISTS
};

enum { METRIC_MAX_COLUMNS = 7 };

struct metric {
    const char *name;  // key of JSON, column of CSV, word of a gate
    const char *label; // in tables
    const char *unit;  // behind a label; NULL: that of the outputs, or none
    enum metric_subject subject;
    enum better better;
    enum metric_needs needs;
    bool no_distance;        // does not say how far two outputs are apart
    bool one_if_equal;       // undefined for some equal outputs: judged as 1 there
    double grades[3];        // excellent, good, fair: what is better than this; of LIST_GRADED
    int place[METRIC_LISTS]; // from 1; 0: not in it
    // The value, for outputs.  NaN where undefined; the ratios in dB are infinite where nothing differs.
    double (*value)(const struct measurement *measurement);
    // With an interval: a smooth function of sums over samples, of degree 0 (the same for sums and for
    // means); docs/statistics.md has the formulas.  sums[columns] -> phi, and gradient[columns] = d phi /
    // d sums.  NaN where undefined; infinite at the end of the scale (mse 0, correlation 1), the gradient is
    // then meaningless.  The value of predictions is phi carried back.
    enum scale scale;
    double reach;                   // half width in phi beyond which an interval bounds nothing
    int columns;                    // of the table of its subject (enum moment_column, enum text_column)
    int column[METRIC_MAX_COLUMNS]; // which
    double (*phi)(const double *sums, double *gradient);
};
extern const struct metric metric_table[METRICS];

// -1: no such metric.
int metric_find(const char *name, size_t length);
// The metric at place 1, 2, ... of a list (LIST_RANKED: of the outputs); -1: the list has ended.
int metric_at(enum metric_list list, int place);

// Those of a subject that have an interval, in the order of the catalogue: which is the k-th, how many, and
// what place, from 0, a metric has.  METRIC_INTERVALS is the most of a subject.
const struct metric *metric_with_interval(enum metric_subject subject, int k);
int metric_intervals(enum metric_subject subject);
int metric_interval_place(enum metric_id metric);
enum {
    METRIC_OUTPUT_INTERVALS = 0
#define METRIC(id, subject, scale, ...) +(SUBJECT_##subject == SUBJECT_OUTPUTS && SCALE_##scale != SCALE_NONE)
#include "ssmsweep/measure/metrics.def"
#undef METRIC
    ,
    METRIC_TEXT_INTERVALS = 0
#define METRIC(id, subject, scale, ...) +(SUBJECT_##subject != SUBJECT_OUTPUTS && SCALE_##scale != SCALE_NONE)
#include "ssmsweep/measure/metrics.def"
#undef METRIC
    ,
    METRIC_INTERVALS = (int)METRIC_OUTPUT_INTERVALS > (int)METRIC_TEXT_INTERVALS
                           ? (int)METRIC_OUTPUT_INTERVALS
                           : (int)METRIC_TEXT_INTERVALS
};
// By how many metrics modes are ranked: of the subject that has the most.
int metric_ranked_most(void);

// phi carried back, over all samples of a table [..][samples]; NaN where undefined.
double metric_of_table(const struct metric *metric, const double *table, int samples);

double scale_value(enum scale scale, double phi);  // phi -> v
double scale_phi(enum scale scale, double v);      // v -> phi
double scale_change(enum scale scale, double phi); // phi_a - phi_b -> change
const char *scale_change_name(enum scale scale);   // "difference", "ratio", "atanh_difference", "odds_ratio"
double scale_no_change(enum scale scale);          // 0 or 1

// ---- one comparison record: every metric of a pair of outputs, computed once, and its grades ----

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
