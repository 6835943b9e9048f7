// SPDX-License-Identifier: Apache-2.0
// The digest of a model's weights, made by a thread of its own while the weights are put to use: hashing
// takes longer than anything else of the start.
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "ssmsweep/input/checkpoint.h"
#include "ssmsweep/input/model.h"

struct digesting {
    pthread_t thread;
    bool threaded;
    const struct checkpoint *checkpoint;
    unsigned char digest[HASH_BYTES];
    struct error err;
};

static void *digest_weights(void *context)
{
    struct digesting *work = context;
    checkpoint_digest(work->checkpoint, work->digest, &work->err);
    return NULL;
}

enum status model_digest_begin(struct model *model, struct error *err)
{
    sigset_t all, before;
    struct digesting *work = calloc(1, sizeof *work);
    if (!work) return error_memory(err, sizeof *work, "a digest");
    work->checkpoint = model->checkpoint;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); // signals are the main thread's
    work->threaded = pthread_create(&work->thread, NULL, digest_weights, work) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!work->threaded) digest_weights(work);
    model->digesting = work;
    return STATUS_OK;
}

enum status model_digest_end(struct model *model, struct error *err)
{
    struct digesting *work = model->digesting;
    if (!work) return STATUS_OK;
    if (work->threaded) pthread_join(work->thread, NULL);
    if (work->err.status)
        *err = work->err;
    else
        hash_hex(work->digest, model->digest_hex);
    free(work);
    model->digesting = NULL;
    return err->status;
}
