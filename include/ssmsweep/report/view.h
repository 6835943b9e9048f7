// SPDX-License-Identifier: Apache-2.0
// A comparison as reports walk it: run by run, layer by layer, with the component that stands for a layer.
#ifndef SSMSWEEP_REPORT_VIEW_H
#define SSMSWEEP_REPORT_VIEW_H

#include <stdbool.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/plan/plan.h"
#include "ssmsweep/report/compare.h"

// The entries of one run.  Start from a zeroed one.
struct run_view {
    const struct comparison_entry *entries;
    int count;
    int run;
};
bool view_next_run(const struct comparison *comparison, struct run_view *run);

// The entries of one layer of a run; `main` is mixer_output, or the first component where that was not
// captured.
struct layer_view {
    const struct comparison_entry *entries;
    int count;
    int layer;
    const struct comparison_entry *main;
};
bool view_next_layer(const struct run_view *run, struct layer_view *layer);

// An average over layers, of every metric alike: NaN as soon as a layer holds NaN or Inf; where nothing but
// the metric is undefined (the correlation of a constant side) the layer is left out.  Start from a zeroed
// one.
struct layer_average {
    double sum;
    int layers;   // those that are in the sum
    bool spoiled; // one holds NaN or Inf
};
void view_add_layer(struct layer_average *average, const struct record *record, double value);
double view_average(const struct layer_average *average);

// Over the `main` entries of a run's layers.
struct run_summary {
    int layers;
    struct layer_view first, last;
    double average[METRICS];
    enum grade worst;
};
struct run_summary view_summarize(const struct run_view *run);

// The run is one of the reference mode.
bool view_is_reference(const struct comparison *comparison, const struct result *result, int run);
const char *view_reference_name(const struct comparison *comparison, const struct result *result);

// What the float modes computed with, where that is not simply the model: " (dequantized INT8 weights)",
// " (float model 1a2b3c4d)"; else "".
enum { VIEW_WEIGHTS_CHARS = 48 };
void view_reference_weights(const char *weights, char text[VIEW_WEIGHTS_CHARS]);

int view_cells(const struct result *result); // distinct sets of scales

// "n=16" or "n=16 order 2"; "float" where there are no scales.
// Gives `text` back.
enum { VIEW_CELL_CHARS = 40 };
const char *view_cell_text(const struct result_run *run, char text[VIEW_CELL_CHARS]);
// Into an open object: calib_data_num, null for float runs, and where it is not 0, order.
void view_put_cell(struct json_writer *writer, const struct result_run *run);
// Into an open object: which run it is, and samples_done.
void view_put_progress(struct json_writer *writer, const struct result_run *run);

long long view_tokens(const struct result *result); // valid tokens of all samples

#endif
