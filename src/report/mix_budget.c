// SPDX-License-Identifier: Apache-2.0
// What a mix may cost, and what a recipe takes of it.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "mix.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"

// ---- the option ----

static const struct {
    const char *name, *sign;
} kinds[] = {
    [BUDGET_INT8] = {"int8", ">="}, [BUDGET_BYTES] = {"bytes", "<="}, [BUDGET_COST] = {"cost", "<="}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

const char *budget_kind_name(enum budget_kind kind)
{
    return kinds[kind].name;
}

// A number, of bytes maybe with K, M, G or T behind it.
static bool read_limit(const char *text, enum budget_kind kind, double *limit)
{
    static const char suffixes[] = "KMGT";
    char *end;
    double value = number_read(text, &end);
    const char *suffix = *end && kind == BUDGET_BYTES ? strchr(suffixes, *end) : NULL;
    if (end == text || !isfinite(value) || value < 0) return false;
    for (const char *s = suffixes; suffix && s <= suffix; s++)
        value *= 1000;
    *limit = value;
    return end[suffix != NULL] == '\0' && (kind != BUDGET_INT8 || value <= 1);
}

enum status budget_parse(struct budget *budget, const char *text, struct error *err)
{
    for (int k = 0; k < KINDS; k++) {
        const size_t name = strlen(kinds[k].name), sign = strlen(kinds[k].sign);
        budget->kind = (enum budget_kind)k;
        if (strncmp(text, kinds[k].name, name) == 0 && strncmp(text + name, kinds[k].sign, sign) == 0 &&
            read_limit(text + name + sign, budget->kind, &budget->limit))
            return STATUS_OK;
    }
    return error_set(err, STATUS_USAGE,
                     "--budget: expected int8>=SHARE (up to 1), bytes<=N (as 1.2M) or cost<=X, got '%.64s'",
                     text);
}

// ---- the user's table ----

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

static enum status read_unit(struct budget *b, const char *path, const struct units *units,
                             const struct json *costs, struct error *err)
{
    char what[120], formats[200];
    const int unit = find_unit(units, json_key(costs));
    snprintf(what, sizeof what, "'%.64s'", json_key(costs));
    if (unit < 0) return refuse(path, what, "the name of a unit of this model", costs, err);
    if (!json_is_object(costs)) return refuse(path, what, "an object, FORMAT: COST", costs, err);
    b->listed[unit] = true;
    for (const struct json *cost = json_first(costs); cost; cost = json_next(cost)) {
        enum format format = FORMAT_NONE;
        const double value = json_number(cost);
        snprintf(what, sizeof what, "'%.40s': '%.40s'", json_key(costs), json_key(cost));
        if (!format_find(json_key(cost), &format) || !unit_allows(unit_at(units, unit), format))
            return refuse(path, what, unit_formats(unit_at(units, unit), formats, sizeof formats), cost, err);
        if (!json_is_number(cost) || !isfinite(value) || value < 0)
            return refuse(path, what, "a cost, a number from 0", cost, err);
        b->table[unit * FORMATS + (int)format] = value;
    }
    return STATUS_OK;
}

enum status budget_read_table(struct budget *budget, const char *path, const struct units *units,
                              struct error *err)
{
    struct json *root = NULL;
    const size_t cells = ((size_t)units->count + 1) * FORMATS;
    budget->table = malloc(cells * sizeof *budget->table);
    budget->listed = calloc((size_t)units->count + 1, sizeof *budget->listed);
    if (!budget->table || !budget->listed)
        return error_memory(err, cells * sizeof *budget->table, "the table of costs");
    for (size_t i = 0; i < cells; i++)
        budget->table[i] = (double)NAN;
    if (json_read_file(&root, path, err)) return err->status;
    if (!json_is_object(root) || json_count(root) == 0)
        refuse(path, "the table", "an object, UNIT: {FORMAT: COST}", root, err);
    for (const struct json *costs = json_first(root); costs && !err->status; costs = json_next(costs))
        if (strcmp(json_key(costs), "$schema") != 0) read_unit(budget, path, units, costs, err);
    json_close(root);
    return err->status;
}

void budget_clear(struct budget *budget)
{
    free(budget->table);
    free(budget->listed);
    *budget = (struct budget){0};
}

static enum status add_cost(const struct budget *b, const struct units *units, int unit, enum format format,
                            double *sum, struct error *err)
{
    if (!b->listed[unit]) return STATUS_OK; // it costs nothing
    const double cost = b->table[unit * FORMATS + (int)format];
    if (isnan(cost))
        return error_set(
            err, STATUS_INPUT,
            "--costs: '%s' has no cost of '%s', which a mode of this mix takes; add it, or leave the "
            "unit out",
            unit_at(units, unit)->name, format_name(format));
    *sum += cost;
    return STATUS_OK;
}

static enum status sum_costs(const struct budget *b, const struct dims *dims, const struct recipe *recipe,
                             double *sum, struct error *err)
{
    const struct units *units = &dims->arch->units;
    *sum = 0;
    if (add_cost(b, units, units->count, recipe->embedding, sum, err)) return err->status;
    for (int l = 0; l < recipe->n_layer; l++)
        for (int u = 0; u < units->count; u++)
            if (add_cost(b, units, u, (enum format)recipe->layers[l].of[u], sum, err)) return err->status;
    return STATUS_OK;
}

enum status budget_takes(const struct budget *budget, const struct dims *dims, const struct recipe *recipe,
                         struct takes *takes, struct error *err)
{
    struct takes t = {.price = price_of(dims, recipe), .user = (double)NAN};
    if (budget->table && sum_costs(budget, dims, recipe, &t.user, err)) return err->status;
    const double all = (double)t.price.multiply_adds;
    t.int8_share = all > 0 ? (double)t.price.int8_multiply_adds / all : 0;
    if (budget->kind == BUDGET_INT8) {
        t.cost = all > 0 ? (double)(t.price.multiply_adds - t.price.int8_multiply_adds) / all : 1;
        t.fits = t.int8_share >= budget->limit;
    } else {
        t.cost = budget->kind == BUDGET_BYTES ? (double)t.price.weight_bytes : t.user;
        t.fits = t.cost <= budget->limit;
    }
    *takes = t;
    return STATUS_OK;
}

// ---- a table to start from ----

static double template_cost(const struct dims *dims, int unit, enum format format)
{
    if (unit == dims->arch->units.count) return (double)price_embedding_bytes(dims, format);
    return (double)price_weight_bytes(dims, unit, format);
}

void budget_print_template(FILE *out, const struct dims *dims)
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
