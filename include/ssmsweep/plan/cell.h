// SPDX-License-Identifier: Apache-2.0
// A cell of the sweep is one set of scales.  Its name stands in the paths of the result file, in reports and
// in the names of exported files.
#ifndef SSMSWEEP_PLAN_CELL_H
#define SSMSWEEP_PLAN_CELL_H

#include <stdbool.h>

// Zeroed: that of the float modes, which need no scales.
struct cell {
    int calib_data_num; // calibration samples behind the scales; 0: none
    int order;          // of those samples, 0 as they come in the text
};

enum { CELL_NAME_ROOM = 32 };
#define CELL_FLOAT "float"

// "float", "16", or "16_order2" where the order is not that of the text.  Gives `name` back.
const char *cell_name(struct cell cell, char name[CELL_NAME_ROOM]);
bool cell_parse(struct cell *cell, const char *name); // false: no such name
// Float first, then by calib_data_num, then by order: below, 0 or above 0.
int cell_compare(struct cell a, struct cell b);

#endif
