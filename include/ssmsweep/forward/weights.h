// SPDX-License-Identifier: Apache-2.0
// A model's weights, converted and packed for the kernels: float and W8A8, in one block of memory without
// pointers inside, so that the ranks of a node can share it.
#ifndef SSMSWEEP_FORWARD_WEIGHTS_H
#define SSMSWEEP_FORWARD_WEIGHTS_H

#include <stddef.h>

#include "ssmsweep/arch/groups.h"
#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/status.h"

// Which packings a sweep needs.
enum weights_part {
    WEIGHTS_FP32 = 1,
    WEIGHTS_FP16 = 2,
    WEIGHTS_BY_UNIT = 4, // of recipes by unit
    WEIGHTS_LM_HEAD = 8, // final norm and lm_head, for logits
};

struct weights; // opaque: a view of the block, cheap, one per process

// Bytes of the block for the given parts.  needs: [n_layer] of WEIGHTS_BY_UNIT; NULL: what the settings need
// that have each unit's first format.  Equal on all ranks for equal arguments.
size_t weights_bytes(const struct model *model, unsigned parts, const struct needs *needs);

// View of a block of weights_bytes() at `memory` (64-byte aligned), not filled yet.  Model and needs must
// outlive it.
enum status weights_open(struct weights **weights, const struct model *model, unsigned parts,
                         const struct needs *needs, void *memory, struct error *err);
void weights_close(struct weights *weights); // leaves the memory alone

// Packing jobs are numbered 0 .. weights_tasks()-1; each fills its own part of the block, so ranks that share
// the memory can divide them; all must be done (and fenced) before the first forward pass.
int weights_tasks(const struct weights *weights);
// Where the model's sizes are `grouped`, weights by unit are left out until weights_set_groups() was called:
// then the tasks are those of weights by unit alone, and are done as the others. scratch: zeroed before the
// first task, kept from task to task by each thread, which ends with arena_clear(); NULL: made for the one
// task.  STATUS_IO: out of memory.
enum status weights_pack(struct weights *weights, int task, struct arena *scratch, struct error *err);

// Local.  The order of heads and channels of weights by unit, and of passes by unit, which put captures back
// into the model's.  Must outlive the weights.
void weights_set_groups(struct weights *weights, const struct groups *groups);

const struct dims *weights_dims(const struct weights *weights);

#endif
