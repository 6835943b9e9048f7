// SPDX-License-Identifier: Apache-2.0
#include "engine.h"

#include <pthread.h>

#include "ssmsweep/base/team.h"

struct packing {
    const struct engine *engine;
    const struct model *model;
    pthread_mutex_t lock;
    struct error err; // of one of the threads that failed
};

// Tasks of one thread, until there are none left.
static enum status pack_some(const struct engine *engine, const struct model *model, struct error *err)
{
    const int tasks = weights_tasks(engine->weights);
    struct arena scratch = {0};
    for (int t = node_block_next(&engine->block); t < tasks && !err->status;
         t = node_block_next(&engine->block)) {
        weights_pack(engine->weights, t, &scratch, err);
        model_release(model); // each rank maps only what it is at
    }
    arena_clear(&scratch);
    return err->status;
}

static void pack_part(void *context, int part)
{
    struct packing *packing = context;
    struct error mine = {0};
    (void)part;
    if (pack_some(packing->engine, packing->model, &mine) == STATUS_OK) return;
    pthread_mutex_lock(&packing->lock);
    packing->err = mine;
    pthread_mutex_unlock(&packing->lock);
}

static enum status pack_all(const struct engine *engine, const struct model *model, int threads,
                            struct error *err)
{
    struct team *team = NULL;
    struct packing packing = {.engine = engine, .model = model, .lock = PTHREAD_MUTEX_INITIALIZER};
    if (team_open(&team, threads, err)) return err->status;
    team_run(team, threads, pack_part, &packing);
    team_close(team);
    if (packing.err.status) *err = packing.err;
    return err->status;
}

enum status engine_open(struct engine *engine, const struct comm *comm, const struct model *model,
                        unsigned parts, int max_tokens, int threads, struct error *err)
{
    node_block_open(&engine->block, comm, weights_bytes(model, parts), err);
    if (comm_agree(comm, err)) return err->status;
    weights_open(&engine->weights, model, parts, engine->block.memory, err);
    if (comm_agree(comm, err)) return err->status;
    pack_all(engine, model, threads, err);
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
