// SPDX-License-Identifier: Apache-2.0
// Makes the result file: one process, HDF5's ordinary driver.  It is made under a name of its own and gets
// its true one when it is whole, so that an interrupted creation is never taken for a result.  Under MPI-IO a
// rank whose metadata cannot be written leaves the others waiting inside HDF5; here an error is an error.
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/store/store.h"
#include "store_create.h"
#include "store_extend.h"
#include "store_layout.h"
#include "store_metrics.h"

// A file in the making.
struct making {
    const char *path;
    const struct plan *plan;
    const struct dims *dims;
    const struct corpus *corpus;
    hid_t file, group_list, data_list;
};

// ---- room on the disk ----

static int count_captured(const struct plan *plan, const struct dims *dims, unsigned long long *row_elements)
{
    int tensors = 0;
    *row_elements = 0;
    for (int l = 0; l < plan->n_layer; l++)
        for (int c = 0; c < plan->arch->n_components; c++) {
            if (!(plan->want[l] & 1u << c)) continue;
            tensors++;
            *row_elements += (unsigned long long)arch_width(dims, c);
        }
    return tensors;
}

static unsigned long long calibration_bytes(const struct plan *plan)
{
    unsigned long long observed = (unsigned long long)plan->calibration_samples;
    unsigned long long row_bytes =
        (unsigned long long)plan->n_layer * (unsigned long long)plan->arch->n_sites * sizeof(float);
    unsigned long long histogram = observers_take_histogram(&plan->observers) ? HISTOGRAM_BINS : 0;
    if (plan->n_cells == 0) return 0;
    return (unsigned long long)plan->n_cells * row_bytes +
           observed * (row_bytes * (1 + histogram) + 1 + HASH_BYTES);
}

// What HDF5 adds: object headers, and a tree, a heap and symbol tables for each group.
enum { DATASET_BYTES = 272, COMPOUND_BYTES = 2000, GROUP_BYTES = 1032, MEMBER_BYTES = 60, FILE_BYTES = 4096 };

static unsigned long long count_ordinary(const struct plan *plan)
{
    unsigned long long runs = 0;
    for (int r = 0; r < plan->n_runs; r++)
        runs += plan->runs[r].dither == 0;
    return runs;
}

static unsigned long long estimate_objects(const struct plan *plan, unsigned long long tensors)
{
    const unsigned long long runs = (unsigned long long)plan->n_runs, ordinary = count_ordinary(plan),
                             cells = (unsigned long long)plan->n_cells + 1;
    unsigned long long layers = 0;
    for (int l = 0; l < plan->n_layer; l++)
        layers += plan->want[l] != 0;
    const unsigned long long outputs = tensors > 0 ? cells + ordinary * (layers + 1) : 0,
                             metrics = plan->metrics ? cells + runs : 0, items = cells + runs;
    const unsigned long long of_run = plan->metrics ? 7 : 3, of_rerun = plan->metrics ? 9 : 3;
    const unsigned long long datasets =
        10 + cells + ordinary * (tensors + of_run) + (runs - ordinary) * of_rerun;
    const unsigned long long groups = 6 + cells + outputs + metrics + items;
    return FILE_BYTES + groups * GROUP_BYTES + datasets * (DATASET_BYTES + MEMBER_BYTES) +
           (plan->metrics ? (2 * runs - ordinary) * COMPOUND_BYTES : 0);
}

// Of all runs and metrics together, for a sample.
static unsigned long long metric_bytes(const struct plan *plan)
{
    unsigned long long bytes = 0;
    for (int r = 0; r < plan->n_runs; r++)
        for (int m = 0; m < STORE_METRICS; m++)
            if (store_keeps_metric(plan, r, (enum store_metric)m))
                bytes += store_metric_row_bytes((enum store_metric)m, plan->arch, plan->n_layer);
    return bytes;
}

unsigned long long store_estimate_bytes(const struct plan *plan, const struct dims *dims,
                                        const struct corpus *corpus)
{
    unsigned long long row_elements;
    unsigned long long tensors = (unsigned long long)count_captured(plan, dims, &row_elements);
    unsigned long long samples = (unsigned long long)corpus->samples, runs = (unsigned long long)plan->n_runs;
    unsigned long long tokens = samples * (unsigned long long)corpus->max_tokens;
    return count_ordinary(plan) * tokens * row_elements * sizeof(float) // outputs
           + samples * metric_bytes(plan)                               // metrics
           + runs * samples * (1 + HASH_BYTES + sizeof(float))          // items
           + tokens * sizeof(int32_t) + samples * sizeof(int32_t)       // samples
           + calibration_bytes(plan) + estimate_objects(plan, tensors);
}

enum status store_allocate(int descriptor, unsigned long long bytes, const char *path, struct error *err)
{
    int code = posix_fallocate(descriptor, 0, (off_t)bytes);
    if (code == 0 || code == EOPNOTSUPP || code == EINVAL) return STATUS_OK; // the file system cannot promise
    return error_set(err, STATUS_IO,
                     "%s: cannot reserve %.1f MiB for the results: %s; free space, or store fewer %s", path,
                     (double)bytes / (1024.0 * 1024.0), strerror(code), "layers, components or modes");
}

// HDF5 cannot recover from a disk that is full while it creates, so the room is tried first.  Leaves an
// empty file that is ours.
static enum status claim_file(const char *path, unsigned long long bytes, struct error *err)
{
    int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno == EEXIST)
        return error_set(
            err, STATUS_INPUT,
            "%s: another sweep makes its result file, or was interrupted there; use --resume, or "
            "another --output_dir",
            path);
    if (descriptor < 0) return error_errno(err, path, "cannot create the result file");
    store_allocate(descriptor, bytes, path, err);
    if (!err->status && ftruncate(descriptor, 0) != 0) error_errno(err, path, "cannot truncate");
    close(descriptor);
    if (err->status) unlink(path);
    return err->status;
}

// Once HDF5 has given the file its full size: the blocks themselves.
static enum status reserve_file(const char *path, struct error *err)
{
    struct stat info;
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return error_errno(err, path, "cannot reopen");
    if (fstat(descriptor, &info) != 0)
        error_errno(err, path, "cannot stat");
    else
        store_allocate(descriptor, (unsigned long long)info.st_size, path, err);
    close(descriptor);
    return err->status;
}

// ---- objects ----

// 0 with *err set if it cannot be made, and if *err is set already.
static hid_t create_data(struct making *making, const char *name, hid_t type, int rank, const hsize_t *shape,
                         struct error *err)
{
    if (err->status) return 0;
    hid_t space = H5Screate_simple(rank, shape, NULL);
    hid_t data =
        H5Dcreate2(making->file, name, type, space, making->group_list, making->data_list, H5P_DEFAULT);
    if (data < 0) store_hdf5_error(err, making->path, name); // before any other call clears the reasons
    H5Sclose(space);
    return data < 0 ? 0 : data;
}

static void put_data(struct making *making, const char *name, hid_t type, int rank, const hsize_t *shape,
                     const int32_t *values, struct error *err)
{
    hid_t data = create_data(making, name, type, rank, shape, err);
    if (!data) return;
    if (values && H5Dwrite(data, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        store_hdf5_error(err, making->path, name);
    H5Dclose(data);
}

static void put_attribute(struct making *making, hid_t object, const char *name, hid_t type, hid_t space,
                          const void *value, struct error *err)
{
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, value) < 0) store_hdf5_error(err, making->path, name);
    if (attribute >= 0) H5Aclose(attribute);
}

static void put_text(struct making *making, const char *name, const char *text, struct error *err)
{
    if (err->status) return;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, strlen(text) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    put_attribute(making, making->file, name, type, space, text, err);
    H5Sclose(space);
    H5Tclose(type);
}

static void put_version(struct making *making, struct error *err)
{
    const int32_t version = STORE_SCHEMA_VERSION;
    hid_t space = H5Screate(H5S_SCALAR);
    put_attribute(making, making->file, "schema_version", H5T_STD_I32LE, space, &version, err);
    H5Sclose(space);
}

enum { NAME_ROOM = 32 };

static void put_names(struct making *making, hid_t data, const char *attribute, int n,
                      const char (*names)[NAME_ROOM], struct error *err)
{
    const hsize_t count = (hsize_t)n;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate_simple(1, &count, NULL);
    H5Tset_size(type, NAME_ROOM);
    put_attribute(making, data, attribute, type, space, names, err);
    H5Sclose(space);
    H5Tclose(type);
}

static void put_site_names(struct making *making, hid_t data, struct error *err)
{
    const struct arch *arch = making->plan->arch;
    char names[ARCH_MOST_SITES][NAME_ROOM] = {{0}};
    for (int s = 0; s < arch->n_sites; s++)
        snprintf(names[s], NAME_ROOM, "%s", arch->sites[s].name);
    put_names(making, data, "sites", arch->n_sites, names, err);
}

static void put_observers(struct making *making, hid_t data, struct error *err)
{
    const struct arch *arch = making->plan->arch;
    char names[ARCH_MOST_SITES][NAME_ROOM] = {{0}};
    for (int s = 0; s < arch->n_sites; s++)
        snprintf(names[s], NAME_ROOM, "%s", observer_name(making->plan->observers.of_site[s]));
    put_names(making, data, "observers", arch->n_sites, names, err);
}

// ---- contents ----

static void create_attributes(struct making *making, const struct store_identity *identity, struct error *err)
{
    put_version(making, err);
    put_text(making, "tool_version", identity->tool_version, err);
    put_text(making, "job", identity->job_json, err);
    put_text(making, "weights_digest", identity->weights_hex, err);
    put_text(making, "tokenizer_sha256", identity->tokenizer_hex, err);
    put_text(making, "ids_sha256", identity->ids_hex, err);
    put_text(making, "reference_mode", making->plan->runs[making->plan->reference_run].mode->name, err);
    put_text(making, "model_dtype", identity->model_dtype, err);
    put_text(making, "scales_source", identity->scales_source, err);
    put_text(making, "reference_weights", identity->reference_weights, err);
    put_text(making, "model_config", identity->model_config, err);
    put_text(making, "numerics_version", identity->numerics_version, err);
    put_text(making, "calibration_ids_sha256", identity->calibration_ids_hex, err);
    put_text(making, "evaluation_text", identity->evaluation_text, err);
}

static void create_samples(struct making *making, struct error *err)
{
    const struct corpus *corpus = making->corpus;
    const hsize_t shape[2] = {(hsize_t)corpus->samples, (hsize_t)corpus->max_tokens};
    put_data(making, "/samples/token_ids", H5T_STD_I32LE, 2, shape, corpus->ids, err);
    put_data(making, "/samples/length", H5T_STD_I32LE, 1, shape, corpus->length, err);
}

static void create_scales(struct making *making, struct error *err)
{
    const hsize_t shape[2] = {(hsize_t)making->plan->n_layer, (hsize_t)making->plan->arch->n_sites};
    for (int c = 0; c < making->plan->n_cells; c++) {
        char name[STORE_PATH_ROOM];
        store_scales_name(making->plan, c, name);
        hid_t data = create_data(making, name, H5T_IEEE_F32LE, 2, shape, err);
        if (!data) return;
        put_site_names(making, data, err);
        put_observers(making, data, err);
        H5Dclose(data);
    }
}

static void create_observed(struct making *making, struct error *err)
{
    const hsize_t samples = (hsize_t)making->plan->calibration_samples;
    const hsize_t shape[4] = {samples, (hsize_t)making->plan->n_layer, (hsize_t)making->plan->arch->n_sites,
                              HISTOGRAM_BINS};
    const hsize_t row[2] = {samples, HASH_BYTES};
    if (making->plan->n_cells == 0) return;
    hid_t data = create_data(making, STORE_OBSERVED, H5T_IEEE_F32LE, 3, shape, err);
    if (!data) return;
    put_site_names(making, data, err);
    H5Dclose(data);
    if (observers_take_histogram(&making->plan->observers))
        put_data(making, STORE_OBSERVED_HISTOGRAM, H5T_STD_U32LE, 4, shape, NULL, err);
    put_data(making, STORE_OBSERVED_STATE, H5T_STD_U8LE, 1, row, NULL, err);
    put_data(making, STORE_OBSERVED_DIGEST, H5T_STD_U8LE, 2, row, NULL, err);
}

static void create_metrics(struct making *making, int run, struct error *err)
{
    const struct plan *plan = making->plan;
    for (int m = 0; m < STORE_METRICS; m++) {
        const enum store_metric metric = (enum store_metric)m;
        const struct store_expected expected =
            store_metric_expected(metric, plan->arch, making->corpus->samples, plan->n_layer);
        hsize_t shape[STORE_RANKS];
        char name[STORE_PATH_ROOM];
        if (!store_keeps_metric(plan, run, metric)) continue;
        for (int d = 0; d < STORE_RANKS; d++)
            shape[d] = (hsize_t)expected.shape[d];
        const hid_t type = store_metric_type(metric);
        store_run_name(plan, run, STORE_METRICS_GROUP, store_metric_name(metric), name);
        if (type <= 0) store_hdf5_error(err, making->path, name);
        put_data(making, name, type, expected.rank, shape, NULL, err);
        store_close_metric_type(type);
    }
}

static void create_widths(struct making *making, struct error *err)
{
    const hsize_t shape = (hsize_t)making->plan->arch->n_components;
    int32_t width[ARCH_MOST_COMPONENTS];
    if (!making->plan->metrics) return;
    for (int c = 0; c < making->plan->arch->n_components; c++)
        width[c] = arch_width(making->dims, c);
    put_data(making, STORE_WIDTHS, H5T_STD_I32LE, 1, &shape, width, err);
}

static void create_run(struct making *making, int run, struct error *err)
{
    const struct plan *plan = making->plan;
    const struct corpus *corpus = making->corpus;
    char name[STORE_PATH_ROOM];
    for (int l = 0; l < plan->n_layer; l++)
        for (int c = 0; c < plan->arch->n_components; c++) {
            if (!(plan_wants(plan, run, l) & 1u << c)) continue;
            int width = arch_width(making->dims, c);
            const hsize_t shape[3] = {(hsize_t)corpus->samples, (hsize_t)corpus->max_tokens, (hsize_t)width};
            store_output_name(plan, run, l, c, name);
            put_data(making, name, H5T_IEEE_F32LE, 3, shape, NULL, err);
        }
    const hsize_t shape[2] = {(hsize_t)corpus->samples, HASH_BYTES};
    put_data(making, store_item_name(plan, run, STORE_STATE, name), H5T_STD_U8LE, 1, shape, NULL, err);
    put_data(making, store_item_name(plan, run, STORE_DIGEST, name), H5T_STD_U8LE, 2, shape, NULL, err);
    put_data(making, store_item_name(plan, run, STORE_SECONDS, name), H5T_IEEE_F32LE, 1, shape, NULL, err);
    create_metrics(making, run, err);
}

static void open_lists(struct making *making)
{
    making->group_list = H5Pcreate(H5P_LINK_CREATE);
    making->data_list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_create_intermediate_group(making->group_list, 1);
    H5Pset_layout(making->data_list, H5D_CONTIGUOUS);
    H5Pset_alloc_time(making->data_list, H5D_ALLOC_TIME_EARLY);
    H5Pset_fill_time(making->data_list, H5D_FILL_TIME_NEVER);
    H5Pset_obj_track_times(making->data_list, false); // two runs give the same file
}

static void close_lists(struct making *making)
{
    H5Pclose(making->data_list);
    H5Pclose(making->group_list);
}

static void create_contents(struct making *making, const struct store_identity *identity, struct error *err)
{
    open_lists(making);
    create_attributes(making, identity, err);
    create_samples(making, err);
    create_scales(making, err);
    create_observed(making, err);
    create_widths(making, err);
    for (int r = 0; r < making->plan->n_runs; r++)
        create_run(making, r, err);
    close_lists(making);
}

// The messages of an object header of the oldest format end at 64 KiB.  A job that may come near, once modes
// are added and folders have moved, is kept as HDF5 1.8 can; other files have the bytes that they always had.
static hid_t access_for(const struct store_identity *identity)
{
    enum { LONG_JOB_BYTES = 1 << 15 };
    hid_t access = store_access();
    if (strlen(identity->job_json) >= LONG_JOB_BYTES)
        H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    return access;
}

static enum status write_file(struct making *making, const struct store_identity *identity, struct error *err)
{
    hid_t access = access_for(identity);
    making->file = H5Fcreate(making->path, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    if (making->file < 0) store_hdf5_error(err, making->path, "cannot create the result file");
    H5Pclose(access);
    if (err->status) return err->status;
    create_contents(making, identity, err);
    if (H5Fclose(making->file) < 0) store_hdf5_error(err, making->path, "cannot write the new result file");
    return err->status;
}

char *store_path_beside(const char *path, const char *ending, struct error *err)
{
    size_t room = strlen(path) + strlen(ending) + 1;
    char *beside = malloc(room);
    if (beside)
        snprintf(beside, room, "%s%s", path, ending);
    else
        error_memory(err, room, "a path");
    return beside;
}

bool store_discard_part(const char *path)
{
    struct error ignored = {0};
    char *part = store_path_beside(path, STORE_PART, &ignored);
    bool discarded = part && unlink(part) == 0;
    free(part);
    return discarded;
}

// ---- further runs ----

// HDF5 looks for a path only below groups that are there.
static bool exists(const struct making *making, const char *path)
{
    char part[STORE_PATH_ROOM];
    for (const char *end = path + 1;; end++) {
        if (*end != '/' && *end != '\0') continue;
        snprintf(part, sizeof part, "%.*s", (int)(end - path), path);
        if (H5Lexists(making->file, part, H5P_DEFAULT) <= 0) return false;
        if (*end == '\0') return true;
    }
}

static void add_contents(struct making *making, const struct store_identity *identity, struct error *err)
{
    open_lists(making);
    if (!exists(making, STORE_OBSERVED)) {
        create_scales(making, err);
        create_observed(making, err);
    }
    if (!exists(making, STORE_WIDTHS)) create_widths(making, err);
    for (int r = 0; r < making->plan->n_runs; r++) {
        char name[STORE_PATH_ROOM];
        if (!exists(making, store_item_name(making->plan, r, STORE_STATE, name))) create_run(making, r, err);
    }
    if (!err->status && H5Adelete(making->file, "job") < 0) store_hdf5_error(err, making->path, "job");
    put_text(making, "job", identity->job_json, err);
    close_lists(making);
}

enum status store_add_runs(const char *path, const struct plan *plan, const struct dims *dims,
                           const struct corpus *corpus, const struct store_identity *identity,
                           struct error *err)
{
    struct making making = {.path = path, .plan = plan, .dims = dims, .corpus = corpus};
    hid_t access = access_for(identity);
    making.file = H5Fopen(path, H5F_ACC_RDWR, access);
    if (making.file < 0) store_hdf5_error(err, path, "cannot open as HDF5");
    H5Pclose(access);
    if (err->status) return err->status;
    add_contents(&making, identity, err);
    if (H5Fclose(making.file) < 0) store_hdf5_error(err, path, "cannot write the datasets of further modes");
    return err->status;
}

// ---- the whole file ----

static enum status refuse_existing(const char *path, struct error *err)
{
    if (access(path, F_OK) != 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: " STORE_EXISTS, path);
}

enum status store_create_file(const char *path, const struct plan *plan, const struct dims *dims,
                              const struct corpus *corpus, const struct store_identity *identity,
                              struct error *err)
{
    char *part = store_path_beside(path, STORE_PART, err);
    struct making making = {.path = part, .plan = plan, .dims = dims, .corpus = corpus};
    if (!part || refuse_existing(path, err) || store_discard_extension(path, err) ||
        claim_file(part, store_estimate_bytes(plan, dims, corpus), err))
        goto free_part;
    if (!write_file(&making, identity, err) && !reserve_file(part, err) && rename(part, path) != 0)
        error_errno(err, path, "cannot rename the result file into place");
    if (err->status) unlink(part);
free_part:
    free(part);
    return err->status;
}
