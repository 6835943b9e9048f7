// SPDX-License-Identifier: Apache-2.0
// Pages of reports that no sweep made: the renderer knows the model alone.
//   page_probe big       9 modes, 64 layers, 6 components, 2,000 samples of which 500 are shown
//   page_probe hostile   names that would end elements, run scripts or turn the direction of the text
// The page goes to standard output.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/report/render.h"

enum { METRICS_SHOWN = 8, POSITIONS = 10, BINS = 60, ROOM = 64 };

static const char *const hostile[] = {"</script><script>window.hacked=1</script>",
                                      "\"><img src=x onerror=window.hacked=2>",
                                      ("\xe2\x80\xae"
                                       "right to left \xd7\x90\xd7\x91"),
                                      "'quotes' & \\u003c <!-- \xff\xfe ]]>"};

struct shape {
    int modes, layers, components, samples;
    bool hostile;
};

static void *take(size_t count, size_t bytes)
{
    void *block = calloc(count + 1, bytes);
    if (!block) exit(1);
    return block;
}

static const char *named(const char *format, int number)
{
    char *text = take(ROOM, 1);
    snprintf(text, ROOM, format, number);
    return text;
}

// The same numbers everywhere: no library's generator.
static double next_number(void)
{
    static unsigned state = 1;
    state = state * 1664525u + 1013904223u;
    return 1e-6 * (1.1 + (double)(state >> 8) / (1 << 24) * 1000);
}

static struct report_cell cell_of(double value)
{
    return (struct report_cell){.value = value,
                                .low = 0.8 * value,
                                .high = 1.3 * value,
                                .noise = (double)NAN,
                                .apart = (double)NAN,
                                .grade = REPORT_NO_GRADE,
                                .state = INTERVAL_OK,
                                .marks = REPORT_NOISE};
}

static struct report_cell number_cell(double value)
{
    struct report_cell cell = cell_of(value);
    cell.low = cell.high = (double)NAN;
    cell.marks = 0;
    cell.state = INTERVAL_TOO_FEW;
    return cell;
}

static struct report_cell words_cell(const char *text)
{
    struct report_cell cell = number_cell((double)NAN);
    cell.text = text;
    return cell;
}

static struct report_column column_of(const char *key, enum report_format format)
{
    return (struct report_column){key, key, NULL, NULL, 0, format};
}

static void make_table(struct report_table *table, const char *title, int n_columns, int n_rows)
{
    *table = (struct report_table){.title = title, .n_columns = n_columns, .n_rows = n_rows};
    table->columns = take((size_t)n_columns, sizeof *table->columns);
    table->rows = take((size_t)n_rows, sizeof *table->rows);
    for (int r = 0; r < n_rows; r++)
        table->rows[r] = (struct report_row){.name = "",
                                             .layer = REPORT_NO_LAYER,
                                             .cells = take((size_t)n_columns, sizeof(struct report_cell)),
                                             .count = n_columns};
}

static struct report_column *columns_of(struct report_table *table)
{
    return (struct report_column *)table->columns;
}

static struct report_table *make_section(struct report *report, enum report_section_id id, int tables)
{
    struct report_section *section = &report->sections[id];
    section->tables = take((size_t)tables, sizeof *section->tables);
    section->n_tables = tables;
    return section->tables;
}

static const char *component_name(const struct shape *shape, int component)
{
    return shape->hostile ? hostile[component % 4] : named("component_%d", component);
}

static void add_note(struct report *report, enum report_section_id id, const char *text)
{
    struct report_notes *notes = &report->sections[id].notes;
    if (!notes->items) notes->items = take(4, sizeof *notes->items);
    notes->items[notes->count++] = (struct report_note){0, text};
}

static struct report_cell correlation_cell(double from_one)
{
    struct report_cell cell = cell_of(1 - from_one);
    cell.low = 1 - 1.3 * from_one;
    cell.high = 1 - 0.8 * from_one;
    return cell;
}

// A row for each layer and component, or for each layer; the last component is its output.
static void fill_rows(const struct shape *shape, struct report_table *table, bool all, bool interval)
{
    for (int r = 0; r < table->n_rows; r++) {
        struct report_row *row = &table->rows[r];
        const int each = all ? shape->components : 1, component = all ? r % each : shape->components - 1;
        row->layer = r / each;
        row->component = component_name(shape, component);
        row->main = component == shape->components - 1;
        for (int c = 0; c < row->count; c++)
            row->cells[c] = table->columns[c].format == REPORT_COUNT ? number_cell(floor(1e9 * next_number()))
                            : table->columns[c].format == REPORT_CORRELATION ? correlation_cell(next_number())
                            : interval                                       ? cell_of(next_number())
                                                                             : number_cell(next_number());
    }
}

static void make_series(struct report *report, const struct shape *shape)
{
    static const char *const keys[METRICS_SHOWN] = {
        "mse", "rmse", "mae", "relative_mse", "relative_mae", "correlation", "sqnr_db", "cosine_similarity"};
    const int compared = shape->modes - 1, rows = shape->layers * shape->components;
    struct report_table *series = make_section(report, REPORT_SERIES, compared),
                        *positions = make_section(report, REPORT_POSITIONS, compared),
                        *bins = make_section(report, REPORT_BINS, compared);
    for (int m = 0; m < compared; m++) {
        make_table(&series[m], report->runs[m + 1].name, METRICS_SHOWN + 1, rows);
        make_table(&positions[m], report->runs[m + 1].name, POSITIONS, rows);
        make_table(&bins[m], report->runs[m + 1].name, 4 + BINS, shape->layers);
        series[m].run = positions[m].run = bins[m].run = &report->runs[m + 1];
        for (int c = 0; c < METRICS_SHOWN; c++)
            columns_of(&series[m])[c] =
                column_of(keys[c], c == 5 || c == 7 ? REPORT_CORRELATION : REPORT_ERROR);
        columns_of(&series[m])[METRICS_SHOWN] = column_of("elements", REPORT_COUNT);
        for (int c = 0; c < POSITIONS; c++)
            columns_of(&positions[m])[c] = column_of(named("%d", c), REPORT_ERROR);
        for (int c = 0; c < 4 + BINS; c++)
            columns_of(&bins[m])[c] = column_of(c < 4    ? named("p%d", c)
                                                : c == 4 ? "0"
                                                         : named("1e-%d 2e-9", 70 - c),
                                                c < 4 ? REPORT_SPAN : REPORT_COUNT);
        fill_rows(shape, &series[m], true, true);
        fill_rows(shape, &positions[m], true, false);
        fill_rows(shape, &bins[m], false, false);
    }
}

static void make_samples(struct report *report, const struct shape *shape)
{
    const int shown = shape->samples < 500 ? shape->samples : 500;
    struct report_table *table = make_section(report, REPORT_SAMPLES, 1);
    make_table(table, "Every sample", shape->modes, shown);
    for (int c = 0; c < shape->modes; c++)
        columns_of(table)[c] =
            column_of(c ? report->runs[c].name : "tokens", c ? REPORT_ERROR : REPORT_COUNT);
    for (int r = 0; r < shown; r++) {
        table->rows[r].name = named("%d", r * (shape->samples / shown));
        for (int c = 0; c < shape->modes; c++)
            table->rows[r].cells[c] = number_cell(c ? next_number() : 512);
    }
}

static void make_pairs(struct report *report, const struct shape *shape)
{
    static const char *const keys[] = {"first", "second", "change", "p_adjusted", "better", "samples_needed"};
    static const enum report_format formats[] = {REPORT_WORDS, REPORT_WORDS, REPORT_POINT,
                                                 REPORT_SMALL, REPORT_WORDS, REPORT_COUNT};
    const int compared = shape->modes - 1, pairs = compared * (compared - 1) / 2;
    struct report_table *places = make_section(report, REPORT_PLACES, 1),
                        *table = make_section(report, REPORT_PAIRS, 1);
    make_table(places, "Places", compared, 4 * shape->layers);
    for (int c = 0; c < compared; c++)
        columns_of(places)[c] = column_of(report->runs[c + 1].name, REPORT_PLACE);
    for (int r = 0; r < places->n_rows; r++) {
        places->rows[r].name = r % 4 ? "mae" : "mse";
        places->rows[r].layer = r / 4;
        places->rows[r].component = component_name(shape, shape->components - 1);
        for (int c = 0; c < compared; c++) {
            places->rows[r].cells[c] = cell_of((double)NAN);
            places->rows[r].cells[c].low = 1;
            places->rows[r].cells[c].high = c + 1;
        }
    }
    make_table(table, "Pairs", 6, shape->layers * pairs);
    for (int c = 0; c < 6; c++)
        columns_of(table)[c] = column_of(keys[c], formats[c]);
    for (int l = 0, r = 0; l < shape->layers; l++)
        for (int a = 1; a < compared; a++)
            for (int b = a + 1; b <= compared; b++, r++) {
                struct report_cell *cells = table->rows[r].cells;
                table->rows[r].name = "ratio";
                table->rows[r].layer = l;
                table->rows[r].component = component_name(shape, shape->components - 1);
                cells[0] = words_cell(report->runs[a].name);
                cells[1] = words_cell(report->runs[b].name);
                cells[2] = cell_of(1e3 * next_number());
                cells[3] = number_cell(next_number());
                cells[4] = words_cell(report->runs[a].name);
                cells[5] = b % 2 ? number_cell(4321) : words_cell("");
            }
}

static void make_words(struct report *report, const struct shape *shape, struct checks *checks)
{
    struct report_table *about = make_section(report, REPORT_ABOUT, 1);
    make_table(about, "What was run", 1, 4);
    columns_of(about)[0] = column_of("value", REPORT_WORDS);
    checks->items = take(4, sizeof *checks->items);
    report->checks = checks;
    for (int r = 0; r < 4; r++) {
        struct check *check = &checks->items[checks->count++];
        about->rows[r].name = shape->hostile ? hostile[r] : "model";
        about->rows[r].cells[0] = words_cell(hostile[r]);
        check->kind = "gate";
        check->good = r % 2 == 0;
        snprintf(check->name, sizeof check->name, "%s", shape->hostile ? hostile[3 - r] : "mse<1");
        if (!check->good) snprintf(check->text, sizeof check->text, "%s", hostile[r]);
    }
    for (int i = 0; shape->hostile && i < 4; i++)
        add_note(report, i == 1 ? REPORT_SERIES : REPORT_ANSWER, hostile[i]);
}

static void make_runs(struct report *report, const struct shape *shape)
{
    report->runs = take((size_t)shape->modes, sizeof *report->runs);
    report->n_runs = shape->modes;
    report->n_compared = shape->modes - 1;
    for (int r = 0; r < shape->modes; r++) {
        const char *name = shape->hostile ? hostile[r % 4] : named("mode %d", r);
        report->runs[r] = (struct report_run){
            .mode = name, .name = name, .stem = "", .summary = hostile[0], .is_reference = r == 0};
    }
    report->reference = report->runs[0].name;
}

int main(int argc, char **argv)
{
    static const struct shape shapes[] = {{9, 64, 6, 2000, false}, {5, 3, 4, 7, true}};
    const bool is_hostile = argc > 1 && strcmp(argv[1], "hostile") == 0;
    const struct shape *shape = &shapes[is_hostile];
    struct report report = {.reference_weights = "", .samples = shape->samples, .tokens = 1};
    struct checks checks = {0};
    make_runs(&report, shape);
    make_series(&report, shape);
    make_samples(&report, shape);
    make_pairs(&report, shape);
    make_words(&report, shape, &checks);
    render_html(stdout, &(const struct html_part){&report, NULL}, 1, is_hostile ? hostile[0] : NULL);
    return ferror(stdout) != 0;
}
