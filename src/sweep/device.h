// SPDX-License-Identifier: Apache-2.0
// The GPU of a rank: which one, if any (device.c); samples of the calibration and items that go through the
// model there, many samples at a time (device_batch.c).
// What it cannot do, or fails in, is left to the processor: the bits are the same.
#ifndef SSMSWEEP_SWEEP_DEVICE_H
#define SSMSWEEP_SWEEP_DEVICE_H

#include "ssmsweep/comm/comm.h"
#include "ssmsweep/plan/lane.h"
#include "ssmsweep/sweep/scheduler.h"
#include "ssmsweep/sweep/sweep.h"
#include "worker.h"

// Collective.  Shares the GPUs of each node out among its ranks, one rank for each, the lowest ranks first:
// rank r of a node looks at device r modulo their number, of those that it sees, then at those behind it.
// word: that of --device.  *device: of this rank, or -1; *devices: how many ranks have one; the log says who
// computes where.  STATUS_USAGE: a GPU is asked for, and no rank has one.
enum status device_choose(const char *word, const struct comm *comm, const struct log *log, int *device,
                          int *devices, struct error *err);

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

struct device; // opaque: what a rank has on its GPU: the weights and a workspace, once for both phases

// Local.  Takes the GPU of the worker; there is one.  What is wrong with it the log says, and nothing is
// computed there then.  STATUS_IO: out of memory of the host.
enum status device_open(struct device **device, const struct worker *worker, struct error *err);
void device_close(struct device *device);       // NULL is fine, as for all of these
bool device_works(const struct device *device); // or is anything left to the processor?

// ---- calibration ----

// Local, equal on all ranks.  Can GPUs observe the samples of this calibration?
bool device_can_look(const struct worker *worker);

// Local.  Makes ready for passes of up to so many samples; false: there are none, the log says why.
bool device_begin_look(struct device *device, int samples);
void device_end_look(struct device *device);
void device_renew(struct device *device); // the weights have changed since

// Local.  One pass over those samples of the calibration that fit, of samples[0 .. count) the first; returns
// their number.  observation: what is asked for is theirs, with room for `count`; `row` is given.  0: the
// time of grace is over, or the processor is to do it; the log says why.
int device_look(struct device *device, const int *samples, int count, struct observation *observation,
                const struct capture *capture);

// Local.  What was observed of a sample is not finite, and the processor is to observe it: the log says so
// once.
void device_tell_broken(struct device *device, int sample);

// ---- the sweep ----

// Local.  Makes ready for items; false: there is no memory on it, which the log says.  All that is given is
// borrowed.
bool device_begin(struct device *device, struct store *store, const float *scales, struct finished *finished);

// Local.  So many items are worth taking at once; 0: none.
int device_items(const struct device *device);

// Local.  Computes and stores items first .. first + count - 1.  False: not all of them are done, and the
// processor is to do what is left; the log says why.
bool device_run(struct device *device, int first, int count, struct scheduler *scheduler);

#endif
