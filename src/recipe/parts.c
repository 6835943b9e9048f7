// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/recipe/parts.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/recipe/recipe_file.h"

// ---- which there are ----

static const char *unit_name(const struct units *units, int unit)
{
    return unit == units->count ? embedding_unit.name : units->of[unit].name;
}

const char *part_unit_name(const struct parts *parts, const struct part *part)
{
    return part->unit == PART_ALL ? NULL : unit_name(parts->units, part->unit);
}

static enum status choose_units(struct parts *p, const char *list, struct error *err)
{
    for (int u = 0; u <= p->units->count; u++)
        p->wanted_units[u] = !list;
    for (const char *at = list; at && *at;) {
        const size_t length = strcspn(at, ", ");
        bool found = length == 0;
        for (int u = 0; u <= p->units->count; u++)
            if (strlen(unit_name(p->units, u)) == length && strncmp(unit_name(p->units, u), at, length) == 0)
                p->wanted_units[u] = found = true;
        if (!found)
            return error_set(
                err, STATUS_USAGE,
                "--units: '%.*s': the model has no such unit; `ssmsweep modes 2-1 --recipe` shows them",
                length < 64 ? (int)length : 64, at);
        at += length + (at[length] != '\0');
    }
    return STATUS_OK;
}

static void add_parts(struct parts *p, bool by_unit, bool by_layer)
{
    const int units = p->units->count, last = by_unit ? units - by_layer : PART_ALL;
    for (int u = by_unit ? 0 : PART_ALL; u <= last; u++)
        for (int l = by_layer ? 0 : PART_ALL; l < (by_layer ? p->n_layer : 0); l++)
            p->items[p->count++] = (struct part){u, l};
    if (by_layer) p->items[p->count++] = (struct part){units, PART_ALL}; // the embedding has no layer
}

enum status parts_open(struct parts *parts, const struct parts_request *request, const struct units *units,
                       int n_layer, struct error *err)
{
    const size_t most = ((size_t)units->count + 2) * ((size_t)n_layer + 1);
    struct parts p = {.units = units,
                      .n_layer = n_layer,
                      .wanted_units = calloc((size_t)units->count + 1, sizeof *p.wanted_units),
                      .wanted_layers = calloc((size_t)n_layer, sizeof *p.wanted_layers),
                      .items = calloc(most, sizeof *p.items)};
    if (!p.wanted_units || !p.wanted_layers || !p.items)
        error_memory(err, most * sizeof *p.items, "the pieces");
    else if (choose_units(&p, request->units, err) == STATUS_OK &&
             layer_select("--layers", request->layers ? request->layers : "all", n_layer, p.wanted_layers,
                          err) == STATUS_OK)
        add_parts(&p, request->by_unit, request->by_layer);
    if (err->status)
        parts_close(&p);
    else
        *parts = p;
    return err->status;
}

void parts_close(struct parts *parts)
{
    free(parts->wanted_units);
    free(parts->wanted_layers);
    free(parts->items);
    *parts = (struct parts){0};
}

// ---- of recipes ----

// The embedding belongs to no layer.
static bool has_embedding(const struct parts *p, const struct part *part)
{
    return part->layer == PART_ALL && (part->unit == PART_ALL || part->unit == p->units->count) &&
           p->wanted_units[p->units->count];
}

static bool has(const struct parts *p, const struct part *part, int unit, int layer)
{
    return (part->unit == PART_ALL || part->unit == unit) &&
           (part->layer == PART_ALL || part->layer == layer) && p->wanted_units[unit] &&
           p->wanted_layers[layer];
}

bool part_differs(const struct parts *parts, const struct part *part, const struct recipe *a,
                  const struct recipe *b)
{
    if (has_embedding(parts, part) && a->embedding != b->embedding) return true;
    for (int l = 0; l < parts->n_layer; l++)
        for (int u = 0; u < parts->units->count; u++)
            if (has(parts, part, u, l) && a->layers[l].of[u] != b->layers[l].of[u]) return true;
    return false;
}

void part_take(const struct parts *parts, const struct part *part, struct recipe *into,
               const struct recipe *from)
{
    if (has_embedding(parts, part)) into->embedding = from->embedding;
    for (int l = 0; l < parts->n_layer; l++)
        for (int u = 0; u < parts->units->count; u++)
            if (has(parts, part, u, l)) into->layers[l].of[u] = from->layers[l].of[u];
}

enum status parts_copy(struct recipe *copy, const struct recipe *of, struct error *err)
{
    struct recipe made = {PRECISION_BY_UNIT, of->embedding, of->n_layer, NULL};
    made.layers = calloc((size_t)of->n_layer, sizeof *made.layers);
    if (!made.layers) return error_memory(err, (size_t)of->n_layer * sizeof *made.layers, "a recipe");
    memcpy(made.layers, of->layers, (size_t)of->n_layer * sizeof *made.layers);
    *copy = made;
    return STATUS_OK;
}

// ---- modes ----

enum status parts_add_mode(const char *what, const char *name, const struct recipe *recipe,
                           const struct units *units, const struct mode **mode, struct error *err)
{
    if (mode_find(name))
        return error_set(err, STATUS_USAGE,
                         "%s: a recipe is called '%s', which is the name of a piece; rename it", what, name);
    char *text = recipe_write(recipe, units);
    if (!text)
        error_memory(err, 1, "a recipe");
    else if (recipe_text_add(what, name, text, err) == STATUS_OK)
        *mode = mode_find(name);
    free(text);
    return err->status;
}

enum status parts_find_mode(const char *option, const char *name, const struct mode **mode, struct error *err)
{
    *mode = mode_find(name);
    if (*mode) return STATUS_OK;
    return error_set(err, STATUS_USAGE,
                     "%s: expected the name of one mode, got '%.64s'; `ssmsweep modes` lists them", option,
                     name);
}
