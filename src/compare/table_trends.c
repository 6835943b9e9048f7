// SPDX-License-Identifier: Apache-2.0
// A sweep report over calib_data_num, and over orders of the calibration samples.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/compare/sweep_files.h"
#include "ssmsweep/compare/table_sweep.h"
#include "ssmsweep/numerics/mode.h"
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
    return cell;
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
        const bool settles = *sweep_settles_at(report, unit, k, trends[i]) == cell && cell + 1 < trend->count;
        const bool noise = cell > 0 && sweep_runs_within_noise(report, unit, k, trend->runs + cell - 1, 2);
        const char *sign = table_sign(sweep_within_apart(report, unit, k, trend->runs[cell]), noise);
        const char marks[] = {settles ? '*' : ' ', sign[0], '\0'};
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

void table_print_trends(FILE *out, const struct sweep_report *report)
{
    int *units = calloc((size_t)report->n_units + 1, sizeof *units), trends[BOOTSTRAP_MAX_RUNS], n = 0;
    int shown = units ? table_choose_units(report, true, units) : 0;
    for (int t = 0; t < report->n_trends && n < BOOTSTRAP_MAX_RUNS; t++)
        if (has_column(report, &report->trends[t])) trends[n++] = t;
    if (shown > 0 && n > 0) {
        const struct sweep_unit *unit = &report->units[units[shown - 1]];
        fprintf(out, "\nMSE of layer %d, %s, against calib_data_num: 95 %% intervals over %d samples\n",
                unit->layer, component_name(unit->component), report->samples);
        for (int i = 0; i < n; i += BLOCK_MODES)
            print_trend_block(out, report, units[shown - 1], trends + i,
                              n - i < BLOCK_MODES ? n - i : BLOCK_MODES);
        fputs(
            "*: from here on, no larger calib_data_num is better for sure.  No *: the last one still was.\n",
            out);
        table_print_noise_legend(out, report, "the line above");
        table_print_apart_legend(out, report);
        table_print_noise_row_legend(out, report);
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
