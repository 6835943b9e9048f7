// SPDX-License-Identifier: Apache-2.0
// The report as one object of JSON, short enough to be mailed; docs/report.md says what stands where.
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "render_html.h"

static const char *const format_names[] = {
    [REPORT_WORDS] = "words",
    [REPORT_COUNT] = "count",
    [REPORT_ERROR] = "error",
    [REPORT_SHARE] = "share",
    [REPORT_CORRELATION] = "correlation",
    [REPORT_DECIBEL] = "decibel",
    [REPORT_NUMBER] = "number",
    [REPORT_PLACE] = "place",
    [REPORT_INTERVAL] = "interval",
    [REPORT_SPAN] = "span",
    [REPORT_POINT] = "point",
    [REPORT_DECIMALS] = "decimals",
    [REPORT_SIGNED] = "signed",
    [REPORT_SMALL] = "small",
};

// Sections that figures are drawn from, and their keys.
static const struct {
    enum report_section_id id;
    const char *key;
} sections[] = {
    {REPORT_SERIES, "series"},
    {REPORT_POSITIONS, "positions"},
    {REPORT_BINS, "bins"},
    {REPORT_SAMPLES, "samples"},
    {REPORT_PLACES, "places"},
    {REPORT_PAIRS, "pairs"},
    {REPORT_PREDICTIONS, "predictions"},
    {REPORT_SCALES, "scales"},
    {REPORT_PIECES, "pieces"},
    {REPORT_AMPLIFICATION, "amplification"},
    {REPORT_MIX, "mix"},
    {REPORT_UNIT_VALUES, "units"},
};
enum { SECTIONS = sizeof sections / sizeof sections[0] };

// ---- names that rows share ----

enum { MOST_NAMES = 64 };
struct names {
    const char *items[MOST_NAMES];
    int count;
};

static int find_name(const struct names *names, const char *name)
{
    for (int i = 0; name && i < names->count; i++)
        if (strcmp(names->items[i], name) == 0) return i;
    return -1;
}

// Names those of all rows, in their order.
static void collect_components(const struct report *report, struct names *names)
{
    for (int s = 0; s < SECTIONS; s++) {
        const struct report_section *section = &report->sections[sections[s].id];
        for (int t = 0; t < section->n_tables; t++)
            for (int r = 0; r < section->tables[t].n_rows; r++) {
                const char *name = section->tables[t].rows[r].component;
                if (name && find_name(names, name) < 0 && names->count < MOST_NAMES)
                    names->items[names->count++] = name;
            }
    }
}

static int run_index(const struct report *report, const struct report_run *run)
{
    return run ? (int)(run - report->runs) : -1;
}

// ---- cells and rows ----

// A number; [value, low, high] with an interval; the marks behind that: 1 equal, 2 noise, 4 apart, 8 settled,
// 16 settled maybe, 32 sure.
static int marks_of(unsigned marks)
{
    const bool apart = (marks & REPORT_APART) != 0;
    return (marks & REPORT_EQUAL ? 1 : 0) | (marks & REPORT_NOISE && !apart ? 2 : 0) | (apart ? 4 : 0) |
           (marks & REPORT_SETTLED ? 8 : 0) | (marks & REPORT_SETTLED_MAYBE ? 16 : 0) |
           (marks & REPORT_SURE && !(marks & REPORT_NOISE) ? 32 : 0);
}

static void put_cell(FILE *out, enum report_format format, const struct report_cell *cell)
{
    const int marks = marks_of(cell->marks);
    const bool interval = !isnan(cell->low) && !isnan(cell->high) && !(cell->marks & REPORT_UNBOUNDED);
    if (cell->text) {
        html_put_json(out, cell->text);
        return;
    }
    if (!interval && !marks) {
        html_put_json_value(out, format, cell->value);
        return;
    }
    fputc('[', out);
    html_put_json_value(out, format, cell->value);
    fputc(',', out);
    html_put_json_end(out, format, interval ? cell->low : (double)NAN);
    fputc(',', out);
    html_put_json_end(out, format, interval ? cell->high : (double)NAN);
    if (marks) fprintf(out, ",%d", marks);
    fputc(']', out);
}

// [layer, component, name, cells...]
static void put_row(FILE *out, const struct names *components, const struct report_table *table,
                    const struct report_row *row)
{
    const int component = find_name(components, row->component);
    fputc('[', out);
    if (row->layer == REPORT_NO_LAYER)
        fputs("null,", out);
    else
        fprintf(out, "%d,", row->layer);
    if (component < 0)
        fputs("null,", out);
    else
        fprintf(out, "%d,", component);
    html_put_json(out, row->name);
    for (int c = 0; c < row->count; c++) {
        fputc(',', out);
        put_cell(out, table->columns[c].format, &row->cells[c]);
    }
    fputc(']', out);
}

static void put_columns(FILE *out, const struct report_table *table)
{
    fputs("\"columns\":[", out);
    for (int c = 0; c < table->n_columns; c++) {
        fputs(c ? ",[" : "[", out);
        html_put_json(out, table->columns[c].key);
        fputc(',', out);
        html_put_json(out, table->columns[c].title);
        fprintf(out, ",\"%s\"]", format_names[table->columns[c].format]);
    }
    fputs("],\n", out);
}

static void put_table(FILE *out, const struct report *report, const struct names *components,
                      const struct report_table *table)
{
    const int run = run_index(report, table->run);
    fputs("{\"title\":", out);
    html_put_json(out, table->title);
    if (run >= 0) fprintf(out, ",\"run\":%d", run);
    fputc(',', out);
    put_columns(out, table);
    fputs("\"rows\":[", out);
    for (int r = 0; r < table->n_rows; r++) {
        fputs(r ? ",\n" : "\n", out);
        put_row(out, components, table, &table->rows[r]);
    }
    fputs("]}", out);
}

static void put_section(FILE *out, const struct report *report, const struct names *components, int place)
{
    const struct report_section *section = &report->sections[sections[place].id];
    if (section->n_tables == 0 && sections[place].id >= REPORT_ATTRIBUTION) return;
    fprintf(out, "%s\"%s\":{\"tables\":[", place ? ",\n" : "\n", sections[place].key);
    for (int t = 0; t < section->n_tables; t++) {
        if (t) fputs(",\n", out);
        put_table(out, report, components, &section->tables[t]);
    }
    fputs("],\"notes\":[", out);
    for (int i = 0; i < section->notes.count; i++) {
        if (i) fputc(',', out);
        html_put_json(out, section->notes.items[i].text);
    }
    fputs("]}", out);
}

static void put_runs(FILE *out, const struct report *report)
{
    fputs("\"runs\":[", out);
    for (int r = 0; r < report->n_runs; r++) {
        const struct report_run *run = &report->runs[r];
        fputs(r ? ",\n{\"name\":" : "\n{\"name\":", out);
        html_put_json(out, run->name);
        fputs(",\"mode\":", out);
        html_put_json(out, run->mode);
        fputs(",\"summary\":", out);
        html_put_json(out, run->summary ? run->summary : "");
        fprintf(out, ",\"calib_data_num\":%d,\"order\":%d,\"reference\":%s}", run->cell.calib_data_num,
                run->cell.order, run->is_reference ? "true" : "false");
    }
    fputs("],\n", out);
}

// The component that stands for a layer.
static const char *main_component(const struct report *report)
{
    const struct report_section *series = &report->sections[REPORT_SERIES];
    for (int t = 0; t < series->n_tables; t++)
        for (int r = 0; r < series->tables[t].n_rows; r++)
            if (series->tables[t].rows[r].main) return series->tables[t].rows[r].component;
    return NULL;
}

void html_put_data(FILE *out, const struct report *report)
{
    struct names components = {.count = 0};
    collect_components(report, &components);
    fputs("{\"reference\":", out);
    html_put_json(out, report->reference);
    fprintf(out, ",\"samples\":%d,\"tokens\":%lld,\"main\":%d,\n", report->samples, report->tokens,
            find_name(&components, main_component(report)));
    put_runs(out, report);
    fputs("\"components\":[", out);
    for (int i = 0; i < components.count; i++) {
        if (i) fputc(',', out);
        html_put_json(out, components.items[i]);
    }
    fputs("],\n\"sections\":{", out);
    for (int s = 0; s < SECTIONS; s++)
        put_section(out, report, &components, s);
    fputs("}}\n", out);
}
