// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/report.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report_parts.h"
#include "ssmsweep/report/view.h"

// ---- memory ----

// A chain of allocations.
struct report_block {
    struct report_block *next;
    max_align_t content[];
};

void *builder_take(struct builder *b, size_t count, size_t bytes)
{
    if (b->err->status) return NULL;
    const size_t wanted = count * bytes + 1;
    struct report_block *block = calloc(1, sizeof *block + wanted);
    if (!block) {
        error_memory(b->err, wanted, "the report");
        return NULL;
    }
    block->next = b->report->memory;
    b->report->memory = block;
    return block->content;
}

const char *builder_text(struct builder *b, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : builder_take(b, (size_t)length + 1, 1);
    if (!text) return "";
    va_start(arguments, format);
    vsnprintf(text, (size_t)length + 1, format, arguments);
    va_end(arguments);
    return text;
}

void report_clear(struct report *report)
{
    while (report->memory) {
        struct report_block *next = report->memory->next;
        free(report->memory);
        report->memory = next;
    }
    *report = (struct report){0};
}

// ---- sections ----

static const struct report_cell blank = {.value = (double)NAN,
                                         .low = (double)NAN,
                                         .high = (double)NAN,
                                         .noise = (double)NAN,
                                         .apart = (double)NAN,
                                         .text = "",
                                         .grade = REPORT_NO_GRADE,
                                         .state = INTERVAL_TOO_FEW};

struct report_table *builder_table(struct builder *b, enum report_section_id section, int most,
                                   const char *title, const struct builder_shape *shape)
{
    struct report_section *s = &b->report->sections[section];
    const size_t rows = (size_t)shape->n_rows, columns = (size_t)shape->n_columns;
    if (!s->tables) s->tables = builder_take(b, (size_t)most, sizeof *s->tables);
    struct report_row *row = builder_take(b, rows, sizeof *row);
    const size_t stored = shape->without_cells ? 0 : rows * columns;
    struct report_cell *cells = builder_take(b, stored, sizeof *cells);
    if (!s->tables || !row || !cells || s->n_tables == most) return NULL;
    for (size_t i = 0; i < stored; i++)
        cells[i] = blank;
    for (size_t i = 0; i < rows; i++)
        row[i] = (struct report_row){.name = "",
                                     .layer = REPORT_NO_LAYER,
                                     .cells = shape->without_cells ? NULL : cells + i * columns,
                                     .count = shape->n_columns};
    struct report_table *table = &s->tables[s->n_tables++];
    *table = (struct report_table){.title = title,
                                   .columns = shape->columns,
                                   .n_columns = shape->n_columns,
                                   .rows = row,
                                   .n_rows = shape->n_rows};
    return table;
}

void builder_note(struct builder *b, enum report_section_id section, unsigned mark, const char *text)
{
    enum { STEP = 16 };
    struct report_notes *notes = &b->report->sections[section].notes;
    if (notes->count % STEP == 0) {
        struct report_note *grown = builder_take(b, (size_t)notes->count + STEP, sizeof *grown);
        if (!grown) return;
        if (notes->count) memcpy(grown, notes->items, (size_t)notes->count * sizeof *grown);
        notes->items = grown;
    }
    notes->items[notes->count++] = (struct report_note){mark, text};
}

unsigned builder_marks(const struct builder *b, enum report_section_id section)
{
    const struct report_section *s = &b->report->sections[section];
    unsigned marks = 0;
    for (int t = 0; t < s->n_tables; t++)
        for (int r = 0; r < s->tables[t].n_rows; r++) {
            const struct report_row row = report_row(&s->tables[t], r);
            for (int c = 0; c < row.count; c++)
                marks |= row.cells[c].marks;
        }
    return marks;
}

const struct report_run *builder_run(const struct builder *b, int run)
{
    return run < b->report->n_runs ? &b->report->runs[run] : NULL;
}

int report_column(const struct report_table *table, const char *key)
{
    for (int c = 0; c < table->n_columns; c++)
        if (strcmp(table->columns[c].key, key) == 0) return c;
    return -1;
}

const struct report_fact *report_fact(const struct report *report, const char *key)
{
    for (int i = 0; i < report->n_provenance; i++)
        if (strcmp(report->provenance[i].key, key) == 0) return &report->provenance[i];
    return NULL;
}

// ---- cells ----

struct report_cell report_number(double value)
{
    struct report_cell cell = blank;
    cell.value = value;
    cell.text = NULL;
    return cell;
}

struct report_cell report_words(const char *text)
{
    struct report_cell cell = blank;
    cell.text = text;
    return cell;
}

struct report_cell report_estimate(const struct interval *interval)
{
    struct report_cell cell = report_number(interval->value);
    cell.low = interval->low;
    cell.high = interval->high;
    cell.state = interval->state;
    if (interval->state == INTERVAL_UNBOUNDED) cell.marks = REPORT_UNBOUNDED;
    return cell;
}

char report_sign(unsigned marks)
{
    return marks & REPORT_APART ? '#' : marks & REPORT_NOISE ? '~' : marks & REPORT_SURE ? '*' : ' ';
}

// ---- the whole ----

static void build_figures(struct builder *b)
{
    build_answer(b);
    build_series(b);
    if (b->from->sweep->result) build_samples(b);
    build_pairs(b);
}

static void build_sweep(struct builder *b)
{
    build_ranking(b);
    build_trends(b);
    build_orders(b);
    build_predictions(b);
}

static void build_from_result(struct builder *b)
{
    const struct measurements *from = b->from;
    build_sources(b);
    build_layers(b);
    build_summary(b);
    if (from->sweep) build_scales(b);
    if (from->sweep && from->sweep->result) build_statistics(b);
    if (from->sweep && from->sweep->n_units > 0) build_sweep(b);
    if (!from->figures || !from->sweep) return;
    build_about(b);
    build_scale_tables(b);
    if (from->sweep->n_units > 0) build_figures(b);
}

static void build_from_file(struct builder *b)
{
    build_file_sources(b);
    build_statistics(b);
    build_sweep(b);
    build_figures(b);
    build_file_about(b);
}

// The title is that of the first section.
static void build_findings_alone(struct builder *b)
{
    struct report *report = b->report;
    build_findings(b);
    report->title = "Findings";
    for (int s = REPORT_SECTIONS - 1; s >= REPORT_ATTRIBUTION; s--)
        if (report->sections[s].n_tables > 0) report->title = report->sections[s].tables[0].title;
}

// Sets of scales; runs stand in the order of theirs.
static int count_cells(const struct sweep_file *file)
{
    struct cell last = {0};
    int cells = 0;
    for (int r = 0; r < file->n_runs; r++) {
        if (file->runs[r].cell.calib_data_num == 0) continue;
        cells += cell_compare(file->runs[r].cell, last) != 0;
        last = file->runs[r].cell;
    }
    return cells;
}

enum status report_build(struct report *report, const struct measurements *from, struct error *err)
{
    struct builder b = {report, from, err};
    if (!from->file && !from->result) {
        *report = (struct report){.reference = "", .from = from};
        build_findings_alone(&b);
    } else if (from->file) {
        *report = (struct report){.reference = from->file->sweep.reference,
                                  .samples = from->file->samples,
                                  .tokens = from->file->tokens,
                                  .n_cells = count_cells(from->file),
                                  .from = from};
        build_from_file(&b);
    } else {
        *report = (struct report){.reference = view_reference_name(from->comparison, from->result),
                                  .samples = result_samples(from->result),
                                  .most_tokens = result_max_tokens(from->result),
                                  .tokens = view_tokens(from->result),
                                  .n_cells = view_cells(from->result),
                                  .from = from,
                                  .has_outputs = from->comparison->from_outputs,
                                  .chosen = from->comparison->chosen,
                                  .has_layers = result_layers(from->result) > 0};
        build_from_result(&b);
    }
    if ((from->file || from->result) && !err->status) build_findings(&b);
    if (err->status) report_clear(report);
    return err->status;
}
