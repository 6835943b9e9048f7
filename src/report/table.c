// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/table.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/coverage.h"
#include "ssmsweep/report/view.h"
#include "table_cells.h"
#include "table_chosen.h"

void table_rule(FILE *out, int width)
{
    for (int i = 0; i < width; i++)
        fputc('-', out);
    fputc('\n', out);
}

// ---- cells ----

void table_put_cell(FILE *out, int width, const char *cell, const char *marks, bool last)
{
    int shown = (int)strlen(marks);
    while (last && shown > 0 && marks[shown - 1] == ' ')
        shown--;
    fprintf(out, "%*s%.*s", width, cell, shown, marks);
}

const char *table_error_cell(char cell[CELL_CHARS], double v)
{
    if (isnan(v)) return "n/a";
    if (v == 0) return "0";
    snprintf(cell, CELL_CHARS, "%.3e", v);
    return cell;
}

static const char *percent_cell(char cell[CELL_CHARS], double v)
{
    if (isnan(v)) return "n/a";
    if (v == 0) return "0 %";
    double percent = 100 * v;
    snprintf(cell, CELL_CHARS,
             percent < 0.001 || percent >= 1e4 ? "%.1e %%"
             : percent < 1                     ? "%.3f %%"
                                               : "%.2f %%",
             percent);
    return cell;
}

// Cut, not rounded, to six decimals: 1.000000 stands for exactly 1 only.
static const char *correlation_cell(char cell[CELL_CHARS], double v)
{
    if (isnan(v)) return "n/a";
    snprintf(cell, CELL_CHARS, "%.6f", v > 0 ? floor(v * 1e6) / 1e6 : v);
    return cell;
}

// "MODE", or "MODE (n=64)" where the file holds several sets of scales.
static const char *mode_cell(char cell[CELL_CHARS * 2], const struct result *result, int run)
{
    const struct result_run *r = result_run_at(result, run);
    if (r->calib_data_num == 0 || view_cells(result) < 2) return r->mode;
    char text[VIEW_CELL_CHARS];
    snprintf(cell, CELL_CHARS * 2, "%s (%s)", r->mode, view_cell_text(r, text));
    return cell;
}

// ---- one mode, layer by layer ----

void table_print_grade(FILE *out, enum grade grade, int width, bool color)
{
    static const char *const codes[] = {"32", "36", "33", "31"}; // green, cyan, yellow, red
    if (color)
        fprintf(out, "\033[%sm%-*s\033[0m", codes[grade], width, grade_name(grade));
    else
        fprintf(out, "%-*s", width, grade_name(grade));
}

static const char *sign_of(const struct sweep_report *sweep, const struct comparison_entry *entry,
                           enum metric_id metric)
{
    return table_value_sign_of(sweep, entry->run, entry->layer, entry->component, metric);
}

static void print_layer(FILE *out, const struct comparison_entry *entry, const struct sweep_report *sweep,
                        bool color)
{
    const struct record *r = &entry->record;
    char mse[CELL_CHARS], correlation[CELL_CHARS], relative[CELL_CHARS], mae[CELL_CHARS], p99[CELL_CHARS],
        max[CELL_CHARS];
    fprintf(out, "%5d  %9s%s", entry->layer, table_error_cell(mse, r->value[METRIC_MSE]),
            sign_of(sweep, entry, METRIC_MSE));
    table_print_grade(out, record_grade(r, METRIC_MSE), 9, color);
    fprintf(out, "  %9s%s", correlation_cell(correlation, r->value[METRIC_CORRELATION]),
            sign_of(sweep, entry, METRIC_CORRELATION));
    table_print_grade(out, record_grade(r, METRIC_CORRELATION), 9, color);
    fprintf(out, " %9s%s", percent_cell(relative, r->value[METRIC_RELATIVE_MAE]),
            sign_of(sweep, entry, METRIC_RELATIVE_MAE));
    table_print_grade(out, record_grade(r, METRIC_RELATIVE_MAE), 9, color);
    fprintf(out, " %9s%s%10s %10s\n", table_error_cell(mae, r->value[METRIC_MAE]),
            sign_of(sweep, entry, METRIC_MAE), table_error_cell(p99, r->value[METRIC_ABS_DIFF_P99]),
            table_error_cell(max, r->value[METRIC_ABS_DIFF_MAX]));
}

static double average(const struct run_view *run, int component, enum metric_id metric)
{
    struct layer_average average = {0};
    for (int i = 0; i < run->count; i++) {
        const struct record *r = &run->entries[i].record;
        if (run->entries[i].component == component) view_add_layer(&average, r, r->value[metric]);
    }
    return view_average(&average);
}

static void print_average(FILE *out, const struct run_view *run, int component)
{
    char mse[CELL_CHARS], correlation[CELL_CHARS], relative[CELL_CHARS], mae[CELL_CHARS];
    fprintf(out, "%5s  %9s %-9s  %9s %-9s %9s %-9s %9s\n", "avg",
            table_error_cell(mse, average(run, component, METRIC_MSE)), "",
            correlation_cell(correlation, average(run, component, METRIC_CORRELATION)), "",
            percent_cell(relative, average(run, component, METRIC_RELATIVE_MAE)), "",
            table_error_cell(mae, average(run, component, METRIC_MAE)));
}

static void print_nonfinite(FILE *out, const struct comparison_entry *entry)
{
    const struct record *r = &entry->record;
    if (r->fp_nonfinite + r->mode_nonfinite > 0)
        fprintf(out, "       layer %d holds NaN or Inf: %.0f in the reference, %.0f in the mode\n",
                entry->layer, r->fp_nonfinite, r->mode_nonfinite);
}

static void print_component(FILE *out, const struct comparison *comparison, const struct result *result,
                            const struct run_view *run, int component, const struct sweep_report *sweep,
                            bool color)
{
    const struct mode *mode = mode_find(result_run_at(result, run->run)->mode);
    char name[CELL_CHARS * 2], weights[VIEW_WEIGHTS_CHARS];
    view_reference_weights(result, weights);
    fprintf(out, "\nMode %s against %s%s, %s\n", mode_cell(name, result, run->run),
            view_reference_name(comparison, result), weights,
            result_arch(result)->components[component].name);
    if (mode) fprintf(out, "%s\n", mode->summary);
    table_rule(out, TABLE_WIDTH);
    fprintf(out, "%5s  %9s %-9s  %-19s %-19s %9s %10s %10s\n", "layer", "MSE", "", "correlation",
            "relative MAE", "MAE", "p99 |diff|", "max |diff|");
    for (int i = 0; i < run->count; i++)
        if (run->entries[i].component == component) print_layer(out, &run->entries[i], sweep, color);
    print_average(out, run, component);
    for (int i = 0; i < run->count; i++)
        if (run->entries[i].component == component) print_nonfinite(out, &run->entries[i]);
    table_rule(out, TABLE_WIDTH);
}

static bool captured(const struct run_view *run, int component)
{
    for (int i = 0; i < run->count; i++)
        if (run->entries[i].component == component) return true;
    return false;
}

void table_print_modes(FILE *out, const struct comparison *comparison, const struct result *result,
                       const struct sweep_report *sweep, bool color)
{
    for (struct run_view run = {0}; view_next_run(comparison, &run);) {
        if (view_is_reference(comparison, result, run.run)) continue;
        for (int c = 0; c < result_arch(result)->n_components; c++)
            if (captured(&run, c)) print_component(out, comparison, result, &run, c, sweep, color);
    }
}

// ---- all modes ----

static void print_run(FILE *out, const struct comparison *comparison, const struct result *result,
                      const struct run_view *run, int name_width, const struct sweep_report *sweep,
                      bool color)
{
    struct run_summary s = view_summarize(run);
    const struct comparison_entry *first = s.first.main, *last = s.last.main;
    char name[CELL_CHARS * 2], cells[5][CELL_CHARS];
    bool reference = view_is_reference(comparison, result, run->run);
    fprintf(out, "%-*s   %11s%s%11s%s", name_width, mode_cell(name, result, run->run),
            table_error_cell(cells[0], first->record.value[METRIC_MSE]), sign_of(sweep, first, METRIC_MSE),
            table_error_cell(cells[1], first->record.value[METRIC_MAE]), sign_of(sweep, first, METRIC_MAE));
    if (s.layers > 1)
        fprintf(out, "  %11s%s%11s%s", table_error_cell(cells[2], last->record.value[METRIC_MSE]),
                sign_of(sweep, last, METRIC_MSE), table_error_cell(cells[3], last->record.value[METRIC_MAE]),
                sign_of(sweep, last, METRIC_MAE));
    fprintf(out, "  %11s   ", correlation_cell(cells[4], s.average[METRIC_CORRELATION]));
    if (reference)
        fputs("(reference)", out);
    else
        table_print_grade(out, s.worst, 0, color);
    fputc('\n', out);
}

void table_centre(char cell[CELL_CHARS], int width, int layer)
{
    char text[24];
    int room = width - snprintf(text, sizeof text, " layer %d ", layer);
    memset(cell, '-', (size_t)width);
    memcpy(cell + room / 2, text, strlen(text));
    cell[width] = '\0';
}

// Returns the width of the table.
static int print_header(FILE *out, const struct comparison *comparison, const struct result *result,
                        const struct run_summary *s, int name_width)
{
    char first[CELL_CHARS], last[CELL_CHARS], weights[VIEW_WEIGHTS_CHARS];
    view_reference_weights(result, weights);
    fprintf(out, "\nAll modes against %s%s: %s, %d sample%s, %lld tokens\n",
            view_reference_name(comparison, result), weights, s->first.main->name, result_samples(result),
            result_samples(result) == 1 ? "" : "s", view_tokens(result));
    const int columns = s->layers > 1 ? 2 : 1, width = name_width + columns * (3 + 23) + 3 + 11 + 3 + 11;
    table_rule(out, width);
    table_centre(first, 23, s->first.layer);
    table_centre(last, 23, s->last.layer);
    fprintf(out, "%-*s   %s%s%s   %11s   %s\n", name_width, "", first, columns > 1 ? "   " : "",
            columns > 1 ? last : "", "average", "worst");
    fprintf(out, "%-*s", name_width, "mode");
    for (int i = 0; i < columns; i++)
        fprintf(out, "   %11s %11s", "MSE", "MAE");
    fprintf(out, "   %11s   %s\n", "correlation", "grade");
    table_rule(out, width);
    return width;
}

static bool in_comparison(const struct comparison *comparison, const struct result *result, const char *mode)
{
    for (struct run_view run = {0}; view_next_run(comparison, &run);)
        if (strcmp(result_run_at(result, run.run)->mode, mode) == 0) return true;
    return false;
}

// So that nobody takes equal rows for a defect.
static void print_twins(FILE *out, const struct comparison *comparison, const struct result *result)
{
    for (int m = 0; m < mode_count(); m++) {
        const struct mode *mode = mode_at(m);
        if (mode->equals && in_comparison(comparison, result, mode->name) &&
            in_comparison(comparison, result, mode->equals))
            fprintf(out, "%s gives the same bits as %s by definition.\n", mode->name, mode->equals);
    }
}

static int widest_name(const struct comparison *comparison, const struct result *result)
{
    int widest = view_cells(result) > 1 ? 14 : 5;
    for (struct run_view run = {0}; view_next_run(comparison, &run);) {
        char name[CELL_CHARS * 2];
        const int width = (int)strlen(mode_cell(name, result, run.run));
        if (width > widest) widest = width;
    }
    return widest;
}

static void print_sources(FILE *out, const struct result *result)
{
    enum { MOST_OBSERVER = 70 }; // characters; summary.json has all
    const char *text = result_attribute(result, "evaluation_text"),
               *job_text = result_attribute(result, "job");
    struct error ignored = {0};
    struct json *job = NULL;
    if (job_text[0]) json_parse(&job, job_text, strlen(job_text), "job", &ignored);
    const char *observer = json_string(json_get(job, "observer"));
    if (text[0]) fprintf(out, "Compared on: %s.\n", text);
    if (observer)
        fprintf(out, "Scales by --observer %.*s%s\n", MOST_OBSERVER, observer,
                strlen(observer) > MOST_OBSERVER ? "..." : ".");
    json_close(job);
}

void table_print_summary(FILE *out, const struct comparison *comparison, const struct result *result,
                         const struct sweep_report *sweep, bool color)
{
    struct run_view run = {0};
    if (!view_next_run(comparison, &run)) { // of an unfinished sweep
        print_sources(out, result);
        coverage_print(out, result);
        return;
    }
    const struct run_summary head = view_summarize(&run);
    int name_width = widest_name(comparison, result);
    int width = print_header(out, comparison, result, &head, name_width);
    for (run = (struct run_view){0}; view_next_run(comparison, &run);)
        print_run(out, comparison, result, &run, name_width, sweep, color);
    table_rule(out, width);
    print_sources(out, result);
    coverage_print(out, result);
    print_twins(out, comparison, result);
    if (sweep->n_reruns > 0) table_print_value_legend(out, sweep);
    fputs("Worst of the layers compared.  The grades:  excellent     good      fair\n"
          "  MSE below                                 1e-4      1e-3      1e-2\n"
          "  correlation above                       0.9999     0.999      0.99\n"
          "  relative MAE below                       0.1 %       1 %       5 %\n",
          out);
}
