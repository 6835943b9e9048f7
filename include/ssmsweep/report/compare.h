// SPDX-License-Identifier: Apache-2.0
// Comparison of the modes in a result file with a reference mode: docs/numerics.md, section 6, over all valid
// tokens of all samples.  From the stored outputs; where there are none (--store none) from the metrics, for
// every layer of the model and with the same bits, but for percentiles and distances in ULP, which are NaN;
// so, too, where outputs were packed as halves, for the layers that were captured, and where layers or
// components are asked for of which no outputs are stored.
#ifndef SSMSWEEP_REPORT_COMPARE_H
#define SSMSWEEP_REPORT_COMPARE_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/store/store.h"

// One (run, layer, component) against the reference.
struct comparison_entry {
    int run;          // of the result file
    int layer;        // model layer number
    int component;    // of the family of the model
    const char *name; // its
    bool is_output;   // is it the output of the layer?
    struct record record;
};

// All entries, ordered by run, layer, component; the reference itself is among the runs.  Owned by the
// caller.
struct comparison {
    struct comparison_entry *entries;
    int count;
    int reference_run;
    bool from_outputs; // else from the metrics
    bool chosen;       // its layers or components were asked for
};

struct compare_request {
    const char *reference; // mode name
    const char *modes;     // comma list as in --modes; NULL: all in the file
    // Lists as of --layers and --components; NULL: those that were captured, or all layers where none was.
    const char *layers, *components;
    // For a sweep that did not end: only runs that share finished samples with the reference, over those
    // samples.
    bool partial;
    bool whole_runs;        // with it: only runs that are complete, as is their reference
    struct stop *stop;      // may be NULL
    const struct log *log;  // may be NULL; gets what memory the rank holds at the worst moment
    const char *output_dir; // of the result file, for the command that makes what is missing
};

// Collective (alone where comm->ranks is 1).  Entries are spread over the ranks; every rank gets all of them,
// with the same bits for any number of ranks.  Memory does not grow with the number of samples.  STATUS_INPUT
// if the reference or a mode is not in the file or not complete (the message says which command makes it),
// or as samples_choose().
// STATUS_STOPPED: a signal came, and the time of grace is over.
enum status compare_all(struct comparison *comparison, const struct comm *comm, struct result *result,
                        const struct compare_request *request, struct error *err);
// Local.  chosen[result_runs()]: the runs that a request is about, the reference's among them.  Errors as
// compare_all().
enum status compare_choose(const struct result *result, const struct compare_request *request, bool *chosen,
                           struct error *err);
// Local.  The run that stands for the reference of `run`, and whether a sample counts in their comparison.
int compare_reference_of(const struct result *result, const char *reference, int run);
bool compare_uses(const struct result *result, int reference_run, int run, int sample);
void compare_clear(struct comparison *comparison);

#endif
