// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/plan/cell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *cell_name(struct cell cell, char name[CELL_NAME_ROOM])
{
    if (cell.calib_data_num == 0)
        snprintf(name, CELL_NAME_ROOM, CELL_FLOAT);
    else if (cell.order == 0)
        snprintf(name, CELL_NAME_ROOM, "%d", cell.calib_data_num);
    else
        snprintf(name, CELL_NAME_ROOM, "%d_order%d", cell.calib_data_num, cell.order);
    return name;
}

// 1 and above, without a sign or leading zeros: a cell has one name.  Moves *at behind the digits.
static bool read_number(const char **at, int *number)
{
    size_t digits = strspn(*at, "0123456789");
    if (digits < 1 || digits > 9 || **at == '0') return false;
    *number = (int)strtol(*at, NULL, 10);
    *at += digits;
    return true;
}

bool cell_parse(struct cell *cell, const char *name)
{
    static const char order[] = "_order";
    struct cell parsed = {0};
    if (strcmp(name, CELL_FLOAT) != 0) {
        if (!read_number(&name, &parsed.calib_data_num)) return false;
        if (strncmp(name, order, sizeof order - 1) == 0) {
            name += sizeof order - 1;
            if (!read_number(&name, &parsed.order)) return false;
        }
        if (*name) return false;
    }
    *cell = parsed;
    return true;
}

int cell_compare(struct cell a, struct cell b)
{
    if (a.calib_data_num != b.calib_data_num) return a.calib_data_num < b.calib_data_num ? -1 : 1;
    return (a.order > b.order) - (a.order < b.order);
}
