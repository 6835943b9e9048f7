// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/sweep_file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/number.h"
#include "sweep_reader.h"

enum { SCHEMA_VERSION = 1 };

// ---- runs and units ----

// Place among `given`; -1: there is none.
static int find_run(const struct sweep_file *file, const char *mode, struct cell cell)
{
    for (int i = 1; i < file->n_runs; i++)
        if (strcmp(file->runs[i].mode, mode) == 0 && cell_compare(file->runs[i].cell, cell) == 0) return i;
    return -1;
}

static int find_unit(const struct sweep_report *sweep, const struct json *object)
{
    const char *component = json_string(json_get(object, "component"));
    for (int u = 0; u < sweep->n_units; u++)
        if (component ? sweep->units[u].name && strcmp(sweep->units[u].name, component) == 0 &&
                            sweep->units[u].layer == json_number(json_get(object, "layer"))
                      : sweep->units[u].layer == SWEEP_END_OF_MODEL)
            return u;
    return -1;
}

static void add_run(struct reader *r, const char *mode, struct cell cell)
{
    struct result_run *run = &r->file->runs[r->file->n_runs];
    if (!mode[0] || strlen(mode) >= sizeof run->mode) {
        error_set(r->err, STATUS_INPUT,
                  "%.300s: %s: expected a mode of 1 to %zu characters, got '%.64s'; not a sweep.json of this "
                  "version",
                  r->path, r->where, sizeof run->mode - 1, mode);
        return;
    }
    *run = (struct result_run){.cell = cell, .complete = true};
    memcpy(run->mode, mode, strlen(mode));
    r->file->n_runs++;
}

static void list_runs(struct reader *r, const struct json *entries, const char *name)
{
    int index = 0;
    for (const struct json *e = json_first(entries); e && !r->err->status; e = json_next(e)) {
        reader_at(r, "%s[%d]", name, index++);
        const char *mode = reader_text(r, e, "mode");
        const struct cell cell = reader_cell(r, e);
        if (!r->err->status && find_run(r->file, mode, cell) < 0) add_run(r, mode, cell);
    }
}

// The first family that has all components.
static void find_arch(struct reader *r)
{
    struct sweep_report *sweep = &r->file->sweep;
    const struct sweep_unit *unknown = NULL;
    for (int a = 0; arch_at(a) && !sweep->arch; a++) {
        unknown = NULL;
        for (int u = 0; u < sweep->n_units && !unknown; u++)
            if (sweep->units[u].name &&
                arch_find_component(arch_at(a), sweep->units[u].name, strlen(sweep->units[u].name)) < 0)
                unknown = &sweep->units[u];
        if (!unknown) sweep->arch = arch_at(a);
    }
    for (int u = 0; sweep->arch && u < sweep->n_units; u++)
        if (sweep->units[u].name)
            sweep->units[u].component =
                arch_find_component(sweep->arch, sweep->units[u].name, strlen(sweep->units[u].name));
    if (!sweep->arch && !r->err->status)
        error_set(
            r->err, STATUS_INPUT,
            "%.300s: layer %d: no family of models has a component '%.64s'; not a sweep.json of this version",
            r->path, unknown->layer, unknown->name);
}

// Those of the first run, in the order of the file.
static void list_units(struct reader *r, const struct json *layers, const struct json *predictions)
{
    struct sweep_report *sweep = &r->file->sweep;
    sweep->units = reader_take(r, json_count(layers) + 1, sizeof *sweep->units);
    for (const struct json *e = json_first(layers); e && !r->err->status; e = json_next(e)) {
        reader_at(r, "layers");
        const char *name = reader_text(r, e, "component");
        const int layer = reader_int(r, e, "layer", 0);
        const int run = find_run(r->file, reader_text(r, e, "mode"), reader_cell(r, e));
        const bool isolated = json_get(json_get(e, "metrics"), metric_table[METRIC_ISOLATED_MSE].name);
        if (run == 1)
            sweep->units[sweep->n_units++] =
                (struct sweep_unit){.layer = layer, .name = name, .isolated = isolated};
    }
    if (!r->err->status && json_first(predictions))
        sweep->units[sweep->n_units++] = (struct sweep_unit){.layer = SWEEP_END_OF_MODEL};
    if (!r->err->status) find_arch(r);
}

static void list_contents(struct reader *r)
{
    struct sweep_file *file = r->file;
    struct sweep_report *sweep = &file->sweep;
    const struct json *layers = reader_array(r, file->root, "layers"),
                      *predictions = reader_array(r, file->root, "end_of_model");
    const char *reference = reader_text(r, file->root, "reference_mode");
    file->runs = reader_take(r, json_count(layers) + json_count(predictions) + 1, sizeof *file->runs);
    if (r->err->status) return;
    reader_at(r, "reference_mode");
    add_run(r, reference, (struct cell){0});
    list_runs(r, layers, "layers");
    list_runs(r, predictions, "end_of_model");
    if (!r->err->status && file->n_runs < 2)
        error_set(r->err, STATUS_INPUT, "%.300s: has numbers of no mode; there is nothing to show", r->path);
    if (r->err->status) return;
    sweep->given = file->runs;
    sweep->reference = reference;
    sweep->n_runs = file->n_runs - 1;
    sweep->runs = reader_take(r, (size_t)sweep->n_runs, sizeof *sweep->runs);
    for (int i = 0; sweep->runs && i < sweep->n_runs; i++)
        sweep->runs[i] = i + 1;
    list_units(r, layers, predictions);
}

// ---- entries ----

static struct noise_floor floor_of(struct reader *r, const struct json *object, const struct metric *metric)
{
    struct noise_floor known = {.change = (double)NAN, .value = (double)NAN};
    if (!json_get(object, "noise")) return known;
    const double change = reader_number(r, object, "noise");
    known.change =
        metric->scale == SCALE_LOG || metric->scale == SCALE_LOGIT ? scale_phi(SCALE_LOG, change) : change;
    known.reruns = r->reruns;
    if (json_get(object, "apart")) known.value = reader_number(r, object, "apart");
    return known;
}

static void read_metrics(struct reader *r, const struct json *object, const struct sweep_unit *unit,
                         struct sweep_entry *entry)
{
    char where[READER_WHERE];
    const struct json *metrics = reader_object(r, object, "metrics");
    memcpy(where, r->where, sizeof where);
    for (int k = 0; k < sweep_metric_count(unit) && !r->err->status; k++) {
        const struct metric *metric = sweep_metric(unit, k);
        const struct json *estimate = reader_object(r, metrics, metric->name);
        reader_at(r, "%.100s: %s", where, metric->name);
        const double value = reader_number(r, estimate, "value");
        entry->intervals[k] = (struct interval){.value = value,
                                                .low = reader_number(r, estimate, "low"),
                                                .high = reader_number(r, estimate, "high"),
                                                .phi = scale_phi(metric->scale, value),
                                                .se = (double)NAN,
                                                .samples = r->file->sweep.samples,
                                                .state = reader_state(r, estimate, "interval")};
        entry->floors[k] = floor_of(r, estimate, metric);
    }
    memcpy(r->where, where, sizeof where);
}

static void read_percentiles(struct reader *r, const struct json *bounds, struct sweep_entry *entry)
{
    for (int p = 0; p < SWEEP_PERCENTILES && !r->err->status; p++) {
        char name[NUMBER_ROOM + 1], digits[NUMBER_ROOM];
        snprintf(name, sizeof name, "p%s", number_text(sweep_percentiles[p], 6, digits));
        const struct json *one = reader_object(r, bounds, name);
        entry->percentiles[p][0] = reader_number(r, one, "low");
        entry->percentiles[p][1] = reader_number(r, one, "high");
    }
}

static void read_positions(struct reader *r, const struct json *positions, struct sweep_entry *entry)
{
    for (const struct json *p = json_first(positions); p && !r->err->status; p = json_next(p)) {
        const int bucket = profile_position(reader_int(r, p, "first_token", 0));
        entry->position_count[bucket] = reader_count(r, p, "elements", 1, 0x1p62);
        entry->position_mse[bucket] = reader_number(r, p, "mse");
        entry->position_mae[bucket] = reader_number(r, p, "mae");
    }
}

static void read_entry(struct reader *r, const struct json *object, const struct sweep_unit *unit,
                       struct sweep_entry *entry)
{
    static const char *const nonfinite[] = {"fp_nonfinite", "mode_nonfinite"};
    const bool text = unit->layer == SWEEP_END_OF_MODEL;
    entry->elements = reader_count(r, object, text ? "predictions" : "elements", 0, 0x1p62);
    for (int side = 0; side < 2; side++)
        if (json_get(object, nonfinite[side]))
            entry->nonfinite[side] = reader_count(r, object, nonfinite[side], 1, 0x1p62);
    read_metrics(r, object, unit, entry);
    entry->largest = reader_number(r, object, text ? "kl_max" : "abs_diff_max");
    if (text) entry->top1_correct = reader_number(r, object, "top1_correct");
    read_percentiles(r, reader_object(r, object, text ? "kl_percentiles" : "abs_diff_percentiles"), entry);
    if (!text) read_positions(r, reader_array(r, object, "positions"), entry);
}

static void read_entries(struct reader *r, const char *name)
{
    struct sweep_report *sweep = &r->file->sweep;
    int index = 0;
    for (const struct json *e = json_first(json_get(r->file->root, name)); e && !r->err->status;
         e = json_next(e)) {
        reader_at(r, "%s[%d]", name, index++);
        const int run = find_run(r->file, json_string(json_get(e, "mode")), reader_cell(r, e)) - 1,
                  unit = find_unit(sweep, e);
        if (unit < 0) {
            reader_torn(r, "is of a layer and component that the first mode does not have");
            return;
        }
        r->seen[(size_t)unit * (size_t)sweep->n_runs + (size_t)run] = true;
        read_entry(r, e, &sweep->units[unit], sweep_entry_at(sweep, unit, run));
    }
}

static void check_entries(struct reader *r)
{
    const struct sweep_report *sweep = &r->file->sweep;
    const size_t runs = (size_t)sweep->n_runs, count = (size_t)sweep->n_units * runs;
    for (size_t i = 0; i < count && !r->err->status; i++) {
        const struct sweep_unit *unit = &sweep->units[i / runs];
        const char *mode = sweep_run_at(sweep, (int)(i % runs))->mode;
        if (r->seen[i]) continue;
        if (unit->name)
            reader_at(r, "mode %s, layer %d, %.64s", mode, unit->layer, unit->name);
        else
            reader_at(r, "mode %s, predictions", mode);
        reader_torn(r, "there are no numbers");
    }
}

// ---- who is better than whom ----

static bool is_family(const struct sweep_family *family, struct cell cell)
{
    return cell_compare(family->cell ? family->cell->cell : (struct cell){0}, cell) == 0;
}

// The family of a ranking; the next one where there is none of these scales yet.
static struct sweep_family *family_of(struct reader *r, const struct json *ranking)
{
    struct sweep_report *sweep = &r->file->sweep;
    const struct cell cell = reader_cell(r, ranking);
    for (int f = 0; f < sweep->n_families; f++)
        if (is_family(&sweep->families[f], cell)) return &sweep->families[f];
    struct sweep_family *family = &sweep->families[sweep->n_families];
    *family = (struct sweep_family){.first_rank = sweep->n_ranks, .first_pair = sweep->n_pairs};
    for (const struct json *p = json_first(json_get(ranking, "places")); p && !r->err->status;
         p = json_next(p)) {
        const char *mode = reader_text(r, p, "mode");
        int run = find_run(r->file, mode, cell);
        if (run < 0) run = find_run(r->file, mode, (struct cell){0});
        if (run < 0 || family->count == BOOTSTRAP_MAX_RUNS)
            reader_wrong(r, "mode", "a mode of `layers`, at most 64 of them", json_get(p, "mode"));
        else
            family->runs[family->count++] = run - 1;
        if (run > 0 && cell.calib_data_num > 0 && r->file->runs[run].cell.calib_data_num > 0)
            family->cell = &r->file->runs[run];
    }
    if (family->count == 0) reader_wrong(r, "places", "modes", json_get(ranking, "places"));
    sweep->n_families++;
    sweep->n_ranks += family->count;
    sweep->n_pairs += pair_count(family->count);
    return family;
}

static int find_mode(const struct sweep_report *sweep, const struct sweep_family *family, const char *mode)
{
    for (int i = 0; mode && i < family->count; i++)
        if (strcmp(sweep_run_at(sweep, family->runs[i])->mode, mode) == 0) return i;
    return -1;
}

static uint64_t set_of(struct reader *r, const struct json *object, const char *key,
                       const struct sweep_family *family)
{
    uint64_t set = 0;
    for (const struct json *m = json_first(reader_array(r, object, key)); m && !r->err->status;
         m = json_next(m)) {
        const int mode = find_mode(&r->file->sweep, family, json_string(m));
        if (mode < 0)
            reader_wrong(r, key, "modes of the ranking", m);
        else
            set |= UINT64_C(1) << mode;
    }
    return set;
}

static void read_places(struct reader *r, const struct json *ranking, const struct sweep_family *family,
                        struct standing *ranks)
{
    int i = 0;
    for (const struct json *p = json_first(reader_array(r, ranking, "places")); p && !r->err->status;
         p = json_next(p)) {
        if (find_mode(&r->file->sweep, family, reader_text(r, p, "mode")) != i) {
            reader_wrong(r, "places", "the same modes in every ranking of these scales", json_get(p, "mode"));
            return;
        }
        ranks[i].rank = (int)reader_count(r, p, "best", 0, family->count);
        ranks[i].equal = set_of(r, p, "equal", family);
        ranks[i].tied = set_of(r, p, "tied", family) | ranks[i].equal;
        i++;
    }
    if (i != family->count)
        reader_wrong(r, "places", "the same modes in every ranking of these scales", NULL);
}

// In the order of pair_index().
static void read_pair(struct reader *r, const struct json *pair, const int modes[2], struct standing *ranks,
                      struct sweep_pair *into)
{
    const char *better = reader_text(r, pair, "better");
    if (strcmp(better, "first") == 0) ranks[modes[1]].better |= UINT64_C(1) << modes[0];
    if (strcmp(better, "second") == 0) ranks[modes[0]].better |= UINT64_C(1) << modes[1];
    *into = (struct sweep_pair){.change = {.value = reader_number(r, pair, "change"),
                                           .low = reader_number(r, pair, "low"),
                                           .high = reader_number(r, pair, "high"),
                                           .se = (double)NAN,
                                           .p = reader_number(r, pair, "p"),
                                           .samples = r->file->sweep.samples,
                                           .state = reader_state(r, pair, "interval")},
                                .adjusted = reader_number(r, pair, "p_adjusted"),
                                .needed = (double)NAN};
    if (json_get(pair, "is_noise")) into->noise = reader_bool(r, pair, "is_noise") ? 1 : 0; // of a phi of 0
    if (json_get(pair, "samples_needed")) into->needed = reader_number(r, pair, "samples_needed");
}

static void read_pairs(struct reader *r, const struct json *ranking, const struct sweep_family *family,
                       struct standing *ranks, struct sweep_pair *pairs)
{
    const struct json *pair = json_first(reader_array(r, ranking, "pairs"));
    for (int first = 0; first < family->count; first++)
        for (int second = first + 1; second < family->count && !r->err->status;
             second++, pair = json_next(pair)) {
            const int found[2] = {find_mode(&r->file->sweep, family, json_string(json_get(pair, "first"))),
                                  find_mode(&r->file->sweep, family, json_string(json_get(pair, "second")))};
            if (found[0] != first || found[1] != second)
                reader_wrong(r, "pairs", "every pair of the places, in their order", pair);
            else
                read_pair(r, pair, found, ranks, &pairs[pair_index(family->count, first, second)]);
        }
}

// Places say the same as pairs: the last place follows from these.
static void check_places(struct reader *r, const struct json *ranking, const struct sweep_family *family,
                         const struct standing *ranks)
{
    int i = 0;
    for (const struct json *p = json_first(json_get(ranking, "places")); p && !r->err->status;
         p = json_next(p)) {
        int best, worst;
        sweep_places(ranks, family->count, i++, &best, &worst);
        if (worst != reader_int(r, p, "worst", 0))
            reader_wrong(r, "worst", "what the pairs say", json_get(p, "worst"));
    }
}

static void find_families(struct reader *r, const struct json *rankings)
{
    struct sweep_report *sweep = &r->file->sweep;
    sweep->families = reader_take(r, (size_t)sweep->n_runs + 1, sizeof *sweep->families);
    for (const struct json *e = json_first(rankings); e && !r->err->status; e = json_next(e)) {
        reader_at(r, "rankings");
        if (sweep->n_families > sweep->n_runs)
            reader_wrong(r, "calib_data_num", "scales of a mode", json_get(e, "calib_data_num"));
        else
            family_of(r, e);
    }
    // Too many to be ranked are in pieces.
    if (sweep->n_families == 0 && sweep->n_runs > BOOTSTRAP_MAX_RUNS)
        sweep->n_pieces = 1;
    else if (sweep->n_families == 0)
        reader_wrong(r, "rankings", "a ranking for each layer, component and metric", rankings);
}

// The metric of a ranking or trend, by which modes are ranked at the unit; -1: there is none.
static int find_ranked(struct reader *r, int unit, const struct json *object)
{
    const struct sweep_report *sweep = &r->file->sweep;
    const char *name = reader_text(r, object, "metric");
    for (int k = 0; unit >= 0 && k < sweep_metric_count(&sweep->units[unit]); k++)
        if (sweep_ranks_by(&sweep->units[unit], k) &&
            strcmp(sweep_metric(&sweep->units[unit], k)->name, name) == 0)
            return k;
    reader_wrong(r, "metric", "one by which modes are ranked, at a layer and component of `layers`",
                 json_get(object, "metric"));
    return -1;
}

static void read_rankings(struct reader *r, const struct json *rankings)
{
    struct sweep_report *sweep = &r->file->sweep;
    int index = 0, wanted = 0, found = 0;
    for (int u = 0; u < sweep->n_units; u++)
        for (int k = 0; k < sweep_metric_count(&sweep->units[u]); k++)
            wanted += sweep_ranks_by(&sweep->units[u], k) * sweep->n_families;
    for (const struct json *e = json_first(rankings); e && !r->err->status; e = json_next(e)) {
        reader_at(r, "rankings[%d]", index++);
        const struct sweep_family *family = family_of(r, e);
        const int unit = find_unit(sweep, e);
        const int k = find_ranked(r, unit, e);
        if (k < 0) return;
        struct standing *ranks = sweep_ranks_at(sweep, unit, k, family);
        bool *seen = &r->seen[((size_t)unit * METRIC_INTERVALS + (size_t)k) * (size_t)sweep->n_families +
                              (size_t)(family - sweep->families)];
        found += !*seen;
        *seen = true;
        read_places(r, e, family, ranks);
        read_pairs(r, e, family, ranks, sweep_pairs_at(sweep, unit, k, family));
        check_places(r, e, family, ranks);
    }
    reader_at(r, "rankings");
    if (found < wanted) reader_torn(r, "there is not one of each layer, component and metric");
}

// ---- trends ----

static struct sweep_trend *trend_of(struct reader *r, const struct json *object)
{
    struct sweep_report *sweep = &r->file->sweep;
    const char *mode = reader_text(r, object, "mode");
    for (int t = 0; t < sweep->n_trends; t++)
        if (strcmp(sweep_run_at(sweep, sweep->trends[t].runs[0])->mode, mode) == 0) return &sweep->trends[t];
    struct sweep_trend *trend = &sweep->trends[sweep->n_trends];
    for (const struct json *p = json_first(reader_array(r, object, "points")); p && !r->err->status;
         p = json_next(p)) {
        const int run = find_run(r->file, mode, reader_cell(r, p));
        if (run < 0 || trend->count == BOOTSTRAP_MAX_RUNS)
            reader_wrong(r, "points", "sets of scales that the mode has numbers of",
                         json_get(p, "calib_data_num"));
        else
            trend->runs[trend->count++] = run - 1;
    }
    if (trend->count < 2) reader_wrong(r, "points", "two sets of scales or more", json_get(object, "points"));
    sweep->n_trends++;
    return trend;
}

// As trend_settles() tells it.
static int settles_at(struct reader *r, const struct json *object, const struct sweep_trend *trend)
{
    const struct json *stops = json_get(object, "stops_improving_at");
    if (reader_bool(r, object, "still_improving")) return trend->count - 1;
    for (int i = 0; json_is_number(stops) && i < trend->count; i++)
        if (sweep_run_at(&r->file->sweep, trend->runs[i])->cell.calib_data_num == json_number(stops))
            return i;
    if (!json_is_null(stops)) reader_wrong(r, "stops_improving_at", "null or one of the points", stops);
    return -1;
}

static void find_trends(struct reader *r, const struct json *trends)
{
    struct sweep_report *sweep = &r->file->sweep;
    sweep->trends = reader_take(r, (size_t)sweep->n_runs + 1, sizeof *sweep->trends);
    for (const struct json *e = json_first(trends); e && !r->err->status; e = json_next(e)) {
        reader_at(r, "trends");
        if (sweep->n_trends > sweep->n_runs)
            reader_wrong(r, "mode", "a mode of `layers`", json_get(e, "mode"));
        else
            trend_of(r, e);
    }
}

static void read_trends(struct reader *r, const struct json *trends)
{
    struct sweep_report *sweep = &r->file->sweep;
    const size_t count = (size_t)sweep->n_units * (size_t)sweep->ranked * (size_t)sweep->n_trends;
    int index = 0;
    for (size_t i = 0; i < count; i++)
        sweep->settles[i] = -1;
    for (const struct json *e = json_first(trends); e && !r->err->status; e = json_next(e)) {
        reader_at(r, "trends[%d]", index++);
        const struct sweep_trend *trend = trend_of(r, e);
        const int unit = find_unit(sweep, e);
        const int k = find_ranked(r, unit, e);
        if (k >= 0) *sweep_settles_at(sweep, unit, k, (int)(trend - sweep->trends)) = settles_at(r, e, trend);
    }
}

// ---- the whole ----

static void read_statistics(struct reader *r)
{
    struct sweep_file *file = r->file;
    const struct json *statistics = reader_object(r, file->root, "statistics"),
                      *provenance = reader_object(r, file->root, "provenance");
    file->complete = reader_bool(r, file->root, "complete");
    reader_at(r, "statistics");
    file->sweep.samples = reader_int(r, statistics, "samples", 1);
    file->sweep.tokens = (long long)reader_count(r, statistics, "tokens", 1, 0x1p62);
    file->sweep.replicates = reader_int(r, statistics, "resamples", 1);
    file->sweep.seed = (uint64_t)reader_count(r, statistics, "seed", 0, 0x1p62);
    r->reruns = reader_int(r, statistics, "noisy_reruns", 0);
    file->sweep.n_reruns = r->reruns;
    reader_at(r, "provenance");
    file->samples = reader_int(r, provenance, "num_samples", 1);
    file->tokens = (long long)reader_count(r, provenance, "tokens", 1, 0x1p62);
    r->where[0] = '\0';
}

static void reserve(struct reader *r)
{
    struct sweep_report *sweep = &r->file->sweep;
    const size_t units = (size_t)sweep->n_units, ranked = (size_t)metric_ranked_most(), each = units * ranked;
    sweep->ranked = metric_ranked_most();
    sweep->unit_step = 1;
    sweep->held_units = sweep->n_units;
    sweep->entries = reader_take(r, units * (size_t)sweep->n_runs, sizeof *sweep->entries);
    sweep->pairs = reader_take(r, each * (size_t)sweep->n_pairs, sizeof *sweep->pairs);
    sweep->ranks = reader_take(r, each * (size_t)sweep->n_ranks, sizeof *sweep->ranks);
    sweep->settles = reader_take(r, each * (size_t)sweep->n_trends, sizeof *sweep->settles);
}

static void read_all(struct reader *r)
{
    const struct json *root = r->file->root, *version = json_get(root, "schema_version");
    if (!json_is_object(root) || !version) {
        error_set(r->err, STATUS_INPUT,
                  "%.300s: is no sweep.json of ssmsweep: it has no schema_version; give "
                  "comparisons/sweep.json, or a "
                  "result file",
                  r->path);
        return;
    }
    if (json_number(version) != SCHEMA_VERSION) reader_wrong(r, "schema_version", "1", version);
    read_statistics(r);
    if (!r->err->status) list_contents(r);
    if (r->err->status) return;
    const struct sweep_report *sweep = &r->file->sweep;
    const struct json *rankings = reader_array(r, root, "rankings"),
                      *trends = reader_array(r, root, "trends");
    find_families(r, rankings);
    if (!r->err->status) find_trends(r, trends);
    if (!r->err->status) reserve(r);
    const size_t units = (size_t)sweep->n_units, runs = (size_t)sweep->n_runs + 1;
    r->seen = reader_take(r, units * runs, sizeof *r->seen);
    if (r->err->status) return;
    read_entries(r, "layers");
    read_entries(r, "end_of_model");
    check_entries(r);
    free(r->seen);
    r->seen = reader_take(r, units * METRIC_INTERVALS * runs, sizeof *r->seen);
    if (!r->err->status) read_rankings(r, rankings);
    if (!r->err->status) read_trends(r, trends);
}

bool sweep_file_is(const char *path)
{
    struct file_map map = {0};
    struct error none = {0};
    const size_t length = strlen(path);
    if (!file_exists(path) || file_is_directory(path)) return false;
    if (length > 5 && strcmp(path + length - 5, ".json") == 0) return true;
    if (file_map(&map, path, &none)) return false;
    const bool braced = map.size_bytes > 0 && ((const char *)map.data)[0] == '{';
    file_unmap(&map);
    return braced;
}

enum status sweep_file_open(struct sweep_file *file, const char *path, struct error *err)
{
    struct reader reader = {.file = file,
                            .path = path,
                            .name = "sweep.json",
                            .again = "`ssmsweep compare`, or give the result file",
                            .err = err};
    *file = (struct sweep_file){0};
    if (json_read_file(&file->root, path, err) == STATUS_OK) read_all(&reader);
    free(reader.seen);
    if (err->status) sweep_file_close(file);
    return err->status;
}

void sweep_file_close(struct sweep_file *file)
{
    sweep_report_clear(&file->sweep);
    free(file->runs);
    json_close(file->root);
    *file = (struct sweep_file){0};
}

const char *sweep_file_fact(const struct sweep_file *file, const char *key)
{
    const char *text = json_string(json_get(json_get(file->root, "provenance"), key));
    return text ? text : "";
}
