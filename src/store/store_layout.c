// SPDX-License-Identifier: Apache-2.0
#include "store_layout.h"

#include <stdio.h>

void store_output_name(const struct plan *plan, int run, int layer, int component, char name[STORE_PATH_ROOM])
{
    char cell[CELL_NAME_ROOM];
    plan_cell_name(plan, plan->runs[run].cell, cell);
    snprintf(name, STORE_PATH_ROOM, "/outputs/%s/%.40s/layer_%d/%s", cell, plan->runs[run].mode->name, layer,
             plan->arch->components[component].name);
}

const char *store_run_name(const struct plan *plan, int run, const char *group, const char *dataset,
                           char name[STORE_PATH_ROOM])
{
    char cell[CELL_NAME_ROOM], run_name[RUN_NAME_ROOM];
    snprintf(name, STORE_PATH_ROOM, "%.20s/%s/%s/%.40s", group,
             plan_cell_name(plan, plan->runs[run].cell, cell), plan_run_name(plan, run, run_name), dataset);
    return name;
}

const char *store_item_name(const struct plan *plan, int run, enum store_item_part part,
                            char name[STORE_PATH_ROOM])
{
    static const char *const parts[] = {
        [STORE_STATE] = "state", [STORE_DIGEST] = "digest", [STORE_SECONDS] = "seconds"};
    return store_run_name(plan, run, "/items", parts[part], name);
}

void store_scales_name(const struct plan *plan, int cell, char name[STORE_PATH_ROOM])
{
    char of_cell[CELL_NAME_ROOM];
    snprintf(name, STORE_PATH_ROOM, STORE_SCALES, plan_cell_name(plan, cell, of_cell));
}
