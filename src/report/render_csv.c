// SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "ssmsweep/base/number.h"
#include "ssmsweep/report/render.h"

// "mse mae": the metrics that have a mark.
static void put_marked(FILE *out, const struct report_table *table, const struct report_row *row, int metrics,
                       unsigned mark)
{
    const char *before = "";
    for (int m = 0; m < metrics; m++) {
        if (!(row->cells[m].marks & mark)) continue;
        fprintf(out, "%s%s", before, table->columns[m].key);
        before = " ";
    }
}

static void put_row(FILE *out, const struct report_table *table, const struct report_row *row, int metrics)
{
    char cell[CELL_NAME_ROOM], digits[NUMBER_ROOM];
    fprintf(out, "%s,%s", row->run->mode,
            row->run->cell.calib_data_num > 0 ? cell_name(row->run->cell, cell) : "");
    fprintf(out, ",%d,%s,%.0f", row->layer, row->component,
            row->cells[report_column(table, "elements")].value);
    for (int m = 0; m < metrics; m++) {
        const double v = row->cells[m].value;
        fprintf(out, ",%s", isnan(v) ? "" : number_text(v, NUMBER_EXACT, digits));
    }
    fprintf(out, ",%s,", row->cells[report_column(table, "worst_grade")].text);
    put_marked(out, table, row, metrics, REPORT_NOISE);
    fputc(',', out);
    put_marked(out, table, row, metrics, REPORT_APART);
    fputc('\n', out);
}

void render_csv(FILE *out, const struct report *report)
{
    const struct report_section *layers = &report->sections[REPORT_LAYERS];
    fputs("mode,calib_data_num,layer,component,elements", out);
    for (int m = 0; m < report->n_metrics; m++)
        fprintf(out, ",%s", report->metrics[m].key);
    fputs(",worst_grade,within_noise,within_apart\n", out);
    for (int t = 0; t < layers->n_tables; t++)
        for (int r = 0; !layers->tables[t].run->is_reference && r < layers->tables[t].n_rows; r++) {
            const struct report_row row = report_row(&layers->tables[t], r);
            put_row(out, &layers->tables[t], &row, report->n_metrics);
        }
}

// ---- sweep.csv ----

static void put_number(FILE *out, double v)
{
    char digits[NUMBER_ROOM];
    fprintf(out, ",%s", isnan(v) ? "" : number_text(v, NUMBER_EXACT, digits));
}

// Empty where nobody looked.
static void put_flag(FILE *out, unsigned marks, unsigned known, unsigned flag)
{
    fprintf(out, ",%s", !(marks & known) ? "" : marks & flag ? "1" : "0");
}

struct estimate {
    double value, low, high;
    unsigned marks;
};

static void put_estimate(FILE *out, const struct report_entry *entry, int samples, const char *metric,
                         struct estimate e)
{
    char name[CELL_NAME_ROOM];
    const struct cell *cell = &entry->run->cell;
    fprintf(out, "%s,", cell_name(*cell, name));
    if (cell->calib_data_num > 0) fprintf(out, "%d", cell->calib_data_num);
    fprintf(out, ",%s,", entry->run->mode);
    if (entry->layer == REPORT_NO_LAYER)
        fputc(',', out);
    else
        fprintf(out, "%d,%s", entry->layer, entry->component);
    fprintf(out, ",%s", metric);
    put_number(out, e.value);
    put_number(out, e.low);
    put_number(out, e.high);
    fprintf(out, ",%d", samples);
    put_flag(out, e.marks, REPORT_KNOWS_NOISE, REPORT_NOISE);
    put_flag(out, e.marks, REPORT_KNOWS_APART, REPORT_APART);
    fputc('\n', out);
}

static void put_value(FILE *out, const struct report_entry *entry, int samples, const char *metric,
                      double value)
{
    put_estimate(out, entry, samples, metric, (struct estimate){value, NAN, NAN, 0});
}

static void put_metrics(FILE *out, const struct report_entry *entry, int samples)
{
    for (int k = 0; k < entry->n_metrics; k++) {
        const struct report_cell *cell = &entry->cells[k];
        const char *metric = entry->metrics[k].key;
        char name[64];
        put_estimate(out, entry, samples, metric,
                     (struct estimate){cell->value, cell->low, cell->high, cell->marks});
        snprintf(name, sizeof name, "%s_noise", metric);
        if (cell->marks & REPORT_RERUN) put_value(out, entry, samples, name, cell->noise);
        snprintf(name, sizeof name, "%s_apart", metric);
        if (cell->marks & REPORT_KNOWS_APART) put_value(out, entry, samples, name, cell->apart);
    }
}

// Bounds stand where else an interval does: the value itself is not known closer.
static void put_percentiles(FILE *out, const struct report_statistics *statistics,
                            const struct report_entry *entry, const char *what)
{
    for (int p = 0; p < statistics->n_percentiles; p++) {
        char name[NUMBER_ROOM + 32], digits[NUMBER_ROOM];
        snprintf(name, sizeof name, "%.20s_p%s_bounds", what,
                 number_text(statistics->percentiles[p], 6, digits));
        put_estimate(out, entry, statistics->samples, name,
                     (struct estimate){NAN, entry->percentiles[p][0], entry->percentiles[p][1], 0});
    }
}

static void put_positions(FILE *out, const struct report_entry *entry, int samples)
{
    for (int p = 0; p < entry->n_positions; p++) {
        const struct report_position *position = &entry->positions[p];
        char tokens[32], name[48];
        snprintf(tokens, sizeof tokens, position->last_token >= 0 ? "tokens_%d_%d" : "tokens_%d",
                 position->first_token, position->last_token);
        snprintf(name, sizeof name, "mse_%s", tokens);
        put_value(out, entry, samples, name, position->mse);
        snprintf(name, sizeof name, "mae_%s", tokens);
        put_value(out, entry, samples, name, position->mae);
    }
}

void render_csv_sweep(FILE *out, const struct report *report)
{
    const struct report_statistics *statistics = report->statistics;
    struct report_entry made;
    fputs("cell,calib_data_num,mode,layer,component,metric,value,low,high,n,within_noise,within_apart\n",
          out);
    for (int i = 0; i < statistics->n_entries; i++) {
        report_entry(report, i, &made);
        const struct report_entry *entry = &made;
        const bool text = entry->layer == REPORT_NO_LAYER;
        const int samples = statistics->samples;
        put_metrics(out, entry, samples);
        if (text) put_value(out, entry, samples, "top1_correct", entry->top1_correct);
        put_value(out, entry, samples, text ? "kl_max" : "abs_diff_max", entry->largest);
        put_percentiles(out, statistics, entry, text ? "kl" : "abs_diff");
        put_positions(out, entry, samples);
    }
}
