// SPDX-License-Identifier: Apache-2.0
// Reading what is below /metrics.
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store_result.h"

// ---- opening ----

static enum status read_widths(struct result *result, struct error *err)
{
    struct store_expected expected = {.type_class = H5T_INTEGER,
                                      .type_bytes = sizeof(int32_t),
                                      .rank = 1,
                                      .shape = {result->arch->n_components}};
    if (store_read_all(&result->file, STORE_WIDTHS, &expected, H5T_NATIVE_INT32, result->width, err))
        return err->status;
    for (int c = 0; c < result->arch->n_components; c++)
        if (result->width[c] < 1 || result->width[c] > RESULT_MOST_WIDTH)
            return store_torn(&result->file, STORE_WIDTHS, "unexpected width", err);
    return STATUS_OK;
}

static void metric_path(const struct result *result, int run, enum store_metric metric,
                        char name[STORE_PATH_ROOM])
{
    result_run_group(&result->runs[run], STORE_METRICS_GROUP, name);
    const size_t used = strlen(name);
    snprintf(name + used, STORE_PATH_ROOM - used, "/%s", store_metric_name(metric));
}

// The number of layers is the first run's; the others must have the same.
static enum status open_metric(struct result *result, int run, enum store_metric metric, struct error *err)
{
    char name[STORE_PATH_ROOM];
    struct store_expected expected = store_metric_expected(
        metric, result->arch, result->samples, result->n_model_layers ? result->n_model_layers : -1);
    metric_path(result, run, metric, name);
    result->metrics[run * STORE_METRICS + (int)metric] =
        store_open_metric(&result->file, name, &expected, result->metric_types[metric], err);
    if (!err->status && metric == STORE_MOMENTS) result->n_model_layers = (int)expected.shape[1];
    return err->status;
}

static bool has_logits(const struct result *result)
{
    char name[STORE_PATH_ROOM];
    metric_path(result, 0, STORE_END_OF_MODEL, name);
    for (char *slash = strchr(name + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0'; // HDF5 looks only below groups that are there
        bool there = H5Lexists(result->file.id, name, H5P_DEFAULT) > 0;
        *slash = '/';
        if (!there) return false;
    }
    return H5Lexists(result->file.id, name, H5P_DEFAULT) > 0;
}

enum status store_open_metrics(struct result *result, struct error *err)
{
    if (H5Lexists(result->file.id, STORE_METRICS_GROUP, H5P_DEFAULT) <= 0) return STATUS_OK;
    const size_t count = (size_t)result->n_runs * STORE_METRICS;
    result->metrics = calloc(count, sizeof *result->metrics);
    if (!result->metrics) return error_memory(err, count * sizeof *result->metrics, "the metrics of a file");
    if (read_widths(result, err)) return err->status;
    const bool logits = has_logits(result);
    for (int m = 0; m < STORE_METRICS; m++) {
        result->metric_types[m] = store_metric_type((enum store_metric)m);
        if (result->metric_types[m] <= 0) return error_memory(err, 1, "a type of HDF5");
    }
    for (int r = 0; r < result->n_runs; r++)
        for (int m = 0; m < STORE_METRICS; m++)
            if (store_metric_belongs((enum store_metric)m, result->runs[r].dither != 0, logits) &&
                open_metric(result, r, (enum store_metric)m, err))
                return err->status;
    return STATUS_OK;
}

void store_close_metrics(struct result *result)
{
    for (int i = 0; result->metrics && i < result->n_runs * STORE_METRICS; i++)
        if (result->metrics[i] > 0) H5Dclose(result->metrics[i]);
    for (int m = 0; m < STORE_METRICS; m++)
        store_close_metric_type(result->metric_types[m]);
    free(result->metrics);
}

bool result_has_metrics(const struct result *result)
{
    return result->n_model_layers > 0;
}

bool result_has_end_of_model(const struct result *result)
{
    return result->metrics && result->metrics[STORE_END_OF_MODEL] > 0;
}

int result_model_layers(const struct result *result)
{
    return result->n_model_layers;
}

// ---- reading ----

// Where elements lie: [sample, layer, component].
struct block {
    hsize_t start[3], count[3];
};

static enum status read_block(const struct result *result, int run, enum store_metric metric,
                              const struct block *block, void *rows, struct error *err)
{
    const hid_t data = result->metrics ? result->metrics[run * STORE_METRICS + (int)metric] : 0;
    const struct store_expected shape = store_metric_expected(metric, result->arch, result->samples, 1);
    const hsize_t layer = block->start[1];
    hsize_t start[STORE_RANKS] = {0}, count[STORE_RANKS];
    if (data <= 0 || (shape.rank > 1 && layer + block->count[1] > (hsize_t)result->n_model_layers))
        return error_set(err, STATUS_INPUT, "%s: %s of layer %d were not kept", result->file.path,
                         store_metric_name(metric), (int)layer);
    for (int d = 0; d < STORE_RANKS; d++) {
        start[d] = d < 3 ? block->start[d] : 0;
        count[d] = d < 3 ? block->count[d] : (hsize_t)shape.shape[d];
    }
    const hid_t file_space = H5Dget_space(data), memory_space = H5Screate_simple(shape.rank, count, NULL);
    if (H5Sselect_hyperslab(file_space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
        H5Dread(data, result->metric_types[metric], memory_space, file_space, H5P_DEFAULT, rows) < 0) {
        char reason[400];
        store_hdf5_reason(reason, sizeof reason);
        error_set(err, STATUS_IO, "%s: cannot read %s of layer %d: %s", result->file.path,
                  store_metric_name(metric), (int)layer, reason);
    }
    H5Sclose(memory_space);
    H5Sclose(file_space);
    return err->status;
}

// The elements of some samples at one layer and component.
static enum status read_rows(const struct result *result, int run, enum store_metric metric, int layer,
                             int component, struct sample_range range, void *rows, struct error *err)
{
    const struct block block = {{(hsize_t)range.first, (hsize_t)layer, (hsize_t)component},
                                {(hsize_t)range.count, 1, 1}};
    return read_block(result, run, metric, &block, rows, err);
}

enum status result_read_moments(struct result *result, int run, int layer, int component,
                                struct sample_range range, struct accumulator *rows, struct error *err)
{
    return read_rows(result, run, STORE_MOMENTS, layer, component, range, rows, err);
}

enum status result_read_sample_moments(struct result *result, int run, int sample, struct accumulator *rows,
                                       struct error *err)
{
    const struct block block = {{(hsize_t)sample, 0, 0},
                                {1, (hsize_t)result->n_model_layers, (hsize_t)result->arch->n_components}};
    return read_block(result, run, STORE_MOMENTS, &block, rows, err);
}

enum status result_read_end_of_model(struct result *result, int run, struct sample_range range,
                                     struct end_of_model *rows, struct error *err)
{
    return read_rows(result, run, STORE_END_OF_MODEL, 0, 0, range, rows, err);
}

enum status result_read_moments_apart(struct result *result, int run, int layer, int component,
                                      struct sample_range range, struct accumulator *rows, struct error *err)
{
    return read_rows(result, run, STORE_APART, layer, component, range, rows, err);
}

enum status result_read_end_apart(struct result *result, int run, struct sample_range range,
                                  struct end_of_model *rows, struct error *err)
{
    return read_rows(result, run, STORE_END_APART, 0, 0, range, rows, err);
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
    else if (read_rows(result, run, STORE_HISTOGRAM, layer, component, range, histogram, err) == STATUS_OK &&
             read_rows(result, run, STORE_POSITION, layer, component, range, position, err) == STATUS_OK)
        for (size_t s = 0; s < samples; s++)
            fill_profile(&rows[s], histogram + s * PROFILE_BINS, position + s * positions,
                         result->length[(size_t)range.first + s], result->width[component]);
    free(histogram);
    free(position);
    return err->status;
}
