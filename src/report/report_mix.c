// SPDX-License-Identifier: Apache-2.0
// A mix under a budget, of a mix.json: what it takes and costs, what it was compared with, and how it was
// chosen.
#include <math.h>
#include <string.h>

#include "report_findings.h"

// ---- the points ----

enum { KIND, INT8, BYTES, JUDGED, FRONT, AT_COST, WITHIN, COST, FITS, USER };
static const struct report_column point_columns[] = {
    [KIND] = {"kind", "kind", NULL, NULL, 0, REPORT_WORDS},
    [INT8] = {"int8_share", "INT8 multiply-adds", NULL, NULL, 0, REPORT_SHARE},
    [BYTES] = {"weight_bytes", "bytes of weights", NULL, NULL, 0, REPORT_COUNT},
    [JUDGED] = {"judging", "on the texts that judge", NULL, NULL, 0, REPORT_POINT},
    [FRONT] = {"on_front", "nothing as cheap is better", NULL, NULL, 0, REPORT_WORDS},
    [AT_COST] = {"at_equal_cost", "the mix of its cost, against it", NULL, NULL, 0, REPORT_POINT},
    [WITHIN] = {"within_budget", "the last mix, against it", NULL, NULL, 0, REPORT_POINT},
    [COST] = {"cost", "what the budget is about", NULL, NULL, 0, REPORT_NUMBER},
    [FITS] = {"fits", "keeps the budget", NULL, NULL, 0, REPORT_WORDS},
    [USER] = {"user_cost", "cost by the table", NULL, NULL, 0, REPORT_NUMBER}};
enum { POINT_COLUMNS = sizeof point_columns / sizeof point_columns[0] };

static const struct report_column round_columns[] = {
    {"changes", "changes tried", NULL, NULL, 0, REPORT_COUNT},
    {"takes", "takes", NULL, NULL, 0, REPORT_WORDS},
    {"as", "as", NULL, NULL, 0, REPORT_WORDS},
    {"change", "on the texts that choose", NULL, NULL, 0, REPORT_POINT},
    {"weight_bytes", "bytes of weights", NULL, NULL, 0, REPORT_COUNT},
    {"int8_share", "INT8 multiply-adds", NULL, NULL, 0, REPORT_SHARE},
    {"user_cost", "cost by the table", NULL, NULL, 0, REPORT_NUMBER}};
enum { ROUND_COLUMNS = sizeof round_columns / sizeof round_columns[0], TABLES = 2 };

// The mix, if there is one to compare with, and whether the difference is sure.
static struct report_cell duel_cell(struct finding_builder *f, const struct json *point, const char *key)
{
    struct reader *r = &f->reader;
    if (!json_get(point, key)) return report_words("");
    const struct json *duel = reader_object(r, point, key);
    const char *verdict = reader_text(r, duel, "mix_is");
    struct report_cell cell = finding_estimate(r, reader_object(r, duel, "change"), &finding_interval);
    if (strcmp(verdict, "tied") != 0) cell.marks |= REPORT_SURE;
    return cell;
}

static void fill_point(struct finding_builder *f, const struct json *point, struct report_row *row)
{
    struct reader *r = &f->reader;
    row->name = reader_text(r, point, "name");
    row->cells[KIND] = report_words(reader_text(r, point, "kind"));
    row->cells[INT8] = finding_number(r, point, "int8_share");
    row->cells[BYTES] = finding_number(r, point, "weight_bytes");
    row->cells[JUDGED] = finding_estimate(r, reader_object(r, point, "judging"), &finding_interval);
    row->cells[FRONT] = report_words(reader_bool(r, point, "on_front") ? "yes" : "");
    row->cells[AT_COST] = duel_cell(f, point, "at_equal_cost");
    row->cells[WITHIN] = duel_cell(f, point, "within_budget");
    row->cells[COST] = finding_number(r, point, "cost");
    row->cells[FITS] = report_words(reader_bool(r, point, "fits") ? "yes" : "no");
    if (row->count > USER) row->cells[USER] = finding_number(r, point, "user_cost");
}

static void fill_points(struct finding_builder *f, bool user)
{
    struct reader *r = &f->reader;
    const struct json *points = reader_array(r, f->root, "points");
    const struct json *budget = reader_object(r, f->root, "budget");
    const struct json *judging = reader_object(r, reader_object(r, f->root, "statistics"), "judging");
    const struct builder_shape shape = {point_columns, POINT_COLUMNS - (user ? 0 : 1),
                                        (int)json_count(points), false};
    const char *kind = reader_text(r, budget, "kind");
    const char *title = builder_text(
        f->b, "Mixes under %s %s %s: %s, %d samples judge", kind,
        strcmp(kind, "int8") == 0 ? ">=" : "<=", finding_digits(f->b, reader_number(r, budget, "limit"), 6),
        finding_place(f), (int)json_count(reader_array(r, judging, "samples")));
    struct report_table *table = builder_table(f->b, REPORT_MIX, TABLES, title, &shape);
    int i = 0;
    for (const struct json *point = json_first(points); table && point && !r->err->status;
         point = json_next(point))
        fill_point(f, point, &table->rows[i++]);
}

// ---- the rounds ----

static const struct json *element(const struct json *array, int index)
{
    const struct json *value = json_first(array);
    while (value && index-- > 0)
        value = json_next(value);
    return value;
}

static void fill_round(struct finding_builder *f, const struct json *round, struct report_row *row)
{
    struct reader *r = &f->reader;
    const struct json *changes = reader_array(r, round, "changes");
    row->cells[0] = report_number((double)json_count(changes));
    for (int c = 1; c < row->count; c++)
        row->cells[c] = report_words("");
    if (json_is_null(json_get(round, "taken"))) {
        row->cells[1] = report_words("none is surely better");
        return;
    }
    const struct json *taken = element(changes, reader_int(r, round, "taken", 0));
    row->cells[1] = report_words(finding_piece(f, taken));
    row->cells[2] = report_words(reader_text(r, taken, "as"));
    row->cells[3] = finding_estimate(r, reader_object(r, taken, "change"), &finding_interval);
    row->cells[4] = finding_number(r, taken, "weight_bytes");
    row->cells[5] = finding_number(r, taken, "int8_share");
    if (row->count > 6) row->cells[6] = finding_number(r, taken, "user_cost");
}

static void fill_rounds(struct finding_builder *f, bool user)
{
    struct reader *r = &f->reader;
    const struct json *rounds = reader_array(r, f->root, "rounds");
    const struct builder_shape shape = {round_columns, ROUND_COLUMNS - (user ? 0 : 1),
                                        (int)json_count(rounds), false};
    const struct json *choosing = reader_object(r, reader_object(r, f->root, "statistics"), "choosing");
    const char *title =
        builder_text(f->b, "How it was chosen, from %s: %d samples choose", reader_text(r, f->root, "start"),
                     (int)json_count(reader_array(r, choosing, "samples")));
    struct report_table *table = builder_table(f->b, REPORT_MIX, TABLES, title, &shape);
    int i = 0;
    for (const struct json *round = json_first(rounds); table && round && !r->err->status;
         round = json_next(round), i++) {
        table->rows[i].name = builder_text(f->b, "round %d", i + 1);
        fill_round(f, round, &table->rows[i]);
    }
}

// ---- what it says ----

static const char *list(struct finding_builder *f, const struct json *object, const char *key)
{
    const char *text = "";
    for (const struct json *value = json_first(reader_array(&f->reader, object, key)); value;
         value = json_next(value))
        text = builder_text(f->b, "%s%s%s", text, text[0] ? ", " : "",
                            json_string(value) ? json_string(value)
                                               : finding_digits(f->b, json_number(value), 9));
    return text;
}

static void say(struct finding_builder *f)
{
    static const char *const stops[][2] = {
        {"budget", "of what the budget still allows nothing is surely better"},
        {"exhausted", "every piece has been what it may be"},
        {"not_significant", "of what is left nothing is significant on these texts (95 %, Holm)"},
        {"noise", "what is left and significant is no more than rounding noise"},
        {"rounds", "as many rounds as --rounds says"}};
    struct builder *b = f->b;
    struct reader *r = &f->reader;
    const struct json *said = reader_object(r, f->root, "answer");
    const char *mix = reader_text(r, said, "mix"), *stopped = reader_text(r, f->root, "stopped"), *why = "";
    const char *others = list(f, said, "not_better_than"), *layers = list(f, said, "exclude_layers");
    for (size_t i = 0; i < sizeof stops / sizeof stops[0]; i++)
        if (strcmp(stops[i][0], stopped) == 0) why = stops[i][1];
    if (!why[0]) reader_wrong(r, "stopped", "why a search ends", json_get(f->root, "stopped"));
    const char *sentence =
        others[0] ? builder_text(b, "Within the budget no mix is surely better than %s.", others)
                  : builder_text(b, "Within the budget %s is surely better than every mode alone.", mix);
    builder_note(b, REPORT_ANSWER, 0, sentence);
    builder_note(b, REPORT_MIX, 0, sentence);
    builder_note(b, REPORT_MIX, 0, builder_text(b, "The search ended: %s.", why));
    builder_note(
        b, REPORT_MIX, 0,
        builder_text(b, "Layers of %s that are not as most are: %s.", mix, layers[0] ? layers : "none"));
    builder_note(b, REPORT_MIX, REPORT_SURE,
                 "*: the mix is surely better, or worse, than the mode (95 %, Holm over all comparisons).");
    builder_note(b, REPORT_MIX, 0, "=: equal in every sample.");
}

static void note_noise(struct finding_builder *f)
{
    struct reader *r = &f->reader;
    const struct json *statistics = reader_object(r, f->root, "statistics");
    if (reader_int(r, statistics, "noisy_reruns", 0) == 0)
        builder_note(f->b, REPORT_MIX, 0,
                     "Which changes are mere rounding noise is not known; --noise K measures it.");
    else
        builder_note(
            f->b, REPORT_MIX, 0,
            builder_text(f->b,
                         "Changes that are no more than those of %d re-runs of the mix so far, with "
                         "other last bits, are not taken; nor is what such re-runs do here called sure.",
                         reader_int(r, statistics, "noisy_reruns", 0)));
}

void build_mix(struct finding_builder *f)
{
    const bool user = json_get(json_first(json_get(f->root, "points")), "user_cost") != NULL;
    fill_points(f, user);
    fill_rounds(f, user);
    if (f->reader.err->status) return;
    say(f);
    note_noise(f);
}
