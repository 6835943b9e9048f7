// SPDX-License-Identifier: Apache-2.0
// The sections of a comparison: every layer, and the summary of the modes.
#include <math.h>
#include <string.h>

#include "report_parts.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/coverage.h"
#include "ssmsweep/report/sweep_files.h"
#include "ssmsweep/report/view.h"

// ---- every layer ----

// Behind the metrics.
enum { ELEMENTS, FP_NONFINITE, MODE_NONFINITE, MODE_ABS_MEAN, WORST_GRADE, MORE };
static const struct report_column more[MORE] = {
    {"elements", "elements", NULL, NULL, 0, REPORT_COUNT},
    {"fp_nonfinite", "NaN or Inf in the reference", NULL, NULL, 0, REPORT_COUNT},
    {"mode_nonfinite", "NaN or Inf in the mode", NULL, NULL, 0, REPORT_COUNT},
    {"mode_abs_mean", "mean |mode|", NULL, NULL, 0, REPORT_NUMBER},
    {"worst_grade", "grade", NULL, NULL, 0, REPORT_WORDS},
};

// Its column, from 0: those of predictions have none.
static int column_of(enum metric_id metric)
{
    int column = 0;
    for (int m = 0; m < (int)metric; m++)
        column += metric_table[m].subject == SUBJECT_OUTPUTS;
    return column;
}

static enum report_format format_of(enum metric_id m)
{
    if (m == METRIC_RELATIVE_MAE) return REPORT_SHARE;
    if (m == METRIC_CORRELATION) return REPORT_CORRELATION;
    if (metric_table[m].unit) return REPORT_DECIBEL;
    return metric_table[m].better == BETTER_SMALLER ? REPORT_ERROR : REPORT_NUMBER;
}

static struct report_column metric_column(struct builder *b, enum metric_id id)
{
    const struct metric *m = &metric_table[id];
    struct report_column column = {.key = m->name, .title = m->label, .format = format_of(id)};
    if (m->unit) column.title = builder_text(b, "%s (%s)", m->label, m->unit);
    column.label = column.title;
    if (m->place[LIST_BLOCK_PERCENTILES]) column.title = builder_text(b, "%s |diff|", m->label);
    if (m->place[LIST_BLOCK_REFERENCE] || m->place[LIST_BLOCK_MODE]) column.title = m->name;
    return column;
}

static void build_metrics(struct builder *b)
{
    static const struct {
        const char *title;
        enum metric_list list;
    } groups[REPORT_GROUPS] = {{"Reference statistics", LIST_BLOCK_REFERENCE},
                               {"Mode statistics", LIST_BLOCK_MODE},
                               {"Difference (mode - reference)", LIST_BLOCK_DIFFERENCE},
                               {"Error metrics", LIST_BLOCK_ERROR},
                               {"Relative metrics", LIST_BLOCK_RELATIVE},
                               {"Percentiles of |diff|", LIST_BLOCK_PERCENTILES}};
    struct report *report = b->report;
    const int metrics = column_of(METRICS);
    struct report_column *columns = builder_take(b, (size_t)(metrics + MORE), sizeof *columns);
    if (!columns) return;
    for (int m = 0; m < METRICS; m++)
        if (metric_table[m].subject == SUBJECT_OUTPUTS)
            columns[column_of((enum metric_id)m)] = metric_column(b, (enum metric_id)m);
    memcpy(columns + metrics, more, sizeof more);
    report->metrics = columns;
    report->n_metrics = metrics;
    for (int g = 0; g < REPORT_GROUPS; g++) {
        report->groups[g].title = groups[g].title;
        report->groups[g].columns = builder_take(b, METRICS, sizeof *report->groups[g].columns);
        for (int i = 1, m; report->groups[g].columns && (m = metric_at(groups[g].list, i)) >= 0; i++)
            report->groups[g].columns[report->groups[g].count++] = column_of((enum metric_id)m);
    }
}

static struct report_cell grade_cell(enum grade grade)
{
    struct report_cell cell = report_words(grade_name(grade));
    cell.grade = (int)grade;
    return cell;
}

// What the sweep report knows of an entry; nothing without re-runs.
static void mark_entry(const struct builder *b, const struct comparison_entry *entry,
                       struct report_cell *cells)
{
    const struct sweep_report *sweep = b->from->sweep;
    if (sweep->n_reruns == 0) return;
    const int unit = marks_find_unit(sweep, entry->layer, entry->component),
              run = marks_find_run(sweep, entry->run);
    for (int m = 0; unit >= 0 && run >= 0 && m < METRICS; m++)
        if (metric_table[m].subject == SUBJECT_OUTPUTS && metric_table[m].scale != SCALE_NONE)
            cells[column_of((enum metric_id)m)].marks |=
                marks_of_value(sweep, unit, metric_interval_place((enum metric_id)m), run);
}

static struct report_cell metric_cell(const struct report *report, const struct record *record,
                                      enum metric_id m)
{
    const enum metric_needs needs = metric_table[m].needs;
    struct report_cell cell = report_number(record->value[m]);
    if (metric_table[m].place[LIST_GRADED]) cell.grade = (int)record_grade(record, m);
    if (needs == NEEDS_FLOAT_OUTPUTS && isnan(cell.value)) cell.text = "";
    if (cell.text || (needs == NEEDS_OUTPUTS && !report->has_outputs)) cell.marks |= REPORT_ABSENT;
    return cell;
}

static void fill_entry(struct builder *b, const struct comparison_entry *entry, struct report_row *row)
{
    const struct record *r = &entry->record;
    struct report_cell *others = row->cells + b->report->n_metrics;
    row->layer = entry->layer;
    row->component = entry->name;
    for (int m = 0; m < METRICS; m++)
        if (metric_table[m].subject == SUBJECT_OUTPUTS)
            row->cells[column_of((enum metric_id)m)] = metric_cell(b->report, r, (enum metric_id)m);
    mark_entry(b, entry, row->cells);
    others[ELEMENTS] = report_number(r->count);
    others[FP_NONFINITE] = report_number(r->fp_nonfinite);
    others[MODE_NONFINITE] = report_number(r->mode_nonfinite);
    others[MODE_ABS_MEAN] = report_number(r->mode_abs_mean);
    others[WORST_GRADE] = grade_cell(record_worst_grade(r));
    if (r->fp_nonfinite + r->mode_nonfinite > 0)
        row->note = builder_text(b, "layer %d holds NaN or Inf: %.0f in the reference, %.0f in the mode",
                                 entry->layer, r->fp_nonfinite, r->mode_nonfinite);
}

static double average(const struct run_view *run, int component, enum metric_id metric)
{
    struct layer_average average = {0};
    for (int i = 0; i < run->count; i++)
        if (run->entries[i].component == component)
            view_add_layer(&average, &run->entries[i].record, run->entries[i].record.value[metric]);
    return view_average(&average);
}

// Of those metrics by which a layer is judged.
static struct report_cell *average_cells(struct builder *b, const struct run_view *run, int component)
{
    const int metrics = b->report->n_metrics;
    struct report_cell *cells = builder_take(b, (size_t)metrics, sizeof *cells);
    if (!cells) return NULL;
    for (int c = 0; c < metrics; c++) {
        cells[c] = report_words("");
        cells[c].marks = REPORT_ABSENT;
    }
    for (int i = 1, m; (m = metric_at(LIST_JUDGED, i)) >= 0; i++)
        cells[column_of((enum metric_id)m)] = report_number(average(run, component, (enum metric_id)m));
    return cells;
}

static void fill_averages(struct builder *b, const struct run_view *run, struct report_table *table)
{
    const int components = result_arch(b->from->result)->n_components;
    table->averages = builder_take(b, (size_t)components, sizeof *table->averages);
    for (int c = 0; table->averages && c < components; c++) {
        const char *name = NULL; // where it was captured
        for (int i = 0; i < run->count; i++)
            if (run->entries[i].component == c) name = run->entries[i].name;
        struct report_cell *cells = name ? average_cells(b, run, c) : NULL;
        if (cells)
            table->averages[table->n_averages++] = (struct report_row){.run = table->run,
                                                                       .name = "avg",
                                                                       .layer = REPORT_NO_LAYER,
                                                                       .component = name,
                                                                       .cells = cells,
                                                                       .count = b->report->n_metrics};
    }
}

void build_layers(struct builder *b)
{
    build_metrics(b);
    for (struct run_view run = {0}; b->report->metrics && view_next_run(b->from->comparison, &run);) {
        const struct report_run *of = builder_run(b, run.run);
        const struct builder_shape shape = {b->report->metrics, b->report->n_metrics + MORE, run.count};
        struct report_table *table =
            of ? builder_table(b, REPORT_LAYERS, b->report->n_runs,
                               builder_text(b, "Mode %s against %s", of->name, b->report->reference), &shape)
               : NULL;
        if (!table) return;
        table->run = of;
        for (int i = 0; i < run.count; i++) {
            table->rows[i].run = of;
            table->rows[i].name = builder_text(b, "%d", run.entries[i].layer);
            fill_entry(b, &run.entries[i], &table->rows[i]);
        }
        for (struct layer_view layer = {0}; view_next_layer(&run, &layer);)
            table->rows[layer.main - run.entries].main = true;
        fill_averages(b, &run, table);
    }
    if (b->report->n_runs > 0 && b->from->sweep->n_units > 0)
        build_noise_notes(b, REPORT_LAYERS, builder_marks(b, REPORT_LAYERS), "another mode");
}

// ---- the summary ----

enum {
    OF_LAYER = 6, // columns of the first and of the last layer
    LAST = OF_LAYER,
    LAYERS = 2 * OF_LAYER,
    AVG_MSE,
    AVG_MAE,
    AVG_CORRELATION,
    WORST,
    SUMMARY_COLUMNS
};
static const struct report_column summary_columns[SUMMARY_COLUMNS] = {
    {"first_layer.layer", "layer", NULL, NULL, OF_LAYER, REPORT_COUNT},
    {"first_layer.component", "component", NULL, NULL, 0, REPORT_WORDS},
    {"first_layer.mse", "MSE", NULL, NULL, 0, REPORT_ERROR},
    {"first_layer.mae", "MAE", NULL, NULL, 0, REPORT_ERROR},
    {"first_layer.relative_mae", "relative MAE", NULL, NULL, 0, REPORT_SHARE},
    {"first_layer.correlation", "correlation", NULL, NULL, 0, REPORT_CORRELATION},
    {"last_layer.layer", "layer", NULL, NULL, OF_LAYER, REPORT_COUNT},
    {"last_layer.component", "component", NULL, NULL, 0, REPORT_WORDS},
    {"last_layer.mse", "MSE", NULL, NULL, 0, REPORT_ERROR},
    {"last_layer.mae", "MAE", NULL, NULL, 0, REPORT_ERROR},
    {"last_layer.relative_mae", "relative MAE", NULL, NULL, 0, REPORT_SHARE},
    {"last_layer.correlation", "correlation", NULL, NULL, 0, REPORT_CORRELATION},
    {"layers", "layers", NULL, NULL, 0, REPORT_COUNT},
    {"avg_mse", "MSE", NULL, "average", 1, REPORT_ERROR},
    {"avg_mae", "MAE", NULL, "average", 1, REPORT_ERROR},
    {"avg_correlation", "correlation", NULL, "average", 1, REPORT_CORRELATION},
    {"worst_grade", "grade", NULL, "worst", 1, REPORT_WORDS},
};

// The names of the layers stand over their columns.
static const struct report_column *name_layers(struct builder *b, const struct run_summary *s)
{
    struct report_column *columns = builder_take(b, SUMMARY_COLUMNS, sizeof *columns);
    if (!columns) return NULL;
    memcpy(columns, summary_columns, sizeof summary_columns);
    for (int c = 0; c < OF_LAYER; c++) {
        columns[c].group = builder_text(b, "layer %d", s->first.layer);
        columns[LAST + c].group = builder_text(b, "layer %d", s->last.layer);
    }
    return columns;
}

// The cells of a layer's main entry, as its row of REPORT_LAYERS has them.
static void fill_layer(const struct report_table *layers, const struct layer_view *layer,
                       struct report_cell *cells)
{
    cells[0] = report_number(layer->layer);
    cells[1] = report_words(layer->main->name);
    for (int r = 0; r < layers->n_rows; r++)
        if (layers->rows[r].main && layers->rows[r].layer == layer->layer)
            for (int i = 1, m; i <= OF_LAYER - 2 && (m = metric_at(LIST_JUDGED, i)) >= 0; i++)
                cells[1 + i] = layers->rows[r].cells[column_of((enum metric_id)m)];
}

static void fill_summary(const struct run_view *run, const struct report_table *layers,
                         struct report_row *row)
{
    const struct run_summary s = view_summarize(run);
    row->run = layers->run;
    row->name = layers->run->name;
    fill_layer(layers, &s.first, row->cells);
    fill_layer(layers, &s.last, row->cells + LAST);
    row->cells[LAYERS] = report_number(s.layers);
    row->cells[AVG_MSE] = report_number(s.average[METRIC_MSE]);
    row->cells[AVG_MAE] = report_number(s.average[METRIC_MAE]);
    row->cells[AVG_CORRELATION] = report_number(s.average[METRIC_CORRELATION]);
    row->cells[WORST] = grade_cell(s.worst);
}

// Equal rows are no defect.
static void note_twins(struct builder *b)
{
    const struct report *report = b->report;
    for (int m = 0; m < mode_count(); m++) {
        const struct mode *mode = mode_at(m);
        bool here = false, twin = false;
        for (int r = 0; mode->equals && r < report->n_runs; r++) {
            here |= strcmp(report->runs[r].mode, mode->name) == 0;
            twin |= strcmp(report->runs[r].mode, mode->equals) == 0;
        }
        if (here && twin)
            builder_note(
                b, REPORT_SUMMARY, 0,
                builder_text(b, "%s gives the same bits as %s by definition.", mode->name, mode->equals));
    }
}

static void note_sources(struct builder *b)
{
    enum { MOST_OBSERVER = 70 }; // characters; summary.json has all
    const char *text = result_attribute(b->from->result, "evaluation_text"),
               *job_text = result_attribute(b->from->result, "job");
    struct error ignored = {0};
    struct json *job = NULL;
    if (job_text[0]) json_parse(&job, job_text, strlen(job_text), "job", &ignored);
    const char *observer = json_string(json_get(job, "observer"));
    if (text[0]) builder_note(b, REPORT_SUMMARY, 0, builder_text(b, "Compared on: %s.", text));
    if (observer)
        builder_note(b, REPORT_SUMMARY, 0,
                     builder_text(b, "Scales by --observer %.*s%s", MOST_OBSERVER, observer,
                                  strlen(observer) > MOST_OBSERVER ? "..." : "."));
    json_close(job);
}

static void note_incomplete_run(struct builder *b, int r)
{
    const struct result *result = b->from->result;
    const struct result_run *run = result_run_at(result, r);
    char rerun[40] = "", cell[VIEW_CELL_CHARS], scales[VIEW_CELL_CHARS + 4] = "", bad[40] = "";
    int failed = 0;
    for (int s = 0; s < result_samples(result); s++)
        failed += result_state(result, r, s) == STORE_ITEM_FAILED;
    if (run->dither) snprintf(rerun, sizeof rerun, ", noisy re-run %d", run->dither);
    if (run->cell.calib_data_num > 0) snprintf(scales, sizeof scales, " (%s)", view_cell_text(run, cell));
    if (failed) snprintf(bad, sizeof bad, ", %d failed", failed);
    builder_note(b, REPORT_SUMMARY, 0,
                 builder_text(b, "  mode %s%s%s: %d of %d samples%s", run->mode, rerun, scales, run->done,
                              result_samples(result), bad));
}

static void note_coverage(struct builder *b)
{
    const struct result *result = b->from->result;
    if (coverage_is_complete(result)) return;
    builder_note(b, REPORT_SUMMARY, 0,
                 "INCOMPLETE.  Modes are compared over the samples that they share with the reference:");
    for (int r = 0; r < result_all_runs(result); r++)
        if (!result_run_at(result, r)->complete) note_incomplete_run(b, r);
}

static void note_grades(struct builder *b)
{
    static const char *const lines[] = {
        "Worst of the layers compared.  The grades:  excellent     good      fair",
        "  MSE below                                 1e-4      1e-3      1e-2",
        "  correlation above                       0.9999     0.999      0.99",
        "  relative MAE below                       0.1 %       1 %       5 %"};
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        builder_note(b, REPORT_SUMMARY, 0, lines[i]);
}

void build_summary(struct builder *b)
{
    const struct report *report = b->report;
    const struct report_section *layers = &report->sections[REPORT_LAYERS];
    struct run_view run = {0};
    note_sources(b);
    note_coverage(b);
    if (!view_next_run(b->from->comparison, &run) || layers->n_tables < report->n_runs) return;
    note_twins(b);
    const struct run_summary head = view_summarize(&run);
    const struct builder_shape shape = {name_layers(b, &head), SUMMARY_COLUMNS, report->n_runs};
    const char *title = builder_text(b, "All modes against %s%s: %s, %d sample%s, %lld tokens",
                                     report->reference, report->reference_weights, head.first.main->name,
                                     report->samples, report->samples == 1 ? "" : "s", report->tokens);
    struct report_table *table = shape.columns ? builder_table(b, REPORT_SUMMARY, 1, title, &shape) : NULL;
    int row = 0;
    for (run = (struct run_view){0}; table && view_next_run(b->from->comparison, &run); row++)
        fill_summary(&run, &layers->tables[row], &table->rows[row]);
    for (int i = 0; i < layers->notes.count; i++)
        if (layers->notes.items[i].mark)
            builder_note(b, REPORT_SUMMARY, layers->notes.items[i].mark, layers->notes.items[i].text);
    note_grades(b);
}
