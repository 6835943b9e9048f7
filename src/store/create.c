// SPDX-License-Identifier: Apache-2.0
// Makes the result file: one process, HDF5's ordinary driver.  It is made under a name of its own and gets
// its true one when it is whole, so that an interrupted creation is never taken for a result.  Under MPI-IO a
// rank whose metadata cannot be written leaves the others waiting inside HDF5; here an error is an error.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "describe.h"
#include "handle.h"
#include "hdf.h"
#include "ssmsweep/arch/groups.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/calibrate/observer.h"
#include "ssmsweep/recipe/recipe_file.h"
#include "ssmsweep/store/store.h"

struct layout_sizes contents_sizes(const struct contents *contents)
{
    struct layout_sizes sizes =
        layout_sizes_of(contents->plan->arch, contents->plan->n_layer, contents->corpus->samples,
                        contents->corpus->max_tokens, contents->plan->calibration_samples);
    sizes.of[AXIS_GROUP_SCALES] = contents->plan->group_scales;
    sizes.of[AXIS_GROUPS] = groups_row(contents->dims);
    return sizes;
}

struct layout_sizes contents_sizes_at(const struct contents *contents, const struct layout_place *place)
{
    struct layout_sizes sizes = contents_sizes(contents);
    sizes.of[AXIS_WIDTH] = arch_width(contents->dims, place->component);
    return sizes;
}

// ---- room on the disk ----

// What HDF5 adds: object headers, and a tree, a heap and symbol tables for each group.
enum {
    DATASET_BYTES = 272,
    COMPOUND_BYTES = 2000,
    GROUP_BYTES = 1032 + 128, // with its description
    MEMBER_BYTES = 60,
    FILE_BYTES = 4096,
    RECIPE_BYTES = 256
};

struct estimate {
    const struct contents *contents;
    unsigned long long bytes;
};

static enum status add_dataset(void *context, const struct layout_place *place, struct error *err)
{
    struct estimate *estimate = context;
    const struct layout_row *row = &layout_rows[place->data];
    const struct layout_sizes sizes = contents_sizes_at(estimate->contents, place);
    const unsigned long long alignment = estimate->contents->io->alignment,
                             bytes = (unsigned long long)sizes.of[row->axes[0]] *
                                     layout_row_bytes(place->data, &sizes);
    estimate->bytes += bytes + DATASET_BYTES + MEMBER_BYTES + describe_bytes(place->data);
    if (alignment > 0 && bytes >= alignment) estimate->bytes += alignment - bytes % alignment;
    if (row->element == ELEMENT_MOMENTS) estimate->bytes += COMPOUND_BYTES; // with that of end_of_model
    return err->status;
}

// A group for each cell and run below /items, /metrics and /outputs, and there for each layer.
static unsigned long long count_groups(const struct plan *plan)
{
    const unsigned long long runs = (unsigned long long)plan->n_runs,
                             cells = (unsigned long long)plan->n_cells + 1;
    unsigned long long layers = 0, ordinary = 0;
    for (int r = 0; r < plan->n_runs; r++)
        ordinary += plan->runs[r].dither == 0;
    for (int l = 0; l < plan->n_layer; l++)
        layers += plan->want[l] != 0;
    return 6 + cells + (layers > 0 ? cells + ordinary * (layers + 1) : 0) +
           (plan->metrics ? cells + runs : 0) + cells + runs;
}

// Is it the first run of a mode that a recipe file defines?
static bool brings_recipe(const struct plan *plan, int run)
{
    if (!plan->runs[run].mode->added) return false;
    for (int r = 0; r < run; r++)
        if (plan->runs[r].mode == plan->runs[run].mode) return false;
    return true;
}

unsigned long long store_estimate_bytes(const struct plan *plan, const struct dims *dims,
                                        const struct corpus *corpus, const struct store_io *io)
{
    const struct contents contents = {plan, dims, corpus, NULL, io};
    struct estimate estimate = {&contents, FILE_BYTES + count_groups(plan) * GROUP_BYTES};
    struct error none = {0};
    layout_each(plan, add_dataset, &estimate, &none);
    for (int r = 0; r < plan->n_runs; r++)
        if (brings_recipe(plan, r)) estimate.bytes += RECIPE_BYTES;
    return estimate.bytes;
}

enum status create_room(int descriptor, unsigned long long bytes, const char *path, struct error *err)
{
    int code = posix_fallocate(descriptor, 0, (off_t)bytes);
    if (code == 0 || code == EOPNOTSUPP || code == EINVAL) return STATUS_OK; // the file system cannot promise
    return error_set(err, STATUS_IO,
                     "%s: cannot reserve %.1f MiB for the results: %s; free space, or store fewer %s", path,
                     (double)bytes / (1024.0 * 1024.0), strerror(code), "layers, components or modes");
}

// HDF5 cannot recover from a disk that is full while it creates, so the room is tried first.  Leaves an
// empty file that is ours.
static enum status try_room(const char *path, unsigned long long bytes, struct error *err)
{
    int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (descriptor < 0 && errno == EEXIST)
        return error_set(
            err, STATUS_INPUT,
            "%s: another sweep makes its result file, or was interrupted there; use --resume, or "
            "another --output_dir",
            path);
    if (descriptor < 0) return error_errno(err, path, "cannot create the result file");
    create_room(descriptor, bytes, path, err);
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
        create_room(descriptor, (unsigned long long)info.st_size, path, err);
    close(descriptor);
    return err->status;
}

// ---- objects ----

// A file in the making.
struct making {
    const char *path;
    const struct contents *contents;
    struct layout_types types;
    hid_t file, group_list, data_list;
};

static void put_attribute(struct making *making, hid_t object, const char *name, hid_t type, hid_t space,
                          const void *value, struct error *err)
{
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0 || H5Awrite(attribute, type, value) < 0) hdf_error(err, making->path, name);
    if (attribute >= 0) H5Aclose(attribute);
}

static void put_text_at(struct making *making, hid_t object, const char *name, const char *text,
                        struct error *err)
{
    if (err->status) return;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, strlen(text) + 1);
    H5Tset_cset(type, H5T_CSET_UTF8);
    put_attribute(making, object, name, type, space, text, err);
    H5Sclose(space);
    H5Tclose(type);
}

static void put_text(struct making *making, const char *name, const char *text, struct error *err)
{
    put_text_at(making, making->file, name, text, err);
}

static void put_version(struct making *making, const char *name, struct error *err)
{
    const int32_t version = LAYOUT_SCHEMA_VERSION;
    hid_t space = H5Screate(H5S_SCALAR);
    put_attribute(making, making->file, name, H5T_STD_I32LE, space, &version, err);
    H5Sclose(space);
}

static void put_names(struct making *making, hid_t object, const char *attribute, int n, layout_names names,
                      struct error *err)
{
    const hsize_t count = (hsize_t)n;
    if (err->status) return;
    hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate_simple(1, &count, NULL);
    H5Tset_size(type, LAYOUT_NAME_ROOM);
    put_attribute(making, object, attribute, type, space, names, err);
    H5Sclose(space);
    H5Tclose(type);
}

// What the columns are: the sites, and what observes them.
static void put_columns(struct making *making, hid_t data, const struct layout_row *row, struct error *err)
{
    const struct plan *plan = making->contents->plan;
    layout_names names;
    int n = layout_site_names(plan->arch, names);
    if (row->names_sites) put_names(making, data, "sites", n, names, err);
    memset(names, 0, sizeof names);
    for (int s = 0; s < n; s++)
        snprintf(names[s], LAYOUT_NAME_ROOM, "%s", observer_name(plan->observers.of_site[s]));
    if (row->names_observers) put_names(making, data, "observers", n, names, err);
}

static void put_root_attribute(struct making *making, int attribute, struct error *err)
{
    const struct contents *contents = making->contents;
    const struct arch *arch = contents->plan->arch;
    const char *name = layout_attributes[attribute].name;
    layout_names names;
    switch (attribute) {
    case ATTRIBUTE_VERSION:
        put_version(making, name, err);
        break;
    case ATTRIBUTE_ARCH:
        put_text(making, name, arch->name, err);
        break;
    case ATTRIBUTE_COMPONENTS:
        put_names(making, making->file, name, layout_component_names(arch, names), names, err);
        break;
    case ATTRIBUTE_SITES:
        put_names(making, making->file, name, layout_site_names(arch, names), names, err);
        break;
    default:
        put_text(making, name, layout_attribute_text(attribute, contents->plan, contents->identity), err);
    }
}

// ---- recipes ----

static void put_recipe(struct making *making, hid_t group, const struct run *run, struct error *err)
{
    if (H5Aexists(group, run->mode->name) > 0) return; // a file that gets more modes
    char *text = recipe_write(run->recipe, &making->contents->plan->arch->units);
    if (text)
        put_text_at(making, group, run->mode->name, text, err);
    else
        error_memory(err, 1, "a recipe");
    free(text);
}

// Attributes of a group that files without recipes have not.
static void put_recipes(struct making *making, struct error *err)
{
    const struct plan *plan = making->contents->plan;
    hid_t group = -1;
    for (int r = 0; r < plan->n_runs && !err->status; r++) {
        if (!brings_recipe(plan, r)) continue;
        if (group < 0)
            group = hdf_exists(making->file, LAYOUT_RECIPES)
                        ? H5Gopen2(making->file, LAYOUT_RECIPES, H5P_DEFAULT)
                        : H5Gcreate2(making->file, LAYOUT_RECIPES, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        if (group < 0)
            hdf_error(err, making->path, LAYOUT_RECIPES);
        else
            put_recipe(making, group, &plan->runs[r], err);
    }
    if (group >= 0) H5Gclose(group);
}

// ---- datasets ----

// What is known before the first sample; NULL for all else.
static const int32_t *values_of(const struct contents *contents, enum layout_data data,
                                int32_t width[ARCH_MOST_COMPONENTS])
{
    for (int c = 0; c < contents->plan->arch->n_components; c++)
        width[c] = arch_width(contents->dims, c);
    return data == DATA_TOKEN_IDS ? contents->corpus->ids
           : data == DATA_LENGTH  ? contents->corpus->length
           : data == DATA_WIDTH   ? width
                                  : NULL;
}

static enum status make_dataset(void *context, const struct layout_place *place, struct error *err)
{
    struct making *making = context;
    const struct layout_sizes sizes = contents_sizes_at(making->contents, place);
    const struct hdf_expected made = layout_expected(place->data, &sizes, &making->types);
    int32_t width[ARCH_MOST_COMPONENTS];
    const int32_t *values = values_of(making->contents, place->data, width);
    hsize_t shape[HDF_RANKS];
    char name[LAYOUT_PATH_ROOM];
    for (int d = 0; d < made.rank; d++)
        shape[d] = (hsize_t)made.shape[d];
    layout_place_path(making->contents->plan, place, name);
    hid_t space = H5Screate_simple(made.rank, shape, NULL);
    hid_t data =
        H5Dcreate2(making->file, name, made.type, space, making->group_list, making->data_list, H5P_DEFAULT);
    if (data < 0) hdf_error(err, making->path, name); // before any other call clears the reasons
    H5Sclose(space);
    if (data < 0) return err->status;
    if (values && H5Dwrite(data, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0)
        hdf_error(err, making->path, name);
    put_columns(making, data, &layout_rows[place->data], err);
    describe_data(data, place->data, &(struct describing){making->path, err});
    H5Dclose(data);
    return err->status;
}

static enum status make_missing(void *context, const struct layout_place *place, struct error *err)
{
    const struct making *making = context;
    char name[LAYOUT_PATH_ROOM];
    layout_place_path(making->contents->plan, place, name);
    return hdf_exists(making->file, name) ? err->status : make_dataset(context, place, err);
}

// ---- the file in HDF5 ----

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

static void make_contents(struct making *making, struct error *err)
{
    const struct contents *contents = making->contents;
    for (int a = 0; a < LAYOUT_ATTRIBUTES; a++)
        put_root_attribute(making, a, err);
    put_recipes(making, err);
    if (!err->status) layout_each(contents->plan, make_dataset, making, err);
    describe_groups(making->file, &(struct describing){making->path, err});
}

static void add_missing(struct making *making, struct error *err)
{
    if (layout_each(making->contents->plan, make_missing, making, err)) return;
    put_recipes(making, err);
    if (describe_groups(making->file, &(struct describing){making->path, err})) return;
    if (H5Adelete(making->file, "job") < 0) hdf_error(err, making->path, "job");
    put_text(making, "job", making->contents->identity->job_json, err);
}

// The messages of an object header of the oldest format end at 64 KiB.  A job that may come near, once modes
// are added and folders have moved, is kept as HDF5 1.8 can; other files have the bytes that they always had.
static hid_t access_for(const struct contents *contents)
{
    enum { LONG_JOB_BYTES = 1 << 15 };
    hid_t access = hdf_access(HDF_LOOKS_ONCE);
    if (strlen(contents->identity->job_json) >= LONG_JOB_BYTES)
        H5Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_LATEST);
    if (contents->io->alignment > 0)
        H5Pset_alignment(access, contents->io->alignment, contents->io->alignment);
    return access;
}

// In a file that is new, or is there and lacks something.
static enum status write_file(const char *path, const struct contents *contents, bool is_new,
                              struct error *err)
{
    struct making making = {.path = path, .contents = contents};
    const hid_t access = access_for(contents);
    making.file =
        is_new ? H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access) : H5Fopen(path, H5F_ACC_RDWR, access);
    if (making.file < 0)
        hdf_error(err, path, is_new ? "cannot create the result file" : "cannot open as HDF5");
    H5Pclose(access);
    if (err->status) return err->status;
    open_lists(&making);
    if (layout_open_types(&making.types, err) == STATUS_OK) {
        if (is_new)
            make_contents(&making, err);
        else
            add_missing(&making, err);
    }
    layout_close_types(&making.types);
    close_lists(&making);
    if (H5Fclose(making.file) < 0)
        hdf_error(err, path,
                  is_new ? "cannot write the new result file" : "cannot write the datasets of further modes");
    return err->status;
}

enum status create_missing(const char *path, const struct contents *contents, struct error *err)
{
    return write_file(path, contents, false, err);
}

// ---- the whole file ----

bool store_discard_part(const char *path)
{
    struct error ignored = {0};
    char *part = file_beside(path, STORE_PART, &ignored);
    bool discarded = part && unlink(part) == 0;
    free(part);
    return discarded;
}

static enum status refuse_existing(const char *path, struct error *err)
{
    if (access(path, F_OK) != 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: " STORE_EXISTS, path);
}

enum status create_file(const char *path, const struct contents *contents, struct error *err)
{
    char *part = file_beside(path, STORE_PART, err);
    if (!part || refuse_existing(path, err) || extend_discard(path, err) ||
        try_room(part, store_estimate_bytes(contents->plan, contents->dims, contents->corpus, contents->io),
                 err))
        goto free_part;
    if (!write_file(part, contents, true, err) && !reserve_file(part, err) && rename(part, path) != 0)
        error_errno(err, path, "cannot rename the result file into place");
    if (err->status) unlink(part);
free_part:
    free(part);
    return err->status;
}
