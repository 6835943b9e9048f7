// SPDX-License-Identifier: Apache-2.0
// Inside plan/: how runs are divided into groups, and samples and groups into items.
#ifndef SSMSWEEP_PLAN_PLAN_PARTS_H
#define SSMSWEEP_PLAN_PLAN_PARTS_H

#include "ssmsweep/plan/plan.h"

// One way to divide runs into groups: every run once, the costly groups first.
struct division {
    int n_groups;
    int *members;         // group by group; a run stands in front of its re-runs
    struct group *groups; // [n_groups]
};

// Coarse to fine.
struct divisions {
    int n, n_runs; // ways; runs that each has
    struct division *of;
};

// Local, and the same on every rank.  Divides the runs that are not finished in every sample (NULL: all
// runs). The coarsest division has groups of at most `room` runs beside the reference; the others have at
// most `most_groups` groups.  divisions_clear() in any case.
enum status divisions_make(struct divisions *divisions, const struct plan *plan, const struct dims *dims,
                           const struct finished *finished, int room, int most_groups, struct error *err);
void divisions_clear(struct divisions *divisions);

// Local, and the same on every rank.  Fills members, groups, stretches and order of a plan that has its runs.
enum status plan_make_items(struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                            int ranks, struct error *err);

#endif
