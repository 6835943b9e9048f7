// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/scales.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/calibrate/observer.h"
#include "ssmsweep/report/view.h"

// The cells of a file in their order: by number of samples, then by order.
struct scales {
    struct cell *cells;
    const struct arch *arch;
    float **of_cell; // [n_layer][n_sites], each
    int count, n_layer;
    int reference;  // the most samples, in the order of the text
    double *layers; // [n_layer], scratch
};

static void scales_clear(struct scales *scales)
{
    for (int c = 0; c < scales->count; c++)
        free(scales->of_cell[c]);
    free(scales->of_cell);
    free(scales->cells);
    free(scales->layers);
}

static enum status read_cell(struct scales *scales, struct result *result, struct cell cell,
                             struct error *err)
{
    int n_layer = 0;
    float *values = NULL;
    if (scales->count > 0 && cell_compare(scales->cells[scales->count - 1], cell) == 0) return STATUS_OK;
    if (result_read_scales(result, cell, &values, &n_layer, err)) return err->status;
    scales->cells[scales->count] = cell;
    scales->of_cell[scales->count++] = values;
    if (scales->count > 1 && n_layer != scales->n_layer)
        return error_set(err, STATUS_INPUT,
                         "result file: cells have scales of %d and of %d layers; the file is torn or was not "
                         "written by ssmsweep",
                         scales->n_layer, n_layer);
    scales->n_layer = n_layer;
    if (cell.order == 0) scales->reference = scales->count - 1;
    return STATUS_OK;
}

// False where there is nothing to tell.  scales_clear() in any case.
static bool scales_open(struct scales *scales, struct result *result, struct error *err)
{
    const size_t runs = (size_t)result_runs(result);
    *scales = (struct scales){.arch = result_arch(result)};
    if (strcmp(result_attribute(result, "scales_source"), "calibration") != 0) return false;
    scales->cells = calloc(runs + 1, sizeof *scales->cells);
    scales->of_cell = calloc(runs + 1, sizeof *scales->of_cell);
    if (!scales->cells || !scales->of_cell) error_memory(err, runs * sizeof *scales->cells, "the scales");
    for (int r = 0; r < (int)runs && !err->status; r++)
        if (result_run_at(result, r)->cell.calib_data_num > 0)
            read_cell(scales, result, result_run_at(result, r)->cell, err);
    if (err->status || scales->count == 0) return false;
    scales->layers = calloc((size_t)scales->n_layer, sizeof *scales->layers);
    if (!scales->layers) error_memory(err, (size_t)scales->n_layer * sizeof *scales->layers, "the scales");
    return !err->status && scales->count > 1 &&
           scales->of_cell[scales->reference][0] > 0; // they are written all at once
}

// ---- numbers ----

// Over the layers.
struct range {
    double min, median, max;
};

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct range range_of(const struct scales *scales)
{
    const int n = scales->n_layer;
    double *v = scales->layers;
    qsort(v, (size_t)n, sizeof *v, compare_doubles);
    return (struct range){v[0], (v[(n - 1) / 2] + v[n / 2]) / 2, v[n - 1]};
}

static double scale_at(const struct scales *scales, int cell, int layer, int site)
{
    return (double)scales->of_cell[cell][(size_t)layer * (size_t)scales->arch->n_sites + (size_t)site];
}

// Of a scale to that of the most samples.
static struct range ratio_of(const struct scales *scales, int cell, int site)
{
    for (int l = 0; l < scales->n_layer; l++)
        scales->layers[l] = scale_at(scales, cell, l, site) / scale_at(scales, scales->reference, l, site);
    return range_of(scales);
}

static int orders_of(const struct scales *scales, int first)
{
    int orders = 1;
    while (first + orders < scales->count &&
           scales->cells[first + orders].calib_data_num == scales->cells[first].calib_data_num)
        orders++;
    return orders;
}

// Largest minus smallest scale over the orders, in parts of that of the first order.
static struct range spread_of(const struct scales *scales, int first, int site)
{
    const int orders = orders_of(scales, first);
    for (int l = 0; l < scales->n_layer; l++) {
        const double own = scale_at(scales, first, l, site);
        double least = own, most = own;
        for (int c = first + 1; c < first + orders; c++) {
            const double other = scale_at(scales, c, l, site);
            if (other < least) least = other;
            if (other > most) most = other;
        }
        scales->layers[l] = (most - least) / own;
    }
    return range_of(scales);
}

// ---- JSON ----

typedef struct range (*measure)(const struct scales *scales, int cell, int site);

static void put_sites(struct json_writer *w, const char *key, const struct scales *scales, int cell,
                      measure measured)
{
    json_begin_object(w, key);
    for (int s = 0; s < scales->arch->n_sites; s++) {
        const struct range range = measured(scales, cell, s);
        json_begin_object(w, scales->arch->sites[s].name);
        json_put_double(w, "min", range.min);
        json_put_double(w, "median", range.median);
        json_put_double(w, "max", range.max);
        json_end_object(w);
    }
    json_end_object(w);
}

static void put_cells(struct json_writer *w, const struct scales *scales)
{
    json_begin_array(w, "cells");
    for (int c = 0; c < scales->count; c++) {
        json_begin_object(w, NULL);
        json_put_integer(w, "calib_data_num", scales->cells[c].calib_data_num);
        json_put_integer(w, "order", scales->cells[c].order);
        put_sites(w, "ratio", scales, c, ratio_of);
        if (scales->cells[c].order == 0 && orders_of(scales, c) > 1)
            put_sites(w, "spread_over_orders", scales, c, spread_of);
        json_end_object(w);
    }
    json_end_array(w);
}

// As the job says it; of an unknown kind nothing.
static void put_observers(struct json_writer *w, const struct result *result)
{
    const char *text = result_attribute(result, "job");
    const struct arch *arch = result_arch(result);
    struct observers observers = {.percentile_alpha = 0};
    struct error ignored = {0};
    struct json *job = NULL;
    if (json_parse(&job, text, strlen(text), "job", &ignored) ||
        observers_parse(&observers, arch, json_string(json_get(job, "observer")), &ignored))
        goto close_job;
    json_begin_object(w, "observers");
    for (int s = 0; s < arch->n_sites; s++)
        json_put_string(w, arch->sites[s].name, observer_name(observers.of_site[s]));
    json_end_object(w);
    json_put_double(w, "percentile_alpha", json_number(json_get(job, "percentile_alpha")));
close_job:
    json_close(job);
}

static char *as_json(const struct scales *scales, const struct result *result)
{
    struct json_writer *w = json_writer_open();
    if (!w) return NULL;
    json_begin_object(w, NULL);
    json_put_string(w, "calibration_ids_sha256", result_attribute(result, "calibration_ids_sha256"));
    put_observers(w, result);
    json_put_integer(w, "n_layer", scales->n_layer);
    json_put_integer(w, "orders", orders_of(scales, scales->reference));
    json_put_integer(w, "reference_calib_data_num", scales->cells[scales->reference].calib_data_num);
    put_cells(w, scales);
    json_end_object(w);
    return json_writer_finish(w);
}

enum status scales_write(struct result *result, const char *directory, struct error *err)
{
    struct scales scales;
    if (scales_open(&scales, result, err)) {
        char *text = as_json(&scales, result), *path = file_join(directory, "calibration.json");
        if (text && path)
            file_replace(path, text, strlen(text), err);
        else
            error_memory(err, 1u << 16, "calibration.json");
        free(path);
        free(text);
    }
    scales_clear(&scales);
    return err->status;
}

// ---- the table ----

enum { COLUMN = 10, LABEL = 15 };

static void rule(FILE *out, const struct scales *scales)
{
    for (int i = 0; i < LABEL + scales->arch->n_sites * COLUMN; i++)
        fputc('-', out);
    fputc('\n', out);
}

static void print_sites(FILE *out, const struct scales *scales)
{
    for (int line = 0; line < 2; line++) {
        fprintf(out, "%-*s", LABEL, line ? "samples" : "");
        for (int s = 0; s < scales->arch->n_sites; s++)
            fprintf(out, "%*s", COLUMN, scales->arch->sites[s].heading[line]);
        fputc('\n', out);
    }
}

static void print_cell(FILE *out, const struct scales *scales, int cell)
{
    static const char *const names[] = {"min", "median", "max"};
    for (int line = 0; line < 3; line++) {
        char samples[16] = "";
        if (line == 0) snprintf(samples, sizeof samples, "%d", scales->cells[cell].calib_data_num);
        fprintf(out, "%-8s%-*s", samples, LABEL - 8, names[line]);
        for (int s = 0; s < scales->arch->n_sites; s++) {
            const struct range range = ratio_of(scales, cell, s);
            fprintf(out, "%*.4f", COLUMN, line == 0 ? range.min : line == 1 ? range.median : range.max);
        }
        fputc('\n', out);
    }
    if (orders_of(scales, cell) == 1) return;
    fprintf(out, "%-8s%-*s", "", LABEL - 8, "orders");
    for (int s = 0; s < scales->arch->n_sites; s++)
        fprintf(out, "%*.2f %%", COLUMN - 2, 100 * spread_of(scales, cell, s).max);
    fputc('\n', out);
}

static void print_all(FILE *out, const struct scales *scales)
{
    const int most = scales->cells[scales->reference].calib_data_num;
    const int orders = orders_of(scales, scales->reference);
    fprintf(out, "\nScales as parts of those of %d calibration sample%s, over %d layers\n", most,
            most == 1 ? "" : "s", scales->n_layer);
    rule(out, scales);
    print_sites(out, scales);
    rule(out, scales);
    for (int c = 0; c < scales->count; c += orders_of(scales, c))
        print_cell(out, scales, c);
    rule(out, scales);
    if (orders > 1)
        fprintf(out,
                "orders: largest minus smallest scale of %d orders of the samples, at the layer where it is "
                "most.\n",
                orders);
}

enum status scales_print(FILE *out, struct result *result, struct error *err)
{
    struct scales scales;
    if (scales_open(&scales, result, err)) print_all(out, &scales);
    scales_clear(&scales);
    return err->status;
}
