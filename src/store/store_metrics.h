// SPDX-License-Identifier: Apache-2.0
// The datasets under /metrics: their types and shapes, for all that make, write and read them.  A row is what
// one sample has in one of them; it lies in one piece, as the structs do in memory.
#ifndef SSMSWEEP_STORE_STORE_METRICS_H
#define SSMSWEEP_STORE_STORE_METRICS_H

#include <hdf5.h>

#include "ssmsweep/store/store.h"
#include "store_check.h"

enum store_metric {
    STORE_MOMENTS,
    STORE_HISTOGRAM,
    STORE_POSITION,
    STORE_APART,
    STORE_END_OF_MODEL,
    STORE_END_APART,
    STORE_METRICS
};

#define STORE_METRICS_GROUP "/metrics"
#define STORE_WIDTHS "/metrics/width"

const char *store_metric_name(enum store_metric metric);
// Of an element, as in the file and in memory; 0 or below where HDF5 fails.  The caller closes it.
hid_t store_metric_type(enum store_metric metric);
void store_close_metric_type(hid_t type); // 0 and below are fine
size_t store_metric_element_bytes(enum store_metric metric);
size_t store_metric_row_bytes(enum store_metric metric, const struct arch *arch, int n_layer); // of a row
// Its shape; n_layer -1 takes any.
struct store_expected store_metric_expected(enum store_metric metric, const struct arch *arch, int samples,
                                            int n_layer);
// As store_open_data(), and the type must be this very one.
hid_t store_open_metric(const struct store_file *file, const char *name, struct store_expected *expected,
                        hid_t type, struct error *err);
// Has a run this dataset, a re-run or not, with predictions or without?
bool store_metric_belongs(enum store_metric metric, bool rerun, bool logits);
// The same of a run of a plan, which may keep no metrics at all.
bool store_keeps_metric(const struct plan *plan, int run, enum store_metric metric);

#endif
