// SPDX-License-Identifier: Apache-2.0
#include <math.h>

#include "ssmsweep/measure/metric.h"
#include "ssmsweep/report/present.h"
#include "ssmsweep/report/view.h"
#include "table_chosen.h"

static void put_number(FILE *out, const char *format, double v)
{
    fputs(" | ", out);
    if (isnan(v))
        fputs("n/a", out);
    else
        fprintf(out, format, v);
}

// With the sign of noise behind it.
static void put_metric(FILE *out, const char *format, double v, const struct sweep_report *sweep,
                       const struct comparison_entry *entry, enum metric_id metric)
{
    put_number(out, format, v);
    const char *sign = table_value_sign_of(sweep, entry->run, entry->layer, entry->component, metric);
    if (sign[0] != ' ') fputs(sign, out);
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

static void put_entry(FILE *out, const struct comparison_entry *entry, const struct sweep_report *sweep)
{
    const struct record *r = &entry->record;
    fprintf(out, "| %d | %s", entry->layer, entry->name);
    put_metric(out, "%.3e", r->value[METRIC_MSE], sweep, entry, METRIC_MSE);
    put_metric(out, "%.3e", r->value[METRIC_MAE], sweep, entry, METRIC_MAE);
    put_metric(out, "%.3f %%", 100 * r->value[METRIC_RELATIVE_MAE], sweep, entry, METRIC_RELATIVE_MAE);
    put_metric(out, "%.6f", cut(r->value[METRIC_CORRELATION]), sweep, entry, METRIC_CORRELATION);
    put_metric(out, "%.2f", r->value[METRIC_SQNR_DB], sweep, entry, METRIC_SQNR_DB);
    put_number(out, "%.3e", r->value[METRIC_ABS_DIFF_P99]);
    put_number(out, "%.3e", r->value[METRIC_ABS_DIFF_MAX]);
    fprintf(out, " | %s |\n", grade_name(record_worst_grade(r)));
}

static void put_run(FILE *out, const struct comparison *comparison, const struct result *result,
                    const struct run_view *run, const struct sweep_report *sweep)
{
    fputs("## Mode ", out);
    put_name(out, result, run->run);
    fprintf(out,
            " against %s\n\n| layer | component | MSE | MAE | relative MAE | correlation | SQNR (dB) | "
            "p99 diff | max diff | grade |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---|\n",
            view_reference_name(comparison, result));
    for (int i = 0; i < run->count; i++)
        put_entry(out, &run->entries[i], sweep);
    fputc('\n', out);
}

static void put_summary(FILE *out, const struct result *result, const struct run_view *run,
                        const struct sweep_report *sweep)
{
    const struct run_summary s = view_summarize(run);
    const struct comparison_entry *first = s.first.main, *last = s.last.main;
    fputs("| ", out);
    put_name(out, result, run->run);
    put_metric(out, "%.3e", first->record.value[METRIC_MSE], sweep, first, METRIC_MSE);
    put_metric(out, "%.3e", last->record.value[METRIC_MSE], sweep, last, METRIC_MSE);
    put_number(out, "%.3e", s.average[METRIC_MSE]);
    put_number(out, "%.3e", s.average[METRIC_MAE]);
    put_number(out, "%.6f", cut(s.average[METRIC_CORRELATION]));
    fprintf(out, " | %s |\n", grade_name(s.worst));
}

void present_markdown(FILE *out, const struct comparison *comparison, const struct result *result,
                      const struct sweep_report *sweep)
{
    for (struct run_view run = {0}; view_next_run(comparison, &run);)
        if (!view_is_reference(comparison, result, run.run)) put_run(out, comparison, result, &run, sweep);
    fprintf(
        out,
        "## All modes against %s\n\n| mode | first layer MSE | last layer MSE | average MSE | average MAE | "
        "average correlation | worst grade |\n|---|---:|---:|---:|---:|---:|---|\n",
        view_reference_name(comparison, result));
    for (struct run_view run = {0}; view_next_run(comparison, &run);)
        if (!view_is_reference(comparison, result, run.run)) put_summary(out, result, &run, sweep);
    if (comparison->count > 0 && sweep->n_units > 0) {
        fputc('\n', out);
        table_print_value_legend(out, sweep);
    }
}
