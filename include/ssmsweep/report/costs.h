// SPDX-License-Identifier: Apache-2.0
// The user's own table of what a unit in a format costs (--costs FILE.json), of attribute and mix:
// UNIT: {FORMAT: COST}, of a layer and of the embedding.
#ifndef SSMSWEEP_REPORT_COSTS_H
#define SSMSWEEP_REPORT_COSTS_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/recipe/recipe.h"

// In caller memory; costs_clear() frees, after a failure too.
struct costs {
    double *table; // [units of the family + 1][FORMATS], the embedding last; NaN: not said.  NULL: no table
    bool *listed;  // [units + 1]: the table has the unit; others cost nothing
};

// Local.  STATUS_INPUT names file, unit and format.
enum status costs_read(struct costs *costs, const char *path, const struct units *units, struct error *err);
void costs_clear(struct costs *costs); // a zeroed one is fine
// Local.  STATUS_INPUT: the table lacks a format of a unit that it lists.
enum status costs_sum(const struct costs *costs, const struct dims *dims, const struct recipe *recipe,
                      double *sum, struct error *err);
// Local.  A table to start from: bytes of a layer's weights, 0 for activations.
void costs_print_template(FILE *out, const struct dims *dims);

#endif
