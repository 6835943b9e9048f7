// SPDX-License-Identifier: Apache-2.0
// A sweep report over calib_data_num, and over orders of the calibration samples.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/sweep_files.h"
#include "ssmsweep/report/table_sweep.h"
#include "table_cells.h"
#include "table_chosen.h"

// ---- against calib_data_num ----

enum { BLOCK_MODES = 3, POINT_WIDTH = 25, COLUMN = POINT_WIDTH + 3 };

// A mode that is another one by definition needs no column of its own.
static bool has_column(const struct sweep_report *report, const struct sweep_trend *trend)
{
    const struct mode *mode = mode_find(table_run_of(report, trend->runs[0])->mode);
    for (int t = 0; mode && mode->equals && t < report->n_trends; t++)
        if (strcmp(table_run_of(report, report->trends[t].runs[0])->mode, mode->equals) == 0) return false;
    return true;
}

// "6.02e-04 4.8e-04..6.5e-04"
static const char *point_cell(char cell[CELL_CHARS], const struct interval *v)
{
    int used =
        isnan(v->value) ? snprintf(cell, CELL_CHARS, "n/a") : snprintf(cell, CELL_CHARS, "%.2e", v->value);
    if (v->state == INTERVAL_OK)
        snprintf(cell + used, (size_t)(CELL_CHARS - used), " %.1e..%.1e", v->low, v->high);
    if (v->state == INTERVAL_UNBOUNDED)
        snprintf(cell + used, (size_t)(CELL_CHARS - used), " %16s", "unbounded");
    return cell;
}

// Less error by so much counts, though these samples do not tell it for sure.
static const double less = 0.05;

static bool later_has_less(const struct sweep_report *report, int unit, int k,
                           const struct sweep_trend *trend, int cell)
{
    const double own = sweep_entry_at(report, unit, trend->runs[cell])->intervals[k].value;
    for (int later = cell + 1; later < trend->count; later++) {
        const int pair[2] = {trend->runs[cell], trend->runs[later]};
        if (sweep_entry_at(report, unit, pair[1])->intervals[k].value < (1 - less) * own &&
            !sweep_runs_within_noise(report, unit, k, pair, 2))
            return true;
    }
    return false;
}

// ' ', or '*' from where on nothing larger is better, '?' where that is not for sure.
static char settling_mark(const struct sweep_report *report, int unit, int trend, int cell)
{
    const int k = table_main_statistic(&report->units[unit]);
    const struct sweep_trend *t = &report->trends[trend];
    if (*sweep_settles_at(report, unit, k, trend) != cell || cell + 1 == t->count) return ' ';
    return later_has_less(report, unit, k, t, cell) ? '?' : '*';
}

// Every trend has the same cells: each mode ran in every cell.
static void print_trend_row(FILE *out, const struct sweep_report *report, int unit, const int *trends,
                            int count, int cell)
{
    int k = table_main_statistic(&report->units[unit]);
    fprintf(out, "%14d", table_run_of(report, report->trends[trends[0]].runs[cell])->calib_data_num);
    for (int i = 0; i < count; i++) {
        const struct sweep_trend *trend = &report->trends[trends[i]];
        char point[CELL_CHARS];
        const bool noise = cell > 0 && sweep_runs_within_noise(report, unit, k, trend->runs + cell - 1, 2);
        const char *sign = table_sign(sweep_within_apart(report, unit, k, trend->runs[cell]), noise);
        const char marks[] = {settling_mark(report, unit, trends[i], cell), sign[0], '\0'};
        fputc(' ', out);
        table_put_cell(out, POINT_WIDTH,
                       point_cell(point, &sweep_entry_at(report, unit, trend->runs[cell])->intervals[k]),
                       marks, i == count - 1);
    }
    fputc('\n', out);
}

static void print_trend_noise(FILE *out, const struct sweep_report *report, int unit, const int *trends,
                              int count)
{
    fprintf(out, "%14s", "noise");
    for (int i = 0; i < count; i++) {
        const struct sweep_trend *trend = &report->trends[trends[i]];
        char cell[CELL_CHARS];
        const int k = table_main_statistic(&report->units[unit]);
        fputc(' ', out);
        table_put_cell(out, POINT_WIDTH,
                       table_noise_cell(cell, sizeof cell, report, unit, k, trend->runs, trend->count), "  ",
                       i == count - 1);
    }
    fputc('\n', out);
}

static void print_trend_block(FILE *out, const struct sweep_report *report, int unit, const int *trends,
                              int count)
{
    int width = 14 + count * COLUMN, cells = report->trends[trends[0]].count;
    table_rule(out, width);
    fprintf(out, "%14s", "calib_data_num");
    for (int i = 0; i < count; i++) {
        fputc(' ', out);
        table_put_cell(out, POINT_WIDTH, table_run_of(report, report->trends[trends[i]].runs[0])->mode, "  ",
                       i == count - 1);
    }
    fputc('\n', out);
    table_rule(out, width);
    for (int c = 0; c < cells; c++)
        print_trend_row(out, report, unit, trends, count, c);
    if (report->n_reruns > 0) print_trend_noise(out, report, unit, trends, count);
    table_rule(out, width);
}

static bool any_mark(const struct sweep_report *report, int unit, const int *trends, int count, char mark)
{
    for (int i = 0; i < count; i++)
        for (int c = 0; c < report->trends[trends[i]].count; c++)
            if (settling_mark(report, unit, trends[i], c) == mark) return true;
    return false;
}

static bool any_improving(const struct sweep_report *report, int unit, const int *trends, int count)
{
    const int k = table_main_statistic(&report->units[unit]);
    for (int i = 0; i < count; i++)
        if (*sweep_settles_at(report, unit, k, trends[i]) == report->trends[trends[i]].count - 1) return true;
    return false;
}

static void print_trend_legend(FILE *out, const struct sweep_report *report, int unit, const int *trends,
                               int count)
{
    const int k = table_main_statistic(&report->units[unit]);
    bool unbounded = false;
    for (int i = 0; i < count; i++)
        unbounded = unbounded || table_any_unbounded(report, unit, k, report->trends[trends[i]].runs,
                                                     report->trends[trends[i]].count);
    if (any_mark(report, unit, trends, count, '*'))
        fputs("*: from here on, no larger calib_data_num is better for sure, or has 5 % less error.\n", out);
    if (any_mark(report, unit, trends, count, '?'))
        fputs("?: from here on, none is better for sure, but one has 5 % less error or more: too few "
              "samples.\n",
              out);
    if (any_improving(report, unit, trends, count))
        fputs("A mode without such a mark: its last calib_data_num still was better, for sure.\n", out);
    if (unbounded) table_print_unbounded_legend(out);
    table_print_noise_legend(out, report, "the line above");
    table_print_apart_legend(out, report);
    table_print_noise_row_legend(out, report);
}

void table_print_trends(FILE *out, const struct sweep_report *report)
{
    int *units = calloc((size_t)report->n_units + 1, sizeof *units), trends[BOOTSTRAP_MAX_RUNS], n = 0;
    int shown = units ? table_choose_units(report, true, units) : 0;
    for (int t = 0; t < report->n_trends && n < BOOTSTRAP_MAX_RUNS; t++)
        if (has_column(report, &report->trends[t])) trends[n++] = t;
    if (shown > 0 && n > 0) {
        const struct sweep_unit *unit = &report->units[units[shown - 1]];
        fprintf(out, "\nMSE of layer %d, %s, against calib_data_num: 95 %% intervals over %d samples\n",
                unit->layer, unit->name, report->samples);
        for (int i = 0; i < n; i += BLOCK_MODES)
            print_trend_block(out, report, units[shown - 1], trends + i,
                              n - i < BLOCK_MODES ? n - i : BLOCK_MODES);
        print_trend_legend(out, report, units[shown - 1], trends, n);
    }
    free(units);
}

// ---- over orders of the calibration samples ----

void table_print_orders(FILE *out, const struct sweep_report *report)
{
    int *units = calloc((size_t)report->n_units + 1, sizeof *units),
        *places = calloc((size_t)report->n_runs + 1, sizeof *places);
    int shown = units && places ? table_choose_units(report, true, units) : 0;
    const struct sweep_family *family = shown > 0 ? table_main_family(report) : NULL;
    bool first = true;
    for (int i = 0; family && i < family->count; i++) {
        const int unit = units[shown - 1], k = table_main_statistic(&report->units[unit]);
        double least, most;
        int count = sweep_orders(report, family->runs[i], places);
        if (count < 2) continue;
        sweep_orders_range(report, unit, k, places, count, &least, &most);
        if (first)
            fprintf(out, "\nMSE of layer %d over %d orders of the calibration samples, calib_data_num %d:\n",
                    report->units[unit].layer, count, family->cell->calib_data_num);
        first = false;
        fprintf(out, "  %-*s %.3e..%.3e%s\n", table_name_width(report),
                table_run_of(report, family->runs[i])->mode, least, most,
                sweep_runs_within_noise(report, unit, k, places, count) ? table_sign(false, true) : "");
    }
    if (!first) table_print_noise_legend(out, report, "the other orders");
    free(units);
    free(places);
}
