// SPDX-License-Identifier: Apache-2.0
// The modes as one const table of settings, and those that recipe files add.  Nothing else in the program
// knows a mode's name.
#ifndef SSMSWEEP_RECIPE_MODE_H
#define SSMSWEEP_RECIPE_MODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/recipe/recipe.h"

// Sets that --modes understands, as bits.
enum mode_set { MODE_SET_ESSENTIAL = 1, MODE_SET_FP_ONLY = 2, MODE_SET_QUANT_ONLY = 4 };

struct mode {
    const char *name;
    enum precision precision;
    const char *base;                // a mode whose setting it starts from; NULL: each unit's first format
    const struct recipe_part *parts; // what it changes of that, in order
    int n_parts;
    enum format weights;   // that weights start in where they may have it; FORMAT_NONE: mode_weights()
    enum format order;     // of the scan's sums, without which it is another mode; FORMAT_NONE: any
    unsigned sets;         // words of --modes that stand for it
    unsigned sets_of_half; // by unit: where all layers have FP16 activations, instead
    const char *equals;    // name of a mode whose results are the same bits, or NULL
    const char *summary;   // one line for `ssmsweep modes`
    bool added;            // by mode_add()
};

int mode_count(void);                           // of the table and what was added
const struct mode *mode_at(int index);          // in table order, added ones behind
const struct mode *mode_find(const char *name); // NULL: no such mode
bool mode_is_set(const char *name);             // a word of --modes that stands for several

// Local.  One more mode, by name wherever a mode is; `mode` and what it points to must stay until
// modes_clear().  Before any mode is asked for, and the same on every rank.  STATUS_INPUT: the name is there.
enum status mode_add(const struct mode *mode, struct error *err);
void modes_clear(void); // forgets what was added

// Local.  The format that the weights of modes by unit start in, where they may have it: FORMAT_INT8 until it
// is set.  Before any recipe is made.
void mode_set_weights(enum format format);
enum format mode_weights(void);
// Local.  Layers (1) of a checkpoint that have FP16 activations, and so no scales: copied; NULL: there are
// none. Where some layers have them, those are mode_of_half_layers()'s in every named mode by unit, and what
// recipes start from.  Before any recipe is made.
void mode_set_half_layers(const unsigned char *half, int n_layer);
bool mode_layer_is_half(int layer);
bool mode_layers_are_half(void);  // all are: the sets of modes by unit are sets_of_half
bool mode_layers_are_mixed(void); // some are, and some are not
const struct mode *mode_of_half_layers(void);
// Local.  Adds each word MODE@FORMAT of a list, of a mode that is there: the same with such weights.
// STATUS_USAGE: no such mode by unit, or no format of weights.  The list may be NULL.
enum status mode_add_variants(const char *list, struct error *err);

static inline bool mode_is_float(const struct mode *mode)
{
    return mode->precision != PRECISION_BY_UNIT;
}

// Comma or blank separated names and sets (`all`, `essential`, `fp_only`, `quant_only`) ->
// chosen[mode_count()] in table order; NULL: it is only checked.  STATUS_USAGE names the unknown word and
// lists the known ones.
enum status mode_select(const char *list, bool *chosen, struct error *err);
bool mode_is_listed(const char *list, const struct mode *mode); // of a list that was checked

// The other way round: "fp32,0,2-1", in table order, cut where the room ends.
void mode_write_list(const bool *chosen, char *text, size_t room);

// ---- mode table ----

// What each mode does at each step of a layer, in words made from its settings; "by layer" where they differ.

// Local.  A table, one row per mode and one column per step, then one line per mode; or all of it as JSON:
// {"modes": [{"name", "summary", "float", "sets": [...], "steps": {STEP: TEXT}, "equals": NAME or null}]}.
// STATUS_IO when memory is out.
// only: one mode, or NULL: all.  units: of a family, the first one where no model is known.
enum status mode_table_print(FILE *out, bool json, const struct mode *only, const struct units *units,
                             struct error *err);

#endif
