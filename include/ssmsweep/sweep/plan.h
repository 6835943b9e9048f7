// SPDX-License-Identifier: Apache-2.0
// What a sweep has to do: runs (cell x mode), groups of them, shards of samples, and the order of the items.
// No MPI here.
#ifndef SSMSWEEP_SWEEP_PLAN_H
#define SSMSWEEP_SWEEP_PLAN_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/corpus.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/numerics/component.h"
#include "ssmsweep/numerics/mode.h"
#include "ssmsweep/sweep/cell.h"

// Float modes need no scales: they run once, with cell == PLAN_FLOAT_CELL, and serve every cell.
enum { PLAN_FLOAT_CELL = -1 };
struct run {
    int cell; // index into plan->cells, or PLAN_FLOAT_CELL
    const struct mode *mode;
    int reference; // run that it is compared with, maybe itself
    int dither;    // 0, or k: the k-th noisy re-run of a W8A8 mode, of which no tensors are stored
};

// Runs with the same reference that go through the model side by side, with the reference in front; of the
// groups of one reference the first has that itself among its runs.
struct group {
    int reference;    // run
    int first, count; // of plan->members
};

// Neighbouring samples of a group.
struct item {
    int group;
    int first_sample, samples;
};

struct plan {
    struct cell *cells; // ascending
    int n_cells;
    struct run *runs; // the reference mode first, then the other float modes, cells in order, noisy re-runs
    int n_runs;
    int reference_run; // index into runs; for a W8A8 reference: that of the first cell
    int *members;      // [n_runs] every run once, group by group
    struct group *groups;
    int n_groups;
    bool metrics, logits; // are kept of every run and sample
    struct item *items;   // in the order of hand-out
    int n_items;
    unsigned char *want; // [n_layer] component masks whose tensors are stored
    int n_layer;
    int samples; // S
};

// Local.  Before MPI and before the model is known: are the names in modes, reference and components known?
// STATUS_USAGE otherwise.
enum status plan_check_names(const struct job *job, struct error *err);

// Local, and the same on every rank for the same arguments.  STATUS_USAGE: layer outside the model.
// The reference mode is added to the modes if it was not asked for.
enum status plan_make(struct plan *plan, const struct job *job, const struct dims *dims,
                      const struct corpus *corpus, int ranks, struct error *err);
// Local, and the same on every rank for the same arguments.  Takes away the items of whose samples and runs
// every finished[n_runs][samples] is not 0; the others keep their order.
void plan_drop(struct plan *plan, const unsigned char *finished);
void plan_clear(struct plan *plan);

// Local.  Mask of the components whose tensors a run stores at a layer.
static inline unsigned plan_wants(const struct plan *plan, int run, int layer)
{
    return plan->runs[run].dither ? 0 : plan->want[layer];
}

// Local.  The name of a run in its cell: the mode's, or that with "_dither<k>".  Gives `name` back.
enum { RUN_NAME_ROOM = 48 };
#define RUN_DITHER "_dither"
const char *plan_run_name(const struct plan *plan, int run, char name[RUN_NAME_ROOM]);

// Local.  The name of a cell of the plan, PLAN_FLOAT_CELL too, as cell_name() makes it: the one by which the
// result file and the reports know it.  Gives `name` back.
const char *plan_cell_name(const struct plan *plan, int cell, char name[CELL_NAME_ROOM]);

#endif
