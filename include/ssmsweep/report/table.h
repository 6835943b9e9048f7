// SPDX-License-Identifier: Apache-2.0
// A comparison as tables for people, at most 100 columns wide, ASCII.  `sweep` tells what is rounding noise:
// "~" behind a value that is as near to another mode's.
#ifndef SSMSWEEP_REPORT_TABLE_H
#define SSMSWEEP_REPORT_TABLE_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/sweep_report.h"

// Local.  For each entry: statistics of the reference and of the mode, difference, error metrics, relative
// metrics, percentiles.
void table_print_blocks(FILE *out, const struct comparison *comparison, const struct result *result,
                        const struct sweep_report *sweep, bool color);

// Local.  The name of a grade, padded to `width`, maybe in its colour.
void table_print_grade(FILE *out, enum grade grade, int width, bool color);

// Local.  One table per compared mode and captured component: the metrics of each layer with their grades,
// and their averages over the layers.
void table_print_modes(FILE *out, const struct comparison *comparison, const struct result *result,
                       const struct sweep_report *sweep, bool color);

// Local.  One table, one row per mode: first and last layer, average correlation, worst grade; and how to
// read it.
void table_print_summary(FILE *out, const struct comparison *comparison, const struct result *result,
                         const struct sweep_report *sweep, bool color);

#endif
