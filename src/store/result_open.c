// SPDX-License-Identifier: Apache-2.0
// The reading half: one process, no MPI but in result_agree(), nothing of the file trusted before it is
// checked.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "handle.h"
#include "result.h"
#include "ssmsweep/base/file.h"

enum { MAX_RUNS = PLAN_MAX_RUNS, MAX_LAYERS = 4096, MOST_WIDTH = 1 << 24 };

// Calls visit() for the members of a group in the order of their names.
static enum status each_member(struct result *result, const char *group_name, struct error *err,
                               void (*visit)(struct result *result, const char *member, const char *group,
                                             struct error *err))
{
    hid_t group = H5Gopen2(result->file.id, group_name, H5P_DEFAULT);
    H5G_info_t info;
    if (group < 0 || H5Gget_info(group, &info) < 0) hdf_torn(&result->file, group_name, "missing group", err);
    for (hsize_t i = 0; !err->status && i < info.nlinks; i++) {
        char member[64];
        ssize_t length =
            H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, member, sizeof member, H5P_DEFAULT);
        if (length <= 0 || length >= (ssize_t)sizeof member)
            hdf_torn(&result->file, group_name, "unexpected member", err);
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

// ---- attributes and samples ----

static enum status check_schema(struct result *result, struct error *err)
{
    const char *name = layout_attributes[ATTRIBUTE_VERSION].name;
    if (!hdf_read_integer(&result->file, name, &result->version))
        return hdf_torn(&result->file, name, "missing attribute", err);
    if (result->version < LAYOUT_OLDEST_VERSION || result->version > LAYOUT_SCHEMA_VERSION)
        return error_set(err, STATUS_INPUT, "%s: %s: expected %d, got %d; make it again with this version",
                         result->file.path, name, LAYOUT_SCHEMA_VERSION, result->version);
    return STATUS_OK;
}

static enum status check_names(const struct result *result, enum layout_attribute_kind kind, int n,
                               layout_names expected, struct error *err)
{
    const char *name = layout_attributes[kind].name;
    layout_names found;
    if (hdf_read_names(&result->file, name, n, LAYOUT_NAME_ROOM, found) &&
        memcmp(found, expected, (size_t)n * LAYOUT_NAME_ROOM) == 0)
        return STATUS_OK;
    return hdf_torn(&result->file, name, "not the names that the family of the model has", err);
}

// The family of the model, and whether it has the components and sites that the file has.
static enum status read_arch(struct result *result, struct error *err)
{
    const char *name = layout_attributes[ATTRIBUTE_ARCH].name;
    layout_names names;
    if (result->version == LAYOUT_OLDEST_VERSION) return STATUS_OK; // of the first family
    char *family = hdf_read_text(&result->file, name);
    if (!family) return error_memory(err, 1, "an attribute");
    result->arch = arch_find(family);
    if (!result->arch)
        error_set(err, STATUS_INPUT,
                  "%s: %s: expected a family of models that this version knows, got '%.40s'",
                  result->file.path, name, family);
    free(family);
    if (err->status ||
        check_names(result, ATTRIBUTE_COMPONENTS, layout_component_names(result->arch, names), names, err))
        return err->status;
    return check_names(result, ATTRIBUTE_SITES, layout_site_names(result->arch, names), names, err);
}

static enum status read_attributes(struct result *result, struct error *err)
{
    for (int a = LAYOUT_FIRST_TEXT; a < LAYOUT_ATTRIBUTES; a++) {
        result->attributes[a] = hdf_read_text(&result->file, layout_attributes[a].name);
        if (!result->attributes[a]) return error_memory(err, 1, "an attribute");
    }
    return STATUS_OK;
}

static enum status read_samples(struct result *result, struct error *err)
{
    const char *ids_path = layout_rows[DATA_TOKEN_IDS].path, *path = layout_rows[DATA_LENGTH].path;
    struct layout_sizes *sizes = &result->sizes;
    struct hdf_expected ids = layout_expected(DATA_TOKEN_IDS, sizes, &result->types);
    hid_t data = hdf_open(&result->file, ids_path, &ids, err);
    if (!data) return err->status;
    H5Dclose(data);
    sizes->of[AXIS_SAMPLES] = ids.shape[0];
    sizes->of[AXIS_TOKENS] = ids.shape[1];
    struct hdf_expected lengths = layout_expected(DATA_LENGTH, sizes, &result->types);
    result->length = calloc((size_t)ids.shape[0], sizeof *result->length);
    if (!result->length) return error_memory(err, (unsigned long long)ids.shape[0] * 4, "the samples");
    if (hdf_read_all(&result->file, path, &lengths, result->length, err)) return err->status;
    for (long long s = 0; s < ids.shape[0]; s++)
        if (result->length[s] < 1 || result->length[s] > ids.shape[1])
            return hdf_torn(&result->file, path, "a length outside 1 .. L", err);
    result->samples = (int)ids.shape[0];
    result->max_tokens = (int)ids.shape[1];
    return STATUS_OK;
}

// ---- runs ----

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

struct layout_run result_names(const struct result *result, int run)
{
    const struct result_run *of = &result->runs[run];
    return (struct layout_run){of->cell, of->mode, of->dither};
}

static void add_run(struct result *result, const char *name, const char *group, struct error *err)
{
    struct result_run run = {0};
    struct cell cell;
    if (!cell_parse(&cell, strrchr(group, '/') + 1) || !parse_run(&run, name)) {
        hdf_torn(&result->file, group, "unexpected group", err);
        return;
    }
    if (result->n_runs == MAX_RUNS) {
        hdf_torn(&result->file, group, "too many runs", err);
        return;
    }
    run.cell = cell;
    result->n_ordinary += run.dither == 0;
    result->runs[result->n_runs++] = run;
}

static void add_cell(struct result *result, const char *label, const char *group, struct error *err)
{
    char name[LAYOUT_PATH_ROOM];
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
    if (cell_compare(x->cell, y->cell)) return cell_compare(x->cell, y->cell);
    int order = mode_rank(x->mode) - mode_rank(y->mode);
    if (order == 0) order = strcmp(x->mode, y->mode);
    return order ? order : x->dither - y->dither;
}

static enum status find_runs(struct result *result, struct error *err)
{
    result->runs = calloc(MAX_RUNS, sizeof *result->runs);
    if (!result->runs) return error_memory(err, MAX_RUNS * sizeof *result->runs, "the runs of a result file");
    if (each_member(result, "/items", err, add_cell)) return err->status;
    if (result->n_ordinary == 0) return hdf_torn(&result->file, "/items", "holds no runs", err);
    qsort(result->runs, (size_t)result->n_runs, sizeof *result->runs, compare_runs);
    return STATUS_OK;
}

// By result->state.
static void count_done(struct result *result)
{
    for (int r = 0; r < result->n_runs; r++) {
        const unsigned char *state = result->state + (size_t)r * (size_t)result->samples;
        struct result_run *run = &result->runs[r];
        run->done = 0;
        for (int s = 0; s < result->samples; s++)
            run->done += state[s] == STORE_ITEM_DONE;
        run->complete = run->done == result->samples;
    }
}

static enum status read_states(struct result *result, struct error *err)
{
    const size_t samples = (size_t)result->samples;
    result->state = malloc((size_t)result->n_runs * samples);
    if (!result->state) return error_memory(err, (unsigned long long)result->n_runs * samples, "item states");
    for (int r = 0; r < result->n_runs && !err->status; r++) {
        char path[LAYOUT_PATH_ROOM];
        const struct layout_run names = result_names(result, r);
        struct hdf_expected expected = layout_expected(DATA_STATE, &result->sizes, &result->types);
        hdf_read_all(&result->file, layout_path(DATA_STATE, &names, 0, "", path), &expected,
                     result->state + (size_t)r * samples, err);
    }
    if (!err->status) count_done(result);
    return err->status;
}

// ---- layers and outputs ----

static void add_component(struct result *result, const char *name, const char *group, struct error *err)
{
    int component = arch_find_component(result->arch, name, strlen(name));
    if (component < 0)
        hdf_torn(&result->file, group, "holds an unknown component", err);
    else
        result->layers[result->n_layers - 1].components |= 1u << component;
}

static void add_layer(struct result *result, const char *member, const char *group, struct error *err)
{
    char name[LAYOUT_PATH_ROOM];
    int number = strncmp(member, "layer_", 6) == 0 ? plain_number(member + 6) : -1;
    if (number < 0 || result->n_layers == MAX_LAYERS) {
        hdf_torn(&result->file, group, "holds something else than layers", err);
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
    char name[LAYOUT_PATH_ROOM];
    result->layers = calloc(MAX_LAYERS, sizeof *result->layers);
    if (!result->layers)
        return error_memory(err, MAX_LAYERS * sizeof *result->layers, "the layers of a result file");
    const struct layout_run names = result_names(result, 0);
    layout_group("/outputs", &names, name);
    if (each_member(result, name, err, add_layer)) return err->status;
    if (result->n_layers == 0) return hdf_torn(&result->file, name, "holds no layers", err);
    qsort(result->layers, (size_t)result->n_layers, sizeof *result->layers, compare_layers);
    return STATUS_OK;
}

// The width is the first run's; the others must have the same.
static enum status check_output(struct result *result, int run, int index, int component, struct error *err)
{
    char path[LAYOUT_PATH_ROOM];
    struct result_layer *layer = &result->layers[index];
    int *width = &layer->width[component];
    const struct layout_run names = result_names(result, run);
    struct layout_sizes sizes = result->sizes;
    sizes.of[AXIS_WIDTH] = *width ? *width : -1;
    struct hdf_expected expected = layout_expected(DATA_OUTPUT, &sizes, &result->types);
    if (result->halves) expected.type = result->types.of[ELEMENT_F16];
    layout_path(DATA_OUTPUT, &names, layer->number, result->arch->components[component].name, path);
    hid_t data = hdf_open(&result->file, path, &expected, err);
    if (!data) return err->status;
    H5Dclose(data);
    if (expected.shape[2] > MOST_WIDTH) return hdf_torn(&result->file, path, "unexpected width", err);
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

// ---- metrics ----

static enum status read_widths(struct result *result, struct error *err)
{
    const char *path = layout_rows[DATA_WIDTH].path;
    struct hdf_expected expected = layout_expected(DATA_WIDTH, &result->sizes, &result->types);
    if (hdf_read_all(&result->file, path, &expected, result->width, err)) return err->status;
    for (int c = 0; c < result->arch->n_components; c++)
        if (result->width[c] < 1 || result->width[c] > MOST_WIDTH)
            return hdf_torn(&result->file, path, "unexpected width", err);
    return STATUS_OK;
}

// The number of layers is the first run's; the others must have the same.
static enum status open_metric(struct result *result, int run, enum layout_data metric, struct error *err)
{
    char path[LAYOUT_PATH_ROOM];
    const struct layout_run names = result_names(result, run);
    struct layout_sizes sizes = result->sizes;
    if (sizes.of[AXIS_LAYERS] == 0) sizes.of[AXIS_LAYERS] = -1;
    struct hdf_expected expected = layout_expected(metric, &sizes, &result->types);
    result->metrics[run * RESULT_METRICS + (int)metric - DATA_FIRST_METRIC] =
        hdf_open(&result->file, layout_path(metric, &names, 0, "", path), &expected, err);
    if (!err->status && metric == DATA_MOMENTS) result->sizes.of[AXIS_LAYERS] = expected.shape[1];
    return err->status;
}

// By the first run, which is no re-run.
static bool has_metric(const struct result *result, enum layout_data metric)
{
    char path[LAYOUT_PATH_ROOM];
    const struct layout_run names = result_names(result, 0);
    return hdf_exists(result->file.id, layout_path(metric, &names, 0, "", path));
}

static enum status open_metrics(struct result *result, struct error *err)
{
    if (!hdf_exists(result->file.id, "/metrics")) return STATUS_OK;
    const size_t count = (size_t)result->n_runs * RESULT_METRICS;
    result->metrics = calloc(count, sizeof *result->metrics);
    if (!result->metrics) return error_memory(err, count * sizeof *result->metrics, "the metrics of a file");
    if (read_widths(result, err)) return err->status;
    const unsigned has = NEEDS_METRICS | (has_metric(result, DATA_END_OF_MODEL) ? NEEDS_LOGITS : 0u) |
                         (has_metric(result, DATA_HISTOGRAM) ? NEEDS_PROFILES : 0u),
                   ordinary = has | (has_metric(result, DATA_ISOLATED) ? NEEDS_ISOLATED : 0u);
    for (int r = 0; r < result->n_runs; r++)
        for (int d = DATA_FIRST_METRIC; d < LAYOUT_DATA; d++)
            if (layout_keeps((enum layout_data)d, result->runs[r].dither ? has | NEEDS_RERUN : ordinary) &&
                open_metric(result, r, (enum layout_data)d, err))
                return err->status;
    return STATUS_OK;
}

// ---- packed files (pack.h) ----

// Nobody computes metrics from halves, so they are there.
static enum status check_halves(struct result *result, struct error *err)
{
    result->halves = H5Aexists(result->file.id, HDF_OUTPUTS_DTYPE) > 0;
    if (!result->halves || (result->file.packed && result->metrics)) return STATUS_OK;
    return hdf_torn(&result->file, HDF_OUTPUTS_DTYPE, "expected a packed file with metrics", err);
}

bool result_packed(const struct result *result)
{
    return result->file.packed;
}

bool result_has_halves(const struct result *result)
{
    return result->halves;
}

// ---- life ----

static enum status open_file(struct result *result, struct error *err)
{
    struct stat info;
    if (stat(result->file.path, &info) != 0)
        return error_set(err, STATUS_INPUT,
                         "%s: no such result file; `ssmsweep save all` makes it, with the same --output_dir",
                         result->file.path);
    if (file_expect_regular(result->file.path, info.st_mode, err)) return err->status;
    if (extend_finish(result->file.path, err)) return err->status;
    if (stat(result->file.path, &info) != 0) return error_errno(err, result->file.path, "cannot stat");
    result->file.size_bytes = (unsigned long long)info.st_size;
    hid_t access = hdf_access(HDF_LOOKS_ONCE);
    result->file.id = H5Fopen(result->file.path, H5F_ACC_RDONLY, access);
    char reason[HDF_REASON_ROOM];
    if (result->file.id < 0) hdf_reason(reason);
    H5Pclose(access);
    result->file.packed = result->file.id >= 0 && H5Aexists(result->file.id, HDF_PACKED) > 0;
    if (result->file.id >= 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: cannot open as HDF5: %s; the file is torn or no result file",
                     result->file.path, reason);
}

static enum status read_structure(struct result *result, struct error *err)
{
    if (layout_open_types(&result->types, err) || check_schema(result, err) || read_arch(result, err) ||
        read_attributes(result, err))
        return err->status;
    result->sizes = layout_sizes_of(result->arch, 0, -1, -1, -1);
    if (read_samples(result, err) || find_runs(result, err) || read_states(result, err) ||
        open_metrics(result, err) || check_halves(result, err) || recipes_read(result, err) ||
        recipes_check(result, err))
        return err->status;
    if (result->metrics && !hdf_exists(result->file.id, "/outputs")) return STATUS_OK; // --store none
    return find_layers(result, err) ? err->status : check_outputs(result, err);
}

enum status result_open(struct result **result, const char *path, struct error *err)
{
    hdf_silence();
    struct result *opened = calloc(1, sizeof *opened);
    if (!opened) return error_memory(err, sizeof *opened, "a result file");
    opened->file.id = -1;
    opened->arch = arch_at(0);
    opened->file.path = strdup(path);
    if (!opened->file.path) error_memory(err, strlen(path) + 1, "a path");
    if (!err->status && open_file(opened, err) == STATUS_OK) read_structure(opened, err);
    hdf_tidy(); // after so many datasets
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
    for (int i = 0; result->metrics && i < result->n_runs * RESULT_METRICS; i++)
        if (result->metrics[i] > 0) H5Dclose(result->metrics[i]);
    layout_close_types(&result->types);
    if (result->file.id >= 0) H5Fclose(result->file.id);
    for (int a = 0; a < LAYOUT_ATTRIBUTES; a++)
        free(result->attributes[a]);
    recipes_close(result);
    free(result->metrics);
    free(result->layers);
    free(result->runs);
    free(result->state);
    free(result->length);
    free(result->file.path);
    free(result);
}

enum status result_agree(struct result *result, const struct comm *comm, struct error *err)
{
    int shape[2] = {result->n_runs, result->samples};
    MPI_Bcast(shape, 2, MPI_INT, 0, comm->world);
    if (shape[0] != result->n_runs || shape[1] != result->samples)
        error_set(err, STATUS_BUSY, "%s: modes were added while it was opened; repeat the command",
                  result->file.path);
    if (comm_agree(comm, err)) return err->status;
    for (int r = 0; r < result->n_runs; r++)
        MPI_Bcast(result->state + (size_t)r * (size_t)result->samples, result->samples, MPI_BYTE, 0,
                  comm->world);
    count_done(result);
    return STATUS_OK;
}
