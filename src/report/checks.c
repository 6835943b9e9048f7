// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/checks.h"

#include <stdlib.h>

enum status checks_add(struct checks *checks, const struct check *check, struct error *err)
{
    if (checks->count == checks->room) {
        int room = checks->room ? 2 * checks->room : 32;
        struct check *grown = realloc(checks->items, (size_t)room * sizeof *grown);
        if (!grown) return error_memory(err, (size_t)room * sizeof *grown, "the gates");
        checks->items = grown;
        checks->room = room;
    }
    checks->items[checks->count++] = *check;
    return STATUS_OK;
}

int checks_broken(const struct checks *checks)
{
    int broken = 0;
    for (int i = 0; i < checks->count; i++)
        broken += !checks->items[i].good;
    return broken;
}

void checks_clear(struct checks *checks)
{
    free(checks->items);
    *checks = (struct checks){0};
}
