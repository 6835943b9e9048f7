// SPDX-License-Identifier: Apache-2.0
// The sections of a sweep report over calib_data_num, and over orders of the calibration samples.
#include <math.h>
#include <string.h>

#include "report_parts.h"
#include "ssmsweep/recipe/mode.h"

// ---- against calib_data_num ----

// A trend at the unit and by the metric that are shown.
struct course {
    const struct sweep_trend *trend;
    int unit, k;
    int settles; // the place from which on nothing is better; -1: unknown
};

static const struct result_run *run_of(const struct sweep_report *sweep, int place)
{
    return result_run_at(sweep->result, sweep->runs[place]);
}

// A mode that is another one by definition needs no column of its own.
static bool has_column(const struct sweep_report *sweep, const struct sweep_trend *trend)
{
    const struct mode *mode = mode_find(run_of(sweep, trend->runs[0])->mode);
    for (int t = 0; mode && mode->equals && t < sweep->n_trends; t++)
        if (strcmp(run_of(sweep, sweep->trends[t].runs[0])->mode, mode->equals) == 0) return false;
    return true;
}

static bool later_has_less(const struct sweep_report *sweep, const struct course *c, int cell)
{
    const double less = 0.05; // counts, though these samples do not tell it for sure
    const double own = sweep_entry_at(sweep, c->unit, c->trend->runs[cell])->intervals[c->k].value;
    for (int later = cell + 1; later < c->trend->count; later++) {
        const int pair[2] = {c->trend->runs[cell], c->trend->runs[later]};
        if (sweep_entry_at(sweep, c->unit, pair[1])->intervals[c->k].value < (1 - less) * own &&
            !sweep_runs_within_noise(sweep, c->unit, c->k, pair, 2))
            return true;
    }
    return false;
}

static struct report_cell point_cell(const struct sweep_report *sweep, const struct course *c, int cell)
{
    const int *runs = c->trend->runs;
    struct report_cell point = report_estimate(&sweep_entry_at(sweep, c->unit, runs[cell])->intervals[c->k]);
    if (c->settles == cell && cell + 1 < c->trend->count)
        point.marks |= later_has_less(sweep, c, cell) ? REPORT_SETTLED_MAYBE : REPORT_SETTLED;
    if (sweep_within_apart(sweep, c->unit, c->k, runs[cell])) point.marks |= REPORT_APART;
    if (cell > 0 && sweep_runs_within_noise(sweep, c->unit, c->k, runs + cell - 1, 2))
        point.marks |= REPORT_NOISE;
    return point;
}

static void note_trends(struct builder *b, const struct report_table *table, bool improving)
{
    const unsigned marks = builder_marks(b, REPORT_TRENDS);
    if (marks & REPORT_SETTLED)
        builder_note(b, REPORT_TRENDS, REPORT_SETTLED,
                     "*: from here on, no larger calib_data_num is better for sure, or has 5 % less error.");
    if (marks & REPORT_SETTLED_MAYBE)
        builder_note(b, REPORT_TRENDS, REPORT_SETTLED_MAYBE,
                     "?: from here on, none is better for sure, but one has 5 % less error or more: too few "
                     "samples.");
    if (improving)
        builder_note(b, REPORT_TRENDS, 0,
                     "A mode without such a mark: its last calib_data_num still was better, for sure.");
    build_unbounded_note(b, REPORT_TRENDS, marks);
    build_noise_notes(b, REPORT_TRENDS, marks, "the line above");
    build_rerun_notes(b, table, REPORT_TRENDS);
}

static const struct report_column *trend_columns(struct builder *b, const struct course *courses, int count)
{
    struct report_column *columns = builder_take(b, (size_t)count, sizeof *columns);
    for (int i = 0; columns && i < count; i++) {
        const char *mode = run_of(b->from->sweep, courses[i].trend->runs[0])->mode;
        columns[i] = (struct report_column){mode, mode, NULL, NULL, 0, REPORT_POINT};
    }
    return columns;
}

// Every trend has the same cells: each mode ran in every cell.
static void fill_trends(struct builder *b, struct report_table *table, const struct course *courses,
                        int count)
{
    const struct sweep_report *sweep = b->from->sweep;
    const int cells = courses[0].trend->count;
    for (int cell = 0; cell < cells; cell++) {
        table->rows[cell].name =
            builder_text(b, "%d", run_of(sweep, courses[0].trend->runs[cell])->cell.calib_data_num);
        for (int i = 0; i < count; i++)
            table->rows[cell].cells[i] = point_cell(sweep, &courses[i], cell);
    }
    if (sweep->n_reruns == 0) return;
    table->rows[cells].name = "noise";
    for (int i = 0; i < count; i++)
        table->rows[cells].cells[i] = report_words(build_noise_text(
            b, courses[i].unit, courses[i].k, courses[i].trend->runs, courses[i].trend->count));
}

void build_trends(struct builder *b)
{
    const struct sweep_report *sweep = b->from->sweep;
    struct course courses[BOOTSTRAP_MAX_RUNS];
    int shown, n = 0;
    const int *units = build_units(b, true, &shown);
    if (shown == 0) return;
    const int unit = units[shown - 1], k = build_main_metric(&sweep->units[unit]);
    for (int t = 0; t < sweep->n_trends && n < BOOTSTRAP_MAX_RUNS; t++)
        if (has_column(sweep, &sweep->trends[t]))
            courses[n++] =
                (struct course){&sweep->trends[t], unit, k, (int)*sweep_settles_at(sweep, unit, k, t)};
    if (n == 0) return;
    const char *title =
        builder_text(b, "MSE of layer %d, %s, against calib_data_num: 95 %% intervals over %d samples",
                     sweep->units[unit].layer, sweep->units[unit].name, sweep->samples);
    const struct builder_shape shape = {.columns = trend_columns(b, courses, n),
                                        .n_columns = n,
                                        .n_rows = courses[0].trend->count + (sweep->n_reruns > 0)};
    struct report_table *table = shape.columns ? builder_table(b, REPORT_TRENDS, 1, title, &shape) : NULL;
    if (!table) return;
    bool improving = false;
    for (int i = 0; i < n; i++)
        improving |= courses[i].settles == courses[i].trend->count - 1;
    fill_trends(b, table, courses, n);
    note_trends(b, table, improving);
}

// ---- over orders of the calibration samples ----

static const struct report_column order_columns[] = {{"mse", "MSE", NULL, NULL, 0, REPORT_SPAN}};

static struct report_cell order_cell(const struct sweep_report *sweep, int unit, const int *places, int count)
{
    const int k = build_main_metric(&sweep->units[unit]);
    struct report_cell cell = report_number((double)NAN);
    sweep_orders_range(sweep, unit, k, places, count, &cell.low, &cell.high);
    if (sweep_runs_within_noise(sweep, unit, k, places, count)) cell.marks |= REPORT_NOISE;
    return cell;
}

void build_orders(struct builder *b)
{
    const struct sweep_report *sweep = b->from->sweep;
    int shown, *places = builder_take(b, (size_t)sweep->n_runs + 1, sizeof *places);
    const int *units = build_units(b, true, &shown);
    if (shown == 0 || !places) return;
    const int unit = units[shown - 1];
    const struct sweep_family *family = build_main_family(sweep);
    struct report_table *table = NULL;
    int rows = 0;
    for (int i = 0; i < family->count; i++) {
        const int count = sweep_orders(sweep, family->runs[i], places);
        if (count < 2) continue;
        const struct builder_shape shape = {
            .columns = order_columns, .n_columns = 1, .n_rows = family->count};
        const char *title =
            builder_text(b, "MSE of layer %d over %d orders of the calibration samples, calib_data_num %d:",
                         sweep->units[unit].layer, count, family->cell->cell.calib_data_num);
        if (!table) table = builder_table(b, REPORT_ORDERS, 1, title, &shape);
        if (!table) return;
        table->rows[rows].run = build_run_of(b, family->runs[i]);
        table->rows[rows].name = run_of(sweep, family->runs[i])->mode;
        table->rows[rows++].cells[0] = order_cell(sweep, unit, places, count);
    }
    if (!table) return;
    table->n_rows = rows;
    build_noise_notes(b, REPORT_ORDERS, builder_marks(b, REPORT_ORDERS), "the other orders");
}
