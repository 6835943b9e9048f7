// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/compare/table_sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/compare/sweep_files.h"
#include "ssmsweep/numerics/mode.h"
#include "table_cells.h"

enum { BLOCK_LAYERS = 3, MANY_LAYERS = 6, RANGE_WIDTH = 18, PLACE_WIDTH = 7 };

static const struct result_run *run_of(const struct sweep_report *report, int place)
{
    return result_run_at(report->result, report->runs[place]);
}

// ---- cells ----

static const char *range_cell(char cell[CELL_CHARS], const struct interval *v)
{
    char value[CELL_CHARS];
    if (v->state == INTERVAL_EXACT)
        snprintf(cell, CELL_CHARS, "%s", table_error_cell(value, v->value));
    else if (v->state == INTERVAL_OK)
        snprintf(cell, CELL_CHARS, "%.2e..%.2e", v->low, v->high);
    else
        snprintf(cell, CELL_CHARS, "unknown");
    return cell;
}

// "3", "2-5", with "=" where another mode is equal in every sample, and "~" where the place is noise.
static const char *place_cell(char cell[CELL_CHARS], const struct rank *ranks, const struct sweep_pair *pairs,
                              int count, int mode)
{
    int best, worst;
    const char *equal = ranks[mode].equal ? "=" : " ",
               *noise = sweep_rests_on_noise(ranks, pairs, count, mode) ? "~" : " ";
    sweep_places(ranks, count, mode, &best, &worst);
    if (best == 0)
        snprintf(cell, CELL_CHARS, "?  ");
    else if (best == worst)
        snprintf(cell, CELL_CHARS, "%d%s%s", best, equal, noise);
    else
        snprintf(cell, CELL_CHARS, "%d-%d%s%s", best, worst, equal, noise);
    return cell;
}

// ---- what is shown ----

// The metric that stands for the others.
static int main_statistic(const struct sweep_unit *unit)
{
    for (int k = 0; k < sweep_statistic_count(unit); k++)
        if (strcmp(sweep_statistics(unit)[k].name, "mse") == 0) return k;
    return 0;
}

static bool captured(const struct sweep_report *report, int layer)
{
    int layers = result_layers(report->result);
    for (int l = 0; l < layers; l++)
        if (result_layer_at(report->result, l) == layer) return true;
    return layers == 0;
}

// mixer_output, or the first component of the layer.
static bool is_main(const struct sweep_report *report, int unit)
{
    const struct sweep_unit *u = &report->units[unit];
    if (u->layer == SWEEP_END_OF_MODEL || !captured(report, u->layer)) return false;
    for (int i = 0; i < report->n_units; i++)
        if (report->units[i].layer == u->layer && i != unit &&
            (report->units[i].component == COMPONENT_MIXER_OUTPUT || i < unit) &&
            u->component != COMPONENT_MIXER_OUTPUT)
            return false;
    return true;
}

// units[report->n_units], one for each layer shown.  Returns how many.
static int choose_units(const struct sweep_report *report, bool all, int *units)
{
    int n = 0;
    for (int u = 0; u < report->n_units; u++)
        if (is_main(report, u)) units[n++] = u;
    if (all || n <= MANY_LAYERS) return n;
    units[1] = units[n - 1];
    return 2;
}

// The last cell of samples in the order of the text.
static const struct sweep_family *main_family(const struct sweep_report *report)
{
    const struct sweep_family *family = &report->families[0];
    for (int f = 1; f < report->n_families; f++)
        if (report->families[f].cell && report->families[f].cell->order == 0) family = &report->families[f];
    return family;
}

static int name_width(const struct sweep_report *report)
{
    int width = 5;
    for (int r = 0; r < report->n_runs; r++)
        width = (int)strlen(run_of(report, r)->mode) > width ? (int)strlen(run_of(report, r)->mode) : width;
    return width;
}

// ---- ranking ----

// Ends a headline.
static void print_cell(FILE *out, const struct sweep_report *report, const struct sweep_family *family)
{
    if (family->cell && report->n_families > 1)
        fprintf(out, ", calib_data_num %d", family->cell->calib_data_num);
    fputc('\n', out);
}

static void print_ranking_row(FILE *out, const struct sweep_report *report, const struct sweep_family *family,
                              const int *units, int n_units, int mode)
{
    fprintf(out, "%-*s", name_width(report), run_of(report, family->runs[mode])->mode);
    for (int i = 0; i < n_units; i++) {
        char place[CELL_CHARS], range[CELL_CHARS];
        int k = main_statistic(&report->units[units[i]]);
        const struct rank *ranks = sweep_ranks_at(report, units[i], k, family);
        const struct interval *v = &sweep_entry_at(report, units[i], family->runs[mode])->intervals[k];
        fprintf(out, "   %*s%*s", PLACE_WIDTH,
                place_cell(place, ranks, sweep_pairs_at(report, units[i], k, family), family->count, mode),
                RANGE_WIDTH, range_cell(range, v));
    }
    fputc('\n', out);
}

// The most that the re-runs of any mode changed.
static void print_noise_row(FILE *out, const struct sweep_report *report, const struct sweep_family *family,
                            const int *units, int n_units)
{
    fprintf(out, "%-*s", name_width(report), "noise");
    for (int i = 0; i < n_units; i++) {
        double most = 0;
        char cell[CELL_CHARS];
        for (int mode = 0; mode < family->count; mode++) {
            const struct noise_floor *floor = &sweep_entry_at(report, units[i], family->runs[mode])
                                                   ->floors[main_statistic(&report->units[units[i]])];
            if (floor->reruns > 0 && !(floor->change <= most)) most = floor->change;
        }
        snprintf(cell, sizeof cell, "+-%.2g %%", 100 * (scale_change(SCALE_LOG, most) - 1));
        fprintf(out, "   %*s%*s", PLACE_WIDTH, "", RANGE_WIDTH, cell);
    }
    fputc('\n', out);
}

static void print_ranking_block(FILE *out, const struct sweep_report *report,
                                const struct sweep_family *family, const int *units, int n_units)
{
    enum { COLUMN = PLACE_WIDTH + RANGE_WIDTH };
    int width = name_width(report) + n_units * (3 + COLUMN);
    table_rule(out, width);
    fprintf(out, "%-*s", name_width(report), "");
    for (int i = 0; i < n_units; i++) {
        char centre[CELL_CHARS];
        table_centre(centre, COLUMN, report->units[units[i]].layer);
        fprintf(out, "   %s", centre);
    }
    fprintf(out, "\n%-*s", name_width(report), "mode");
    for (int i = 0; i < n_units; i++)
        fprintf(out, "   %*s%*s", PLACE_WIDTH, "place ", RANGE_WIDTH, "MSE, 95 % interval");
    fputc('\n', out);
    table_rule(out, width);
    for (int mode = 0; mode < family->count; mode++)
        print_ranking_row(out, report, family, units, n_units, mode);
    if (report->n_reruns > 0) print_noise_row(out, report, family, units, n_units);
    table_rule(out, width);
}

// ---- what would divide those that are tied ----

// Ascending by value; runs without one last.
static void order_by_value(const struct sweep_report *report, const struct sweep_family *family, int unit,
                           int k, int *order)
{
    for (int i = 0; i < family->count; i++) {
        double v = sweep_entry_at(report, unit, family->runs[i])->intervals[k].value;
        int at = i;
        for (; at > 0; at--) {
            double before = sweep_entry_at(report, unit, family->runs[order[at - 1]])->intervals[k].value;
            if (!(before > v || (isnan(before) && !isnan(v)))) break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
}

// "about 240", to two digits.  What was not enough here is more than that.
static void needed_cell(char cell[CELL_CHARS], double needed, int samples)
{
    if (isnan(needed) || isinf(needed)) {
        snprintf(cell, CELL_CHARS, "beyond reach");
    } else if (needed <= samples) {
        snprintf(cell, CELL_CHARS, "a few more");
    } else {
        double unit = pow(10, fmax(0, floor(log10(needed)) - 1));
        snprintf(cell, CELL_CHARS, "about %.0f", ceil(needed / unit) * unit);
    }
}

// Of neighbours in the ranking of one layer, best first; one line for each.
static void print_needed(FILE *out, const struct sweep_report *report, const struct sweep_family *family,
                         int unit)
{
    int k = main_statistic(&report->units[unit]), order[BOOTSTRAP_MAX_RUNS];
    const struct rank *ranks = sweep_ranks_at(report, unit, k, family);
    const struct sweep_pair *pairs = sweep_pairs_at(report, unit, k, family);
    bool first = true;
    order_by_value(report, family, unit, k, order);
    for (int i = 0; i + 1 < family->count; i++) {
        int a = order[i] < order[i + 1] ? order[i] : order[i + 1], b = order[i] + order[i + 1] - a;
        const struct sweep_pair *pair = &pairs[pair_index(family->count, a, b)];
        char cell[CELL_CHARS];
        if (sweep_verdict(ranks, pair, a, b) != VERDICT_TIE) continue;
        if (first)
            fprintf(out, "Samples that would tell neighbours apart at layer %d:\n",
                    report->units[unit].layer);
        first = false;
        if (sweep_is_noise(pair))
            snprintf(cell, sizeof cell, "none, it is noise");
        else
            needed_cell(cell, pair->needed, report->samples);
        fprintf(out, "  %s and %s: %s\n", run_of(report, family->runs[order[i]])->mode,
                run_of(report, family->runs[order[i + 1]])->mode, cell);
    }
}

void table_print_ranking(FILE *out, const struct sweep_report *report, bool all)
{
    int *units = calloc((size_t)report->n_units + 1, sizeof *units);
    int n = units ? choose_units(report, all, units) : 0;
    const struct sweep_family *family = n > 0 ? main_family(report) : NULL;
    if (family) {
        fprintf(out, "\nHow sure is that?  %s against %s, %d sample%s",
                component_name(report->units[units[0]].component), report->reference, report->samples,
                report->samples == 1 ? "" : "s");
        print_cell(out, report, family);
        for (int i = 0; i < n; i += BLOCK_LAYERS)
            print_ranking_block(out, report, family, units + i, n - i < BLOCK_LAYERS ? n - i : BLOCK_LAYERS);
        fputs(
            "Place 1 has the smallest MSE; 2-5 is one from second to fifth, these samples do not say which.\n"
            "=: equal to another mode in every sample.  Modes are compared sample by sample: their "
            "intervals\n"
            "may overlap where their places do not.\n",
            out);
        fputs(report->n_reruns > 0 ? "~: rests on a difference that another order of sums makes as well "
                                     "(noise: the most it changes).\n"
                                   : "Which differences are mere rounding noise, runs with --noise K tell.\n",
              out);
        print_needed(out, report, family, units[n - 1]);
    }
    free(units);
}

// ---- against calib_data_num ----

enum { BLOCK_MODES = 3, POINT_WIDTH = 26 };

// A mode that is another one by definition needs no column of its own.
static bool has_column(const struct sweep_report *report, const struct sweep_trend *trend)
{
    const struct mode *mode = mode_find(run_of(report, trend->runs[0])->mode);
    for (int t = 0; mode && mode->equals && t < report->n_trends; t++)
        if (strcmp(run_of(report, report->trends[t].runs[0])->mode, mode->equals) == 0) return false;
    return true;
}

// "6.02e-04 4.8e-04..6.5e-04"
static const char *point_cell(char cell[CELL_CHARS], const struct interval *v)
{
    char value[CELL_CHARS];
    int used = snprintf(cell, CELL_CHARS, "%s", table_error_cell(value, v->value));
    if (v->state == INTERVAL_OK)
        snprintf(cell + used, (size_t)(CELL_CHARS - used), " %.1e..%.1e", v->low, v->high);
    return cell;
}

// Every trend has the same cells: each mode ran in every cell.
static void print_trend_row(FILE *out, const struct sweep_report *report, int unit, const int *trends,
                            int count, int cell)
{
    int k = main_statistic(&report->units[unit]);
    fprintf(out, "%14d", run_of(report, report->trends[trends[0]].runs[cell])->calib_data_num);
    for (int i = 0; i < count; i++) {
        const struct sweep_trend *trend = &report->trends[trends[i]];
        char point[CELL_CHARS];
        bool settles = *sweep_settles_at(report, unit, k, trends[i]) == cell && cell < trend->count - 1;
        fprintf(out, " %*s%s", POINT_WIDTH,
                point_cell(point, &sweep_entry_at(report, unit, trend->runs[cell])->intervals[k]),
                settles ? "*" : " ");
    }
    fputc('\n', out);
}

static void print_trend_block(FILE *out, const struct sweep_report *report, int unit, const int *trends,
                              int count)
{
    int width = 14 + count * (POINT_WIDTH + 2), cells = report->trends[trends[0]].count;
    table_rule(out, width);
    fprintf(out, "%14s", "calib_data_num");
    for (int i = 0; i < count; i++)
        fprintf(out, " %*s ", POINT_WIDTH, run_of(report, report->trends[trends[i]].runs[0])->mode);
    fputc('\n', out);
    table_rule(out, width);
    for (int c = 0; c < cells; c++)
        print_trend_row(out, report, unit, trends, count, c);
    table_rule(out, width);
}

void table_print_trends(FILE *out, const struct sweep_report *report)
{
    int *units = calloc((size_t)report->n_units + 1, sizeof *units), trends[BOOTSTRAP_MAX_RUNS], n = 0;
    int shown = units ? choose_units(report, true, units) : 0;
    for (int t = 0; t < report->n_trends && n < BOOTSTRAP_MAX_RUNS; t++)
        if (has_column(report, &report->trends[t])) trends[n++] = t;
    if (shown > 0 && n > 0) {
        const struct sweep_unit *unit = &report->units[units[shown - 1]];
        fprintf(out, "\nMSE of layer %d, %s, against calib_data_num: 95 %% intervals over %d samples\n",
                unit->layer, component_name(unit->component), report->samples);
        for (int i = 0; i < n; i += BLOCK_MODES)
            print_trend_block(out, report, units[shown - 1], trends + i,
                              n - i < BLOCK_MODES ? n - i : BLOCK_MODES);
        fputs("* From here on, no larger calib_data_num is better beyond doubt.  No *: the last one still "
              "was.\n",
              out);
    }
    free(units);
}

// ---- over orders of the calibration samples ----

void table_print_orders(FILE *out, const struct sweep_report *report)
{
    int *units = calloc((size_t)report->n_units + 1, sizeof *units),
        *places = calloc((size_t)report->n_runs + 1, sizeof *places);
    int shown = units && places ? choose_units(report, true, units) : 0;
    const struct sweep_family *family = shown > 0 ? main_family(report) : NULL;
    bool first = true;
    for (int i = 0; family && i < family->count; i++) {
        const int unit = units[shown - 1], k = main_statistic(&report->units[unit]);
        double least, most;
        int count = sweep_orders(report, family->runs[i], places);
        if (count < 2) continue;
        sweep_orders_range(report, unit, k, places, count, &least, &most);
        if (first)
            fprintf(out, "\nMSE of layer %d over %d orders of the calibration samples, calib_data_num %d:\n",
                    report->units[unit].layer, count, family->cell->calib_data_num);
        first = false;
        fprintf(out, "  %-*s %.3e..%.3e\n", name_width(report), run_of(report, family->runs[i])->mode, least,
                most);
    }
    free(units);
    free(places);
}

// ---- end of model ----

static const struct interval *text_interval(const struct sweep_report *report, int unit, int run,
                                            const char *name)
{
    const struct statistic *found = statistic_find(text_statistics, TEXT_STATISTICS, name);
    return &sweep_entry_at(report, unit, run)->intervals[found - text_statistics];
}

// A value and its interval, both as `format` has them; the value alone where there is no interval.
static int print_estimate(char cell[CELL_CHARS], const char *format, double scale, double offset,
                          const struct interval *v)
{
    char value[CELL_CHARS], low[CELL_CHARS], high[CELL_CHARS];
    snprintf(value, sizeof value, format, scale * (v->value - offset));
    snprintf(low, sizeof low, format, scale * (v->low - offset));
    snprintf(high, sizeof high, format, scale * (v->high - offset));
    if (v->state == INTERVAL_OK) return snprintf(cell, CELL_CHARS, "%.15s %.15s..%.15s", value, low, high);
    return snprintf(cell, CELL_CHARS, "%.15s", value);
}

// With fewer digits where the column is too narrow.
static const char *estimate_cell(char cell[CELL_CHARS], int width, const char *format, double scale,
                                 double offset, const struct interval *v)
{
    const bool sign = format[1] == '+';
    if (print_estimate(cell, format, scale, offset, v) > width &&
        print_estimate(cell, sign ? "%+.3g" : "%.3g", scale, offset, v) > width)
        print_estimate(cell, sign ? "%+.0e" : "%.0e", scale, offset, v);
    return cell;
}

enum {
    TEXT_NAME = 5,
    COLUMN_PERPLEXITY = 18,
    COLUMN_CHANGE = 21,
    COLUMN_KL = 24,
    COLUMN_TOP = 18,
    TEXT_WIDTH = TEXT_NAME + 2 + COLUMN_PERPLEXITY + 2 + COLUMN_CHANGE + 2 + COLUMN_KL + 2 + COLUMN_TOP
};

static void print_text_row(FILE *out, const struct sweep_report *report, int unit, int run)
{
    char cells[4][CELL_CHARS];
    fprintf(out, "%-*s  %18s  %21s  %24s  %18s\n", TEXT_NAME, run_of(report, run)->mode,
            estimate_cell(cells[0], COLUMN_PERPLEXITY, "%.2f", 1, 0,
                          text_interval(report, unit, run, "perplexity")),
            estimate_cell(cells[1], COLUMN_CHANGE, "%+.2f", 100, 1,
                          text_interval(report, unit, run, "perplexity_ratio")),
            estimate_cell(cells[2], COLUMN_KL, "%.1e", 1, 0, text_interval(report, unit, run, "kl_mean")),
            estimate_cell(cells[3], COLUMN_TOP, "%.2f", 100, 0,
                          text_interval(report, unit, run, "top1_agreement")));
}

void table_print_end_of_model(FILE *out, const struct sweep_report *report)
{
    int unit = report->n_units - 1;
    if (unit < 0 || report->units[unit].layer != SWEEP_END_OF_MODEL) return;
    const struct sweep_family *family = main_family(report);
    fprintf(out, "\nPredictions of the whole model against %s: %.0f tokens, with 95 %% intervals",
            report->reference, sweep_entry_at(report, unit, 0)->elements);
    print_cell(out, report, family);
    table_rule(out, TEXT_WIDTH);
    fprintf(out, "%-*s  %18s  %21s  %24s  %18s\n", TEXT_NAME, "mode", "perplexity", "change of it, %",
            "KL, nats", "same top token, %");
    table_rule(out, TEXT_WIDTH);
    for (int i = 0; i < family->count; i++)
        print_text_row(out, report, unit, family->runs[i]);
    table_rule(out, TEXT_WIDTH);
}
