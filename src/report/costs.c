// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/report/costs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/arch/price.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"

static enum status refuse(const char *path, const char *what, const char *expected, const struct json *got,
                          struct error *err)
{
    char value[JSON_DESCRIBE_CHARS];
    json_describe(got, value);
    return error_set(
        err, STATUS_INPUT,
        "%.300s: %.120s: expected %s, got %s; `ssmsweep mix --cost-template` prints such a table", path, what,
        expected, value);
}

static const struct unit *unit_at(const struct units *units, int unit)
{
    return unit == units->count ? &embedding_unit : &units->of[unit];
}

static int find_unit(const struct units *units, const char *name)
{
    return strcmp(name, embedding_unit.name) == 0 ? units->count : units_find(units, name);
}

static enum status read_unit(struct costs *c, const char *path, const struct units *units,
                             const struct json *costs, struct error *err)
{
    char what[120], formats[200];
    const int unit = find_unit(units, json_key(costs));
    snprintf(what, sizeof what, "'%.64s'", json_key(costs));
    if (unit < 0) return refuse(path, what, "the name of a unit of this model", costs, err);
    if (!json_is_object(costs)) return refuse(path, what, "an object, FORMAT: COST", costs, err);
    c->listed[unit] = true;
    for (const struct json *cost = json_first(costs); cost; cost = json_next(cost)) {
        enum format format = FORMAT_NONE;
        const double value = json_number(cost);
        snprintf(what, sizeof what, "'%.40s': '%.40s'", json_key(costs), json_key(cost));
        if (!format_find(json_key(cost), &format) || !unit_allows(unit_at(units, unit), format))
            return refuse(path, what, unit_formats(unit_at(units, unit), formats, sizeof formats), cost, err);
        if (!json_is_number(cost) || !isfinite(value) || value < 0)
            return refuse(path, what, "a cost, a number from 0", cost, err);
        c->table[unit * FORMATS + (int)format] = value;
    }
    return STATUS_OK;
}

enum status costs_read(struct costs *costs, const char *path, const struct units *units, struct error *err)
{
    struct json *root = NULL;
    const size_t cells = ((size_t)units->count + 1) * FORMATS;
    costs->table = malloc(cells * sizeof *costs->table);
    costs->listed = calloc((size_t)units->count + 1, sizeof *costs->listed);
    if (!costs->table || !costs->listed)
        return error_memory(err, cells * sizeof *costs->table, "the table of costs");
    for (size_t i = 0; i < cells; i++)
        costs->table[i] = (double)NAN;
    if (json_read_file(&root, path, err)) return err->status;
    if (!json_is_object(root) || json_count(root) == 0)
        refuse(path, "the table", "an object, UNIT: {FORMAT: COST}", root, err);
    for (const struct json *given = json_first(root); given && !err->status; given = json_next(given))
        if (strcmp(json_key(given), "$schema") != 0) read_unit(costs, path, units, given, err);
    json_close(root);
    return err->status;
}

void costs_clear(struct costs *costs)
{
    free(costs->table);
    free(costs->listed);
    *costs = (struct costs){0};
}

static enum status add_cost(const struct costs *c, const struct units *units, int unit, enum format format,
                            double *sum, struct error *err)
{
    if (!c->listed[unit]) return STATUS_OK; // it costs nothing
    const double cost = c->table[unit * FORMATS + (int)format];
    if (isnan(cost))
        return error_set(err, STATUS_INPUT,
                         "--costs: '%s' has no cost of '%s', which a mode takes here; add it, or leave the "
                         "unit out",
                         unit_at(units, unit)->name, format_name(format));
    *sum += cost;
    return STATUS_OK;
}

enum status costs_sum(const struct costs *costs, const struct dims *dims, const struct recipe *recipe,
                      double *sum, struct error *err)
{
    const struct units *units = &dims->arch->units;
    *sum = 0;
    if (add_cost(costs, units, units->count, recipe->embedding, sum, err)) return err->status;
    for (int l = 0; l < recipe->n_layer; l++)
        for (int u = 0; u < units->count; u++)
            if (add_cost(costs, units, u, (enum format)recipe->layers[l].of[u], sum, err)) return err->status;
    return STATUS_OK;
}

// ---- a table to start from ----

static double template_cost(const struct dims *dims, int unit, enum format format)
{
    if (unit == dims->arch->units.count) return (double)price_embedding_bytes(dims, format);
    return (double)price_weight_bytes(dims, unit, format);
}

void costs_print_template(FILE *out, const struct dims *dims)
{
    const struct units *units = &dims->arch->units;
    char digits[NUMBER_ROOM];
    fputs("{\n", out);
    for (int u = 0; u <= units->count; u++) {
        const struct unit *unit = unit_at(units, u);
        fprintf(out, "  \"%s\": {", unit->name);
        for (int f = 0; f < UNIT_MOST_FORMATS && unit->formats[f] != FORMAT_NONE; f++)
            fprintf(out, "%s\"%s\": %s", f ? ", " : "", format_name(unit->formats[f]),
                    number_shortest(template_cost(dims, u, unit->formats[f]), digits));
        fprintf(out, "}%s\n", u < units->count ? "," : "");
    }
    fputs("}\n", out);
}
