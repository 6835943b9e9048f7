// SPDX-License-Identifier: Apache-2.0
// Sections of what attribute, mix and units found; here what all of them read alike, and those of the depth
// and of a bisection.
#include "report_findings.h"

#include <math.h>
#include <string.h>

#include "ssmsweep/base/number.h"

// ---- numbers ----

const struct finding_keys finding_interval = {"value", "low", "high", "interval"};

struct report_cell finding_estimate(struct reader *r, const struct json *object,
                                    const struct finding_keys *keys)
{
    struct report_cell cell = report_number(reader_number(r, object, keys->value));
    cell.low = reader_number(r, object, keys->low);
    cell.high = reader_number(r, object, keys->high);
    cell.state = reader_state(r, object, keys->state);
    if (cell.state == INTERVAL_UNBOUNDED) cell.marks |= REPORT_UNBOUNDED;
    if (cell.state == INTERVAL_EQUAL) cell.marks |= REPORT_EQUAL;
    return cell;
}

struct report_cell finding_number(struct reader *r, const struct json *object, const char *key)
{
    return report_number(reader_number(r, object, key));
}

const char *finding_digits(struct builder *b, double value, int digits)
{
    char text[NUMBER_ROOM];
    return builder_text(b, "%s", isnan(value) ? "unknown" : number_text(value, digits, text));
}

const char *finding_percent(struct builder *b, double share)
{
    return builder_text(b, "%s %%", finding_digits(b, 100 * share, 3));
}

const char *finding_times(struct builder *b, const struct report_cell *cell)
{
    const char *value = finding_digits(b, cell->value, 3);
    if (cell->state != INTERVAL_OK)
        return builder_text(b, "x %s (%s)", value, interval_state_name(cell->state));
    return builder_text(b, "x %s (%s..%s)", value, finding_digits(b, cell->low, 3),
                        finding_digits(b, cell->high, 3));
}

// ---- texts ----

const char *finding_whole(struct finding_builder *f, const struct json *object, const char *key,
                          const char *none)
{
    if (json_is_null(json_get(object, key))) return none;
    return builder_text(f->b, "%d", reader_int(&f->reader, object, key, 0));
}

static const char *text_or_null(struct reader *r, const struct json *object, const char *key)
{
    return json_is_null(json_get(object, key)) ? NULL : reader_text(r, object, key);
}

const char *finding_piece(struct finding_builder *f, const struct json *object)
{
    const char *unit = text_or_null(&f->reader, object, "unit");
    const char *layer = finding_whole(f, object, "layer", "");
    if (!layer[0]) return unit ? unit : "every piece";
    return unit ? builder_text(f->b, "%s of layer %s", unit, layer) : builder_text(f->b, "layer %s", layer);
}

const char *finding_label(struct finding_builder *f)
{
    const char *name = reader_text(&f->reader, f->root, "metric");
    const int metric = metric_find(name, strlen(name));
    if (metric >= 0) return metric_table[metric].label;
    reader_wrong(&f->reader, "metric", "the name of a metric", json_get(f->root, "metric"));
    return "";
}

const char *finding_place(struct finding_builder *f)
{
    const char *reference = reader_text(&f->reader, f->root, "reference_mode");
    const char *component = text_or_null(&f->reader, f->root, "component");
    if (!component)
        return builder_text(f->b, "%s of the predictions against %s", finding_label(f), reference);
    return builder_text(f->b, "%s of %s of layer %s against %s", finding_label(f), component,
                        finding_whole(f, f->root, "layer", "?"), reference);
}

// ---- over the depth ----

static const struct report_column depth_columns[] = {
    {"in_model", "in the model", NULL, NULL, 0, REPORT_POINT},
    {"by_itself", "by itself", NULL, NULL, 0, REPORT_POINT},
    {"quotient", "quotient", NULL, NULL, 0, REPORT_POINT}};
enum { DEPTH_COLUMNS = sizeof depth_columns / sizeof depth_columns[0] };

static void fill_layer(struct finding_builder *f, const struct json *layer, struct report_row *row)
{
    struct reader *r = &f->reader;
    row->layer = reader_int(r, layer, "layer", 0);
    row->name = builder_text(f->b, "%d", row->layer);
    for (int c = 0; c < DEPTH_COLUMNS; c++)
        row->cells[c] = finding_estimate(r, reader_object(r, layer, depth_columns[c].key), &finding_interval);
    if (reader_bool(r, layer, "surely_larger")) row->cells[DEPTH_COLUMNS - 1].marks |= REPORT_SURE;
}

static void note_depth(struct finding_builder *f)
{
    struct builder *b = f->b;
    const char *begins = finding_whole(f, f->root, "amplification_begins", NULL);
    const char *inherited = finding_whole(f, f->root, "mostly_inherited_from", NULL);
    const char *mode = reader_text(&f->reader, f->root, "mode");
    builder_note(b, REPORT_AMPLIFICATION, REPORT_SURE,
                 "*: surely more than the layer makes by itself (95 %, Holm over the layers).");
    const char *sentence =
        begins ? builder_text(b, "The error of %s begins to be amplified at layer %s%s.", mode, begins,
                              inherited ? builder_text(b,
                                                       "; from layer %s on more than half of each layer's "
                                                       "error is inherited",
                                                       inherited)
                                        : "")
               : builder_text(b, "No layer of %s surely has more error than its own.", mode);
    builder_note(b, REPORT_ANSWER, 0, sentence);
    builder_note(b, REPORT_AMPLIFICATION, 0, sentence);
    builder_note(b, REPORT_AMPLIFICATION, 0,
                 builder_text(b, "The largest error of its own has layer %s.",
                              finding_whole(f, f->root, "largest_own_error", "?")));
}

void build_depth(struct finding_builder *f)
{
    struct reader *r = &f->reader;
    const struct json *layers = reader_array(r, f->root, "layers");
    const struct builder_shape shape = {depth_columns, DEPTH_COLUMNS, (int)json_count(layers), false};
    const char *title = builder_text(
        f->b, "How the error of %s adds up: %s of %s, %d samples", reader_text(r, f->root, "mode"),
        finding_label(f), reader_text(r, f->root, "component"), reader_int(r, f->root, "samples", 1));
    struct report_table *table = builder_table(f->b, REPORT_AMPLIFICATION, 1, title, &shape);
    int i = 0;
    for (const struct json *layer = json_first(layers); table && layer && !r->err->status;
         layer = json_next(layer))
        fill_layer(f, layer, &table->rows[i++]);
    note_depth(f);
}

// ---- a bisection ----

// "layer 5, layer 17"; of many the first and how many more.
static const char *list_pieces(struct finding_builder *f, const struct json *pieces)
{
    enum { MOST = 6 };
    const char *text = "";
    int count = 0;
    for (const struct json *piece = json_first(pieces); piece; piece = json_next(piece))
        if (count++ < MOST)
            text = builder_text(f->b, "%s%s%s", text, text[0] ? ", " : "", finding_piece(f, piece));
    if (count > MOST) text = builder_text(f->b, "%s and %d more", text, count - MOST);
    return count ? text : "nothing";
}

static void fill_step(struct finding_builder *f, const struct json *step, struct report_row *row)
{
    struct reader *r = &f->reader;
    row->name = list_pieces(f, reader_array(r, step, "mended"));
    row->cells[0] = report_number(reader_int(r, step, "sweep", 1));
    row->cells[1] = report_words(reader_bool(r, step, "enough") ? "yes" : "no");
    row->cells[2] = finding_estimate(r, reader_object(r, step, "result"), &finding_interval);
}

static void note_bisect(struct finding_builder *f)
{
    struct builder *b = f->b;
    struct reader *r = &f->reader;
    const char *mode = reader_text(r, f->root, "mode"), *answer = reader_text(r, f->root, "answer");
    const char *mend = list_pieces(f, reader_array(r, f->root, "mend"));
    const char *limit = builder_text(b, "%s <= %s", finding_label(f),
                                     finding_digits(b, reader_number(r, f->root, "limit"), 4));
    const char *sentence = "";
    if (strcmp(answer, "nothing") == 0)
        sentence = builder_text(b, "Nothing to mend in %s: it has %s as it is.", mode, limit);
    else if (strcmp(answer, "unreachable") == 0)
        sentence = builder_text(b, "Not even with all of these pieces mended has %s %s.", mode, limit);
    else if (strcmp(answer, "one") == 0)
        sentence = builder_text(b, "To bring %s to %s it is enough to mend %s.", mode, limit, mend);
    else if (strcmp(answer, "together") == 0)
        sentence = builder_text(b, "To bring %s to %s no piece alone is enough, these together are: %s.",
                                mode, limit, mend);
    else
        reader_wrong(r, "answer", "nothing, unreachable, one or together", json_get(f->root, "answer"));
    const struct json *sure = json_get(f->root, "sure");
    if (sure && !json_bool(sure))
        sentence = builder_text(
            b, "%s On these samples; the interval, or the noise, reaches beyond the limit.", sentence);
    builder_note(b, REPORT_ANSWER, 0, sentence);
    builder_note(b, REPORT_BISECT, 0, sentence);
}

void build_bisect(struct finding_builder *f)
{
    struct reader *r = &f->reader;
    struct report_column *columns = builder_take(f->b, 3, sizeof *columns);
    const struct json *steps = reader_array(r, f->root, "steps");
    if (!columns) return;
    columns[0] = (struct report_column){"sweep", "sweep", NULL, NULL, 0, REPORT_COUNT};
    columns[1] = (struct report_column){"enough", "enough", NULL, NULL, 0, REPORT_WORDS};
    columns[2] = (struct report_column){"result", finding_label(f), NULL, NULL, 0, REPORT_POINT};
    const struct builder_shape shape = {columns, 3, (int)json_count(steps), false};
    const char *title =
        builder_text(f->b, "What to mend of %s, as in %s: %s", reader_text(r, f->root, "mode"),
                     reader_text(r, f->root, "toward"), finding_place(f));
    struct report_table *table = builder_table(f->b, REPORT_BISECT, 1, title, &shape);
    int i = 0;
    for (const struct json *step = json_first(steps); table && step && !r->err->status;
         step = json_next(step))
        fill_step(f, step, &table->rows[i++]);
    note_bisect(f);
}

// ---- all of them ----

static const struct {
    int version;
    const char *again;
    void (*build)(struct finding_builder *f);
    enum report_section_id sections[2];
} builders[FINDINGS] = {
    [FINDING_ATTRIBUTION] = {ATTRIBUTION_SCHEMA_VERSION,
                             "`ssmsweep attribute`",
                             build_attribution,
                             {REPORT_ATTRIBUTION, REPORT_PIECES}},
    [FINDING_DEPTH] = {DEPTH_SCHEMA_VERSION,
                       "`ssmsweep attribute --depth`",
                       build_depth,
                       {REPORT_AMPLIFICATION, REPORT_AMPLIFICATION}},
    [FINDING_BISECT] = {BISECT_SCHEMA_VERSION,
                        "`ssmsweep attribute --bisect`",
                        build_bisect,
                        {REPORT_BISECT, REPORT_BISECT}},
    [FINDING_MIX] = {MIX_SCHEMA_VERSION, "`ssmsweep mix`", build_mix, {REPORT_MIX, REPORT_MIX}},
    [FINDING_UNITS] = {UNITS_SCHEMA_VERSION,
                       "`ssmsweep units`",
                       build_unit_values,
                       {REPORT_UNITS, REPORT_UNIT_VALUES}},
};

static void build_one(struct builder *b, int finding)
{
    const struct findings *findings = b->from->findings;
    struct finding_builder f = {.b = b,
                                .root = findings->of[finding],
                                .reader = {.path = findings->paths[finding],
                                           .name = finding_file((enum finding)finding),
                                           .again = builders[finding].again,
                                           .err = b->err}};
    const struct json *version = json_get(f.root, "schema_version");
    if (!json_is_object(f.root) || json_number(version) != builders[finding].version) {
        reader_wrong(&f.reader, "schema_version", builder_text(b, "%d", builders[finding].version), version);
        return;
    }
    builders[finding].build(&f);
}

// One that lies there and cannot be read costs the others nothing.
void build_findings(struct builder *b)
{
    const struct findings *findings = b->from->findings;
    struct report *report = b->report;
    for (int finding = 0; findings && finding < FINDINGS; finding++) {
        struct error wrong = {0};
        struct builder own = {report, b->from, &wrong};
        const int said = report->sections[REPORT_ANSWER].notes.count;
        if (!findings->of[finding]) continue;
        build_one(&own, finding);
        if (!wrong.status) continue;
        if (findings->named || wrong.status == STATUS_IO) {
            *b->err = wrong;
            return;
        }
        for (int s = 0; s < 2; s++)
            report->sections[builders[finding].sections[s]] = (struct report_section){0};
        report->sections[REPORT_ANSWER].notes.count = said;
        builder_note(b, REPORT_ANSWER, 0, builder_text(b, "Left out: %s", wrong.text));
    }
    for (int i = 0; findings && i < findings->left_out.count; i++)
        builder_note(b, REPORT_ANSWER, 0, builder_text(b, "%s", findings->left_out.lines[i]));
}
