// SPDX-License-Identifier: Apache-2.0
#include "engine.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

// Calibration is an FP32 pass, and a W8A8 checkpoint needs none.
unsigned engine_parts(const struct plan *plan, const struct model *model)
{
    unsigned parts = plan->n_cells > 0 ? WEIGHTS_W8A8 : 0;
    if (plan->n_cells > 0 && model->kind == MODEL_FLOAT) parts |= WEIGHTS_FP32;
    if (plan->logits) parts |= WEIGHTS_LM_HEAD;
    for (int r = 0; r < plan->n_runs; r++) {
        if (plan->runs[r].mode->precision == PRECISION_FP32) parts |= WEIGHTS_FP32;
        if (plan->runs[r].mode->precision == PRECISION_FP16) parts |= WEIGHTS_FP16;
    }
    return parts;
}

// Tasks part, part + parts, ... by the threads of this rank.
static enum status pack_own(const struct engine *engine, const struct model *model, int threads,
                            struct error *err)
{
    const int tasks = weights_tasks(engine->weights);
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
    for (int t = engine->block.part; t < tasks; t += engine->block.parts) {
        struct error mine = {0};
        weights_pack(engine->weights, t, &mine);
        model_release(model); // each rank maps only what it is at
        if (mine.status) {
#pragma omp critical
            *err = mine;
        }
    }
#ifdef __GLIBC__
    malloc_trim(0); // the scratch of packing
#endif
    return err->status;
}

enum status engine_open(struct engine *engine, const struct comm *comm, const struct model *model,
                        unsigned parts, int max_tokens, int threads, struct error *err)
{
    node_block_open(&engine->block, comm, weights_bytes(model, parts), err);
    if (comm_agree(comm, err)) return err->status;
    weights_open(&engine->weights, model, parts, engine->block.memory, err);
    if (comm_agree(comm, err)) return err->status;
    pack_own(engine, model, threads, err);
    node_block_fence(&engine->block, comm); // the parts of all are visible to each
    if (comm_agree(comm, err)) return err->status;
    forward_open(&engine->forward, engine->weights, max_tokens, threads, err);
    return comm_agree(comm, err);
}

void engine_close(struct engine *engine)
{
    forward_close(engine->forward);
    weights_close(engine->weights);
    node_block_close(&engine->block);
}
