// SPDX-License-Identifier: Apache-2.0
// sweep.json: docs/schema/sweep.schema.json.
#include <math.h>
#include <stdio.h>

#include "render_parts.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/report/render.h"

enum { SWEEP_SCHEMA_VERSION = 1 };

// Predictions are of no layer.
static void put_unit(struct json_writer *w, int layer, const char *component)
{
    if (layer == REPORT_NO_LAYER) return;
    json_put_integer(w, "layer", layer);
    json_put_string(w, "component", component);
}

// ---- values ----

static void put_estimate(struct json_writer *w, const char *metric, const struct report_cell *cell)
{
    json_begin_object(w, metric);
    json_put_double(w, "value", cell->value);
    json_put_double(w, "low", cell->low);
    json_put_double(w, "high", cell->high);
    json_put_string(w, "interval", interval_state_name(cell->state));
    if (cell->marks & REPORT_RERUN) json_put_double(w, "noise", cell->noise);
    if (cell->marks & REPORT_KNOWS_APART) {
        json_put_double(w, "apart", cell->apart);
        json_put_bool(w, "within_apart", cell->marks & REPORT_APART);
    }
    if (cell->marks & REPORT_KNOWS_NOISE) json_put_bool(w, "within_noise", cell->marks & REPORT_NOISE);
    json_end_object(w);
}

static void put_percentiles(struct json_writer *w, const char *key,
                            const struct report_statistics *statistics, const struct report_entry *entry)
{
    json_begin_object(w, key);
    for (int p = 0; p < statistics->n_percentiles; p++) {
        char name[NUMBER_ROOM + 1], digits[NUMBER_ROOM];
        snprintf(name, sizeof name, "p%s", number_text(statistics->percentiles[p], 6, digits));
        json_begin_object(w, name);
        json_put_double(w, "low", entry->percentiles[p][0]);
        json_put_double(w, "high", entry->percentiles[p][1]);
        json_end_object(w);
    }
    json_end_object(w);
}

static void put_positions(struct json_writer *w, const struct report_entry *entry)
{
    json_begin_array(w, "positions");
    for (int p = 0; p < entry->n_positions; p++) {
        const struct report_position *position = &entry->positions[p];
        json_begin_object(w, NULL);
        json_put_integer(w, "first_token", position->first_token);
        if (position->last_token >= 0)
            json_put_integer(w, "last_token", position->last_token);
        else
            json_put_null(w, "last_token");
        json_put_integer(w, "elements", (long long)position->elements);
        json_put_double(w, "mse", position->mse);
        json_put_double(w, "mae", position->mae);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_entry(struct json_writer *w, const struct report_statistics *statistics,
                      const struct report_entry *entry)
{
    const bool text = entry->layer == REPORT_NO_LAYER;
    json_begin_object(w, NULL);
    json_put_string(w, "mode", entry->run->mode);
    render_json_cell(w, &entry->run->cell);
    put_unit(w, entry->layer, entry->component);
    json_put_integer(w, text ? "predictions" : "elements", (long long)entry->elements);
    if (entry->fp_nonfinite > 0) json_put_integer(w, "fp_nonfinite", (long long)entry->fp_nonfinite);
    if (entry->mode_nonfinite > 0) json_put_integer(w, "mode_nonfinite", (long long)entry->mode_nonfinite);
    json_begin_object(w, "metrics");
    for (int k = 0; k < entry->n_metrics; k++)
        put_estimate(w, entry->metrics[k].key, &entry->cells[k]);
    json_end_object(w);
    if (text) json_put_double(w, "top1_correct", entry->top1_correct);
    json_put_double(w, text ? "kl_max" : "abs_diff_max", entry->largest);
    put_percentiles(w, text ? "kl_percentiles" : "abs_diff_percentiles", statistics, entry);
    if (!text) put_positions(w, entry);
    json_end_object(w);
}

static void put_entries(struct json_writer *w, const char *key, const struct report *report, bool text)
{
    struct report_entry entry;
    json_begin_array(w, key);
    for (int i = 0; i < report->statistics->n_entries; i++) {
        report_entry(report, i, &entry);
        if ((entry.layer == REPORT_NO_LAYER) == text) put_entry(w, report->statistics, &entry);
    }
    json_end_array(w);
}

// ---- who is better than whom ----

static void put_set(struct json_writer *w, const char *key, const struct report_ranking *ranking,
                    uint64_t set)
{
    json_begin_array(w, key);
    for (int i = 0; i < ranking->n_places; i++)
        if (set & UINT64_C(1) << i) json_put_string(w, NULL, ranking->places[i].run->mode);
    json_end_array(w);
}

static void put_place(struct json_writer *w, const struct report_ranking *ranking,
                      const struct report_place *place, bool knows_noise)
{
    json_begin_object(w, NULL);
    json_put_string(w, "mode", place->run->mode);
    json_put_integer(w, "best", place->best);
    json_put_integer(w, "worst", place->worst);
    put_set(w, "tied", ranking, place->tied);
    put_set(w, "equal", ranking, place->equal);
    if (knows_noise) put_set(w, "within_noise", ranking, place->noise);
    json_end_object(w);
}

static void put_pair(struct json_writer *w, const struct report_pair *pair, bool knows_noise)
{
    json_begin_object(w, NULL);
    json_put_string(w, "first", pair->first->mode);
    json_put_string(w, "second", pair->second->mode);
    json_put_double(w, "change", pair->change);
    json_put_double(w, "low", pair->low);
    json_put_double(w, "high", pair->high);
    json_put_string(w, "interval", interval_state_name(pair->state));
    json_put_double(w, "p", pair->p);
    json_put_double(w, "p_adjusted", pair->p_adjusted);
    json_put_string(w, "better", pair->better);
    if (knows_noise) json_put_bool(w, "is_noise", pair->is_noise);
    if (pair->is_tie) json_put_double(w, "samples_needed", pair->needed);
    json_end_object(w);
}

static void put_ranking(struct json_writer *w, const struct report_ranking *ranking, bool knows_noise)
{
    json_begin_object(w, NULL);
    render_json_cell(w, ranking->cell ? &ranking->cell->cell : NULL);
    put_unit(w, ranking->layer, ranking->component);
    json_put_string(w, "metric", ranking->metric);
    json_begin_array(w, "places");
    for (int i = 0; i < ranking->n_places; i++)
        put_place(w, ranking, &ranking->places[i], knows_noise);
    json_end_array(w);
    json_put_string(w, "change", ranking->change);
    json_begin_array(w, "pairs");
    for (int first = 0; first < ranking->n_places; first++)
        for (int second = first + 1; second < ranking->n_places; second++) {
            const struct report_pair pair = report_pair(ranking, first, second);
            put_pair(w, &pair, knows_noise);
        }
    json_end_array(w);
    json_end_object(w);
}

// ---- against calib_data_num, and over orders of the calibration samples ----

static void put_trend(struct json_writer *w, const struct report_trend *trend)
{
    json_begin_object(w, NULL);
    json_put_string(w, "mode", trend->points[0].run->mode);
    put_unit(w, trend->layer, trend->component);
    json_put_string(w, "metric", trend->metric);
    json_begin_array(w, "points");
    for (int i = 0; i < trend->n_points; i++) {
        const struct report_cell *cell = &trend->points[i].cell;
        json_begin_object(w, NULL);
        render_json_cell(w, &trend->points[i].run->cell);
        json_put_double(w, "value", cell->value);
        json_put_double(w, "low", cell->low);
        json_put_double(w, "high", cell->high);
        if (cell->marks & REPORT_KNOWS_NOISE) json_put_bool(w, "within_noise", cell->marks & REPORT_NOISE);
        json_end_object(w);
    }
    json_end_array(w);
    // Where even the last step helps, nobody knows where it ends.
    if (trend->settles >= 0)
        json_put_integer(w, "stops_improving_at", trend->points[trend->settles].run->cell.calib_data_num);
    else
        json_put_null(w, "stops_improving_at");
    json_put_bool(w, "still_improving", trend->still_improving);
    json_put_bool(w, "noise_known", trend->knows_noise);
    json_end_object(w);
}

static void put_order(struct json_writer *w, const struct report_order *order, bool knows_noise)
{
    json_begin_object(w, NULL);
    json_put_string(w, "mode", order->run->mode);
    json_put_integer(w, "calib_data_num", order->run->cell.calib_data_num);
    put_unit(w, order->layer, order->component);
    json_put_string(w, "metric", order->metric);
    json_put_integer(w, "orders", order->orders);
    json_put_double(w, "least", order->least);
    json_put_double(w, "most", order->most);
    if (knows_noise) json_put_bool(w, "within_noise", order->within_noise);
    json_end_object(w);
}

// ---- the whole ----

static void put_statistics(struct json_writer *w, const struct report_statistics *statistics)
{
    json_begin_object(w, "statistics");
    json_put_integer(w, "samples", statistics->samples);
    json_put_integer(w, "tokens", statistics->tokens);
    json_put_string(w, "method", "paired studentized bootstrap over samples");
    json_put_integer(w, "resamples", statistics->resamples);
    json_put_integer(w, "seed", (long long)statistics->seed);
    json_put_double(w, "confidence", BOOTSTRAP_LEVEL);
    json_put_string(w, "correction", "holm");
    json_put_integer(w, "noisy_reruns", statistics->noisy_reruns);
    json_end_object(w);
}

static void put_judgements(struct json_writer *w, const struct report *report)
{
    const struct report_statistics *statistics = report->statistics;
    struct report_ranking ranking;
    struct report_trend trend;
    struct report_order order;
    json_begin_array(w, "rankings");
    for (int i = 0; i < statistics->n_rankings; i++) {
        report_ranking(report, i, &ranking);
        put_ranking(w, &ranking, statistics->knows_noise);
    }
    json_end_array(w);
    json_begin_array(w, "trends");
    for (int i = 0; i < statistics->n_trends; i++) {
        report_trend(report, i, &trend);
        put_trend(w, &trend);
    }
    json_end_array(w);
    json_begin_array(w, "orders");
    for (int i = 0; i < statistics->n_orders; i++) {
        report_order(report, i, &order);
        put_order(w, &order, statistics->knows_noise);
    }
    json_end_array(w);
}

enum status render_json_sweep(FILE *out, const struct report *report, struct error *err)
{
    struct json_writer *w = json_writer_open_file(out);
    if (!w) return error_memory(err, 1u << 10, "the sweep report");
    json_begin_object(w, NULL);
    json_put_integer(w, "schema_version", SWEEP_SCHEMA_VERSION);
    json_put_string(w, "reference_mode", report->reference);
    render_json_coverage(w, report);
    render_json_provenance(w, report, NULL);
    put_statistics(w, report->statistics);
    put_entries(w, "layers", report, false);
    put_entries(w, "end_of_model", report, true);
    put_judgements(w, report);
    json_end_object(w);
    json_writer_end(w);
    return STATUS_OK;
}
