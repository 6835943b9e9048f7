// SPDX-License-Identifier: Apache-2.0
// What the tables share.
#ifndef SSMSWEEP_REPORT_TABLE_CELLS_H
#define SSMSWEEP_REPORT_TABLE_CELLS_H

#include <stdbool.h>
#include <stdio.h>

enum { TABLE_WIDTH = 100, CELL_CHARS = 32 };

void table_rule(FILE *out, int width);

// A cell on the right of its width and the marks behind it.  The last one of a line ends without blanks.
void table_put_cell(FILE *out, int width, const char *cell, const char *marks, bool last);

// Errors: four digits, and a plain 0 where outputs are equal to the last bit.
const char *table_error_cell(char cell[CELL_CHARS], double v);

// "------ layer 0 ------", `width` below CELL_CHARS.
void table_centre(char cell[CELL_CHARS], int width, int layer);

#endif
