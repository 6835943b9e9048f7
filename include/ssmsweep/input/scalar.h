// SPDX-License-Identifier: Apache-2.0
// Named plain numbers of a checkpoint (quantization scales are often stored so), beside its tensors.
#ifndef SSMSWEEP_INPUT_SCALAR_H
#define SSMSWEEP_INPUT_SCALAR_H

#include <stddef.h>

#include "ssmsweep/base/status.h"

struct scalar {
    const char *name;
    double value;
};

// Owns names and array.  In caller memory, zeroed before use.
struct scalar_list {
    struct scalar *items;
    size_t count, room;
};

enum status scalar_list_add(struct scalar_list *list, const char *name, double value, struct error *err);
// Sorts by name, after the last addition; scalar_list_find() needs it.  STATUS_INPUT: a name that occurs
// twice.
enum status scalar_list_sort(struct scalar_list *list, const char *where, struct error *err);
const struct scalar *scalar_list_find(const struct scalar_list *list, const char *name); // NULL: none
void scalar_list_clear(struct scalar_list *list);

#endif
