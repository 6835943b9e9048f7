// SPDX-License-Identifier: Apache-2.0
// The items of a plan: which groups of runs, which shards of samples, in which order.
#ifndef SSMSWEEP_PLAN_PLAN_ITEMS_H
#define SSMSWEEP_PLAN_PLAN_ITEMS_H

#include "ssmsweep/plan/plan.h"

// Local, and the same on every rank.  Fills members, groups, stretches and order of a plan that has its runs.
enum status plan_make_items(struct plan *plan, const struct job *job, const struct dims *dims,
                            const struct corpus *corpus, int ranks, struct error *err);

#endif
