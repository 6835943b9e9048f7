// SPDX-License-Identifier: Apache-2.0
// Groups of runs, shards of samples, and the order in which they are handed out.
#ifndef SSMSWEEP_SWEEP_PLAN_ITEMS_H
#define SSMSWEEP_SWEEP_PLAN_ITEMS_H

#include "ssmsweep/sweep/plan.h"

// Local, and the same on every rank.  Fills members, groups and items of a plan that has its runs.
enum status plan_make_items(struct plan *plan, const struct job *job, const struct dims *dims,
                            const struct corpus *corpus, int ranks, struct error *err);

#endif
