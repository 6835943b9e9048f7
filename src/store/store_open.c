// SPDX-License-Identifier: Apache-2.0
// The result file as every rank opens it for itself, for a new sweep and for one that is continued; every
// dataset is checked, as writes go to its place in the file.
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "store_create.h"
#include "store_handle.h"
#include "store_layout.h"
#include "store_lock.h"
#include "writer.h"

long long *store_output_at(const struct store *store, int run, int layer, int component)
{
    return &store->outputs[((size_t)run * (size_t)store->n_layer + (size_t)layer) *
                               (size_t)store->arch->n_components +
                           (size_t)component];
}

// ---- the datasets ----

static hid_t open_data(const struct store_file *file, const char *name, H5T_class_t type_class, size_t bytes,
                       int rank, const long long *shape, struct error *err)
{
    struct store_expected expected = {type_class, bytes, rank, {1, 1, 1, 1}};
    if (err->status) return 0;
    for (int d = 0; d < rank; d++)
        expected.shape[d] = shape[d];
    return store_open_data(file, name, &expected, err);
}

static hid_t open_floats(const struct store_file *file, const char *name, int rank, const long long *shape,
                         struct error *err)
{
    return open_data(file, name, H5T_FLOAT, sizeof(float), rank, shape, err);
}

static hid_t open_bytes(const struct store_file *file, const char *name, int rank, const long long *shape,
                        struct error *err)
{
    return open_data(file, name, H5T_INTEGER, 1, rank, shape, err);
}

// Where the data of a dataset begins; closes it.
static long long place_of(const struct store_file *file, const char *name, hid_t data, struct error *err)
{
    if (!data) return 0;
    const haddr_t offset = H5Dget_offset(data);
    H5Dclose(data);
    if (offset != HADDR_UNDEF) return (long long)offset;
    error_set(err, STATUS_INTERNAL, "%s: %s: a dataset without contiguous storage", file->path, name);
    return 0;
}

static void open_calibration(struct store *store, const struct store_file *file, const struct plan *plan,
                             struct error *err)
{
    const long long observed[4] = {plan->calibration_samples, store->n_layer, plan->arch->n_sites,
                                   HISTOGRAM_BINS};
    const long long row[2] = {plan->calibration_samples, HASH_BYTES};
    if (store->n_cells == 0) return;
    for (int c = 0; c < store->n_cells; c++) {
        char name[STORE_PATH_ROOM];
        store_scales_name(plan, c, name);
        store->scales[c] = open_floats(file, name, 2, observed + 1, err);
    }
    store->observed = open_floats(file, STORE_OBSERVED, 3, observed, err);
    if (observers_take_histogram(&plan->observers))
        store->histogram =
            open_data(file, STORE_OBSERVED_HISTOGRAM, H5T_INTEGER, sizeof(uint32_t), 4, observed, err);
    store->calibration.state = open_bytes(file, STORE_OBSERVED_STATE, 1, row, err);
    store->calibration.digest = open_bytes(file, STORE_OBSERVED_DIGEST, 2, row, err);
}

static void open_run(struct store *store, const struct store_file *file, const struct plan *plan, int run,
                     struct error *err)
{
    char name[STORE_PATH_ROOM];
    struct store_rows *items = &store->items[run];
    for (int l = 0; l < store->n_layer; l++)
        for (int c = 0; c < plan->arch->n_components; c++) {
            if (!(plan_wants(plan, run, l) & 1u << c)) continue;
            const long long shape[3] = {store->samples, store->max_tokens, store->width[c]};
            store_output_name(plan, run, l, c, name);
            *store_output_at(store, run, l, c) =
                place_of(file, name, open_floats(file, name, 3, shape, err), err);
        }
    const long long row[2] = {store->samples, HASH_BYTES};
    items->state = open_bytes(file, store_item_name(plan, run, STORE_STATE, name), 1, row, err);
    items->digest = open_bytes(file, store_item_name(plan, run, STORE_DIGEST, name), 2, row, err);
    items->seconds = open_floats(file, store_item_name(plan, run, STORE_SECONDS, name), 1, row, err);
}

static void find_metrics(struct store *store, const struct store_file *file, const struct plan *plan, int run,
                         const hid_t types[STORE_METRICS], struct error *err)
{
    for (int m = 0; m < STORE_METRICS && !err->status; m++) {
        const enum store_metric metric = (enum store_metric)m;
        struct store_expected expected =
            store_metric_expected(metric, store->arch, store->samples, store->n_layer);
        char name[STORE_PATH_ROOM];
        if (!store_keeps_metric(plan, run, metric)) continue;
        store_run_name(plan, run, STORE_METRICS_GROUP, store_metric_name(metric), name);
        store->metrics[run * STORE_METRICS + m] =
            place_of(file, name, store_open_metric(file, name, &expected, types[m], err), err);
    }
}

static void open_all(struct store *store, const struct plan *plan, struct error *err)
{
    const struct store_file file = {.path = store->path, .id = store->file, .size_bytes = store->size_bytes};
    const long long ids[2] = {store->samples, store->max_tokens};
    store->token_ids = open_data(&file, "/samples/token_ids", H5T_INTEGER, sizeof(int32_t), 2, ids, err);
    store->length = open_data(&file, "/samples/length", H5T_INTEGER, sizeof(int32_t), 1, ids, err);
    open_calibration(store, &file, plan, err);
    hid_t types[STORE_METRICS];
    for (int m = 0; m < STORE_METRICS; m++)
        types[m] = store_metric_type((enum store_metric)m);
    for (int r = 0; r < store->n_runs; r++) {
        open_run(store, &file, plan, r, err);
        find_metrics(store, &file, plan, r, types, err);
    }
    for (int m = 0; m < STORE_METRICS; m++)
        store_close_metric_type(types[m]);
    store_tidy(); // after so many datasets
}

static void close_one(hid_t data)
{
    if (data > 0) H5Dclose(data);
}

static void close_rows(const struct store_rows *rows)
{
    close_one(rows->state);
    close_one(rows->digest);
    close_one(rows->seconds);
}

static void close_data(struct store *store)
{
    for (int r = 0; r < store->n_runs; r++)
        close_rows(&store->items[r]);
    for (int c = 0; c < store->n_cells; c++)
        close_one(store->scales[c]);
    close_one(store->observed);
    close_one(store->histogram);
    close_rows(&store->calibration);
    close_one(store->token_ids);
    close_one(store->length);
}

// ---- the file ----

static enum status check_visible(const struct store *store, struct error *err)
{
    if (access(store->path, R_OK | W_OK) != 0)
        error_errno(
            err, store->path,
            "the result file cannot be reached for writing; --output_dir must be shared by all hosts");
    return comm_agree(&store->comm, err);
}

// The largest piece of a sample: a tensor, or its row of a metric.
static size_t most_bytes(const struct plan *plan, const struct dims *dims, const struct corpus *corpus)
{
    int width = 0;
    for (int l = 0; l < plan->n_layer; l++)
        for (int c = 0; c < plan->arch->n_components; c++)
            if ((plan->want[l] & 1u << c) && arch_width(dims, c) > width) width = arch_width(dims, c);
    size_t most = (size_t)corpus->max_tokens * (size_t)width * sizeof(float);
    for (int m = 0; m < STORE_METRICS; m++) {
        size_t row = store_metric_row_bytes((enum store_metric)m, plan->arch, plan->n_layer);
        if (store_keeps_metric(plan, plan->n_runs - 1, (enum store_metric)m) && row > most) most = row;
    }
    return most;
}

size_t store_room_bytes(const struct plan *plan, const struct dims *dims, const struct corpus *corpus)
{
    return writer_room_bytes(most_bytes(plan, dims, corpus));
}

// HDF5 only finds places in the file and reads: what a rank writes goes there by itself.  So nothing of HDF5
// is collective, nothing is left to write when the file is closed, and no rank can leave another waiting
// there.
static enum status open_file(struct store *store, struct error *err)
{
    hid_t access = store_access();
    H5Pset_sieve_buf_size(access, 0); // else it would keep what was read, and others write
    store->file = H5Fopen(store->path, H5F_ACC_RDONLY, access);
    if (store->file < 0) store_hdf5_error(err, store->path, "cannot open the result file");
    H5Pclose(access);
    return err->status;
}

enum status store_open_file(struct store *store, const struct plan *plan, const struct dims *dims,
                            const struct corpus *corpus, struct error *err)
{
    if (check_visible(store, err)) return err->status;
    store_remember(store, err);
    if (!err->status)
        writer_open(&store->writer, store->path, most_bytes(plan, dims, corpus), plan->n_runs, true, err);
    if (!err->status && open_file(store, err) == STATUS_OK) open_all(store, plan, err);
    return comm_agree(&store->comm, err);
}

// ---- life ----

void store_close(struct store *store)
{
    if (!store) return;
    writer_close(store->writer);
    if (store->file >= 0) {
        close_data(store);
        H5Fclose(store->file);
    }
    if (store->locked >= 0) close(store->locked);
    free(store->outputs);
    free(store->metrics);
    free(store->items);
    free(store->scales);
    free(store->path);
    free(store);
}

struct store *store_new(const struct comm *comm, const char *path, const struct plan *plan,
                        const struct dims *dims, const struct corpus *corpus, struct error *err)
{
    struct store *store = calloc(1, sizeof *store);
    if (!store) {
        error_memory(err, sizeof *store, "the store");
        return NULL;
    }
    store->comm = *comm;
    store->file = -1;
    store->locked = -1;
    store->n_runs = plan->n_runs;
    store->n_cells = plan->n_cells;
    store->n_layer = plan->n_layer;
    store->arch = plan->arch;
    store->samples = corpus->samples;
    store->max_tokens = corpus->max_tokens;
    for (int c = 0; c < plan->arch->n_components; c++)
        store->width[c] = arch_width(dims, c);
    size_t tensors = (size_t)plan->n_runs * (size_t)plan->n_layer * (size_t)plan->arch->n_components;
    store->path = strdup(path);
    store->outputs = calloc(tensors + 1, sizeof *store->outputs);
    store->metrics = calloc((size_t)plan->n_runs * STORE_METRICS + 1, sizeof *store->metrics);
    store->items = calloc((size_t)plan->n_runs + 1, sizeof *store->items);
    store->scales = calloc((size_t)plan->n_cells + 1, sizeof *store->scales);
    if (!store->path || !store->outputs || !store->metrics || !store->items || !store->scales)
        error_memory(err, tensors * sizeof *store->outputs, "the store");
    return store;
}

enum status store_create(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, struct error *err)
{
    store_hdf5_silence();
    struct store *made = store_new(comm, path, plan, dims, corpus, err);
    if (comm_agree(comm, err)) goto free_store;
    if (comm->rank == 0) store_create_file(path, plan, dims, corpus, identity, err);
    store_tidy();
    if (comm_agree(comm, err)) goto free_store;
    if (comm->rank == 0) store_open_locked(&made->locked, path, STORE_LOCK_SHARED, err);
    if (comm_agree(comm, err) || store_open_file(made, plan, dims, corpus, err)) goto remove_file;
    *store = made;
    return STATUS_OK;
remove_file:
    if (comm->rank == 0) unlink(path);
free_store:
    store_close(made);
    return err->status;
}
