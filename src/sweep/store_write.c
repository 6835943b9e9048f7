// SPDX-License-Identifier: Apache-2.0
// The writing half: collective creation, then independent writes of raw data only.
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/numerics/calibrate.h"
#include "ssmsweep/sweep/store.h"
#include "store_layout.h"

// Where (run, sample) keeps its account.
struct run_items {
    hid_t state, digest, seconds;
};

struct store {
    struct comm comm;
    char *path;
    hid_t file;
    int n_runs, n_cells, n_layer, samples;
    hid_t *outputs;          // [n_runs][n_layer][COMPONENT_COUNT], 0 where nothing is captured
    struct run_items *items; // [n_runs]
    hid_t *scales;           // [n_cells]
    hid_t token_ids, length;
};

// What creation needs; hid_t of property lists are owned by create_all().
struct plan_view {
    const struct plan *plan;
    const struct dims *dims;
    const struct corpus *corpus;
    const struct store_identity *identity;
    hid_t group_list, data_list;
};

static hid_t *output_at(const struct store *store, int run, int layer, int component)
{
    return &store->outputs[((size_t)run * (size_t)store->n_layer + (size_t)layer) * COMPONENT_COUNT +
                           (size_t)component];
}

// ---- room on the disk ----

static int count_captured(const struct plan *plan, const struct dims *dims, unsigned long long *row_elements)
{
    int tensors = 0;
    *row_elements = 0;
    for (int l = 0; l < plan->n_layer; l++)
        for (int c = 0; c < COMPONENT_COUNT; c++) {
            if (!(plan->want[l] & 1u << c)) continue;
            tensors++;
            *row_elements += (unsigned long long)component_width(dims, (enum component)c);
        }
    return tensors;
}

unsigned long long store_estimate_bytes(const struct plan *plan, const struct dims *dims,
                                        const struct corpus *corpus)
{
    const unsigned long long object_bytes = 4096; // object header, link, and its share of the group's tree
    unsigned long long row_elements;
    unsigned long long tensors = (unsigned long long)count_captured(plan, dims, &row_elements);
    unsigned long long samples = (unsigned long long)corpus->samples, runs = (unsigned long long)plan->n_runs;
    unsigned long long tokens = samples * (unsigned long long)corpus->max_tokens;
    unsigned long long objects = 16 + runs * (2 * tensors + 5) + 2 * (unsigned long long)plan->n_cells;
    return runs * tokens * row_elements * sizeof(float)           // outputs
           + runs * samples * (1 + HASH_BYTES + sizeof(float))    // items
           + tokens * sizeof(int32_t) + samples * sizeof(int32_t) // samples
           + (unsigned long long)plan->n_cells * (unsigned long long)plan->n_layer * SITE_COUNT *
                 sizeof(float) +
           objects * object_bytes;
}

static enum status allocate(int descriptor, unsigned long long bytes, const char *path, struct error *err)
{
    int code = posix_fallocate(descriptor, 0, (off_t)bytes);
    if (code == 0 || code == EOPNOTSUPP || code == EINVAL) return STATUS_OK; // the file system cannot promise
    return error_set(err, STATUS_IO,
                     "%s: cannot reserve %llu MiB for the results: %s; free space, or store fewer %s", path,
                     bytes >> 20, strerror(code), "layers, components or modes");
}

// Rank 0.  HDF5 cannot recover from a disk that is full while it creates, so the room is tried first, and an
// existing file is met here and not inside MPI-IO.  Leaves an empty file that is ours.
static enum status claim_file(const char *path, unsigned long long bytes, struct error *err)
{
    int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno == EEXIST)
        return error_set(err, STATUS_INPUT,
                         "%s: the result file exists already; use --resume, or another --output_dir", path);
    if (descriptor < 0) return error_errno(err, path, "cannot create the result file");
    allocate(descriptor, bytes, path, err);
    if (!err->status && ftruncate(descriptor, 0) != 0) error_errno(err, path, "cannot truncate");
    close(descriptor);
    if (err->status) unlink(path);
    return err->status;
}

// Rank 0, once HDF5 has given the file its full size: the blocks themselves.
static enum status reserve_file(const char *path, struct error *err)
{
    struct stat info;
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return error_errno(err, path, "cannot reopen");
    if (fstat(descriptor, &info) != 0)
        error_errno(err, path, "cannot stat");
    else
        allocate(descriptor, (unsigned long long)info.st_size, path, err);
    close(descriptor);
    return err->status;
}

// ---- creation ----

static hid_t create_data(struct store *store, const struct plan_view *view, const char *name, hid_t type,
                         int rank, const hsize_t *shape, struct error *err)
{
    if (err->status) return 0;
    hid_t space = H5Screate_simple(rank, shape, NULL);
    hid_t data = H5Dcreate2(store->file, name, type, space, view->group_list, view->data_list, H5P_DEFAULT);
    H5Sclose(space);
    if (data >= 0) return data;
    store_hdf5_error(err, store->path, name);
    return 0;
}

static void put_text(struct store *store, const char *name, const char *text, struct error *err)
{
    if (err->status) return;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, strlen(text) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    hid_t attribute = H5Acreate2(store->file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, text) < 0) store_hdf5_error(err, store->path, name);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

static void put_integer(struct store *store, const char *name, int value, struct error *err)
{
    if (err->status) return;
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(store->file, name, H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, H5T_NATIVE_INT, &value) < 0)
        store_hdf5_error(err, store->path, name);
    H5Aclose(attribute);
    H5Sclose(space);
}

static void put_site_names(struct store *store, hid_t data, struct error *err)
{
    enum { NAME_ROOM = 32 };
    char names[SITE_COUNT][NAME_ROOM] = {{0}};
    if (err->status) return;
    for (int s = 0; s < SITE_COUNT; s++)
        snprintf(names[s], NAME_ROOM, "%s", site_name((enum scale_site)s));
    hsize_t count = SITE_COUNT;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate_simple(1, &count, NULL);
    H5Tset_size(type, NAME_ROOM);
    hid_t attribute = H5Acreate2(data, "sites", type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, names) < 0) store_hdf5_error(err, store->path, "sites");
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

static void create_attributes(struct store *store, const struct plan_view *view, struct error *err)
{
    const struct store_identity *identity = view->identity;
    put_integer(store, "schema_version", STORE_SCHEMA_VERSION, err);
    put_text(store, "tool_version", identity->tool_version, err);
    put_text(store, "job", identity->job_json, err);
    put_text(store, "weights_sha256", identity->weights_hex, err);
    put_text(store, "tokenizer_sha256", identity->tokenizer_hex, err);
    put_text(store, "ids_sha256", identity->ids_hex, err);
    put_text(store, "reference_mode", view->plan->runs[view->plan->reference_run].mode->name, err);
    put_text(store, "model_dtype", identity->model_dtype, err);
    put_text(store, "scales_source", identity->scales_source, err);
    put_text(store, "reference_weights", identity->reference_weights, err);
}

// "float", or the cell's calib_data_num.
static void cell_label(const struct plan *plan, int cell, char label[STORE_LABEL_ROOM])
{
    if (cell == PLAN_FLOAT_CELL)
        snprintf(label, STORE_LABEL_ROOM, STORE_FLOAT_LABEL);
    else
        snprintf(label, STORE_LABEL_ROOM, "%d", plan->calib_data_num[cell]);
}

static void create_shared(struct store *store, const struct plan_view *view, struct error *err)
{
    hsize_t ids[2] = {(hsize_t)view->corpus->samples, (hsize_t)view->corpus->max_tokens};
    store->token_ids = create_data(store, view, "/samples/token_ids", H5T_STD_I32LE, 2, ids, err);
    store->length = create_data(store, view, "/samples/length", H5T_STD_I32LE, 1, ids, err);
    for (int c = 0; c < store->n_cells; c++) {
        char label[STORE_LABEL_ROOM], name[STORE_PATH_ROOM];
        hsize_t shape[2] = {(hsize_t)store->n_layer, SITE_COUNT};
        cell_label(view->plan, c, label);
        snprintf(name, sizeof name, "/calibration/%s/scales", label);
        store->scales[c] = create_data(store, view, name, H5T_IEEE_F32LE, 2, shape, err);
        put_site_names(store, store->scales[c], err);
    }
}

static void create_items(struct store *store, const struct plan_view *view, int run, const char *under,
                         struct error *err)
{
    char name[STORE_PATH_ROOM];
    hsize_t shape[2] = {(hsize_t)store->samples, HASH_BYTES};
    struct run_items *items = &store->items[run];
    snprintf(name, sizeof name, "/items/%s/state", under);
    items->state = create_data(store, view, name, H5T_STD_U8LE, 1, shape, err);
    snprintf(name, sizeof name, "/items/%s/digest", under);
    items->digest = create_data(store, view, name, H5T_STD_U8LE, 2, shape, err);
    snprintf(name, sizeof name, "/items/%s/seconds", under);
    items->seconds = create_data(store, view, name, H5T_IEEE_F32LE, 1, shape, err);
}

static void create_run(struct store *store, const struct plan_view *view, int run, struct error *err)
{
    char label[STORE_LABEL_ROOM], under[64], name[STORE_PATH_ROOM];
    cell_label(view->plan, view->plan->runs[run].cell, label);
    snprintf(under, sizeof under, "%s/%s", label, view->plan->runs[run].mode->name);
    for (int l = 0; l < store->n_layer; l++)
        for (int c = 0; c < COMPONENT_COUNT; c++) {
            if (!(view->plan->want[l] & 1u << c)) continue;
            int width = component_width(view->dims, (enum component)c);
            hsize_t shape[3] = {(hsize_t)store->samples, (hsize_t)view->corpus->max_tokens, (hsize_t)width};
            snprintf(name, sizeof name, "/outputs/%s/layer_%d/%s", under, l,
                     component_name((enum component)c));
            *output_at(store, run, l, c) = create_data(store, view, name, H5T_IEEE_F32LE, 3, shape, err);
        }
    create_items(store, view, run, under, err);
}

static void create_contents(struct store *store, struct plan_view *view, struct error *err)
{
    view->group_list = H5Pcreate(H5P_LINK_CREATE);
    view->data_list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_create_intermediate_group(view->group_list, 1);
    H5Pset_layout(view->data_list, H5D_CONTIGUOUS);
    H5Pset_alloc_time(view->data_list, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(view->data_list, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(view->data_list, false); // two runs give the same file
    create_attributes(store, view, err);
    create_shared(store, view, err);
    for (int r = 0; r < store->n_runs; r++)
        create_run(store, view, r, err);
    H5Pclose(view->data_list);
    H5Pclose(view->group_list);
    // Without this flush one killed rank leaves a file that nobody can open.
    if (!err->status && H5Fflush(store->file, H5F_SCOPE_GLOBAL) < 0)
        store_hdf5_error(err, store->path, "cannot write the structure of the result file");
}

static void create_file(struct store *store, struct error *err)
{
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    H5Pset_fapl_mpio(access, store->comm.world, MPI_INFO_NULL);
    store->file = H5Fcreate(store->path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5Pclose(access);
    if (store->file < 0) store_hdf5_error(err, store->path, "cannot create the result file");
}

static enum status write_samples(struct store *store, const struct corpus *corpus, struct error *err)
{
    if (H5Dwrite(store->token_ids, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, corpus->ids) < 0 ||
        H5Dwrite(store->length, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, corpus->length) < 0)
        return store_hdf5_error(err, store->path, "cannot write the token ids");
    return STATUS_OK;
}

// ---- life ----

static void free_store(struct store *store)
{
    if (!store) return;
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
    store->samples = corpus->samples;
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
    H5Dclose(store->token_ids);
    H5Dclose(store->length);
}

// Nothing of HDF5 is safe any more; all that is left is to take our file away.
static void give_up(struct store *store, const struct error *err)
{
    if (store->comm.rank == 0) unlink(store->path);
    comm_abort_agreed(&store->comm, err);
}

static enum status fill_new_file(struct store *store, const struct corpus *corpus, struct error *err)
{
    if (store->comm.rank == 0 && reserve_file(store->path, err) == STATUS_OK)
        write_samples(store, corpus, err);
    if (comm_agree(&store->comm, err) == STATUS_OK) return STATUS_OK;
    close_data(store);
    H5Fclose(store->file);
    return err->status;
}

enum status store_create(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, struct error *err)
{
    store_hdf5_silence();
    struct plan_view view = {.plan = plan, .dims = dims, .corpus = corpus, .identity = identity};
    struct store *made = new_store(comm, path, plan, corpus, err);
    if (comm_agree(comm, err)) goto free_store;
    if (comm->rank == 0) claim_file(path, store_estimate_bytes(plan, dims, corpus), err);
    if (comm_agree(comm, err)) goto free_store;
    create_file(made, err);
    if (comm_agree(comm, err)) give_up(made, err);
    create_contents(made, &view, err);
    if (comm_agree(comm, err)) give_up(made, err);
    if (fill_new_file(made, corpus, err)) goto remove_file;
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
    if (H5Fflush(store->file, H5F_SCOPE_GLOBAL) < 0)
        store_hdf5_error(err, store->path, "cannot flush the results");
    if (comm_agree(&store->comm, err)) return err->status;
    close_data(store);
    if (H5Fclose(store->file) < 0) store_hdf5_error(err, store->path, "cannot close the result file");
    if (comm_agree(&store->comm, err)) return err->status;
    free_store(store);
    return STATUS_OK;
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

enum status store_write_output(struct store *store, int run, int layer, enum component component, int sample,
                               const float *values, int length, int width, struct error *err)
{
    hid_t data = *output_at(store, run, layer, (int)component);
    if (!data)
        return error_set(err, STATUS_INTERNAL, "%s: layer %d %s is not in the plan", store->path, layer,
                         component_name(component));
    hsize_t start[3] = {(hsize_t)sample, 0, 0}, count[3] = {1, (hsize_t)length, (hsize_t)width};
    return write_block(store, data, 3, start, count, H5T_NATIVE_FLOAT, values, "cannot write layer outputs",
                       err);
}

enum status store_write_done(struct store *store, int run, int sample, const unsigned char digest[32],
                             float seconds, struct error *err)
{
    const struct run_items *items = &store->items[run];
    const unsigned char done = STORE_ITEM_DONE;
    hsize_t start[2] = {(hsize_t)sample, 0}, row[2] = {1, HASH_BYTES};
    if (write_block(store, items->digest, 2, start, row, H5T_NATIVE_UINT8, digest, "cannot write a digest",
                    err) ||
        write_block(store, items->seconds, 1, start, row, H5T_NATIVE_FLOAT, &seconds, "cannot write a time",
                    err))
        return err->status;
    return write_block(store, items->state, 1, start, row, H5T_NATIVE_UINT8, &done, "cannot mark an item",
                       err);
}
