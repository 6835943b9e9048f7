// SPDX-License-Identifier: Apache-2.0
// The GPU of a rank: which one, if any; and items that go through the model there, many samples at a time.
// What it cannot do, or fails in, is left to the processor: the bits are the same.
#ifndef SSMSWEEP_SWEEP_DEVICE_H
#define SSMSWEEP_SWEEP_DEVICE_H

#include "ssmsweep/comm/comm.h"
#include "ssmsweep/plan/lane.h"
#include "ssmsweep/sweep/scheduler.h"
#include "ssmsweep/sweep/sweep.h"
#include "worker.h"

// Collective.  Shares the GPUs of each node out among its ranks: one rank for each, those with the lowest
// numbers; rank r of a node looks at its device r modulo their number first.  sweep->device: of this rank, or
// -1; the log says who computes where.  STATUS_USAGE: the job asks for a GPU, and no rank has one.
enum status device_choose(struct sweep *sweep, struct error *err);

// Local, equal on all ranks, once the model is known.  Gives the GPUs up where they do not know its family;
// the log says so.
void device_settle(struct sweep *sweep);

// What a rank's GPU is to hold, beside what CUDA itself takes; no samples: it has no room for one.
struct device_memory {
    struct group_shape shape; // at once
    size_t weights;
    size_t batch;   // streams, outputs and activations of what goes at once
    size_t staging; // rows of the embedding, and what is on its way there and back
};
static inline size_t device_memory_bytes(const struct device_memory *memory)
{
    return memory->weights + memory->batch + memory->staging;
}
// Local, of the rank's device, before anything is there.
void device_foresee(struct device_memory *memory, const struct worker *worker);

struct device; // opaque: a rank's batch on its GPU

// Local.  *device: NULL where the rank has none, or where there is no memory on it, which the log says.
void device_open(struct device **device, const struct worker *worker, struct store *store,
                 const float *scales, struct finished *finished);
void device_close(struct device *device); // NULL is fine

// Local.  So many items are worth taking at once; 0 for NULL.
int device_items(const struct device *device);

// Local.  Computes and stores items first .. first + count - 1.  False: not all of them are done, and the
// processor is to do what is left; the log says why.
bool device_run(struct device *device, int first, int count, struct scheduler *scheduler);

#endif
