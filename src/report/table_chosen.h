// SPDX-License-Identifier: Apache-2.0
// What of a sweep report the tables for people show.
#ifndef SSMSWEEP_REPORT_TABLE_CHOSEN_H
#define SSMSWEEP_REPORT_TABLE_CHOSEN_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/report/sweep_report.h"

// `place` in report->runs.
const struct result_run *table_run_of(const struct sweep_report *report, int place);

// The metric that stands for the others.
int table_main_statistic(const struct sweep_unit *unit);

// units[report->n_units] gets one for each layer shown: those captured, or all; without `all` the first and
// the last of many.  Returns how many.
int table_choose_units(const struct sweep_report *report, bool all, int *units);

// The last cell of samples in the order of the text.
const struct sweep_family *table_main_family(const struct sweep_report *report);

int table_name_width(const struct sweep_report *report);

// Whether one of these runs has a value that the samples do not bound; and the line that says what that is.
bool table_any_unbounded(const struct sweep_report *report, int unit, int k, const int *runs, int count);
void table_print_unbounded_legend(FILE *out);

// Ends a headline.
void table_print_cell(FILE *out, const struct sweep_report *report, const struct sweep_family *family);

// ---- what is mere rounding noise: one sign in every table ----

// "#" where a run is as near to the reference as to itself, else "~" for noise, else " ".
const char *table_sign(bool within_apart, bool within_noise);
// Of a value: noise is where another mode's is as near.
const char *table_value_sign(const struct sweep_report *report, int unit, int k, int run);

// Of a value in the comparison, `run` of the result file.  report may be NULL.
bool table_within_noise(const struct sweep_report *report, int run, int layer, int component,
                        enum metric_id metric);
bool table_within_apart(const struct sweep_report *report, int run, int layer, int component,
                        enum metric_id metric);
const char *table_value_sign_of(const struct sweep_report *report, int run, int layer, int component,
                                enum metric_id metric);

// Below a table: what the signs of values say; "~" alone, of what is near to `other`; "#" alone.
void table_print_value_legend(FILE *out, const struct sweep_report *report);
void table_print_noise_legend(FILE *out, const struct sweep_report *report, const char *other);
void table_print_apart_legend(FILE *out, const struct sweep_report *report); // nothing where there is none
// Says what the row is that has the most that re-runs change; nothing where there are none.
void table_print_noise_row_legend(FILE *out, const struct sweep_report *report);
// The worst of these runs against their own re-runs, by a metric that is a distance; NaN: no re-runs.
double table_apart(const struct sweep_report *report, int unit, int k, const int *runs, int count);
void table_print_apart_row_legend(FILE *out, const struct sweep_report *report);
// The most that re-runs of these runs change a metric whose scale is the logarithm: "+-4.1 %", or "".
const char *table_noise_cell(char *cell, size_t bytes, const struct sweep_report *report, int unit, int k,
                             const int *runs, int count);

#endif
