// SPDX-License-Identifier: Apache-2.0
// What the pieces of a mode cost, of an attribution.json: a table of those that cost most, and the data of
// all.
#include <math.h>

#include "report_findings.h"
#include "ssmsweep/base/number.h"

enum { SHOWN = 24 }; // as on the terminal

// The first ones are shown, as "layer" and these, the data have them all.
enum { WITHOUT, SHARE, ALONE, WEIGHTS, INT8, USER, DATA };
static const struct report_column shown_columns[] = {
    {"layer", "layer", NULL, NULL, 0, REPORT_WORDS},
    {"without", "error without it, x the mode's", NULL, NULL, 0, REPORT_POINT},
    {"share", "share", NULL, NULL, 0, REPORT_SHARE},
    {"alone", "alone", NULL, NULL, 0, REPORT_SHARE},
    {"weight_bytes", "bytes of weights", NULL, NULL, 0, REPORT_COUNT},
    {"int8_share", "INT8 multiply-adds", NULL, NULL, 0, REPORT_SHARE},
    {"user_cost", "cost", NULL, NULL, 0, REPORT_NUMBER}};
static const struct report_column data_columns[] = {
    {"without_change", "error without it", NULL, NULL, 0, REPORT_NUMBER},
    {"without_share", "share", NULL, NULL, 0, REPORT_NUMBER},
    {"only_share", "alone", NULL, NULL, 0, REPORT_NUMBER},
    {"weight_bytes", "bytes of weights", NULL, NULL, 0, REPORT_COUNT},
    {"int8_share", "INT8 multiply-adds", NULL, NULL, 0, REPORT_NUMBER},
    {"user_cost", "cost", NULL, NULL, 0, REPORT_NUMBER},
    {"without", "without it", NULL, NULL, 0, REPORT_NUMBER},
    {"only", "only it", NULL, NULL, 0, REPORT_NUMBER},
    {"only_change", "only it, against the mode", NULL, NULL, 0, REPORT_NUMBER},
    {"p_adjusted", "p, corrected", NULL, NULL, 0, REPORT_NUMBER}};
enum {
    SHOWN_COLUMNS = sizeof shown_columns / sizeof shown_columns[0],
    DATA_COLUMNS = sizeof data_columns / sizeof data_columns[0]
};
static const struct finding_keys change_keys = {"change", "change_low", "change_high", "change_interval"};

// What is said of the mode.
struct whole {
    double multiply_adds, int8, bytes, user; // user: NaN without a table of costs
    int pieces, equal, significant;
    bool knows_noise;
};

static void read_whole(struct finding_builder *f, const struct json *pieces, struct whole *whole)
{
    struct reader *r = &f->reader;
    const struct json *cost = reader_object(r, f->root, "cost");
    *whole = (struct whole){.multiply_adds = reader_count(r, cost, "multiply_adds", 0, 0x1p62),
                            .int8 = reader_count(r, cost, "int8_multiply_adds", 0, 0x1p62),
                            .bytes = reader_count(r, cost, "weight_bytes", 0, 0x1p62),
                            .user = json_get(cost, "user_cost") ? reader_number(r, cost, "user_cost")
                                                                : (double)NAN,
                            .pieces = (int)json_count(pieces),
                            .knows_noise = json_get(f->root, "noise") != NULL};
}

// A piece as a row of the data; those shown are made of it.
static void fill_piece(struct finding_builder *f, const struct json *piece, struct whole *whole,
                       struct report_row *row)
{
    struct reader *r = &f->reader;
    const struct json *without = reader_object(r, piece, "without"), *only = reader_object(r, piece, "only");
    const bool noise = whole->knows_noise && reader_bool(r, piece, "within_noise");
    struct report_cell *cells = row->cells;
    row->name = json_is_null(json_get(piece, "unit")) ? "all" : reader_text(r, piece, "unit");
    if (!json_is_null(json_get(piece, "layer"))) row->layer = reader_int(r, piece, "layer", 0);
    cells[WITHOUT] = finding_estimate(r, without, &change_keys);
    cells[SHARE] = finding_number(r, without, "share");
    cells[ALONE] = finding_number(r, only, "share");
    cells[WEIGHTS] = finding_number(r, piece, "weight_bytes");
    cells[INT8] = report_number(reader_number(r, piece, "int8_multiply_adds") / whole->multiply_adds);
    cells[USER] = isnan(whole->user) ? report_number(NAN) : finding_number(r, piece, "user_cost");
    cells[DATA] = finding_estimate(r, without, &finding_interval);
    cells[DATA + 1] = finding_estimate(r, only, &finding_interval);
    cells[DATA + 2] = finding_estimate(r, only, &change_keys);
    cells[DATA + 3] = finding_number(r, piece, "p_adjusted");
    if (reader_bool(r, piece, "significant") && !noise) cells[WITHOUT].marks |= REPORT_SURE;
    if (noise) cells[WITHOUT].marks |= REPORT_NOISE;
    whole->equal += cells[WITHOUT].state == INTERVAL_EQUAL;
    whole->significant += reader_bool(r, piece, "significant");
}

static void show_piece(struct builder *b, const struct report_row *data, struct report_row *row)
{
    row->name = data->name;
    row->cells[0] = report_words(data->layer == REPORT_NO_LAYER ? "all" : builder_text(b, "%d", data->layer));
    for (int c = 1; c < row->count; c++)
        row->cells[c] = data->cells[c - 1];
}

// As on the terminal: of many those that change no bit are left out.
static int count_shown(const struct report_table *data)
{
    int shown = 0;
    while (shown < data->n_rows && shown < SHOWN &&
           (data->n_rows <= SHOWN || data->rows[shown].cells[WITHOUT].state != INTERVAL_EQUAL))
        shown++;
    return shown;
}

static void note_costs(struct finding_builder *f, const struct whole *whole)
{
    struct builder *b = f->b;
    const char *user =
        isnan(whole->user) ? "" : builder_text(b, ", a cost of %s", finding_digits(b, whole->user, 6));
    builder_note(
        b, REPORT_ATTRIBUTION, 0,
        builder_text(b,
                     "Bytes of weights, INT8 multiply-adds%s: what mending takes. %s has %s bytes of "
                     "weights%s, and %s of %s multiply-adds of a token in INT8.",
                     user[0] ? ", cost" : "", reader_text(&f->reader, f->root, "mode"),
                     finding_digits(b, whole->bytes, NUMBER_EXACT), user,
                     finding_percent(b, whole->int8 / whole->multiply_adds),
                     finding_digits(b, whole->multiply_adds, NUMBER_EXACT)));
}

static void note_noise(struct finding_builder *f, const struct whole *whole)
{
    struct builder *b = f->b;
    builder_note(
        b, REPORT_ATTRIBUTION, REPORT_SURE,
        builder_text(b,
                     "*: the error surely changes without the piece (95 %%, Holm over %d pieces): %d "
                     "of them.",
                     whole->pieces, whole->significant));
    if (whole->knows_noise)
        builder_note(b, REPORT_ATTRIBUTION, REPORT_NOISE,
                     builder_text(b, "~: changes no more than re-runs of %s with other last bits do.",
                                  reader_text(&f->reader, f->root, "mode")));
    else
        builder_note(b, REPORT_ATTRIBUTION, 0,
                     "Which changes are mere rounding noise is not known; --noise K measures it.");
    if (whole->equal > 0)
        builder_note(b, REPORT_ATTRIBUTION, REPORT_EQUAL, "=: without the piece no bit changes.");
}

static void note_all(struct finding_builder *f, const struct whole *whole, int shown)
{
    struct builder *b = f->b;
    struct reader *r = &f->reader;
    const struct json *interaction = reader_object(r, f->root, "interaction");
    const struct report_cell error =
        finding_estimate(r, reader_object(r, f->root, "whole"), &finding_interval);
    const struct report_cell none = finding_estimate(r, reader_object(r, f->root, "none"), &finding_interval);
    builder_note(b, REPORT_ATTRIBUTION, 0,
                 builder_text(b, "%s %s as a whole; %s with every piece as in %s.", finding_label(f),
                              finding_digits(b, error.value, 4), finding_digits(b, none.value, 4),
                              reader_text(r, f->root, "toward")));
    builder_note(b, REPORT_ATTRIBUTION, 0,
                 builder_text(b,
                              "Interaction: the shares of the whole lack %s (without) and %s (alone); what "
                              "pieces do to each other belongs to none of them.",
                              finding_percent(b, reader_number(r, interaction, "without")),
                              finding_percent(b, reader_number(r, interaction, "only"))));
    if (shown < whole->pieces)
        builder_note(
            b, REPORT_ATTRIBUTION, 0,
            builder_text(b,
                         "%d more pieces are in attribution.json and in the figures' CSV; without %d "
                         "of all no bit changes.",
                         whole->pieces - shown, whole->equal));
    note_noise(f, whole);
    note_costs(f, whole);
}

static void answer(struct finding_builder *f, const struct whole *whole, const struct report_table *data)
{
    struct builder *b = f->b;
    const char *mode = reader_text(&f->reader, f->root, "mode");
    const struct report_row *first = data->rows;
    if (whole->pieces == 0 || whole->equal == whole->pieces) return;
    const char *layer = first->layer == REPORT_NO_LAYER ? "" : builder_text(b, " of layer %d", first->layer);
    builder_note(
        b, REPORT_ANSWER, 0,
        builder_text(b,
                     "Of the %d pieces of %s %s%s costs most: without it the error is %s%s; %d of them "
                     "surely change it.",
                     whole->pieces, mode, first->name, layer, finding_times(b, &first->cells[WITHOUT]),
                     first->cells[WITHOUT].marks & REPORT_NOISE ? ", no more than rounding noise" : "",
                     whole->significant));
}

void build_attribution(struct finding_builder *f)
{
    struct builder *b = f->b;
    struct reader *r = &f->reader;
    const struct json *pieces = reader_array(r, f->root, "pieces");
    const struct json *statistics = reader_object(r, f->root, "statistics");
    const char *title =
        builder_text(b, "What the pieces of %s cost: %s, %d samples", reader_text(r, f->root, "mode"),
                     finding_place(f), reader_int(r, statistics, "samples", 1));
    struct whole whole;
    read_whole(f, pieces, &whole);
    const struct builder_shape all = {data_columns, DATA_COLUMNS, whole.pieces, false};
    struct report_table *data = builder_table(b, REPORT_PIECES, 1, title, &all);
    int i = 0;
    for (const struct json *piece = json_first(pieces); data && piece && !r->err->status;
         piece = json_next(piece))
        fill_piece(f, piece, &whole, &data->rows[i++]);
    if (!data || r->err->status) return;
    const struct builder_shape shape = {shown_columns, SHOWN_COLUMNS - (isnan(whole.user) ? 1 : 0),
                                        count_shown(data), false};
    struct report_table *table = builder_table(b, REPORT_ATTRIBUTION, 1, title, &shape);
    for (i = 0; table && i < shape.n_rows; i++)
        show_piece(b, &data->rows[i], &table->rows[i]);
    answer(f, &whole, data);
    note_all(f, &whole, shape.n_rows);
}
