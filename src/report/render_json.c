// SPDX-License-Identifier: Apache-2.0
// The JSON files of a comparison: of a mode, of its statistics, of all modes, of the scales.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "render_parts.h"
#include "ssmsweep/report/render.h"

// ---- parts that several files share ----

void render_json_cell(struct json_writer *w, const struct cell *cell)
{
    if (cell && cell->calib_data_num > 0)
        json_put_integer(w, "calib_data_num", cell->calib_data_num);
    else
        json_put_null(w, "calib_data_num");
    if (cell && cell->order > 0) json_put_integer(w, "order", cell->order);
}

static void put_ranges(struct json_writer *w, const char *key, const struct report_ranges *ranges)
{
    json_begin_array(w, key);
    for (int i = 0; i < ranges->count; i++)
        json_put_string(w, NULL, ranges->items[i]);
    json_end_array(w);
}

static void put_absent(struct json_writer *w, const struct report_ranges *missing,
                       const struct report_ranges *failed)
{
    put_ranges(w, "missing_samples", missing);
    put_ranges(w, "failed_samples", failed);
}

void render_json_coverage(struct json_writer *w, const struct report *report)
{
    json_put_bool(w, "complete", report->complete);
    if (report->complete) return;
    json_begin_array(w, "incomplete_runs");
    for (int i = 0; i < report->n_incomplete; i++) {
        const struct report_incomplete *run = &report->incomplete[i];
        json_begin_object(w, NULL);
        json_put_string(w, "mode", run->mode);
        if (run->noise) json_put_integer(w, "noise", run->noise);
        render_json_cell(w, &run->cell);
        json_put_integer(w, "samples_done", run->samples_done);
        put_absent(w, &run->missing, &run->failed);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_run_coverage(struct json_writer *w, const struct report_run *run)
{
    json_put_bool(w, "complete", run->complete);
    if (run->complete) return;
    json_put_integer(w, "samples_compared", run->samples_compared);
    put_absent(w, &run->missing, &run->failed);
}

static void put_fact(struct json_writer *w, const struct report_fact *fact)
{
    if (fact->is_number)
        json_put_double(w, fact->key, fact->number);
    else
        json_put_string(w, fact->key, fact->text);
}

// The text on which the modes were compared.
static void put_evaluation(struct json_writer *w, const struct report *report)
{
    json_begin_object(w, "evaluation");
    for (int i = 0; i < report->n_evaluation; i++)
        put_fact(w, &report->evaluation[i]);
    json_end_object(w);
}

void render_json_provenance(struct json_writer *w, const struct report *report, const struct report_run *run)
{
    json_begin_object(w, "provenance");
    for (int i = 0; i < report->n_attributes; i++)
        put_fact(w, &report->provenance[i]);
    if (run) render_json_cell(w, &run->cell);
    for (int i = report->n_attributes; i < report->n_provenance; i++)
        put_fact(w, &report->provenance[i]);
    json_put_integer(w, "num_samples", report->samples);
    json_put_integer(w, "tokens", report->tokens);
    put_evaluation(w, report);
    json_end_object(w);
}

static void put_reference_weights(struct json_writer *w, const struct report *report)
{
    json_put_string(w, "reference_weights", report_fact(report, "reference_weights")->text);
}

// ---- layers ----

// What is said of one (layer, component), into the object that is open.
typedef void (*put_row)(struct json_writer *w, const struct report *report, const struct report_table *table,
                        const struct report_row *row);

static double value_of(const struct report_table *table, const struct report_row *row, const char *key)
{
    return row->cells[report_column(table, key)].value;
}

static void put_count(struct json_writer *w, const char *key, const struct report_table *table,
                      const struct report_row *row, const char *column)
{
    const double count = value_of(table, row, column);
    if (count > 0) json_put_integer(w, key, (long long)count);
}

static void put_grades(struct json_writer *w, const struct report *report, const struct report_table *table,
                       const struct report_row *row)
{
    json_begin_object(w, "grades");
    for (int i = 0; i < report->graded.count; i++) {
        const int c = report->graded.columns[i];
        json_put_string(w, table->columns[c].key, grade_name((enum grade)row->cells[c].grade));
    }
    json_put_string(w, "worst", row->cells[report_column(table, "worst_grade")].text);
    json_end_object(w);
}

static void put_record(struct json_writer *w, const struct report *report, const struct report_table *table,
                       const struct report_row *row)
{
    json_put_integer(w, "elements", (long long)value_of(table, row, "elements"));
    put_count(w, "fp_nonfinite", table, row, "fp_nonfinite");
    put_count(w, "mode_nonfinite", table, row, "mode_nonfinite");
    for (int m = 0; m < report->n_metrics; m++)
        if (!(row->cells[m].marks & REPORT_ABSENT))
            json_put_double(w, table->columns[m].key, row->cells[m].value);
    put_grades(w, report, table, row);
}

static void put_stats(struct json_writer *w, const struct report *report, const struct report_table *table,
                      const struct report_row *row)
{
    static const char *const shown[][2] = {{"mean", "mode_mean"},
                                           {"std", "mode_std"},
                                           {"min", "mode_min"},
                                           {"max", "mode_max"},
                                           {"abs_mean", "mode_abs_mean"}};
    if (report->has_outputs) { // of what is stored
        json_begin_array(w, "shape");
        json_put_integer(w, NULL, report->samples);
        json_put_integer(w, NULL, report->most_tokens);
        json_put_integer(w, NULL, (long long)value_of(table, row, "width"));
        json_end_array(w);
        json_put_string(w, "dtype", "float32");
    }
    json_put_integer(w, "elements", (long long)value_of(table, row, "elements")); // without padding
    put_count(w, "nonfinite", table, row, "mode_nonfinite");
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++)
        json_put_double(w, shown[i][0], value_of(table, row, shown[i][1]));
}

// Rows first..last - 1 are of one layer.
static void put_layer(struct json_writer *w, const struct report *report, const struct report_table *table,
                      int first, int last, put_row put)
{
    int main = first;
    char name[32];
    for (int r = first; r < last; r++)
        if (table->rows[r].main) main = r;
    snprintf(name, sizeof name, "layer_%d", table->rows[first].layer);
    json_begin_object(w, name);
    json_put_string(w, "component", table->rows[main].component);
    struct report_row row = report_row(table, main);
    put(w, report, table, &row);
    if (last - first > 1) json_begin_object(w, "components");
    for (int r = first; r < last; r++) {
        if (r == main) continue;
        row = report_row(table, r);
        json_begin_object(w, row.component);
        put(w, report, table, &row);
        json_end_object(w);
    }
    if (last - first > 1) json_end_object(w);
    json_end_object(w);
}

static void put_layers(struct json_writer *w, const struct report *report, const struct report_table *table,
                       put_row put)
{
    json_begin_object(w, "layers");
    for (int first = 0, last; first < table->n_rows; first = last) {
        last = first + 1;
        while (last < table->n_rows && table->rows[last].layer == table->rows[first].layer)
            last++;
        put_layer(w, report, table, first, last, put);
    }
    json_end_object(w);
}

// ---- the summary ----

static const struct report_row *summary_of(const struct report *report, const struct report_run *run)
{
    const struct report_table *summary = report->sections[REPORT_SUMMARY].tables;
    for (int r = 0; r < summary->n_rows; r++)
        if (summary->rows[r].run == run) return &summary->rows[r];
    return NULL;
}

static void put_averages(struct json_writer *w, const struct report *report, const struct report_row *row)
{
    const struct report_table *summary = report->sections[REPORT_SUMMARY].tables;
    for (int c = 0; c < summary->n_columns; c++)
        if (strncmp(summary->columns[c].key, "avg_", 4) == 0)
            json_put_double(w, summary->columns[c].key, row->cells[c].value);
}

static void put_worst(struct json_writer *w, const struct report *report, const struct report_row *row)
{
    const struct report_table *summary = report->sections[REPORT_SUMMARY].tables;
    json_put_string(w, "worst_grade", row->cells[report_column(summary, "worst_grade")].text);
}

// The columns whose keys begin with KEY and a point.
static void put_summary_layer(struct json_writer *w, const struct report *report,
                              const struct report_row *row, const char *key)
{
    const struct report_table *summary = report->sections[REPORT_SUMMARY].tables;
    const size_t length = strlen(key);
    json_begin_object(w, key);
    for (int c = 0; c < summary->n_columns; c++) {
        const char *name = summary->columns[c].key;
        if (strncmp(name, key, length) != 0 || name[length] != '.') continue;
        if (row->cells[c].text)
            json_put_string(w, name + length + 1, row->cells[c].text);
        else
            json_put_double(w, name + length + 1, row->cells[c].value);
    }
    json_end_object(w);
}

static void put_summary_run(struct json_writer *w, const struct report *report, const struct report_row *row)
{
    const struct report_table *summary = report->sections[REPORT_SUMMARY].tables;
    json_begin_object(w, NULL);
    json_put_string(w, "mode", row->run->mode);
    render_json_cell(w, &row->run->cell);
    json_put_bool(w, "is_reference", row->run->is_reference);
    json_put_integer(w, "layers", (long long)value_of(summary, row, "layers"));
    put_averages(w, report, row);
    put_worst(w, report, row);
    put_summary_layer(w, report, row, "first_layer");
    put_summary_layer(w, report, row, "last_layer");
    json_end_object(w);
}

// ---- the files ----

static void put_comparison(struct json_writer *w, const struct report *report,
                           const struct report_table *table)
{
    const struct report_row *summary = summary_of(report, table->run);
    json_begin_object(w, NULL);
    json_put_string(w, "timestamp", report->timestamp);
    json_put_string(w, "reference_mode", report->reference);
    put_reference_weights(w, report);
    json_put_string(w, "compared_mode", table->run->mode);
    json_put_string(w, "output_dir", report->output_dir);
    put_run_coverage(w, table->run);
    render_json_provenance(w, report, table->run);
    put_layers(w, report, table, put_record);
    json_begin_object(w, "summary");
    put_averages(w, report, summary);
    put_worst(w, report, summary);
    json_end_object(w);
    json_end_object(w);
}

enum status render_json_comparison(FILE *out, const struct report *report, const struct report_table *table,
                                   struct error *err)
{
    struct json_writer *w = json_writer_open_file(out);
    if (!w) return error_memory(err, 1, "a comparison");
    put_comparison(w, report, table);
    json_writer_end(w);
    return STATUS_OK;
}

enum status render_json(FILE *out, const struct report *report, struct error *err)
{
    const struct report_section *layers = &report->sections[REPORT_LAYERS];
    struct json_writer *w = json_writer_open_file(out);
    if (!w) return error_memory(err, 1, "the comparisons");
    json_begin_object(w, NULL);
    json_put_string(w, "reference_mode", report->reference);
    json_begin_array(w, "comparisons");
    for (int t = 0; t < layers->n_tables; t++)
        if (!layers->tables[t].run->is_reference) put_comparison(w, report, &layers->tables[t]);
    json_end_array(w);
    json_end_object(w);
    json_writer_end(w);
    return STATUS_OK;
}

enum status render_json_stats(FILE *out, const struct report *report, const struct report_table *table,
                              struct error *err)
{
    struct json_writer *w = json_writer_open_file(out);
    if (!w) return error_memory(err, 1, "the statistics of a mode");
    const char *dtype = report_fact(report, "model_dtype")->text;
    json_begin_object(w, NULL);
    json_put_string(w, "timestamp", report->timestamp);
    json_put_string(w, "mode", table->run->mode);
    render_json_cell(w, &table->run->cell);
    put_run_coverage(w, table->run);
    json_put_integer(w, "num_samples", report->samples);
    json_put_integer(w, "seq_length", report->most_tokens);
    json_put_integer(w, "tokens", report->tokens);
    put_evaluation(w, report);
    json_put_string(w, "model_dtype", dtype ? dtype : "");
    put_reference_weights(w, report);
    put_layers(w, report, table, put_stats);
    json_end_object(w);
    json_writer_end(w);
    return STATUS_OK;
}

enum status render_json_summary(FILE *out, const struct report *report, const struct report_table *table,
                                struct error *err)
{
    struct json_writer *w = json_writer_open_file(out);
    if (!w) return error_memory(err, 1, "the summary");
    json_begin_object(w, NULL);
    json_put_string(w, "timestamp", report->timestamp);
    json_put_string(w, "reference_mode", report->reference);
    put_reference_weights(w, report);
    json_put_string(w, "output_dir", report->output_dir);
    render_json_coverage(w, report);
    render_json_provenance(w, report, NULL);
    json_begin_array(w, "modes");
    for (int r = 0; table && r < table->n_rows; r++)
        put_summary_run(w, report, &table->rows[r]);
    json_end_array(w);
    json_end_object(w);
    json_writer_end(w);
    return STATUS_OK;
}

// ---- the scales ----

static void put_extents(struct json_writer *w, const char *key, const struct report_scales *scales,
                        const struct report_extent *extents)
{
    json_begin_object(w, key);
    for (int s = 0; s < scales->n_sites; s++) {
        json_begin_object(w, scales->sites[s].name);
        json_put_double(w, "min", extents[s].min);
        json_put_double(w, "median", extents[s].median);
        json_put_double(w, "max", extents[s].max);
        json_end_object(w);
    }
    json_end_object(w);
}

static void put_observers(struct json_writer *w, const struct report_scales *scales)
{
    json_begin_object(w, "observers");
    for (int s = 0; s < scales->n_sites; s++)
        json_put_string(w, scales->sites[s].name, scales->sites[s].observer);
    json_end_object(w);
    json_put_double(w, "percentile_alpha", scales->percentile_alpha);
}

enum status render_json_scales(FILE *out, const struct report_scales *scales, struct error *err)
{
    struct json_writer *w = json_writer_open_file(out);
    if (!w) return error_memory(err, 1, "the scales");
    json_begin_object(w, NULL);
    json_put_string(w, "calibration_ids_sha256", scales->calibration_ids);
    if (scales->sites[0].observer) put_observers(w, scales);
    json_put_integer(w, "n_layer", scales->n_layer);
    json_put_integer(w, "orders", scales->orders);
    json_put_integer(w, "reference_calib_data_num", scales->most);
    json_begin_array(w, "cells");
    for (int c = 0; c < scales->n_cells; c++) {
        const struct report_cell_scales *cell = &scales->cells[c];
        json_begin_object(w, NULL);
        json_put_integer(w, "calib_data_num", cell->cell.calib_data_num);
        json_put_integer(w, "order", cell->cell.order);
        put_extents(w, "ratio", scales, cell->ratio);
        if (cell->spread) put_extents(w, "spread_over_orders", scales, cell->spread);
        json_end_object(w);
    }
    json_end_array(w);
    json_end_object(w);
    json_writer_end(w);
    return STATUS_OK;
}
