// SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "ssmsweep/compare/metric.h"
#include "ssmsweep/compare/present.h"
#include "ssmsweep/compare/view.h"

static void put_number(FILE *out, const char *format, double v)
{
    fputs(" | ", out);
    if (isnan(v))
        fputs("n/a", out);
    else
        fprintf(out, format, v);
}

// Cut to six decimals, as in the tables.
static double cut(double correlation)
{
    return correlation > 0 ? floor(correlation * 1e6) / 1e6 : correlation;
}

static void put_name(FILE *out, const struct result *result, int run)
{
    const struct result_run *r = result_run_at(result, run);
    fputs(r->mode, out);
    char cell[VIEW_CELL_CHARS];
    if (r->calib_data_num > 0 && view_cells(result) > 1) fprintf(out, " (%s)", view_cell_text(r, cell));
}

static void put_entry(FILE *out, const struct comparison_entry *entry)
{
    const struct record *r = &entry->record;
    fprintf(out, "| %d | %s", entry->layer, component_name(entry->component));
    put_number(out, "%.3e", r->mse);
    put_number(out, "%.3e", r->mae);
    put_number(out, "%.3f %%", 100 * r->relative_mae);
    put_number(out, "%.6f", cut(r->correlation));
    put_number(out, "%.2f", metric_value(r, METRIC_SQNR_DB));
    put_number(out, "%.3e", r->abs_diff_p99);
    put_number(out, "%.3e", r->abs_diff_max);
    fprintf(out, " | %s |\n", grade_name(record_worst_grade(r)));
}

static void put_run(FILE *out, const struct comparison *comparison, const struct result *result,
                    const struct run_view *run)
{
    fputs("## Mode ", out);
    put_name(out, result, run->run);
    fprintf(out,
            " against %s\n\n| layer | component | MSE | MAE | relative MAE | correlation | SQNR (dB) | "
            "p99 diff | max diff | grade |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---|\n",
            view_reference_name(comparison, result));
    for (int i = 0; i < run->count; i++)
        put_entry(out, &run->entries[i]);
    fputc('\n', out);
}

static void put_summary(FILE *out, const struct result *result, const struct run_view *run)
{
    struct run_summary s = view_summarize(run);
    fputs("| ", out);
    put_name(out, result, run->run);
    put_number(out, "%.3e", s.first.main->record.mse);
    put_number(out, "%.3e", s.last.main->record.mse);
    put_number(out, "%.3e", s.avg_mse);
    put_number(out, "%.3e", s.avg_mae);
    put_number(out, "%.6f", cut(s.avg_correlation));
    fprintf(out, " | %s |\n", grade_name(s.worst));
}

void present_markdown(FILE *out, const struct comparison *comparison, const struct result *result)
{
    for (struct run_view run = {0}; view_next_run(comparison, &run);)
        if (!view_is_reference(comparison, result, run.run)) put_run(out, comparison, result, &run);
    fprintf(
        out,
        "## All modes against %s\n\n| mode | first layer MSE | last layer MSE | average MSE | average MAE | "
        "average correlation | worst grade |\n|---|---:|---:|---:|---:|---:|---|\n",
        view_reference_name(comparison, result));
    for (struct run_view run = {0}; view_next_run(comparison, &run);)
        if (!view_is_reference(comparison, result, run.run)) put_summary(out, result, &run);
}
