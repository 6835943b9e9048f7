// SPDX-License-Identifier: Apache-2.0
// The open result file of a reader: result_open.c learns and checks what is in it, result_read.c reads it.
#ifndef SSMSWEEP_STORE_RESULT_H
#define SSMSWEEP_STORE_RESULT_H

#include "hdf.h"
#include "layout.h"
#include "ssmsweep/store/store.h"

enum { RESULT_METRICS = LAYOUT_DATA - DATA_FIRST_METRIC };

// One layer that was captured, as the first run has it; every run must have the same.
struct result_layer {
    int number;
    uint32_t components; // mask
    int width[ARCH_MOST_COMPONENTS];
};

struct result {
    struct hdf_file file;
    struct layout_types types;
    int version; // of the schema
    bool halves; // the outputs are float16
    const struct arch *arch;
    struct layout_sizes sizes; // layers: of the model, 0 without metrics
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
    hid_t *metrics; // [n_runs][RESULT_METRICS], 0 where absent; NULL without metrics
    int32_t width[ARCH_MOST_COMPONENTS];
    char *attributes[LAYOUT_ATTRIBUTES];
    struct result_recipe *recipes; // in the order of their names
    int n_recipes;
};

// ---- recipes.c ----

// Reads the file's group of them; names and texts are owned by the result.  recipes_close() frees.
enum status recipes_read(struct result *result, struct error *err);
// Those that have the name of a mode are what that mode is in the model of the file.  After the metrics are
// open, which tell the layers.
enum status recipes_check(const struct result *result, struct error *err);
void recipes_close(struct result *result);

// The names of a run in the file.
struct layout_run result_names(const struct result *result, int run);

#endif
