// SPDX-License-Identifier: Apache-2.0
#include "worker.h"

#include <stdlib.h>

#include "device.h"
#include "lockstep.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/sweep/scheduler.h"

enum status worker_overdue(const struct worker *worker, struct error *err)
{
    return error_set(err, STATUS_STOPPED, "stopped by %s, and %g seconds of grace passed",
                     stop_signal_name(worker->stop->signal), worker->stop->grace_seconds);
}

struct sweeping {
    const struct worker *worker;
    struct store *store;
    struct lockstep *lockstep;
    struct task *task;
    struct finished *finished; // as far as this rank knows
    long long failed;
};

// The last attempt marks what fails and goes on with the next sample; *first keeps the first error.
static void fail_sample(struct sweeping *sweeping, int sample, struct error *first)
{
    const struct worker *worker = sweeping->worker;
    const struct error *why;
    int run;
    for (int i = 0; lockstep_failure(sweeping->lockstep, i, &run, &why); i++) {
        struct error named = {0};
        char name[RUN_NAME_ROOM];
        error_set(&named, why->status, "mode %s, sample %d: %.900s", plan_run_name(worker->plan, run, name),
                  sample, why->text);
        log_rank(worker->log, LOG_NORMAL, "%s; given up", named.text);
        store_mark_failed(sweeping->store, run, sample);
        sweeping->failed++;
        if (!first->status) *first = named;
    }
}

static double item_cost(const struct worker *worker, const struct item *item)
{
    const struct plan *plan = worker->plan;
    double cost = 0;
    for (int place = item->first_place; place < item->first_place + item->samples; place++)
        cost += plan->groups[item->group].cost * worker->corpus->length[plan_sample(plan, place)];
    return cost;
}

static double cost_of_all(const struct worker *worker)
{
    double cost = 0;
    for (int i = 0; i < worker->plan->n_items; i++) {
        const struct item item = plan_item(worker->plan, i);
        cost += item_cost(worker, &item);
    }
    return cost;
}

static enum status sweep_item(void *context, int index, struct scheduler *scheduler, struct error *err)
{
    struct sweeping *sweeping = context;
    const struct plan *plan = sweeping->worker->plan;
    const struct item item = plan_item(plan, index);
    struct error first = {0};
    if (sweeping->worker->model) model_release(sweeping->worker->model); // rows of embeddings add up
    for (int place = item.first_place; place < item.first_place + item.samples; place++) {
        const int s = plan_sample(plan, place);
        *err = (struct error){0};
        if (lockstep_samples(sweeping->lockstep, &plan->groups[item.group], &s, 1, sweeping->finished,
                             scheduler, err) == STATUS_OK)
            continue;
        if (err->status != STATUS_IO) return err->status;
        if (!store_can_write(sweeping->store)) scheduler_end(scheduler);
        if (scheduler_ends(scheduler) || !scheduler_last_attempt(scheduler)) return err->status;
        fail_sample(sweeping, s, &first);
    }
    scheduler_complete(scheduler, item_cost(sweeping->worker, &item));
    *err = first;
    return err->status;
}

// On the device; what it leaves is for sweep_item().
static bool sweep_items(void *context, int first, int count, struct scheduler *scheduler)
{
    struct sweeping *sweeping = context;
    double cost = 0;
    struct device *gpu = sweeping->worker->gpu;
    if (!device_run(gpu, first, count, scheduler)) {
        if (device_items(gpu) == 0) sweeping->task->run_many = NULL; // it is lost
        return false;
    }
    for (int i = first; i < first + count; i++) {
        const struct item item = plan_item(sweeping->worker->plan, i);
        cost += item_cost(sweeping->worker, &item);
    }
    scheduler_complete(scheduler, cost);
    return true;
}

enum status worker_sweep(const struct worker *worker, struct store *store, const float *scales,
                         struct finished *finished, struct progress *progress, struct sweep_count *count,
                         struct error *err)
{
    struct sweeping sweeping = {.worker = worker, .store = store, .finished = finished};
    struct task task = {.n_items = worker->plan->n_items,
                        .attempts = WORKER_ATTEMPTS,
                        .run = sweep_item,
                        .context = &sweeping,
                        .stop = worker->stop,
                        .log = worker->log};
    const long long before = finished_count(finished);
    const struct group_shape shape = group_shape_of(worker->corpus->max_tokens, worker->threads);
    lockstep_open(&sweeping.lockstep, worker, worker->forward, &shape, store, scales, err);
    if (comm_agree(worker->comm, err)) goto close_lockstep;
    sweeping.task = &task;
    task.run_many = device_begin(worker->gpu, store, scales, finished) ? sweep_items : NULL;
    task.together = device_items(worker->gpu);
    task.together_ranks = worker->devices;
    if (worker->comm->rank == 0 && progress->interval_seconds >= 0) progress->all_work = cost_of_all(worker);
    scheduler_run(worker->comm, &task, progress, err);
    comm_unite_bits(worker->comm, finished->bits, finished_words(finished)); // what one rank stored, all know
    footprint_log(worker->log, "all items are done");
    *count = (struct sweep_count){.stored = finished_count(finished) - before, .ended = task.ended};
    MPI_Allreduce(&sweeping.failed, &count->failed, 1, MPI_LONG_LONG, MPI_SUM, worker->comm->world);
close_lockstep:
    lockstep_close(sweeping.lockstep);
    return err->status;
}
