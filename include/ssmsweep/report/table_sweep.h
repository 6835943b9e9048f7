// SPDX-License-Identifier: Apache-2.0
// A sweep report as tables for people, at most 100 columns wide, ASCII.
#ifndef SSMSWEEP_REPORT_TABLE_SWEEP_H
#define SSMSWEEP_REPORT_TABLE_SWEEP_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/report/sweep_report.h"

// Local.  Which modes can be told apart: for layers whose outputs were captured (the first and the last of
// many, unless `all`), the interval of the MSE and the places that each mode may have, for the scales with
// the most calibration text; and how many samples would divide those that are tied.
void table_print_ranking(FILE *out, const struct sweep_report *report, bool all);

// Local.  Where the report has several calib_data_num: the MSE of the last layer against it, and from where
// on more calibration text improves nothing.
void table_print_trends(FILE *out, const struct sweep_report *report);

// Local.  Where calibration samples were taken in several orders: the range of the MSE of the last layer.
void table_print_orders(FILE *out, const struct sweep_report *report);

// Local.  Perplexity, divergence and agreement of each mode; nothing where they were not measured.
void table_print_end_of_model(FILE *out, const struct sweep_report *report);

#endif
