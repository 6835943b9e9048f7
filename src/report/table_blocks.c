// SPDX-License-Identifier: Apache-2.0
// The six blocks of one layer.
#include <math.h>
#include <string.h>

#include "ssmsweep/measure/metric.h"
#include "ssmsweep/report/table.h"
#include "ssmsweep/report/view.h"
#include "table_chosen.h"

// A row of a block: label and metric.
struct row {
    const char *label, *metric;
};

enum { BLOCK_ROWS = 5 };
struct block {
    const char *title;
    struct row rows[BLOCK_ROWS];
};

static const struct block blocks[] = {
    {"Reference statistics", {{"mean", "fp_mean"}, {"std", "fp_std"}, {"min", "fp_min"}, {"max", "fp_max"}}},
    {"Mode statistics",
     {{"mean", "mode_mean"}, {"std", "mode_std"}, {"min", "mode_min"}, {"max", "mode_max"}}},
    {"Difference (mode - reference)",
     {{"mean", "diff_mean"},
      {"std", "diff_std"},
      {"mean |diff|", "abs_diff_mean"},
      {"max |diff|", "abs_diff_max"}}},
    {"Error metrics",
     {{"MSE", "mse"}, {"RMSE", "rmse"}, {"MAE", "mae"}, {"PSNR (dB)", "psnr_db"}, {"max ULP", "max_ulp"}}},
    {"Relative metrics",
     {{"relative MSE", "relative_mse"},
      {"relative MAE", "relative_mae"},
      {"correlation", "correlation"},
      {"cosine similarity", "cosine_similarity"},
      {"SQNR (dB)", "sqnr_db"}}},
    {"Percentiles of |diff|",
     {{"p50", "abs_diff_p50"}, {"p90", "abs_diff_p90"}, {"p95", "abs_diff_p95"}, {"p99", "abs_diff_p99"}}},
};

// The grade of a metric that has one; else false.
static bool graded(const char *metric, const struct record *record, enum grade *grade)
{
    if (strcmp(metric, "mse") == 0)
        *grade = record_grade_mse(record);
    else if (strcmp(metric, "relative_mae") == 0)
        *grade = record_grade_relative_mae(record);
    else if (strcmp(metric, "correlation") == 0)
        *grade = record_grade_correlation(record);
    else
        return false;
    return true;
}

static void print_row(FILE *out, const struct row *row, const struct comparison_entry *entry,
                      const struct sweep_report *sweep, bool color)
{
    const struct record *record = &entry->record;
    int metric = metric_find(row->metric, strlen(row->metric));
    double v = metric_value(record, metric);
    enum grade grade;
    const char *sign = table_value_sign_of(sweep, entry->run, entry->layer, entry->component, row->metric);
    if (metric == METRIC_MAX_ULP && isnan(v)) return; // of float modes only
    fprintf(out, "    %-18s", row->label);
    if (isnan(v))
        fputs("            n/a", out);
    else
        fprintf(out, "%15.8g", v);
    if (graded(row->metric, record, &grade)) {
        fprintf(out, "%s ", sign);
        table_print_grade(out, grade, 0, color);
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
        for (int r = 0; r < BLOCK_ROWS && blocks[b].rows[r].label; r++)
            print_row(out, &blocks[b].rows[r], entry, sweep, color);
    }
}

void table_print_blocks(FILE *out, const struct comparison *comparison, const struct result *result,
                        const struct sweep_report *sweep, bool color)
{
    for (int i = 0; i < comparison->count; i++)
        if (!view_is_reference(comparison, result, comparison->entries[i].run))
            print_entry(out, comparison, result, &comparison->entries[i], sweep, color);
}
