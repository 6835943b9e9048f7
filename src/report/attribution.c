// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/attribution.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/arch/price.h"
#include "ssmsweep/report/costs.h"
#include "ssmsweep/report/reading.h"

enum { MOST_RERUNS = 64 };

enum status attribution_check(const struct job *job, int n_layer, struct error *err)
{
    struct reading_place place;
    return reading_place_of(&place, job, "attribute", n_layer, err);
}

// ---- what it takes ----

static enum status price_mode(const struct mode *mode, const struct dims *dims, const struct costs *costs,
                              struct piece_price *price, struct error *err)
{
    struct recipe recipe = {0};
    if (arch_recipe(&recipe, mode, dims, err)) return err->status;
    const struct price counted = price_of(dims, &recipe);
    *price = (struct piece_price){.weight_bytes = counted.weight_bytes,
                                  .int8_multiply_adds = counted.int8_multiply_adds,
                                  .multiply_adds = counted.multiply_adds,
                                  .user_cost = (double)NAN};
    if (costs->table) costs_sum(costs, dims, &recipe, &price->user_cost, err);
    recipe_clear(&recipe);
    return err->status;
}

enum status attribution_price(const struct dims *dims, const char *table, struct error *err)
{
    const struct pieces *pieces = pieces_made();
    struct costs costs = {0};
    struct piece_price price;
    if ((!table || costs_read(&costs, table, &dims->arch->units, err) == STATUS_OK) &&
        price_mode(pieces->mode, dims, &costs, &price, err) == STATUS_OK) {
        pieces_set_price(&price);
        for (int p = 0; p < pieces->count && !err->status; p++)
            if (price_mode(pieces->items[p].without, dims, &costs, &price, err) == STATUS_OK)
                pieces_set_price_of(p, &price);
    }
    costs_clear(&costs);
    return err->status;
}

static enum status need_run(const struct result *result, const struct mode *mode, int *run, struct error *err)
{
    *run = reading_find(result, mode, 0);
    if (*run >= 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "the result file has no run of '%s'; attribute again with --overwrite", mode->name);
}

// ---- the pieces ----

// Tables of two runs, the second one that of the mode.
struct paired {
    struct bootstrap *bootstrap;
    double *tables[2];
};

static enum status measure(struct reading *reading, const struct paired *paired, const struct mode *mode,
                           struct interval *interval, struct change *change, struct error *err)
{
    struct interval both[2];
    int run;
    if (need_run(reading->result, mode, &run, err) || reading_table(reading, run, paired->tables[0], err))
        return err->status;
    bootstrap_run(paired->bootstrap, reading->place.metric, (const double *const *)paired->tables, NULL, 2,
                  both, change);
    *interval = both[0];
    return STATUS_OK;
}

static void share_out(struct attribution *a)
{
    const double whole = reading_error(a->metric, &a->whole), none = reading_error(a->metric, &a->none);
    a->whole_error = whole - none;
    a->interaction_without = a->interaction_only = 1;
    for (int i = 0; i < a->count; i++) {
        struct attributed *item = &a->items[i];
        const bool known = a->whole_error > 0;
        item->effect = whole - reading_error(a->metric, &item->without);
        item->share_without = known ? item->effect / a->whole_error : (double)NAN;
        item->share_only =
            known ? (reading_error(a->metric, &item->only) - none) / a->whole_error : (double)NAN;
        a->interaction_without -= item->share_without;
        a->interaction_only -= item->share_only;
    }
}

// Holm (1979) over all pieces; those that cannot be told are no tests.
static int compare_p(const void *x, const void *y)
{
    const struct attributed *a = *(const struct attributed *const *)x,
                            *b = *(const struct attributed *const *)y;
    const double p = a->without_change.p, q = b->without_change.p;
    return p < q ? -1 : p > q;
}

static enum status adjust(struct attribution *a, struct error *err)
{
    struct attributed **order = calloc((size_t)a->count + 1, sizeof *order);
    int tests = 0;
    double least = 0;
    if (!order) return error_memory(err, (size_t)a->count * sizeof *order, "the pieces");
    for (int i = 0; i < a->count; i++) {
        a->items[i].adjusted = NAN;
        if (!isnan(a->items[i].without_change.p)) order[tests++] = &a->items[i];
    }
    qsort(order, (size_t)tests, sizeof *order, compare_p);
    for (int i = 0; i < tests; i++) {
        const double p = order[i]->without_change.p * (tests - i);
        least = fmax(least, fmin(p, 1));
        order[i]->adjusted = least;
        order[i]->significant = least <= 1 - BOOTSTRAP_LEVEL;
    }
    free(order);
    return STATUS_OK;
}

static bool is_equal(const struct attributed *item)
{
    return item->without_change.state == INTERVAL_EQUAL;
}

// The one without which least error is left first, and behind all those without which no sample changes; the
// pieces' own order among equals, NaN last.
static int compare_effect(const void *x, const void *y)
{
    const struct attributed *a = x, *b = y;
    if (is_equal(a) != is_equal(b)) return is_equal(a) ? 1 : -1;
    if (isnan(a->effect) != isnan(b->effect)) return isnan(a->effect) ? 1 : -1;
    if (!isnan(a->effect) && a->effect != b->effect) return a->effect > b->effect ? -1 : 1;
    return a->piece < b->piece ? -1 : a->piece > b->piece;
}

static enum status measure_pieces(struct attribution *a, struct reading *reading, const struct paired *paired,
                                  struct error *err)
{
    const struct pieces *pieces = a->pieces;
    struct change unused;
    int run;
    if (need_run(reading->result, pieces->mode, &run, err) ||
        reading_table(reading, run, paired->tables[1], err) ||
        measure(reading, paired, pieces->mode, &a->whole, &unused, err) ||
        measure(reading, paired, pieces->none, &a->none, &unused, err))
        return err->status;
    for (int p = 0; p < pieces->count; p++) {
        struct attributed *item = &a->items[p];
        item->piece = &pieces->items[p];
        if (measure(reading, paired, item->piece->without, &item->without, &item->without_change, err) ||
            measure(reading, paired, item->piece->only, &item->only, &item->only_change, err))
            return err->status;
    }
    a->count = pieces->count;
    share_out(a);
    return adjust(a, err);
}

// ---- noise ----

// How far re-runs of the mode lie from it in the metric; a piece changes as much again.
static enum status measure_noise(struct attribution *a, struct reading *reading, const struct paired *paired,
                                 struct error *err)
{
    double values[MOST_RERUNS];
    int run;
    a->floor = (struct noise_floor){NAN, NAN, 0};
    while (a->n_reruns < MOST_RERUNS &&
           (run = reading_find(reading->result, a->pieces->mode, a->n_reruns + 1)) >= 0) {
        if (reading_table(reading, run, paired->tables[0], err)) return err->status;
        values[a->n_reruns++] = metric_of_table(a->metric, paired->tables[0], a->samples);
    }
    if (a->n_reruns == 0) return STATUS_OK;
    a->floor = noise_floor_make(a->metric, a->whole.value, values, NULL, a->n_reruns, 1);
    for (int i = 0; i < a->count; i++)
        a->items[i].within_noise = change_below_floor(a->items[i].without_change.phi, &a->floor, &a->floor);
    return STATUS_OK;
}

// ---- the whole ----

static enum status make(struct attribution *a, struct reading *reading, struct error *err)
{
    const size_t table = (size_t)READING_COLUMNS * (size_t)a->samples;
    struct paired paired = {.tables = {calloc(table, sizeof(double)), calloc(table, sizeof(double))}};
    a->items = calloc((size_t)a->pieces->count + 1, sizeof *a->items);
    if (!paired.tables[0] || !paired.tables[1] || !a->items)
        error_memory(err, 2 * table * sizeof(double), "the attribution");
    else if (bootstrap_open(&paired.bootstrap, (uint64_t)a->seed, a->resamples, a->samples, 2, err) ==
                 STATUS_OK &&
             measure_pieces(a, reading, &paired, err) == STATUS_OK &&
             measure_noise(a, reading, &paired, err) == STATUS_OK) {
        qsort(a->items, (size_t)a->count, sizeof *a->items, compare_effect);
        for (int i = 0; i < a->count; i++)
            a->items[i].place = i + 1;
    }
    bootstrap_close(paired.bootstrap);
    free(paired.tables[0]);
    free(paired.tables[1]);
    return err->status;
}

enum status attribution_make(struct attribution *attribution, struct result *result, const struct job *job,
                             struct error *err)
{
    struct attribution a = {
        .pieces = pieces_made(), .reference = job->reference, .resamples = job->bootstrap, .seed = job->seed};
    struct reading_place place;
    struct reading reading = {0};
    if (reading_place_of(&place, job, "attribute", result_model_layers(result), err) == STATUS_OK &&
        reading_open(&reading, result, &place, job->reference, err) == STATUS_OK) {
        a.metric = place.metric;
        a.layer = place.layer;
        a.component = reading.component;
        a.samples = reading.samples;
        a.tokens = reading.tokens;
        make(&a, &reading, err);
    }
    reading_close(&reading);
    if (err->status)
        attribution_clear(&a);
    else
        *attribution = a;
    return err->status;
}

void attribution_clear(struct attribution *attribution)
{
    free(attribution->items);
    *attribution = (struct attribution){0};
}
