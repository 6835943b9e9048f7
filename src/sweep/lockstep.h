// SPDX-License-Identifier: Apache-2.0
// Samples in a group of runs: the reference and the runs that are compared with it go through the model side
// by side, layer by layer, and what they differ by is measured at once.  The processor takes one sample at a
// time, a GPU as many as its memory holds.
#ifndef SSMSWEEP_SWEEP_LOCKSTEP_H
#define SSMSWEEP_SWEEP_LOCKSTEP_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/plan/lane.h"
#include "ssmsweep/sweep/scheduler.h"
#include "worker.h"

struct lockstep; // opaque: the buffers of a rank

// Local.  On the backend of `forward`, with room for the shape.  Worker, forward and store are borrowed, so
// are scales (NULL where no run needs them).  STATUS_IO: out of memory, of the host or of the backend.
enum status lockstep_open(struct lockstep **lockstep, const struct worker *worker, struct forward *forward,
                          const struct group_shape *shape, struct store *store, const float *scales,
                          struct error *err);
// Local.  What it takes in memory of the host, where that of the backend is another.
size_t lockstep_bytes_here(const struct worker *worker, const struct group_shape *shape);
void lockstep_close(struct lockstep *lockstep); // NULL is fine

// Local.  Is the same finished of both samples, of the runs of the group?
bool lockstep_alike(const struct plan *plan, const struct group *group, int a, int b,
                    const struct finished *finished);

// Local.  Computes and stores those runs of the group that are not finished, and marks those that were
// stored.  Samples that go together are alike.  STATUS_IO: not all of them could be, see lockstep_failure();
// the others were.  STATUS_STOPPED: the time of grace is over, and nothing was stored.
enum status lockstep_samples(struct lockstep *lockstep, const struct group *group, const int *samples,
                             int count, struct finished *finished, struct scheduler *scheduler,
                             struct error *err);

// Local, after STATUS_IO: the index-th of the runs that could not be stored, and why.  False: there are no
// more.
bool lockstep_failure(const struct lockstep *lockstep, int index, int *run, const struct error **why);

#endif
