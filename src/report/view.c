// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

bool view_next_run(const struct comparison *comparison, struct run_view *run)
{
    const struct comparison_entry *end = comparison->entries + comparison->count;
    const struct comparison_entry *next = run->entries ? run->entries + run->count : comparison->entries;
    if (next == end) return false;
    *run = (struct run_view){.entries = next, .run = next->run};
    while (next + run->count < end && next[run->count].run == run->run)
        run->count++;
    return true;
}

bool view_next_layer(const struct run_view *run, struct layer_view *layer)
{
    const struct comparison_entry *end = run->entries + run->count;
    const struct comparison_entry *next = layer->entries ? layer->entries + layer->count : run->entries;
    if (next == end) return false;
    *layer = (struct layer_view){.entries = next, .layer = next->layer, .main = next};
    for (; next < end && next->layer == layer->layer; next++) {
        layer->count++;
        if (next->is_output) layer->main = next;
    }
    return true;
}

void view_add_layer(struct layer_average *average, const struct record *record, double value)
{
    if (record->fp_nonfinite + record->mode_nonfinite > 0) average->spoiled = true;
    if (isnan(value)) return;
    average->sum += value;
    average->layers++;
}

double view_average(const struct layer_average *average)
{
    return average->spoiled || average->layers == 0 ? (double)NAN : average->sum / average->layers;
}

struct run_summary view_summarize(const struct run_view *run)
{
    struct run_summary s = {.worst = GRADE_EXCELLENT};
    struct layer_average averages[METRICS] = {0};
    for (struct layer_view layer = {0}; view_next_layer(run, &layer); s.layers++) {
        const struct record *r = &layer.main->record;
        if (s.layers == 0) s.first = layer;
        s.last = layer;
        for (int m = 0; m < METRICS; m++)
            view_add_layer(&averages[m], r, r->value[m]);
        if (record_worst_grade(r) > s.worst) s.worst = record_worst_grade(r);
    }
    for (int m = 0; m < METRICS; m++)
        s.average[m] = view_average(&averages[m]);
    return s;
}

const char *view_reference_name(const struct comparison *comparison, const struct result *result)
{
    return result_run_at(result, comparison->reference_run)->mode;
}

bool view_is_reference(const struct comparison *comparison, const struct result *result, int run)
{
    return strcmp(result_run_at(result, run)->mode, view_reference_name(comparison, result)) == 0;
}

void view_reference_weights(const char *weights, char text[VIEW_WEIGHTS_CHARS])
{
    text[0] = '\0';
    if (strncmp(weights, "dequantized-int", 15) == 0)
        snprintf(text, VIEW_WEIGHTS_CHARS, " (dequantized INT%.1s weights)", weights + 15);
    else if (weights[0] && strcmp(weights, "model") != 0)
        snprintf(text, VIEW_WEIGHTS_CHARS, " (float model %.8s)", weights);
}

const char *view_cell_text(const struct result_run *run, char text[VIEW_CELL_CHARS])
{
    if (run->cell.calib_data_num == 0)
        snprintf(text, VIEW_CELL_CHARS, CELL_FLOAT);
    else if (run->cell.order == 0)
        snprintf(text, VIEW_CELL_CHARS, "n=%d", run->cell.calib_data_num);
    else
        snprintf(text, VIEW_CELL_CHARS, "n=%d order %d", run->cell.calib_data_num, run->cell.order);
    return text;
}

void view_put_cell(struct json_writer *writer, const struct result_run *run)
{
    if (run->cell.calib_data_num > 0)
        json_put_integer(writer, "calib_data_num", run->cell.calib_data_num);
    else
        json_put_null(writer, "calib_data_num");
    if (run->cell.order > 0) json_put_integer(writer, "order", run->cell.order);
}

void view_put_progress(struct json_writer *writer, const struct result_run *run)
{
    json_put_string(writer, "mode", run->mode);
    if (run->dither) json_put_integer(writer, "noise", run->dither);
    view_put_cell(writer, run);
    json_put_integer(writer, "samples_done", run->done);
}

// Runs stand in the order of their cells, float ones first.
int view_cells(const struct result *result)
{
    struct cell last = {0};
    int cells = 0;
    for (int r = 0; r < result_runs(result); r++) {
        const struct cell cell = result_run_at(result, r)->cell;
        cells += cell_compare(cell, last) != 0;
        last = cell;
    }
    return cells;
}

long long view_tokens(const struct result *result)
{
    long long tokens = 0;
    for (int s = 0; s < result_samples(result); s++)
        tokens += result_length(result, s);
    return tokens;
}
