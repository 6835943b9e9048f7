// SPDX-License-Identifier: Apache-2.0
// Weights, once per node, and the workspace of a rank.
#ifndef SSMSWEEP_SWEEP_ENGINE_H
#define SSMSWEEP_SWEEP_ENGINE_H

#include "ssmsweep/comm/comm.h"
#include "ssmsweep/comm/node_block.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/forward/weights.h"
#include "ssmsweep/plan/plan.h"

// In caller memory; zeroed before use.
struct engine {
    struct node_block block;
    struct weights *weights;
    struct forward *forward;
};

// Collective.  Packs the weights, by all ranks and threads of a node together.  The model must outlive the
// engine. engine_close() frees, after a failure too.
enum status engine_open(struct engine *engine, const struct comm *comm, const struct model *model,
                        unsigned parts, int max_tokens, int threads, struct error *err);
void engine_close(struct engine *engine);

#endif
