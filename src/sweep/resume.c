// SPDX-License-Identifier: Apache-2.0
#include "resume.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/sweep/scheduler.h"

// ---- observations: small, so rank 0 reads them alone ----

static void read_observations(const struct worker *worker, struct store *store, struct observations *known,
                              unsigned char *state, uint32_t *counts, struct hash *hash,
                              struct resume_count *count, struct error *err)
{
    if (store_read_states(store, STORE_CALIBRATION, state, err)) return;
    for (int s = 0; s < known->samples; s++) {
        if (state[s] == STORE_ITEM_ABSENT) continue;
        known->present[s] =
            state[s] == STORE_ITEM_DONE && store_read_observed(store, s, known->numbers, counts, hash);
        count->observed_kept += known->present[s];
        if (known->present[s]) {
            observations_take(known, worker->plan, s, counts);
            continue;
        }
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
        known->histogram ? plan_of_sites(worker->plan) * HISTOGRAM_BINS * sizeof(uint32_t) : 0;
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
    struct finished *finished; // as stored; what this rank finds torn becomes absent
    struct hash *hash;
    long long torn, failed;
};

// An item is one run or a part of its samples; they are larger where there were too many items.
static int samples_per_look(const struct plan *plan)
{
    long long samples = 16;
    while (plan->n_runs * ((plan->samples + samples - 1) / samples) > INT_MAX)
        samples *= 2;
    return samples < INT_MAX ? (int)samples : INT_MAX;
}

static int looks_per_run(const struct plan *plan)
{
    return (plan->samples - 1) / samples_per_look(plan) + 1;
}

int resume_looks(const struct plan *plan)
{
    return plan->n_runs * looks_per_run(plan);
}

static enum status look_at_samples(void *context, int item, struct scheduler *scheduler, struct error *err)
{
    struct look *look = context;
    const struct plan *plan = look->worker->plan;
    const int run = item / looks_per_run(plan), most = samples_per_look(plan),
              first = item % looks_per_run(plan) * most,
              end = plan->samples - first < most ? plan->samples : first + most;
    for (int s = first; s < end; s++) {
        scheduler_poll(scheduler);
        if (scheduler_overdue(scheduler)) return error_set(err, STATUS_STOPPED, "stopped while reading back");
        if (!finished_has(look->finished, run, s) ||
            store_sample_is_whole(look->store, run, s, look->worker->corpus->length[s], look->hash))
            continue;
        finished_set(look->finished, run, s, false);
        look->torn++;
        if (store_write_state(look->store, run, s, STORE_ITEM_ABSENT, err)) return err->status;
    }
    return STATUS_OK;
}

// A state that nobody writes is torn; rank 0 mends it.
static enum status note_state(struct look *look, int run, int sample, unsigned char state, struct error *err)
{
    finished_set(look->finished, run, sample, state == STORE_ITEM_DONE);
    if (look->worker->comm->rank != 0 || state == STORE_ITEM_ABSENT || state == STORE_ITEM_DONE)
        return STATUS_OK;
    look->failed += state == STORE_ITEM_FAILED;
    if (state == STORE_ITEM_FAILED) return STATUS_OK;
    look->torn++;
    return store_write_state(look->store, run, sample, STORE_ITEM_ABSENT, err);
}

static enum status read_states(struct look *look, struct error *err)
{
    const struct plan *plan = look->worker->plan;
    unsigned char *state = malloc((size_t)plan->samples);
    if (!state) return error_memory(err, (unsigned long long)plan->samples, "the states of samples");
    for (int r = 0; r < plan->n_runs && !err->status; r++) {
        store_read_states(look->store, r, state, err);
        for (int s = 0; s < plan->samples && !err->status; s++)
            note_state(look, r, s, state[s], err);
    }
    free(state);
    return err->status;
}

// Absent on the rank that found it torn is absent on all.
static void count_finished(const struct look *look, struct resume_count *count)
{
    const struct worker *worker = look->worker;
    comm_intersect_bits(worker->comm, look->finished->bits, finished_words(look->finished));
    count->kept = finished_count(look->finished);
    count->left = (long long)worker->plan->n_runs * worker->plan->samples - count->kept;
    count->failed = look->failed;
    MPI_Allreduce(&look->torn, &count->torn, 1, MPI_LONG_LONG, MPI_SUM, worker->comm->world);
}

enum status resume_look(const struct worker *worker, struct store *store, struct finished *finished,
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
    struct task task = {.n_items = resume_looks(worker->plan),
                        .run = look_at_samples,
                        .context = &look,
                        .stop = worker->stop};
    if (scheduler_run(worker->comm, &task, progress, err) == STATUS_OK) count_finished(&look, count);
close_hash:
    hash_close(look.hash);
    return err->status;
}
