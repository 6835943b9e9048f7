// SPDX-License-Identifier: Apache-2.0
// Ways to divide the runs of a plan into groups, and what these cost.
#ifndef SSMSWEEP_PLAN_PLAN_GROUPS_H
#define SSMSWEEP_PLAN_PLAN_GROUPS_H

#include "ssmsweep/plan/plan.h"

// Every run once, in groups of runs with one reference, the costly groups first.
struct division {
    int n_groups;
    int *members;         // [n_runs], group by group
    struct group *groups; // [n_groups]
    double *cost;         // [n_groups] of a token, in multiplications of a float mode
};

// Runs of groups: coarse ones first, then finer and finer ones.
struct divisions {
    int n;
    struct division *of;    // [n]
    const struct run *runs; // [n_runs] of the plan
    double *run_cost;       // [n_runs] of a token: a pass, and what is measured beside it
    double measure_cost;    // of that, against the reference
};

// Local, and the same on every rank.  The coarsest division has groups of at most `room` runs, re-runs
// with them (beside the reference, and what else a re-run repeats), the others have at most `most_groups`
// groups; with most_groups 0 there is but the coarsest.
enum status divisions_make(struct divisions *divisions, const struct plan *plan, const struct dims *dims,
                           int room, int most_groups, struct error *err);
void divisions_clear(struct divisions *divisions);

// Roughly what a token takes, in multiplications: a run with what is measured beside it, and the predictions
// in that.
double plan_run_cost(const struct plan *plan, const struct dims *dims, int run);
double plan_predictions_cost(const struct plan *plan, const struct dims *dims);

#endif
