// SPDX-License-Identifier: Apache-2.0
// The writing half: one rank makes the file, all open it together, then only raw data moves, by independent
// writes.
#include <hdf5.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/numerics/calibrate.h"
#include "ssmsweep/sweep/store.h"
#include "store_create.h"
#include "store_layout.h"
#include "writer.h"

// Where (run, sample) keeps its account.
struct run_items {
    hid_t state, digest, seconds;
};

struct store {
    struct comm comm;
    char *path;
    hid_t file;
    int n_runs, n_cells, n_layer, max_tokens;
    hid_t *outputs;          // [n_runs][n_layer][COMPONENT_COUNT], 0 where nothing is captured
    struct run_items *items; // [n_runs]
    hid_t *scales;           // [n_cells]
    struct writer *writer;
};

static hid_t *output_at(const struct store *store, int run, int layer, int component)
{
    return &store->outputs[((size_t)run * (size_t)store->n_layer + (size_t)layer) * COMPONENT_COUNT +
                           (size_t)component];
}

// ---- opening ----

static hid_t open_data(const struct store *store, const char *name, struct error *err)
{
    if (err->status) return 0;
    hid_t data = H5Dopen2(store->file, name, H5P_DEFAULT);
    if (data >= 0) return data;
    store_hdf5_error(err, store->path, name);
    return 0;
}

static void open_run(struct store *store, const struct plan *plan, int run, struct error *err)
{
    char name[STORE_PATH_ROOM];
    struct run_items *items = &store->items[run];
    for (int l = 0; l < store->n_layer; l++)
        for (int c = 0; c < COMPONENT_COUNT; c++) {
            if (!(plan->want[l] & 1u << c)) continue;
            store_output_name(plan, run, l, (enum component)c, name);
            *output_at(store, run, l, c) = open_data(store, name, err);
        }
    items->state = open_data(store, store_item_name(plan, run, STORE_STATE, name), err);
    items->digest = open_data(store, store_item_name(plan, run, STORE_DIGEST, name), err);
    items->seconds = open_data(store, store_item_name(plan, run, STORE_SECONDS, name), err);
}

static void open_file(struct store *store, const struct plan *plan, struct error *err)
{
    char name[STORE_PATH_ROOM];
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_mpio(access, store->comm.world, MPI_INFO_NULL);
    store->file = H5Fopen(store->path, H5F_ACC_RDWR, access);
    if (store->file < 0) store_hdf5_error(err, store->path, "cannot open the new result file under MPI-IO");
    H5Pclose(access);
    for (int c = 0; c < store->n_cells; c++) {
        store_scales_name(plan, c, name);
        store->scales[c] = open_data(store, name, err);
    }
    for (int r = 0; r < store->n_runs; r++)
        open_run(store, plan, r, err);
}

// Opening is collective and does not survive a rank that cannot see the file.
static enum status check_visible(const struct store *store, struct error *err)
{
    if (access(store->path, R_OK | W_OK) != 0)
        error_errno(err, store->path,
                    "the new result file cannot be reached; --output_dir must be shared by all hosts");
    return comm_agree(&store->comm, err);
}

// Nothing of HDF5 is safe any more; all that is left is to take our file away.
static void give_up(struct store *store, const struct error *err)
{
    if (store->comm.rank == 0) unlink(store->path);
    comm_abort_agreed(&store->comm, err);
}

// The largest output of a sample.
static size_t most_bytes(const struct plan *plan, const struct dims *dims, const struct corpus *corpus)
{
    int width = 0;
    for (int l = 0; l < plan->n_layer; l++)
        for (int c = 0; c < COMPONENT_COUNT; c++)
            if ((plan->want[l] & 1u << c) && component_width(dims, (enum component)c) > width)
                width = component_width(dims, (enum component)c);
    return (size_t)corpus->max_tokens * (size_t)width * sizeof(float);
}

size_t store_room_bytes(const struct plan *plan, const struct dims *dims, const struct corpus *corpus)
{
    return writer_room_bytes(most_bytes(plan, dims, corpus));
}

// ---- life ----

static void free_store(struct store *store)
{
    if (!store) return;
    writer_close(store->writer);
    free(store->outputs);
    free(store->items);
    free(store->scales);
    free(store->path);
    free(store);
}

static struct store *new_store(const struct comm *comm, const char *path, const struct plan *plan,
                               const struct corpus *corpus, struct error *err)
{
    struct store *store = calloc(1, sizeof *store);
    if (!store) {
        error_memory(err, sizeof *store, "the store");
        return NULL;
    }
    store->comm = *comm;
    store->n_runs = plan->n_runs;
    store->n_cells = plan->n_cells;
    store->n_layer = plan->n_layer;
    store->max_tokens = corpus->max_tokens;
    size_t tensors = (size_t)plan->n_runs * (size_t)plan->n_layer * COMPONENT_COUNT;
    store->path = strdup(path);
    store->outputs = calloc(tensors + 1, sizeof *store->outputs);
    store->items = calloc((size_t)plan->n_runs + 1, sizeof *store->items);
    store->scales = calloc((size_t)plan->n_cells + 1, sizeof *store->scales);
    if (!store->path || !store->outputs || !store->items || !store->scales)
        error_memory(err, tensors * sizeof *store->outputs, "the store");
    return store;
}

static void close_data(struct store *store)
{
    for (int r = 0; r < store->n_runs; r++) {
        for (int l = 0; l < store->n_layer; l++)
            for (int c = 0; c < COMPONENT_COUNT; c++)
                if (*output_at(store, r, l, c)) H5Dclose(*output_at(store, r, l, c));
        H5Dclose(store->items[r].state);
        H5Dclose(store->items[r].digest);
        H5Dclose(store->items[r].seconds);
    }
    for (int c = 0; c < store->n_cells; c++)
        H5Dclose(store->scales[c]);
}

enum status store_create(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, struct error *err)
{
    store_hdf5_silence();
    struct store *made = new_store(comm, path, plan, corpus, err);
    if (comm_agree(comm, err)) goto free_store;
    if (comm->rank == 0) store_create_file(path, plan, dims, corpus, identity, err);
    if (comm_agree(comm, err)) goto free_store;
    if (check_visible(made, err)) goto remove_file;
    writer_open(&made->writer, path, most_bytes(plan, dims, corpus), true, err);
    if (comm_agree(comm, err)) goto remove_file;
    open_file(made, plan, err);
    if (comm_agree(comm, err)) give_up(made, err);
    *store = made;
    return STATUS_OK;
remove_file:
    if (comm->rank == 0) unlink(path);
free_store:
    free_store(made);
    return err->status;
}

enum status store_close(struct store *store, struct error *err)
{
    if (!store) return STATUS_OK;
    writer_sync(store->writer, err);
    if (comm_agree(&store->comm, err)) return err->status;
    if (H5Fflush(store->file, H5F_SCOPE_GLOBAL) < 0)
        store_hdf5_error(err, store->path, "cannot flush the results");
    if (comm_agree(&store->comm, err)) return err->status;
    close_data(store);
    if (H5Fclose(store->file) < 0) store_hdf5_error(err, store->path, "cannot close the result file");
    if (comm_agree(&store->comm, err)) return err->status;
    free_store(store);
    return STATUS_OK;
}

void store_abandon(struct store *store)
{
    free_store(store);
}

// ---- raw data ----

// The block of `rank` dimensions at `start`, `count` elements along each.
static enum status write_block(struct store *store, hid_t data, int rank, const hsize_t *start,
                               const hsize_t *count, hid_t type, const void *values, const char *what,
                               struct error *err)
{
    hid_t file_space = H5Dget_space(data), memory_space = H5Screate_simple(rank, count, NULL);
    if (H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dwrite(data, type, memory_space, file_space, H5P_DEFAULT, values) < 0)
        store_hdf5_error(err, store->path, what);
    H5Sclose(memory_space);
    H5Sclose(file_space);
    return err->status;
}

enum status store_write_scales(struct store *store, const float *scales, struct error *err)
{
    size_t per_cell = (size_t)store->n_layer * SITE_COUNT;
    hsize_t start[2] = {0, 0}, count[2] = {(hsize_t)store->n_layer, SITE_COUNT};
    for (int c = 0; store->comm.rank == 0 && c < store->n_cells && !err->status; c++)
        write_block(store, store->scales[c], 2, start, count, H5T_NATIVE_FLOAT, scales + (size_t)c * per_cell,
                    "cannot write the scales", err);
    return comm_agree(&store->comm, err);
}

// Where the element `index` of a dataset lies in the file.
static enum status find_place(const struct store *store, hid_t data, hsize_t index, size_t element_bytes,
                              long long *place, struct error *err)
{
    haddr_t offset = H5Dget_offset(data);
    if (offset == HADDR_UNDEF)
        return error_set(err, STATUS_INTERNAL, "%s: a dataset without contiguous storage", store->path);
    *place = (long long)(offset + index * element_bytes);
    return STATUS_OK;
}

enum status store_write_output(struct store *store, int run, int layer, enum component component, int sample,
                               const float *values, int length, int width, struct error *err)
{
    hid_t data = *output_at(store, run, layer, (int)component);
    hsize_t index = (hsize_t)sample * (hsize_t)store->max_tokens * (hsize_t)width;
    long long place = 0;
    if (!data)
        return error_set(err, STATUS_INTERNAL, "%s: layer %d %s is not in the plan", store->path, layer,
                         component_name(component));
    if (find_place(store, data, index, sizeof *values, &place, err)) return err->status;
    return writer_put(store->writer, place, values, (size_t)length * (size_t)width * sizeof *values, err);
}

enum status store_write_done(struct store *store, int run, int sample, float seconds, struct error *err)
{
    const struct run_items *items = &store->items[run];
    struct writer_account account = {.done = STORE_ITEM_DONE};
    const hsize_t at = (hsize_t)sample;
    if (find_place(store, items->digest, at * HASH_BYTES, 1, &account.digest, err) ||
        find_place(store, items->seconds, at, sizeof seconds, &account.seconds, err) ||
        find_place(store, items->state, at, 1, &account.state, err))
        return err->status;
    writer_put_account(store->writer, &account, seconds, err);
    return writer_settle(store->writer, err);
}

void store_write_cancel(struct store *store)
{
    struct error unused = {0};
    writer_settle(store->writer, &unused);
}
