// SPDX-License-Identifier: Apache-2.0
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/report/coverage.h"
#include "ssmsweep/report/report_json.h"
#include "ssmsweep/report/sweep_files.h"
#include "ssmsweep/report/view.h"

enum { SWEEP_SCHEMA_VERSION = 1 };

static const struct result_run *run_of(const struct sweep_report *report, int place)
{
    return result_run_at(report->result, report->runs[place]);
}

static void put_cell(struct json_writer *w, const struct result_run *run)
{
    if (run)
        view_put_cell(w, run);
    else
        json_put_null(w, "calib_data_num");
}

static void put_unit(struct json_writer *w, const struct sweep_unit *unit)
{
    if (unit->layer == SWEEP_END_OF_MODEL) return;
    json_put_integer(w, "layer", unit->layer);
    json_put_string(w, "component", unit->name);
}

// ---- values ----

static void put_estimate(struct json_writer *w, const struct sweep_report *report, int unit, int k, int run)
{
    const struct metric *metric = sweep_metric(&report->units[unit], k);
    const struct interval *interval = &sweep_entry_at(report, unit, run)->intervals[k];
    const struct noise_floor *floor = &sweep_entry_at(report, unit, run)->floors[k];
    json_begin_object(w, metric->name);
    json_put_double(w, "value", interval->value);
    json_put_double(w, "low", interval->low);
    json_put_double(w, "high", interval->high);
    json_put_string(w, "interval", interval_state_name(interval->state));
    if (floor->reruns > 0) json_put_double(w, "noise", scale_change(metric->scale, floor->change));
    if (floor->reruns > 0 && !metric->no_distance) {
        json_put_double(w, "apart", floor->value);
        json_put_bool(w, "within_apart", sweep_within_apart(report, unit, k, run));
    }
    if (report->n_reruns > 0) json_put_bool(w, "within_noise", sweep_within_noise(report, unit, k, run));
    json_end_object(w);
}

static void put_percentiles(struct json_writer *w, const char *key, const struct sweep_entry *entry)
{
    json_begin_object(w, key);
    for (int p = 0; p < SWEEP_PERCENTILES; p++) {
        char name[NUMBER_ROOM + 1], digits[NUMBER_ROOM];
        snprintf(name, sizeof name, "p%s", number_text(sweep_percentiles[p], 6, digits));
        json_begin_object(w, name);
        json_put_double(w, "low", entry->percentiles[p][0]);
        json_put_double(w, "high", entry->percentiles[p][1]);
        json_end_object(w);
    }
    json_end_object(w);
}

// The last bucket has no last token.
static void put_positions(struct json_writer *w, const struct sweep_entry *entry)
{
    json_begin_array(w, "positions");
    for (int b = 0; b < PROFILE_POSITIONS; b++) {
        int first, last;
        if (entry->position_count[b] == 0) continue;
        profile_tokens(b, &first, &last);
        json_begin_object(w, NULL);
        json_put_integer(w, "first_token", first);
        if (b < PROFILE_POSITIONS - 1)
            json_put_integer(w, "last_token", last);
        else
            json_put_null(w, "last_token");
        json_put_integer(w, "elements", (long long)entry->position_count[b]);
        json_put_double(w, "mse", entry->position_mse[b]);
        json_put_double(w, "mae", entry->position_mae[b]);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_entry(struct json_writer *w, const struct sweep_report *report, int unit, int run)
{
    const struct sweep_unit *u = &report->units[unit];
    const struct sweep_entry *entry = sweep_entry_at(report, unit, run);
    bool text = u->layer == SWEEP_END_OF_MODEL;
    json_begin_object(w, NULL);
    json_put_string(w, "mode", run_of(report, run)->mode);
    put_cell(w, run_of(report, run));
    put_unit(w, u);
    json_put_integer(w, text ? "predictions" : "elements", (long long)entry->elements);
    if (entry->nonfinite[0] > 0) json_put_integer(w, "fp_nonfinite", (long long)entry->nonfinite[0]);
    if (entry->nonfinite[1] > 0) json_put_integer(w, "mode_nonfinite", (long long)entry->nonfinite[1]);
    json_begin_object(w, "metrics");
    for (int k = 0; k < sweep_metric_count(u); k++)
        put_estimate(w, report, unit, k, run);
    json_end_object(w);
    if (text) json_put_double(w, "top1_correct", entry->top1_correct);
    json_put_double(w, text ? "kl_max" : "abs_diff_max", entry->largest);
    put_percentiles(w, text ? "kl_percentiles" : "abs_diff_percentiles", entry);
    if (!text) put_positions(w, entry);
    json_end_object(w);
}

// ---- who is better than whom ----

static const char *verdict_name(enum sweep_verdict verdict)
{
    static const char *const names[] = {"first", "second", "tie", "equal", "unknown"};
    return names[verdict];
}

static void put_set(struct json_writer *w, const char *key, const struct sweep_report *report,
                    const struct sweep_family *family, uint64_t set)
{
    json_begin_array(w, key);
    for (int i = 0; i < family->count; i++)
        if (set & UINT64_C(1) << i) json_put_string(w, NULL, run_of(report, family->runs[i])->mode);
    json_end_array(w);
}

static void put_places(struct json_writer *w, const struct sweep_report *report,
                       const struct sweep_family *family, int unit, int k)
{
    const struct standing *ranks = sweep_ranks_at(report, unit, k, family);
    json_begin_array(w, "places");
    for (int i = 0; i < family->count; i++) {
        int best, worst;
        sweep_places(ranks, family->count, i, &best, &worst);
        json_begin_object(w, NULL);
        json_put_string(w, "mode", run_of(report, family->runs[i])->mode);
        json_put_integer(w, "best", best);
        json_put_integer(w, "worst", worst);
        put_set(w, "tied", report, family, ranks[i].tied & ~ranks[i].equal);
        put_set(w, "equal", report, family, ranks[i].equal);
        if (report->n_reruns > 0)
            put_set(w, "within_noise", report, family, sweep_noise_set(report, unit, k, family, i));
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_pair(struct json_writer *w, const struct sweep_report *report,
                     const struct sweep_family *family, const struct standing *ranks,
                     const struct sweep_pair *pair, const int places[2])
{
    json_begin_object(w, NULL);
    json_put_string(w, "first", run_of(report, family->runs[places[0]])->mode);
    json_put_string(w, "second", run_of(report, family->runs[places[1]])->mode);
    json_put_double(w, "change", pair->change.value);
    json_put_double(w, "low", pair->change.low);
    json_put_double(w, "high", pair->change.high);
    json_put_string(w, "interval", interval_state_name(pair->change.state));
    json_put_double(w, "p", pair->change.p);
    json_put_double(w, "p_adjusted", pair->adjusted);
    enum sweep_verdict verdict = sweep_verdict(ranks, pair, places[0], places[1]);
    json_put_string(w, "better", verdict_name(verdict));
    if (report->n_reruns > 0) json_put_bool(w, "is_noise", sweep_is_noise(pair));
    if (verdict == VERDICT_TIE) json_put_double(w, "samples_needed", pair->needed);
    json_end_object(w);
}

static void put_family(struct json_writer *w, const struct sweep_report *report, int unit, int k,
                       const struct sweep_family *family)
{
    const struct sweep_unit *u = &report->units[unit];
    const struct metric *metric = sweep_metric(u, k);
    const struct standing *ranks = sweep_ranks_at(report, unit, k, family);
    const struct sweep_pair *pairs = sweep_pairs_at(report, unit, k, family);
    json_begin_object(w, NULL);
    put_cell(w, family->cell);
    put_unit(w, u);
    json_put_string(w, "metric", metric->name);
    put_places(w, report, family, unit, k);
    json_put_string(w, "change", scale_change_name(metric->scale));
    json_begin_array(w, "pairs");
    for (int a = 0; a < family->count; a++)
        for (int b = a + 1; b < family->count; b++)
            put_pair(w, report, family, ranks, &pairs[pair_index(family->count, a, b)], (const int[]){a, b});
    json_end_array(w);
    json_end_object(w);
}

static void put_rankings(struct json_writer *w, const struct sweep_report *report)
{
    json_begin_array(w, "rankings");
    for (int f = 0; f < report->n_families; f++)
        for (int u = 0; u < report->n_units; u++)
            for (int k = 0; k < sweep_metric_count(&report->units[u]); k++)
                if (sweep_ranks_by(&report->units[u], k)) put_family(w, report, u, k, &report->families[f]);
    json_end_array(w);
}

// ---- against calib_data_num ----

static void put_trend(struct json_writer *w, const struct sweep_report *report, int unit, int k, int t)
{
    const struct sweep_trend *trend = &report->trends[t];
    const struct sweep_unit *u = &report->units[unit];
    const int settles = (int)*sweep_settles_at(report, unit, k, t);
    const bool noise_known = sweep_knows_noise(report, unit, trend);
    json_begin_object(w, NULL);
    json_put_string(w, "mode", run_of(report, trend->runs[0])->mode);
    put_unit(w, u);
    json_put_string(w, "metric", sweep_metric(u, k)->name);
    json_begin_array(w, "points");
    for (int i = 0; i < trend->count; i++) {
        const struct interval *interval = &sweep_entry_at(report, unit, trend->runs[i])->intervals[k];
        json_begin_object(w, NULL);
        put_cell(w, run_of(report, trend->runs[i]));
        json_put_double(w, "value", interval->value);
        json_put_double(w, "low", interval->low);
        json_put_double(w, "high", interval->high);
        if (i > 0 && noise_known)
            json_put_bool(w, "within_noise",
                          sweep_runs_within_noise(report, unit, k, trend->runs + i - 1, 2));
        json_end_object(w);
    }
    json_end_array(w);
    // Where even the last step helps, nobody knows where it ends.
    bool known = settles >= 0 && settles < trend->count - 1;
    if (known)
        json_put_integer(w, "stops_improving_at", run_of(report, trend->runs[settles])->cell.calib_data_num);
    else
        json_put_null(w, "stops_improving_at");
    json_put_bool(w, "still_improving", settles == trend->count - 1);
    json_put_bool(w, "noise_known", noise_known);
    json_end_object(w);
}

static void put_trends(struct json_writer *w, const struct sweep_report *report)
{
    json_begin_array(w, "trends");
    for (int t = 0; t < report->n_trends; t++)
        for (int u = 0; u < report->n_units; u++)
            for (int k = 0; k < sweep_metric_count(&report->units[u]); k++)
                if (sweep_ranks_by(&report->units[u], k)) put_trend(w, report, u, k, t);
    json_end_array(w);
}

// ---- over orders of the calibration samples ----

static void put_order_range(struct json_writer *w, const struct sweep_report *report, int unit, int k,
                            const int *places, int count)
{
    double least, most;
    sweep_orders_range(report, unit, k, places, count, &least, &most);
    json_begin_object(w, NULL);
    json_put_string(w, "mode", run_of(report, places[0])->mode);
    json_put_integer(w, "calib_data_num", run_of(report, places[0])->cell.calib_data_num);
    put_unit(w, &report->units[unit]);
    json_put_string(w, "metric", sweep_metric(&report->units[unit], k)->name);
    json_put_integer(w, "orders", count);
    json_put_double(w, "least", least);
    json_put_double(w, "most", most);
    if (report->n_reruns > 0)
        json_put_bool(w, "within_noise", sweep_runs_within_noise(report, unit, k, places, count));
    json_end_object(w);
}

static void put_orders(struct json_writer *w, const struct sweep_report *report)
{
    int *places = calloc((size_t)report->n_runs + 1, sizeof *places);
    json_begin_array(w, "orders");
    for (int r = 0; places && r < report->n_runs; r++) {
        int count = sweep_orders(report, r, places);
        for (int u = 0; count > 1 && u < report->n_units; u++)
            for (int k = 0; k < sweep_metric_count(&report->units[u]); k++)
                if (sweep_ranks_by(&report->units[u], k)) put_order_range(w, report, u, k, places, count);
    }
    json_end_array(w);
    free(places);
}

// ---- the whole ----

static void put_entries(struct json_writer *w, const char *key, const struct sweep_report *report, bool text)
{
    json_begin_array(w, key);
    for (int r = 0; r < report->n_runs; r++)
        for (int u = 0; u < report->n_units; u++)
            if ((report->units[u].layer == SWEEP_END_OF_MODEL) == text) put_entry(w, report, u, r);
    json_end_array(w);
}

// Of each mode that has some.
static int count_reruns(const struct sweep_report *report)
{
    int most = 0;
    for (int r = 0; r < report->n_runs && report->n_units > 0; r++) {
        int reruns = sweep_entry_at(report, 0, r)->floors[0].reruns;
        most = reruns > most ? reruns : most;
    }
    return most;
}

static void put_statistics(struct json_writer *w, const struct sweep_report *report)
{
    json_begin_object(w, "statistics");
    json_put_integer(w, "samples", report->samples);
    json_put_integer(w, "tokens", report->tokens);
    json_put_string(w, "method", "paired studentized bootstrap over samples");
    json_put_integer(w, "resamples", report->replicates);
    json_put_integer(w, "seed", (long long)report->seed);
    json_put_double(w, "confidence", BOOTSTRAP_LEVEL);
    json_put_string(w, "correction", "holm");
    json_put_integer(w, "noisy_reruns", count_reruns(report));
    json_end_object(w);
}

enum status sweep_json_write(FILE *out, const struct sweep_report *report, struct error *err)
{
    struct json_writer *w = json_writer_open_file(out);
    if (!w) return error_memory(err, 1u << 10, "the sweep report");
    json_begin_object(w, NULL);
    json_put_integer(w, "schema_version", SWEEP_SCHEMA_VERSION);
    json_put_string(w, "reference_mode", report->reference);
    coverage_put_all(w, report->result);
    report_put_provenance(w, report->result);
    put_statistics(w, report);
    put_entries(w, "layers", report, false);
    put_entries(w, "end_of_model", report, true);
    put_rankings(w, report);
    put_trends(w, report);
    put_orders(w, report);
    json_end_object(w);
    json_writer_end(w);
    return STATUS_OK;
}
