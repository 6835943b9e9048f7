// SPDX-License-Identifier: Apache-2.0
// What an open result file says, holds, and reads.
#include <stdlib.h>
#include <string.h>

#include "result.h"
#include "ssmsweep/arch/groups.h"
#include "ssmsweep/base/half.h"
#include "ssmsweep/measure/profile.h"

// ---- what is in it ----

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

bool result_has_outputs(const struct result *result)
{
    return result->n_layers > 0 && !result->halves;
}

bool result_has_metrics(const struct result *result)
{
    return result->sizes.of[AXIS_LAYERS] > 0;
}

bool result_has_end_of_model(const struct result *result)
{
    return result->metrics && result->metrics[DATA_END_OF_MODEL - DATA_FIRST_METRIC] > 0;
}

bool result_has_isolated(const struct result *result)
{
    return result->metrics && result->metrics[DATA_ISOLATED - DATA_FIRST_METRIC] > 0;
}

int result_model_layers(const struct result *result)
{
    return (int)result->sizes.of[AXIS_LAYERS];
}

const char *result_attribute_name(int index)
{
    const int attribute = LAYOUT_FIRST_TEXT + index;
    return attribute < LAYOUT_ATTRIBUTES ? layout_attributes[attribute].name : NULL;
}

const char *result_attribute(const struct result *result, const char *name)
{
    for (int a = LAYOUT_FIRST_TEXT; a < LAYOUT_ATTRIBUTES; a++)
        if (strcmp(layout_attributes[a].name, name) == 0) return result->attributes[a];
    return "";
}

// ---- scales ----

// A dataset of a cell, [layers][*columns]; caller frees.
static enum status read_cell(struct result *result, enum layout_data which, struct cell cell, float **rows,
                             int *n_layer, int *columns, struct error *err)
{
    char path[LAYOUT_PATH_ROOM];
    const struct layout_run of_cell = {.cell = cell};
    struct layout_sizes sizes = result->sizes;
    sizes.of[AXIS_LAYERS] = -1;
    struct hdf_expected expected = layout_expected(which, &sizes, &result->types);
    hid_t data = hdf_open(&result->file, layout_path(which, &of_cell, 0, "", path), &expected, err);
    if (!data) return err->status;
    H5Dclose(data);
    const size_t count = (size_t)(expected.shape[0] * expected.shape[1]);
    float *values = calloc(count, sizeof *values);
    if (!values) return error_memory(err, count * sizeof *values, "the scales");
    if (hdf_read_all(&result->file, path, &expected, values, err)) {
        free(values);
        return err->status;
    }
    *rows = values;
    *n_layer = (int)expected.shape[0];
    *columns = (int)expected.shape[1];
    return STATUS_OK;
}

enum status result_read_scales(struct result *result, struct cell cell, float **scales, int *n_layer,
                               struct error *err)
{
    int sites;
    return read_cell(result, DATA_SCALES, cell, scales, n_layer, &sites, err);
}

enum status result_read_group_scales(struct result *result, struct cell cell, float **scales, int *n_layer,
                                     int *per_layer, struct error *err)
{
    char path[LAYOUT_PATH_ROOM];
    const struct layout_run of_cell = {.cell = cell};
    layout_path(DATA_GROUP_SCALES, &of_cell, 0, "", path);
    *scales = NULL;
    if (!hdf_exists(result->file.id, path)) return STATUS_OK;
    return read_cell(result, DATA_GROUP_SCALES, cell, scales, n_layer, per_layer, err);
}

// ---- groups of heads and channels ----

// Running ends in groups of four, ascending from above 0: what readers count with.
static bool ends_ascend(const int32_t *ends, int count)
{
    for (int i = 0; i < count; i++)
        if (ends[i] <= (i % GROUPS_OF_HEADS ? ends[i - 1] : 0)) return false;
    return true;
}

enum status result_read_groups(struct result *result, struct result_groups *groups, struct error *err)
{
    const char *path = layout_rows[DATA_GROUPS].path;
    int component = 0; // one that is d_inner wide
    while (component < result->arch->n_components && result->arch->components[component].width != EXTENT_I)
        component++;
    struct layout_sizes sizes = result->sizes;
    *groups = (struct result_groups){.rows = NULL};
    if (!result->arch->groups || component == result->arch->n_components || !result->metrics ||
        !hdf_exists(result->file.id, path))
        return STATUS_OK;
    struct hdf_expected expected = layout_expected(DATA_GROUPS, &sizes, &result->types);
    hid_t data = hdf_open(&result->file, path, &expected, err);
    if (!data) return err->status;
    H5Dclose(data);
    const int per_group = GROUPS_OF_HEADS * (1 + GROUPS_OF_CHANNELS), I = result->width[component],
              ends = (int)expected.shape[1] - I;
    if (ends <= 0 || ends % per_group != 0)
        return hdf_torn(&result->file, path, "unexpected number of columns", err);
    const size_t count = (size_t)(expected.shape[0] * expected.shape[1]);
    int32_t *rows = calloc(count, sizeof *rows);
    if (!rows) return error_memory(err, count * sizeof *rows, "the groups of heads");
    bool formed = !hdf_read_all(&result->file, path, &expected, rows, err);
    for (int l = 0; l < (int)expected.shape[0] && formed; l++)
        formed = ends_ascend(rows + (size_t)l * (size_t)expected.shape[1] + I, ends);
    if (!formed) {
        free(rows);
        return err->status;
    }
    *groups = (struct result_groups){rows, (int)expected.shape[0], I, ends / per_group};
    return STATUS_OK;
}

// ---- tensors ----

// 0 where it cannot be opened.
static hid_t open_output(struct result *result, int run, int layer, int component)
{
    struct result_output *open = result->open;
    for (int i = 0; i < 2; i++)
        if (open[i].data > 0 && open[i].run == run && open[i].layer == layer &&
            open[i].component == component)
            return open[i].data;
    char path[LAYOUT_PATH_ROOM];
    const struct layout_run names = result_names(result, run);
    layout_path(DATA_OUTPUT, &names, result->layers[layer].number, result->arch->components[component].name,
                path);
    const hid_t data = H5Dopen2(result->file.id, path, H5P_DEFAULT);
    if (data < 0) return 0;
    if (open[1].data > 0) H5Dclose(open[1].data);
    open[1] = open[0];
    open[0] = (struct result_output){run, layer, component, data};
    return data;
}

// Halves in the second half of the memory, to floats in all of it.
static void widen(float *values, size_t elements)
{
    const char *halves = (const char *)values + elements * sizeof(uint16_t);
    for (size_t i = 0; i < elements; i++) {
        uint16_t half;
        memcpy(&half, halves + i * sizeof half, sizeof half);
        values[i] = half_to_float(half);
    }
}

enum status result_read(struct result *result, int run, int layer, int component, int sample, float *values,
                        struct error *err)
{
    const int index = layer_index(result, layer);
    const char *name = result->arch->components[component].name;
    char reason[HDF_REASON_ROOM];
    if (index < 0 || run >= result->n_ordinary || !(result->layers[index].components & 1u << component))
        return error_set(err, STATUS_INPUT, "%s: layer %d %s was not stored", result->file.path, layer, name);
    const struct hdf_block block = {
        3,
        {(hsize_t)sample},
        {1, (hsize_t)result->length[sample], (hsize_t)result->layers[index].width[component]}};
    const size_t elements = (size_t)(block.count[1] * block.count[2]);
    const hid_t type = result->types.of[result->halves ? ELEMENT_F16 : ELEMENT_F32];
    char *read = (char *)values + (result->halves ? elements * sizeof(uint16_t) : 0);
    if (hdf_read_block(open_output(result, run, index, component), &block, type, read, reason)) {
        if (result->halves) widen(values, elements);
        return STATUS_OK;
    }
    return error_set(err, STATUS_IO, "%s: cannot read layer %d %s: %s", result->file.path, layer, name,
                     reason);
}

// ---- metrics ----

// [sample, layer, component] of the first element, and how many.
struct part {
    hsize_t start[3], count[3];
};

static enum status read_part(const struct result *result, int run, enum layout_data metric,
                             const struct part *part, void *rows, struct error *err)
{
    const hid_t data =
        result->metrics ? result->metrics[run * RESULT_METRICS + (int)metric - DATA_FIRST_METRIC] : 0;
    const struct hdf_expected whole = layout_expected(metric, &result->sizes, &result->types);
    const char *path = layout_rows[metric].path, *name = strrchr(path, '/') + 1;
    const hsize_t layer = part->start[1];
    struct hdf_block block = {.rank = whole.rank};
    char reason[HDF_REASON_ROOM];
    if (data <= 0 || (whole.rank > 1 && layer + part->count[1] > (hsize_t)whole.shape[1]))
        return error_set(err, STATUS_INPUT, "%s: %s of layer %d were not kept", result->file.path, name,
                         (int)layer);
    for (int d = 0; d < HDF_RANKS; d++) {
        block.start[d] = d < 3 ? part->start[d] : 0;
        block.count[d] = d < 3 ? part->count[d] : (hsize_t)whole.shape[d];
    }
    if (hdf_read_block(data, &block, whole.type, rows, reason)) return STATUS_OK;
    return error_set(err, STATUS_IO, "%s: cannot read %s of layer %d: %s", result->file.path, name,
                     (int)layer, reason);
}

// The elements of some samples at one layer and component.
static enum status read_rows(const struct result *result, int run, enum layout_data metric, int layer,
                             int component, struct sample_range range, void *rows, struct error *err)
{
    const struct part part = {{(hsize_t)range.first, (hsize_t)layer, (hsize_t)component},
                              {(hsize_t)range.count, 1, 1}};
    return read_part(result, run, metric, &part, rows, err);
}

enum status result_read_moments(struct result *result, int run, int layer, int component,
                                struct sample_range range, struct accumulator *rows, struct error *err)
{
    return read_rows(result, run, DATA_MOMENTS, layer, component, range, rows, err);
}

enum status result_read_sample_moments(struct result *result, int run, int sample, struct accumulator *rows,
                                       struct error *err)
{
    const struct part part = {{(hsize_t)sample, 0, 0},
                              {1, (hsize_t)result_model_layers(result), (hsize_t)result->arch->n_components}};
    return read_part(result, run, DATA_MOMENTS, &part, rows, err);
}

enum status result_read_end_of_model(struct result *result, int run, struct sample_range range,
                                     struct end_of_model *rows, struct error *err)
{
    return read_rows(result, run, DATA_END_OF_MODEL, 0, 0, range, rows, err);
}

enum status result_read_moments_apart(struct result *result, int run, int layer, int component,
                                      struct sample_range range, struct accumulator *rows, struct error *err)
{
    return read_rows(result, run, DATA_APART, layer, component, range, rows, err);
}

enum status result_read_isolated(struct result *result, int run, int layer, int component,
                                 struct sample_range range, struct accumulator *rows, struct error *err)
{
    return read_rows(result, run, DATA_ISOLATED, layer, component, range, rows, err);
}

enum status result_read_end_apart(struct result *result, int run, struct sample_range range,
                                  struct end_of_model *rows, struct error *err)
{
    return read_rows(result, run, DATA_END_APART, 0, 0, range, rows, err);
}

// Elements by position follow from the length of the sample.
static void fill_profile(struct profile *profile, const uint32_t *histogram, const double *position,
                         int length, int width)
{
    for (int i = 0; i < PROFILE_BINS; i++)
        profile->bins[i] = histogram[i];
    for (int i = 0; i < PROFILE_POSITIONS; i++) {
        int first, last;
        profile_tokens(i, &first, &last);
        if (last >= length) last = length - 1;
        profile->position_count[i] = last < first ? 0 : (uint64_t)(last - first + 1) * (uint64_t)width;
        profile->position_squares[i] = position[2 * i];
        profile->position_abs[i] = position[2 * i + 1];
    }
}

enum status result_read_profiles(struct result *result, int run, int layer, int component,
                                 struct sample_range range, struct profile *rows, struct error *err)
{
    const size_t samples = (size_t)range.count;
    const size_t positions = 2 * (size_t)PROFILE_POSITIONS;
    uint32_t *histogram = malloc(samples * PROFILE_BINS * sizeof *histogram);
    double *position = malloc(samples * positions * sizeof *position);
    if (!histogram || !position)
        error_memory(err, samples * (PROFILE_BINS * sizeof *histogram + positions * sizeof *position),
                     "profiles");
    else if (read_rows(result, run, DATA_HISTOGRAM, layer, component, range, histogram, err) == STATUS_OK &&
             read_rows(result, run, DATA_POSITION, layer, component, range, position, err) == STATUS_OK)
        for (size_t s = 0; s < samples; s++)
            fill_profile(&rows[s], histogram + s * PROFILE_BINS, position + s * positions,
                         result->length[(size_t)range.first + s], result->width[component]);
    free(histogram);
    free(position);
    return err->status;
}
