// SPDX-License-Identifier: Apache-2.0
// What a report says of where its numbers come from: runs, provenance, and what of an unfinished sweep is
// there.
#include <string.h>

#include "report_parts.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/view.h"

// ---- runs ----

static void build_run(struct builder *b, struct report_run *run, const struct result_run *r,
                      bool is_reference)
{
    const struct mode *mode = mode_find(r->mode);
    char cell[VIEW_CELL_CHARS], name[CELL_NAME_ROOM];
    const bool of_several = r->cell.calib_data_num > 0 && b->report->n_cells > 1;
    *run = (struct report_run){
        .mode = r->mode,
        .name = of_several ? builder_text(b, "%s (%s)", r->mode, view_cell_text(r, cell)) : r->mode,
        .stem = of_several ? builder_text(b, "mode_%s_n%s", r->mode, cell_name(r->cell, name))
                           : builder_text(b, "mode_%s", r->mode),
        .summary = mode ? mode->summary : NULL,
        .cell = r->cell,
        .is_reference = is_reference};
}

static int count_failed(const struct result *result, int run)
{
    int failed = 0;
    for (int s = 0; s < result_samples(result); s++)
        failed += result_state(result, run, s) == STORE_ITEM_FAILED;
    return failed;
}

static struct report_ranges ranges_of(struct builder *b, int run, enum store_state state)
{
    const struct result *result = b->from->result;
    const int samples = result_samples(result);
    struct report_ranges ranges = {builder_take(b, (size_t)samples, sizeof *ranges.items), 0};
    for (int s = 0, last; ranges.items && s < samples; s = last + 1) {
        last = s;
        if (result_state(result, run, s) != state) continue;
        while (last + 1 < samples && result_state(result, run, last + 1) == state)
            last++;
        ranges.items[ranges.count++] =
            last > s ? builder_text(b, "%d-%d", s, last) : builder_text(b, "%d", s);
    }
    return ranges;
}

static void cover_run(struct builder *b, struct report_run *run, int place)
{
    const struct result *result = b->from->result;
    const int reference = compare_reference_of(result, b->report->reference, place);
    run->complete = result_run_at(result, place)->complete && result_run_at(result, reference)->complete;
    if (run->complete) return;
    for (int s = 0; s < result_samples(result); s++)
        run->samples_compared += compare_uses(result, reference, place, s);
    run->missing = ranges_of(b, place, STORE_ITEM_ABSENT);
    run->failed = ranges_of(b, place, STORE_ITEM_FAILED);
}

static void build_runs(struct builder *b)
{
    struct report *report = b->report;
    const int runs = result_runs(b->from->result);
    report->runs = builder_take(b, (size_t)runs, sizeof *report->runs);
    while (report->runs && report->n_runs < runs) {
        const int place = report->n_runs++;
        build_run(b, &report->runs[place], result_run_at(b->from->result, place),
                  view_is_reference(b->from->comparison, b->from->result, place));
    }
    for (struct run_view view = {0}; report->runs && view_next_run(b->from->comparison, &view);) {
        cover_run(b, &report->runs[view.run], view.run);
        report->n_compared += !report->runs[view.run].is_reference;
    }
}

// Those of the result file that are not complete, noisy re-runs too.
static void build_incomplete(struct builder *b)
{
    struct report *report = b->report;
    const struct result *result = b->from->result;
    const int runs = result_all_runs(result);
    report->complete = true;
    report->incomplete = builder_take(b, (size_t)runs, sizeof *report->incomplete);
    for (int r = 0; report->incomplete && r < runs; r++) {
        const struct result_run *run = result_run_at(result, r);
        if (run->complete) continue;
        report->complete = false;
        report->incomplete[report->n_incomplete++] =
            (struct report_incomplete){.mode = run->mode,
                                       .noise = run->dither,
                                       .cell = run->cell,
                                       .samples_done = run->done,
                                       .n_failed = count_failed(result, r),
                                       .missing = ranges_of(b, r, STORE_ITEM_ABSENT),
                                       .failed = ranges_of(b, r, STORE_ITEM_FAILED)};
    }
}

// ---- provenance ----

// The job that made the result; NULL: unknown.
static struct json *parse_job(const struct result *result)
{
    const char *text = result_attribute(result, "job");
    struct error ignored = {0};
    struct json *job = NULL;
    if (text[0]) json_parse(&job, text, strlen(text), "job", &ignored);
    return job;
}

static struct report_fact fact_of_job(struct builder *b, const struct json *job, const char *key,
                                      bool applies)
{
    const struct json *value = applies ? json_get(job, key) : NULL;
    struct report_fact fact = {.key = key, .is_number = json_is_number(value), .number = json_number(value)};
    if (json_string(value)) fact.text = builder_text(b, "%s", json_string(value));
    return fact;
}

// An empty attribute says nothing.
static struct report_fact attribute_fact(const struct result *result, const char *key, const char *name)
{
    const char *text = result_attribute(result, name);
    return (struct report_fact){.key = key, .text = text[0] ? text : NULL};
}

static void build_provenance(struct builder *b, const struct json *job)
{
    static const char *const names[] = {"tool_version",      "weights_digest",        "tokenizer_sha256",
                                        "ids_sha256",        "model_dtype",           "scales_source",
                                        "reference_weights", "calibration_ids_sha256"};
    enum { NAMES = sizeof names / sizeof names[0], OF_JOB = 3 };
    const struct result *result = b->from->result;
    struct report_fact *facts = builder_take(b, NAMES + OF_JOB, sizeof *facts);
    if (!facts) return;
    for (int i = 0; i < NAMES; i++)
        facts[i] = attribute_fact(result, names[i], names[i]);
    // Scales of a checkpoint do not come from the job.
    const bool applies = strcmp(result_attribute(result, "scales_source"), "checkpoint") != 0;
    facts[NAMES] = fact_of_job(b, job, "percentile_alpha", applies);
    facts[NAMES + 1] = fact_of_job(b, job, "observer", applies);
    facts[NAMES + 2] = fact_of_job(b, job, "group_heads", applies);
    b->report->provenance = facts;
    b->report->n_attributes = NAMES;
    b->report->n_provenance = NAMES + OF_JOB - !facts[NAMES + 2].text; // it is there where it is on
}

static void build_evaluation(struct builder *b, const struct json *job)
{
    enum { FACTS = 5 };
    struct report *report = b->report;
    struct report_fact *facts = builder_take(b, FACTS, sizeof *facts);
    if (!facts) return;
    facts[0] = attribute_fact(b->from->result, "text", "evaluation_text");
    facts[1] = fact_of_job(b, job, "eval_data", true);
    facts[1].key = "file";
    facts[1].is_number = false;
    facts[2] = (struct report_fact){.key = "samples", .number = report->samples, .is_number = true};
    facts[3] = (struct report_fact){.key = "tokens", .number = (double)report->tokens, .is_number = true};
    facts[4] = attribute_fact(b->from->result, "ids_sha256", "ids_sha256");
    report->evaluation = facts;
    report->n_evaluation = FACTS;
}

static void build_recipes(struct builder *b)
{
    const struct result *result = b->from->result;
    const int count = result_recipes(result);
    struct report_fact *facts = builder_take(b, (size_t)count + 1, sizeof *facts);
    for (int i = 0; facts && i < count; i++)
        facts[i] = (struct report_fact){.key = result_recipe_at(result, i)->name,
                                        .text = result_recipe_at(result, i)->text};
    b->report->recipes = facts;
    b->report->n_recipes = facts ? count : 0;
}

static void build_time(struct builder *b)
{
    struct tm utc;
    char text[32] = "";
    if (gmtime_r(&b->from->time, &utc)) strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    b->report->timestamp = builder_text(b, "%s", text);
}

void build_sources(struct builder *b)
{
    char weights[VIEW_WEIGHTS_CHARS];
    struct json *job = parse_job(b->from->result);
    view_reference_weights(result_attribute(b->from->result, "reference_weights"), weights);
    b->report->reference_weights = builder_text(b, "%s", weights);
    b->report->output_dir = b->from->output_dir;
    build_time(b);
    build_runs(b);
    build_incomplete(b);
    build_provenance(b, job);
    build_evaluation(b, job);
    build_recipes(b);
    json_close(job);
}

// The runs of a sweep.json: the reference, then what is compared with it.
void build_file_sources(struct builder *b)
{
    const struct sweep_file *file = b->from->file;
    struct report *report = b->report;
    char weights[VIEW_WEIGHTS_CHARS];
    view_reference_weights(sweep_file_fact(file, "reference_weights"), weights);
    report->reference_weights = builder_text(b, "%s", weights);
    report->complete = file->complete;
    report->runs = builder_take(b, (size_t)file->n_runs, sizeof *report->runs);
    while (report->runs && report->n_runs < file->n_runs) {
        const int place = report->n_runs++;
        build_run(b, &report->runs[place], &file->runs[place], place == 0);
    }
    report->n_compared = report->n_runs - 1;
}

// ---- notes ----

static void note_incomplete(struct builder *b, const struct report_incomplete *run)
{
    const struct result_run of = {.cell = run->cell};
    char rerun[40] = "", cell[VIEW_CELL_CHARS], scales[VIEW_CELL_CHARS + 4] = "";
    if (run->noise) snprintf(rerun, sizeof rerun, ", noisy re-run %d", run->noise);
    if (run->cell.calib_data_num > 0) snprintf(scales, sizeof scales, " (%s)", view_cell_text(&of, cell));
    const char *text = builder_text(b, "  mode %s%s%s: %d of %d samples", run->mode, rerun, scales,
                                    run->samples_done, b->report->samples);
    if (run->n_failed) text = builder_text(b, "%s, %d failed", text, run->n_failed);
    builder_note(b, REPORT_SUMMARY, 0, text);
}

void build_source_notes(struct builder *b)
{
    enum { MOST_OBSERVER = 70 }; // characters; summary.json has all
    const struct report *report = b->report;
    const char *text = result_attribute(b->from->result, "evaluation_text");
    struct json *job = parse_job(b->from->result);
    const char *observer = json_string(json_get(job, "observer"));
    if (text[0]) builder_note(b, REPORT_SUMMARY, 0, builder_text(b, "Compared on: %s.", text));
    if (observer)
        builder_note(b, REPORT_SUMMARY, 0,
                     builder_text(b, "Scales by --observer %.*s%s", MOST_OBSERVER, observer,
                                  strlen(observer) > MOST_OBSERVER ? "..." : "."));
    if (json_get(job, "group_heads"))
        builder_note(b, REPORT_SUMMARY, 0, "Scales of groups of heads and channels (--group_heads).");
    json_close(job);
    if (!report->complete)
        builder_note(b, REPORT_SUMMARY, 0,
                     "INCOMPLETE.  Modes are compared over the samples that they share with the reference:");
    for (int i = 0; i < report->n_incomplete; i++)
        note_incomplete(b, &report->incomplete[i]);
}
