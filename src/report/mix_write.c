// SPDX-License-Identifier: Apache-2.0
// mix.json, mix.csv and mix-recipes.json.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mix.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/recipe/recipe_file.h"
#include "ssmsweep/report/findings.h"

// ---- JSON ----

static void put_takes(struct json_writer *w, const struct mix *m, const struct takes *takes)
{
    json_put_double(w, "int8_share", takes->int8_share);
    json_put_integer(w, "int8_multiply_adds", takes->price.int8_multiply_adds);
    json_put_integer(w, "multiply_adds", takes->price.multiply_adds);
    json_put_integer(w, "weight_bytes", takes->price.weight_bytes);
    if (m->budget.costs.table) json_put_double(w, "user_cost", takes->user);
    json_put_double(w, "cost", takes->cost);
    json_put_bool(w, "fits", takes->fits);
}

static void put_piece(struct json_writer *w, const struct mix *m, int part)
{
    json_put_string(w, "unit", part_unit_name(&m->parts, &m->parts.items[part]));
    if (m->parts.items[part].layer == PART_ALL)
        json_put_null(w, "layer");
    else
        json_put_integer(w, "layer", m->parts.items[part].layer);
}

static void put_samples(struct json_writer *w, const struct mix *m, const char *key, int first, int count,
                        enum job_part part)
{
    json_begin_object(w, key);
    json_begin_array(w, "samples");
    for (int s = first; s < first + count; s++)
        json_put_integer(w, NULL, m->samples[s]);
    json_end_array(w);
    json_put_integer(w, "tokens", m->trials.tokens[part]);
    json_put_string(w, "ids_sha256", m->trials.ids_hex[part]);
    json_end_object(w);
}

static void put_statistics(struct json_writer *w, const struct mix *m)
{
    const struct job *job = m->trials.with.job;
    json_begin_object(w, "statistics");
    put_samples(w, m, "choosing", 0, m->n_choosing, JOB_CHOOSING_SAMPLES);
    put_samples(w, m, "judging", m->n_choosing, m->n_samples - m->n_choosing, JOB_JUDGING_SAMPLES);
    json_put_string(w, "method", "paired studentized bootstrap over samples");
    json_put_integer(w, "resamples", job->bootstrap);
    json_put_integer(w, "seed", job->seed);
    json_put_double(w, "confidence", BOOTSTRAP_LEVEL);
    json_put_string(w, "correction", "holm");
    json_put_integer(w, "noisy_reruns", job->noise);
    json_end_object(w);
}

static void put_choices(struct json_writer *w, const struct mix *m)
{
    json_begin_array(w, "modes");
    for (int c = 0; c < m->n_choices; c++) {
        json_begin_object(w, NULL);
        json_put_string(w, "mode", m->choices[c].mode->name);
        put_takes(w, m, &m->choices[c].takes);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_candidate(struct json_writer *w, const struct mix *m, const struct mix_candidate *c)
{
    json_begin_object(w, NULL);
    put_piece(w, m, c->part);
    json_put_string(w, "as", m->choices[c->choice].mode->name);
    json_put_string(w, "mode", c->mode->name);
    put_takes(w, m, &c->takes);
    trials_put_interval(w, "choosing", &c->interval);
    trials_put_change(w, "change", &c->change);
    json_put_double(w, "gain", c->gain);
    json_put_double(w, "p_adjusted", c->adjusted);
    json_put_bool(w, "significant", c->significant);
    json_put_bool(w, "within_noise", c->within_noise);
    json_end_object(w);
}

static void put_rounds(struct json_writer *w, const struct mix *m)
{
    json_begin_array(w, "rounds");
    for (int r = 0; r < m->n_rounds; r++) {
        const struct mix_round *round = &m->rounds[r];
        json_begin_object(w, NULL);
        json_put_integer(w, "sweep", round->sweep);
        if (m->trials.with.job->noise > 0) json_put_double(w, "noise", round->floor.change);
        json_begin_array(w, "changes");
        for (int i = 0; i < round->count; i++)
            put_candidate(w, m, &round->items[i]);
        json_end_array(w);
        if (round->taken < 0)
            json_put_null(w, "taken");
        else
            json_put_integer(w, "taken", round->taken);
        json_end_object(w);
    }
    json_end_array(w);
}

static void put_duel(struct json_writer *w, const char *key, const char *mix, const struct duel *duel)
{
    json_begin_object(w, key);
    json_put_string(w, "mix", mix);
    trials_put_change(w, "change", &duel->change);
    json_put_double(w, "p_adjusted", duel->adjusted);
    json_put_string(w, "mix_is", mix_verdict(duel));
    json_end_object(w);
}

static void put_point(struct json_writer *w, const struct mix *m, const struct mix_point *point)
{
    json_begin_object(w, NULL);
    json_put_string(w, "name", point->name);
    json_put_string(w, "kind", mix_kind_name(point->kind));
    json_put_string(w, "mode", point->mode->name);
    put_takes(w, m, &point->takes);
    if (point->kind == MIX_POINT) trials_put_interval(w, "choosing", &point->chosen);
    trials_put_interval(w, "judging", &point->judged);
    if (m->trials.with.job->noise > 0) json_put_double(w, "noise", point->floor.change);
    json_put_bool(w, "on_front", point->on_front);
    if (point->kind != MIX_POINT) {
        put_duel(w, "at_equal_cost", m->points[point->against].name, &point->at_cost);
        put_duel(w, "within_budget", mix_final(m)->name, &point->last);
    }
    json_end_object(w);
}

static void put_answer(struct json_writer *w, const struct mix *m)
{
    json_begin_object(w, "answer");
    json_put_string(w, "mix", mix_final(m)->name);
    json_put_bool(w, "surely_better", mix_unbeaten(m, -1) < 0);
    json_begin_array(w, "not_better_than");
    for (int p = mix_unbeaten(m, -1); p >= 0; p = mix_unbeaten(m, p))
        json_put_string(w, NULL, m->points[p].name);
    json_end_array(w);
    json_begin_array(w, "exclude_layers");
    for (int l = 0; l < m->trials.dims.n_layer; l++)
        if (mix_is_other(m, l)) json_put_integer(w, NULL, l);
    json_end_array(w);
    json_begin_array(w, "exclude_modules");
    for (int l = 0; l < m->trials.dims.n_layer; l++) {
        char module[48];
        snprintf(module, sizeof module, "backbone.layers.%d.mixer", l);
        if (mix_is_other(m, l)) json_put_string(w, NULL, module);
    }
    json_end_array(w);
    json_end_object(w);
}

static char *make_json(const struct mix *m)
{
    struct json_writer *w = json_writer_open();
    if (!w) return NULL;
    json_begin_object(w, NULL);
    json_put_integer(w, "schema_version", MIX_SCHEMA_VERSION);
    json_put_string(w, "reference_mode", m->trials.with.job->reference);
    trials_put_place(w, &m->trials);
    trials_put_source(w, &m->trials);
    put_statistics(w, m);
    json_begin_object(w, "budget");
    json_put_string(w, "kind", budget_kind_name(m->budget.kind));
    json_put_double(w, "limit", m->budget.limit);
    json_end_object(w);
    put_choices(w, m);
    json_put_string(w, "start", m->choices[m->start].mode->name);
    put_rounds(w, m);
    json_put_string(w, "stopped", mix_stop_name(m->stop));
    json_begin_array(w, "points");
    for (int p = 0; p < m->n_all; p++)
        put_point(w, m, &m->points[p]);
    json_end_array(w);
    put_answer(w, m);
    json_begin_object(w, "recipes");
    for (int p = 0; p < m->n_all; p++) {
        char *text = recipe_write(&m->points[p].recipe, m->parts.units);
        json_put_string(w, m->points[p].mode->name, text);
        free(text);
    }
    json_end_object(w);
    json_end_object(w);
    return json_writer_finish(w);
}

// ---- a recipe file ----

// The canonical text of a recipe begins with its brace; name and summary go behind it.
static void put_recipe(FILE *out, const struct mix *m, int point, const char *text)
{
    const struct mix_point *p = &m->points[point];
    char share[NUMBER_ROOM], value[NUMBER_ROOM];
    fprintf(out,
            "%s\n  {\"name\": \"%s\", \"summary\": \"mix, %d changes of %s: INT8 share %s, %lld bytes of "
            "weights, "
            "%s %s\",%s",
            point ? "," : "", p->name, point, m->choices[m->start].mode->name,
            number_text(p->takes.int8_share, 4, share), (long long)p->takes.price.weight_bytes,
            m->trials.place.metric->name, number_text(p->judged.value, 4, value), text + 1);
}

static void put_recipes(FILE *out, const struct mix *m)
{
    fputs("{\"recipes\": [", out);
    for (int p = 0; p < m->n_points; p++) {
        char *text = recipe_write(&m->points[p].recipe, m->parts.units);
        if (text) put_recipe(out, m, p, text);
        free(text);
    }
    fputs("]}\n", out);
}

// ---- CSV ----

static void put_number(FILE *out, double v)
{
    char digits[NUMBER_ROOM];
    fprintf(out, ",%s", isnan(v) ? "" : number_text(v, NUMBER_EXACT, digits));
}

static void put_duel_row(FILE *out, const struct duel *duel)
{
    if (!duel) {
        fputs(",,,,,", out);
        return;
    }
    put_number(out, duel->change.value);
    put_number(out, duel->change.low);
    put_number(out, duel->change.high);
    put_number(out, duel->adjusted);
    fprintf(out, ",%s", mix_verdict(duel));
}

static void put_csv(FILE *out, const struct mix *m)
{
    fputs("name,kind,cost,int8_share,weight_bytes,user_cost,fits,value,low,high,on_front,against,change,"
          "change_low,"
          "change_high,p_adjusted,mix_is\n",
          out);
    for (int i = 0; i < m->n_all; i++) {
        const struct mix_point *p = &m->points[i];
        const bool rival = p->kind != MIX_POINT;
        fprintf(out, "%s,%s", p->name, mix_kind_name(p->kind));
        put_number(out, p->takes.cost);
        put_number(out, p->takes.int8_share);
        fprintf(out, ",%lld", (long long)p->takes.price.weight_bytes);
        put_number(out, p->takes.user);
        fprintf(out, ",%s", p->takes.fits ? "true" : "false");
        put_number(out, p->judged.value);
        put_number(out, p->judged.low);
        put_number(out, p->judged.high);
        fprintf(out, ",%s,%s", p->on_front ? "true" : "false", rival ? m->points[p->against].name : "");
        put_duel_row(out, rival ? &p->at_cost : NULL);
        put_duel_row(out, rival ? &p->last : NULL);
        fputc('\n', out);
    }
}

// ---- the whole ----

static enum status write_file(const struct mix *m, const char *name, void (*put)(FILE *, const struct mix *),
                              struct error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return error_memory(err, 1u << 14, name);
    put(out, m);
    if (fclose(out))
        error_memory(err, bytes, name);
    else
        file_replace_in(m->trials.with.job->comparison_dir, name, text, err);
    free(text);
    return err->status;
}

enum status mix_write(const struct mix *m, struct error *err)
{
    const char *folder = m->trials.with.job->comparison_dir;
    char *json = make_json(m);
    if (!json) return error_memory(err, 1u << 16, "mix.json");
    if (file_make_directories(folder, err) == STATUS_OK &&
        file_replace_in(folder, "mix.json", json, err) == STATUS_OK &&
        write_file(m, "mix.csv", put_csv, err) == STATUS_OK)
        write_file(m, "mix-recipes.json", put_recipes, err);
    free(json);
    return err->status;
}
