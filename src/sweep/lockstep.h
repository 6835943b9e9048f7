// SPDX-License-Identifier: Apache-2.0
// A sample in a group of runs: the reference and the runs that are compared with it go through the model side
// by side, layer by layer, and what they differ by is measured at once.  Memory is that of one sample.
#ifndef SSMSWEEP_SWEEP_LOCKSTEP_H
#define SSMSWEEP_SWEEP_LOCKSTEP_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/sweep/scheduler.h"
#include "worker.h"

struct lockstep; // opaque: the buffers of a rank

// Local.  The worker and the store are borrowed, so are scales (NULL where no run needs them).
enum status lockstep_open(struct lockstep **lockstep, const struct worker *worker, struct store *store,
                          const float *scales, struct error *err);
void lockstep_close(struct lockstep *lockstep); // NULL is fine

// Local.  Computes and stores those runs of the group that are not finished, and marks those that were
// stored.  STATUS_IO: not all of them could be, see lockstep_failure(); the others were.
// STATUS_STOPPED: the time of grace is over, and nothing was stored.
enum status lockstep_sample(struct lockstep *lockstep, const struct group *group, int sample,
                            struct finished *finished, struct scheduler *scheduler, struct error *err);

// Local, after STATUS_IO: the index-th of the runs that could not be stored, and why.  False: there are no
// more.
bool lockstep_failure(const struct lockstep *lockstep, int index, int *run, const struct error **why);

#endif
