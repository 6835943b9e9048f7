// SPDX-License-Identifier: Apache-2.0
// Calibration: what the samples show, and the scales that follow from it.
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/numerics/calibrate.h"
#include "ssmsweep/sweep/scheduler.h"
#include "worker.h"

struct calibration {
    const struct worker *worker;
    struct store *store;
    struct observations *known;
    int *samples; // those that are not present
    struct hash *hash;
    struct scheduler *scheduler;
};

static bool observe_between_layers(void *context, int layer)
{
    struct scheduler *scheduler = ((struct calibration *)context)->scheduler;
    (void)layer;
    scheduler_poll(scheduler);
    return !scheduler_overdue(scheduler);
}

// The pass of one sample.  False: grace is over.
static bool observe(struct calibration *calibration, int sample, float *observed)
{
    const struct worker *worker = calibration->worker;
    const struct corpus *corpus = worker->corpus;
    const struct capture capture = {.between_layers = observe_between_layers, .context = calibration};
    log_rank(worker->log, LOG_VERBOSE, "observes sample %d", sample);
    return forward_observe(worker->forward, worker->percentile_alpha,
                           corpus->ids + (size_t)sample * (size_t)corpus->max_tokens, corpus->length[sample],
                           &capture, observed);
}

static enum status observe_sample(void *context, int item, struct scheduler *scheduler, struct error *err)
{
    struct calibration *calibration = context;
    const struct worker *worker = calibration->worker;
    int sample = calibration->samples[item];
    size_t per_sample = (size_t)worker->plan->n_layer * SITE_COUNT;
    float *observed = calibration->known->observed + (size_t)sample * per_sample;
    unsigned char digest[HASH_BYTES];
    calibration->scheduler = scheduler;
    if (observe(calibration, sample, observed)) {
        hash_update(calibration->hash, observed, per_sample * sizeof *observed);
        hash_finish(calibration->hash, digest);
        if (store_write_observed(calibration->store, sample, observed, digest, err) == STATUS_OK)
            return STATUS_OK;
        if (!store_can_write(calibration->store)) scheduler_end(scheduler);
    } else {
        worker_overdue(worker, err);
    }
    memset(observed, 0, per_sample * sizeof *observed); // another rank may have it
    return err->status;
}

// Each number was observed by one rank and is zero bits on the others, so OR gives its very bits.
static void share_observed(const struct comm *comm, struct observations *known, size_t per_sample)
{
    for (int s = 0; s < known->samples; s++) {
        MPI_Allreduce(MPI_IN_PLACE, known->observed + (size_t)s * per_sample, (int)per_sample, MPI_UINT32_T,
                      MPI_BOR, comm->world);
        known->present[s] = 1;
    }
}

static int list_absent(const struct observations *known, int *samples)
{
    int n = 0;
    for (int s = 0; s < known->samples; s++)
        if (!known->present[s]) samples[n++] = s;
    return n;
}

enum status worker_observe(const struct worker *worker, struct store *store, struct observations *known,
                           struct progress *progress, struct error *err)
{
    size_t per_sample = (size_t)worker->plan->n_layer * SITE_COUNT;
    struct calibration calibration = {.worker = worker, .store = store, .known = known};
    calibration.samples = calloc((size_t)known->samples + 1, sizeof *calibration.samples);
    calibration.hash = hash_open();
    if (!calibration.samples || !calibration.hash)
        error_memory(err, (unsigned long long)known->samples * sizeof(int), "the calibration");
    if (comm_agree(worker->comm, err)) goto free_all;
    if (worker->comm->rank != 0) // rank 0 alone contributes what is known
        memset(known->observed, 0, (size_t)known->samples * per_sample * sizeof *known->observed);
    struct task task = {.n_items = list_absent(known, calibration.samples),
                        .attempts = WORKER_ATTEMPTS,
                        .run = observe_sample,
                        .context = &calibration,
                        .stop = worker->stop,
                        .log = worker->log};
    if (scheduler_run(worker->comm, &task, progress, err) == STATUS_OK)
        share_observed(worker->comm, known, per_sample);
    known->added = task.done;
free_all:
    hash_close(calibration.hash);
    free(calibration.samples);
    return err->status;
}

enum status worker_scales(const struct plan *plan, const struct observations *known, float **scales,
                          struct error *err)
{
    size_t per_cell = (size_t)plan->n_layer * SITE_COUNT;
    float *made = calloc((size_t)plan->n_cells * per_cell + 1, sizeof *made);
    if (!made) return error_memory(err, (size_t)plan->n_cells * per_cell * sizeof *made, "the scales");
    for (int cell = 0; cell < plan->n_cells; cell++)
        calibrate_scales(known->observed, plan->cells[cell].calib_data_num, plan->n_layer,
                         made + (size_t)cell * per_cell);
    *scales = made;
    return STATUS_OK;
}
