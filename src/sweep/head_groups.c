// SPDX-License-Identifier: Apache-2.0
#include "head_groups.h"

#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "ssmsweep/base/hash.h"
#include "ssmsweep/sweep/progress.h"
#include "ssmsweep/sweep/scheduler.h"

// ---- whether there are any ----

static enum status refuse(const struct sweep *sweep, const char *why, struct error *err)
{
    return error_set(err, STATUS_USAGE,
                     "--group_heads on: %s: no groups can be formed: %s; leave the option out",
                     sweep->model.directory, why);
}

enum status head_groups_settle(struct sweep *sweep, struct error *err)
{
    struct dims *dims = &sweep->model.dims;
    const int asked = sweep->job->group_heads;
    const char *obstacle = groups_obstacle(dims);
    const bool codes = model_is_codes(&sweep->model);
    if (codes && asked != JOB_GROUPS_AUTO)
        return error_set(err, STATUS_USAGE,
                         "--group_heads: the scales come from the %s checkpoint %s; leave the option out",
                         model_kind_name(sweep->model.kind), sweep->model.directory);
    if (asked == JOB_GROUPS_ON && obstacle) return refuse(sweep, obstacle, err);
    if (codes || !dims->arch->groups) return STATUS_OK;
    if (asked == JOB_GROUPS_AUTO && obstacle)
        log_job(sweep->log, LOG_NORMAL, "scales: one for each site, no groups of heads: %s", obstacle);
    dims->grouped = asked != JOB_GROUPS_OFF && !obstacle;
    sweep->settled.group_heads = dims->grouped ? JOB_GROUPS_ON : JOB_GROUPS_OFF;
    return STATUS_OK;
}

// ---- the earlier pass ----

struct looking {
    const struct worker *worker;
    struct scheduler *scheduler;
    struct task *task;
    int together; // samples on a GPU; 0: there is none
    float *means; // [n_layer][I] of the sample at work, or of each that goes together
    float *most;  // of all samples
    size_t count;
    int sample;
};

static bool look_around(void *context, int layer)
{
    struct looking *looking = context;
    (void)layer;
    scheduler_poll(looking->scheduler);
    return !scheduler_overdue(looking->scheduler);
}

static void take_most(struct looking *looking, const float *means)
{
    for (size_t i = 0; i < looking->count; i++)
        if (means[i] > looking->most[i]) looking->most[i] = means[i];
}

static enum status look_at_sample(void *context, int sample, struct scheduler *scheduler, struct error *err)
{
    struct looking *looking = context;
    const struct corpus *corpus = looking->worker->calibration;
    const struct observation observation = {.channel_means = looking->means};
    const struct capture capture = {.between_layers = look_around, .context = looking};
    looking->scheduler = scheduler;
    log_rank(looking->worker->log, LOG_VERBOSE, "groups heads by sample %d", sample);
    if (!forward_observe(looking->worker->forward, &observation,
                         corpus->ids + (size_t)sample * (size_t)corpus->max_tokens, corpus->length[sample],
                         &capture))
        return worker_overdue(looking->worker, err);
    take_most(looking, looking->means);
    scheduler_complete(scheduler, (double)corpus->length[sample]);
    return STATUS_OK;
}

// On a GPU.  What was taken before it fails may be taken again.
static bool look_at_many(void *context, int first, int count, struct scheduler *scheduler)
{
    enum { MOST_TOGETHER = 256 };
    struct looking *looking = context;
    const struct worker *worker = looking->worker;
    const struct capture capture = {.between_layers = look_around, .context = looking};
    int samples[MOST_TOGETHER];
    double cost = 0;
    looking->scheduler = scheduler;
    for (int at = first, n; at < first + count; at += n) {
        struct observation observation = {.channel_means = looking->means};
        const int left = first + count - at, most = left < looking->together ? left : looking->together;
        for (int i = 0; i < most; i++)
            samples[i] = at + i;
        n = device_look(worker->gpu, samples, most, &observation, &capture);
        if (n == 0) {
            if (!device_works(worker->gpu)) looking->task->run_many = NULL; // it is lost
            return false;
        }
        for (int i = 0; i < n; i++) {
            take_most(looking, looking->means + (size_t)i * looking->count);
            cost += (double)worker->calibration->length[samples[i]];
        }
    }
    scheduler_complete(scheduler, cost);
    return true;
}

// Maxima: the same whoever had which sample.  What is not a number is passed over.
static enum status look_at_all(struct looking *looking, struct progress *progress, struct error *err)
{
    const struct worker *worker = looking->worker;
    struct task task = {.n_items = worker->plan->calibration_samples,
                        .attempts = WORKER_ATTEMPTS,
                        .run = look_at_sample,
                        .context = looking,
                        .stop = worker->stop,
                        .log = worker->log,
                        .together_ranks = worker->devices};
    looking->task = &task;
    if (looking->together > 0 && device_begin_look(worker->gpu, looking->together))
        task.run_many = look_at_many, task.together = looking->together;
    for (int s = 0; s < task.n_items && worker->comm->rank == 0; s++)
        progress->all_work += worker->calibration->length[s];
    if (scheduler_run(worker->comm, &task, progress, err)) return err->status;
    MPI_Allreduce(MPI_IN_PLACE, looking->most, (int)looking->count, MPI_FLOAT, MPI_MAX, worker->comm->world);
    return STATUS_OK;
}

// Each layer by one rank; the others have zeros there.
static enum status form(struct groups *groups, const struct comm *comm, const float *means, struct error *err)
{
    const struct dims *dims = groups->dims;
    const int count = dims->n_layer * groups_row(dims);
    for (int l = comm->rank; l < dims->n_layer && !err->status; l += comm->ranks)
        groups_form(groups, l, means + (size_t)l * (size_t)dims->d_inner, err);
    if (comm_agree(comm, err)) return err->status;
    MPI_Allreduce(MPI_IN_PLACE, groups->rows, count, MPI_INT32_T, MPI_BOR, comm->world);
    return STATUS_OK;
}

static int most_together(const struct worker *worker, size_t means)
{
    enum { BYTES = 64 << 20, MOST_TOGETHER = 256 };
    const int samples = worker->plan->calibration_samples;
    size_t most = BYTES / (means * sizeof(float)) + 1;
    if (most > MOST_TOGETHER) most = MOST_TOGETHER;
    return most < (size_t)samples ? (int)most : samples;
}

static enum status look(struct sweep *sweep, const struct worker *worker, struct progress *progress,
                        struct error *err)
{
    const struct dims *dims = &sweep->model.dims;
    const size_t count = (size_t)dims->n_layer * (size_t)dims->d_inner;
    const int together = worker->gpu && device_can_look(worker) ? most_together(worker, count) : 0;
    const size_t rows = (size_t)(together > 0 ? together : 1);
    struct looking looking = {.worker = worker,
                              .together = together,
                              .means = calloc(rows * count, sizeof *looking.means),
                              .most = calloc(count, sizeof *looking.most),
                              .count = count};
    if (!looking.means || !looking.most)
        error_memory(err, (rows + 1) * count * sizeof *looking.means, "the means of channels");
    if (!comm_agree(worker->comm, err) && !look_at_all(&looking, progress, err))
        form(&sweep->groups, worker->comm, looking.most, err);
    device_end_look(worker->gpu);
    free(looking.means);
    free(looking.most);
    return err->status;
}

// ---- the file ----

enum status head_groups_take(struct sweep *sweep, struct store *store, bool *found, struct error *err)
{
    const struct comm *comm = sweep->comm;
    struct hash *hash = hash_open();
    int whole = 0;
    if (!hash) error_memory(err, HASH_BYTES, "a digest");
    if (!err->status) groups_open(&sweep->groups, &sweep->model.dims, err);
    if (comm_agree(comm, err)) goto close_hash;
    const int count = sweep->model.dims.n_layer * groups_row(&sweep->model.dims);
    if (sweep->resumes && comm->rank == 0)
        whole = store_read_groups(store, sweep->groups.rows, hash) && groups_settle(&sweep->groups);
    MPI_Bcast(&whole, 1, MPI_INT, 0, comm->world);
    if (whole)
        MPI_Bcast(sweep->groups.rows, count, MPI_INT32_T, 0, comm->world);
    else
        memset(sweep->groups.rows, 0, (size_t)count * sizeof *sweep->groups.rows);
    *found = whole;
close_hash:
    hash_close(hash);
    return err->status;
}

static enum status store_them(const struct sweep *sweep, struct store *store, struct error *err)
{
    struct hash *hash = hash_open();
    if (!hash) error_memory(err, HASH_BYTES, "a digest");
    if (!comm_agree(sweep->comm, err)) store_write_groups(store, sweep->groups.rows, hash, err);
    hash_close(hash);
    return err->status;
}

enum status head_groups_find(struct sweep *sweep, const struct worker *worker, struct engine *engine,
                             struct store *store, bool found, struct progress *progress, struct error *err)
{
    if (!found && (look(sweep, worker, progress, err) || store_them(sweep, store, err))) return err->status;
    if (!groups_settle(&sweep->groups))
        error_set(err, STATUS_INTERNAL, "calibration: groups of heads that are none");
    if (comm_agree(sweep->comm, err)) return err->status;
    device_renew(worker->gpu);
    return engine_pack_groups(engine, sweep->comm, &sweep->model, &sweep->groups, sweep->threads, sweep->log,
                              err);
}
