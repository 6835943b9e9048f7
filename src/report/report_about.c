// SPDX-License-Identifier: Apache-2.0
// The sections that say what was run, what it was judged by, and with which scales.
#include <stdlib.h>
#include <string.h>

#include "report_parts.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/report/view.h"

// ---- what was run ----

enum { MOST_FACTS = 64 };
struct facts {
    const char *names[MOST_FACTS], *values[MOST_FACTS];
    int count;
};

static void add_fact(struct facts *facts, const char *name, const char *value)
{
    if (!value[0] || facts->count == MOST_FACTS) return;
    facts->names[facts->count] = name;
    facts->values[facts->count++] = value;
}

static const char *value_text(struct builder *b, const struct json *value)
{
    char digits[NUMBER_ROOM];
    const char *text = "";
    if (json_is_array(value)) {
        for (const struct json *item = json_first(value); item; item = json_next(item))
            text = builder_text(b, "%s%s%s", text, text[0] ? ", " : "", value_text(b, item));
        return text;
    }
    if (json_is_string(value)) return builder_text(b, "%s", json_string(value));
    if (json_is_number(value)) return builder_text(b, "%s", number_shortest(json_number(value), digits));
    return json_is_bool(value) ? json_bool(value) ? "yes" : "no" : "";
}

// The job as it stands in the result file.
static void add_job(struct builder *b, struct facts *facts)
{
    const char *text = result_attribute(b->from->result, "job");
    struct error ignored = {0};
    struct json *job = NULL;
    if (text[0]) json_parse(&job, text, strlen(text), "job", &ignored);
    for (const struct json *value = json_first(job); value; value = json_next(value))
        add_fact(facts, builder_text(b, "%s", json_key(value)), value_text(b, value));
    json_close(job);
}

static void add_statistics(struct builder *b, struct facts *facts)
{
    const struct sweep_report *sweep = b->from->sweep;
    add_fact(facts, "samples", builder_text(b, "%d", b->report->samples));
    add_fact(facts, "tokens", builder_text(b, "%lld", b->report->tokens));
    if (sweep->n_units == 0) return;
    add_fact(facts, "resamples", builder_text(b, "%d", sweep->replicates));
    add_fact(facts, "seed of the resamples", builder_text(b, "%llu", (unsigned long long)sweep->seed));
}

static void put_facts(struct builder *b, const struct facts *facts)
{
    static const struct report_column value = {"value", "value", NULL, NULL, 0, REPORT_WORDS};
    const struct builder_shape shape = {&value, 1, facts->count, false};
    struct report_table *table = builder_table(b, REPORT_ABOUT, 1, "What was run", &shape);
    for (int i = 0; table && i < facts->count; i++) {
        table->rows[i].name = facts->names[i];
        table->rows[i].cells[0] = report_words(facts->values[i]);
    }
}

void build_about(struct builder *b)
{
    const struct sweep_report *sweep = b->from->sweep;
    struct facts facts = {.count = 0};
    add_statistics(b, &facts);
    if (sweep->n_units > 0)
        add_fact(&facts, "re-runs for rounding noise", builder_text(b, "%d", sweep->n_reruns));
    add_job(b, &facts);
    const char *name;
    for (int i = 0; (name = result_attribute_name(i)); i++)
        if (strcmp(name, "job") != 0)
            add_fact(&facts, name, builder_text(b, "%s", result_attribute(b->from->result, name)));
    for (int i = 0; i < b->report->n_recipes; i++)
        add_fact(&facts, builder_text(b, "recipe %s", b->report->recipes[i].key), b->report->recipes[i].text);
    put_facts(b, &facts);
}

// ---- from a sweep.json ----

static void add_members(struct builder *b, struct facts *facts, const char *before, const struct json *object)
{
    for (const struct json *value = json_first(object); value; value = json_next(value))
        if (!json_is_object(value))
            add_fact(facts, builder_text(b, "%s%s", before, json_key(value)), value_text(b, value));
}

void build_file_about(struct builder *b)
{
    const struct sweep_file *file = b->from->file;
    const struct json *provenance = json_get(file->root, "provenance");
    struct facts facts = {.count = 0};
    add_statistics(b, &facts);
    add_fact(&facts, "re-runs of each mode for rounding noise", builder_text(b, "%d", file->sweep.n_reruns));
    add_members(b, &facts, "", provenance);
    add_members(b, &facts, "evaluation: ", json_get(provenance, "evaluation"));
    add_members(b, &facts, "recipe ", json_get(file->root, "recipes"));
    put_facts(b, &facts);
    if (!file->complete)
        builder_note(
            b, REPORT_ANSWER, 0,
            builder_text(b, "The sweep is not complete: these are the %d samples of %d that all modes share.",
                         file->sweep.samples, file->samples));
    builder_note(
        b, REPORT_ANSWER, 0,
        "Made from sweep.json, which does not hold the distribution of the differences, single samples, "
        "scales, gates and the summary over the layers: a page of the result file has them.");
}

// ---- scales ----

static const struct report_column *site_columns(struct builder *b, const struct arch *arch)
{
    struct report_column *columns = builder_take(b, (size_t)arch->n_sites, sizeof *columns);
    for (int s = 0; columns && s < arch->n_sites; s++)
        columns[s] =
            (struct report_column){arch->sites[s].name, arch->sites[s].name, NULL, NULL, 0, REPORT_ERROR};
    return columns;
}

static void fill_scales(struct builder *b, const struct report_column *columns, int n_layer,
                        const struct result_run *run, const float *scales)
{
    const int sites = result_arch(b->from->result)->n_sites;
    const struct builder_shape shape = {columns, sites, n_layer, false};
    char cell[VIEW_CELL_CHARS];
    struct report_table *table = builder_table(b, REPORT_SCALES, result_runs(b->from->result),
                                               builder_text(b, "%s", view_cell_text(run, cell)), &shape);
    for (int l = 0; table && l < n_layer; l++) {
        table->rows[l].layer = l;
        for (int s = 0; s < sites; s++)
            table->rows[l].cells[s] = report_number((double)scales[(size_t)l * (size_t)sites + (size_t)s]);
    }
}

// They are written all at once: without a first one there are none.
void build_scale_tables(struct builder *b)
{
    struct result *result = b->from->result;
    const struct report_column *columns = site_columns(b, result_arch(result));
    struct cell last = {0};
    for (int r = 0; columns && r < result_runs(result); r++) {
        const struct result_run *run = result_run_at(result, r);
        float *scales = NULL;
        int n_layer = 0;
        if (run->cell.calib_data_num == 0 || cell_compare(run->cell, last) == 0) continue;
        last = run->cell;
        if (result_read_scales(result, last, &scales, &n_layer, b->err)) return;
        if (n_layer > 0 && scales[0] > 0) fill_scales(b, columns, n_layer, run, scales);
        free(scales);
    }
}
