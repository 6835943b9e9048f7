// SPDX-License-Identifier: Apache-2.0
// The recipes that a result file keeps of its modes: attributes of a group, a name and a canonical text each.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "handle.h"
#include "result.h"
#include "ssmsweep/recipe/recipe_file.h"

enum { MOST_RECIPES = PLAN_MAX_RUNS };

// ---- reading ----

static enum status read_one(struct result *result, hid_t group, hsize_t index, struct error *err)
{
    struct result_recipe *recipe = &result->recipes[result->n_recipes];
    char name[RECIPE_NAME_CHARS + 2];
    const ssize_t length =
        H5Aget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, index, name, sizeof name, H5P_DEFAULT);
    if (length <= 0 || length > RECIPE_NAME_CHARS)
        return hdf_torn(&result->file, LAYOUT_RECIPES, "unexpected attribute", err);
    result->n_recipes++; // what there is of it is freed
    recipe->name = strdup(name);
    recipe->text = hdf_read_text_at(group, name);
    if (!recipe->name || !recipe->text) return error_memory(err, sizeof name, "a recipe");
    return recipe->text[0] ? STATUS_OK
                           : hdf_torn(&result->file, LAYOUT_RECIPES, "a recipe that is no text", err);
}

enum status recipes_read(struct result *result, struct error *err)
{
    if (!hdf_exists(result->file.id, LAYOUT_RECIPES)) return STATUS_OK;
    hid_t group = H5Gopen2(result->file.id, LAYOUT_RECIPES, H5P_DEFAULT);
    const long long count = group < 0 ? -1 : hdf_count_attributes(group);
    if (count < 0 || count > MOST_RECIPES)
        hdf_torn(&result->file, LAYOUT_RECIPES, "expected a group of recipes", err);
    else if (count > 0 && !(result->recipes = calloc((size_t)count, sizeof *result->recipes)))
        error_memory(err, (size_t)count * sizeof *result->recipes, "the recipes of a result file");
    for (long long i = 0; !err->status && i < count; i++)
        read_one(result, group, (hsize_t)i, err);
    if (group >= 0) H5Gclose(group);
    return err->status;
}

void recipes_close(struct result *result)
{
    for (int i = 0; i < result->n_recipes; i++) {
        free(result->recipes[i].name);
        free(result->recipes[i].text);
    }
    free(result->recipes);
}

int result_recipes(const struct result *result)
{
    return result->n_recipes;
}

const struct result_recipe *result_recipe_at(const struct result *result, int index)
{
    return &result->recipes[index];
}

// ---- are they those of today? ----

// Both from where they begin to differ.
static enum status refuse_other(const struct result *result, const char *name, const char *there,
                                const char *here, struct error *err)
{
    enum { SHOWN = 100, BEFORE = 24 };
    size_t common = 0;
    while (there[common] && there[common] == here[common])
        common++;
    common = common > BEFORE ? common - BEFORE : 0;
    const char *cut = common ? "..." : "";
    return error_set(
        err, STATUS_INPUT,
        "%.300s: recipe '%s' is another one: %s%.*s there, %s%.*s here; give it another name, leave "
        "out --recipes, or choose another --output_dir",
        result->file.path, name, cut, SHOWN, there + common, cut, SHOWN, here + common);
}

static enum status check_one(const struct result *result, const struct result_recipe *kept, struct error *err)
{
    const struct mode *mode = mode_find(kept->name);
    struct recipe recipe = {0};
    if (!mode) return STATUS_OK; // nobody asks for it by name
    const int n_layer = (int)result->sizes.of[AXIS_LAYERS];
    if (n_layer <= 0) return STATUS_OK;
    if (recipe_make(&recipe, mode, &result->arch->units, n_layer, err)) return err->status;
    char *here = recipe_write(&recipe, &result->arch->units);
    if (!here)
        error_memory(err, strlen(kept->text), "a recipe");
    else if (strcmp(here, kept->text) != 0)
        refuse_other(result, kept->name, kept->text, here, err);
    free(here);
    recipe_clear(&recipe);
    return err->status;
}

enum status recipes_check(const struct result *result, struct error *err)
{
    for (int i = 0; i < result->n_recipes && !err->status; i++)
        check_one(result, &result->recipes[i], err);
    return err->status;
}

// ---- before modes are asked for ----

static enum status adopt(const struct result *result, struct error *err)
{
    char where[400];
    for (int i = 0; i < result->n_recipes && !err->status; i++) {
        snprintf(where, sizeof where, "%.300s: " LAYOUT_RECIPES, result->file.path);
        recipe_text_add(where, result->recipes[i].name, result->recipes[i].text, err);
    }
    return err->status;
}

static void open_and_adopt(struct result *result, struct error *err)
{
    struct error ignored = {0};
    store_prepare();
    hid_t access = hdf_access(HDF_LOOKS_ONCE);
    result->file.id = H5Fopen(result->file.path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    if (result->file.id >= 0 && recipes_read(result, &ignored) == STATUS_OK) adopt(result, err);
    recipes_close(result);
    if (result->file.id >= 0) H5Fclose(result->file.id);
    H5close(); // MPI is not there yet, and HDF5 looks for it once
}

// What else may be wrong with the file is said where it is opened as a whole.
enum status result_adopt_recipes(const char *path, struct error *err)
{
    struct stat info;
    struct error ignored = {0};
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) return STATUS_OK;
    extend_finish(path, &ignored);
    struct result result = {.file = {.path = strdup(path)}};
    if (!result.file.path) return error_memory(err, strlen(path), "a path");
    open_and_adopt(&result, err);
    free(result.file.path);
    return err->status;
}
