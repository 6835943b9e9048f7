// SPDX-License-Identifier: Apache-2.0
// Attributes by which a result file explains itself: `description` of every group and dataset, `units` and
// names of the axes of datasets.  They come from the table of layout.h.
#ifndef SSMSWEEP_STORE_DESCRIBE_H
#define SSMSWEEP_STORE_DESCRIBE_H

#include "layout.h"

#define DESCRIBE_AXES "_ARRAY_DIMENSIONS" // the name that xarray's conventions have for it

struct describing {
    const char *path; // for messages
    struct error *err;
};

// Local.  Of a new dataset.
void describe_data(hid_t data, enum layout_data which, struct describing *describing);
unsigned long long describe_bytes(enum layout_data which); // what that takes, about

// Local.  Every group of the file that has no description yet.
enum status describe_groups(hid_t file, struct describing *describing);

#endif
