// SPDX-License-Identifier: Apache-2.0
// Access to datasets and attributes of a file that nobody vouches for: checked before it is used.
#ifndef SSMSWEEP_STORE_STORE_CHECK_H
#define SSMSWEEP_STORE_STORE_CHECK_H

#include <hdf5.h>

#include "ssmsweep/base/status.h"

struct store_file {
    char *path;
    hid_t id;
    unsigned long long size_bytes;
};

enum { STORE_RANKS = 5 };

// How a file is opened whose datasets are looked at once: little of what was read of their headers stays in
// memory.  The caller closes it.
hid_t store_access(void);

// Gives back what HDF5 keeps for later.
void store_tidy(void);

// What a dataset must be; shape entries of -1 take any size and are set to what was found.
struct store_expected {
    H5T_class_t type_class;
    size_t type_bytes;
    int rank; // at most STORE_RANKS
    long long shape[STORE_RANKS];
};

// STATUS_INPUT: "PATH: NAME: WHAT; the file is torn or ...".
enum status store_torn(const struct store_file *file, const char *name, const char *what, struct error *err);

// 0 with *err set where the dataset is missing or is not what is expected.
hid_t store_open_data(const struct store_file *file, const char *name, struct store_expected *expected,
                      struct error *err);

// Reads a whole small dataset; `values` holds what `expected` says.
enum status store_read_all(const struct store_file *file, const char *name, struct store_expected *expected,
                           hid_t type, void *values, struct error *err);

// A root attribute in malloc'ed memory, "" if it is absent or no text; NULL when memory is out.
char *store_read_text(const struct store_file *file, const char *name);

#endif
