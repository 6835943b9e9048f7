// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/recipe/pieces.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/recipe/recipe_file.h"

static struct pieces made;

const struct pieces *pieces_made(void)
{
    return &made;
}

void pieces_forget(void)
{
    free(made.items);
    made = (struct pieces){0};
}

void pieces_choose(bool *chosen)
{
    for (int m = 0; m < mode_count(); m++) {
        const struct mode *mode = mode_at(m);
        chosen[m] = chosen[m] || mode == made.mode || mode == made.none;
        for (int p = 0; p < made.count && !chosen[m]; p++)
            chosen[m] = mode == made.items[p].without || mode == made.items[p].only;
    }
}

// ---- what is taken apart ----

// In the making.
struct taking {
    const struct units *units;
    int n_layer;
    struct recipe mode, toward;
    bool *wanted_units;      // [units->count + 1], the embedding last
    uint32_t *wanted_layers; // [n_layer]
};

static enum format format_at(const struct recipe *recipe, const struct units *units, int unit, int layer)
{
    return unit == units->count ? recipe->embedding : (enum format)recipe->layers[layer].of[unit];
}

static const char *unit_name(const struct units *units, int unit)
{
    return unit == units->count ? embedding_unit.name : units->of[unit].name;
}

static bool differs(const struct taking *t, int unit, int layer)
{
    return format_at(&t->mode, t->units, unit, layer) != format_at(&t->toward, t->units, unit, layer);
}

// unit, layer: PIECE_ALL for all that are wanted.  The embedding belongs to no layer.
static bool holds(const struct taking *t, int unit, int layer)
{
    const int first_unit = unit == PIECE_ALL ? 0 : unit,
              last_unit = unit == PIECE_ALL ? t->units->count : unit;
    const int first = layer == PIECE_ALL ? 0 : layer, last = layer == PIECE_ALL ? t->n_layer - 1 : layer;
    for (int u = first_unit; u <= last_unit; u++)
        for (int l = first; l <= last; l++)
            if (t->wanted_units[u] && t->wanted_layers[l] && differs(t, u, l) &&
                (u < t->units->count || layer == PIECE_ALL))
                return true;
    return false;
}

static enum status choose_units(struct taking *t, const char *list, struct error *err)
{
    for (int u = 0; u <= t->units->count; u++)
        t->wanted_units[u] = !list;
    for (const char *at = list; at && *at;) {
        const size_t length = strcspn(at, ", ");
        bool found = length == 0;
        for (int u = 0; u <= t->units->count; u++)
            if (strlen(unit_name(t->units, u)) == length && strncmp(unit_name(t->units, u), at, length) == 0)
                t->wanted_units[u] = found = true;
        if (!found)
            return error_set(
                err, STATUS_USAGE,
                "--units: '%.*s': the model has no such unit; `ssmsweep modes %s --recipe` shows them",
                length < 64 ? (int)length : 64, at, made.mode->name);
        at += length + (at[length] != '\0');
    }
    return STATUS_OK;
}

// ---- modes ----

// A recipe as text: `of` with the wanted part of the piece as `from` has it.
static struct setting mixed(const struct taking *t, const struct recipe *of, const struct recipe *from,
                            int unit, int layer)
{
    struct setting setting = of->layers[layer];
    for (int u = 0; u < t->units->count; u++)
        if ((unit == PIECE_ALL || unit == u) && t->wanted_units[u]) setting.of[u] = from->layers[layer].of[u];
    return setting;
}

static enum status add_mode(const struct taking *t, const char *name, const struct recipe *of,
                            const struct recipe *from, int unit, int layer, const struct mode **mode,
                            struct error *err)
{
    struct recipe recipe = {
        .precision = PRECISION_BY_UNIT, .embedding = of->embedding, .n_layer = t->n_layer};
    recipe.layers = calloc((size_t)t->n_layer, sizeof *recipe.layers);
    if (!recipe.layers) return error_memory(err, (size_t)t->n_layer * sizeof *recipe.layers, "a recipe");
    for (int l = 0; l < t->n_layer; l++)
        recipe.layers[l] = (layer == PIECE_ALL || layer == l) && t->wanted_layers[l]
                               ? mixed(t, of, from, unit, l)
                               : of->layers[l];
    const bool ends = layer == PIECE_ALL && (unit == PIECE_ALL || unit == t->units->count);
    if (ends && t->wanted_units[t->units->count]) recipe.embedding = from->embedding;
    char *text = recipe_write(&recipe, t->units);
    if (!text)
        error_memory(err, 1, "a recipe");
    else if (mode_find(name))
        error_set(err, STATUS_USAGE,
                  "attribute: a recipe is called '%s', which is the name of a piece; rename it", name);
    else if (recipe_text_add("attribute", name, text, err) == STATUS_OK)
        *mode = mode_find(name);
    free(text);
    recipe_clear(&recipe);
    return err->status;
}

// "w.scan-u.l3": without; "o....": only.  Names of files have no colon.
static void write_name(char name[RECIPE_NAME_CHARS + 1], char kind, const char *unit, int layer)
{
    char end[16] = "";
    if (layer != PIECE_ALL) snprintf(end, sizeof end, ".l%d", layer);
    snprintf(name, RECIPE_NAME_CHARS + 1, "%c.%.*s%s", kind, RECIPE_NAME_CHARS - 2 - (int)strlen(end),
             unit ? unit : "all", end);
    for (char *c = name; *c; c++)
        if (*c == ':') *c = '-';
}

static enum status add_piece(const struct taking *t, int unit, int layer, struct error *err)
{
    struct piece *piece = &made.items[made.count];
    char name[RECIPE_NAME_CHARS + 1];
    if (!holds(t, unit, layer)) return STATUS_OK;
    *piece = (struct piece){.unit = unit == PIECE_ALL ? NULL : unit_name(t->units, unit), .layer = layer};
    write_name(name, 'w', piece->unit, layer);
    if (add_mode(t, name, &t->mode, &t->toward, unit, layer, &piece->without, err)) return err->status;
    write_name(name, 'o', piece->unit, layer);
    if (add_mode(t, name, &t->toward, &t->mode, unit, layer, &piece->only, err)) return err->status;
    made.count++;
    return STATUS_OK;
}

static enum status add_pieces(const struct taking *t, const struct pieces_request *request, struct error *err)
{
    const int units = t->units->count;
    for (int u = request->by_unit ? 0 : PIECE_ALL; u <= (request->by_unit ? units : PIECE_ALL); u++) {
        if (!request->by_layer && add_piece(t, u, PIECE_ALL, err)) return err->status;
        for (int l = 0; request->by_layer && l < t->n_layer; l++)
            if (add_piece(t, u, l, err)) return err->status;
    }
    return request->by_layer ? add_piece(t, units, PIECE_ALL, err) : STATUS_OK; // the embedding has no layer
}

// ---- the whole ----

static enum status take_apart(struct taking *t, const struct pieces_request *request, struct error *err)
{
    if (recipe_make(&t->mode, made.mode, t->units, t->n_layer, err) ||
        recipe_make(&t->toward, made.toward, t->units, t->n_layer, err) ||
        choose_units(t, request->units, err) ||
        layer_select("--layers", request->layers ? request->layers : "all", t->n_layer, t->wanted_layers,
                     err))
        return err->status;
    if (add_mode(t, "none", &t->toward, &t->toward, PIECE_ALL, PIECE_ALL, &made.none, err) ||
        add_pieces(t, request, err))
        return err->status;
    if (made.count > 0) return STATUS_OK;
    return error_set(err, STATUS_USAGE,
                     "attribute: mode '%s' and --toward '%s' are the same in all units and layers asked for: "
                     "nothing to take apart",
                     made.mode->name, made.toward->name);
}

static const struct mode *known_mode(const char *option, const char *name, struct error *err)
{
    const struct mode *mode = mode_find(name);
    if (!mode)
        error_set(err, STATUS_USAGE,
                  "%s: expected the name of one mode, got '%.64s'; `ssmsweep modes` lists them", option,
                  name);
    return mode;
}

enum status pieces_make(const struct pieces_request *request, const struct units *units, int n_layer,
                        struct error *err)
{
    const size_t most = ((size_t)units->count + 2) * ((size_t)n_layer + 1);
    struct taking t = {.units = units, .n_layer = n_layer};
    made.mode = known_mode("--mode", request->mode, err);
    if (!err->status) made.toward = known_mode("--toward", request->toward, err);
    if (!err->status && mode_is_float(made.mode))
        error_set(err, STATUS_USAGE, "--mode: '%s' is a float mode: nothing in it is on a grid",
                  made.mode->name);
    made.items = calloc(most, sizeof *made.items);
    t.wanted_units = calloc((size_t)units->count + 1, sizeof *t.wanted_units);
    t.wanted_layers = calloc((size_t)n_layer, sizeof *t.wanted_layers);
    if (!made.items || !t.wanted_units || !t.wanted_layers)
        error_memory(err, most * sizeof *made.items, "the pieces");
    if (!err->status) take_apart(&t, request, err);
    recipe_clear(&t.mode);
    recipe_clear(&t.toward);
    free(t.wanted_units);
    free(t.wanted_layers);
    if (err->status) pieces_forget();
    return err->status;
}
