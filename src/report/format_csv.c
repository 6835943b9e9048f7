// SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "ssmsweep/base/number.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/report/present.h"
#include "ssmsweep/report/view.h"
#include "table_chosen.h"

typedef bool property(const struct sweep_report *, int, int, int, enum metric_id);

// "mse mae": the metrics that have it.
static void put_having(FILE *out, property *has, const struct sweep_report *sweep,
                       const struct comparison_entry *entry)
{
    const char *before = "";
    for (int m = 0; m < METRICS; m++) {
        if (!has(sweep, entry->run, entry->layer, entry->component, (enum metric_id)m)) continue;
        fprintf(out, "%s%s", before, metric_table[m].name);
        before = " ";
    }
}

static void put_entry(FILE *out, const struct result *result, const struct sweep_report *sweep,
                      const struct comparison_entry *entry)
{
    const struct result_run *run = result_run_at(result, entry->run);
    fprintf(out, "%s,", run->mode);
    char cell[CELL_NAME_ROOM];
    if (run->calib_data_num > 0) fputs(cell_name(view_cell(run), cell), out);
    fprintf(out, ",%d,%s,%.0f", entry->layer, entry->name, entry->record.count);
    for (int m = 0; m < METRICS; m++) {
        char digits[NUMBER_ROOM];
        const double v = entry->record.value[m];
        if (metric_table[m].subject != SUBJECT_OUTPUTS) continue;
        if (isnan(v))
            fputc(',', out);
        else
            fprintf(out, ",%s", number_text(v, NUMBER_EXACT, digits));
    }
    fprintf(out, ",%s,", grade_name(record_worst_grade(&entry->record)));
    put_having(out, table_within_noise, sweep, entry);
    fputc(',', out);
    put_having(out, table_within_apart, sweep, entry);
    fputc('\n', out);
}

void present_csv(FILE *out, const struct comparison *comparison, const struct result *result,
                 const struct sweep_report *sweep)
{
    fputs("mode,calib_data_num,layer,component,elements", out);
    for (int m = 0; m < METRICS; m++)
        if (metric_table[m].subject == SUBJECT_OUTPUTS) fprintf(out, ",%s", metric_table[m].name);
    fputs(",worst_grade,within_noise,within_apart\n", out);
    for (int i = 0; i < comparison->count; i++)
        if (!view_is_reference(comparison, result, comparison->entries[i].run))
            put_entry(out, result, sweep, &comparison->entries[i]);
}
