// SPDX-License-Identifier: Apache-2.0
#include "worker.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/numerics/calibrate.h"
#include "ssmsweep/sweep/scheduler.h"

static const int32_t *ids_of(const struct corpus *corpus, int sample)
{
    return corpus->ids + (size_t)sample * (size_t)corpus->max_tokens;
}

static enum status end_at_once(const struct worker *worker, struct error *err)
{
    return error_set(err, STATUS_STOPPED, "stopped by %s, and %g seconds of grace passed",
                     stop_signal_name(worker->stop->signal), worker->stop->grace_seconds);
}

// ---- the outputs of a sample ----

struct sweeping {
    const struct worker *worker;
    struct store *store;
    const float *scales;
    unsigned char *stored; // [n_runs][samples]: by this rank; another attempt may store a sample again
    long long failed;
    // of the sample at work
    struct scheduler *scheduler;
    struct error *err;
    int run, sample;
    int last; // place of the last captured tensor: layer * COMPONENT_COUNT + component
};

static bool store_tensor(void *context, int layer, enum component component, const float *values, int length,
                         int width)
{
    struct sweeping *sweeping = context;
    int place = layer * COMPONENT_COUNT + (int)component;
    if (place <= sweeping->last) { // the digest stands on this order
        error_set(sweeping->err, STATUS_INTERNAL, "layer %d %s came out of order", layer,
                  component_name(component));
        return false;
    }
    sweeping->last = place;
    return store_write_output(sweeping->store, sweeping->run, layer, component, sweeping->sample, values,
                              length, width, sweeping->err) == STATUS_OK;
}

static bool sweep_between_layers(void *context, int layer)
{
    struct sweeping *sweeping = context;
    (void)layer;
    scheduler_poll(sweeping->scheduler);
    if (!scheduler_overdue(sweeping->scheduler)) return true;
    end_at_once(sweeping->worker, sweeping->err);
    return false;
}

static void begin_sample(struct sweeping *sweeping, int run, int sample, struct error *err)
{
    sweeping->err = err;
    sweeping->run = run;
    sweeping->sample = sample;
    sweeping->last = -1;
}

// ---- calibration ----

struct calibration {
    const struct worker *worker;
    struct store *store;
    struct observations *known;
    int *samples;     // those that are not present
    uint32_t *counts; // histogram of the sample at work; NULL where none is taken
    struct hash *hash;
    struct scheduler *scheduler;
    struct sweeping sweeping; // of the outputs that come with the observation
    bool lost;                // not all of them could be stored
};

static bool observe_between_layers(void *context, int layer)
{
    struct scheduler *scheduler = ((struct calibration *)context)->scheduler;
    (void)layer;
    scheduler_poll(scheduler);
    return !scheduler_overdue(scheduler);
}

static bool observe_tensor(void *context, int layer, enum component component, const float *values,
                           int length, int width)
{
    struct calibration *calibration = context;
    if (!calibration->lost)
        calibration->lost = !store_tensor(&calibration->sweeping, layer, component, values, length, width);
    return true; // the observation goes on
}

// Outputs that were lost are left to the sweep, which also tells why.
static void end_outputs(struct calibration *calibration, double seconds)
{
    struct error ignored = {0};
    struct sweeping *sweeping = &calibration->sweeping;
    if (calibration->lost)
        store_write_cancel(sweeping->store);
    else if (store_write_done(sweeping->store, sweeping->run, sweeping->sample, (float)seconds, &ignored) ==
             STATUS_OK)
        calibration->known->outputs[sweeping->sample] = 1;
}

// The pass of one sample, with its outputs where they are not stored yet.  False: grace is over.
static bool observe(struct calibration *calibration, int sample, const struct observation *observation)
{
    const struct worker *worker = calibration->sweeping.worker;
    const int run = worker->plan->observed_run;
    const bool stores = calibration->known->outputs && sample < worker->plan->shared_samples &&
                        !calibration->known->outputs[sample];
    struct error ignored = {0};
    struct capture capture = {.want = stores ? worker->plan->want : NULL,
                              .take = observe_tensor,
                              .between_layers = observe_between_layers,
                              .context = calibration};
    double started = progress_clock();
    if (stores)
        log_rank(worker->log, LOG_VERBOSE, "observes sample %d, and with it computes run %d (mode %s)",
                 sample, run, worker->plan->runs[run].mode->name);
    else
        log_rank(worker->log, LOG_VERBOSE, "observes sample %d", sample);
    calibration->lost = false;
    begin_sample(&calibration->sweeping, run, sample, &ignored);
    bool whole = forward_observe(worker->forward, observation, ids_of(worker->calibration, sample),
                                 worker->calibration->length[sample], &capture);
    if (!whole) calibration->lost = true;
    if (stores) end_outputs(calibration, progress_clock() - started);
    return whole;
}

// The digest of a sample takes its numbers, then its histogram.
static enum status store_observation(struct calibration *calibration, int sample,
                                     const struct observation *observation, struct error *err)
{
    unsigned char digest[HASH_BYTES];
    const size_t row = (size_t)calibration->worker->plan->n_layer * SITE_COUNT;
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
    const size_t row = (size_t)worker->plan->n_layer * SITE_COUNT;
    const struct observation observation = {.observers = &worker->plan->observers,
                                            .numbers = calibration->known->observed + (size_t)sample * row,
                                            .histogram = calibration->counts};
    calibration->scheduler = scheduler;
    if (calibration->counts) memset(calibration->counts, 0, row * HISTOGRAM_BINS * sizeof(uint32_t));
    if (observe(calibration, sample, &observation)) {
        if (store_observation(calibration, sample, &observation, err) == STATUS_OK) {
            observations_count(calibration->known, worker->plan, sample, calibration->counts);
            return STATUS_OK;
        }
        if (!store_can_write(calibration->store)) scheduler_end(scheduler);
    } else {
        end_at_once(worker, err);
    }
    memset(observation.numbers, 0, row * sizeof *observation.numbers); // another rank may have it
    return err->status;
}

static int count_outputs(const struct plan *plan, const struct observations *known)
{
    int n = 0;
    for (int s = 0; s < plan->shared_samples && known->outputs; s++)
        n += known->outputs[s] != 0;
    return n;
}

// What one rank stored, all know; counts what is new.
static void share_outputs(const struct worker *worker, struct observations *known, int before)
{
    if (!known->outputs) return;
    MPI_Allreduce(MPI_IN_PLACE, known->outputs, worker->plan->shared_samples, MPI_UNSIGNED_CHAR, MPI_MAX,
                  worker->comm->world);
    known->outputs_added = count_outputs(worker->plan, known) - before;
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
    const size_t counts = (size_t)calibration->worker->plan->n_layer * SITE_COUNT * HISTOGRAM_BINS;
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
    size_t per_sample = (size_t)worker->plan->n_layer * SITE_COUNT;
    struct calibration calibration = {
        .worker = worker, .store = store, .known = known, .sweeping = {.worker = worker, .store = store}};
    const int before = count_outputs(worker->plan, known);
    if (open_calibration(&calibration, err)) goto close_calibration;
    if (worker->comm->rank != 0) // rank 0 alone contributes what is known
        memset(known->observed, 0, (size_t)known->samples * per_sample * sizeof *known->observed);
    struct task task = {.n_items = list_absent(known, calibration.samples),
                        .attempts = WORKER_ATTEMPTS,
                        .run = observe_sample,
                        .context = &calibration,
                        .stop = worker->stop,
                        .log = worker->log};
    if (scheduler_run(worker->comm, &task, progress, err) == STATUS_OK)
        observations_share(known, worker->plan, worker->comm);
    known->added = task.done;
    share_outputs(worker, known, before);
close_calibration:
    close_calibration(&calibration);
    return err->status;
}

// ---- the sweep ----

static const float *scales_of(const struct sweeping *sweeping, int run)
{
    int cell = sweeping->worker->plan->runs[run].cell;
    if (cell == PLAN_FLOAT_CELL) return NULL;
    return sweeping->scales + (size_t)cell * (size_t)sweeping->worker->plan->n_layer * SITE_COUNT;
}

static enum status sweep_sample(struct sweeping *sweeping, int run, int sample, struct error *err)
{
    const struct worker *worker = sweeping->worker;
    struct capture capture = {.want = worker->plan->want,
                              .take = store_tensor,
                              .between_layers = sweep_between_layers,
                              .context = sweeping};
    double started = progress_clock();
    const struct mode *mode = worker->plan->runs[run].mode;
    log_rank(worker->log, LOG_VERBOSE, "computes run %d (mode %s), sample %d", run, mode->name, sample);
    begin_sample(sweeping, run, sample, err);
    bool whole = forward_run(worker->forward, mode, scales_of(sweeping, run), ids_of(worker->corpus, sample),
                             worker->corpus->length[sample], &capture);
    if (!whole) {
        store_write_cancel(sweeping->store);
        return error_set(err, STATUS_INTERNAL, "the pass of sample %d stopped", sample); // if none was set
    }
    float seconds = (float)(progress_clock() - started);
    if (store_write_done(sweeping->store, run, sample, seconds, err)) return err->status;
    sweeping->stored[(size_t)run * (size_t)worker->plan->samples + (size_t)sample] = 1;
    return STATUS_OK;
}

// The last attempt marks what fails and goes on with the next sample; *first keeps the first error.
static void fail_sample(struct sweeping *sweeping, int run, int sample, struct error *err,
                        struct error *first)
{
    struct error named = {0};
    error_set(&named, err->status, "mode %s, sample %d: %.900s", sweeping->worker->plan->runs[run].mode->name,
              sample, err->text);
    log_rank(sweeping->worker->log, LOG_NORMAL, "%s; given up", named.text);
    store_mark_failed(sweeping->store, run, sample);
    sweeping->failed++;
    if (!first->status) *first = named;
    *err = (struct error){0};
}

static enum status sweep_item(void *context, int index, struct scheduler *scheduler, struct error *err)
{
    struct sweeping *sweeping = context;
    const struct item *item = &sweeping->worker->plan->items[index];
    struct error first = {0};
    sweeping->scheduler = scheduler;
    if (sweeping->worker->model) model_release(sweeping->worker->model); // rows of embeddings add up
    for (int s = 0; s < item->samples; s++) {
        int sample = item->first_sample + s;
        if (sweep_sample(sweeping, item->run, sample, err) == STATUS_OK) continue;
        if (err->status != STATUS_IO) return err->status;
        if (!store_can_write(sweeping->store)) scheduler_end(scheduler);
        if (scheduler_ends(scheduler) || !scheduler_last_attempt(scheduler)) return err->status;
        fail_sample(sweeping, item->run, sample, err, &first);
    }
    *err = first;
    return err->status;
}

static long long count_stored(const struct sweeping *sweeping)
{
    const struct plan *plan = sweeping->worker->plan;
    long long stored = 0;
    for (int r = 0; r < plan->n_runs; r++) {
        unsigned char *of_run = sweeping->stored + (size_t)r * (size_t)plan->samples;
        MPI_Allreduce(MPI_IN_PLACE, of_run, plan->samples, MPI_UNSIGNED_CHAR, MPI_MAX,
                      sweeping->worker->comm->world);
        for (int s = 0; s < plan->samples; s++)
            stored += of_run[s];
    }
    return stored;
}

enum status worker_sweep(const struct worker *worker, struct store *store, const float *scales,
                         struct progress *progress, struct sweep_count *count, struct error *err)
{
    struct sweeping sweeping = {.worker = worker, .store = store, .scales = scales};
    struct task task = {.n_items = worker->plan->n_items,
                        .attempts = WORKER_ATTEMPTS,
                        .run = sweep_item,
                        .context = &sweeping,
                        .stop = worker->stop,
                        .log = worker->log};
    size_t samples = (size_t)worker->plan->n_runs * (size_t)worker->plan->samples;
    sweeping.stored = calloc(samples, 1);
    if (!sweeping.stored) error_memory(err, samples, "item states");
    if (comm_agree(worker->comm, err)) goto free_stored;
    scheduler_run(worker->comm, &task, progress, err);
    *count = (struct sweep_count){.stored = count_stored(&sweeping), .ended = task.ended};
    MPI_Allreduce(&sweeping.failed, &count->failed, 1, MPI_LONG_LONG, MPI_SUM, worker->comm->world);
free_stored:
    free(sweeping.stored);
    return err->status;
}
