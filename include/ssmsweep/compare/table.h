// SPDX-License-Identifier: Apache-2.0
// A comparison as tables for people, at most 100 columns wide, ASCII.
#ifndef SSMSWEEP_COMPARE_TABLE_H
#define SSMSWEEP_COMPARE_TABLE_H

#include <stdio.h>

#include "ssmsweep/compare/compare.h"

// Local.  One table per compared mode and captured component: the metrics of each layer with their grades.
void table_print_modes(FILE *out, const struct comparison *comparison, const struct result *result);

// Local.  One table, one row per mode: first and last layer, average correlation, worst grade; and how to
// read it.
void table_print_summary(FILE *out, const struct comparison *comparison, const struct result *result);

#endif
