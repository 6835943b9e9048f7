// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/report_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/report/coverage.h"
#include "ssmsweep/report/view.h"

// ---- parts that several files share ----

static void put_timestamp(struct json_writer *w, const struct report_files *report)
{
    struct tm utc;
    char text[32] = "";
    if (gmtime_r(&report->time, &utc)) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_put_string(w, "timestamp", text);
}

// One value of the job that made the result; null where it does not say.
static void put_job_value(struct json_writer *w, const struct result *result, const char *key)
{
    const char *text = result_attribute(result, "job");
    struct error ignored = {0};
    struct json *job = NULL;
    if (text[0]) json_parse(&job, text, strlen(text), "job", &ignored);
    const struct json *value = json_get(job, key);
    bool applies =
        strcmp(result_attribute(result, "scales_source"), "checkpoint") != 0; // what calibration takes
    if (applies && json_is_number(value))
        json_put_double(w, key, json_number(value));
    else
        json_put_string(w, key, applies ? json_string(value) : NULL);
    json_close(job);
}

// The text on which the modes were compared.
static void put_evaluation(struct json_writer *w, const struct result *result)
{
    const char *text = result_attribute(result, "evaluation_text"),
               *ids = result_attribute(result, "ids_sha256"), *job_text = result_attribute(result, "job");
    struct error ignored = {0};
    struct json *job = NULL;
    if (job_text[0]) json_parse(&job, job_text, strlen(job_text), "job", &ignored);
    json_begin_object(w, "evaluation");
    json_put_string(w, "text", text[0] ? text : NULL);
    json_put_string(w, "file", json_string(json_get(job, "eval_data")));
    json_put_integer(w, "samples", result_samples(result));
    json_put_integer(w, "tokens", view_tokens(result));
    json_put_string(w, "ids_sha256", ids[0] ? ids : NULL);
    json_end_object(w);
    json_close(job);
}

static void put_reference_weights(struct json_writer *w, const struct result *result)
{
    const char *weights = result_attribute(result, "reference_weights");
    json_put_string(w, "reference_weights", weights[0] ? weights : NULL);
}

// run < 0: of no run in particular.
static void put_provenance(struct json_writer *w, const struct result *result, int run)
{
    static const char *const names[] = {"tool_version",      "weights_digest",        "tokenizer_sha256",
                                        "ids_sha256",        "model_dtype",           "scales_source",
                                        "reference_weights", "calibration_ids_sha256"};
    json_begin_object(w, "provenance");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *text = result_attribute(result, names[i]);
        json_put_string(w, names[i], text[0] ? text : NULL);
    }
    if (run >= 0) view_put_cell(w, result_run_at(result, run));
    put_job_value(w, result, "percentile_alpha");
    put_job_value(w, result, "observer");
    json_put_integer(w, "num_samples", result_samples(result));
    json_put_integer(w, "tokens", view_tokens(result));
    put_evaluation(w, result);
    json_end_object(w);
}

void report_put_provenance(struct json_writer *writer, const struct result *result)
{
    put_provenance(writer, result, -1);
}

static void put_grades(struct json_writer *w, const struct record *record)
{
    json_begin_object(w, "grades");
    for (int i = 1, m; (m = metric_at(LIST_GRADED, i)) >= 0; i++)
        json_put_string(w, metric_table[m].name, grade_name(record_grade(record, (enum metric_id)m)));
    json_put_string(w, "worst", grade_name(record_worst_grade(record)));
    json_end_object(w);
}

// What is said of one (layer, component), into the object that is open.
typedef void (*put_entry)(struct json_writer *w, const struct report_files *report,
                          const struct comparison_entry *entry);

static bool is_reported(const struct metric *metric, double value, bool outputs)
{
    return metric->subject == SUBJECT_OUTPUTS &&
           (metric->needs == NEEDS_SUMS || (metric->needs == NEEDS_OUTPUTS ? outputs : !isnan(value)));
}

static void put_record(struct json_writer *w, const struct report_files *report,
                       const struct comparison_entry *entry)
{
    const struct record *r = &entry->record;
    const bool outputs = result_layers(report->result) > 0;
    json_put_integer(w, "elements", (long long)r->count);
    if (r->fp_nonfinite > 0) json_put_integer(w, "fp_nonfinite", (long long)r->fp_nonfinite);
    if (r->mode_nonfinite > 0) json_put_integer(w, "mode_nonfinite", (long long)r->mode_nonfinite);
    for (int m = 0; m < METRICS; m++)
        if (is_reported(&metric_table[m], r->value[m], outputs))
            json_put_double(w, metric_table[m].name, r->value[m]);
    put_grades(w, r);
}

static void put_stats(struct json_writer *w, const struct report_files *report,
                      const struct comparison_entry *entry)
{
    const struct result *result = report->result;
    const struct record *r = &entry->record;
    if (result_layers(result) > 0) { // of what is stored
        json_begin_array(w, "shape");
        json_put_integer(w, NULL, result_samples(result));
        json_put_integer(w, NULL, result_max_tokens(result));
        json_put_integer(w, NULL, result_width(result, entry->layer, entry->component));
        json_end_array(w);
        json_put_string(w, "dtype", "float32");
    }
    json_put_integer(w, "elements", (long long)r->count); // without padding
    if (r->mode_nonfinite > 0) json_put_integer(w, "nonfinite", (long long)r->mode_nonfinite);
    json_put_double(w, "mean", r->value[METRIC_MODE_MEAN]);
    json_put_double(w, "std", r->value[METRIC_MODE_STD]);
    json_put_double(w, "min", r->value[METRIC_MODE_MIN]);
    json_put_double(w, "max", r->value[METRIC_MODE_MAX]);
    json_put_double(w, "abs_mean", r->mode_abs_mean);
}

static void put_other_components(struct json_writer *w, const struct report_files *report,
                                 const struct layer_view *layer, put_entry put)
{
    if (layer->count < 2) return;
    json_begin_object(w, "components");
    for (int i = 0; i < layer->count; i++) {
        const struct comparison_entry *entry = &layer->entries[i];
        if (entry == layer->main) continue;
        json_begin_object(w, entry->name);
        put(w, report, entry);
        json_end_object(w);
    }
    json_end_object(w);
}

static void put_layers(struct json_writer *w, const struct report_files *report, const struct run_view *run,
                       put_entry put)
{
    json_begin_object(w, "layers");
    for (struct layer_view layer = {0}; view_next_layer(run, &layer);) {
        char name[32];
        snprintf(name, sizeof name, "layer_%d", layer.layer);
        json_begin_object(w, name);
        json_put_string(w, "component", layer.main->name);
        put(w, report, layer.main);
        put_other_components(w, report, &layer, put);
        json_end_object(w);
    }
    json_end_object(w);
}

static void put_averages(struct json_writer *w, const struct run_summary *summary)
{
    for (int i = 1, m; (m = metric_at(LIST_AVERAGED, i)) >= 0; i++) {
        char key[64];
        snprintf(key, sizeof key, "avg_%s", metric_table[m].name);
        json_put_double(w, key, summary->average[m]);
    }
}

static void put_coverage(struct json_writer *w, const struct report_files *report, int run)
{
    const char *reference = view_reference_name(report->comparison, report->result);
    coverage_put_run(w, report->result, compare_reference_of(report->result, reference, run), run);
}

// ---- the files ----

// Closes the writer in any case.
static enum status save(struct json_writer *w, const char *path, struct error *err)
{
    char *text = json_writer_finish(w);
    if (!text) return error_memory(err, 1u << 20, path);
    file_replace(path, text, strlen(text), err);
    free(text);
    return err->status;
}

void report_stem(const struct report_files *report, int run, char stem[REPORT_STEM_CHARS])
{
    const struct result_run *r = result_run_at(report->result, run);
    char cell[CELL_NAME_ROOM];
    if (r->cell.calib_data_num > 0 && view_cells(report->result) > 1)
        snprintf(stem, REPORT_STEM_CHARS, "mode_%s_n%s", r->mode, cell_name(r->cell, cell));
    else
        snprintf(stem, REPORT_STEM_CHARS, "mode_%s", r->mode);
}

// "mode_<m>[_n<N>]ENDING.json" in a directory; caller frees.
static char *report_path(const struct report_files *report, const char *directory, int run,
                         const char *ending)
{
    char stem[REPORT_STEM_CHARS], name[REPORT_STEM_CHARS + 96];
    report_stem(report, run, stem);
    snprintf(name, sizeof name, "%s%s.json", stem, ending);
    return file_join(directory, name);
}

static void put_comparison(struct json_writer *w, const struct report_files *report,
                           const struct run_view *run)
{
    struct run_summary summary = view_summarize(run);
    json_begin_object(w, NULL);
    put_timestamp(w, report);
    json_put_string(w, "reference_mode", view_reference_name(report->comparison, report->result));
    put_reference_weights(w, report->result);
    json_put_string(w, "compared_mode", result_run_at(report->result, run->run)->mode);
    json_put_string(w, "output_dir", report->output_dir);
    put_coverage(w, report, run->run);
    put_provenance(w, report->result, run->run);
    put_layers(w, report, run, put_record);
    json_begin_object(w, "summary");
    put_averages(w, &summary);
    json_put_string(w, "worst_grade", grade_name(summary.worst));
    json_end_object(w);
    json_end_object(w);
}

static enum status write_comparison(const struct report_files *report, const struct run_view *run,
                                    const char *path, struct error *err)
{
    struct json_writer *w = json_writer_open();
    if (!w) return error_memory(err, 1, path);
    put_comparison(w, report, run);
    return save(w, path, err);
}

enum status report_print(FILE *out, const struct report_files *report, struct error *err)
{
    struct json_writer *w = json_writer_open();
    if (!w) return error_memory(err, 1, "the comparisons");
    json_begin_object(w, NULL);
    json_put_string(w, "reference_mode", view_reference_name(report->comparison, report->result));
    json_begin_array(w, "comparisons");
    for (struct run_view run = {0}; view_next_run(report->comparison, &run);)
        if (!view_is_reference(report->comparison, report->result, run.run)) put_comparison(w, report, &run);
    json_end_array(w);
    json_end_object(w);
    char *text = json_writer_finish(w);
    if (!text) return error_memory(err, 1u << 20, "the comparisons");
    fputs(text, out);
    free(text);
    return STATUS_OK;
}

static enum status write_stats(const struct report_files *report, const struct run_view *run,
                               const char *path, struct error *err)
{
    struct json_writer *w = json_writer_open();
    if (!w) return error_memory(err, 1, path);
    json_begin_object(w, NULL);
    put_timestamp(w, report);
    json_put_string(w, "mode", result_run_at(report->result, run->run)->mode);
    view_put_cell(w, result_run_at(report->result, run->run));
    put_coverage(w, report, run->run);
    json_put_integer(w, "num_samples", result_samples(report->result));
    json_put_integer(w, "seq_length", result_max_tokens(report->result));
    json_put_integer(w, "tokens", view_tokens(report->result));
    put_evaluation(w, report->result);
    json_put_string(w, "model_dtype", result_attribute(report->result, "model_dtype"));
    put_reference_weights(w, report->result);
    put_layers(w, report, run, put_stats);
    json_end_object(w);
    return save(w, path, err);
}

static void put_summary_layer(struct json_writer *w, const char *key, const struct layer_view *layer)
{
    const struct record *r = &layer->main->record;
    json_begin_object(w, key);
    json_put_integer(w, "layer", layer->layer);
    json_put_string(w, "component", layer->main->name);
    for (int i = 1, m; (m = metric_at(LIST_JUDGED, i)) >= 0; i++)
        json_put_double(w, metric_table[m].name, r->value[m]);
    json_end_object(w);
}

static void put_summary_run(struct json_writer *w, const struct report_files *report,
                            const struct run_view *run)
{
    struct run_summary summary = view_summarize(run);
    json_begin_object(w, NULL);
    json_put_string(w, "mode", result_run_at(report->result, run->run)->mode);
    view_put_cell(w, result_run_at(report->result, run->run));
    json_put_bool(w, "is_reference", view_is_reference(report->comparison, report->result, run->run));
    json_put_integer(w, "layers", summary.layers);
    put_averages(w, &summary);
    json_put_string(w, "worst_grade", grade_name(summary.worst));
    put_summary_layer(w, "first_layer", &summary.first);
    put_summary_layer(w, "last_layer", &summary.last);
    json_end_object(w);
}

static enum status write_summary(const struct report_files *report, const char *path, struct error *err)
{
    struct json_writer *w = json_writer_open();
    if (!w) return error_memory(err, 1, path);
    json_begin_object(w, NULL);
    put_timestamp(w, report);
    json_put_string(w, "reference_mode", view_reference_name(report->comparison, report->result));
    put_reference_weights(w, report->result);
    json_put_string(w, "output_dir", report->output_dir);
    coverage_put_all(w, report->result);
    put_provenance(w, report->result, -1);
    json_begin_array(w, "modes");
    for (struct run_view run = {0}; view_next_run(report->comparison, &run);)
        put_summary_run(w, report, &run);
    json_end_array(w);
    json_end_object(w);
    return save(w, path, err);
}

static enum status write_run(const struct report_files *report, const struct run_view *run,
                             const char *comparison_file, struct error *err)
{
    char ending[80];
    snprintf(ending, sizeof ending, "_vs_%s", view_reference_name(report->comparison, report->result));
    char *stats = report_path(report, report->output_dir, run->run, "_stats");
    char *pair = comparison_file ? strdup(comparison_file)
                                 : report_path(report, report->comparison_dir, run->run, ending);
    if (!stats || !pair)
        error_memory(err, 256, "a path");
    else if ((report->without_stats || !write_stats(report, run, stats, err)) &&
             !view_is_reference(report->comparison, report->result, run->run))
        write_comparison(report, run, pair, err);
    free(stats);
    free(pair);
    return err->status;
}

enum status report_write_stats(const struct report_files *report, struct error *err)
{
    if (file_make_directories(report->output_dir, err)) return err->status;
    for (struct run_view run = {0}; view_next_run(report->comparison, &run) && !err->status;) {
        char *path = report_path(report, report->output_dir, run.run, "_stats");
        if (path)
            write_stats(report, &run, path, err);
        else
            error_memory(err, 256, "a path");
        free(path);
    }
    return err->status;
}

int report_count_compared(const struct report_files *report)
{
    int compared = 0;
    for (struct run_view run = {0}; view_next_run(report->comparison, &run);)
        compared += !view_is_reference(report->comparison, report->result, run.run);
    return compared;
}

enum status report_write(const struct report_files *report, struct error *err)
{
    if (file_make_directories(report->output_dir, err) || file_make_directories(report->comparison_dir, err))
        return err->status;
    bool single = report_count_compared(report) == 1;
    for (struct run_view run = {0}; view_next_run(report->comparison, &run);)
        if (write_run(report, &run, single ? report->save_comparison : NULL, err)) return err->status;
    char *path = report->save_comparison && !single ? strdup(report->save_comparison)
                                                    : file_join(report->comparison_dir, "summary.json");
    if (!path) return error_memory(err, 256, "a path");
    write_summary(report, path, err);
    free(path);
    return err->status;
}
