// SPDX-License-Identifier: Apache-2.0
// attribution.json and attribution.csv.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/report/attribution.h"
#include "ssmsweep/report/findings.h"

// ---- JSON ----

static void put_interval(struct json_writer *w, const char *key, const struct interval *interval)
{
    json_begin_object(w, key);
    json_put_double(w, "value", interval->value);
    json_put_double(w, "low", interval->low);
    json_put_double(w, "high", interval->high);
    json_put_string(w, "interval", interval_state_name(interval->state));
    json_end_object(w);
}

static void put_side(struct json_writer *w, const char *key, const char *mode,
                     const struct interval *interval, const struct change *change, double share)
{
    json_begin_object(w, key);
    json_put_string(w, "mode", mode);
    json_put_double(w, "value", interval->value);
    json_put_double(w, "low", interval->low);
    json_put_double(w, "high", interval->high);
    json_put_string(w, "interval", interval_state_name(interval->state));
    json_put_double(w, "change", change->value);
    json_put_double(w, "change_low", change->low);
    json_put_double(w, "change_high", change->high);
    json_put_string(w, "change_interval", interval_state_name(change->state));
    json_put_double(w, "share", share);
    json_end_object(w);
}

static void put_item(struct json_writer *w, const struct attribution *a, const struct attributed *item)
{
    const struct piece *piece = item->piece;
    json_begin_object(w, NULL);
    json_put_integer(w, "place", item->place);
    json_put_string(w, "unit", piece->unit);
    if (piece->layer == PIECE_ALL)
        json_put_null(w, "layer");
    else
        json_put_integer(w, "layer", piece->layer);
    put_side(w, "without", piece->without->name, &item->without, &item->without_change, item->share_without);
    put_side(w, "only", piece->only->name, &item->only, &item->only_change, item->share_only);
    json_put_integer(w, "weight_bytes", piece->weight_bytes);
    json_put_integer(w, "int8_multiply_adds", piece->int8_multiply_adds);
    if (!isnan(a->pieces->user_cost)) json_put_double(w, "user_cost", piece->user_cost);
    json_put_double(w, "p", item->without_change.p);
    json_put_double(w, "p_adjusted", item->adjusted);
    json_put_bool(w, "significant", item->significant);
    if (a->n_reruns > 0) json_put_bool(w, "within_noise", item->within_noise);
    json_end_object(w);
}

static void put_source(struct json_writer *w, const struct result *result)
{
    static const char *const names[] = {"tool_version",  "weights_digest",    "ids_sha256",
                                        "scales_source", "reference_weights", "calibration_ids_sha256",
                                        "model_dtype"};
    json_begin_object(w, "provenance");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        json_put_string(w, names[i], result_attribute(result, names[i]));
    json_end_object(w);
}

static void put_statistics(struct json_writer *w, const struct attribution *a)
{
    json_begin_object(w, "statistics");
    json_put_integer(w, "samples", a->samples);
    json_put_integer(w, "tokens", a->tokens);
    json_put_string(w, "method", "paired studentized bootstrap over samples");
    json_put_integer(w, "resamples", a->resamples);
    json_put_integer(w, "seed", a->seed);
    json_put_double(w, "confidence", BOOTSTRAP_LEVEL);
    json_put_string(w, "correction", "holm");
    json_put_integer(w, "noisy_reruns", a->n_reruns);
    json_end_object(w);
}

static void put_recipes(struct json_writer *w, const struct result *result)
{
    json_begin_object(w, "recipes");
    for (int i = 0; i < result_recipes(result); i++)
        json_put_string(w, result_recipe_at(result, i)->name, result_recipe_at(result, i)->text);
    json_end_object(w);
}

static char *make_json(const struct attribution *a, const struct result *result)
{
    struct json_writer *w = json_writer_open();
    if (!w) return NULL;
    json_begin_object(w, NULL);
    json_put_integer(w, "schema_version", ATTRIBUTION_SCHEMA_VERSION);
    json_put_string(w, "mode", a->pieces->mode->name);
    json_put_string(w, "toward", a->pieces->toward->name);
    json_put_string(w, "reference_mode", a->reference);
    json_put_string(w, "metric", a->metric->name);
    json_put_string(w, "change", scale_change_name(a->metric->scale));
    if (a->layer < 0) {
        json_put_null(w, "layer");
        json_put_null(w, "component");
    } else {
        json_put_integer(w, "layer", a->layer);
        json_put_string(w, "component", a->component);
    }
    put_source(w, result);
    put_statistics(w, a);
    json_begin_object(w, "cost");
    json_put_integer(w, "weight_bytes", a->pieces->weight_bytes);
    json_put_integer(w, "int8_multiply_adds", a->pieces->int8_multiply_adds);
    json_put_integer(w, "multiply_adds", a->pieces->multiply_adds);
    if (!isnan(a->pieces->user_cost)) json_put_double(w, "user_cost", a->pieces->user_cost);
    json_end_object(w);
    put_interval(w, "whole", &a->whole);
    put_interval(w, "none", &a->none);
    json_put_double(w, "error", a->whole_error);
    if (a->n_reruns > 0) json_put_double(w, "noise", a->floor.change);
    json_begin_object(w, "interaction");
    json_put_double(w, "without", a->interaction_without);
    json_put_double(w, "only", a->interaction_only);
    json_end_object(w);
    json_begin_array(w, "pieces");
    for (int i = 0; i < a->count; i++)
        put_item(w, a, &a->items[i]);
    json_end_array(w);
    put_recipes(w, result);
    json_end_object(w);
    return json_writer_finish(w);
}

// ---- CSV ----

static void put_number(FILE *out, double v)
{
    char digits[NUMBER_ROOM];
    fprintf(out, ",%s", isnan(v) ? "" : number_text(v, NUMBER_EXACT, digits));
}

static void put_row(FILE *out, const struct attribution *a, const struct attributed *item)
{
    fprintf(out, "%d,%s,", item->place, item->piece->unit ? item->piece->unit : "all");
    if (item->piece->layer == PIECE_ALL)
        fputs("all", out);
    else
        fprintf(out, "%d", item->piece->layer);
    put_number(out, item->without.value);
    put_number(out, item->without_change.value);
    put_number(out, item->without_change.low);
    put_number(out, item->without_change.high);
    put_number(out, item->share_without);
    put_number(out, item->adjusted);
    put_number(out, item->only.value);
    put_number(out, item->only_change.value);
    put_number(out, item->only_change.low);
    put_number(out, item->only_change.high);
    put_number(out, item->share_only);
    fprintf(out, ",%lld,%lld", item->piece->weight_bytes, item->piece->int8_multiply_adds);
    put_number(out, item->piece->user_cost);
    fprintf(out, ",%s,%s\n", item->significant ? "true" : "false",
            a->n_reruns == 0     ? ""
            : item->within_noise ? "true"
                                 : "false");
}

static void put_csv(FILE *out, const struct attribution *a)
{
    fputs("place,unit,layer,without,without_change,without_low,without_high,without_share,without_p_adjusted,"
          "only,only_change,only_low,only_high,only_share,weight_bytes,int8_multiply_adds,user_cost,"
          "significant,"
          "within_noise\n",
          out);
    for (int i = 0; i < a->count; i++)
        put_row(out, a, &a->items[i]);
}

// ---- the whole ----

static enum status write_text(const char *folder, const char *name, const char *text, size_t bytes,
                              struct error *err)
{
    char *path = file_join(folder, name);
    if (!path) return error_memory(err, strlen(folder), "a path");
    file_replace(path, text, bytes, err);
    free(path);
    return err->status;
}

static enum status write_csv(const struct attribution *a, const char *folder, struct error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return error_memory(err, 1u << 16, "attribution.csv");
    put_csv(out, a);
    if (fclose(out))
        error_memory(err, bytes, "attribution.csv");
    else
        write_text(folder, "attribution.csv", text, bytes, err);
    free(text);
    return err->status;
}

enum status attribution_write(const struct attribution *attribution, const struct result *result,
                              const char *folder, FILE *out, struct error *err)
{
    char *json = make_json(attribution, result);
    if (!json) return error_memory(err, 1u << 16, "attribution.json");
    if (file_make_directories(folder, err) == STATUS_OK &&
        write_text(folder, "attribution.json", json, strlen(json), err) == STATUS_OK)
        write_csv(attribution, folder, err);
    free(json);
    if (out && !err->status) attribution_print(attribution, out);
    return err->status;
}
