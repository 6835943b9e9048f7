// SPDX-License-Identifier: Apache-2.0
#include "calibration.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "ssmsweep/base/hash.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/plan/predict.h"
#include "ssmsweep/sweep/scheduler.h"
#include "worker.h"

// ---- memory ----

static size_t row_of(const struct plan *plan)
{
    return plan_observed(plan);
}

static size_t groups_of(const struct plan *plan)
{
    return plan_observed(plan) - plan_of_sites(plan);
}

static size_t counts_of(const struct plan *plan)
{
    return plan_of_sites(plan) * HISTOGRAM_BINS;
}

static bool takes_histogram(const struct plan *plan, int samples)
{
    return samples > 0 && observers_take_histogram(&plan->observers);
}

enum status observations_open(struct observations *known, const struct plan *plan, const struct dims *dims,
                              int samples, int max_tokens, struct error *err)
{
    const bool histogram = takes_histogram(plan, samples);
    const long long most =
        UINT32_MAX / (2LL * (dims->d_inner > dims->d_model ? dims->d_inner : dims->d_model));
    *known = (struct observations){.samples = samples};
    if (histogram && max_tokens > most)
        return error_set(err, STATUS_USAGE,
                         "--observer: expected samples of at most %lld tokens with mse and entropy, got %d; "
                         "lower --calib_seqlen",
                         most, max_tokens);
    known->observed = calloc((size_t)samples * plan_of_sites(plan) + 1, sizeof(float));
    known->present = calloc((size_t)samples + 1, 1);
    known->numbers = calloc(samples > 0 ? row_of(plan) : 1, sizeof(float));
    known->group_most = calloc((size_t)plan->n_cells * groups_of(plan) + 1, sizeof(float));
    if (histogram) known->histogram = calloc((size_t)plan->n_cells, counts_of(plan) * sizeof(uint64_t));
    if (!known->observed || !known->present || !known->numbers || !known->group_most ||
        (histogram && !known->histogram))
        error_memory(err, plan_observations(plan, samples), "the observations");
    return err->status;
}

void observations_clear(struct observations *known)
{
    free(known->observed);
    free(known->present);
    free(known->numbers);
    free(known->group_most);
    free(known->histogram);
    *known = (struct observations){.samples = known->samples, .added = known->added};
}

int observations_absent(const struct observations *known)
{
    int absent = 0;
    for (int s = 0; s < known->samples; s++)
        absent += !known->present[s];
    return absent;
}

// ---- cells ----

// The first cell of an order that has the sample at this place; n_cells: none has it.
static int cell_at(const struct plan *plan, int order, int place)
{
    int c = 0;
    while (c < plan->n_cells && (plan->cells[c].order != order || place >= plan->cells[c].calib_data_num))
        c++;
    return c;
}

static void take_larger(float *most, const float *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (values[i] > most[i]) most[i] = values[i];
}

void observations_take(struct observations *known, const struct plan *plan, int sample,
                       const uint32_t *counts)
{
    const size_t sites = plan_of_sites(plan), groups = groups_of(plan);
    memcpy(known->observed + (size_t)sample * sites, known->numbers, sites * sizeof *known->numbers);
    for (int order = 0; order < plan->n_orders; order++) {
        const int place = plan->places[(size_t)order * (size_t)plan->calibration_samples + (size_t)sample];
        const size_t cell = (size_t)cell_at(plan, order, place);
        if (cell == (size_t)plan->n_cells) continue;
        take_larger(known->group_most + cell * groups, known->numbers + sites, groups);
        uint64_t *total = counts ? known->histogram + cell * counts_of(plan) : NULL;
        for (size_t i = 0; total && i < counts_of(plan); i++)
            total[i] += counts[i];
    }
}

// From what each cell adds to the one before it, in the same order of the samples, to what it has.
static void add_up(struct observations *known, const struct plan *plan)
{
    const size_t groups = groups_of(plan), counts = counts_of(plan);
    for (size_t c = (size_t)plan->n_orders; c < (size_t)plan->n_cells; c++) {
        const size_t before = c - (size_t)plan->n_orders;
        take_larger(known->group_most + c * groups, known->group_most + before * groups, groups);
        for (size_t i = 0; known->histogram && i < counts; i++)
            known->histogram[c * counts + i] += known->histogram[before * counts + i];
    }
}

// ---- among the ranks ----

// Each number was observed by one rank and is zero bits on the others, so OR gives its very bits.
void observations_share(struct observations *known, const struct plan *plan, const struct comm *comm)
{
    for (int s = 0; s < known->samples; s++) {
        MPI_Allreduce(MPI_IN_PLACE, known->observed + (size_t)s * plan_of_sites(plan),
                      (int)plan_of_sites(plan), MPI_UINT32_T, MPI_BOR, comm->world);
        known->present[s] = 1;
    }
    for (int c = 0; groups_of(plan) > 0 && c < plan->n_cells; c++)
        MPI_Allreduce(MPI_IN_PLACE, known->group_most + (size_t)c * groups_of(plan), (int)groups_of(plan),
                      MPI_FLOAT, MPI_MAX, comm->world);
    for (int c = 0; known->histogram && c < plan->n_cells; c++)
        MPI_Allreduce(MPI_IN_PLACE, known->histogram + (size_t)c * counts_of(plan), (int)counts_of(plan),
                      MPI_UINT64_T, MPI_SUM, comm->world);
}

void observations_spread(struct observations *known, const struct plan *plan, const struct comm *comm)
{
    for (int s = 0; s < known->samples; s++)
        MPI_Bcast(known->observed + (size_t)s * plan_of_sites(plan), (int)plan_of_sites(plan), MPI_FLOAT, 0,
                  comm->world);
    for (int c = 0; groups_of(plan) > 0 && c < plan->n_cells; c++)
        MPI_Bcast(known->group_most + (size_t)c * groups_of(plan), (int)groups_of(plan), MPI_FLOAT, 0,
                  comm->world);
    for (int c = 0; known->histogram && c < plan->n_cells; c++)
        MPI_Bcast(known->histogram + (size_t)c * counts_of(plan), (int)counts_of(plan), MPI_UINT64_T, 0,
                  comm->world);
}

// ---- the passes ----

struct calibration {
    const struct worker *worker;
    struct store *store;
    struct observations *known;
    int *samples;     // those that are not present
    uint32_t *counts; // histogram of the sample at work; NULL where none is taken
    struct hash *hash;
    struct scheduler *scheduler;
    struct task *task;
    double pass; // tokens of the pass at work
    // Samples that go together on a GPU: `together` at most, 0: there is none.
    int together;
    float *numbers;       // [together][plan_observed()]
    uint32_t *histograms; // [together][counts_of()]; NULL as above
};

enum { TOGETHER_BYTES = 128 << 20, MOST_TOGETHER = 256 }; // for what is observed of them

// In tokens of a layer, all of which cost the same.
static double sample_cost(const struct worker *worker, int sample)
{
    return (double)worker->plan->n_layer * worker->calibration->length[sample];
}

static bool observe_between_layers(void *context, int layer)
{
    const struct calibration *calibration = context;
    struct scheduler *scheduler = calibration->scheduler;
    if (layer > 0) scheduler_advance(scheduler, calibration->pass);
    scheduler_poll(scheduler);
    return !scheduler_overdue(scheduler);
}

// The pass of one sample.  False: grace is over.
static bool observe(struct calibration *calibration, int sample, const struct observation *observation)
{
    const struct worker *worker = calibration->worker;
    const struct corpus *corpus = worker->calibration;
    const struct capture capture = {.between_layers = observe_between_layers, .context = calibration};
    calibration->pass = corpus->length[sample];
    log_rank(worker->log, LOG_VERBOSE, "observes sample %d", sample);
    return forward_observe(worker->forward, observation,
                           corpus->ids + (size_t)sample * (size_t)corpus->max_tokens, corpus->length[sample],
                           &capture);
}

// The digest of a sample takes its numbers, then its histogram.
static enum status store_observation(struct calibration *calibration, int sample, const float *numbers,
                                     const uint32_t *histogram, struct error *err)
{
    unsigned char digest[HASH_BYTES];
    const struct plan *plan = calibration->worker->plan;
    hash_update(calibration->hash, numbers, row_of(plan) * sizeof *numbers);
    if (histogram) hash_update(calibration->hash, histogram, counts_of(plan) * sizeof *histogram);
    hash_finish(calibration->hash, digest);
    return store_write_observed(calibration->store, sample, numbers, histogram, digest, err);
}

// The sample on the processor, into known->numbers and calibration->counts.  False: grace is over.
static bool observe_here(struct calibration *calibration, int sample)
{
    const struct worker *worker = calibration->worker;
    const struct observation observation = {.observers = &worker->plan->observers,
                                            .numbers = calibration->known->numbers,
                                            .histogram = calibration->counts};
    memset(observation.numbers, 0, plan_observed(worker->plan) * sizeof *observation.numbers);
    if (calibration->counts) memset(calibration->counts, 0, counts_of(worker->plan) * sizeof(uint32_t));
    return observe(calibration, sample, &observation);
}

static enum status observe_sample(void *context, int item, struct scheduler *scheduler, struct error *err)
{
    struct calibration *calibration = context;
    const struct worker *worker = calibration->worker;
    const int sample = calibration->samples[item];
    calibration->scheduler = scheduler;
    if (observe_here(calibration, sample)) {
        if (store_observation(calibration, sample, calibration->known->numbers, calibration->counts, err) ==
            STATUS_OK) {
            observations_take(calibration->known, worker->plan, sample, calibration->counts);
            scheduler_complete(scheduler, sample_cost(worker, sample));
            return STATUS_OK;
        }
        if (!store_can_write(calibration->store)) scheduler_end(scheduler);
    } else {
        worker_overdue(worker, err);
    }
    return err->status;
}

// ---- on a GPU: all samples of a batch are seen, then stored, then taken ----

// What was observed of sample `at` of the batch.
static float *numbers_at(const struct calibration *calibration, int at)
{
    return calibration->numbers + (size_t)at * row_of(calibration->worker->plan);
}

static uint32_t *histogram_at(const struct calibration *calibration, int at)
{
    if (!calibration->histograms) return NULL;
    return calibration->histograms + (size_t)at * counts_of(calibration->worker->plan);
}

// What is not finite has the processor's bits where the processor finds it.
static bool settle_broken(struct calibration *calibration, int at, int sample)
{
    const size_t row = row_of(calibration->worker->plan);
    float *numbers = numbers_at(calibration, at);
    size_t i = 0;
    while (i < row && isfinite(numbers[i]))
        i++;
    if (i == row) return true;
    device_tell_broken(calibration->worker->gpu, sample);
    if (!observe_here(calibration, sample)) return false;
    memcpy(numbers, calibration->known->numbers, row * sizeof *numbers);
    if (calibration->counts)
        memcpy(histogram_at(calibration, at), calibration->counts,
               counts_of(calibration->worker->plan) * sizeof *calibration->counts);
    return true;
}

static bool look_at(struct calibration *calibration, const int *samples, int count)
{
    const struct worker *worker = calibration->worker;
    const struct capture capture = {.between_layers = observe_between_layers, .context = calibration};
    for (int i = 0; i < count; i++)
        log_rank(worker->log, LOG_VERBOSE, "observes sample %d", samples[i]);
    for (int at = 0, n; at < count; at += n) {
        struct observation observation = {.observers = &worker->plan->observers,
                                          .numbers = numbers_at(calibration, at),
                                          .histogram = histogram_at(calibration, at),
                                          .row = (long)row_of(worker->plan)};
        calibration->pass = 0;
        n = device_look(worker->gpu, samples + at, count - at, &observation, &capture);
        if (n == 0) return false;
        for (int i = at; i < at + n; i++)
            scheduler_advance(calibration->scheduler, sample_cost(worker, samples[i]));
    }
    for (int i = 0; i < count; i++)
        if (!settle_broken(calibration, i, samples[i])) return false;
    return true;
}

static bool observe_many(void *context, int first, int count, struct scheduler *scheduler)
{
    struct calibration *calibration = context;
    const struct worker *worker = calibration->worker;
    const int *samples = calibration->samples + first;
    struct error err = {0};
    double cost = 0;
    calibration->scheduler = scheduler;
    if (count > calibration->together || !look_at(calibration, samples, count)) {
        if (!device_works(worker->gpu)) calibration->task->run_many = NULL; // it is lost
        return false;
    }
    for (int i = 0; i < count; i++)
        if (store_observation(calibration, samples[i], numbers_at(calibration, i),
                              histogram_at(calibration, i), &err))
            return false; // and again one by one
    for (int i = 0; i < count; i++) {
        memcpy(calibration->known->numbers, numbers_at(calibration, i), row_of(worker->plan) * sizeof(float));
        observations_take(calibration->known, worker->plan, samples[i], histogram_at(calibration, i));
        cost += sample_cost(worker, samples[i]);
    }
    scheduler_complete(scheduler, cost);
    return true;
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
    const size_t counts = counts_of(calibration->worker->plan);
    calibration->samples = calloc((size_t)known->samples + 1, sizeof *calibration->samples);
    calibration->hash = hash_open();
    if (known->histogram) calibration->counts = malloc(counts * sizeof *calibration->counts);
    if (!calibration->samples || !calibration->hash || (known->histogram && !calibration->counts))
        error_memory(err, (unsigned long long)known->samples * sizeof(int) + counts, "the calibration");
    return comm_agree(calibration->worker->comm, err);
}

// Equal on all ranks: 0 where GPUs have no part in it.
static int most_together(const struct calibration *calibration)
{
    const struct worker *worker = calibration->worker;
    const size_t counts = calibration->counts ? counts_of(worker->plan) * sizeof *calibration->counts : 0,
                 bytes = row_of(worker->plan) * sizeof *calibration->numbers + counts;
    if (worker->devices == 0 || !device_can_look(worker)) return 0;
    const size_t most = TOGETHER_BYTES / bytes + 1;
    return most < MOST_TOGETHER ? (int)most : MOST_TOGETHER;
}

// Where memory is out the processor does all of it.
static bool open_together(struct calibration *calibration, int samples)
{
    const size_t most = (size_t)samples;
    if (samples == 0 || !calibration->worker->gpu) return false;
    calibration->numbers = malloc(most * row_of(calibration->worker->plan) * sizeof *calibration->numbers);
    if (calibration->counts)
        calibration->histograms =
            malloc(most * counts_of(calibration->worker->plan) * sizeof *calibration->histograms);
    calibration->together = samples;
    return calibration->numbers && (calibration->histograms || !calibration->counts) &&
           device_begin_look(calibration->worker->gpu, samples);
}

static void close_calibration(struct calibration *calibration)
{
    hash_close(calibration->hash);
    free(calibration->numbers);
    free(calibration->histograms);
    free(calibration->counts);
    free(calibration->samples);
    device_end_look(calibration->worker->gpu);
}

enum status calibration_observe(const struct worker *worker, struct store *store, struct observations *known,
                                struct progress *progress, struct error *err)
{
    struct calibration calibration = {.worker = worker, .store = store, .known = known};
    if (open_calibration(&calibration, err)) goto close_calibration;
    if (worker->comm->rank != 0) // rank 0 alone contributes what is known
        memset(known->observed, 0,
               (size_t)known->samples * plan_of_sites(worker->plan) * sizeof *known->observed);
    struct task task = {.n_items = list_absent(known, calibration.samples),
                        .attempts = WORKER_ATTEMPTS,
                        .run = observe_sample,
                        .context = &calibration,
                        .stop = worker->stop,
                        .log = worker->log,
                        .batch_limit = most_together(&calibration),
                        .together_ranks = worker->devices};
    calibration.task = &task;
    const int together = task.batch_limit < task.n_items ? task.batch_limit : task.n_items;
    if (open_together(&calibration, together)) task.run_many = observe_many, task.together = together;
    for (int i = 0; i < task.n_items && worker->comm->rank == 0; i++)
        progress->all_work += sample_cost(worker, calibration.samples[i]);
    if (scheduler_run(worker->comm, &task, progress, err) == STATUS_OK)
        observations_share(known, worker->plan, worker->comm);
    known->added = task.done;
close_calibration:
    close_calibration(&calibration);
    return err->status;
}

// ---- scales ----

// scales: those of the cell.
static void scales_of_layer(const struct observations *known, const struct plan *plan, int cell, int layer,
                            float *scales)
{
    const int sites = plan->arch->n_sites;
    const long groups = plan->group_scales, first = layer * groups;
    const size_t order = (size_t)plan->cells[cell].order * (size_t)plan->calibration_samples;
    const struct calibration_set of_groups = {.observed = known->group_most + (size_t)cell * groups_of(plan),
                                              .of_groups = plan->n_layer * groups,
                                              .samples = 1};
    const struct calibration_set set = {
        .observed = known->observed,
        .order = plan->orders + order,
        .samples = plan->cells[cell].calib_data_num,
        .histogram = known->histogram ? known->histogram + (size_t)cell * counts_of(plan) : NULL};
    for (int s = 0; s < sites; s++)
        scales[layer * sites + s] = calibrate_scale(&plan->observers, &set, plan->n_layer, layer, s);
    for (long i = first; i < first + groups; i++)
        scales[plan->n_layer * sites + i] = calibrate_group_scale(&of_groups, plan->n_layer, 0, i);
}

enum status calibration_scales(struct observations *known, const struct plan *plan, const struct comm *comm,
                               float **scales, struct error *err)
{
    const size_t count = (size_t)plan->n_cells * row_of(plan);
    float *made = calloc(count + 1, sizeof *made);
    if (!made) error_memory(err, count * sizeof *made, "the scales");
    if (comm_agree(comm, err)) {
        free(made);
        return err->status;
    }
    add_up(known, plan);
    for (int i = comm->rank; i < plan->n_cells * plan->n_layer; i += comm->ranks)
        scales_of_layer(known, plan, i / plan->n_layer, i % plan->n_layer,
                        made + (size_t)(i / plan->n_layer) * row_of(plan));
    for (int c = 0; c < plan->n_cells; c++) // as above: bits of one rank, zeros of the others
        MPI_Allreduce(MPI_IN_PLACE, made + (size_t)c * row_of(plan), (int)row_of(plan), MPI_UINT32_T, MPI_BOR,
                      comm->world);
    *scales = made;
    return STATUS_OK;
}
