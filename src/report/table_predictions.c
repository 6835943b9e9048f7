// SPDX-License-Identifier: Apache-2.0
// What the modes do to the predictions of the whole model.
#include <math.h>
#include <string.h>

#include "ssmsweep/report/sweep_files.h"
#include "ssmsweep/report/table_sweep.h"
#include "table_cells.h"
#include "table_chosen.h"

// A column: `scale` (value - offset) with its interval, both as `format` has them.
static const struct column {
    const char *title;
    enum metric_id metric;
    int width;
    const char *format;
    double scale, offset;
} columns[] = {
    {"perplexity", METRIC_PERPLEXITY, 18, "%.2f", 1, 0},
    {"change of it, %", METRIC_PERPLEXITY_RATIO, 21, "%+.2f", 100, 1},
    {"KL, nats", METRIC_KL_MEAN, 24, "%.1e", 1, 0},
    {"same top token, %", METRIC_TOP1_AGREEMENT, 18, "%.2f", 100, 0},
};
enum { COLUMNS = sizeof columns / sizeof columns[0], NAME_WIDTH = 5 };

static int statistic_of(const struct column *column)
{
    return metric_interval_place(column->metric);
}

// The value alone where there is no interval.
static int print_estimate(char cell[CELL_CHARS], const char *format, const struct column *c,
                          const struct interval *v)
{
    char value[CELL_CHARS], low[CELL_CHARS], high[CELL_CHARS];
    if (isnan(v->value)) return snprintf(cell, CELL_CHARS, "n/a");
    snprintf(value, sizeof value, format, c->scale * (v->value - c->offset));
    snprintf(low, sizeof low, format, c->scale * (v->low - c->offset));
    snprintf(high, sizeof high, format, c->scale * (v->high - c->offset));
    if (v->state == INTERVAL_OK) return snprintf(cell, CELL_CHARS, "%.15s %.15s..%.15s", value, low, high);
    if (v->state == INTERVAL_UNBOUNDED) return snprintf(cell, CELL_CHARS, "%.15s unbounded", value);
    return snprintf(cell, CELL_CHARS, "%.15s", value);
}

// Two digits behind the point show nothing of it.
static bool vanishes(const struct column *c, const struct interval *v)
{
    const double shown = fabs(c->scale * (v->value - c->offset));
    return c->format[strlen(c->format) - 1] == 'f' && shown > 0 && shown < 0.005;
}

// With fewer digits where the column is too narrow.
static const char *estimate_cell(char cell[CELL_CHARS], const struct column *c, const struct interval *v)
{
    const bool sign = c->format[1] == '+';
    if ((vanishes(c, v) || print_estimate(cell, c->format, c, v) > c->width) &&
        print_estimate(cell, sign ? "%+.3g" : "%.3g", c, v) > c->width)
        print_estimate(cell, sign ? "%+.0e" : "%.0e", c, v);
    return cell;
}

// In the unit of the column, the most that re-runs of any mode change; "" where there are none.
static const char *noise_cell(char cell[CELL_CHARS], const struct column *c,
                              const struct sweep_report *report, const struct sweep_family *family, int unit)
{
    const int k = statistic_of(c);
    double most = -1;
    for (int i = 0; i < family->count; i++) {
        const struct sweep_entry *entry = sweep_entry_at(report, unit, family->runs[i]);
        const double phi = entry->intervals[k].phi, step = entry->floors[k].change;
        if (entry->floors[k].reruns == 0) continue;
        for (int sign = -1; sign <= 1; sign += 2) {
            double moved =
                scale_value(metric_table[c->metric].scale, phi + sign * step) - entry->intervals[k].value;
            most = fmax(most, fabs(moved)); // which passes over what is not known
        }
    }
    snprintf(cell, CELL_CHARS, "+-%.2g", c->scale * most);
    return most < 0 ? "" : cell;
}

static void put_cell(FILE *out, int column, const char *cell, const char *mark)
{
    fputs("  ", out);
    table_put_cell(out, columns[column].width, cell, mark, column == COLUMNS - 1);
}

static void print_row(FILE *out, const struct sweep_report *report, int unit, int run)
{
    fprintf(out, "%-*s", NAME_WIDTH, table_run_of(report, run)->mode);
    for (int i = 0; i < COLUMNS; i++) {
        const int k = statistic_of(&columns[i]);
        char cell[CELL_CHARS];
        put_cell(out, i, estimate_cell(cell, &columns[i], &sweep_entry_at(report, unit, run)->intervals[k]),
                 table_value_sign(report, unit, k, run));
    }
    fputc('\n', out);
}

static void print_noise_row(FILE *out, const struct sweep_report *report, const struct sweep_family *family,
                            int unit)
{
    fprintf(out, "%-*s", NAME_WIDTH, "noise");
    for (int i = 0; i < COLUMNS; i++) {
        char cell[CELL_CHARS];
        put_cell(out, i, noise_cell(cell, &columns[i], report, family, unit), " ");
    }
    fputc('\n', out);
}

static void print_apart_row(FILE *out, const struct sweep_report *report, const struct sweep_family *family,
                            int unit)
{
    fprintf(out, "%-*s", NAME_WIDTH, "apart");
    for (int i = 0; i < COLUMNS; i++) {
        const struct column *c = &columns[i];
        const int k = statistic_of(c);
        const double apart = table_apart(report, unit, k, family->runs, family->count);
        char cell[CELL_CHARS] = "";
        if (!isnan(apart)) snprintf(cell, sizeof cell, c->format, c->scale * (apart - c->offset));
        put_cell(out, i, cell, " ");
    }
    fputc('\n', out);
}

// The most that a run has; 0 and a line that says why where none has any.
static long long count_predictions(FILE *out, const struct sweep_report *report,
                                   const struct sweep_family *family, int unit)
{
    const long long all = report->tokens - report->samples; // the first token of a text is not predicted
    double most = 0;
    for (int i = 0; i < family->count; i++)
        most = fmax(most, sweep_entry_at(report, unit, family->runs[i])->elements);
    if (all < 1)
        fputs("\nNo predictions of the whole model: every sample has one token.\n", out);
    else if (most < 1)
        fputs("\nNo predictions of the whole model to compare: NaN or Inf in all, of the modes or of the "
              "reference.\n",
              out);
    return all < 1 || most < 1 ? 0 : all;
}

static void print_nonfinite(FILE *out, const struct sweep_report *report, const struct sweep_family *family,
                            int unit)
{
    for (int i = 0; i < family->count; i++) {
        const double count = sweep_entry_at(report, unit, family->runs[i])->nonfinite[1];
        if (count > 0)
            fprintf(out, "%s: %.0f predictions not compared: NaN or Inf in them or in the reference's.\n",
                    table_run_of(report, family->runs[i])->mode, count);
    }
}

void table_print_end_of_model(FILE *out, const struct sweep_report *report)
{
    int unit = report->n_units - 1, width = NAME_WIDTH;
    if (unit < 0 || report->units[unit].layer != SWEEP_END_OF_MODEL) return;
    const struct sweep_family *family = table_main_family(report);
    const long long tokens = count_predictions(out, report, family, unit);
    if (tokens == 0) return;
    fprintf(out, "\nPredictions of the whole model against %s: %lld tokens, with 95 %% intervals",
            report->reference, tokens);
    table_print_cell(out, report, family);
    for (int i = 0; i < COLUMNS; i++)
        width += 3 + columns[i].width;
    table_rule(out, width);
    fprintf(out, "%-*s", NAME_WIDTH, "mode");
    for (int i = 0; i < COLUMNS; i++)
        put_cell(out, i, columns[i].title, " ");
    fputc('\n', out);
    table_rule(out, width);
    for (int i = 0; i < family->count; i++)
        print_row(out, report, unit, family->runs[i]);
    if (report->n_reruns > 0) {
        print_noise_row(out, report, family, unit);
        print_apart_row(out, report, family, unit);
    }
    table_rule(out, width);
    print_nonfinite(out, report, family, unit);
    for (int i = 0; i < COLUMNS; i++)
        if (table_any_unbounded(report, unit, statistic_of(&columns[i]), family->runs, family->count)) {
            table_print_unbounded_legend(out);
            break;
        }
    table_print_value_legend(out, report);
    table_print_noise_row_legend(out, report);
    table_print_apart_row_legend(out, report);
}
