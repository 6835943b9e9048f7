// SPDX-License-Identifier: Apache-2.0
// The sections of a comparison: every layer, and the summary of the modes.
#include <math.h>
#include <string.h>

#include "report_parts.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/isolated.h"
#include "ssmsweep/report/view.h"

// ---- every layer ----

// Behind the metrics.
enum { ELEMENTS, FP_NONFINITE, MODE_NONFINITE, MODE_ABS_MEAN, WIDTH, WORST_GRADE, MORE };
static const struct report_column more[MORE] = {
    {"elements", "elements", NULL, NULL, 0, REPORT_COUNT},
    {"fp_nonfinite", "NaN or Inf in the reference", NULL, NULL, 0, REPORT_COUNT},
    {"mode_nonfinite", "NaN or Inf in the mode", NULL, NULL, 0, REPORT_COUNT},
    {"mode_abs_mean", "mean |mode|", NULL, NULL, 0, REPORT_NUMBER},
    {"width", "width", NULL, NULL, 0, REPORT_COUNT},
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

// Is it among so many columns?
static bool has_column(int columns, enum metric_id metric)
{
    return metric_table[metric].subject == SUBJECT_OUTPUTS && column_of(metric) < columns;
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

static struct report_group group_of(struct builder *b, const char *title, enum metric_list list)
{
    struct report_group group = {.title = title, .columns = builder_take(b, METRICS, sizeof *group.columns)};
    for (int i = 1, m; group.columns && (m = metric_at(list, i)) >= 0; i++)
        if (has_column(b->report->n_metrics, (enum metric_id)m))
            group.columns[group.count++] = column_of((enum metric_id)m);
    return group;
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
    // Those of layers by themselves are the last.
    const bool isolated = isolated_known(b->from->result, b->report->reference);
    const int metrics = column_of(isolated ? METRICS : METRIC_ISOLATED_MSE);
    struct report_column *columns = builder_take(b, (size_t)(metrics + MORE), sizeof *columns);
    if (!columns) return;
    for (int m = 0; m < METRICS; m++)
        if (has_column(metrics, (enum metric_id)m))
            columns[column_of((enum metric_id)m)] = metric_column(b, (enum metric_id)m);
    memcpy(columns + metrics, more, sizeof more);
    report->metrics = columns;
    report->n_metrics = metrics;
    for (int g = 0; g < REPORT_GROUPS; g++)
        report->groups[g] = group_of(b, groups[g].title, groups[g].list);
    report->graded = group_of(b, "Grades", LIST_GRADED);
}

static struct report_cell grade_cell(enum grade grade)
{
    struct report_cell cell = report_words(grade_name(grade));
    cell.grade = (int)grade;
    return cell;
}

// What the rows of a table are made of.
struct layer_source {
    const struct report *report;
    const struct comparison_entry *entries; // one for each row
    struct report_cell *cells;              // of one row
};

// What the sweep report knows of an entry; nothing without re-runs.
static void mark_entry(const struct report *report, const struct comparison_entry *entry,
                       struct report_cell *cells)
{
    const struct sweep_report *sweep = report->from->sweep;
    if (!sweep || sweep->n_reruns == 0) return;
    const int unit = marks_find_unit(sweep, entry->layer, entry->component),
              run = marks_find_run(sweep, entry->run);
    for (int m = 0; unit >= 0 && run >= 0 && m < METRICS; m++)
        if (has_column(report->n_metrics, (enum metric_id)m) && metric_table[m].scale != SCALE_NONE)
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

static void fill_cells(const struct report *report, const struct comparison_entry *entry,
                       struct report_cell *cells)
{
    const struct record *r = &entry->record;
    struct report_cell *others = cells + report->n_metrics;
    for (int m = 0; m < METRICS; m++)
        if (has_column(report->n_metrics, (enum metric_id)m))
            cells[column_of((enum metric_id)m)] = metric_cell(report, r, (enum metric_id)m);
    mark_entry(report, entry, cells);
    others[ELEMENTS] = report_number(r->count);
    others[FP_NONFINITE] = report_number(r->fp_nonfinite);
    others[MODE_NONFINITE] = report_number(r->mode_nonfinite);
    others[MODE_ABS_MEAN] = report_number(r->mode_abs_mean);
    others[WIDTH] = report_words("");
    if (report->has_outputs)
        others[WIDTH] = report_number(result_width(report->from->result, entry->layer, entry->component));
    others[WORST_GRADE] = grade_cell(record_worst_grade(r));
}

struct report_row report_row(const struct report_table *table, int row)
{
    struct report_row made = table->rows[row];
    if (made.cells || !table->source) return made;
    fill_cells(table->source->report, &table->source->entries[row], table->source->cells);
    made.cells = table->source->cells;
    return made;
}

static double average(const struct run_view *run, int component, enum metric_id metric)
{
    struct layer_average average = {0};
    for (int i = 0; i < run->count; i++)
        if (run->entries[i].component == component)
            view_add_layer(&average, &run->entries[i].record, run->entries[i].record.value[metric]);
    return view_average(&average);
}

// The averages of those metrics by which a layer is judged.
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

static void fill_rows(struct builder *b, const struct run_view *run, struct report_table *table)
{
    const char *name = "";
    for (int i = 0; i < run->count; i++) {
        const struct comparison_entry *entry = &run->entries[i];
        struct report_row *row = &table->rows[i];
        if (i == 0 || entry->layer != entry[-1].layer) name = builder_text(b, "%d", entry->layer);
        row->run = table->run;
        row->name = name;
        row->layer = entry->layer;
        row->component = entry->name;
        if (entry->record.fp_nonfinite + entry->record.mode_nonfinite > 0)
            row->note = builder_text(b, "layer %d holds NaN or Inf: %.0f in the reference, %.0f in the mode",
                                     entry->layer, entry->record.fp_nonfinite, entry->record.mode_nonfinite);
    }
    for (struct layer_view layer = {0}; view_next_layer(run, &layer);)
        table->rows[layer.main - run->entries].main = true;
}

static void build_table(struct builder *b, const struct run_view *run)
{
    const struct report *report = b->report;
    const struct report_run *of = builder_run(b, run->run);
    const struct builder_shape shape = {.columns = report->metrics,
                                        .n_columns = report->n_metrics + MORE,
                                        .n_rows = run->count,
                                        .without_cells = true};
    struct layer_source *source = builder_take(b, 1, sizeof *source);
    struct report_cell *cells = builder_take(b, (size_t)shape.n_columns, sizeof *cells);
    struct report_table *table =
        of && source && cells
            ? builder_table(b, REPORT_LAYERS, report->n_runs,
                            builder_text(b, "Mode %s against %s", of->name, report->reference), &shape)
            : NULL;
    if (!table) return;
    *source = (struct layer_source){report, run->entries, cells};
    table->source = source;
    table->run = of;
    fill_rows(b, run, table);
    fill_averages(b, run, table);
}

// ---- layers by modes ----

// A row whose cells are the MSE of a layer, or of the average, in each run.
static void fill_by_layer(struct report_row *row, const struct report_row *from, int column)
{
    const enum metric_id metric = METRIC_MSE;
    row->name = from->name;
    row->layer = from->layer;
    row->component = from->component;
    row->cells[column] = from->cells[column_of(metric)];
    row->cells[column].grade = REPORT_NO_GRADE;
}

static void fill_column(const struct report_table *layers, const char *component, struct report_table *table,
                        int column)
{
    int rows = 0;
    for (int r = 0; r < layers->n_rows; r++) {
        if (strcmp(layers->rows[r].component, component) != 0) continue;
        const struct report_row row = report_row(layers, r);
        fill_by_layer(&table->rows[rows++], &row, column);
    }
    for (int a = 0; a < layers->n_averages; a++)
        if (strcmp(layers->averages[a].component, component) == 0)
            fill_by_layer(&table->rows[rows++], &layers->averages[a], column);
}

// All runs are compared at the same layers.
static void build_by_layer_of(struct builder *b, const char *component, int most)
{
    const struct report *report = b->report;
    const struct report_section *layers = &report->sections[REPORT_LAYERS];
    struct report_column *columns = builder_take(b, (size_t)layers->n_tables, sizeof *columns);
    struct builder_shape shape = {.columns = columns, .n_rows = 1}; // the average
    for (int r = 0; r < layers->tables[0].n_rows; r++)
        shape.n_rows += strcmp(layers->tables[0].rows[r].component, component) == 0;
    for (int t = 0; columns && t < layers->n_tables; t++) {
        const struct report_run *run = layers->tables[t].run;
        if (!run->is_reference)
            columns[shape.n_columns++] =
                (struct report_column){run->name, run->name, NULL, NULL, 0, REPORT_ERROR};
    }
    const char *title = builder_text(b, "MSE of each layer against %s%s: %s, %d sample%s, %lld tokens",
                                     report->reference, report->reference_weights, component, report->samples,
                                     report->samples == 1 ? "" : "s", report->tokens);
    struct report_table *table = columns ? builder_table(b, REPORT_BY_LAYER, most, title, &shape) : NULL;
    for (int t = 0, column = 0; table && t < layers->n_tables; t++)
        if (!layers->tables[t].run->is_reference) fill_column(&layers->tables[t], component, table, column++);
}

static void build_by_layer(struct builder *b)
{
    const struct report_section *layers = &b->report->sections[REPORT_LAYERS];
    if (!b->report->chosen || b->report->n_compared < 2 || layers->n_tables == 0) return;
    for (int a = 0; a < layers->tables[0].n_averages; a++)
        build_by_layer_of(b, layers->tables[0].averages[a].component, layers->tables[0].n_averages);
}

void build_layers(struct builder *b)
{
    build_metrics(b);
    for (struct run_view run = {0}; b->report->metrics && view_next_run(b->from->comparison, &run);)
        build_table(b, &run);
    if (b->from->comparison->count > 0 && b->from->sweep && b->from->sweep->n_units > 0)
        build_noise_notes(b, REPORT_LAYERS, builder_marks(b, REPORT_LAYERS), "another mode");
    build_by_layer(b);
}

// ---- the summary ----

// Columns: of the first layer, of the last, their number, averages, worst grade.
struct summary {
    struct report_column *columns;
    int of_layer, averages, count;
};

static int list_length(enum metric_list list)
{
    int length = 0;
    while (metric_at(list, length + 1) >= 0)
        length++;
    return length;
}

// "layer", "component" and what a layer is judged by.
static void layer_columns(struct builder *b, const char *which, int layer, struct report_column *columns,
                          int count)
{
    const char *group = builder_text(b, "layer %d", layer);
    columns[0] = (struct report_column){
        builder_text(b, "%s_layer.layer", which), "layer", NULL, group, count, REPORT_COUNT};
    columns[1] = (struct report_column){
        builder_text(b, "%s_layer.component", which), "component", NULL, group, 0, REPORT_WORDS};
    for (int i = 2; i < count; i++) {
        columns[i] = b->report->metrics[column_of((enum metric_id)metric_at(LIST_JUDGED, i - 1))];
        columns[i].key = builder_text(b, "%s_layer.%s", which, columns[i].key);
        columns[i].group = group;
    }
}

static struct summary summary_columns(struct builder *b, const struct run_summary *s)
{
    struct summary summary = {.of_layer = 2 + list_length(LIST_JUDGED),
                              .averages = list_length(LIST_AVERAGED)};
    summary.count = 2 * summary.of_layer + 1 + summary.averages + 1;
    summary.columns = builder_take(b, (size_t)summary.count, sizeof *summary.columns);
    if (!summary.columns) return summary;
    layer_columns(b, "first", s->first.layer, summary.columns, summary.of_layer);
    layer_columns(b, "last", s->last.layer, summary.columns + summary.of_layer, summary.of_layer);
    struct report_column *next = summary.columns + 2 * summary.of_layer;
    *next++ = (struct report_column){"layers", "layers", NULL, NULL, 0, REPORT_COUNT};
    for (int i = 1; i <= summary.averages; i++, next++) {
        *next = b->report->metrics[column_of((enum metric_id)metric_at(LIST_AVERAGED, i))];
        next->key = builder_text(b, "avg_%s", next->key);
        next->group = "average";
        next->span = 1;
    }
    *next = (struct report_column){"worst_grade", "grade", NULL, "worst", 1, REPORT_WORDS};
    return summary;
}

// The cells of a layer's main entry, as its row of REPORT_LAYERS has them.
static void fill_layer(const struct report_table *layers, const struct layer_view *layer,
                       struct report_cell *cells)
{
    cells[0] = report_number(layer->layer);
    cells[1] = report_words(layer->main->name);
    for (int r = 0; r < layers->n_rows; r++) {
        if (!layers->rows[r].main || layers->rows[r].layer != layer->layer) continue;
        const struct report_row row = report_row(layers, r);
        for (int i = 1, m; (m = metric_at(LIST_JUDGED, i)) >= 0; i++)
            cells[1 + i] = row.cells[column_of((enum metric_id)m)];
    }
}

static void fill_summary(const struct run_view *run, const struct report_table *layers,
                         const struct summary *summary, struct report_row *row)
{
    const struct run_summary s = view_summarize(run);
    struct report_cell *next = row->cells + 2 * summary->of_layer;
    row->run = layers->run;
    row->name = layers->run->name;
    fill_layer(layers, &s.first, row->cells);
    fill_layer(layers, &s.last, row->cells + summary->of_layer);
    *next++ = report_number(s.layers);
    for (int i = 1; i <= summary->averages; i++)
        *next++ = report_number(s.average[metric_at(LIST_AVERAGED, i)]);
    *next = grade_cell(s.worst);
}

// Equal rows are no defect.
static void note_twins(struct builder *b)
{
    const struct report_section *layers = &b->report->sections[REPORT_LAYERS];
    for (int m = 0; m < mode_count(); m++) {
        const struct mode *mode = mode_at(m);
        bool here = false, twin = false;
        for (int t = 0; mode->equals && t < layers->n_tables; t++) {
            here |= strcmp(layers->tables[t].run->mode, mode->name) == 0;
            twin |= strcmp(layers->tables[t].run->mode, mode->equals) == 0;
        }
        if (here && twin)
            builder_note(
                b, REPORT_SUMMARY, 0,
                builder_text(b, "%s gives the same bits as %s by definition.", mode->name, mode->equals));
    }
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
    build_source_notes(b);
    if (!view_next_run(b->from->comparison, &run) || layers->n_tables == 0) return;
    note_twins(b);
    const struct run_summary head = view_summarize(&run);
    const struct summary summary = summary_columns(b, &head);
    const struct builder_shape shape = {
        .columns = summary.columns, .n_columns = summary.count, .n_rows = layers->n_tables};
    const char *title = builder_text(b, "All modes against %s%s: %s, %d sample%s, %lld tokens",
                                     report->reference, report->reference_weights, head.first.main->name,
                                     report->samples, report->samples == 1 ? "" : "s", report->tokens);
    struct report_table *table = shape.columns ? builder_table(b, REPORT_SUMMARY, 1, title, &shape) : NULL;
    int row = 0;
    for (run = (struct run_view){0}; table && view_next_run(b->from->comparison, &run); row++)
        fill_summary(&run, &layers->tables[row], &summary, &table->rows[row]);
    for (int i = 0; i < layers->notes.count; i++)
        if (layers->notes.items[i].mark)
            builder_note(b, REPORT_SUMMARY, layers->notes.items[i].mark, layers->notes.items[i].text);
    note_grades(b);
}
