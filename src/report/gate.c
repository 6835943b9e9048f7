// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/gate.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/isolated.h"
#include "ssmsweep/report/view.h"

// ---- reading ----

static bool begins(const char *word, const char *prefix)
{
    return strncmp(word, prefix, strlen(prefix)) == 0;
}

// "METRIC<NUMBER"
static enum status read_limit(struct gate *gate, const char *word, const char *where, struct error *err)
{
    size_t length = strcspn(word, "<>=");
    int metric = metric_find(word, length);
    const bool of_predictions = metric >= 0 && metric_table[metric].subject != SUBJECT_OUTPUTS;
    if (of_predictions && !gate->on_pieces) metric = -1;
    if (word[length] != '<' && word[length] != '>')
        return error_set(err, STATUS_USAGE,
                         "%s: expected METRIC<NUMBER, METRIC>=NUMBER, mode=, layer=, component=, "
                         "calib_data_num= or piece=, got '%.64s'; correct the gate",
                         where, word);
    if (metric < 0)
        return error_set(err, STATUS_USAGE,
                         "%s: unknown metric '%.*s'; known are mse, mae, correlation, relative_mae, sqnr_db, "
                         "cosine_similarity, psnr_db, max_ulp and every key of the comparison JSON",
                         where, length < 64 ? (int)length : 64, word);
    struct gate_limit limit = {.metric = metric, .above = word[length] == '>'};
    const char *number = word + length + 1;
    limit.or_equal = *number == '=';
    number += limit.or_equal;
    char *end;
    limit.limit = number_read(number, &end);
    if (end == number || *end || !isfinite(limit.limit))
        return error_set(err, STATUS_USAGE, "%s: expected a number after '%.*s', got '%.64s'", where,
                         (int)(number - word), word, number);
    if (gate->n_limits == GATE_LIMITS)
        return error_set(err, STATUS_USAGE, "%s: expected at most %d limits; divide the gate", where,
                         GATE_LIMITS);
    gate->limits[gate->n_limits++] = limit;
    return STATUS_OK;
}

static enum status read_modes(struct gate *gate, const char *list, const char *where, struct error *err)
{
    struct error found = {0};
    gate->any_mode = false;
    snprintf(gate->modes, sizeof gate->modes, "%s", list);
    if (mode_select(list, NULL, &found) == STATUS_OK) return STATUS_OK;
    return error_set(err, STATUS_USAGE, "%s: mode=%.64s: %.300s", where, list, found.text);
}

// Digits; a number that no layer has is as good as the largest.
static bool layer_number(const char **at, int *number)
{
    char *end;
    if (**at < '0' || **at > '9') return false;
    long value = strtol(*at, &end, 10);
    *number = value < INT_MAX ? (int)value : INT_MAX;
    *at = end;
    return true;
}

// One "a", "a-b", "first", "last" or "all" of a list; false: none of these.  Ends at ',' or '\0'.
static bool layer_item(const char *item, int first, int last, int *from, int *to)
{
    size_t length = strcspn(item, ",");
    const char *at = item;
    *from = first;
    *to = last;
    if (length == 3 && begins(item, "all")) return true;
    if (length == 5 && begins(item, "first")) {
        *to = first;
        return true;
    }
    *from = last;
    if (length == 4 && begins(item, "last")) return true;
    if (!layer_number(&at, from)) return false;
    *to = *from;
    if (*at == '-' && (at++, !layer_number(&at, to))) return false;
    return at == item + length && *from <= *to;
}

static bool layer_wanted(const char *list, int layer, int first, int last)
{
    for (const char *item = list;; item++) {
        int from, to;
        if (layer_item(item, first, last, &from, &to) && layer >= from && layer <= to) return true;
        item += strcspn(item, ",");
        if (!*item) return list[0] == '\0';
    }
}

static enum status read_layers(struct gate *gate, const char *list, const char *where, struct error *err)
{
    int from, to;
    for (const char *item = list;; item++) {
        if (!layer_item(item, 0, 0, &from, &to) || strlen(list) >= sizeof gate->layers)
            return error_set(err, STATUS_USAGE,
                             "%s: layer=%.64s: expected numbers, ranges a-b upwards, first, last or all",
                             where, list);
        item += strcspn(item, ",");
        if (!*item) break;
    }
    snprintf(gate->layers, sizeof gate->layers, "%s", list);
    return STATUS_OK;
}

static enum status read_cell(struct gate *gate, const char *text, const char *where, struct error *err)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (end == text || *end || n < 1 || n > 1000000)
        return error_set(err, STATUS_USAGE, "%s: calib_data_num=%.64s: expected a whole number from 1", where,
                         text);
    gate->calib_data_num = (int)n;
    return STATUS_OK;
}

// Does the gate have a selector already?
static bool is_selected(const struct gate *gate, const char *word)
{
    return (begins(word, "mode=") && !gate->any_mode) || (begins(word, "layer=") && gate->layers[0]) ||
           (begins(word, "component=") && gate->components[0]) ||
           (begins(word, "piece=") && gate->piece[0]) ||
           (begins(word, "calib_data_num=") && gate->calib_data_num);
}

static enum status read_word(struct gate *gate, const char *word, const char *where, struct error *err)
{
    if (is_selected(gate, word))
        return error_set(err, STATUS_USAGE,
                         "%s: a second selector of that kind, '%.64s'; give one list, or two gates", where,
                         word);
    const bool selects = begins(word, "mode=") || begins(word, "component=") ||
                         begins(word, "calib_data_num=") || begins(word, "piece=");
    if (selects && begins(word, "piece=") != gate->on_pieces)
        return error_set(
            err, STATUS_USAGE,
            "%s: '%.64s': attribute has gates on piece= and layer=, the other commands on mode=, "
            "layer=, component= and calib_data_num=; correct the gate",
            where, word);
    if (begins(word, "piece=")) {
        snprintf(gate->piece, sizeof gate->piece, "%s", word + 6);
        return STATUS_OK;
    }
    if (begins(word, "mode=")) return read_modes(gate, word + 5, where, err);
    if (begins(word, "layer=")) return read_layers(gate, word + 6, where, err);
    if (begins(word, "calib_data_num=")) return read_cell(gate, word + 15, where, err);
    if (!begins(word, "component=")) return read_limit(gate, word, where, err);
    struct error found = {0};
    uint32_t mask;
    if (component_select(NULL, word + 10, &mask, &found) == STATUS_OK) {
        snprintf(gate->components, sizeof gate->components, "%s", word + 10);
        return STATUS_OK;
    }
    return error_set(err, STATUS_USAGE, "%s: %.64s: %.300s", where, word, found.text);
}

// `line` is cut into words.
static enum status read_gate(struct gates *gates, char *line, const char *where, struct error *err)
{
    struct gate gate = {.any_mode = true, .on_pieces = gates->on_pieces};
    char *rest = NULL;
    for (char *word = strtok_r(line, " \t\r", &rest); word; word = strtok_r(NULL, " \t\r", &rest)) {
        if (read_word(&gate, word, where, err)) return err->status;
        size_t used = strlen(gate.text), length = strlen(word);
        if (used + length + 2 > sizeof gate.text)
            return error_set(err, STATUS_USAGE, "%s: expected a gate of at most %zu characters; divide it",
                             where, sizeof gate.text - 2);
        if (used) gate.text[used++] = ' ';
        memcpy(gate.text + used, word, length + 1);
    }
    if (gate.text[0] == '\0') return STATUS_OK;
    if (gate.n_limits == 0)
        return error_set(err, STATUS_USAGE, "%s: '%s' has no limit such as mse<1e-3; add one", where,
                         gate.text);
    struct gate *grown = realloc(gates->items, ((size_t)gates->count + 1) * sizeof *grown);
    if (!grown) return error_memory(err, ((size_t)gates->count + 1) * sizeof *grown, "the gates");
    gates->items = grown;
    gates->items[gates->count++] = gate;
    return STATUS_OK;
}

enum status gates_parse(struct gates *gates, const char *text, const char *where, struct error *err)
{
    int before = gates->count, number = 1;
    while (*text && !err->status) {
        size_t length = strcspn(text, "\n"), used = strcspn(text, "\n#"), part = strcspn(text, "\n#;");
        char *line = strndup(text, part), place[320];
        snprintf(place, sizeof place, "%.280s: gate in line %d", where, number);
        if (line)
            read_gate(gates, line, place, err);
        else
            error_memory(err, part, "a gate");
        free(line);
        text += part < used ? part : length;
        if (*text == '\n') number++;
        if (*text) text++;
    }
    if (!err->status && gates->count == before)
        error_set(err, STATUS_USAGE, "%s: no gate in it; add one such as: mode=2-1 mse<1e-3", where);
    return err->status;
}

enum status gates_read_file(struct gates *gates, const char *path, struct error *err)
{
    struct file_map map;
    if (file_map(&map, path, err)) return err->status;
    const size_t mark = file_mark_bytes(map.data, map.size_bytes), bytes = map.size_bytes - mark;
    char *text = strndup(map.data ? (const char *)map.data + mark : "", bytes);
    if (text && strlen(text) != bytes) // what follows would not be checked
        error_set(err, STATUS_USAGE, "%s: expected text, got a NUL at byte %zu", path, mark + strlen(text));
    else if (text)
        gates_parse(gates, text, path, err);
    else
        error_memory(err, map.size_bytes, path);
    free(text);
    file_unmap(&map);
    return err->status;
}

void gates_clear(struct gates *gates)
{
    free(gates->items);
    *gates = (struct gates){0};
}

// ---- checking ----

bool gate_value_kept(const struct gate_limit *limit, double v)
{
    if (limit->above) return limit->or_equal ? v >= limit->limit : v > limit->limit;
    return limit->or_equal ? v <= limit->limit : v < limit->limit;
}

bool gate_limit_kept(const struct gate_limit *limit, const struct record *record)
{
    return gate_value_kept(limit, record_judged(record, (enum metric_id)limit->metric));
}

bool gate_wants_layer(const struct gate *gate, int layer, int first, int last)
{
    return layer_wanted(gate->layers, layer, first, last);
}

static bool run_wanted(const struct gate *gate, const struct comparison *comparison,
                       const struct result *result, int run)
{
    const struct result_run *r = result_run_at(result, run);
    if (view_is_reference(comparison, result, run)) return false;
    if (gate->calib_data_num && r->cell.calib_data_num && r->cell.calib_data_num != gate->calib_data_num)
        return false;
    const struct mode *mode = mode_find(r->mode);
    return gate->any_mode || (mode && mode_is_listed(gate->modes, mode));
}

// What one gate found so far.
struct finding {
    int entries, broken;
    struct check check;
};

static void check_entry(struct finding *finding, const struct gate *gate, const struct result *result,
                        const struct comparison_entry *entry)
{
    finding->entries++;
    for (int i = 0; i < gate->n_limits; i++) {
        const struct gate_limit *limit = &gate->limits[i];
        if (gate_limit_kept(limit, &entry->record)) continue;
        if (finding->broken++) continue;
        const struct result_run *run = result_run_at(result, entry->run);
        snprintf(finding->check.text, sizeof finding->check.text, "mode %s, layer %d, %s: %s is %.6g",
                 run->mode, entry->layer, entry->name, metric_table[limit->metric].name,
                 entry->record.value[limit->metric]);
    }
}

static void check_run(struct finding *finding, const struct gate *gate, const struct result *result,
                      const struct run_view *run)
{
    struct run_summary summary = view_summarize(run);
    for (struct layer_view layer = {0}; view_next_layer(run, &layer);) {
        if (!layer_wanted(gate->layers, layer.layer, summary.first.layer, summary.last.layer)) continue;
        for (int i = 0; i < layer.count; i++) {
            const struct comparison_entry *entry = &layer.entries[i];
            if (gate->components[0] ? component_listed(gate->components, entry->name) : entry == layer.main)
                check_entry(finding, gate, result, entry);
        }
    }
}

// ---- coverage ----

// One of a selector's list: "mode=2-4".
struct selected {
    char key[16], text[160]; // as the gate's
};

// *at: in the text of a gate, or in the list of a selector; moves on.  False: there are no more.
static bool next_selected(const char **at, struct selected *selected)
{
    const char *word = *at;
    if (*word == ',') { // the key stays
        word++;
    } else {
        for (word += strspn(word, " "); *word; word += strcspn(word, " "), word += strspn(word, " "))
            if (begins(word, "mode=") || begins(word, "layer=") || begins(word, "component=")) break;
        if (!*word) return false;
        const int key = (int)strcspn(word, "=");
        snprintf(selected->key, sizeof selected->key, "%.*s", key, word);
        word += key + 1;
    }
    const int length = (int)strcspn(word, ", ");
    snprintf(selected->text, sizeof selected->text, "%.*s", length, word);
    *at = word + length;
    return true;
}

// How much a gate with nothing but this item in its list applies to.
static int count_entries(const struct gate *gate, const struct selected *selected,
                         const struct comparison *comparison, const struct result *result)
{
    struct gate narrow = *gate;
    struct finding finding = {0};
    narrow.n_limits = 0;
    if (strcmp(selected->key, "mode") == 0)
        snprintf(narrow.modes, sizeof narrow.modes, "%s", selected->text);
    else if (strcmp(selected->key, "component") == 0)
        snprintf(narrow.components, sizeof narrow.components, "%s", selected->text);
    else
        snprintf(narrow.layers, sizeof narrow.layers, "%s", selected->text);
    for (struct run_view run = {0}; view_next_run(comparison, &run);)
        if (run_wanted(&narrow, comparison, result, run.run)) check_run(&finding, &narrow, result, &run);
    return finding.entries;
}

static bool has_cell(int calib_data_num, const struct comparison *comparison, const struct result *result)
{
    for (struct run_view run = {0}; view_next_run(comparison, &run);)
        if (result_run_at(result, run.run)->cell.calib_data_num == calib_data_num) return true;
    return calib_data_num == 0;
}

static enum status refuse_gate(const struct gate *gate, const struct selected *selected, struct error *err)
{
    return error_set(err, STATUS_USAGE,
                     "gate '%s': nothing in the comparison for %s=%s; compare that too, or correct the gate",
                     gate->text, selected->key, selected->text);
}

// A limit that is not looked at is none: whatever a gate names has to be there.
static enum status check_coverage(const struct gate *gate, const struct comparison *comparison,
                                  const struct result *result, struct error *err)
{
    struct selected selected = {.key = "calib_data_num"};
    snprintf(selected.text, sizeof selected.text, "%d", gate->calib_data_num);
    if (!has_cell(gate->calib_data_num, comparison, result)) return refuse_gate(gate, &selected, err);
    for (const char *at = gate->text; next_selected(&at, &selected);)
        if (selected.text[0] && count_entries(gate, &selected, comparison, result) == 0)
            return refuse_gate(gate, &selected, err);
    return STATUS_OK;
}

// A set is swept where one of its modes is.
static bool is_swept(const char *word, const bool *swept, const char *reference)
{
    struct error known = {0};
    if (mode_select(word, NULL, &known)) return true; // empty
    for (int m = 0; m < mode_count(); m++)
        if (mode_is_listed(word, mode_at(m)) && swept[m] && strcmp(mode_at(m)->name, reference) != 0)
            return true;
    return false;
}

enum status gates_check_modes(const struct gates *gates, const bool *swept, const char *reference,
                              struct error *err)
{
    struct selected selected = {.key = ""};
    for (int g = 0; g < gates->count; g++)
        for (const char *at = gates->items[g].text; next_selected(&at, &selected);)
            if (strcmp(selected.key, "mode") == 0 && !is_swept(selected.text, swept, reference))
                return refuse_gate(&gates->items[g], &selected, err);
    return STATUS_OK;
}

// ---- the whole ----

enum status gates_check_needs(const struct gates *gates, bool outputs, bool isolated, struct error *err)
{
    for (int g = 0; g < gates->count; g++)
        for (int i = 0; i < gates->items[g].n_limits; i++) {
            const struct metric *metric = &metric_table[gates->items[g].limits[i].metric];
            if (metric->needs == NEEDS_OWN_ERRORS && !isolated)
                return error_set(err, STATUS_USAGE,
                                 "gate '%s': %s needs a sweep with --isolated, against the same reference; "
                                 "leave it out, or sweep so",
                                 gates->items[g].text, metric->name);
            if ((metric->needs == NEEDS_OUTPUTS || metric->needs == NEEDS_FLOAT_OUTPUTS) && !outputs)
                return error_set(err, STATUS_USAGE,
                                 "gate '%s': %s needs layer outputs in FP32, and with --store none or "
                                 "--store-dtype f16, and of layers and components that were not kept, there "
                                 "are none; leave it out, or keep them",
                                 gates->items[g].text, metric->name);
        }
    return STATUS_OK;
}

enum status gates_check(const struct gates *gates, const struct comparison *comparison,
                        const struct result *result, struct checks *checks, struct error *err)
{
    const char *reference = view_reference_name(comparison, result);
    if (gates_check_needs(gates, comparison->from_outputs, isolated_known(result, reference), err))
        return err->status;
    for (int g = 0; g < gates->count; g++) {
        const struct gate *gate = &gates->items[g];
        struct finding finding = {.check = {.kind = "gate"}};
        snprintf(finding.check.name, sizeof finding.check.name, "%s", gate->text);
        if (check_coverage(gate, comparison, result, err)) return err->status;
        for (struct run_view run = {0}; view_next_run(comparison, &run);)
            if (run_wanted(gate, comparison, result, run.run)) check_run(&finding, gate, result, &run);
        if (finding.entries == 0)
            return error_set(
                err, STATUS_USAGE,
                "gate '%s': nothing in the comparison that it applies to; correct it, or compare "
                "its modes and layers",
                gate->text);
        finding.check.good = finding.broken == 0;
        size_t used = strlen(finding.check.text);
        if (finding.broken > 1)
            snprintf(finding.check.text + used, sizeof finding.check.text - used, " (and %d more)",
                     finding.broken - 1);
        if (checks_add(checks, &finding.check, err)) return err->status;
    }
    return STATUS_OK;
}

// ---- what was found ----

enum status checks_add(struct checks *checks, const struct check *check, struct error *err)
{
    if (checks->count == checks->room) {
        int room = checks->room ? 2 * checks->room : 32;
        struct check *grown = realloc(checks->items, (size_t)room * sizeof *grown);
        if (!grown) return error_memory(err, (size_t)room * sizeof *grown, "the gates");
        checks->items = grown;
        checks->room = room;
    }
    checks->items[checks->count++] = *check;
    return STATUS_OK;
}

int checks_broken(const struct checks *checks)
{
    int broken = 0;
    for (int i = 0; i < checks->count; i++)
        broken += !checks->items[i].good;
    return broken;
}

void checks_clear(struct checks *checks)
{
    free(checks->items);
    *checks = (struct checks){0};
}
