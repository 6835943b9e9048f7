// SPDX-License-Identifier: Apache-2.0
// A new result file: collective creation.  It is made under a name of its own and gets its true one when its
// structure is on the disk, so that an interrupted creation is never taken for a result.
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
#include "ssmsweep/numerics/version.h"
#include "store_handle.h"
#include "store_layout.h"
#include "writer.h"

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
    unsigned long long objects = 20 + runs * (2 * tensors + 5) + 2 * (unsigned long long)plan->n_cells;
    return runs * tokens * row_elements * sizeof(float)              // outputs
           + (runs + 1) * samples * (1 + HASH_BYTES + sizeof(float)) // items
           + tokens * sizeof(int32_t) + samples * sizeof(int32_t)    // samples
           + ((unsigned long long)plan->n_cells + (plan->n_cells ? samples : 0)) *
                 (unsigned long long)plan->n_layer * SITE_COUNT * sizeof(float) +
           objects * object_bytes;
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

enum status store_open_writer(struct store *store, const struct store_plan *view, struct error *err)
{
    return writer_open(&store->writer, store->path, most_bytes(view->plan, view->dims, view->corpus), true,
                       err);
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
static enum status claim_file(const char *path, const char *made_as, unsigned long long bytes,
                              struct error *err)
{
    if (access(path, F_OK) == 0)
        return error_set(err, STATUS_INPUT,
                         "%s: the result file exists already; use --resume, or another --output_dir", path);
    path = made_as;
    int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno == EEXIST)
        return error_set(
            err, STATUS_INPUT,
            "%s: another sweep makes its result file, or was interrupted there; use --resume, or "
            "another --output_dir",
            path);
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

static void create_attributes(struct store *store, const struct plan *plan,
                              const struct store_identity *identity, struct error *err)
{
    put_integer(store, "schema_version", STORE_SCHEMA_VERSION, err);
    put_text(store, "tool_version", identity->tool_version, err);
    put_text(store, "job", identity->job_json, err);
    put_text(store, "weights_sha256", identity->weights_hex, err);
    put_text(store, "tokenizer_sha256", identity->tokenizer_hex, err);
    put_text(store, "ids_sha256", identity->ids_hex, err);
    put_text(store, "reference_mode", plan->runs[plan->reference_run].mode->name, err);
    put_text(store, "model_dtype", identity->model_dtype, err);
    put_text(store, "model_config", identity->model_config, err);
    put_text(store, "numerics_version", identity->numerics_version, err);
}

static void create_contents(struct store *store, struct store_plan *view,
                            const struct store_identity *identity, struct error *err)
{
    view->group_list = H5Pcreate(H5P_LINK_CREATE);
    view->data_list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_create_intermediate_group(view->group_list, 1);
    H5Pset_layout(view->data_list, H5D_CONTIGUOUS);
    H5Pset_alloc_time(view->data_list, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(view->data_list, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(view->data_list, false); // two runs give the same file
    create_attributes(store, view->plan, identity, err);
    store_lay_out(store, view, err);
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

// ---- life ----

// Nothing of HDF5 is safe any more, nor any step that the other ranks, which may be inside HDF5, do not take;
// all that is left is to take our file away.
static void give_up(struct store *store, const struct error *err)
{
    unlink(store->path);
    comm_abort_agreed(&store->comm, err);
}

static const char PART[] = ".part"; // of a file that is being made

static char *part_path(const char *path, struct error *err)
{
    size_t room = strlen(path) + sizeof PART;
    char *part = malloc(room);
    if (part)
        snprintf(part, room, "%s%s", path, PART);
    else
        error_memory(err, room, "a path");
    return part;
}

// The file is whole: it gets its name.  Its path in the store does so on every rank.
static void name_file(struct store *store, const char *path, struct error *err)
{
    if (store->comm.rank == 0 && rename(store->path, path) != 0)
        error_errno(err, path, "cannot rename the result file into place");
    comm_agree(&store->comm, err);
    if (err->status) return;
    store->path[strlen(path)] = '\0';
    store_remember(store, err);
}

static enum status fill_new_file(struct store *store, const char *path, const struct store_plan *view,
                                 struct error *err)
{
    if (store->comm.rank == 0 && reserve_file(store->path, err) == STATUS_OK)
        store_write_samples(store, view->corpus, err);
    if (comm_agree(&store->comm, err) == STATUS_OK) name_file(store, path, err);
    if (!err->status) store_open_writer(store, view, err);
    if (comm_agree(&store->comm, err) == STATUS_OK) return STATUS_OK;
    store_close_data(store);
    H5Fclose(store->file);
    return err->status;
}

bool store_discard_part(const char *path)
{
    struct error ignored = {0};
    char *part = part_path(path, &ignored);
    bool discarded = part && unlink(part) == 0;
    free(part);
    return discarded;
}

enum status store_create(struct store **store, const struct comm *comm, const char *path,
                         const struct plan *plan, const struct dims *dims, const struct corpus *corpus,
                         const struct store_identity *identity, struct error *err)
{
    store_hdf5_silence();
    struct store_plan view = {.plan = plan, .dims = dims, .corpus = corpus};
    char *part = part_path(path, err);
    struct store *made = part ? store_new(comm, part, &view, err) : NULL;
    if (comm_agree(comm, err)) goto free_store;
    if (comm->rank == 0) claim_file(path, part, store_estimate_bytes(plan, dims, corpus), err);
    if (comm_agree(comm, err)) goto free_store;
    create_file(made, err);
    if (err->status) give_up(made, err);
    create_contents(made, &view, identity, err);
    if (err->status) give_up(made, err);
    if (fill_new_file(made, path, &view, err)) goto remove_file;
    free(part);
    *store = made;
    return STATUS_OK;
remove_file:
    if (comm->rank == 0) unlink(made->path);
free_store:
    store_free(made);
    free(part);
    return err->status;
}
