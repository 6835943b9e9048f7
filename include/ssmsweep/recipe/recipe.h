// SPDX-License-Identifier: Apache-2.0
// Which tensor is on which grid, as data.  A *unit* is a tensor of a layer that may be on a grid; a *setting*
// gives each unit of a layer a format; a *recipe* gives each layer a setting.  Modes (recipe/mode.h) are
// recipes with names.
//
// Knows: formats, and lists of units that it is given.  Must not know: which units a family has (struct arch
// lists them), what is computed under a format, files.  Called by: recipe files, plan/, forward/, arch/.
#ifndef SSMSWEEP_RECIPE_RECIPE_H
#define SSMSWEEP_RECIPE_RECIPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"

// ---- formats ----

enum format {
    FORMAT_NONE, // of a unit that the family has not; of a choice that is not made
    FORMAT_FLOAT,
    FORMAT_FP16,
    FORMAT_INT8,          // one scale: of a weight from its values, of an activation from calibration
    FORMAT_INT8_CHANNEL,  // of a weight: a scale for each output
    FORMAT_INT4_G128,     // of a weight: so many inputs of an output share a scale
    FORMAT_INT4_G64,      //
    FORMAT_INT4_G32,      //
    FORMAT_INT8_GIVEN,    // as FORMAT_INT8, with the scale that a file gives (arch/model.h)
    FORMAT_DYNAMIC,       // of an activation: max|x|/127 of the sample
    FORMAT_DYNAMIC_TOKEN, // of each token
    FORMAT_CODES,         // of what the scan gets: the codes that are there
    FORMAT_SEQUENTIAL,    // orders of the sums of a scan
    FORMAT_BLOCKED,
    FORMAT_CHUNKED,      // in FP32
    FORMAT_CHUNKED_GPU,  // operands as a GPU's matrix units take them
    FORMAT_CHUNKED_FP16, // operands in FP16
    FORMATS
};

const char *format_name(enum format format);             // "int4-g128"; "" for FORMAT_NONE
bool format_find(const char *name, enum format *format); // false: no such name
int format_group(enum format format);                    // inputs that share a scale; 0: it is not 4 bits

// ---- units ----

enum { RECIPE_MOST_UNITS = 48, UNIT_MOST_FORMATS = 10 };

struct unit {
    const char *name;                       // "conv1d:output", "weight:in_proj"
    enum format formats[UNIT_MOST_FORMATS]; // that it may have, FORMAT_NONE behind the last; the first is
                                            // that of the settings that modes start from
};

// Those of a family (struct arch).
struct units {
    const struct unit *of;
    int count; // at most RECIPE_MOST_UNITS
};

bool unit_allows(const struct unit *unit, enum format format);
int units_find(const struct units *units, const char *name); // -1: there is none
// "int8, float": for messages.  Gives `text` back.
const char *unit_formats(const struct unit *unit, char *text, size_t room);

// ---- settings and recipes ----

// Formats of the units of a layer, in the order of the family.
struct setting {
    uint8_t of[RECIPE_MOST_UNITS]; // enum format
};

// Each unit's first format.
struct setting setting_base(const struct units *units);
bool format_is_of_weights(enum format format);
#define UNIT_WEIGHT "weight:" // how the names of weights begin
bool setting_equal(const struct setting *a, const struct setting *b);
// Is an activation on a grid of calibration, under this setting?  Else no scales of a layer are looked at.
bool setting_is_scaled(const struct setting *setting, const struct units *units);

// How a layer is computed: in the model's own basis, all FP32 or rounded to FP16 throughout; or in the
// rotated basis, by its setting.
enum precision { PRECISION_FP32, PRECISION_FP16, PRECISION_BY_UNIT };

// The embedding is a unit of the model.
extern const struct unit embedding_unit; // "embedding"

struct recipe {
    enum precision precision;
    enum format embedding; // FORMAT_FP16 or FORMAT_FLOAT
    int n_layer;
    struct setting *layers; // [n_layer]
};

static inline bool recipe_is_float(const struct recipe *recipe)
{
    return recipe->precision != PRECISION_BY_UNIT;
}

// ---- what a recipe is written as ----

// A format for a unit.  A name that ends in '*' stands for every unit that begins so and may have the format
// ("weight:*", "*"); the embedding is among the units.
struct choice {
    const char *unit; // NULL behind the last
    enum format format;
};

// Layers that begin with the base's setting at that layer where `base` is there, else with what they have;
// then the choices, in order.
struct recipe_part {
    const char *layers; // as --layers has them; NULL: all
    const char *base;   // name of a mode; NULL: none
    const struct choice *choices;
    const char *has; // passed over where the family has no such unit; NULL: never
};

struct mode;

// Local.  What a mode is in a model of such layers: its definition's parts in order (recipe/mode.h).
// STATUS_INPUT names recipe, layers, unit or format that do not exist, bases that go in a circle, and a
// layer list outside the model; what a named mode says of units that the family has not is passed over.
// recipe_clear() frees.
enum status recipe_make(struct recipe *recipe, const struct mode *mode, const struct units *units,
                        int n_layer, struct error *err);
void recipe_clear(struct recipe *recipe); // a zeroed one is fine

// Are they the same choices everywhere?
bool recipe_equal(const struct recipe *a, const struct recipe *b);
// Layers in front of the first in which they differ, 0 where embedding or precision do.
int recipe_common_layers(const struct recipe *a, const struct recipe *b);

// ---- lists of layers ----

// Local.  Comma list of indices (negative count from the end), ranges a-b, `first`, `last`, `all` ->
// wanted[n_layer], each 0 or 1.  STATUS_USAGE names an index outside the model; `where` begins the message
// ("--layers").
enum status layer_select(const char *where, const char *list, int n_layer, uint32_t *wanted,
                         struct error *err);

#endif
