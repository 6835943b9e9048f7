// SPDX-License-Identifier: Apache-2.0
// Groups of heads and channels (arch/groups.h), which an earlier pass over the calibration samples forms.
#ifndef SSMSWEEP_SWEEP_HEAD_GROUPS_H
#define SSMSWEEP_SWEEP_HEAD_GROUPS_H

#include "setup.h"
#include "worker.h"

// Local.  Settles whether scales are of groups: in sweep->settled and in the sizes of the model.
// STATUS_USAGE: the job asks for them where they cannot be.
enum status head_groups_settle(struct sweep *sweep, struct error *err);

// Collective.  Takes those that the file of an earlier run holds.  *found: they are there and whole.
enum status head_groups_take(struct sweep *sweep, struct store *store, bool *found, struct error *err);

// Collective, after head_groups_take().  Where they were not found forms them of all calibration samples and
// stores them; then packs the weights by unit in their order.  The same groups for any number of ranks.
// STATUS_INPUT: the channels of some heads do not fall into groups.
enum status head_groups_find(struct sweep *sweep, const struct worker *worker, struct engine *engine,
                             struct store *store, bool found, struct progress *progress, struct error *err);

#endif
