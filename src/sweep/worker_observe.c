// SPDX-License-Identifier: Apache-2.0
// Calibration: what the samples show.
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/sweep/scheduler.h"
#include "worker.h"

struct calibration {
    const struct worker *worker;
    struct store *store;
    struct observations *known;
    int *samples;     // those that are not present
    uint32_t *counts; // histogram of the sample at work; NULL where none is taken
    struct hash *hash;
    struct scheduler *scheduler;
    int sample; // at work
};

// In tokens of a layer, all of which cost the same.
static double sample_cost(const struct worker *worker, int sample)
{
    return (double)worker->plan->n_layer * worker->calibration->length[sample];
}

static bool observe_between_layers(void *context, int layer)
{
    const struct calibration *calibration = context;
    struct scheduler *scheduler = calibration->scheduler;
    if (layer > 0)
        scheduler_advance(scheduler, calibration->worker->calibration->length[calibration->sample]);
    scheduler_poll(scheduler);
    return !scheduler_overdue(scheduler);
}

// The pass of one sample.  False: grace is over.
static bool observe(struct calibration *calibration, int sample, const struct observation *observation)
{
    const struct worker *worker = calibration->worker;
    const struct corpus *corpus = worker->calibration;
    const struct capture capture = {.between_layers = observe_between_layers, .context = calibration};
    log_rank(worker->log, LOG_VERBOSE, "observes sample %d", sample);
    return forward_observe(worker->forward, observation,
                           corpus->ids + (size_t)sample * (size_t)corpus->max_tokens, corpus->length[sample],
                           &capture);
}

// The digest of a sample takes its numbers, then its histogram.
static enum status store_observation(struct calibration *calibration, int sample,
                                     const struct observation *observation, struct error *err)
{
    unsigned char digest[HASH_BYTES];
    const size_t row = plan_observed(calibration->worker->plan);
    hash_update(calibration->hash, observation->numbers, row * sizeof *observation->numbers);
    if (observation->histogram)
        hash_update(calibration->hash, observation->histogram,
                    row * HISTOGRAM_BINS * sizeof *observation->histogram);
    hash_finish(calibration->hash, digest);
    return store_write_observed(calibration->store, sample, observation->numbers, observation->histogram,
                                digest, err);
}

static enum status observe_sample(void *context, int item, struct scheduler *scheduler, struct error *err)
{
    struct calibration *calibration = context;
    const struct worker *worker = calibration->worker;
    const int sample = calibration->samples[item];
    const size_t row = plan_observed(worker->plan);
    const struct observation observation = {.observers = &worker->plan->observers,
                                            .numbers = calibration->known->observed + (size_t)sample * row,
                                            .histogram = calibration->counts};
    calibration->scheduler = scheduler;
    calibration->sample = sample;
    if (calibration->counts) memset(calibration->counts, 0, row * HISTOGRAM_BINS * sizeof(uint32_t));
    if (observe(calibration, sample, &observation)) {
        if (store_observation(calibration, sample, &observation, err) == STATUS_OK) {
            observations_count(calibration->known, worker->plan, sample, calibration->counts);
            scheduler_complete(scheduler, sample_cost(worker, sample));
            return STATUS_OK;
        }
        if (!store_can_write(calibration->store)) scheduler_end(scheduler);
    } else {
        worker_overdue(worker, err);
    }
    memset(observation.numbers, 0, row * sizeof *observation.numbers); // another rank may have it
    return err->status;
}

static int list_absent(const struct observations *known, int *samples)
{
    int n = 0;
    for (int s = 0; s < known->samples; s++)
        if (!known->present[s]) samples[n++] = s;
    return n;
}

static enum status open_calibration(struct calibration *calibration, struct error *err)
{
    const struct observations *known = calibration->known;
    const size_t counts = plan_observed(calibration->worker->plan) * HISTOGRAM_BINS;
    calibration->samples = calloc((size_t)known->samples + 1, sizeof *calibration->samples);
    calibration->hash = hash_open();
    if (known->histogram) calibration->counts = malloc(counts * sizeof *calibration->counts);
    if (!calibration->samples || !calibration->hash || (known->histogram && !calibration->counts))
        error_memory(err, (unsigned long long)known->samples * sizeof(int) + counts, "the calibration");
    return comm_agree(calibration->worker->comm, err);
}

static void close_calibration(struct calibration *calibration)
{
    hash_close(calibration->hash);
    free(calibration->counts);
    free(calibration->samples);
}

enum status worker_observe(const struct worker *worker, struct store *store, struct observations *known,
                           struct progress *progress, struct error *err)
{
    size_t per_sample = plan_observed(worker->plan);
    struct calibration calibration = {.worker = worker, .store = store, .known = known};
    if (open_calibration(&calibration, err)) goto close_calibration;
    if (worker->comm->rank != 0) // rank 0 alone contributes what is known
        memset(known->observed, 0, (size_t)known->samples * per_sample * sizeof *known->observed);
    struct task task = {.n_items = list_absent(known, calibration.samples),
                        .attempts = WORKER_ATTEMPTS,
                        .run = observe_sample,
                        .context = &calibration,
                        .stop = worker->stop,
                        .log = worker->log};
    for (int i = 0; i < task.n_items && worker->comm->rank == 0; i++)
        progress->all_work += sample_cost(worker, calibration.samples[i]);
    if (scheduler_run(worker->comm, &task, progress, err) == STATUS_OK)
        observations_share(known, worker->plan, worker->comm);
    known->added = task.done;
close_calibration:
    close_calibration(&calibration);
    return err->status;
}
