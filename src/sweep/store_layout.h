// SPDX-License-Identifier: Apache-2.0
// Names inside the result file, for the two halves of the store.
#ifndef SSMSWEEP_SWEEP_STORE_LAYOUT_H
#define SSMSWEEP_SWEEP_STORE_LAYOUT_H

#include <stddef.h>

#include "ssmsweep/base/status.h"

enum { STORE_SCHEMA_VERSION = 2, STORE_PATH_ROOM = 160, STORE_LABEL_ROOM = 16 };

#define STORE_FLOAT_LABEL "float" // stands where other cells have their calib_data_num

// STATUS_IO: "PATH: WHAT: the deepest message of HDF5's error stack (N MiB free there)".
enum status store_hdf5_error(struct error *err, const char *path, const char *what);

// HDF5 prints its error stacks by itself unless told not to.
void store_hdf5_silence(void);

#endif
