// SPDX-License-Identifier: Apache-2.0
// What a sweep has to do: cells, runs, groups of them, shards of samples, and the order of the items.
//
// plan/ knows the job, the dimensions of the model, the lengths of the samples and the number of ranks, and
// tells from these alone what will be done (plan.h), in which memory (lane.h), and what it will take
// (predict.h).  All of it is local and gives the same on every rank.  It must not know MPI, the result file,
// how an item is computed, or which rank gets it: results may not depend on a plan.  sweep/ makes plans and
// walks through them, store/ names and lays out its datasets after cells and runs, report/ compares and sorts
// by cells.  docs/design.md has the words.
#ifndef SSMSWEEP_PLAN_PLAN_H
#define SSMSWEEP_PLAN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/calibrate/observer.h"
#include "ssmsweep/input/corpus.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/recipe/mode.h"

// ---- cells ----

// A cell of the sweep is one set of scales.  Its name stands in the paths of the result file, in reports and
// in the names of exported files.  Zeroed: that of the float modes, which need no scales.
struct cell {
    int calib_data_num; // calibration samples behind the scales; 0: none
    int order;          // of those samples, 0 as they come in the text
};

enum { CELL_NAME_ROOM = 32 };
#define CELL_FLOAT "float"

// "float", "16", or "16_order2" where the order is not that of the text.  Gives `name` back.
const char *cell_name(struct cell cell, char name[CELL_NAME_ROOM]);
bool cell_parse(struct cell *cell, const char *name); // false: no such name
// Float first, then by calib_data_num, then by order: below, 0 or above 0.
int cell_compare(struct cell a, struct cell b);

// Local.  Which run is the reference of `run` among those of the reference mode: that of the same scales,
// else the float one, else the first.  0 to 2, the higher the better.
int cell_suits(struct cell reference, struct cell run);

// ---- what is finished ----

// Which samples of which runs are stored, a bit for each: every rank has them all.
struct finished {
    uint64_t *bits; // [runs][words], behind the samples 0
    int runs;
    size_t words; // of a run
};

// Local.  Nothing is finished.
enum status finished_open(struct finished *finished, int runs, int samples, struct error *err);
void finished_close(struct finished *finished); // a zeroed one is fine

static inline bool finished_has(const struct finished *finished, int run, int sample)
{
    return finished->bits[(size_t)run * finished->words + (size_t)sample / 64] >> (sample % 64) & 1;
}

// Local.
void finished_set(struct finished *finished, int run, int sample, bool value);
long long finished_count(const struct finished *finished);
size_t finished_words(const struct finished *finished); // of bits, all runs

// ---- the plan ----

// Float modes need no scales, nor do recipes without an activation on a grid of calibration: they run once,
// with cell == PLAN_FLOAT_CELL, and serve every cell.  Where groups of heads and channels are calibrated,
// recipes run in every cell: their weights stand in the order of the groups.
enum { PLAN_FLOAT_CELL = -1, PLAN_MAX_RUNS = 1 << 15 };
struct run {
    int cell; // index into plan->cells, or PLAN_FLOAT_CELL
    const struct mode *mode;
    const struct recipe *recipe; // the mode in this model, among plan->recipes
    int reference;               // run that it is compared with, maybe itself
    int dither;  // 0, or k: the k-th noisy re-run of a W8A8 mode, of which no tensors are stored
    int repeats; // run that a re-run is one of, else itself
};

// Runs with the same reference that go through the model side by side, with the reference in front, and what
// re-runs repeat in front of them; both need not be among the runs of the group.
struct group {
    int reference;    // run
    int first, count; // of plan->members
    double cost;      // of a token, roughly, in multiplications of a float mode
};

// A shard of samples in a group of runs.  Places count the samples in the order of hand-out.
struct item {
    int group;
    int first_place, samples;
};

// A part of the order of hand-out, each shard in all groups of one division of the runs.  There are two where
// the last samples are in more groups, so that all ranks end together.
enum { PLAN_STRETCHES = 2 };
struct stretch {
    int first_item;
    int first_place, samples;
    int first_group, n_groups; // of plan->groups
};

struct plan {
    const struct arch *arch; // the family of the model
    struct cell *cells;      // ascending; as many orders at every calib_data_num
    int n_cells;
    struct observers observers;
    int group_scales; // of a layer, beside those of the sites: arch/groups.h; 0: none
    int *orders,
        *places; // [n_orders][calibration_samples], sample at each place of an order, and the inverse
    int n_orders;
    struct run *runs; // the reference mode first, then the other float modes, cells in order, noisy re-runs
    int n_runs;       // re-runs stand in rounds behind all others, in their order
    struct recipe *recipes; // [n_runs], those of the first run of each mode are filled
    int *prefixes; // [n_runs][n_layer + 1] beside recipes: which recipes are the same in the first layers
    int *unscaled; // [n_runs] beside recipes: layers in front of the first that needs scales
    int *alike;    // [n_runs][n_layer] likewise: the first recipe with the same setting in a layer
    bool forks;    // runs share the layers in front of the first in which they differ
    struct needs *needs;  // [n_layer] of weights by unit, all recipes together
    int reference_run;    // index into runs; for a W8A8 reference: that of the first cell
    int *members;         // of the groups; each stretch has every run once, a run in front of its re-runs
    struct group *groups; // stretch by stretch, the costly ones first
    int n_groups;
    bool metrics, profiles, logits; // are kept of every run and sample; profiles: with the metrics
    bool isolated;                  // so is the error of each layer by itself, of all but noisy re-runs
    // Items are computed, not kept: plan_item().
    struct stretch stretches[PLAN_STRETCHES];
    int n_stretches;
    int n_items;
    int shard;      // samples of an item; the last one of a stretch may have fewer
    int *order;     // [samples] sample at each place; NULL: as they are; after plan_renew() fewer
    uint32_t *want; // [n_layer] component masks whose tensors are stored
    int n_layer;
    int samples; // S, evaluated
    int calibration_samples;
};

// Local.  Before MPI and before the model is known: are the names in modes, reference, components and
// observer known?
// STATUS_USAGE otherwise.
enum status plan_check_names(const struct job *job, struct error *err);

// Local, and the same on every rank for the same arguments.  STATUS_USAGE: layer outside the model.
// The reference mode is added to the modes if it was not asked for.
enum status plan_make(struct plan *plan, const struct job *job, const struct dims *dims,
                      const struct corpus *corpus, int ranks, struct error *err);
// Local.  The index-th of plan->n_items items, the costly ones first; and the sample at a place.
struct item plan_item(const struct plan *plan, int index);
int plan_sample(const struct plan *plan, int place);

// Local, and the same on every rank for the same arguments.  Items for what is not finished: of the runs and
// samples of which something is left, divided as those of a sweep of their own.  n_items is 0 where nothing
// is left; an item may hold runs and samples that are finished, beside others or alone.  What was finished
// before must be so still.
enum status plan_renew(struct plan *plan, const struct dims *dims, const struct corpus *corpus, int ranks,
                       const struct finished *finished, struct error *err);
// Local.  settled: [n_layer][units of the family], where FORMAT_INT8_GIVEN gives the bits of FORMAT_INT8:
// which runs are the same is found again, for plan_renew().
enum status plan_settle(struct plan *plan, const struct dims *dims, const bool *settled, struct error *err);
void plan_clear(struct plan *plan);

// Local.  Mask of the components whose tensors a run stores at a layer.
static inline uint32_t plan_wants(const struct plan *plan, int run, int layer)
{
    return plan->runs[run].dither ? 0 : plan->want[layer];
}

// Local.  Numbers that a sample shows, and scales of a cell: [n_layer][n_sites], then
// [n_layer][group_scales].
static inline size_t plan_of_sites(const struct plan *plan)
{
    return (size_t)plan->n_layer * (size_t)plan->arch->n_sites;
}
static inline size_t plan_observed(const struct plan *plan)
{
    return plan_of_sites(plan) + (size_t)plan->n_layer * (size_t)plan->group_scales;
}

// Local.  Layers in front of the first in which two runs may differ: of settings that give other bits (struct
// arch, canonical), of other scales where they are looked at, or noise.  0 where forks are off.
int plan_shared_layers(const struct plan *plan, int a, int b);
// Local.  The most layers that member `member` of a group shares with the reference or a member before it.
int plan_fork(const struct plan *plan, const int *members, const struct group *group, int member);

// Local.  Is a layer by itself, fed with the reference's stream, surely the same in two runs of a reference?
// False where forks are off.
bool plan_same_layer(const struct plan *plan, int a, int b, int layer);
// Local.  Layers that member `member` of a group goes through by itself (job->isolated): not the first, which
// has nothing in front of it, and none that is the same in a member before it.
int plan_isolated_layers(const struct plan *plan, const int *members, const struct group *group, int member);

// Local.  Re-runs that each W8A8 run has.
int plan_reruns(const struct plan *plan);

// Local.  Roughly what a token takes, in multiplications of a float mode: a run with what is measured beside
// it, and the predictions in that.
double plan_run_cost(const struct plan *plan, const struct dims *dims, int run);
double plan_predictions_cost(const struct plan *plan, const struct dims *dims);
double plan_layer_cost(const struct plan *plan, const struct dims *dims, int run); // of its mean layer

// Local.  The name of a run in its cell: the mode's, or that with "_dither<k>".  Gives `name` back.
enum { RUN_NAME_ROOM = 56 };
#define RUN_DITHER "_dither"
const char *plan_run_name(const struct plan *plan, int run, char name[RUN_NAME_ROOM]);

// Local.  Every run, for people; noisy re-runs by their number.
void plan_print_runs(const struct plan *plan, FILE *out);

// Local.  The name of a cell of the plan, PLAN_FLOAT_CELL too, as cell_name() makes it: the one by which the
// result file and the reports know it.  Gives `name` back.
const char *plan_cell_name(const struct plan *plan, int cell, char name[CELL_NAME_ROOM]);

#endif
