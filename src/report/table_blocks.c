// SPDX-License-Identifier: Apache-2.0
// The six blocks of one layer.
#include <math.h>
#include <stdio.h>

#include "ssmsweep/measure/metric.h"
#include "ssmsweep/report/table.h"
#include "ssmsweep/report/view.h"
#include "table_cells.h"
#include "table_chosen.h"

static const struct block {
    const char *title;
    enum metric_list rows;
} blocks[] = {
    {"Reference statistics", LIST_BLOCK_REFERENCE},
    {"Mode statistics", LIST_BLOCK_MODE},
    {"Difference (mode - reference)", LIST_BLOCK_DIFFERENCE},
    {"Error metrics", LIST_BLOCK_ERROR},
    {"Relative metrics", LIST_BLOCK_RELATIVE},
    {"Percentiles of |diff|", LIST_BLOCK_PERCENTILES},
};

static void print_row(FILE *out, enum metric_id metric, const struct comparison_entry *entry,
                      const struct sweep_report *sweep, bool color)
{
    const struct metric *m = &metric_table[metric];
    const double v = entry->record.value[metric];
    const char *sign = table_value_sign_of(sweep, entry->run, entry->layer, entry->component, metric);
    char label[CELL_CHARS];
    if (m->needs == NEEDS_FLOAT_OUTPUTS && isnan(v)) return;
    snprintf(label, sizeof label, m->unit ? "%s (%s)" : "%s", m->label, m->unit);
    fprintf(out, "    %-18s", label);
    if (isnan(v))
        fputs("            n/a", out);
    else
        fprintf(out, "%15.8g", v);
    if (m->place[LIST_GRADED]) {
        fprintf(out, "%s ", sign);
        table_print_grade(out, record_grade(&entry->record, metric), 0, color);
    } else if (sign[0] != ' ') {
        fputs(sign, out);
    }
    fputc('\n', out);
}

static void print_entry(FILE *out, const struct comparison *comparison, const struct result *result,
                        const struct comparison_entry *entry, const struct sweep_report *sweep, bool color)
{
    const struct result_run *run = result_run_at(result, entry->run);
    fprintf(out, "\nMode %s", run->mode);
    char cell[VIEW_CELL_CHARS];
    if (run->calib_data_num > 0 && view_cells(result) > 1) fprintf(out, " (%s)", view_cell_text(run, cell));
    fprintf(out, " against %s, layer %d, %s, %.0f values\n", view_reference_name(comparison, result),
            entry->layer, entry->name, entry->record.count);
    for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++) {
        fprintf(out, "  %s\n", blocks[b].title);
        for (int r = 1, m; (m = metric_at(blocks[b].rows, r)) >= 0; r++)
            print_row(out, (enum metric_id)m, entry, sweep, color);
    }
}

void table_print_blocks(FILE *out, const struct comparison *comparison, const struct result *result,
                        const struct sweep_report *sweep, bool color)
{
    for (int i = 0; i < comparison->count; i++)
        if (!view_is_reference(comparison, result, comparison->entries[i].run))
            print_entry(out, comparison, result, &comparison->entries[i], sweep, color);
}
