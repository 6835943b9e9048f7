// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/predict.h"

#include "calibration.h"
#include "engine.h"
#include "inputs.h"
#include "lockstep.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/forward/weights.h"
#include "ssmsweep/store/store.h"

// Of HDF5 1.10 and Open MPI's input and output, as measured; nothing tells them.  A run has three open
// datasets while it is written, and four more while it is read, a re-run two further ones; headers are cached
// up to a limit.
enum {
    FILE_BYTES = 950 << 10,
    CELL_BYTES = 50 << 10,
    RUN_BYTES = 38 << 10,
    RUN_READ_BYTES = 28 << 10,
    RERUN_READ_BYTES = RUN_READ_BYTES / 4 * 2,
    HEADER_BYTES = 6600,
    HEADERS_BYTES = 5600 << 10,
    DATASETS_OF_RUN = 7,
    DATASETS_OF_RERUN = 2, // more
    // Of messages between ranks, and of a thread.
    MESSAGES_BYTES = 200 << 10,
    THREAD_BYTES = 100 << 10,
    HUGE_PAGE_BYTES = 2 << 20,
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

static size_t open_file(const struct plan *plan)
{
    const size_t runs = (size_t)plan->n_runs;
    const size_t headers =
        (count_outputs(plan) + DATASETS_OF_RUN * runs + DATASETS_OF_RERUN * count_reruns(plan)) *
        HEADER_BYTES;
    return FILE_BYTES + CELL_BYTES * (size_t)plan->n_cells + RUN_BYTES * runs +
           (headers < HEADERS_BYTES ? headers : HEADERS_BYTES);
}

static size_t ids_of(const struct corpus *corpus)
{
    const size_t bytes = (size_t)corpus->samples * (size_t)corpus->max_tokens * sizeof(int32_t);
    return bytes < LEAST_MAPPED_BYTES ? 0 : bytes;
}

static size_t sum_ids(const struct sweep *sweep)
{
    return ids_of(&sweep->corpus) + ids_of(&sweep->calibration);
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

// In huge pages where they are not shared memory.
static size_t weights_room(const struct sweep *sweep)
{
    const size_t bytes = weights_bytes(&sweep->model, engine_parts(&sweep->plan, &sweep->model));
    if (sweep->comm->node_ranks > 1) return bytes;
    return (bytes + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

struct predicted_sweep predict_sweep(const struct sweep *sweep)
{
    const struct plan *plan = &sweep->plan;
    const struct dims *dims = &sweep->model.dims;
    const size_t row = plan_observed(plan);
    const size_t histogram =
        observers_take_histogram(&plan->observers) ? row * HISTOGRAM_BINS * sizeof(uint32_t) : 0;
    const size_t observed = observations_bytes(plan, sweep_calibrates(sweep) ? plan->calibration_samples : 0);
    const size_t items = lockstep_bytes(plan, dims, sweep->corpus.max_tokens, sweep->threads) +
                         store_room_bytes(plan, dims, &sweep->corpus) +
                         (size_t)plan->n_cells * row * sizeof(float);
    const size_t ids = sum_ids(sweep);
    const size_t states = (size_t)plan->n_runs * (size_t)plan->samples;
    const size_t finished = (size_t)plan->n_runs * (((size_t)plan->samples + 63) / 64) * sizeof(uint64_t);
    const size_t always = forward_bytes(dims, sweep_longest_sample(sweep), sweep->threads) + open_file(plan) +
                          finished + MESSAGES_BYTES + THREAD_BYTES * (size_t)(sweep->threads - 1);
    return (struct predicted_sweep){.weights = weights_room(sweep),
                                    .rank = always + larger(observed + histogram + ids, items) - ids,
                                    .reader = open_file(plan) + RUN_READ_BYTES * (size_t)plan->n_runs +
                                              RERUN_READ_BYTES * count_reruns(plan) + states,
                                    .ids = ids};
}
