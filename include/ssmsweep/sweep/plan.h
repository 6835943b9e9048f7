// SPDX-License-Identifier: Apache-2.0
// What a sweep has to do: runs (cell x mode), shards of samples, and the order of the items.  No MPI here.
#ifndef SSMSWEEP_SWEEP_PLAN_H
#define SSMSWEEP_SWEEP_PLAN_H

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/corpus.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/numerics/component.h"
#include "ssmsweep/numerics/mode.h"
#include "ssmsweep/numerics/observer.h"
#include "ssmsweep/sweep/cell.h"

// Float modes need no scales: they run once, with cell == PLAN_FLOAT_CELL, and serve every cell.
enum { PLAN_FLOAT_CELL = -1, PLAN_MAX_RUNS = 4096 };
struct run {
    int cell; // index into plan->cells, or PLAN_FLOAT_CELL
    const struct mode *mode;
};

// Neighbouring samples of one run.
struct item {
    int run;
    int first_sample, samples;
};

struct plan {
    struct cell *cells; // ascending; as many orders at every calib_data_num
    int n_cells;
    struct observers observers;
    int *orders, *places; // [n_orders][calibration_samples], as orders_make() gives them
    int n_orders;
    struct run *runs; // the reference mode first, then the other float modes, then cells in order
    int n_runs;
    int observed_run;   // its outputs come with the calibration; -1: none
    int reference_run;  // index into runs; for a W8A8 reference: that of the first cell
    struct item *items; // in the order of hand-out
    int n_items;
    unsigned char *want; // [n_layer] component masks to capture
    int n_layer;
    int samples; // S, evaluated
    int calibration_samples;
    int shared_samples; // the first so many of both are the same
};

// Local.  Before MPI and before the model is known: are the names in modes, reference, components and
// observer known?
// STATUS_USAGE otherwise.
enum status plan_check_names(const struct job *job, struct error *err);

// Local, and the same on every rank for the same arguments.  STATUS_USAGE: layer outside the model.
// The reference mode is added to the modes if it was not asked for.
enum status plan_make(struct plan *plan, const struct job *job, const struct dims *dims,
                      const struct corpus *corpus, int ranks, struct error *err);
// Local, and the same on every rank for the same arguments.  Takes away the samples of which
// finished[n_runs][samples] is not 0; items keep their order and may become several.
enum status plan_drop(struct plan *plan, const unsigned char *finished, struct error *err);
void plan_clear(struct plan *plan);

// Local.  The name of a cell of the plan, PLAN_FLOAT_CELL too, as cell_name() makes it: the one by which the
// result file and the reports know it.  Gives `name` back.
const char *plan_cell_name(const struct plan *plan, int cell, char name[CELL_NAME_ROOM]);

#endif
