// SPDX-License-Identifier: Apache-2.0
// Recipe files: refused with one line, or modes that can be resolved and written for a model, or refused
// there.
#define _GNU_SOURCE
#include <string.h>

#include "fuzz_file.h"
#include "ssmsweep/arch/arch.h"
#include "ssmsweep/recipe/recipe_file.h"

enum { LAYERS = 5 };

static void check_error(enum status status, const struct error *err)
{
    if ((status != STATUS_OK) != (err->text[0] != '\0') || strchr(err->text, '\n')) abort();
}

// What is written is a recipe, and the same one.
static void check_written(const char *name, const struct recipe *recipe, const struct units *units)
{
    struct recipe again = {0};
    struct error err = {0};
    char copied[64], *text = recipe_write(recipe, units);
    snprintf(copied, sizeof copied, "%.20s+again", name);
    if (mode_find(copied) || strlen(copied) > RECIPE_NAME_CHARS) {
        free(text);
        return;
    }
    if (recipe_text_add("text", copied, text, &err) ||
        recipe_make(&again, mode_find(copied), units, LAYERS, &err) || !recipe_equal(recipe, &again))
        abort();
    recipe_clear(&again);
    free(text);
}

static void check_mode(const struct mode *mode)
{
    const struct units *units = &arch_at(0)->units;
    struct recipe recipe = {0};
    struct error err = {0};
    const enum status status = recipe_make(&recipe, mode, units, LAYERS, &err);
    check_error(status, &err);
    if (!mode->summary || strpbrk(mode->summary, "\n\r\t")) abort();
    if (!status) check_written(mode->name, &recipe, units);
    recipe_clear(&recipe);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fuzz_file file;
    struct error err = {0};
    const int named = mode_count();
    const enum status status = recipe_files_read(fuzz_file_put(&file, data, size), &err);
    check_error(status, &err);
    for (int m = named, read = mode_count(); !status && m < read && m < named + 8; m++)
        check_mode(mode_at(m));
    recipes_forget();
    if (mode_count() != named) abort();
    return 0;
}
