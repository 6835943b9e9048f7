// SPDX-License-Identifier: Apache-2.0
// bisect.json, and the table that `ssmsweep attribute --bisect` prints.
#include "bisect.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/report/findings.h"

enum { PIECES_CHARS = 42 };

const char *bisect_answer_name(enum bisect_answer answer)
{
    static const char *const names[] = {"nothing", "unreachable", "one", "together"};
    return names[answer];
}

// ---- pieces for people ----

static void add_text(char *text, size_t room, const char *more)
{
    const size_t used = strlen(text), left = room - used - 1;
    const size_t count = strlen(more) < left ? strlen(more) : left;
    memcpy(text + used, more, count);
    text[used + count] = '\0';
}

// Neighbours that differ in the layer alone are a range.
static bool is_range(const struct bisect *b, int first, int last)
{
    const struct part *a = &b->parts.items[first], *z = &b->parts.items[last];
    return a->unit == z->unit && a->layer != PART_ALL && z->layer - a->layer == last - first;
}

// "layer 3", "layers 3-5", "scan:u of layer 3".
static void add_range(const struct bisect *b, int first, int last, char *text, size_t room)
{
    const char *unit = part_unit_name(&b->parts, &b->parts.items[first]);
    const int layer = b->parts.items[first].layer, end = b->parts.items[last].layer;
    char layers[48];
    if (unit) add_text(text, room, unit);
    if (layer == PART_ALL) return;
    if (end > layer)
        snprintf(layers, sizeof layers, "%slayers %d-%d", unit ? " of " : "", layer, end);
    else
        snprintf(layers, sizeof layers, "%slayer %d", unit ? " of " : "", layer);
    add_text(text, room, layers);
}

const char *bisect_pieces_text(const struct bisect *b, const bool *mended, char *text, size_t room)
{
    text[0] = '\0';
    for (int p = 0, last; p < b->parts.count; p = last + 1) {
        for (last = p; mended[p] && last + 1 < b->parts.count && mended[last + 1];)
            last++;
        if (!mended[p]) continue;
        if (text[0]) add_text(text, room, " + ");
        if (is_range(b, p, last)) {
            add_range(b, p, last, text, room);
            continue;
        }
        add_range(b, p, p, text, room);
        if (last > p) add_text(text, room, last == p + 1 ? ", " : " .. ");
        if (last > p) add_range(b, last, last, text, room);
    }
    return text[0] ? text : "nothing";
}

// ---- the table ----

static void print_range(FILE *out, const struct interval *interval)
{
    if (interval->state == INTERVAL_OK)
        fprintf(out, "%10.3e  %9.3e..%9.3e", interval->value, interval->low, interval->high);
    else
        fprintf(out, "%10.3e  %s", interval->value, interval_state_name(interval->state));
}

// Breaks the line at blanks.
static void print_wrapped(FILE *out, const char *text)
{
    enum { LINE = 96 };
    size_t length = strlen(text);
    while (length > LINE) {
        size_t end = LINE;
        while (end > 0 && text[end] != ' ')
            end--;
        if (end == 0) break;
        fprintf(out, "%.*s\n", (int)end, text);
        text += end + 1;
        length -= end + 1;
    }
    fprintf(out, "%s\n", text);
}

static void print_answer(const struct bisect *b, FILE *out)
{
    char pieces[400], line[512];
    const struct bisect_step *step = bisect_find_step(b, b->found);
    bisect_pieces_text(b, b->found, pieces, sizeof pieces);
    switch (b->answer) {
    case BISECT_NOTHING:
        fprintf(out, "Nothing to mend: %s is at the limit as it is.\n", b->mode->name);
        return;
    case BISECT_UNREACHABLE:
        fputs("Not even all of these pieces together are enough: what is left comes from elsewhere.\n", out);
        return;
    case BISECT_ONE:
        snprintf(line, sizeof line, "Enough alone: %s.", pieces);
        print_wrapped(out, line);
        break;
    case BISECT_TOGETHER:
        snprintf(line, sizeof line, "None alone: these together, and none of them can be left out: %s.",
                 pieces);
        print_wrapped(out, line);
        break;
    }
    if (step && !bisect_is_sure(b, step))
        fputs("On these samples; the interval, or the noise, reaches beyond the limit.\n", out);
}

void bisect_print(const struct bisect *b, FILE *out)
{
    const struct trials *t = &b->trials;
    const int samples = t->samples[JOB_ALL_SAMPLES];
    char place[READING_PLACE_CHARS], pieces[PIECES_CHARS + 1];
    fprintf(out, "\nWhat to mend of %s: %s of %s against %s, %d sample%s, limit %.3e\n", b->mode->name,
            t->place.metric->label, reading_place_text(t->place.layer, t->component, place),
            t->with.job->reference, samples, samples == 1 ? "" : "s", b->limit);
    fprintf(out, "A mended piece is that of %s; %d pieces, %d sweeps.\n\n", b->toward->name, b->parts.count,
            t->sweeps);
    fprintf(out, "sweep  %-*s  %10s  %-20s\n", PIECES_CHARS, "mended", t->place.metric->label,
            "95 % interval");
    for (int s = 0; s < b->n_steps; s++) {
        const struct bisect_step *step = &b->steps[s];
        fprintf(out, "%5d  %-*s  ", step->sweep, PIECES_CHARS,
                bisect_pieces_text(b, step->mended, pieces, sizeof pieces));
        fputs(step->enough ? "yes   " : "no    ", out);
        print_range(out, &step->interval);
        fputc('\n', out);
    }
    print_answer(b, out);
}

// ---- JSON ----

static void put_pieces(struct json_writer *w, const char *key, const struct bisect *b, const bool *mended)
{
    json_begin_array(w, key);
    for (int p = 0; p < b->parts.count; p++) {
        if (!mended[p]) continue;
        json_begin_object(w, NULL);
        json_put_string(w, "unit", part_unit_name(&b->parts, &b->parts.items[p]));
        if (b->parts.items[p].layer == PART_ALL)
            json_put_null(w, "layer");
        else
            json_put_integer(w, "layer", b->parts.items[p].layer);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_steps(struct json_writer *w, const struct bisect *b)
{
    json_begin_array(w, "steps");
    for (int s = 0; s < b->n_steps; s++) {
        const struct bisect_step *step = &b->steps[s];
        json_begin_object(w, NULL);
        json_put_integer(w, "sweep", step->sweep);
        json_put_string(w, "mode", step->mode->name);
        put_pieces(w, "mended", b, step->mended);
        trials_put_interval(w, "result", &step->interval);
        json_put_bool(w, "enough", step->enough);
        json_end_object(w);
    }
    json_end_array(w);
}

static char *make_json(const struct bisect *b)
{
    const struct trials *t = &b->trials;
    const struct bisect_step *step = bisect_find_step(b, b->found);
    const bool answered = b->answer == BISECT_ONE || b->answer == BISECT_TOGETHER;
    struct json_writer *w = json_writer_open();
    if (!w) return NULL;
    json_begin_object(w, NULL);
    json_put_integer(w, "schema_version", BISECT_SCHEMA_VERSION);
    json_put_string(w, "mode", b->mode->name);
    json_put_string(w, "toward", b->toward->name);
    json_put_string(w, "reference_mode", t->with.job->reference);
    trials_put_place(w, t);
    json_put_double(w, "limit", b->limit);
    trials_put_source(w, t);
    json_put_integer(w, "samples", t->samples[JOB_ALL_SAMPLES]);
    json_put_integer(w, "tokens", t->tokens[JOB_ALL_SAMPLES]);
    json_put_integer(w, "resamples", t->with.job->bootstrap);
    json_put_integer(w, "seed", t->with.job->seed);
    if (t->with.job->noise > 0) json_put_double(w, "noise", b->floor.change);
    json_put_integer(w, "pieces", b->parts.count);
    json_put_integer(w, "sweeps", t->sweeps);
    json_put_string(w, "answer", bisect_answer_name(b->answer));
    put_pieces(w, "mend", b, b->found);
    if (answered && step) json_put_bool(w, "sure", bisect_is_sure(b, step));
    put_steps(w, b);
    json_end_object(w);
    return json_writer_finish(w);
}

enum status bisect_write(const struct bisect *b, struct error *err)
{
    const char *folder = b->trials.with.job->comparison_dir;
    char *json = make_json(b);
    if (!json) return error_memory(err, 1u << 14, "bisect.json");
    if (file_make_directories(folder, err) == STATUS_OK) file_replace_in(folder, "bisect.json", json, err);
    free(json);
    return err->status;
}
