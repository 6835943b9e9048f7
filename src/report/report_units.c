// SPDX-License-Identifier: Apache-2.0
// What INT8 makes of each unit, of a units.json: a table of those that lose most, and the data of all.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "report_findings.h"
#include "ssmsweep/calibrate/observer.h"

enum { SHOWN = 24 }; // as on the terminal

enum { ERROR, CLIPPED, BITS, OVER, CHANNEL, TOKEN, BEST, LARGEST, BEST_NAME, COLUMNS };
static const struct report_column columns[COLUMNS] = {
    [ERROR] = {"relative_error", "error", NULL, NULL, 0, REPORT_SHARE},
    [CLIPPED] = {"clipped_share", "clipped", NULL, NULL, 0, REPORT_SHARE},
    [BITS] = {"entropy_bits", "bits used, of 8", NULL, NULL, 0, REPORT_NUMBER},
    [OVER] = {"over_median", "largest channel, x the median", NULL, NULL, 0, REPORT_NUMBER},
    [CHANNEL] = {"channel", "a scale per channel", "squared error, against the own scale's, with", NULL, 3,
                 REPORT_NUMBER},
    [TOKEN] = {"token", "a scale per token", "squared error, against the own scale's, with", NULL, 3,
               REPORT_NUMBER},
    [BEST] = {"observer", "the best observer", "squared error, against the own scale's, with", NULL, 3,
              REPORT_NUMBER},
    [LARGEST] = {"largest_channel", "which channel", NULL, NULL, 0, REPORT_COUNT},
    [BEST_NAME] = {"best_observer", "which observer", NULL, NULL, 0, REPORT_WORDS}};

// The observer of the least error, the first of equal ones.
static void find_best(struct finding_builder *f, const struct json *instead, struct report_row *row)
{
    double best = NAN;
    row->cells[BEST_NAME] = report_words("");
    for (int o = 0; o < OBSERVER_COUNT; o++) {
        const char *name = observer_name((enum observer)o);
        const double value = reader_number(&f->reader, instead, name);
        if (isnan(value) || !(isnan(best) || value < best)) continue;
        best = value;
        row->cells[BEST_NAME] = report_words(name);
    }
    row->cells[BEST] = report_number(best);
}

static void fill_unit(struct finding_builder *f, const struct json *unit, struct report_row *row)
{
    struct reader *r = &f->reader;
    const struct json *largest = json_first(reader_array(r, unit, "largest_channels"));
    const struct json *instead = reader_object(r, unit, "error_instead");
    row->name = reader_text(r, unit, "unit");
    row->layer = reader_int(r, unit, "layer", 0);
    for (int c = ERROR; c <= BITS; c++)
        row->cells[c] = finding_number(r, unit, columns[c].key);
    row->cells[OVER] = largest ? finding_number(r, largest, "over_median") : report_number(NAN);
    row->cells[LARGEST] = largest ? finding_number(r, largest, "channel") : report_number(NAN);
    row->cells[CHANNEL] = finding_number(r, instead, "channel");
    row->cells[TOKEN] = finding_number(r, instead, "token");
    find_best(f, instead, row);
}

// ---- those that lose most ----

static int compare_errors(const void *x, const void *y)
{
    const struct report_row *a = *(const struct report_row *const *)x,
                            *b = *(const struct report_row *const *)y;
    const double p = a->cells[ERROR].value, q = b->cells[ERROR].value;
    if (isnan(p) != isnan(q)) return isnan(p) ? 1 : -1;
    if (!isnan(p) && p != q) return p > q ? -1 : 1;
    return a < b ? -1 : a > b;
}

static void show_worst(struct builder *b, const struct report_table *data, const char *title)
{
    const int shown = data->n_rows < SHOWN ? data->n_rows : SHOWN;
    const struct builder_shape shape = {columns, COLUMNS, shown, false};
    const struct report_row **order = builder_take(b, (size_t)data->n_rows, sizeof *order);
    struct report_table *table = builder_table(b, REPORT_UNITS, 1, title, &shape);
    if (!order || !table) return;
    for (int i = 0; i < data->n_rows; i++)
        order[i] = &data->rows[i];
    qsort(order, (size_t)data->n_rows, sizeof *order, compare_errors);
    for (int i = 0; i < shown; i++) {
        table->rows[i].name = builder_text(b, "%s, layer %d", order[i]->name, order[i]->layer);
        for (int c = 0; c < COLUMNS; c++)
            table->rows[i].cells[c] = order[i]->cells[c];
    }
    if (shown < data->n_rows)
        builder_note(
            b, REPORT_UNITS, 0,
            builder_text(b, "These have the largest error; %d more are in the figure and in units.json.",
                         data->n_rows - shown));
    if (shown > 0 && table->rows[0].cells[ERROR].value > 0)
        builder_note(b, REPORT_ANSWER, 0,
                     builder_text(b, "INT8 loses most at %s: %s of the size of its values.",
                                  table->rows[0].name,
                                  finding_percent(b, table->rows[0].cells[ERROR].value)));
}

void build_unit_values(struct finding_builder *f)
{
    struct builder *b = f->b;
    struct reader *r = &f->reader;
    const struct json *units = reader_array(r, f->root, "units");
    const bool checkpoint = strcmp(reader_text(r, f->root, "scales_source"), "checkpoint") == 0;
    const char *title =
        builder_text(b, "What INT8 makes of each unit by itself: %d samples, %s tokens; scales of the %s",
                     reader_int(r, f->root, "samples", 1),
                     finding_digits(b, reader_count(r, f->root, "tokens", 1, 0x1p62), 9),
                     checkpoint ? "checkpoint" : "calibration");
    const struct builder_shape shape = {columns, COLUMNS, (int)json_count(units), false};
    struct report_table *data = builder_table(b, REPORT_UNIT_VALUES, 1, title, &shape);
    int i = 0;
    for (const struct json *unit = json_first(units); data && unit && !r->err->status; unit = json_next(unit))
        fill_unit(f, unit, &data->rows[i++]);
    if (!data || r->err->status) return;
    show_worst(b, data, title);
    builder_note(b, REPORT_UNITS, 0,
                 "error: of INT8, against the size of the values; clipped: values outside of the grid; bits: "
                 "entropy of the codes.");
}
