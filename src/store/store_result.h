// SPDX-License-Identifier: Apache-2.0
// The open result file of a reader, for the parts of the reading half.
#ifndef SSMSWEEP_STORE_STORE_RESULT_H
#define SSMSWEEP_STORE_STORE_RESULT_H

#include <hdf5.h>

#include "ssmsweep/store/store.h"
#include "store_check.h"
#include "store_layout.h"
#include "store_metrics.h"

enum { RESULT_ATTRIBUTES = 13, RESULT_MOST_WIDTH = 1 << 24 };

// One layer that was captured, as the first run has it; every run must have the same.
struct result_layer {
    int number;
    uint32_t components; // mask
    int width[ARCH_MOST_COMPONENTS];
};

struct result {
    struct store_file file;
    const struct arch *arch;
    int samples, max_tokens;
    int32_t *length;
    unsigned char *state; // [n_runs][samples]
    struct result_run *runs;
    int n_runs, n_ordinary; // the others, behind them, are noisy re-runs
    struct result_layer *layers;
    int n_layers;
    // The outputs that were opened last: reads alternate between a mode and its reference.  All of a large
    // file would take 17 KiB and more each.
    struct result_output {
        int run, layer, component; // layer: an index
        hid_t data;                // 0: none
    } open[2];
    // Metrics; NULL and 0 without them.
    hid_t *metrics; // [n_runs][STORE_METRICS], 0 where absent
    hid_t metric_types[STORE_METRICS];
    int n_model_layers;
    int32_t width[ARCH_MOST_COMPONENTS];
    char *attributes[RESULT_ATTRIBUTES];
};

// Path of a run below "/items", "/outputs" or "/metrics".
void result_run_group(const struct result_run *run, const char *group, char name[STORE_PATH_ROOM]);

// The root attributes, as text.
enum status store_read_attributes(struct result *result, struct error *err);
void store_free_attributes(struct result *result);

// What is done of each run, by result->state.
void store_count_done(struct result *result);

// Opens and checks what is below /metrics, if there is anything.  STATUS_INPUT: torn.
enum status store_open_metrics(struct result *result, struct error *err);
void store_close_metrics(struct result *result);

#endif
