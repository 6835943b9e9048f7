// SPDX-License-Identifier: Apache-2.0
// Recipe files: modes that a user defines, as JSON (docs/recipes.md;
// share/ssmsweep/schema/recipe.schema.json).
//
// A file is one recipe, or {"recipes": [RECIPE, ...]}.  A recipe has `name`, and may have `summary`, `base`
// (a mode, or another recipe; without it each unit's first format), `set` (UNIT: FORMAT, for all layers) and
// `layers`, a list of {`layers`: LIST as --layers has it, `base`, `set`}.
//
// Knows: JSON, names of formats.  Must not know: which units a family has, how many layers there are
// (recipe_make() in recipe/recipe.h judges that), result files.  Called by: main's command_check(), store/,
// tools/.
#ifndef SSMSWEEP_RECIPE_RECIPE_FILE_H
#define SSMSWEEP_RECIPE_RECIPE_FILE_H

#include <stdio.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/recipe/recipe.h"

enum { RECIPE_NAME_CHARS = 31 };

// Local; before any mode is asked for, and the same on every rank.  paths: one per line, or NULL: none.  Adds
// what the files define to the modes.  STATUS_INPUT names file, recipe and key of what is wrong.
enum status recipe_files_read(const char *paths, struct error *err);

// Local, likewise.  Adds a recipe that a result file has kept: text as recipe_write() gave it.  A name that
// is there already stays as it is; whether it is the same recipe is asked where the model is known.  `where`
// begins the message.
enum status recipe_text_add(const char *where, const char *name, const char *text, struct error *err);

// Frees all of them and forgets the modes.
void recipes_forget(void);

// ---- writing ----

// Local.  The canonical form: JSON of a recipe without a name, on one line, what differs from each unit's
// first format, layers in ascending stretches.  Equal recipes have equal texts.  Caller frees; NULL when
// memory is out.
char *recipe_write(const struct recipe *recipe, const struct units *units);

// Local.  A recipe file that defines the same as a mode, to start from: a named one with every unit, an added
// one as its file has it.  STATUS_IO when memory is out.
enum status recipe_print(FILE *out, const struct mode *mode, const struct units *units, struct error *err);

#endif
