// SPDX-License-Identifier: Apache-2.0
// What each mode does at each step of a layer, in words made from the switches of the mode table.
#ifndef SSMSWEEP_RECIPE_MODE_TABLE_H
#define SSMSWEEP_RECIPE_MODE_TABLE_H

#include <stdbool.h>
#include <stdio.h>

#include "ssmsweep/base/status.h"

// Local.  A table, one row per mode and one column per step, then one line per mode; or all of it as JSON:
// {"modes": [{"name", "summary", "float", "sets": [...], "steps": {STEP: TEXT}, "equals": NAME or null}]}.
// STATUS_IO when memory is out.
enum status mode_table_print(FILE *out, bool json, struct error *err);

#endif
