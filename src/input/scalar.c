// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/scalar.h"

#include <stdlib.h>
#include <string.h>

enum status scalar_list_add(struct scalar_list *list, const char *name, double value, struct error *err)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 256;
        struct scalar *grown = realloc(list->items, room * sizeof *grown);
        if (!grown) return error_memory(err, room * sizeof *grown, "the list of numbers");
        list->items = grown;
        list->room = room;
    }
    char *copy = strdup(name);
    if (!copy) return error_memory(err, strlen(name) + 1, "a number's name");
    list->items[list->count++] = (struct scalar){copy, value};
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct scalar *)a)->name, ((const struct scalar *)b)->name);
}

enum status scalar_list_sort(struct scalar_list *list, const char *where, struct error *err)
{
    if (list->count == 0) return STATUS_OK;
    qsort(list->items, list->count, sizeof *list->items, compare_names);
    for (size_t i = 1; i < list->count; i++)
        if (compare_names(&list->items[i - 1], &list->items[i]) == 0)
            return error_set(err, STATUS_INPUT, "%s: key '%.200s' occurs twice", where, list->items[i].name);
    return STATUS_OK;
}

const struct scalar *scalar_list_find(const struct scalar_list *list, const char *name)
{
    struct scalar key = {.name = name};
    return list->count ? bsearch(&key, list->items, list->count, sizeof key, compare_names) : NULL;
}

void scalar_list_clear(struct scalar_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free((void *)(size_t)list->items[i].name);
    free(list->items);
    *list = (struct scalar_list){0};
}
