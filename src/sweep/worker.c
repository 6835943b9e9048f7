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

// ---- calibration ----

struct calibration {
    const struct worker *worker;
    float *observed; // [samples][n_layer][SITE_COUNT], zero where another rank observed
    struct scheduler *scheduler;
};

static bool observe_between_layers(void *context, int layer)
{
    (void)layer;
    scheduler_poll(((struct calibration *)context)->scheduler);
    return true;
}

static enum status observe_sample(void *context, int sample, struct scheduler *scheduler, struct error *err)
{
    struct calibration *calibration = context;
    const struct worker *worker = calibration->worker;
    struct capture capture = {.between_layers = observe_between_layers, .context = calibration};
    float *observed = calibration->observed + (size_t)sample * (size_t)worker->plan->n_layer * SITE_COUNT;
    calibration->scheduler = scheduler;
    if (forward_observe(worker->forward, worker->percentile_alpha, ids_of(worker, sample),
                        worker->corpus->length[sample], &capture, observed))
        return STATUS_OK;
    return error_set(err, STATUS_INTERNAL, "calibration of sample %d stopped", sample);
}

// Each number was observed by one rank and is zero bits on the others, so OR gives its very bits.
static void share_observed(const struct comm *comm, float *observed, int samples, size_t per_sample)
{
    for (int s = 0; s < samples; s++)
        MPI_Allreduce(MPI_IN_PLACE, observed + (size_t)s * per_sample, (int)per_sample, MPI_UINT32_T, MPI_BOR,
                      comm->world);
}

enum status worker_calibrate(const struct worker *worker, int samples, float **scales,
                             struct progress *progress, struct error *err)
{
    const struct plan *plan = worker->plan;
    size_t per_sample = (size_t)plan->n_layer * SITE_COUNT;
    struct calibration calibration = {.worker = worker};
    calibration.observed = calloc((size_t)samples * per_sample, sizeof(float));
    float *made = calloc((size_t)plan->n_cells * per_sample, sizeof *made);
    if (!calibration.observed || !made)
        error_memory(err, (unsigned long long)samples * per_sample * sizeof(float), "the observations");
    struct task task = {.n_items = samples, .run = observe_sample, .context = &calibration};
    if (comm_agree(worker->comm, err) || scheduler_run(worker->comm, &task, progress, err)) goto free_all;
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

struct sweeping {
    const struct worker *worker;
    struct store *store;
    const float *scales;
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
    sweeping->run = run;
    sweeping->sample = sample;
    sweeping->last = -1;
    bool whole = forward_run(worker->forward, worker->plan->runs[run].mode, scales_of(sweeping, run),
                             ids_of(worker, sample), worker->corpus->length[sample], &capture);
    if (!whole) {
        store_write_cancel(sweeping->store);
        return error_set(err, STATUS_INTERNAL, "the pass of sample %d stopped", sample); // if none was set
    }
    float seconds = (float)(progress_clock() - started);
    if (store_write_done(sweeping->store, run, sample, seconds, err)) return err->status;
    sweeping->stored++;
    return STATUS_OK;
}

static enum status sweep_item(void *context, int index, struct scheduler *scheduler, struct error *err)
{
    struct sweeping *sweeping = context;
    const struct item *item = &sweeping->worker->plan->items[index];
    sweeping->scheduler = scheduler;
    sweeping->err = err;
    for (int s = 0; s < item->samples && !err->status; s++)
        sweep_sample(sweeping, item->run, item->first_sample + s, err);
    if (sweeping->worker->model) model_release(sweeping->worker->model); // rows of embeddings add up
    return err->status;
}

enum status worker_sweep(const struct worker *worker, struct store *store, const float *scales,
                         struct progress *progress, long long *stored, struct error *err)
{
    struct sweeping sweeping = {.worker = worker, .store = store, .scales = scales};
    struct task task = {.n_items = worker->plan->n_items, .run = sweep_item, .context = &sweeping};
    scheduler_run(worker->comm, &task, progress, err);
    MPI_Allreduce(&sweeping.stored, stored, 1, MPI_LONG_LONG, MPI_SUM, worker->comm->world);
    return err->status;
}
