// SPDX-License-Identifier: Apache-2.0
// Access to datasets and attributes of an HDF5 file that nobody vouches for: checked before it is used.
// Knows no dataset by name.
#ifndef SSMSWEEP_STORE_HDF_H
#define SSMSWEEP_STORE_HDF_H

#include <hdf5.h>
#include <stdbool.h>

#include "ssmsweep/base/status.h"

enum { HDF_RANKS = 5 };

// Root attributes of a file whose datasets may be chunked and deflated, and of one whose outputs are halves.
#define HDF_PACKED "packed"
#define HDF_OUTPUTS_DTYPE "outputs_dtype"

struct hdf_file {
    char *path;
    hid_t id;
    unsigned long long size_bytes;
    bool packed;
};

// Visiting all objects, by the names that versions of HDF5 have for it.
#if H5_VERSION_GE(1, 12, 0)
typedef H5O_info2_t hdf_object_info;
#define HDF_VISIT H5Ovisit3
#else
typedef H5O_info_t hdf_object_info;
#define HDF_VISIT H5Ovisit2
#endif

// What a dataset must be; entries of the shape of -1 take any size and are set to what was found.
struct hdf_expected {
    hid_t type; // of an element, as in memory
    bool exact; // the file has this very type; else one of its class and size
    int rank;   // at most HDF_RANKS
    long long shape[HDF_RANKS];
};

// Local, as all of these.  HDF5 prints its error stacks by itself unless told not to.
void hdf_silence(void);

// How a file is opened: how much of what was read of headers stays in memory, as it is in the file; there it
// takes five to ten times as much.  The caller closes it.
enum hdf_cache {
    HDF_LOOKS_ONCE = 1 << 19, // at datasets, one after the other
    HDF_KEEPS_OPEN = 1 << 14  // for as long as a sweep
};
hid_t hdf_access(enum hdf_cache cache_bytes);

// Gives back what HDF5 keeps for later.
void hdf_tidy(void);

// The deepest message of HDF5's error stack, which it clears: call it before anything else of HDF5.
enum { HDF_REASON_ROOM = 400 };
void hdf_reason(char text[HDF_REASON_ROOM]);

// After a failed write.  STATUS_IO: "PATH: WHAT: the deepest message of HDF5's error stack (N MiB free
// there)".
enum status hdf_error(struct error *err, const char *path, const char *what);

// STATUS_INPUT: "PATH: NAME: WHAT; the file is torn or ...".
enum status hdf_torn(const struct hdf_file *file, const char *name, const char *what, struct error *err);

// HDF5 itself looks for a path only below groups that are there.
bool hdf_exists(hid_t file, const char *path);

// 0 with *err set where the dataset is missing or is not what is expected.  The caller closes it.
hid_t hdf_open(const struct hdf_file *file, const char *name, struct hdf_expected *expected,
               struct error *err);

// Where the header of an open dataset lies in its file, and a dataset by that, negative where there is none.
// Nothing of it stays in memory but while it is open.
long long hdf_object(hid_t data);
long long hdf_count_attributes(hid_t object); // negative where that cannot be read
hid_t hdf_open_object(hid_t file, long long object);

// Reads a whole small dataset; `values` holds what `expected` says.
enum status hdf_read_all(const struct hdf_file *file, const char *name, struct hdf_expected *expected,
                         void *values, struct error *err);

// Elements from start[rank] on, count[rank] of them.  False where HDF5 fails, for this reason.
struct hdf_block {
    int rank;
    hsize_t start[HDF_RANKS], count[HDF_RANKS];
};
bool hdf_read_block(hid_t data, const struct hdf_block *block, hid_t type, void *values,
                    char reason[HDF_REASON_ROOM]);

// A root attribute in malloc'ed memory, "" if it is absent or no text; NULL when memory is out.
char *hdf_read_text(const struct hdf_file *file, const char *name);
char *hdf_read_text_at(hid_t object, const char *name); // of any group or dataset

// A root attribute that is one integer; false if it is absent or something else.
bool hdf_read_integer(const struct hdf_file *file, const char *name, int *value);

// A root attribute of n strings of `room` bytes each; false if it is absent or something else.
bool hdf_read_names(const struct hdf_file *file, const char *name, int n, size_t room, void *names);

#endif
