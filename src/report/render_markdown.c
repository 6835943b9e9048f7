// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <string.h>

#include "ssmsweep/report/render.h"

// A column and its heading; NULL: the column's own.
struct pick {
    const char *key, *title;
};

// ---- cells ----

static void put_number(FILE *out, enum report_format format, double v)
{
    if (isnan(v))
        fputs("n/a", out);
    else if (format == REPORT_SHARE)
        fprintf(out, "%.3f %%", 100 * v);
    else if (format == REPORT_CORRELATION)
        fprintf(out, "%.6f", v > 0 ? floor(v * 1e6) / 1e6 : v); // cut: 1.000000 stands for exactly 1
    else if (format == REPORT_DECIBEL)
        fprintf(out, "%.2f", v);
    else
        fprintf(out, "%.3e", v);
}

// A bar would end the cell.
static void put_title(FILE *out, const char *title)
{
    for (; *title; title++)
        if (*title != '|') fputc(*title, out);
}

// With its sign behind it.
static void put_cell(FILE *out, enum report_format format, const struct report_cell *cell, unsigned *shown)
{
    const char sign = report_sign(cell->marks);
    fputs(" | ", out);
    if (cell->text)
        put_title(out, cell->text);
    else
        put_number(out, format, cell->value);
    if (!cell->text && format == REPORT_POINT && cell->state == INTERVAL_OK)
        fprintf(out, " (%.2e..%.2e)", cell->low, cell->high);
    if (sign != ' ') fputc(sign, out);
    if (cell->marks & REPORT_SURE) *shown |= REPORT_SURE;
    *shown |= sign == '#' ? REPORT_APART : sign == '~' ? REPORT_NOISE : 0u;
}

static void put_cells(FILE *out, const struct report_table *table, const struct report_row *row,
                      const struct pick *picks, int count, unsigned *shown)
{
    for (int i = 0; i < count; i++) {
        const int c = report_column(table, picks[i].key);
        put_cell(out, table->columns[c].format, &row->cells[c], shown);
    }
    fputs(" |\n", out);
}

// ---- tables ----

static void put_run(FILE *out, const struct report_table *table, unsigned *shown)
{
    static const struct pick picks[] = {{"mse", NULL},          {"mae", NULL},         {"relative_mae", NULL},
                                        {"correlation", NULL},  {"sqnr_db", NULL},     {"abs_diff_p99", NULL},
                                        {"abs_diff_max", NULL}, {"worst_grade", NULL}, {"isolated_mse", NULL},
                                        {"amplification", NULL}};
    enum { PICKS = sizeof picks / sizeof picks[0], OWN = 2 }; // the last: of layers by themselves
    const int count = report_column(table, picks[PICKS - 1].key) >= 0 ? PICKS : PICKS - OWN;
    fprintf(out, "## %s\n\n| layer | component", table->title);
    for (int i = 0; i < count; i++) {
        fputs(" | ", out);
        put_title(out, table->columns[report_column(table, picks[i].key)].title);
    }
    fputs(" |\n|---:|---|---:|---:|---:|---:|---:|---:|---:|---|", out);
    fputs(count < PICKS ? "\n" : "---:|---:|\n", out);
    for (int r = 0; r < table->n_rows; r++) {
        const struct report_row row = report_row(table, r);
        fprintf(out, "| %d | %s", row.layer, row.component);
        put_cells(out, table, &row, picks, count, shown);
    }
    fputc('\n', out);
}

static void put_summary(FILE *out, const struct report *report, unsigned *shown)
{
    static const struct pick picks[] = {{"first_layer.mse", "first layer MSE"},
                                        {"last_layer.mse", "last layer MSE"},
                                        {"avg_mse", "average MSE"},
                                        {"avg_mae", "average MAE"},
                                        {"avg_correlation", "average correlation"},
                                        {"worst_grade", "worst grade"}};
    enum { PICKS = sizeof picks / sizeof picks[0] };
    const struct report_section *summary = &report->sections[REPORT_SUMMARY];
    fprintf(out, "## All modes against %s\n\n| mode", report->reference);
    for (int i = 0; i < PICKS; i++)
        fprintf(out, " | %s", picks[i].title);
    fputs(" |\n|---|---:|---:|---:|---:|---:|---|\n", out);
    for (int r = 0; summary->n_tables > 0 && r < summary->tables->n_rows; r++) {
        const struct report_row *row = &summary->tables->rows[r];
        if (row->run->is_reference) continue;
        fprintf(out, "| %s", row->name);
        put_cells(out, summary->tables, row, picks, PICKS, shown);
    }
}

// All columns; `first` is the heading of the names, with how they stand.
static void put_table(FILE *out, const struct report_table *table, const char *first, unsigned *shown)
{
    const bool numbers = first[0] != '\0';
    fprintf(out, "## %s\n\n| %s", table->title, first);
    for (int c = 0; c < table->n_columns; c++) {
        fputs(" | ", out);
        put_title(out, table->columns[c].title);
    }
    fprintf(out, " |\n%s", numbers ? "|---:" : "|---");
    for (int c = 0; c < table->n_columns; c++)
        fputs(table->columns[c].format == REPORT_WORDS ? "|---" : "|---:", out);
    fputs("|\n", out);
    for (int r = 0; r < table->n_rows; r++) {
        fputs("| ", out);
        put_title(out, table->rows[r].name);
        for (int c = 0; c < table->n_columns; c++)
            put_cell(out, table->columns[c].format, &table->rows[r].cells[c], shown);
        fputs(" |\n", out);
    }
}

static void put_notes(FILE *out, const struct report_notes *notes, unsigned shown)
{
    const char *before = "\n";
    for (int i = 0; i < notes->count; i++) {
        const struct report_note *note = &notes->items[i];
        if (note->mark && !(note->mark & shown)) continue;
        fprintf(out, "%s%s\n", before, note->text);
        before = "";
    }
}

static void put_findings(FILE *out, const struct report *report)
{
    static const enum report_section_id ids[] = {REPORT_ATTRIBUTION, REPORT_AMPLIFICATION, REPORT_BISECT,
                                                 REPORT_MIX, REPORT_UNITS};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        const struct report_section *section = &report->sections[ids[i]];
        unsigned shown = 0;
        for (int t = 0; t < section->n_tables; t++) {
            fputc('\n', out);
            put_table(out, &section->tables[t], "", &shown);
        }
        if (section->n_tables > 0) put_notes(out, &section->notes, shown);
    }
}

void render_markdown(FILE *out, const struct report *report)
{
    const struct report_section *layers = &report->sections[REPORT_LAYERS];
    unsigned shown = 0;
    for (int t = 0; t < layers->n_tables; t++)
        if (!layers->tables[t].run->is_reference) put_run(out, &layers->tables[t], &shown);
    for (int t = 0; t < report->sections[REPORT_BY_LAYER].n_tables; t++) {
        put_table(out, &report->sections[REPORT_BY_LAYER].tables[t], "layer", &shown);
        fputc('\n', out);
    }
    put_summary(out, report, &shown);
    put_notes(out, &layers->notes, shown);
    put_findings(out, report);
}
