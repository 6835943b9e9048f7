// SPDX-License-Identifier: Apache-2.0
// The reading half: one process, no MPI, nothing of the file trusted before it is checked.
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/calibrate/observer.h"
#include "ssmsweep/plan/cell.h"
#include "ssmsweep/store/store.h"
#include "store_extend.h"
#include "store_layout.h"
#include "store_metrics.h"
#include "store_result.h"

enum { MAX_RUNS = PLAN_MAX_RUNS, MAX_LAYERS = 4096 };

// Calls visit() for the members of a group in the order of their names.
static enum status each_member(struct result *result, const char *group_name, struct error *err,
                               void (*visit)(struct result *result, const char *member, const char *group,
                                             struct error *err))
{
    hid_t group = H5Gopen2(result->file.id, group_name, H5P_DEFAULT);
    H5G_info_t info;
    if (group < 0 || H5Gget_info(group, &info) < 0)
        store_torn(&result->file, group_name, "missing group", err);
    for (hsize_t i = 0; !err->status && i < info.nlinks; i++) {
        char member[64];
        ssize_t length =
            H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, member, sizeof member, H5P_DEFAULT);
        if (length <= 0 || length >= (ssize_t)sizeof member)
            store_torn(&result->file, group_name, "unexpected member", err);
        else
            visit(result, member, group_name, err);
    }
    if (group >= 0) H5Gclose(group);
    return err->status;
}

// Decimal digits only: "12" -> 12, else -1.
static int plain_number(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits <= 9 && text[digits] == '\0' ? (int)strtol(text, NULL, 10) : -1;
}

// ---- samples ----

static enum status read_samples(struct result *result, struct error *err)
{
    struct store_expected ids = {H5T_INTEGER, 4, 2, {-1, -1, 1}};
    hid_t data = store_open_data(&result->file, "/samples/token_ids", &ids, err);
    if (!data) return err->status;
    H5Dclose(data);
    struct store_expected lengths = {H5T_INTEGER, 4, 1, {ids.shape[0], 1, 1}};
    result->length = calloc((size_t)ids.shape[0], sizeof *result->length);
    if (!result->length) return error_memory(err, (unsigned long long)ids.shape[0] * 4, "the samples");
    if (store_read_all(&result->file, "/samples/length", &lengths, H5T_NATIVE_INT32, result->length, err))
        return err->status;
    for (long long s = 0; s < ids.shape[0]; s++)
        if (result->length[s] < 1 || result->length[s] > ids.shape[1])
            return store_torn(&result->file, "/samples/length", "a length outside 1 .. L", err);
    result->samples = (int)ids.shape[0];
    result->max_tokens = (int)ids.shape[1];
    return STATUS_OK;
}

// ---- runs ----

static struct cell cell_of(const struct result_run *run)
{
    return (struct cell){run->calib_data_num, run->order};
}

// "MODE" or "MODE_dither3"; a run has one name, so no zeros in front.
static bool parse_run(struct result_run *run, const char *name)
{
    const char *end = strstr(name, RUN_DITHER), *number = end ? end + strlen(RUN_DITHER) : "";
    const size_t length = end ? (size_t)(end - name) : strlen(name);
    if (length == 0 || length >= sizeof run->mode) return false;
    if (end && (plain_number(number) <= 0 || number[0] == '0')) return false;
    run->dither = end ? plain_number(number) : 0;
    snprintf(run->mode, sizeof run->mode, "%.*s", (int)length, name);
    return true;
}

void result_run_group(const struct result_run *run, const char *group, char name[STORE_PATH_ROOM])
{
    char cell[CELL_NAME_ROOM], dither[sizeof RUN_DITHER + 12] = "";
    if (run->dither) snprintf(dither, sizeof dither, RUN_DITHER "%d", run->dither);
    snprintf(name, STORE_PATH_ROOM, "%.20s/%s/%s%s", group, cell_name(cell_of(run), cell), run->mode, dither);
}

static void add_run(struct result *result, const char *name, const char *group, struct error *err)
{
    struct result_run run = {0};
    struct cell cell;
    if (!cell_parse(&cell, strrchr(group, '/') + 1) || !parse_run(&run, name)) {
        store_torn(&result->file, group, "unexpected group", err);
        return;
    }
    if (result->n_runs == MAX_RUNS) {
        store_torn(&result->file, group, "too many runs", err);
        return;
    }
    run.calib_data_num = cell.calib_data_num;
    run.order = cell.order;
    result->n_ordinary += run.dither == 0;
    result->runs[result->n_runs++] = run;
}

static void add_cell(struct result *result, const char *label, const char *group, struct error *err)
{
    char name[STORE_PATH_ROOM];
    snprintf(name, sizeof name, "%.95s/%.63s", group, label);
    each_member(result, name, err, add_run);
}

static int mode_rank(const char *name)
{
    for (int m = 0; m < mode_count(); m++)
        if (strcmp(mode_at(m)->name, name) == 0) return m;
    return mode_count();
}

// Ordinary ones before noisy ones; float first, then cells ascending; inside a cell as in the table of modes,
// then by name.
static int compare_runs(const void *a, const void *b)
{
    const struct result_run *x = a, *y = b;
    if ((x->dither == 0) != (y->dither == 0)) return x->dither == 0 ? -1 : 1;
    if (cell_compare(cell_of(x), cell_of(y))) return cell_compare(cell_of(x), cell_of(y));
    int order = mode_rank(x->mode) - mode_rank(y->mode);
    if (order == 0) order = strcmp(x->mode, y->mode);
    return order ? order : x->dither - y->dither;
}

static enum status find_runs(struct result *result, struct error *err)
{
    result->runs = calloc(MAX_RUNS, sizeof *result->runs);
    if (!result->runs) return error_memory(err, MAX_RUNS * sizeof *result->runs, "the runs of a result file");
    if (each_member(result, "/items", err, add_cell)) return err->status;
    if (result->n_ordinary == 0) return store_torn(&result->file, "/items", "holds no runs", err);
    qsort(result->runs, (size_t)result->n_runs, sizeof *result->runs, compare_runs);
    return STATUS_OK;
}

static enum status read_states(struct result *result, struct error *err)
{
    size_t samples = (size_t)result->samples;
    result->state = malloc((size_t)result->n_runs * samples);
    if (!result->state) return error_memory(err, (unsigned long long)result->n_runs * samples, "item states");
    for (int r = 0; r < result->n_runs && !err->status; r++) {
        char name[STORE_PATH_ROOM];
        struct store_expected expected = {H5T_INTEGER, 1, 1, {result->samples, 1, 1}};
        unsigned char *state = result->state + (size_t)r * samples;
        result_run_group(&result->runs[r], "/items", name);
        strncat(name, "/state", sizeof name - strlen(name) - 1);
        store_read_all(&result->file, name, &expected, H5T_NATIVE_UINT8, state, err);
    }
    if (!err->status) store_count_done(result);
    return err->status;
}

// ---- layers and outputs ----

static void add_component(struct result *result, const char *name, const char *group, struct error *err)
{
    int component = arch_find_component(result->arch, name, strlen(name));
    if (component < 0)
        store_torn(&result->file, group, "holds an unknown component", err);
    else
        result->layers[result->n_layers - 1].components |= 1u << component;
}

static void add_layer(struct result *result, const char *member, const char *group, struct error *err)
{
    char name[STORE_PATH_ROOM];
    int number = strncmp(member, "layer_", 6) == 0 ? plain_number(member + 6) : -1;
    if (number < 0 || result->n_layers == MAX_LAYERS) {
        store_torn(&result->file, group, "holds something else than layers", err);
        return;
    }
    result->layers[result->n_layers++] = (struct result_layer){.number = number};
    snprintf(name, sizeof name, "%.95s/%.63s", group, member);
    each_member(result, name, err, add_component);
}

static int compare_layers(const void *a, const void *b)
{
    const struct result_layer *x = a, *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

static enum status find_layers(struct result *result, struct error *err)
{
    char name[STORE_PATH_ROOM];
    result->layers = calloc(MAX_LAYERS, sizeof *result->layers);
    if (!result->layers)
        return error_memory(err, MAX_LAYERS * sizeof *result->layers, "the layers of a result file");
    result_run_group(&result->runs[0], "/outputs", name);
    if (each_member(result, name, err, add_layer)) return err->status;
    if (result->n_layers == 0) return store_torn(&result->file, name, "holds no layers", err);
    qsort(result->layers, (size_t)result->n_layers, sizeof *result->layers, compare_layers);
    return STATUS_OK;
}

static void output_name(const struct result *result, int run, int layer, int component,
                        char name[STORE_PATH_ROOM])
{
    result_run_group(&result->runs[run], "/outputs", name);
    const size_t used = strlen(name);
    snprintf(name + used, STORE_PATH_ROOM - used, "/layer_%d/%s", result->layers[layer].number,
             result->arch->components[component].name);
}

// The width is the first run's; the others must have the same.
static enum status check_output(struct result *result, int run, int index, int component, struct error *err)
{
    char name[STORE_PATH_ROOM];
    struct result_layer *layer = &result->layers[index];
    int *width = &layer->width[component];
    struct store_expected expected = {
        H5T_FLOAT, 4, 3, {result->samples, result->max_tokens, *width ? *width : -1}};
    output_name(result, run, index, component, name);
    hid_t data = store_open_data(&result->file, name, &expected, err);
    if (!data) return err->status;
    H5Dclose(data);
    if (expected.shape[2] > RESULT_MOST_WIDTH)
        return store_torn(&result->file, name, "unexpected width", err);
    *width = (int)expected.shape[2];
    return STATUS_OK;
}

static enum status check_outputs(struct result *result, struct error *err)
{
    for (int r = 0; r < result->n_ordinary; r++)
        for (int l = 0; l < result->n_layers; l++)
            for (int c = 0; c < result->arch->n_components; c++)
                if (result->layers[l].components & 1u << c && check_output(result, r, l, c, err))
                    return err->status;
    return STATUS_OK;
}

// ---- life ----

static enum status check_schema(struct result *result, struct error *err)
{
    int version = 0;
    hid_t attribute = H5Aopen(result->file.id, "schema_version", H5P_DEFAULT);
    hid_t space = attribute < 0 ? -1 : H5Aget_space(attribute),
          type = attribute < 0 ? -1 : H5Aget_type(attribute);
    bool fits = space >= 0 && type >= 0 && H5Sget_simple_extent_npoints(space) == 1 &&
                H5Tget_class(type) == H5T_INTEGER && H5Aread(attribute, H5T_NATIVE_INT, &version) >= 0;
    if (type >= 0) H5Tclose(type);
    if (space >= 0) H5Sclose(space);
    if (attribute >= 0) H5Aclose(attribute);
    if (!fits) return store_torn(&result->file, "schema_version", "missing attribute", err);
    if (version != STORE_SCHEMA_VERSION)
        return error_set(err, STATUS_INPUT,
                         "%s: schema_version: expected %d, got %d; make it again with this version",
                         result->file.path, STORE_SCHEMA_VERSION, version);
    return STATUS_OK;
}

static enum status open_file(struct result *result, struct error *err)
{
    struct stat info;
    if (stat(result->file.path, &info) != 0)
        return error_set(err, STATUS_INPUT,
                         "%s: no such result file; `ssmsweep save all` makes it, with the same --output_dir",
                         result->file.path);
    if (file_expect_regular(result->file.path, info.st_mode, err)) return err->status;
    if (store_finish_extension(result->file.path, err)) return err->status;
    if (stat(result->file.path, &info) != 0) return error_errno(err, result->file.path, "cannot stat");
    result->file.size_bytes = (unsigned long long)info.st_size;
    hid_t access = store_access();
    result->file.id = H5Fopen(result->file.path, H5F_ACC_RDONLY, access);
    char reason[400];
    if (result->file.id < 0) store_hdf5_reason(reason, sizeof reason);
    H5Pclose(access);
    if (result->file.id >= 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: cannot open as HDF5: %s; the file is torn or no result file",
                     result->file.path, reason);
}

static enum status read_structure(struct result *result, struct error *err)
{
    if (check_schema(result, err) || store_read_attributes(result, err) || read_samples(result, err) ||
        find_runs(result, err) || read_states(result, err))
        return err->status;
    if (store_open_metrics(result, err)) return err->status;
    if (result->n_model_layers > 0 && H5Lexists(result->file.id, "/outputs", H5P_DEFAULT) == 0)
        return STATUS_OK; // --store none
    return find_layers(result, err) ? err->status : check_outputs(result, err);
}

enum status result_open(struct result **result, const char *path, struct error *err)
{
    store_hdf5_silence();
    struct result *opened = calloc(1, sizeof *opened);
    if (!opened) return error_memory(err, sizeof *opened, "a result file");
    opened->file.id = -1;
    opened->arch = arch_at(0);
    opened->file.path = strdup(path);
    if (!opened->file.path) error_memory(err, strlen(path) + 1, "a path");
    if (!err->status && open_file(opened, err) == STATUS_OK) read_structure(opened, err);
    store_tidy(); // after so many datasets
    if (err->status) {
        result_close(opened);
        return err->status;
    }
    *result = opened;
    return STATUS_OK;
}

void result_close(struct result *result)
{
    if (!result) return;
    for (int i = 0; i < 2; i++)
        if (result->open[i].data > 0) H5Dclose(result->open[i].data);
    store_close_metrics(result);
    if (result->file.id >= 0) H5Fclose(result->file.id);
    store_free_attributes(result);
    free(result->layers);
    free(result->runs);
    free(result->state);
    free(result->length);
    free(result->file.path);
    free(result);
}

const struct arch *result_arch(const struct result *result)
{
    return result->arch;
}

int result_samples(const struct result *result)
{
    return result->samples;
}

int result_length(const struct result *result, int sample)
{
    return result->length[sample];
}

int result_max_tokens(const struct result *result)
{
    return result->max_tokens;
}

int result_runs(const struct result *result)
{
    return result->n_ordinary;
}

int result_noise_runs(const struct result *result)
{
    return result->n_runs - result->n_ordinary;
}

int result_all_runs(const struct result *result)
{
    return result->n_runs;
}

const struct result_run *result_run_at(const struct result *result, int run)
{
    return &result->runs[run];
}

enum store_state result_state(const struct result *result, int run, int sample)
{
    unsigned char state = result->state[(size_t)run * (size_t)result->samples + (size_t)sample];
    return state == STORE_ITEM_DONE || state == STORE_ITEM_FAILED ? (enum store_state)state
                                                                  : STORE_ITEM_ABSENT;
}

int result_layers(const struct result *result)
{
    return result->n_layers;
}

int result_layer_at(const struct result *result, int index)
{
    return result->layers[index].number;
}

uint32_t result_components(const struct result *result, int index)
{
    return result->layers[index].components;
}

static int layer_index(const struct result *result, int number)
{
    for (int l = 0; l < result->n_layers; l++)
        if (result->layers[l].number == number) return l;
    return -1;
}

int result_width(const struct result *result, int layer, int component)
{
    int index = layer_index(result, layer);
    return index < 0 ? 0 : result->layers[index].width[component];
}

enum status result_read_scales(struct result *result, struct cell cell, float **scales, int *n_layer,
                               struct error *err)
{
    char label[CELL_NAME_ROOM], name[STORE_PATH_ROOM];
    struct store_expected expected = {H5T_FLOAT, 4, 2, {-1, result->arch->n_sites, 1, 1}};
    snprintf(name, sizeof name, STORE_SCALES, cell_name(cell, label));
    hid_t data = store_open_data(&result->file, name, &expected, err);
    if (!data) return err->status;
    H5Dclose(data);
    const size_t count = (size_t)(expected.shape[0] * result->arch->n_sites);
    float *values = calloc(count, sizeof *values);
    if (!values) return error_memory(err, count * sizeof *values, "the scales");
    if (store_read_all(&result->file, name, &expected, H5T_NATIVE_FLOAT, values, err)) {
        free(values);
        return err->status;
    }
    *scales = values;
    *n_layer = (int)expected.shape[0];
    return STATUS_OK;
}

static void unreadable(const struct result *result, int layer, int component, struct error *err)
{
    char reason[400];
    store_hdf5_reason(reason, sizeof reason);
    error_set(err, STATUS_IO, "%s: cannot read layer %d %s: %s", result->file.path, layer,
              result->arch->components[component].name, reason);
}

// 0 where it cannot be opened.
static hid_t open_output(struct result *result, int run, int layer, int component)
{
    struct result_output *open = result->open;
    for (int i = 0; i < 2; i++)
        if (open[i].data > 0 && open[i].run == run && open[i].layer == layer &&
            open[i].component == component)
            return open[i].data;
    char name[STORE_PATH_ROOM];
    output_name(result, run, layer, component, name);
    const hid_t data = H5Dopen2(result->file.id, name, H5P_DEFAULT);
    if (data < 0) return 0;
    if (open[1].data > 0) H5Dclose(open[1].data);
    open[1] = open[0];
    open[0] = (struct result_output){run, layer, component, data};
    return data;
}

enum status result_read(struct result *result, int run, int layer, int component, int sample, float *values,
                        struct error *err)
{
    int index = layer_index(result, layer);
    if (index < 0 || run >= result->n_ordinary || !(result->layers[index].components & 1u << component))
        return error_set(err, STATUS_INPUT, "%s: layer %d %s was not stored", result->file.path, layer,
                         result->arch->components[component].name);
    hsize_t start[3] = {(hsize_t)sample, 0, 0};
    hsize_t count[3] = {1, (hsize_t)result->length[sample], (hsize_t)result->layers[index].width[component]};
    const hid_t data = open_output(result, run, index, component);
    const hid_t file_space = H5Dget_space(data), memory_space = H5Screate_simple(3, count, NULL);
    if (file_space < 0 || H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dread(data, H5T_NATIVE_FLOAT, memory_space, file_space, H5P_DEFAULT, values) < 0)
        unreadable(result, layer, component, err);
    H5Sclose(memory_space);
    H5Sclose(file_space);
    return err->status;
}
