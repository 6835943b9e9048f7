// SPDX-License-Identifier: Apache-2.0
// The JSON files of a comparison: of a mode, of its statistics, of all modes, of the scales.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "render_parts.h"
#include "ssmsweep/base/number.h"
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

// ---- render json sweep ----

// sweep.json: docs/schema/sweep.schema.json.

enum { SWEEP_SCHEMA_VERSION = 1 };

// Predictions are of no layer.
static void put_unit(struct json_writer *w, int layer, const char *component)
{
    if (layer == REPORT_NO_LAYER) return;
    json_put_integer(w, "layer", layer);
    json_put_string(w, "component", component);
}

// ---- values ----

static void put_estimate(struct json_writer *w, const char *metric, const struct report_cell *cell)
{
    json_begin_object(w, metric);
    json_put_double(w, "value", cell->value);
    json_put_double(w, "low", cell->low);
    json_put_double(w, "high", cell->high);
    json_put_string(w, "interval", interval_state_name(cell->state));
    if (cell->marks & REPORT_RERUN) json_put_double(w, "noise", cell->noise);
    if (cell->marks & REPORT_KNOWS_APART) {
        json_put_double(w, "apart", cell->apart);
        json_put_bool(w, "within_apart", cell->marks & REPORT_APART);
    }
    if (cell->marks & REPORT_KNOWS_NOISE) json_put_bool(w, "within_noise", cell->marks & REPORT_NOISE);
    json_end_object(w);
}

static void put_percentiles(struct json_writer *w, const char *key,
                            const struct report_statistics *statistics, const struct report_entry *entry)
{
    json_begin_object(w, key);
    for (int p = 0; p < statistics->n_percentiles; p++) {
        char name[NUMBER_ROOM + 1], digits[NUMBER_ROOM];
        snprintf(name, sizeof name, "p%s", number_text(statistics->percentiles[p], 6, digits));
        json_begin_object(w, name);
        json_put_double(w, "low", entry->percentiles[p][0]);
        json_put_double(w, "high", entry->percentiles[p][1]);
        json_end_object(w);
    }
    json_end_object(w);
}

static void put_positions(struct json_writer *w, const struct report_entry *entry)
{
    json_begin_array(w, "positions");
    for (int p = 0; p < entry->n_positions; p++) {
        const struct report_position *position = &entry->positions[p];
        json_begin_object(w, NULL);
        json_put_integer(w, "first_token", position->first_token);
        if (position->last_token >= 0)
            json_put_integer(w, "last_token", position->last_token);
        else
            json_put_null(w, "last_token");
        json_put_integer(w, "elements", (long long)position->elements);
        json_put_double(w, "mse", position->mse);
        json_put_double(w, "mae", position->mae);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_entry(struct json_writer *w, const struct report_statistics *statistics,
                      const struct report_entry *entry)
{
    const bool text = entry->layer == REPORT_NO_LAYER;
    json_begin_object(w, NULL);
    json_put_string(w, "mode", entry->run->mode);
    render_json_cell(w, &entry->run->cell);
    put_unit(w, entry->layer, entry->component);
    json_put_integer(w, text ? "predictions" : "elements", (long long)entry->elements);
    if (entry->fp_nonfinite > 0) json_put_integer(w, "fp_nonfinite", (long long)entry->fp_nonfinite);
    if (entry->mode_nonfinite > 0) json_put_integer(w, "mode_nonfinite", (long long)entry->mode_nonfinite);
    json_begin_object(w, "metrics");
    for (int k = 0; k < entry->n_metrics; k++)
        put_estimate(w, entry->metrics[k].key, &entry->cells[k]);
    json_end_object(w);
    if (text) json_put_double(w, "top1_correct", entry->top1_correct);
    json_put_double(w, text ? "kl_max" : "abs_diff_max", entry->largest);
    put_percentiles(w, text ? "kl_percentiles" : "abs_diff_percentiles", statistics, entry);
    if (!text) put_positions(w, entry);
    json_end_object(w);
}

static void put_entries(struct json_writer *w, const char *key, const struct report *report, bool text)
{
    struct report_entry entry;
    json_begin_array(w, key);
    for (int i = 0; i < report->statistics->n_entries; i++) {
        report_entry(report, i, &entry);
        if ((entry.layer == REPORT_NO_LAYER) == text) put_entry(w, report->statistics, &entry);
    }
    json_end_array(w);
}

// ---- who is better than whom ----

static void put_set(struct json_writer *w, const char *key, const struct report_ranking *ranking,
                    uint64_t set)
{
    json_begin_array(w, key);
    for (int i = 0; i < ranking->n_places; i++)
        if (set & UINT64_C(1) << i) json_put_string(w, NULL, ranking->places[i].run->mode);
    json_end_array(w);
}

static void put_place(struct json_writer *w, const struct report_ranking *ranking,
                      const struct report_place *place, bool knows_noise)
{
    json_begin_object(w, NULL);
    json_put_string(w, "mode", place->run->mode);
    json_put_integer(w, "best", place->best);
    json_put_integer(w, "worst", place->worst);
    put_set(w, "tied", ranking, place->tied);
    put_set(w, "equal", ranking, place->equal);
    if (knows_noise) put_set(w, "within_noise", ranking, place->noise);
    json_end_object(w);
}

static void put_pair(struct json_writer *w, const struct report_pair *pair, bool knows_noise)
{
    json_begin_object(w, NULL);
    json_put_string(w, "first", pair->first->mode);
    json_put_string(w, "second", pair->second->mode);
    json_put_double(w, "change", pair->change);
    json_put_double(w, "low", pair->low);
    json_put_double(w, "high", pair->high);
    json_put_string(w, "interval", interval_state_name(pair->state));
    json_put_double(w, "p", pair->p);
    json_put_double(w, "p_adjusted", pair->p_adjusted);
    json_put_string(w, "better", pair->better);
    if (knows_noise) json_put_bool(w, "is_noise", pair->is_noise);
    if (pair->is_tie) json_put_double(w, "samples_needed", pair->needed);
    json_end_object(w);
}

static void put_ranking(struct json_writer *w, const struct report_ranking *ranking, bool knows_noise)
{
    json_begin_object(w, NULL);
    render_json_cell(w, ranking->cell ? &ranking->cell->cell : NULL);
    put_unit(w, ranking->layer, ranking->component);
    json_put_string(w, "metric", ranking->metric);
    json_begin_array(w, "places");
    for (int i = 0; i < ranking->n_places; i++)
        put_place(w, ranking, &ranking->places[i], knows_noise);
    json_end_array(w);
    json_put_string(w, "change", ranking->change);
    json_begin_array(w, "pairs");
    for (int first = 0; first < ranking->n_places; first++)
        for (int second = first + 1; second < ranking->n_places; second++) {
            const struct report_pair pair = report_pair(ranking, first, second);
            put_pair(w, &pair, knows_noise);
        }
    json_end_array(w);
    json_end_object(w);
}

// ---- against calib_data_num, and over orders of the calibration samples ----

static void put_trend(struct json_writer *w, const struct report_trend *trend)
{
    json_begin_object(w, NULL);
    json_put_string(w, "mode", trend->points[0].run->mode);
    put_unit(w, trend->layer, trend->component);
    json_put_string(w, "metric", trend->metric);
    json_begin_array(w, "points");
    for (int i = 0; i < trend->n_points; i++) {
        const struct report_cell *cell = &trend->points[i].cell;
        json_begin_object(w, NULL);
        render_json_cell(w, &trend->points[i].run->cell);
        json_put_double(w, "value", cell->value);
        json_put_double(w, "low", cell->low);
        json_put_double(w, "high", cell->high);
        if (cell->marks & REPORT_KNOWS_NOISE) json_put_bool(w, "within_noise", cell->marks & REPORT_NOISE);
        json_end_object(w);
    }
    json_end_array(w);
    // Where even the last step helps, nobody knows where it ends.
    if (trend->settles >= 0)
        json_put_integer(w, "stops_improving_at", trend->points[trend->settles].run->cell.calib_data_num);
    else
        json_put_null(w, "stops_improving_at");
    json_put_bool(w, "still_improving", trend->still_improving);
    json_put_bool(w, "noise_known", trend->knows_noise);
    json_end_object(w);
}

static void put_order(struct json_writer *w, const struct report_order *order, bool knows_noise)
{
    json_begin_object(w, NULL);
    json_put_string(w, "mode", order->run->mode);
    json_put_integer(w, "calib_data_num", order->run->cell.calib_data_num);
    put_unit(w, order->layer, order->component);
    json_put_string(w, "metric", order->metric);
    json_put_integer(w, "orders", order->orders);
    json_put_double(w, "least", order->least);
    json_put_double(w, "most", order->most);
    if (knows_noise) json_put_bool(w, "within_noise", order->within_noise);
    json_end_object(w);
}

// ---- the whole ----

static void put_statistics(struct json_writer *w, const struct report_statistics *statistics)
{
    json_begin_object(w, "statistics");
    json_put_integer(w, "samples", statistics->samples);
    json_put_integer(w, "tokens", statistics->tokens);
    json_put_string(w, "method", "paired studentized bootstrap over samples");
    json_put_integer(w, "resamples", statistics->resamples);
    json_put_integer(w, "seed", (long long)statistics->seed);
    json_put_double(w, "confidence", BOOTSTRAP_LEVEL);
    json_put_string(w, "correction", "holm");
    json_put_integer(w, "noisy_reruns", statistics->noisy_reruns);
    json_end_object(w);
}

// Without recipes the key is not there.
static void put_recipes(struct json_writer *w, const struct report *report)
{
    if (report->n_recipes == 0) return;
    json_begin_object(w, "recipes");
    for (int i = 0; i < report->n_recipes; i++)
        put_fact(w, &report->recipes[i]);
    json_end_object(w);
}

static void put_judgements(struct json_writer *w, const struct report *report)
{
    const struct report_statistics *statistics = report->statistics;
    struct report_ranking ranking;
    struct report_trend trend;
    struct report_order order;
    json_begin_array(w, "rankings");
    for (int i = 0; i < statistics->n_rankings; i++) {
        report_ranking(report, i, &ranking);
        put_ranking(w, &ranking, statistics->knows_noise);
    }
    json_end_array(w);
    json_begin_array(w, "trends");
    for (int i = 0; i < statistics->n_trends; i++) {
        report_trend(report, i, &trend);
        put_trend(w, &trend);
    }
    json_end_array(w);
    json_begin_array(w, "orders");
    for (int i = 0; i < statistics->n_orders; i++) {
        report_order(report, i, &order);
        put_order(w, &order, statistics->knows_noise);
    }
    json_end_array(w);
}

enum status render_json_sweep(FILE *out, const struct report *report, struct error *err)
{
    struct json_writer *w = json_writer_open_file(out);
    if (!w) return error_memory(err, 1u << 10, "the sweep report");
    json_begin_object(w, NULL);
    json_put_integer(w, "schema_version", SWEEP_SCHEMA_VERSION);
    json_put_string(w, "reference_mode", report->reference);
    render_json_coverage(w, report);
    render_json_provenance(w, report, NULL);
    put_recipes(w, report);
    put_statistics(w, report->statistics);
    put_entries(w, "layers", report, false);
    put_entries(w, "end_of_model", report, true);
    put_judgements(w, report);
    json_end_object(w);
    json_writer_end(w);
    return STATUS_OK;
}
