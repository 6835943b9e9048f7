// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/table_sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/sweep_files.h"
#include "table_cells.h"
#include "table_chosen.h"

enum { BLOCK_LAYERS = 3, RANGE_WIDTH = 19, PLACE_WIDTH = 7 };

// ---- cells ----

static const char *range_cell(char cell[CELL_CHARS], const struct interval *v)
{
    char value[CELL_CHARS];
    if (v->state == INTERVAL_EXACT)
        snprintf(cell, CELL_CHARS, "%s", table_error_cell(value, v->value));
    else if (v->state == INTERVAL_OK)
        snprintf(cell, CELL_CHARS, "%.2e..%.2e", v->low, v->high);
    else
        snprintf(cell, CELL_CHARS, "%s", v->state == INTERVAL_UNBOUNDED ? "unbounded" : "unknown");
    return cell;
}

// "3", "2-5", with "=" where another mode is equal in every sample, and the sign of noise.
static const char *place_cell(char cell[CELL_CHARS], const struct rank *ranks, int count, int mode,
                              const char *noise)
{
    int best, worst;
    const char *equal = ranks[mode].equal ? "=" : " ";
    sweep_places(ranks, count, mode, &best, &worst);
    if (best == 0)
        snprintf(cell, CELL_CHARS, "?  ");
    else if (best == worst)
        snprintf(cell, CELL_CHARS, "%d%s%s", best, equal, noise);
    else
        snprintf(cell, CELL_CHARS, "%d-%d%s%s", best, worst, equal, noise);
    return cell;
}

// ---- ranking ----

static void print_ranking_row(FILE *out, const struct sweep_report *report, const struct sweep_family *family,
                              const int *units, int n_units, int mode)
{
    fprintf(out, "%-*s", table_name_width(report), table_run_of(report, family->runs[mode])->mode);
    for (int i = 0; i < n_units; i++) {
        char place[CELL_CHARS], range[CELL_CHARS];
        int k = table_main_statistic(&report->units[units[i]]);
        const struct rank *ranks = sweep_ranks_at(report, units[i], k, family);
        const struct interval *v = &sweep_entry_at(report, units[i], family->runs[mode])->intervals[k];
        const char *sign = table_sign(sweep_within_apart(report, units[i], k, family->runs[mode]),
                                      sweep_noise_set(report, units[i], k, family, mode) != 0);
        fprintf(out, "   %*s%*s", PLACE_WIDTH, place_cell(place, ranks, family->count, mode, sign),
                RANGE_WIDTH, range_cell(range, v));
    }
    fputc('\n', out);
}

// The most that the re-runs of any mode changed.
static void print_noise_row(FILE *out, const struct sweep_report *report, const struct sweep_family *family,
                            const int *units, int n_units)
{
    fprintf(out, "%-*s", table_name_width(report), "noise");
    for (int i = 0; i < n_units; i++) {
        char cell[CELL_CHARS];
        int k = table_main_statistic(&report->units[units[i]]);
        fprintf(out, "   %*s%*s", PLACE_WIDTH, "", RANGE_WIDTH,
                table_noise_cell(cell, sizeof cell, report, units[i], k, family->runs, family->count));
    }
    fputc('\n', out);
}

// How far the re-runs of any mode are from it.
static void print_apart_row(FILE *out, const struct sweep_report *report, const struct sweep_family *family,
                            const int *units, int n_units)
{
    fprintf(out, "%-*s", table_name_width(report), "apart");
    for (int i = 0; i < n_units; i++) {
        char cell[CELL_CHARS] = "";
        const int k = table_main_statistic(&report->units[units[i]]);
        const double apart = table_apart(report, units[i], k, family->runs, family->count);
        if (!isnan(apart)) snprintf(cell, sizeof cell, "%.2e", apart);
        fprintf(out, "   %*s%*s", PLACE_WIDTH, "", RANGE_WIDTH, cell);
    }
    fputc('\n', out);
}

static void print_ranking_block(FILE *out, const struct sweep_report *report,
                                const struct sweep_family *family, const int *units, int n_units)
{
    enum { COLUMN = PLACE_WIDTH + RANGE_WIDTH };
    int width = table_name_width(report) + n_units * (3 + COLUMN);
    table_rule(out, width);
    fprintf(out, "%-*s", table_name_width(report), "");
    for (int i = 0; i < n_units; i++) {
        char centre[CELL_CHARS];
        table_centre(centre, COLUMN, report->units[units[i]].layer);
        fprintf(out, "   %s", centre);
    }
    fprintf(out, "\n%-*s", table_name_width(report), "mode");
    for (int i = 0; i < n_units; i++)
        fprintf(out, "   %*s%*s", PLACE_WIDTH, "place  ", RANGE_WIDTH, "MSE, 95 % interval");
    fputc('\n', out);
    table_rule(out, width);
    for (int mode = 0; mode < family->count; mode++)
        print_ranking_row(out, report, family, units, n_units, mode);
    if (report->n_reruns > 0) {
        print_noise_row(out, report, family, units, n_units);
        print_apart_row(out, report, family, units, n_units);
    }
    table_rule(out, width);
}

// ---- neighbours ----

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

// "?240": samples to two digits, more than there are.  "?" where they are beyond reach.
static const char *tie_cell(char cell[CELL_CHARS], double needed, int samples)
{
    snprintf(cell, CELL_CHARS, "?");
    if (isnan(needed) || isinf(needed)) return cell;
    const double least = fmax(needed, samples + 1);
    double unit = 1;
    while (least / unit >= 100)
        unit *= 10;
    snprintf(cell, CELL_CHARS, "?%.0f", ceil(least / unit) * unit);
    return cell;
}

static const char *relation_cell(char cell[CELL_CHARS], const struct sweep_report *report,
                                 const struct rank *ranks, const struct sweep_pair *pair, int a, int b)
{
    const enum sweep_verdict verdict = sweep_verdict(ranks, pair, a, b);
    if (verdict == VERDICT_EQUAL) return "=";
    if (sweep_is_noise(pair)) return table_sign(false, true);
    if (verdict == VERDICT_TIE) return tie_cell(cell, pair->needed, report->samples);
    return verdict == VERDICT_UNKNOWN ? "?" : "<";
}

// "layer 23   fp16 < 3 ~ 2-4 ?14 0 = 2-0"
static void print_neighbours(FILE *out, const struct sweep_report *report, const struct sweep_family *family,
                             int unit)
{
    int k = table_main_statistic(&report->units[unit]), order[BOOTSTRAP_MAX_RUNS];
    const struct rank *ranks = sweep_ranks_at(report, unit, k, family);
    const struct sweep_pair *pairs = sweep_pairs_at(report, unit, k, family);
    order_by_value(report, family, unit, k, order);
    fprintf(out, "  layer %-3d", report->units[unit].layer);
    for (int i = 0; i < family->count; i++) {
        if (i > 0) {
            int a = order[i - 1] < order[i] ? order[i - 1] : order[i], b = order[i - 1] + order[i] - a;
            char cell[CELL_CHARS];
            fprintf(out, " %s",
                    relation_cell(cell, report, ranks, &pairs[pair_index(family->count, a, b)], a, b));
        }
        fprintf(out, " %s", table_run_of(report, family->runs[order[i]])->mode);
    }
    fputc('\n', out);
}

// Which signs stand in the tables.
struct signs {
    bool range, equal, unbounded; // "4-8", "=", "unbounded"
};

static struct signs find_signs(const struct sweep_report *report, const struct sweep_family *family,
                               const int *units, int n_units)
{
    struct signs found = {false, false, false};
    for (int i = 0; i < n_units; i++) {
        const int k = table_main_statistic(&report->units[units[i]]);
        const struct rank *ranks = sweep_ranks_at(report, units[i], k, family);
        found.unbounded |= table_any_unbounded(report, units[i], k, family->runs, family->count);
        for (int mode = 0; mode < family->count; mode++) {
            int best, worst;
            sweep_places(ranks, family->count, mode, &best, &worst);
            found.range |= best != worst;
            found.equal |= ranks[mode].equal != 0;
        }
    }
    return found;
}

static void print_reading(FILE *out, const struct sweep_report *report, struct signs signs)
{
    if (signs.range)
        fputs("Place 4-8: three modes are surely better; whether it is 4th or 8th, these samples do not "
              "tell.\n",
              out);
    fputs("Modes are compared text by text, so places may differ where intervals overlap.\n", out);
    if (signs.equal) fputs("=: equal to another mode in every sample.\n", out);
    if (signs.unbounded) table_print_unbounded_legend(out);
    table_print_value_legend(out, report);
    table_print_noise_row_legend(out, report);
    table_print_apart_row_legend(out, report);
    fputs("Neighbours, best first (<: surely smaller; ?90: not told apart, about 90 samples would do it):\n",
          out);
}

void table_print_ranking(FILE *out, const struct sweep_report *report, bool all)
{
    int *units = calloc((size_t)report->n_units + 1, sizeof *units);
    int n = units ? table_choose_units(report, all, units) : 0;
    const struct sweep_family *family = n > 0 ? table_main_family(report) : NULL;
    if (family) {
        fprintf(out, "\nWhich modes can be told apart?  %s against %s, %d sample%s",
                report->units[units[0]].name, report->reference, report->samples,
                report->samples == 1 ? "" : "s");
        table_print_cell(out, report, family);
        for (int i = 0; i < n; i += BLOCK_LAYERS)
            print_ranking_block(out, report, family, units + i, n - i < BLOCK_LAYERS ? n - i : BLOCK_LAYERS);
        print_reading(out, report, find_signs(report, family, units, n));
        for (int i = 0; i < n; i++)
            print_neighbours(out, report, family, units[i]);
    }
    free(units);
}
