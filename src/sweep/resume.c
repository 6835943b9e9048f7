// SPDX-License-Identifier: Apache-2.0
#include "resume.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/numerics/calibrate.h"
#include "ssmsweep/sweep/scheduler.h"

// ---- observations: small, so rank 0 reads them alone ----

static void read_observations(const struct worker *worker, struct store *store, struct observations *known,
                              unsigned char *state, uint32_t *counts, struct hash *hash,
                              struct resume_count *count, struct error *err)
{
    size_t per_sample = (size_t)worker->plan->n_layer * SITE_COUNT;
    if (store_read_states(store, STORE_CALIBRATION, state, err)) return;
    for (int s = 0; s < known->samples; s++) {
        float *observed = known->observed + (size_t)s * per_sample;
        if (state[s] == STORE_ITEM_ABSENT) continue;
        known->present[s] =
            state[s] == STORE_ITEM_DONE && store_read_observed(store, s, observed, counts, hash);
        count->observed_kept += known->present[s];
        if (known->present[s]) {
            observations_count(known, worker->plan, s, counts);
            continue;
        }
        memset(observed, 0, per_sample * sizeof *observed);
        count->observed_torn++;
        if (store_write_state(store, STORE_CALIBRATION, s, STORE_ITEM_ABSENT, err)) return;
    }
}

static enum status look_at_observations(const struct worker *worker, struct store *store,
                                        struct observations *known, struct hash *hash,
                                        struct resume_count *count, struct error *err)
{
    if (known->samples == 0) return STATUS_OK;
    const size_t counted =
        known->histogram ? (size_t)worker->plan->n_layer * SITE_COUNT * HISTOGRAM_BINS * sizeof(uint32_t) : 0;
    unsigned char *state = malloc((size_t)known->samples);
    uint32_t *counts = counted ? malloc(counted) : NULL;
    if (!state || (counted && !counts))
        error_memory(err, (unsigned long long)known->samples + counted, "the observations");
    if (worker->comm->rank == 0 && !err->status)
        read_observations(worker, store, known, state, counts, hash, count, err);
    free(counts);
    free(state);
    if (comm_agree(worker->comm, err)) return err->status;
    MPI_Bcast(known->present, known->samples, MPI_BYTE, 0, worker->comm->world);
    return STATUS_OK;
}

// ---- outputs: every rank reads some ----

struct look {
    const struct worker *worker;
    struct store *store;
    unsigned char *finished; // as stored; what this rank finds torn becomes absent
    struct hash *hash;
    long long torn;
};

// An item is one run, or a part of its samples.
enum { SAMPLES_PER_LOOK = 16 };

static int looks_per_run(const struct plan *plan)
{
    return (plan->samples + SAMPLES_PER_LOOK - 1) / SAMPLES_PER_LOOK;
}

static enum status look_at_samples(void *context, int item, struct scheduler *scheduler, struct error *err)
{
    struct look *look = context;
    const struct plan *plan = look->worker->plan;
    int run = item / looks_per_run(plan), first = item % looks_per_run(plan) * SAMPLES_PER_LOOK;
    for (int s = first; s < first + SAMPLES_PER_LOOK && s < plan->samples; s++) {
        unsigned char *state = &look->finished[(size_t)run * (size_t)plan->samples + (size_t)s];
        scheduler_poll(scheduler);
        if (scheduler_overdue(scheduler)) return error_set(err, STATUS_STOPPED, "stopped while reading back");
        if (*state == STORE_ITEM_ABSENT || *state == STORE_ITEM_FAILED) continue;
        if (*state == STORE_ITEM_DONE &&
            store_sample_is_whole(look->store, run, s, look->worker->corpus->length[s], look->hash))
            continue;
        *state = STORE_ITEM_ABSENT;
        look->torn++;
        if (store_write_state(look->store, run, s, STORE_ITEM_ABSENT, err)) return err->status;
    }
    return STATUS_OK;
}

static enum status read_states(const struct look *look, struct error *err)
{
    const struct plan *plan = look->worker->plan;
    for (int r = 0; r < plan->n_runs && !err->status; r++)
        store_read_states(look->store, r, look->finished + (size_t)r * (size_t)plan->samples, err);
    return err->status;
}

// Absent (0) on the rank that found it torn is absent on all; counts what is left.
static void share_finished(const struct look *look, struct resume_count *count)
{
    const struct plan *plan = look->worker->plan;
    for (int r = 0; r < plan->n_runs; r++) {
        unsigned char *finished = look->finished + (size_t)r * (size_t)plan->samples;
        for (int s = 0; s < plan->samples; s++) {
            if (look->worker->comm->rank == 0) count->failed += finished[s] == STORE_ITEM_FAILED;
            finished[s] = finished[s] == STORE_ITEM_DONE;
        }
        MPI_Allreduce(MPI_IN_PLACE, finished, plan->samples, MPI_UNSIGNED_CHAR, MPI_MIN,
                      look->worker->comm->world);
        for (int s = 0; s < plan->samples; s++) {
            count->kept += finished[s];
            count->left += !finished[s];
        }
    }
}

enum status resume_look(const struct worker *worker, struct store *store, unsigned char *finished,
                        struct observations *known, struct progress *progress, struct resume_count *count,
                        struct error *err)
{
    struct look look = {.worker = worker, .store = store, .finished = finished, .hash = hash_open()};
    *count = (struct resume_count){0};
    if (!look.hash) error_memory(err, HASH_BYTES, "a digest");
    if (comm_agree(worker->comm, err) || look_at_observations(worker, store, known, look.hash, count, err))
        goto close_hash;
    read_states(&look, err);
    if (comm_agree(worker->comm, err)) goto close_hash;
    struct task task = {.n_items = worker->plan->n_runs * looks_per_run(worker->plan),
                        .run = look_at_samples,
                        .context = &look,
                        .stop = worker->stop};
    if (scheduler_run(worker->comm, &task, progress, err) == STATUS_OK) {
        share_finished(&look, count);
        MPI_Allreduce(&look.torn, &count->torn, 1, MPI_LONG_LONG, MPI_SUM, worker->comm->world);
    }
close_hash:
    hash_close(look.hash);
    return err->status;
}
