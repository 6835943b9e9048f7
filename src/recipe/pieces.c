// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/recipe/pieces.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/recipe/parts.h"
#include "ssmsweep/recipe/recipe_file.h"

static struct pieces made;

const struct pieces *pieces_made(void)
{
    return &made;
}

void pieces_set_price(const struct piece_price *price)
{
    made.weight_bytes = price->weight_bytes;
    made.int8_multiply_adds = price->int8_multiply_adds;
    made.multiply_adds = price->multiply_adds;
    made.user_cost = price->user_cost;
}

void pieces_set_price_of(int piece, const struct piece_price *price)
{
    made.items[piece].weight_bytes = price->weight_bytes - made.weight_bytes;
    made.items[piece].int8_multiply_adds = price->int8_multiply_adds - made.int8_multiply_adds;
    made.items[piece].user_cost = price->user_cost - made.user_cost;
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
    struct parts parts;
    struct recipe mode, toward;
};

// `of` with the part as `from` has it, as a mode.
static enum status add_mode(const struct taking *t, const char *name, const struct recipe *of,
                            const struct recipe *from, const struct part *part, const struct mode **mode,
                            struct error *err)
{
    struct recipe recipe = {0};
    if (parts_copy(&recipe, of, err)) return err->status;
    part_take(&t->parts, part, &recipe, from);
    parts_add_mode("attribute", name, &recipe, t->parts.units, mode, err);
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

static enum status add_piece(const struct taking *t, const struct part *part, struct error *err)
{
    struct piece *piece = &made.items[made.count];
    char name[RECIPE_NAME_CHARS + 1];
    if (!part_differs(&t->parts, part, &t->mode, &t->toward)) return STATUS_OK;
    *piece = (struct piece){.unit = part_unit_name(&t->parts, part), .layer = part->layer};
    write_name(name, 'w', piece->unit, piece->layer);
    if (add_mode(t, name, &t->mode, &t->toward, part, &piece->without, err)) return err->status;
    write_name(name, 'o', piece->unit, piece->layer);
    if (add_mode(t, name, &t->toward, &t->mode, part, &piece->only, err)) return err->status;
    made.count++;
    return STATUS_OK;
}

// ---- the whole ----

static enum status take_apart(struct taking *t, const struct pieces_request *request,
                              const struct units *units, int n_layer, struct error *err)
{
    const struct parts_request wanted = {request->by_unit, request->by_layer, request->units,
                                         request->layers};
    if (recipe_make(&t->mode, made.mode, units, n_layer, err) ||
        recipe_make(&t->toward, made.toward, units, n_layer, err) ||
        parts_open(&t->parts, &wanted, units, n_layer, err))
        return err->status;
    made.items = calloc((size_t)t->parts.count + 1, sizeof *made.items);
    if (!made.items) return error_memory(err, (size_t)t->parts.count * sizeof *made.items, "the pieces");
    if (parts_add_mode("attribute", "none", &t->toward, units, &made.none, err)) return err->status;
    for (int i = 0; i < t->parts.count; i++)
        if (add_piece(t, &t->parts.items[i], err)) return err->status;
    if (made.count > 0) return STATUS_OK;
    return error_set(err, STATUS_USAGE,
                     "attribute: mode '%s' and --toward '%s' are the same in all units and layers asked for: "
                     "nothing to take apart",
                     made.mode->name, made.toward->name);
}

enum status pieces_make(const struct pieces_request *request, const struct units *units, int n_layer,
                        struct error *err)
{
    struct taking t = {0};
    if (parts_find_mode("--mode", request->mode, &made.mode, err) ||
        parts_find_mode("--toward", request->toward, &made.toward, err))
        return err->status;
    if (mode_is_float(made.mode))
        return error_set(err, STATUS_USAGE, "--mode: '%s' is a float mode: nothing in it is on a grid",
                         made.mode->name);
    take_apart(&t, request, units, n_layer, err);
    recipe_clear(&t.mode);
    recipe_clear(&t.toward);
    parts_close(&t.parts);
    if (err->status) pieces_forget();
    return err->status;
}
