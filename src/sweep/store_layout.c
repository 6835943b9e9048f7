// SPDX-License-Identifier: Apache-2.0
#include "store_layout.h"

#include <stdio.h>

// "float", or the cell's calib_data_num.
static void cell_label(const struct plan *plan, int cell, char label[STORE_LABEL_ROOM])
{
    if (cell == PLAN_FLOAT_CELL)
        snprintf(label, STORE_LABEL_ROOM, STORE_FLOAT_LABEL);
    else
        snprintf(label, STORE_LABEL_ROOM, "%d", plan->calib_data_num[cell]);
}

void store_output_name(const struct plan *plan, int run, int layer, enum component component,
                       char name[STORE_PATH_ROOM])
{
    char label[STORE_LABEL_ROOM];
    cell_label(plan, plan->runs[run].cell, label);
    snprintf(name, STORE_PATH_ROOM, "/outputs/%s/%.40s/layer_%d/%s", label, plan->runs[run].mode->name, layer,
             component_name(component));
}

const char *store_item_name(const struct plan *plan, int run, enum store_item_part part,
                            char name[STORE_PATH_ROOM])
{
    static const char *const parts[] = {
        [STORE_STATE] = "state", [STORE_DIGEST] = "digest", [STORE_SECONDS] = "seconds"};
    char label[STORE_LABEL_ROOM];
    cell_label(plan, plan->runs[run].cell, label);
    snprintf(name, STORE_PATH_ROOM, "/items/%s/%.40s/%s", label, plan->runs[run].mode->name, parts[part]);
    return name;
}

void store_scales_name(const struct plan *plan, int cell, char name[STORE_PATH_ROOM])
{
    char label[STORE_LABEL_ROOM];
    cell_label(plan, cell, label);
    snprintf(name, STORE_PATH_ROOM, "/calibration/%s/scales", label);
}
