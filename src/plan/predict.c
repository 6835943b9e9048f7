// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/plan/predict.h"

#include <string.h>

#include "ssmsweep/arch/groups.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/forward/weights.h"
#include "ssmsweep/plan/lane.h"

// ---- memory ----

// Calibration is an FP32 pass, and a checkpoint of codes needs none.
unsigned plan_weights(const struct plan *plan, const struct model *model)
{
    unsigned parts = 0;
    if (plan->n_cells > 0 && !model_is_codes(model)) parts |= WEIGHTS_FP32;
    if (plan->logits) parts |= WEIGHTS_LM_HEAD;
    for (int r = 0; r < plan->n_runs; r++) {
        if (plan->runs[r].mode->precision == PRECISION_FP32) parts |= WEIGHTS_FP32;
        if (plan->runs[r].mode->precision == PRECISION_FP16) parts |= WEIGHTS_FP16;
        if (plan->runs[r].mode->precision == PRECISION_BY_UNIT) parts |= WEIGHTS_BY_UNIT;
    }
    return parts;
}

size_t plan_observations(const struct plan *plan, int samples)
{
    const size_t sites = plan_of_sites(plan), groups = plan_observed(plan) - sites;
    size_t bytes = (size_t)samples * sites * sizeof(float);
    if (samples > 0) bytes += (sites + groups + (size_t)plan->n_cells * groups) * sizeof(float);
    if (samples > 0 && observers_take_histogram(&plan->observers))
        bytes += (size_t)plan->n_cells * plan_of_sites(plan) * HISTOGRAM_BINS * sizeof(uint64_t);
    return bytes;
}

// What HDF5 1.10 and Open MPI take for input and output, as measured; nothing tells them.  Who writes has no
// dataset open; who reads has those of the metrics of each run, and headers are cached up to a limit.
enum {
    WRITTEN_FILE_BYTES = 350 << 10,
    FILE_BYTES = 950 << 10,
    CELL_BYTES = 50 << 10,
    RUN_BYTES = 38 << 10,
    RUN_READ_BYTES = 28 << 10,
    RERUN_READ_BYTES = RUN_READ_BYTES / 4 * 2,
    HEADER_BYTES = 6600,
    HEADERS_BYTES = 5600 << 10,
    DATASETS_OF_RUN = 7,
    DATASETS_OF_RERUN = 2,          // more
    ISOLATED_READ_BYTES = 38 << 10, // a type of many fields
    // For messages between ranks, and for a thread.
    MESSAGES_BYTES = 200 << 10,
    THREAD_BYTES = 100 << 10,
    LEAST_MAPPED_BYTES = 128 << 10 // free() gives such blocks back to the system
};

static size_t count_outputs(const struct plan *plan)
{
    size_t count = 0;
    for (int r = 0; r < plan->n_runs; r++)
        for (int l = 0; l < plan->n_layer; l++)
            count += (size_t)__builtin_popcount(plan_wants(plan, r, l));
    return count;
}

static size_t count_reruns(const struct plan *plan)
{
    size_t count = 0;
    for (int r = 0; r < plan->n_runs; r++)
        count += plan->runs[r].dither != 0;
    return count;
}

// Runs of which each layer is computed by itself, too.
static size_t count_isolated(const struct plan *plan)
{
    return plan->isolated ? (size_t)plan->n_runs - count_reruns(plan) : 0;
}

static size_t open_file(const struct plan *plan)
{
    const size_t runs = (size_t)plan->n_runs;
    const size_t headers = (count_outputs(plan) + DATASETS_OF_RUN * runs +
                            DATASETS_OF_RERUN * count_reruns(plan) + count_isolated(plan)) *
                           HEADER_BYTES;
    return FILE_BYTES + CELL_BYTES * (size_t)plan->n_cells + RUN_BYTES * runs +
           (headers < HEADERS_BYTES ? headers : HEADERS_BYTES);
}

static size_t ids_of(const struct corpus *corpus)
{
    const size_t bytes = (size_t)corpus->samples * (size_t)corpus->max_tokens * sizeof(int32_t);
    return bytes < LEAST_MAPPED_BYTES ? 0 : bytes;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

// In huge pages where they are not shared memory.
static size_t weights_room(const struct memory_request *request)
{
    const size_t bytes =
        weights_bytes(request->model, plan_weights(request->plan, request->model), request->plan->needs);
    if (request->shares_weights) return bytes;
    return (bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

struct predicted_memory plan_memory(const struct memory_request *request)
{
    const struct plan *plan = request->plan;
    const struct dims *dims = &request->model->dims;
    const int evaluated = request->evaluation->max_tokens, calibrated = request->calibration->max_tokens,
              longest = evaluated > calibrated ? evaluated : calibrated;
    const size_t row = plan_observed(plan);
    const size_t histogram = observers_take_histogram(&plan->observers)
                                 ? plan_of_sites(plan) * HISTOGRAM_BINS * sizeof(uint32_t)
                                 : 0;
    const size_t observed = plan_observations(plan, request->calibrates ? plan->calibration_samples : 0) +
                            (plan->group_scales > 0 ? groups_bytes(dims) : 0);
    const size_t items = group_buffers_bytes(plan, dims, evaluated, request->threads) +
                         request->store_room_bytes + (size_t)plan->n_cells * row * sizeof(float);
    const size_t ids = ids_of(request->evaluation) + ids_of(request->calibration);
    const size_t states = (size_t)plan->n_runs * (size_t)plan->samples;
    const size_t finished = (size_t)plan->n_runs * (((size_t)plan->samples + 63) / 64) * sizeof(uint64_t);
    const size_t always = forward_bytes(dims, longest, request->threads) + WRITTEN_FILE_BYTES + finished +
                          MESSAGES_BYTES + THREAD_BYTES * (size_t)(request->threads - 1);
    const size_t packing = plan_weights(plan, request->model)
                               ? (size_t)request->threads * dims->arch->scratch_bytes(dims) + MESSAGES_BYTES
                               : 0;
    return (struct predicted_memory){
        .weights = weights_room(request),
        .rank = larger(packing, always + larger(observed + histogram + ids, items) - ids),
        .reader = open_file(plan) + RUN_READ_BYTES * (size_t)plan->n_runs +
                  RERUN_READ_BYTES * count_reruns(plan) + ISOLATED_READ_BYTES * count_isolated(plan) + states,
        .ids = ids};
}

// ---- time ----

// Modes that give the same bits share their predictions.
static bool predicts(const struct plan *plan, const struct group *group, int member)
{
    if (plan_fork(plan, plan->members, group, member) == plan->n_layer) return false;
    const struct run *run = &plan->runs[plan->members[group->first + member]];
    for (int i = 0; i < group->count && run->mode->equals; i++) {
        const struct run *other = &plan->runs[plan->members[group->first + i]];
        if (other->cell == run->cell && other->dither == run->dither &&
            strcmp(other->mode->name, run->mode->equals) == 0)
            return false;
    }
    return true;
}

static double group_seconds(const struct plan *plan, const struct group *group,
                            const struct plan_rates *rates)
{
    double seconds = rates->alone[group->reference] + rates->prediction;
    for (int i = 0; i < group->count; i++) {
        const int run = plan->members[group->first + i];
        const double twice = plan->runs[run].dither ? rates->compared[run] - rates->alone[run] : 0;
        if (run == group->reference) continue;
        const double left = 1 - (double)plan_fork(plan, plan->members, group, i) / plan->n_layer;
        const double alone = (double)plan_isolated_layers(plan, plan->members, group, i) / plan->n_layer;
        seconds += (rates->compared[run] + twice) * left + rates->compared[run] * alone +
                   (predicts(plan, group, i) ? rates->prediction : 0);
    }
    return seconds;
}

// What the result file takes of the processor, as measured: to make and to read the datasets of a run, and to
// write what a sample has of it.
static const double RUN_SECONDS = 0.7e-3, RECORD_SECONDS = 0.12e-3;

static double count_tokens(const struct corpus *corpus)
{
    double tokens = 0;
    for (int i = 0; i < corpus->samples; i++)
        tokens += corpus->length[i];
    return tokens;
}

struct predicted_time plan_time(const struct plan *plan, const struct corpus *evaluation,
                                const struct corpus *calibration, int ranks, const struct plan_rates *rates)
{
    struct predicted_time time = {0};
    double all = 0;
    for (int i = 0; i < plan->n_items; i++) {
        const struct item item = plan_item(plan, i);
        double tokens = 0;
        for (int place = item.first_place; place < item.first_place + item.samples; place++)
            tokens += evaluation->length[plan_sample(plan, place)];
        const struct group *group = &plan->groups[item.group];
        const double seconds = tokens * group_seconds(plan, group, rates) +
                               RECORD_SECONDS * (double)group->count * (double)item.samples;
        all += seconds;
        if (seconds > time.item) time.item = seconds;
    }
    time.sweep = all / ranks > time.item ? all / ranks : time.item;
    time.sweep += RUN_SECONDS * (double)plan->n_runs;
    time.calibrate = count_tokens(calibration) * rates->observation / ranks;
    return time;
}
