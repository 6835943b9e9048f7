// SPDX-License-Identifier: Apache-2.0
// Attribution's recipes: a mode is taken apart into pieces (a unit in all layers, a layer with all units, or
// a unit of one layer), and each piece gives two modes: the mode without it, and the target with only it.
//
// Knows: recipes and units.  Must not know: what is measured of them.  Called by: main's command_check(),
// sweep/, report/.
#ifndef SSMSWEEP_RECIPE_PIECES_H
#define SSMSWEEP_RECIPE_PIECES_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/recipe/recipe.h"

enum { PIECE_ALL = -1 };

struct piece {
    const char *unit; // NULL: all units
    int layer;        // PIECE_ALL: all layers
    const struct mode *without,
        *only; // the mode with the piece as the target has it, and the other way round
    // What `without` takes more than the mode: bytes of weights, INT8 multiply-adds of a token
    // (arch/price.h).
    long long weight_bytes, int8_multiply_adds;
    double user_cost; // by the user's own table; NaN without one
};

struct pieces {
    const struct mode *mode, *toward;
    const struct mode *none; // the target, as a recipe: what is there without any piece
    struct piece *items;
    int count;
    long long weight_bytes, int8_multiply_adds, multiply_adds; // of the mode
    double user_cost;
};

struct pieces_request {
    const char *mode, *toward;  // names
    bool by_unit, by_layer;     // at least one
    const char *units, *layers; // lists that choose among them; NULL: all
};

// Local, before any mode is asked for by a list, and the same on every rank.  Adds the modes.  Pieces in
// which mode and target are the same are left out.  STATUS_USAGE: an unknown mode, unit or layer, nothing to
// take apart. pieces_forget() frees; the modes go with recipes_forget().
enum status pieces_make(const struct pieces_request *request, const struct units *units, int n_layer,
                        struct error *err);
const struct pieces *pieces_made(void); // count is 0: none were
// Local.  What they take, by who knows the model; before anybody reads it.
struct piece_price {
    long long weight_bytes, int8_multiply_adds, multiply_adds;
    double user_cost;
};
void pieces_set_price(const struct piece_price *price);
void pieces_set_price_of(int piece, const struct piece_price *price); // of its `without`
void pieces_forget(void);

// chosen[mode_count()]: the mode and all modes of the pieces as well.
void pieces_choose(bool *chosen);

#endif
