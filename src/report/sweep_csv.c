// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdio.h>

#include "ssmsweep/base/number.h"
#include "ssmsweep/report/sweep_files.h"
#include "ssmsweep/report/view.h"

// What a row is of.
struct row {
    FILE *out;
    const struct sweep_report *report;
    const struct sweep_unit *unit;
    const struct result_run *run;
};

static void put_number(FILE *out, double v)
{
    char digits[NUMBER_ROOM];
    fprintf(out, ",%s", isnan(v) ? "" : number_text(v, NUMBER_EXACT, digits));
}

// 1, 0, or -1 where it is not known.
struct nearness {
    int noise, apart; // within
};

static void put_flag(FILE *out, int flag)
{
    fprintf(out, ",%s", flag < 0 ? "" : flag ? "1" : "0");
}

static void put_estimate(const struct row *row, const char *metric, double value, double low, double high,
                         struct nearness within)
{
    char name[CELL_NAME_ROOM];
    const struct result_run *run = row->run;
    fprintf(row->out, "%s,", cell_name(run->cell, name));
    if (run->cell.calib_data_num > 0) fprintf(row->out, "%d", run->cell.calib_data_num);
    fprintf(row->out, ",%s,", run->mode);
    if (row->unit->layer == SWEEP_END_OF_MODEL)
        fputc(',', row->out);
    else
        fprintf(row->out, "%d,%s", row->unit->layer, row->unit->name);
    fprintf(row->out, ",%s", metric);
    put_number(row->out, value);
    put_number(row->out, low);
    put_number(row->out, high);
    fprintf(row->out, ",%d", row->report->samples);
    put_flag(row->out, within.noise);
    put_flag(row->out, within.apart);
    fputc('\n', row->out);
}

static void put_row(const struct row *row, const char *metric, double value, double low, double high)
{
    put_estimate(row, metric, value, low, high, (struct nearness){-1, -1});
}

// Bounds stand where else an interval does: the value itself is not known closer.
static void put_percentiles(const struct row *row, const char *what, const struct sweep_entry *entry)
{
    for (int p = 0; p < SWEEP_PERCENTILES; p++) {
        char name[NUMBER_ROOM + 32], digits[NUMBER_ROOM];
        snprintf(name, sizeof name, "%.20s_p%s_bounds", what, number_text(sweep_percentiles[p], 6, digits));
        put_row(row, name, NAN, entry->percentiles[p][0], entry->percentiles[p][1]);
    }
}

static void put_positions(const struct row *row, const struct sweep_entry *entry)
{
    for (int b = 0; b < PROFILE_POSITIONS; b++) {
        int first, last;
        char tokens[32], name[48];
        if (entry->position_count[b] == 0) continue;
        profile_tokens(b, &first, &last);
        snprintf(tokens, sizeof tokens, b < PROFILE_POSITIONS - 1 ? "tokens_%d_%d" : "tokens_%d", first,
                 last);
        snprintf(name, sizeof name, "mse_%s", tokens);
        put_row(row, name, entry->position_mse[b], NAN, NAN);
        snprintf(name, sizeof name, "mae_%s", tokens);
        put_row(row, name, entry->position_mae[b], NAN, NAN);
    }
}

static void put_entry(FILE *out, const struct sweep_report *report, int unit, int run)
{
    const struct row row = {out, report, &report->units[unit],
                            result_run_at(report->result, report->runs[run])};
    const struct sweep_entry *entry = sweep_entry_at(report, unit, run);
    bool text = row.unit->layer == SWEEP_END_OF_MODEL;
    for (int k = 0; k < sweep_metric_count(row.unit); k++) {
        const struct metric *metric = sweep_metric(row.unit, k);
        const struct interval *v = &entry->intervals[k];
        const bool reruns = entry->floors[k].reruns > 0, apart = reruns && !metric->no_distance;
        put_estimate(&row, metric->name, v->value, v->low, v->high,
                     (struct nearness){report->n_reruns > 0 ? sweep_within_noise(report, unit, k, run) : -1,
                                       apart ? sweep_within_apart(report, unit, k, run) : -1});
        if (!reruns) continue;
        char name[48];
        snprintf(name, sizeof name, "%s_noise", metric->name);
        put_row(&row, name, scale_change(metric->scale, entry->floors[k].change), NAN, NAN);
        if (!apart) continue;
        snprintf(name, sizeof name, "%s_apart", metric->name);
        put_row(&row, name, entry->floors[k].value, NAN, NAN);
    }
    if (text) put_row(&row, "top1_correct", entry->top1_correct, NAN, NAN);
    put_row(&row, text ? "kl_max" : "abs_diff_max", entry->largest, NAN, NAN);
    put_percentiles(&row, text ? "kl" : "abs_diff", entry);
    if (!text) put_positions(&row, entry);
}

void sweep_csv_write(FILE *out, const struct sweep_report *report)
{
    fputs("cell,calib_data_num,mode,layer,component,metric,value,low,high,n,within_noise,within_apart\n",
          out);
    for (int r = 0; r < report->n_runs; r++)
        for (int u = 0; u < report->n_units; u++)
            put_entry(out, report, u, r);
}
