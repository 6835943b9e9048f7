// SPDX-License-Identifier: Apache-2.0
#include "worker.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/numerics/calibrate.h"
#include "ssmsweep/sweep/scheduler.h"

static const int32_t *ids_of(const struct worker *worker, int sample)
{
    return worker->corpus->ids + (size_t)sample * (size_t)worker->corpus->max_tokens;
}

// ---- one sample ----

struct sweeping {
    const struct worker *worker;
    struct store *store;
    const float *scales;
    int observed; // samples that calibration stored
    long long stored;
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
    (void)layer;
    scheduler_poll(((struct sweeping *)context)->scheduler);
    return true;
}

static void begin_sample(struct sweeping *sweeping, int run, int sample, struct error *err)
{
    sweeping->run = run;
    sweeping->sample = sample;
    sweeping->last = -1;
    sweeping->err = err;
}

// `whole`: the pass went through.
static enum status end_sample(struct sweeping *sweeping, bool whole, double seconds, struct error *err)
{
    if (!whole) {
        store_write_cancel(sweeping->store);
        return error_set(err, STATUS_INTERNAL, "the pass of sample %d stopped",
                         sweeping->sample); // if none was set
    }
    if (store_write_done(sweeping->store, sweeping->run, sweeping->sample, (float)seconds, err))
        return err->status;
    sweeping->stored++;
    return STATUS_OK;
}

static struct capture capture_for(struct sweeping *sweeping)
{
    return (struct capture){.want = sweeping->worker->plan->want,
                            .take = store_tensor,
                            .between_layers = sweep_between_layers,
                            .context = sweeping};
}

static void add_stored(const struct sweeping *sweeping, long long *stored)
{
    long long all;
    MPI_Allreduce(&sweeping->stored, &all, 1, MPI_LONG_LONG, MPI_SUM, sweeping->worker->comm->world);
    *stored += all;
}

// ---- calibration ----

struct calibration {
    struct sweeping sweeping; // of plan->observed_run
    float *observed;          // [samples][n_layer][SITE_COUNT], zero where another rank observed
};

static enum status observe_sample(void *context, int sample, struct scheduler *scheduler, struct error *err)
{
    struct calibration *calibration = context;
    struct sweeping *sweeping = &calibration->sweeping;
    const struct worker *worker = sweeping->worker;
    const int run = worker->plan->observed_run;
    float *observed = calibration->observed + (size_t)sample * (size_t)worker->plan->n_layer * SITE_COUNT;
    struct capture capture = capture_for(sweeping);
    double started = progress_clock();
    sweeping->scheduler = scheduler;
    if (run < 0) capture.want = NULL;
    begin_sample(sweeping, run, sample, err);
    bool whole = forward_observe(worker->forward, worker->percentile_alpha, ids_of(worker, sample),
                                 worker->corpus->length[sample], &capture, observed);
    if (run >= 0) return end_sample(sweeping, whole, progress_clock() - started, err);
    return whole ? STATUS_OK : error_set(err, STATUS_INTERNAL, "calibration of sample %d stopped", sample);
}

// Each number was observed by one rank and is zero bits on the others, so OR gives its very bits.
static void share_observed(const struct comm *comm, float *observed, int samples, size_t per_sample)
{
    for (int s = 0; s < samples; s++)
        MPI_Allreduce(MPI_IN_PLACE, observed + (size_t)s * per_sample, (int)per_sample, MPI_UINT32_T, MPI_BOR,
                      comm->world);
}

enum status worker_calibrate(const struct worker *worker, struct store *store, int samples, float **scales,
                             struct progress *progress, long long *stored, struct error *err)
{
    const struct plan *plan = worker->plan;
    size_t per_sample = (size_t)plan->n_layer * SITE_COUNT;
    struct calibration calibration = {.sweeping = {.worker = worker, .store = store}};
    calibration.observed = calloc((size_t)samples * per_sample, sizeof(float));
    float *made = calloc((size_t)plan->n_cells * per_sample, sizeof *made);
    if (!calibration.observed || !made)
        error_memory(err, (unsigned long long)samples * per_sample * sizeof(float), "the observations");
    struct task task = {.n_items = samples, .run = observe_sample, .context = &calibration};
    if (comm_agree(worker->comm, err)) goto free_all;
    scheduler_run(worker->comm, &task, progress, err);
    add_stored(&calibration.sweeping, stored);
    if (err->status) goto free_all;
    share_observed(worker->comm, calibration.observed, samples, per_sample);
    for (int cell = 0; cell < plan->n_cells; cell++)
        calibrate_scales(calibration.observed, plan->calib_data_num[cell], plan->n_layer,
                         made + (size_t)cell * per_sample);
    *scales = made;
    made = NULL;
free_all:
    free(made);
    free(calibration.observed);
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
    struct capture capture = capture_for(sweeping);
    double started = progress_clock();
    if (run == worker->plan->observed_run && sample < sweeping->observed) return STATUS_OK;
    begin_sample(sweeping, run, sample, err);
    bool whole = forward_run(worker->forward, worker->plan->runs[run].mode, scales_of(sweeping, run),
                             ids_of(worker, sample), worker->corpus->length[sample], &capture);
    return end_sample(sweeping, whole, progress_clock() - started, err);
}

static enum status sweep_item(void *context, int index, struct scheduler *scheduler, struct error *err)
{
    struct sweeping *sweeping = context;
    const struct item *item = &sweeping->worker->plan->items[index];
    sweeping->scheduler = scheduler;
    for (int s = 0; s < item->samples && !err->status; s++)
        sweep_sample(sweeping, item->run, item->first_sample + s, err);
    if (sweeping->worker->model) model_release(sweeping->worker->model); // rows of embeddings add up
    return err->status;
}

enum status worker_sweep(const struct worker *worker, struct store *store, const float *scales, int observed,
                         struct progress *progress, long long *stored, struct error *err)
{
    struct sweeping sweeping = {.worker = worker, .store = store, .scales = scales, .observed = observed};
    struct task task = {.n_items = worker->plan->n_items, .run = sweep_item, .context = &sweeping};
    scheduler_run(worker->comm, &task, progress, err);
    add_stored(&sweeping, stored);
    return err->status;
}
