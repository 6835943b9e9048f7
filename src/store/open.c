// SPDX-License-Identifier: Apache-2.0
// The life of an open result file, for a new sweep and for one that goes on: made or looked at by rank 0,
// then opened by every rank for itself.  Every dataset is checked, as writes go to its place in the file.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "handle.h"
#include "hdf.h"
#include "ssmsweep/store/claim.h"

// ---- the datasets ----

struct data_place *store_data_at(struct store *store, const struct layout_place *place)
{
    switch (layout_rows[place->data].scope) {
    case SCOPE_FILE:
        return &store->of_file[place->data];
    case SCOPE_CELL:
        return &store->of_cells[2 * place->cell + (place->data == DATA_GROUP_SCALES)];
    case SCOPE_RUN:
        return &store->of_runs[(size_t)place->run * LAYOUT_DATA + (size_t)place->data];
    default:
        return &store->outputs[((size_t)place->run * (size_t)store->n_layer + (size_t)place->layer) *
                                   (size_t)store->arch->n_components +
                               (size_t)place->component];
    }
}

struct opening {
    struct store *store;
    const struct contents *contents;
    struct hdf_file file;
    struct layout_types types;
};

static enum status find_dataset(void *context, const struct layout_place *place, struct error *err)
{
    struct opening *opening = context;
    const struct layout_sizes sizes = contents_sizes_at(opening->contents, place);
    struct hdf_expected expected = layout_expected(place->data, &sizes, &opening->types);
    char name[LAYOUT_PATH_ROOM];
    layout_place_path(opening->contents->plan, place, name);
    const hid_t data = hdf_open(&opening->file, name, &expected, err);
    if (!data) return err->status;
    // The raw data lie inside the file: that was checked.
    const struct data_place found = {(long long)H5Dget_offset(data), hdf_object(data)};
    if (found.object < 0) hdf_torn(&opening->file, name, "header cannot be found", err);
    *store_data_at(opening->store, place) = found;
    H5Dclose(data);
    return err->status;
}

// Each rank for itself, read-only: a file that cannot be read is refused before HDF5 opens it collectively,
// if it does (sink.h).
static enum status find_datasets(struct store *store, const struct contents *contents, struct error *err)
{
    struct opening opening = {
        .store = store, .contents = contents, .file = {.path = store->path, .size_bytes = store->size_bytes}};
    hid_t access = hdf_access(HDF_LOOKS_ONCE);
    opening.file.id = H5Fopen(store->path, H5F_ACC_RDONLY, access);
    if (opening.file.id < 0) hdf_error(err, store->path, "cannot open the result file");
    H5Pclose(access);
    if (err->status) return err->status;
    if (layout_open_types(&opening.types, err) == STATUS_OK)
        layout_each(contents->plan, find_dataset, &opening, err);
    layout_close_types(&opening.types);
    H5Fclose(opening.file.id);
    hdf_tidy(); // after so many datasets
    return err->status;
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

struct largest {
    const struct contents *contents;
    size_t bytes;
};

static enum status take_larger(void *context, const struct layout_place *place, struct error *err)
{
    struct largest *largest = context;
    const struct layout_sizes sizes = contents_sizes_at(largest->contents, place);
    const size_t bytes = layout_row_bytes(place->data, &sizes);
    const bool of_sample = place->data == DATA_OUTPUT || place->data >= DATA_FIRST_METRIC;
    if (of_sample && bytes > largest->bytes) largest->bytes = bytes;
    return err->status;
}

// The largest piece of a sample: a tensor, or its row of a metric.
static size_t most_bytes(const struct contents *contents)
{
    struct largest largest = {contents, 0};
    struct error none = {0};
    layout_each(contents->plan, take_larger, &largest, &none);
    return largest.bytes;
}

size_t store_kept_bytes(const struct store_io *io)
{
    enum { MPIO_BYTES = 560 << 10 };
    return io->driver == STORE_MPIO ? MPIO_BYTES : 0;
}

size_t store_room_bytes(const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                        const struct store_io *io)
{
    const struct contents contents = {plan, dims, corpus, NULL, NULL};
    return writer_room_bytes(most_bytes(&contents)) + store_kept_bytes(io);
}

// Collective.
static enum status open_sink(struct store *store, const struct store_io *io, struct error *err)
{
    if (io->driver == STORE_MPIO) return sink_open_mpio(&store->sink, store->path, &store->comm, io, err);
    sink_open_posix(&store->sink, store->path, err);
    return comm_agree(&store->comm, err);
}

// Collective.
static enum status open_file(struct store *store, const struct contents *contents, struct error *err)
{
    if (check_visible(store, err)) return err->status;
    if (!write_remember(store, err)) find_datasets(store, contents, err);
    if (comm_agree(&store->comm, err) || open_sink(store, contents->io, err)) return err->status;
    const bool threaded = contents->io->driver == STORE_POSIX || store->comm.threads_may_call;
    store->n_runs = contents->plan->n_runs;
    writer_open(&store->writer, store->sink, most_bytes(contents), contents->plan->n_runs, threaded, err);
    return comm_agree(&store->comm, err);
}

// ---- life ----

enum status store_close(struct store *store, struct error *err)
{
    if (!store) return err->status;
    writer_close(store->writer);
    if (store->sink) write_look(store);
    sink_close(store->sink, &store->loss, err);
    if (store->locked >= 0) close(store->locked);
    free(store->expected);
    free(store->outputs);
    free(store->of_runs);
    free(store->of_cells);
    free(store->path);
    free(store);
    return err->status;
}

// NULL with *err set when memory is out, or with *err set something that store_close() takes.
static struct store *make_store(const struct comm *comm, const char *path, const struct contents *contents,
                                struct error *err)
{
    const struct plan *plan = contents->plan;
    struct store *store = calloc(1, sizeof *store);
    if (!store) {
        error_memory(err, sizeof *store, "the store");
        return NULL;
    }
    store->comm = *comm;
    store->locked = -1;
    store->n_cells = plan->n_cells;
    store->n_layer = plan->n_layer;
    store->arch = plan->arch;
    store->sizes = contents_sizes(contents);
    for (int c = 0; c < plan->arch->n_components; c++)
        store->width[c] = arch_width(contents->dims, c);
    size_t tensors = (size_t)plan->n_runs * (size_t)plan->n_layer * (size_t)plan->arch->n_components;
    store->path = strdup(path);
    store->outputs = calloc(tensors + 1, sizeof *store->outputs);
    store->of_runs = calloc((size_t)plan->n_runs * LAYOUT_DATA + 1, sizeof *store->of_runs);
    store->of_cells = calloc(2 * (size_t)plan->n_cells + 1, sizeof *store->of_cells);
    if (!store->path || !store->outputs || !store->of_runs || !store->of_cells)
        error_memory(err, tensors * sizeof *store->outputs, "the store");
    return store;
}

enum status store_create(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, const struct store_io *io, struct error *err)
{
    const struct contents contents = {plan, dims, corpus, identity, io};
    hdf_silence();
    struct store *made = make_store(comm, path, &contents, err);
    if (comm_agree(comm, err)) goto free_store;
    if (comm->rank == 0) create_file(path, &contents, err);
    hdf_tidy();
    if (comm_agree(comm, err)) goto free_store;
    if (comm->rank == 0) file_lock_open(&made->locked, path, FILE_LOCK_SHARED, err);
    if (comm_agree(comm, err) || open_file(made, &contents, err)) goto remove_file;
    *store = made;
    return STATUS_OK;
remove_file:
    store_close(made, err);
    if (comm->rank == 0) unlink(path);
    return err->status;
free_store:
    return store_close(made, err);
}

// ---- a file that is there ----

static bool holds_run(const struct result *result, const struct plan *plan, int run)
{
    const struct layout_run wanted = layout_run_of(plan, run);
    for (int r = 0; r < result_all_runs(result); r++) {
        const struct result_run *held = result_run_at(result, r);
        if (cell_compare(held->cell, wanted.cell) == 0 && held->dither == wanted.dither &&
            strcmp(held->mode, wanted.mode) == 0)
            return true;
    }
    return false;
}

static bool holds_all(const struct result *result, const struct plan *plan)
{
    for (int r = 0; r < plan->n_runs; r++)
        if (!holds_run(result, plan, r)) return false;
    return true;
}

// For rank 0, before the others open the file.  The descriptor holds the lock as long as it is open.
static enum status look_at_file(const char *path, const struct contents *contents, bool extends, int *locked,
                                struct error *err)
{
    struct result *result = NULL;
    if (extend_finish(path, err) || // under a lock of its own
        file_lock_open(locked, path, FILE_LOCK_SHARED, err) || result_open(&result, path, err))
        return err->status;
    if (result_packed(result))
        error_set(err, STATUS_INPUT,
                  "%s: the result file is packed, and ranks cannot write to compressed datasets; "
                  "`ssmsweep compare` makes its reports again, another --output_dir takes a new sweep",
                  path);
    else
        identity_check(result, path, contents->identity, extends, err);
    const bool whole = holds_all(result, contents->plan);
    result_close(result);
    if (err->status || whole || !extends) return err->status;
    if (file_lock(*locked, path, FILE_LOCK_EXCLUSIVE, err) || extend_file(path, contents, err))
        return err->status;
    return file_lock(*locked, path, FILE_LOCK_SHARED, err);
}

static enum status open_again(struct store **store, const struct comm *comm, const char *path,
                              const struct contents *contents, bool extends, struct error *err)
{
    hdf_silence();
    struct store *opened = make_store(comm, path, contents, err);
    if (comm_agree(comm, err)) goto free_store;
    if (comm->rank == 0) look_at_file(path, contents, extends, &opened->locked, err);
    if (comm_agree(comm, err) || open_file(opened, contents, err)) goto free_store;
    if (comm->rank == 0) write_samples(opened, contents->corpus, err); // small: no need to look
    if (comm_agree(comm, err)) goto free_store;
    *store = opened;
    return STATUS_OK;
free_store:
    return store_close(opened, err);
}

enum status store_resume(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, const struct store_io *io, struct error *err)
{
    const struct contents contents = {plan, dims, corpus, identity, io};
    return open_again(store, comm, path, &contents, false, err);
}

enum status store_extend(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, const struct store_io *io, struct error *err)
{
    const struct contents contents = {plan, dims, corpus, identity, io};
    return open_again(store, comm, path, &contents, true, err);
}
