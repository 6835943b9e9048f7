// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/tools/npy_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ssmsweep/arch/groups.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/half.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/npy.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/report_write.h"
#include "ssmsweep/report/view.h"

// ---- export ----

// ---- one array ----

// In place: the halves that they were read from.  Gives the bytes of each.
static size_t narrow(float *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint16_t half = half_of_float(values[i]);
        memcpy((char *)values + i * sizeof half, &half, sizeof half);
    }
    return sizeof(uint16_t);
}

static enum status write_samples(FILE *file, struct result *result, const struct comparison_entry *entry,
                                 const char *path, struct error *err)
{
    size_t width = (size_t)result_width(result, entry->layer, entry->component);
    size_t elements = (size_t)result_max_tokens(result) * width + 1;
    float *values = malloc(elements * sizeof *values);
    if (!values) return error_memory(err, elements * sizeof *values, "a sample to export");
    for (int s = 0; s < result_samples(result) && !err->status; s++) {
        if (result_read(result, entry->run, entry->layer, entry->component, s, values, err)) break;
        size_t count = (size_t)result_length(result, s) * width;
        size_t bytes = result_has_halves(result) ? narrow(values, count) : sizeof *values;
        if (fwrite(values, bytes, count, file) != count) error_errno(err, path, "cannot write");
    }
    free(values);
    return err->status;
}

static enum status write_array(struct result *result, const struct comparison_entry *entry,
                               const char *directory, const char *name, struct error *err)
{
    char header[NPY_HEADER_ROOM];
    size_t shape[2] = {(size_t)view_tokens(result),
                       (size_t)result_width(result, entry->layer, entry->component)};
    const enum npy_dtype dtype = result_has_halves(result) ? NPY_FLOAT16 : NPY_FLOAT32;
    size_t header_bytes = npy_header(header, dtype, 2, shape);
    struct file_replacement array;
    if (file_replacement_begin(&array, directory, name, err)) return err->status;
    if (fwrite(header, 1, header_bytes, array.out) != header_bytes)
        error_errno(err, array.path, "cannot write");
    else
        write_samples(array.out, result, entry, array.path, err);
    return file_replacement_end(&array, err);
}

static enum status export_entry(const struct report *report, struct result *result,
                                const struct comparison_entry *entry, bool main, struct error *err)
{
    char name[192];
    snprintf(name, sizeof name, "%s_layer_%d%s%s.npy", report->runs[entry->run].stem, entry->layer,
             main ? "" : "_", main ? "" : entry->name);
    return write_array(result, entry, report->output_dir, name, err);
}

// ---- the folder ----

static enum status write_manifest(const struct report *report, const struct result *result, struct error *err)
{
    char *path = file_join(report->output_dir, "export.json");
    struct json_writer *w = path ? json_writer_open() : NULL;
    if (w) {
        json_begin_object(w, NULL);
        for (int i = 0; result_attribute_name(i); i++)
            json_put_string(w, result_attribute_name(i), result_attribute(result, result_attribute_name(i)));
        if (result_arch(result) != arch_at(0)) json_put_string(w, "arch", result_arch(result)->name);
        json_begin_array(w, "sites"); // columns of the scales
        for (int s = 0; s < result_arch(result)->n_sites; s++)
            json_put_string(w, NULL, result_arch(result)->sites[s].name);
        json_end_array(w);
        json_begin_array(w, "sample_lengths");
        for (int s = 0; s < result_samples(result); s++)
            json_put_integer(w, NULL, result_length(result, s));
        json_end_array(w);
        json_end_object(w);
    }
    char *text = w ? json_writer_finish(w) : NULL;
    if (text)
        file_replace(path, text, strlen(text), err);
    else
        error_memory(err, 256, "export.json");
    free(text);
    free(path);
    return err->status;
}

// ---- scales, and groups of heads and channels ----

static enum status write_named(const struct report *report, const char *name, enum npy_dtype dtype, int dims,
                               const size_t *shape, const void *values, struct error *err)
{
    char *path = file_join(report->output_dir, name);
    if (!path) return error_memory(err, 256, "a path");
    npy_write(path, dtype, dims, shape, values, err);
    free(path);
    return err->status;
}

static enum status export_scales(const struct report *report, struct result *result, struct cell cell,
                                 struct error *err)
{
    char of_cell[CELL_NAME_ROOM], name[64];
    float *scales = NULL, *of_groups = NULL;
    int n_layer = 0, per_layer = 0;
    cell_name(cell, of_cell);
    if (!result_read_scales(result, cell, &scales, &n_layer, err)) {
        const size_t shape[] = {(size_t)n_layer, (size_t)result_arch(result)->n_sites};
        snprintf(name, sizeof name, "scales_n%s.npy", of_cell);
        write_named(report, name, NPY_FLOAT32, 2, shape, scales, err);
    }
    if (!err->status && !result_read_group_scales(result, cell, &of_groups, &n_layer, &per_layer, err) &&
        of_groups) {
        const size_t shape[] = {(size_t)n_layer, (size_t)per_layer};
        snprintf(name, sizeof name, "group_scales_n%s.npy", of_cell);
        write_named(report, name, NPY_FLOAT32, 2, shape, of_groups, err);
    }
    free(scales);
    free(of_groups);
    return err->status;
}

static enum status export_all_scales(const struct report *report, struct result *result, struct error *err)
{
    struct cell last = {0}; // runs stand by their cells
    for (int r = 0; r < result_runs(result) && !err->status; r++) {
        const struct cell cell = result_run_at(result, r)->cell;
        if (cell.calib_data_num > 0 && cell_compare(cell, last) != 0)
            export_scales(report, result, cell, err);
        last = cell;
    }
    return err->status;
}

// The columns [first, first + width) of all rows, as an array of their own.
static enum status export_columns(const struct report *report, const struct result_groups *groups,
                                  const char *name, int first, int dims, const size_t *shape,
                                  struct error *err)
{
    const int G = groups->n_groups, row = groups->d_inner + G * GROUPS_OF_HEADS * (1 + GROUPS_OF_CHANNELS);
    size_t width = 1;
    for (int d = 1; d < dims; d++)
        width *= shape[d];
    int32_t *values = malloc((size_t)groups->n_layer * width * sizeof *values);
    if (!values) return error_memory(err, (size_t)groups->n_layer * width * sizeof *values, "the groups");
    for (int l = 0; l < groups->n_layer; l++)
        memcpy(values + (size_t)l * width, groups->rows + (long)l * row + first, width * sizeof *values);
    write_named(report, name, NPY_INT32, dims, shape, values, err);
    free(values);
    return err->status;
}

static enum status export_groups(const struct report *report, struct result *result, struct error *err)
{
    struct result_groups groups;
    if (result_read_groups(result, &groups, err) || !groups.rows) return err->status;
    const size_t layers = (size_t)groups.n_layer, G = (size_t)groups.n_groups, I = (size_t)groups.d_inner;
    const int ends = groups.d_inner + groups.n_groups * GROUPS_OF_HEADS;
    if (!export_columns(report, &groups, "groups_channels.npy", 0, 2, (size_t[]){layers, I}, err) &&
        !export_columns(report, &groups, "groups_head_ends.npy", groups.d_inner, 3,
                        (size_t[]){layers, G, GROUPS_OF_HEADS}, err))
        export_columns(report, &groups, "groups_channel_ends.npy", ends, 4,
                       (size_t[]){layers, G, GROUPS_OF_HEADS, GROUPS_OF_CHANNELS}, err);
    free(groups.rows);
    return err->status;
}

enum status npy_export(const struct report *report, const struct comparison *comparison,
                       struct result *result, struct error *err)
{
    if (report_write_stats(report, err) || write_manifest(report, result, err)) return err->status;
    if (result_has_metrics(result) &&
        (export_all_scales(report, result, err) || export_groups(report, result, err)))
        return err->status;
    for (struct run_view run = {0}; view_next_run(comparison, &run);)
        for (struct layer_view layer = {0}; view_next_layer(&run, &layer);)
            for (int i = 0; i < layer.count; i++) {
                const struct comparison_entry *entry = &layer.entries[i];
                if (export_entry(report, result, entry, entry == layer.main, err)) return err->status;
            }
    return STATUS_OK;
}

// ---- import ----

enum { FLOAT_RUN = 0, MAX_LAYERS = 1 << 16, MAX_SAMPLES = 1 << 24 };

// One file of the folder.
struct array {
    char *path;
    struct npy npy;
    int mode;           // index of the mode table
    int calib_data_num; // FLOAT_RUN: float modes, and others that need no scales
    bool unscaled;      // its stats say so
    int order;          // of the calibration samples
    int layer;
    int component;
};

struct import {
    const char *folder;
    struct array *arrays; // by calib_data_num, mode, layer, component
    int n_arrays, room;
    struct json *manifest; // export.json, or NULL
    struct json *stats;    // of some mode, or NULL
    struct corpus corpus;
    struct plan plan;
    struct dims dims;
};

// ---- the names of files ----

static enum status odd_name(const char *path, const char *what, struct error *err)
{
    return error_set(err, STATUS_INPUT,
                     "%s: %s; expected mode_<mode>_layer_<number>.npy or "
                     "mode_<mode>_layer_<number>_<component>.npy, rename or remove it",
                     path, what);
}

// "mode_2-1_n10_layer_3_ssm_input.npy"
static enum status parse_name(struct array *array, const struct arch *arch, const char *name,
                              struct error *err)
{
    char mode[32] = "";
    const char *layer = strstr(name, "_layer_"), *at = name + strlen("mode_");
    size_t length = layer && layer > at ? (size_t)(layer - at) : 0;
    const char *cell = length ? memchr(at, '_', length) : NULL;
    if (cell && sscanf(cell, "_n%9d_order%9d", &array->calib_data_num, &array->order) >= 1)
        length = (size_t)(cell - at);
    if (length == 0 || length >= sizeof mode) return odd_name(array->path, "unknown kind of name", err);
    memcpy(mode, at, length);
    for (array->mode = 0; array->mode < mode_count(); array->mode++)
        if (strcmp(mode_at(array->mode)->name, mode) == 0) break;
    if (array->mode == mode_count()) return odd_name(array->path, "unknown mode", err);
    char *end;
    const char *digits = layer + strlen("_layer_");
    long number = strtol(digits, &end, 10);
    if (end == digits || number < 0 || number >= MAX_LAYERS) return odd_name(array->path, "no layer", err);
    array->layer = (int)number;
    if (strcmp(end, ".npy") == 0) return STATUS_OK; // the component of the layer: set already
    int component = *end == '_' ? arch_find_component(arch, end + 1, strlen(end + 1) - strlen(".npy")) : -1;
    if (component < 0) return odd_name(array->path, "unknown component", err);
    array->component = component;
    return STATUS_OK;
}

static struct json *read_json(const char *folder, const char *name, struct error *err)
{
    struct json *json = NULL;
    char *path = file_join(folder, name);
    if (!path)
        error_memory(err, 256, "a path");
    else if (file_exists(path))
        json_read_file(&json, path, err);
    free(path);
    return json;
}

// What the stats of the mode know and the name does not say: the component of the plain file, and the
// calib_data_num.
static enum status ask_stats(struct import *import, struct array *array, const char *name, struct error *err)
{
    const char *at = strstr(name, "_layer_");
    char stats[300], layer[40];
    snprintf(stats, sizeof stats, "%.*s_stats.json", (int)(at - name), name);
    snprintf(layer, sizeof layer, "layer_%d", array->layer);
    struct json *json = read_json(import->folder, stats, err);
    const char *main = json_string(json_get(json_get(json_get(json, "layers"), layer), "component"));
    int component = main ? arch_find_component(import->dims.arch, main, strlen(main)) : -1;
    const char *plain = strchr(at + strlen("_layer_"), '.');
    bool is_plain = plain && strspn(at + strlen("_layer_"), "0123456789") ==
                                 (size_t)(plain - at - (long)strlen("_layer_"));
    if (is_plain && component >= 0) array->component = component;
    array->unscaled = array->calib_data_num == FLOAT_RUN && json_is_null(json_get(json, "calib_data_num"));
    double told = json_number(json_get(json, "calib_data_num"));
    if (told >= 1 && told < 1e6 && array->calib_data_num == FLOAT_RUN) array->calib_data_num = (int)told;
    told = json_number(json_get(json, "order"));
    if (told >= 1 && told < 1e6 && array->calib_data_num != FLOAT_RUN) array->order = (int)told;
    if (import->stats)
        json_close(json);
    else
        import->stats = json;
    return err->status;
}

static enum status add_file(struct import *import, const char *name, struct error *err)
{
    if (import->n_arrays == import->room) {
        int room = import->room ? 2 * import->room : 64;
        struct array *grown = realloc(import->arrays, (size_t)room * sizeof *grown);
        if (!grown) return error_memory(err, (size_t)room * sizeof *grown, "the list of arrays");
        import->arrays = grown;
        import->room = room;
    }
    struct array *array = &import->arrays[import->n_arrays];
    *array =
        (struct array){.path = file_join(import->folder, name), .component = arch_output(import->dims.arch)};
    if (!array->path) return error_memory(err, 256, "a path");
    import->n_arrays++;
    if (parse_name(array, import->dims.arch, name, err) || ask_stats(import, array, name, err))
        return err->status;
    if (mode_is_float(mode_at(array->mode)))
        array->calib_data_num = FLOAT_RUN, array->order = 0;
    else if (array->calib_data_num == FLOAT_RUN && !array->unscaled)
        array->calib_data_num = 1; // it had scales, from nobody knows how many samples
    if (npy_map(&array->npy, array->path, err)) return err->status;
    if (array->npy.dtype == NPY_FLOAT32 || array->npy.dtype == NPY_FLOAT64) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: expected float32 or float64, got %s; save it as float32",
                     array->path, npy_dtype_name(array->npy.dtype));
}

static int compare_arrays(const void *a, const void *b)
{
    const struct array *x = a, *y = b;
    int xs[] = {x->calib_data_num, x->order, x->mode, x->layer, (int)x->component};
    int ys[] = {y->calib_data_num, y->order, y->mode, y->layer, (int)y->component};
    for (int i = 0; i < 5; i++)
        if (xs[i] != ys[i]) return xs[i] < ys[i] ? -1 : 1;
    return 0;
}

static enum status list_folder(struct import *import, struct error *err)
{
    DIR *directory = opendir(import->folder);
    if (!directory) return error_set(err, STATUS_INPUT, "%s: no folder that can be read", import->folder);
    for (struct dirent *entry; !err->status && (entry = readdir(directory));) {
        size_t length = strlen(entry->d_name);
        bool array = length > 9 && length < 256 && strncmp(entry->d_name, "mode_", 5) == 0 &&
                     strcmp(entry->d_name + length - 4, ".npy") == 0;
        if (array) add_file(import, entry->d_name, err);
    }
    closedir(directory);
    if (!err->status && import->n_arrays == 0)
        error_set(err, STATUS_INPUT,
                  "%s: no mode_<mode>_layer_<number>.npy in it; make them with: ssmsweep "
                  "export --npy",
                  import->folder);
    if (!err->status) qsort(import->arrays, (size_t)import->n_arrays, sizeof *import->arrays, compare_arrays);
    return err->status;
}

// ---- sizes ----

static size_t rows_of(const struct npy *npy)
{
    return npy->dims < 1 || npy->shape[npy->dims - 1] == 0 ? 0 : npy->count / npy->shape[npy->dims - 1];
}

// Samples of one length, where no manifest says better.
static int equal_samples(const struct import *import, size_t rows)
{
    const struct npy *npy = &import->arrays[0].npy;
    double told = json_number(json_get(import->stats, "num_samples"));
    if (npy->dims == 3) return npy->shape[0] < MAX_SAMPLES ? (int)npy->shape[0] : 0;
    return told >= 1 && told < MAX_SAMPLES && rows % (size_t)told == 0 ? (int)told : 1;
}

static enum status read_lengths(struct import *import, struct error *err)
{
    struct corpus *corpus = &import->corpus;
    const struct json *told = json_get(import->manifest, "sample_lengths");
    size_t rows = rows_of(&import->arrays[0].npy), total = 0;
    size_t samples = told ? json_count(told) : (size_t)equal_samples(import, rows);
    if (samples == 0 || samples > MAX_SAMPLES || rows == 0 || rows >= (1u << 31))
        return error_set(err, STATUS_INPUT, "%s: expected samples with tokens, got shape of %zu rows",
                         import->arrays[0].path, rows);
    corpus->length = malloc(samples * sizeof *corpus->length);
    if (!corpus->length) return error_memory(err, samples * sizeof *corpus->length, "the samples");
    const struct json *item = json_first(told);
    for (size_t s = 0; s < samples; s++, item = json_next(item)) {
        double length = told ? json_number(item) : (double)(rows / samples);
        if (!(length >= 1 && length <= (double)rows))
            return error_set(err, STATUS_INPUT,
                             "%s/export.json: sample_lengths: sample %zu has none that fits", import->folder,
                             s);
        corpus->length[s] = (int32_t)length;
        if (corpus->length[s] > corpus->max_tokens) corpus->max_tokens = corpus->length[s];
        total += (size_t)corpus->length[s];
    }
    corpus->samples = (int)samples;
    if (total != rows)
        return error_set(err, STATUS_INPUT, "%s: expected %zu rows, the tokens of all samples, got %zu",
                         import->arrays[0].path, total, rows);
    size_t ids = samples * (size_t)corpus->max_tokens;
    corpus->ids = malloc(ids * sizeof *corpus->ids);
    if (!corpus->ids) return error_memory(err, ids * sizeof *corpus->ids, "the token ids");
    memset(corpus->ids, 0xff, ids * sizeof *corpus->ids); // -1: nobody knows them
    return STATUS_OK;
}

static enum arch_extent extent_of(const struct import *import, const struct array *array)
{
    return import->dims.arch->components[array->component].width;
}

// The size that makes up a component's width, where the others that do are known.
static int *size_of(struct dims *dims, enum arch_extent extent, int *others)
{
    *others = 0;
    switch (extent) {
    case EXTENT_I_2GN:
        *others = 2 * dims->d_state;
        return &dims->d_inner;
    case EXTENT_I:
        return &dims->d_inner;
    case EXTENT_GN: // of one group
        dims->n_groups = 1;
        return &dims->d_state;
    case EXTENT_H:
        return &dims->n_heads;
    default:
        return &dims->d_model;
    }
}

static enum status set_width(const struct import *import, struct dims *dims, const struct array *array,
                             struct error *err)
{
    int others, *size = size_of(dims, extent_of(import, array), &others);
    const struct npy *npy = &array->npy;
    size_t got = npy->dims > 0 ? npy->shape[npy->dims - 1] : 0, rows = rows_of(&import->arrays[0].npy);
    if (npy->dims < 2 || npy->dims > 3 || got == 0 || got > (1u << 24))
        return error_set(err, STATUS_INPUT, "%s: expected [tokens, width] or [samples, tokens, width]",
                         array->path);
    if (*size == 0) *size = (int)got - others;
    const int width = arch_width(dims, array->component);
    if (width > 0 && (size_t)width == got && rows_of(npy) == rows) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "%s: expected %zu rows of %d as the other files, got %zu of %zu",
                     array->path, rows, width, rows_of(npy), got);
}

static bool same_run(const struct array *a, const struct array *b)
{
    return a->calib_data_num == b->calib_data_num && a->order == b->order && a->mode == b->mode;
}

// Every run must bring the arrays that the first one brings.
static enum status check_runs(const struct import *import, int per_run, struct error *err)
{
    for (int i = 0; i < import->n_arrays; i++) {
        const struct array *a = &import->arrays[i], *first = &import->arrays[i % per_run];
        bool starts = i % per_run == 0, new_run = i > 0 && !same_run(a, a - 1);
        if (a->layer != first->layer || a->component != first->component || (i > 0 && starts != new_run) ||
            import->n_arrays % per_run != 0)
            return error_set(
                err, STATUS_INPUT,
                "%s: this mode and another do not have the same layers and components; every mode "
                "must bring the same files",
                a->path);
    }
    return STATUS_OK;
}

// ---- the plan ----

static struct cell cell_of(const struct array *array)
{
    return (struct cell){array->calib_data_num, array->order};
}

// Arrays come in the order of their cells.
static int add_cell(struct plan *plan, const struct array *array)
{
    if (array->calib_data_num == FLOAT_RUN) return PLAN_FLOAT_CELL;
    if (plan->n_cells == 0 || cell_compare(plan->cells[plan->n_cells - 1], cell_of(array)) != 0)
        plan->cells[plan->n_cells++] = cell_of(array);
    return plan->n_cells - 1;
}

static enum status make_plan(struct import *import, int per_run, struct error *err)
{
    struct plan *plan = &import->plan;
    int runs = import->n_arrays / per_run;
    if (runs > PLAN_MAX_RUNS)
        return error_set(err, STATUS_INPUT, "%s: expected at most %d modes and calib_data_num; divide it",
                         import->folder, PLAN_MAX_RUNS);
    plan->runs = calloc((size_t)runs, sizeof *plan->runs);
    plan->arch = import->dims.arch;
    plan->want = calloc((size_t)import->dims.n_layer, sizeof *plan->want);
    plan->cells = calloc((size_t)runs, sizeof *plan->cells);
    if (!plan->runs || !plan->want || !plan->cells)
        return error_memory(err, (size_t)runs * sizeof *plan->runs, "the modes");
    const char *reference = json_string(json_get(import->manifest, "reference_mode"));
    for (int r = 0; r < runs; r++) {
        const struct array *a = &import->arrays[r * per_run];
        plan->runs[r] = (struct run){.cell = add_cell(plan, a), .mode = mode_at(a->mode), .repeats = r};
        if (reference && strcmp(reference, mode_at(a->mode)->name) == 0) plan->reference_run = r;
    }
    for (int i = 0; i < per_run; i++)
        plan->want[import->arrays[i].layer] |= 1u << import->arrays[i].component;
    plan->n_runs = runs;
    plan->n_layer = import->dims.n_layer;
    plan->samples = plan->calibration_samples = import->corpus.samples;
    return STATUS_OK;
}

static enum status size_up(struct import *import, int *per_run, struct error *err)
{
    if (read_lengths(import, err)) return err->status;
    for (int i = 0; i < 2 * import->n_arrays; i++) { // widths that are made up of several sizes come last
        const struct array *array = &import->arrays[i % import->n_arrays];
        const bool composed = extent_of(import, array) == EXTENT_I_2GN;
        if (composed == (i >= import->n_arrays) && set_width(import, &import->dims, array, err))
            return err->status;
    }
    for (int i = 0; i < import->n_arrays; i++) {
        if (import->arrays[i].layer >= import->dims.n_layer)
            import->dims.n_layer = import->arrays[i].layer + 1;
    }
    for (*per_run = 1; *per_run < import->n_arrays; ++*per_run)
        if (!same_run(&import->arrays[0], &import->arrays[*per_run])) break;
    if (check_runs(import, *per_run, err)) return err->status;
    return make_plan(import, *per_run, err);
}

// ---- the result file ----

static void copy_values(float *values, const struct npy *npy, size_t first, size_t count)
{
    if (npy->dtype == NPY_FLOAT32) {
        memcpy(values, npy->data + first * sizeof(float), count * sizeof(float));
        return;
    }
    for (size_t i = 0; i < count; i++)
        values[i] = (float)npy_number(npy, first + i);
}

static enum status write_sample(const struct import *import, struct store *store, int run, int per_run,
                                int sample, size_t first_row, float *values, struct error *err)
{
    int length = import->corpus.length[sample];
    for (int i = 0; i < per_run && !err->status; i++) {
        const struct array *a = &import->arrays[run * per_run + i];
        int width = arch_width(&import->dims, a->component);
        size_t count = (size_t)length * (size_t)width;
        copy_values(values, &a->npy, first_row * (size_t)width, count);
        store_write_output(store, run, a->layer, a->component, sample, values, length, width, err);
    }
    return err->status ? err->status : store_write_done(store, run, sample, 0, err);
}

// Rank 0.
static enum status write_runs(const struct import *import, struct store *store, int per_run,
                              struct error *err)
{
    int width = 0;
    for (int i = 0; i < per_run; i++) {
        const int one = arch_width(&import->dims, import->arrays[i].component);
        width = one > width ? one : width;
    }
    size_t elements = (size_t)import->corpus.max_tokens * (size_t)width;
    float *values = malloc(elements * sizeof *values);
    if (!values) return error_memory(err, elements * sizeof *values, "a sample to import");
    for (int r = 0; r < import->plan.n_runs; r++) {
        size_t row = 0;
        for (int s = 0; s < import->corpus.samples && !err->status; s++) {
            write_sample(import, store, r, per_run, s, row, values, err);
            row += (size_t)import->corpus.length[s];
        }
    }
    free(values);
    return err->status;
}

static const char *told(const struct import *import, const char *key, const char *otherwise)
{
    const char *text = json_string(json_get(import->manifest, key));
    if (!text) text = json_string(json_get(import->stats, key));
    return text ? text : otherwise;
}

static enum status write_result(const struct import *import, const struct comm *comm, int per_run,
                                const char *path, const char *tool_version, struct error *err)
{
    const struct store_identity identity = {.job_json = told(import, "job", "{}"),
                                            .tool_version = told(import, "tool_version", tool_version),
                                            .weights_hex = told(import, "weights_digest", ""),
                                            .tokenizer_hex = told(import, "tokenizer_sha256", ""),
                                            .ids_hex = told(import, "ids_sha256", ""),
                                            .calibration_ids_hex = told(import, "calibration_ids_sha256", ""),
                                            .evaluation_text = told(import, "evaluation_text", ""),
                                            .model_dtype = told(import, "model_dtype", ""),
                                            .scales_source = told(import, "scales_source", "unknown"),
                                            .reference_weights = told(import, "reference_weights", ""),
                                            .model_config = told(import, "model_config", ""),
                                            .numerics_version = told(import, "numerics_version", "")};
    const struct store_io io = {.driver = STORE_POSIX};
    struct store *store = NULL;
    if (store_create(&store, comm, path, &import->plan, &import->dims, &import->corpus, &identity, &io, err))
        return err->status;
    if (comm->rank == 0) write_runs(import, store, per_run, err);
    if (comm_agree(comm, err) == STATUS_OK) store_sync(store, err);
    store_close(store, err);
    if (err->status && comm->rank == 0) unlink(path);
    return err->status;
}

static void import_clear(struct import *import)
{
    for (int i = 0; i < import->n_arrays; i++) {
        npy_unmap(&import->arrays[i].npy);
        free(import->arrays[i].path);
    }
    free(import->arrays);
    json_close(import->manifest);
    json_close(import->stats);
    free(import->corpus.ids);
    free(import->corpus.length);
    plan_clear(&import->plan);
}

enum status npy_import(const struct comm *comm, const char *folder, const char *result_path,
                       const char *tool_version, struct error *err)
{
    struct import import = {.folder = folder, .dims.arch = arch_at(0)};
    int per_run = 0;
    import.manifest = read_json(folder, "export.json", err);
    const char *family = json_string(json_get(import.manifest, "arch"));
    if (family) import.dims.arch = arch_find(family);
    if (!import.dims.arch)
        error_set(err, STATUS_INPUT, "%s/export.json: arch: '%.64s' is no family of this version", folder,
                  family);
    if (!err->status && list_folder(&import, err) == STATUS_OK) size_up(&import, &per_run, err);
    if (comm_agree(comm, err) == STATUS_OK)
        write_result(&import, comm, per_run, result_path, tool_version, err);
    import_clear(&import);
    return err->status;
}
