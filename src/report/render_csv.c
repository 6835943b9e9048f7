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
        for (int r = 0; !layers->tables[t].run->is_reference && r < layers->tables[t].n_rows; r++)
            put_row(out, &layers->tables[t], &layers->tables[t].rows[r], report->n_metrics);
}
