// SPDX-License-Identifier: Apache-2.0
// Parts of recipes: a unit in all layers, all units of a layer, or a unit of a layer, of which one recipe can
// take the formats that another one has.
//
// Knows: recipes, units.  Must not know: what is measured, which mode is tried.  Called by: pieces.h,
// report/.
#ifndef SSMSWEEP_RECIPE_PARTS_H
#define SSMSWEEP_RECIPE_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/recipe/recipe.h"

enum { PART_ALL = -1 };

struct part {
    int unit;  // in the list of the family, its count for the embedding; PART_ALL: all of a layer
    int layer; // PART_ALL: all
};

struct parts_request {
    bool by_unit, by_layer;     // at least one
    const char *units, *layers; // lists that choose among them; NULL: all
};

// In caller memory.  The parts in their order: unit by unit, layers ascending, the embedding last.
struct parts {
    const struct units *units;
    int n_layer;
    bool *wanted_units; // [units->count + 1], the embedding last
    uint32_t *wanted_layers;
    struct part *items;
    int count;
};

// Local.  STATUS_USAGE: an unknown unit or layer.  parts_close() frees.
enum status parts_open(struct parts *parts, const struct parts_request *request, const struct units *units,
                       int n_layer, struct error *err);
void parts_close(struct parts *parts); // a zeroed one is fine

// "scan:u"; NULL for PART_ALL.
const char *part_unit_name(const struct parts *parts, const struct part *part);

// Local.  Is the part of one recipe another than that of the other, in what is wanted?
bool part_differs(const struct parts *parts, const struct part *part, const struct recipe *a,
                  const struct recipe *b);
// Local.  `into` gets that part as `from` has it, in what is wanted.
void part_take(const struct parts *parts, const struct part *part, struct recipe *into,
               const struct recipe *from);

// Local.  A copy by unit: of a float recipe the same formats in the rotated basis.  recipe_clear() frees.
enum status parts_copy(struct recipe *copy, const struct recipe *of, struct error *err);

// Local.  Adds the recipe to the modes.  STATUS_USAGE: `what` has made a name that a mode has already.
enum status parts_add_mode(const char *what, const char *name, const struct recipe *recipe,
                           const struct units *units, const struct mode **mode, struct error *err);

// Local.  The mode called so.  STATUS_USAGE names the option.
enum status parts_find_mode(const char *option, const char *name, const struct mode **mode,
                            struct error *err);

#endif
