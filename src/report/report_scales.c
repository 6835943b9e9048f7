// SPDX-License-Identifier: Apache-2.0
// How the scales of the cells differ: with the number of calibration samples, and with their order.
#include <stdlib.h>
#include <string.h>

#include "report_parts.h"
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

// ---- numbers, over the layers ----

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct report_extent range_of(const struct scales *scales)
{
    const int n = scales->n_layer;
    double *v = scales->layers;
    qsort(v, (size_t)n, sizeof *v, compare_doubles);
    return (struct report_extent){v[0], (v[(n - 1) / 2] + v[n / 2]) / 2, v[n - 1]};
}

static double scale_at(const struct scales *scales, int cell, int layer, int site)
{
    return (double)scales->of_cell[cell][(size_t)layer * (size_t)scales->arch->n_sites + (size_t)site];
}

// The ratio of a scale to that of the most samples.
static struct report_extent ratio_of(const struct scales *scales, int cell, int site)
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
static struct report_extent spread_of(const struct scales *scales, int first, int site)
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

// ---- the series ----

typedef struct report_extent (*measure)(const struct scales *scales, int cell, int site);

static struct report_extent *measure_sites(struct builder *b, const struct scales *scales, int cell,
                                           measure measured)
{
    const int sites = scales->arch->n_sites;
    struct report_extent *extents = builder_take(b, (size_t)sites, sizeof *extents);
    for (int s = 0; extents && s < sites; s++)
        extents[s] = measured(scales, cell, s);
    return extents;
}

// As the job says it; of an unknown kind nothing.
static void name_observers(struct builder *b, struct report_scales *into)
{
    const struct result *result = b->from->result;
    const char *text = result_attribute(result, "job");
    const struct arch *arch = result_arch(result);
    struct observers observers = {.percentile_alpha = 0};
    struct error ignored = {0};
    struct json *job = NULL;
    if (json_parse(&job, text, strlen(text), "job", &ignored)) goto close_job;
    observers.grouped = json_string(json_get(job, "group_heads")) != NULL; // it is there where it is on
    if (observers_parse(&observers, arch, json_string(json_get(job, "observer")), &ignored)) goto close_job;
    for (int s = 0; s < arch->n_sites; s++)
        into->sites[s].observer = observer_name(observers.of_site[s]);
    into->percentile_alpha = json_number(json_get(job, "percentile_alpha"));
close_job:
    json_close(job);
}

static void fill_scales(struct builder *b, const struct scales *scales)
{
    const struct arch *arch = scales->arch;
    struct report_scales *into = builder_take(b, 1, sizeof *into);
    if (!into) return;
    *into =
        (struct report_scales){.calibration_ids = result_attribute(b->from->result, "calibration_ids_sha256"),
                               .n_layer = scales->n_layer,
                               .n_sites = arch->n_sites,
                               .orders = orders_of(scales, scales->reference),
                               .most = scales->cells[scales->reference].calib_data_num,
                               .sites = builder_take(b, (size_t)arch->n_sites, sizeof *into->sites),
                               .cells = builder_take(b, (size_t)scales->count, sizeof *into->cells)};
    if (!into->sites || !into->cells) return;
    into->title = builder_text(b, "Scales as parts of those of %d calibration sample%s, over %d layers",
                               into->most, into->most == 1 ? "" : "s", into->n_layer);
    if (into->orders > 1)
        into->note = builder_text(b,
                                  "orders: largest minus smallest scale of %d orders of the samples, at the "
                                  "layer where it is most.",
                                  into->orders);
    for (int s = 0; s < arch->n_sites; s++)
        into->sites[s] = (struct report_site){
            arch->sites[s].name, {arch->sites[s].heading[0], arch->sites[s].heading[1]}, NULL};
    name_observers(b, into);
    for (int c = 0; c < scales->count; c++) {
        struct report_cell_scales *cell = &into->cells[into->n_cells++];
        cell->cell = scales->cells[c];
        cell->first = c == 0 || scales->cells[c - 1].calib_data_num != cell->cell.calib_data_num;
        cell->ratio = measure_sites(b, scales, c, ratio_of);
        if (cell->first && orders_of(scales, c) > 1) cell->spread = measure_sites(b, scales, c, spread_of);
    }
    b->report->scales = into;
}

void build_scales(struct builder *b)
{
    struct scales scales;
    if (scales_open(&scales, b->from->result, b->err)) fill_scales(b, &scales);
    scales_clear(&scales);
}
