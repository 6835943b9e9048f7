// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/baseline.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/view.h"

struct baseline {
    const char *path;
    struct json *root;
};

// What one side has and the other lacks.
struct absence {
    char first[200];
    int count;
};

// A comparison on its way along the baseline.
struct walk {
    const struct baseline *baseline;
    const struct comparison *comparison;
    const struct result *result;
    struct checks *checks;
    bool *seen; // [comparison->count]
    int common;
    struct absence gone, new; // of the comparison, of the baseline
};

// Which entry an object of the old file is about.
struct entry_id {
    const char *mode, *component;
    struct cell cell;
    int layer;
};

static void name_entry(char name[200], const struct entry_id *id)
{
    char cell[CELL_NAME_ROOM];
    snprintf(name, 200, "mode %.32s, calib_data_num %s, layer %d, %.64s", id->mode, cell_name(id->cell, cell),
             id->layer, id->component);
}

static void note_absence(struct absence *absence, const struct entry_id *id)
{
    if (absence->count++ == 0) name_entry(absence->first, id);
}

static struct entry_id entry_id_of(const struct result *result, const struct comparison_entry *entry)
{
    const struct result_run *run = result_run_at(result, entry->run);
    return (struct entry_id){run->mode, entry->name, run->cell, entry->layer};
}

// -1: there is none.
static int find_entry(const struct walk *walk, const struct entry_id *id)
{
    const struct comparison *c = walk->comparison;
    for (int i = 0; i < c->count; i++) {
        const struct entry_id is = entry_id_of(walk->result, &c->entries[i]);
        if (is.layer == id->layer && cell_compare(is.cell, id->cell) == 0 && strcmp(is.mode, id->mode) == 0 &&
            strcmp(is.component, id->component) == 0)
            return i;
    }
    return -1;
}

// Layers and components were asked for, and these were not.
static bool is_not_chosen(const struct walk *walk, const struct entry_id *id)
{
    for (int i = 0; i < walk->comparison->count; i++)
        if (walk->comparison->entries[i].layer == id->layer &&
            strcmp(walk->comparison->entries[i].name, id->component) == 0)
            return false;
    return walk->comparison->chosen;
}

// The result file has the mode, and nobody asked for it.
static bool is_left_out(const struct walk *walk, const struct entry_id *id)
{
    bool held = false;
    for (int r = 0; r < result_runs(walk->result); r++) {
        const struct result_run *run = result_run_at(walk->result, r);
        held |= strcmp(run->mode, id->mode) == 0 && cell_compare(run->cell, id->cell) == 0;
    }
    for (struct run_view run = {0}; view_next_run(walk->comparison, &run);) {
        const struct result_run *r = result_run_at(walk->result, run.run);
        if (strcmp(r->mode, id->mode) == 0 && cell_compare(r->cell, id->cell) == 0) return false;
    }
    return held;
}

// A value that is no longer a number is worse; what was none can only be as bad.
static bool worse(double now, double old, enum better better)
{
    if (isnan(old)) return false;
    return isnan(now) || (better == BETTER_LARGER ? now < old : now > old);
}

// What the old file has of the metrics that are judged; NaN: nothing.
static struct record old_record(const struct json *object)
{
    struct record record = {0};
    for (int m = 0; m < METRICS; m++) {
        const struct json *value = json_get(object, metric_table[m].name);
        record.value[m] = json_is_number(value) ? json_number(value) : (double)NAN;
    }
    return record;
}

// Two numbers with as many digits as tell them apart.
static void put_worse(char *text, size_t room, const char *name, double now, double old)
{
    char is[40], was[40];
    size_t used = strlen(text);
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(is, sizeof is, "%.*g", digits, now);
        snprintf(was, sizeof was, "%.*g", digits, old);
        if (strcmp(is, was) != 0) break;
    }
    snprintf(text + used, room - used, "%s%s is %s, was %s", used ? ", " : "worse: ", name, is, was);
}

static enum status check_object(struct walk *walk, const struct json *object, const struct entry_id *id,
                                struct error *err)
{
    if (strcmp(id->mode, view_reference_name(walk->comparison, walk->result)) == 0) return STATUS_OK;
    const int at = find_entry(walk, id);
    if (at < 0) {
        if (!is_left_out(walk, id) && !is_not_chosen(walk, id)) note_absence(&walk->gone, id);
        return STATUS_OK;
    }
    const struct comparison_entry *entry = &walk->comparison->entries[at];
    struct check check = {.kind = "baseline", .good = true};
    walk->seen[at] = true;
    walk->common++;
    name_entry(check.name, id);
    const struct record before = old_record(object);
    for (int i = 1, m; (m = metric_at(LIST_JUDGED, i)) >= 0; i++) {
        const double old = record_judged(&before, (enum metric_id)m);
        const double now = record_judged(&entry->record, (enum metric_id)m);
        if (!worse(now, old, metric_table[m].better)) continue;
        put_worse(check.text, sizeof check.text, metric_table[m].name, now, old);
        check.good = false;
    }
    return checks_add(walk->checks, &check, err);
}

static int whole_number(const struct json *object, const char *key)
{
    const struct json *n = json_get(object, key);
    double value = json_is_number(n) ? json_number(n) : 0;
    return value >= 0 && value <= 1e6 ? (int)value : 0;
}

static struct cell cell_of(const struct json *object)
{
    return (struct cell){whole_number(object, "calib_data_num"), whole_number(object, "order")};
}

// The object of a layer and, below it, of its other components.
static enum status check_layer(struct walk *walk, const struct json *layer, struct entry_id id,
                               struct error *err)
{
    id.component = json_string(json_get(layer, "component"));
    if (id.component && check_object(walk, layer, &id, err)) return err->status;
    for (const struct json *c = json_first(json_get(layer, "components")); c; c = json_next(c)) {
        id.component = json_key(c);
        if (check_object(walk, c, &id, err)) return err->status;
    }
    return STATUS_OK;
}

static enum status check_single(struct walk *walk, const struct json *root, struct error *err)
{
    struct entry_id id = {.mode = json_string(json_get(root, "compared_mode")),
                          .cell = cell_of(json_get(root, "provenance"))};
    for (const struct json *layer = json_first(json_get(root, "layers")); layer && id.mode;
         layer = json_next(layer)) {
        if (sscanf(json_key(layer), "layer_%d", &id.layer) != 1) continue;
        if (check_layer(walk, layer, id, err)) return err->status;
    }
    return STATUS_OK;
}

static enum status check_summary(struct walk *walk, const struct json *root, struct error *err)
{
    static const char *const keys[] = {"first_layer", "last_layer"};
    for (const struct json *mode = json_first(json_get(root, "modes")); mode; mode = json_next(mode)) {
        struct entry_id id = {.mode = json_string(json_get(mode, "mode")), .cell = cell_of(mode)};
        for (int k = 0; k < 2 && id.mode; k++) {
            const struct json *layer = json_get(mode, keys[k]), *number = json_get(layer, "layer");
            if (!json_is_number(number)) continue;
            int index = (int)fmin(1e6, fmax(-1, json_number(number)));
            if (k == 1 && index == id.layer) continue; // a single layer is both
            id.layer = index;
            if (check_layer(walk, layer, id, err)) return err->status;
        }
    }
    return STATUS_OK;
}

// ---- opening ----

static bool is_summary(const struct baseline *baseline)
{
    return json_is_array(json_get(baseline->root, "modes"));
}

static enum status check_kind(const struct baseline *baseline, const char *reference, struct error *err)
{
    const char *its = json_string(json_get(baseline->root, "reference_mode"));
    if (!its)
        return error_set(err, STATUS_INPUT,
                         "%s: no 'reference_mode' in it; give a comparison JSON of ssmsweep", baseline->path);
    if (strcmp(its, reference) != 0)
        return error_set(err, STATUS_INPUT,
                         "%s: compares with '%.32s', this comparison with '%s'; give --reference",
                         baseline->path, its, reference);
    if (is_summary(baseline) || (json_string(json_get(baseline->root, "compared_mode")) &&
                                 json_is_object(json_get(baseline->root, "layers"))))
        return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "%s: no 'modes' and no 'compared_mode' with 'layers' in it; give a summary.json or a "
                     "mode_<m>_vs_<reference>.json",
                     baseline->path);
}

enum status baseline_open(struct baseline **baseline, const char *path, const char *reference,
                          struct error *err)
{
    struct baseline *opened = calloc(1, sizeof *opened);
    if (!opened) return error_memory(err, sizeof *opened, "the baseline");
    opened->path = path;
    if (json_read_file(&opened->root, path, err) || check_kind(opened, reference, err)) {
        baseline_close(opened);
        return err->status;
    }
    *baseline = opened;
    return STATUS_OK;
}

void baseline_close(struct baseline *baseline)
{
    if (baseline) json_close(baseline->root);
    free(baseline);
}

// ---- is it about the same? ----

static bool names_mode(const struct baseline *baseline, const char *name)
{
    const char *single = json_string(json_get(baseline->root, "compared_mode"));
    if (!is_summary(baseline)) return strcmp(single, name) == 0;
    for (const struct json *mode = json_first(json_get(baseline->root, "modes")); mode;
         mode = json_next(mode)) {
        const char *its = json_string(json_get(mode, "mode"));
        if (its && strcmp(its, name) == 0) return true;
    }
    return false;
}

enum status baseline_check_modes(const struct baseline *baseline, const bool *swept, struct error *err)
{
    const char *reference = json_string(json_get(baseline->root, "reference_mode"));
    if (is_summary(baseline) && !json_first(json_get(baseline->root, "modes")))
        return STATUS_OK; // said later
    for (int m = 0; m < mode_count(); m++) {
        const char *name = mode_at(m)->name;
        const bool there = names_mode(baseline, name);
        if (strcmp(name, reference) == 0 || there == swept[m] || (swept[m] && !is_summary(baseline)))
            continue;
        return error_set(
            err, STATUS_USAGE,
            there ? "%s: has mode '%s', which is not swept; sweep it as well, or make a new baseline"
                  : "%s: lacks mode '%s', which is swept; leave it out, or make a new baseline",
            baseline->path, name);
    }
    return STATUS_OK;
}

// Digests that stand on one side alone say nothing: arrays that were imported have none.
static enum status check_same(const struct baseline *baseline, const struct result *result, struct error *err)
{
    static const struct {
        const char *name, *of;
    } keys[] = {{"weights_digest", "another model"},
                {"reference_weights", "another float reference"},
                {"ids_sha256", "another text, or as many other samples of it"}};
    const struct json *provenance = json_get(baseline->root, "provenance");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *there = json_string(json_get(provenance, keys[i].name));
        const char *here = result_attribute(result, keys[i].name);
        if (!there || !there[0] || !here[0] || strcmp(there, here) == 0) continue;
        return error_set(err, STATUS_INPUT,
                         "%s: is of %s: expected %s %.16s, got %.16s; give a baseline of the same model and "
                         "text, or make a new one",
                         baseline->path, keys[i].of, keys[i].name, here, there);
    }
    return STATUS_OK;
}

// What is compared and not in the baseline.  A summary has the first and the last layer of all modes, another
// file one mode.
static void look_for_new(struct walk *walk)
{
    const struct json *root = walk->baseline->root;
    const char *single = is_summary(walk->baseline) ? NULL : json_string(json_get(root, "compared_mode"));
    const struct cell cell = cell_of(json_get(root, "provenance"));
    for (struct run_view run = {0}; view_next_run(walk->comparison, &run);) {
        const struct result_run *r = result_run_at(walk->result, run.run);
        const struct run_summary ends = view_summarize(&run);
        if (view_is_reference(walk->comparison, walk->result, run.run)) continue;
        if (single && (strcmp(r->mode, single) != 0 || cell_compare(r->cell, cell) != 0)) continue;
        for (int i = 0; i < run.count; i++) {
            const struct comparison_entry *entry = &run.entries[i];
            const struct entry_id id = entry_id_of(walk->result, entry);
            const bool counts = single || entry == ends.first.main || entry == ends.last.main;
            if (counts && !walk->seen[entry - walk->comparison->entries]) note_absence(&walk->new, &id);
        }
    }
}

static enum status refuse_absence(const struct walk *walk, struct error *err)
{
    const bool gone = walk->gone.count > 0;
    const struct absence *absence = gone ? &walk->gone : &walk->new;
    char more[32] = "";
    if (absence->count > 1) snprintf(more, sizeof more, " (and %d more)", absence->count - 1);
    return error_set(err, STATUS_USAGE,
                     "%s: %s %s%s; compare the same modes, layers and components, or make a new baseline",
                     walk->baseline->path, gone ? "nothing is compared for its" : "lacks", absence->first,
                     more);
}

enum status baseline_check(const struct baseline *baseline, const struct comparison *comparison,
                           const struct result *result, struct checks *checks, struct error *err)
{
    struct walk walk = {.baseline = baseline, .comparison = comparison, .result = result, .checks = checks};
    walk.seen = calloc((size_t)comparison->count + 1, sizeof *walk.seen);
    if (!walk.seen) return error_memory(err, (unsigned long long)comparison->count, "the baseline");
    if (check_same(baseline, result, err)) goto free_seen;
    if (is_summary(baseline) ? check_summary(&walk, baseline->root, err)
                             : check_single(&walk, baseline->root, err))
        goto free_seen;
    look_for_new(&walk);
    if (walk.common == 0)
        error_set(
            err, STATUS_INPUT,
            "%s: no mode, layer and component in common with this comparison; give that of the same job",
            baseline->path);
    else if (walk.gone.count || walk.new.count)
        refuse_absence(&walk, err);
free_seen:
    free(walk.seen);
    return err->status;
}
