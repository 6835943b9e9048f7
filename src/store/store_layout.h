// SPDX-License-Identifier: Apache-2.0
// Names inside the result file, for the two halves of the store.
#ifndef SSMSWEEP_STORE_STORE_LAYOUT_H
#define SSMSWEEP_STORE_STORE_LAYOUT_H

#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/plan/plan.h"

enum { STORE_SCHEMA_VERSION = 5, STORE_PATH_ROOM = 160 };

#define STORE_SCALES "/calibration/%s/scales" // of a cell
#define STORE_OBSERVED "/calibration/observed"
#define STORE_OBSERVED_HISTOGRAM "/calibration/histogram"
#define STORE_OBSERVED_STATE "/calibration/state"
#define STORE_OBSERVED_DIGEST "/calibration/digest"

// Paths of the datasets, in `name`.
enum store_item_part { STORE_STATE, STORE_DIGEST, STORE_SECONDS };
void store_output_name(const struct plan *plan, int run, int layer, int component,
                       char name[STORE_PATH_ROOM]);
const char *store_item_name(const struct plan *plan, int run, enum store_item_part part,
                            char name[STORE_PATH_ROOM]); // gives `name` back
// `dataset` of a run, below `group` ("/metrics").  Gives `name` back.
const char *store_run_name(const struct plan *plan, int run, const char *group, const char *dataset,
                           char name[STORE_PATH_ROOM]);
void store_scales_name(const struct plan *plan, int cell, char name[STORE_PATH_ROOM]);

// The deepest message of HDF5's error stack, which it clears: call it before anything else of HDF5.
void store_hdf5_reason(char *text, size_t room);

// After a failed write.  STATUS_IO: "PATH: WHAT: the deepest message of HDF5's error stack (N MiB free
// there)".
enum status store_hdf5_error(struct error *err, const char *path, const char *what);

// HDF5 prints its error stacks by itself unless told not to.
void store_hdf5_silence(void);

#endif
