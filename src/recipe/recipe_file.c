// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/recipe/recipe_file.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"

// ---- what was read, until recipes_forget() ----

// A piece of memory, or (json) a document whose texts modes point into.
struct kept {
    struct kept *next;
    struct json *json;
    void *memory;
};

static struct kept *all_kept;

// Takes what it is given, in any case.
static enum status keep(struct json *json, void *memory, struct error *err)
{
    struct kept *kept = malloc(sizeof *kept);
    if (!kept) {
        json_close(json);
        free(memory);
        return error_memory(err, sizeof *kept, "the recipes");
    }
    *kept = (struct kept){all_kept, json, memory};
    all_kept = kept;
    return STATUS_OK;
}

static void *take(size_t count, size_t bytes, struct error *err)
{
    void *memory = calloc(count, bytes);
    if (!memory)
        error_memory(err, count * bytes, "the recipes");
    else if (keep(NULL, memory, err))
        return NULL;
    return memory;
}

void recipes_forget(void)
{
    modes_clear();
    while (all_kept) {
        struct kept *next = all_kept->next;
        json_close(all_kept->json);
        free(all_kept->memory);
        free(all_kept);
        all_kept = next;
    }
}

// ---- messages ----

// Where in a file: "FILE: recipe 'NAME'" or, where it has none yet, "FILE: recipe 2".
struct place {
    const char *where, *name;
    int number; // from 1; 0: the file holds one recipe
};

static enum status refuse(const struct place *at, const char *key, const char *what, struct error *err)
{
    char recipe[RECIPE_NAME_CHARS + 24] = "";
    if (at->name)
        snprintf(recipe, sizeof recipe, " recipe '%.*s':", RECIPE_NAME_CHARS, at->name);
    else if (at->number > 0)
        snprintf(recipe, sizeof recipe, " recipe %d:", at->number);
    return error_set(err, STATUS_INPUT, "%.300s:%s %s%s%s; docs/recipes.md describes recipe files", at->where,
                     recipe, key, key[0] ? ": " : "", what);
}

static enum status expected(const struct place *at, const char *key, const char *expected,
                            const struct json *got, struct error *err)
{
    char value[JSON_DESCRIBE_CHARS], text[JSON_DESCRIBE_CHARS + 160];
    json_describe(got, value);
    snprintf(text, sizeof text, "expected %s, got %s", expected, value);
    return refuse(at, key, text, err);
}

// Messages are of one line.
static bool is_one_line(const char *text)
{
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f) return false;
    return true;
}

// keys: the ones that there may be, NULL behind the last.
static enum status check_keys(const struct place *at, const char *key, const struct json *object,
                              const char *const *keys, struct error *err)
{
    for (const struct json *value = json_first(object); value; value = json_next(value)) {
        const char *const *known = keys;
        while (*known && strcmp(*known, json_key(value)) != 0)
            known++;
        if (*known) continue;
        char text[200];
        size_t used = (size_t)snprintf(text, sizeof text, "%s'%.40s': no such key; expected one of", key,
                                       is_one_line(json_key(value)) ? json_key(value) : "?");
        for (known = keys; *known && used < sizeof text; known++)
            used +=
                (size_t)snprintf(text + used, sizeof text - used, "%s %s", known == keys ? "" : ",", *known);
        return refuse(at, "", text, err);
    }
    return STATUS_OK;
}

static enum status get_text(const struct place *at, const char *key, const struct json *value,
                            const char *what, const char **text, struct error *err)
{
    *text = json_string(value);
    return !value || (*text && (*text)[0] && is_one_line(*text)) ? STATUS_OK
                                                                 : expected(at, key, what, value, err);
}

// ---- names ----

// It becomes a part of paths in the result file and of names of reports.
static bool is_file_name(const char *name, bool variant)
{
    if (!isalnum((unsigned char)name[0])) return false;
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c >= 0x80 ||
            (!isalnum((unsigned char)*c) && !strchr(variant ? "._+-@" : "._+-", *c)))
            return false;
    return true;
}

// variant: MODE@FORMAT may be one, as mode_add_variants() makes them.
static enum status check_name(const struct place *at, const char *name, bool variant, struct error *err)
{
    if (strlen(name) > RECIPE_NAME_CHARS || !is_file_name(name, variant)) {
        char text[200];
        snprintf(
            text, sizeof text,
            "expected up to %d letters, digits, '.', '_', '+', '-', a letter or digit first, got '%.64s'",
            RECIPE_NAME_CHARS, is_one_line(name) ? name : "?");
        return refuse(at, "name", text, err);
    }
    if (strstr(name, "_dither"))
        return refuse(at, "name", "'_dither' marks noisy re-runs in the result file; choose another name",
                      err);
    if (mode_is_set(name)) return refuse(at, "name", "it is a set of modes; choose another name", err);
    if (!mode_find(name)) return STATUS_OK;
    return refuse(at, "name",
                  mode_find(name)->added ? "another recipe has this name; choose another name"
                                         : "a mode has this name; choose another name",
                  err);
}

// A base is in the table, or was read before: so bases never go in a circle.
static enum status get_base(const struct place *at, const char *key, const struct json *value,
                            const char **base, struct error *err)
{
    char text[160];
    if (get_text(at, key, value, "the name of a mode", base, err) || !*base || mode_find(*base))
        return err->status;
    snprintf(text, sizeof text,
             "no mode '%.64s', and no recipe before this one; `ssmsweep modes` lists the modes", *base);
    return refuse(at, key, text, err);
}

// ---- from JSON to a mode ----

static enum status read_choices(const struct place *at, const char *key, const struct json *set,
                                const struct choice **choices, struct error *err)
{
    if (!json_is_object(set)) return expected(at, key, "an object, UNIT: FORMAT", set, err);
    struct choice *made = take(json_count(set) + 1, sizeof *made, err);
    if (!made) return err->status;
    *choices = made;
    for (const struct json *value = json_first(set); value; value = json_next(value), made++) {
        char where[120];
        if (!is_one_line(json_key(value)))
            return refuse(at, key, "the name of a unit is of one line, without control characters", err);
        snprintf(where, sizeof where, "%s '%.64s'", key, json_key(value));
        made->unit = json_key(value);
        if (!json_string(value) || !format_find(json_string(value), &made->format))
            return expected(at, where, "the name of a format (float, int8, ...)", value, err);
    }
    return STATUS_OK;
}

static enum status read_part(const struct place *at, int index, const struct json *value,
                             struct recipe_part *part, struct error *err)
{
    static const char *const keys[] = {"layers", "base", "set", NULL};
    char key[32], inside[64];
    snprintf(key, sizeof key, "layers[%d]", index);
    if (!json_is_object(value)) return expected(at, key, "an object with layers, base, set", value, err);
    snprintf(inside, sizeof inside, "%s: ", key);
    if (check_keys(at, inside, value, keys, err)) return err->status;
    snprintf(inside, sizeof inside, "%s: layers", key);
    part->layers = json_string(json_get(value, "layers"));
    if (!part->layers || strspn(part->layers, ", ") == strlen(part->layers) || !is_one_line(part->layers))
        return expected(at, inside, "a list as \"0-3\", \"first\", \"-1\" or \"all\"",
                        json_get(value, "layers"), err);
    snprintf(inside, sizeof inside, "%s: base", key);
    if (get_base(at, inside, json_get(value, "base"), &part->base, err)) return err->status;
    snprintf(inside, sizeof inside, "%s: set", key);
    const struct json *set = json_get(value, "set");
    if (!part->base && json_count(set) == 0 && (!set || json_is_object(set)))
        return refuse(at, key, "neither base nor set: it changes nothing; give one", err);
    return set ? read_choices(at, inside, set, &part->choices, err) : STATUS_OK;
}

static enum status read_parts(const struct place *at, const struct json *value, struct mode *mode,
                              struct error *err)
{
    const struct json *set = json_get(value, "set"), *layers = json_get(value, "layers");
    struct recipe_part *parts = take(json_count(layers) + 1, sizeof *parts, err);
    if (!parts) return err->status;
    mode->parts = parts;
    if (set && read_choices(at, "set", set, &parts[mode->n_parts++].choices, err)) return err->status;
    if (layers && !json_is_array(layers)) return expected(at, "layers", "a list of objects", layers, err);
    int index = 0;
    for (const struct json *part = json_first(layers); part; part = json_next(part), index++)
        if (read_part(at, index, part, &parts[mode->n_parts++], err)) return err->status;
    return STATUS_OK;
}

// "conv1d:output float, scan:u float"; what does not fit is "...".
static void add_choices(char *text, size_t room, const struct recipe_part *part)
{
    size_t used = strlen(text);
    if (part->base) used += (size_t)snprintf(text + used, room - used, " %s", part->base);
    for (const struct choice *c = part->choices; c && c->unit && used + 80 < room; c++)
        used +=
            (size_t)snprintf(text + used, room - used, "%s %.40s %s",
                             c == part->choices && !part->base ? "" : ",", c->unit, format_name(c->format));
    if (part->layers && used < room) snprintf(text + used, room - used, " in layers %.40s", part->layers);
}

// The mode that is each unit's first format.
static const char *first_formats(void)
{
    int m = 0;
    while (mode_at(m)->n_parts > 0)
        m++;
    return mode_at(m)->name;
}

// In words what it changes.
static const char *summarize(const struct mode *mode, struct error *err)
{
    enum { SUMMARY_CHARS = 300 };
    char *text = take(1, SUMMARY_CHARS, err);
    if (!text) return NULL;
    snprintf(text, SUMMARY_CHARS, "%s", mode->base ? mode->base : first_formats());
    for (int p = 0; p < mode->n_parts && strlen(text) + 150 < SUMMARY_CHARS; p++) {
        strcat(text, p ? ";" : " with");
        add_choices(text, SUMMARY_CHARS, &mode->parts[p]);
    }
    return text;
}

// name: of a text without one, the canonical form, in which weights start in their first format whatever
// mode_weights() says.
static enum status read_recipe(struct place *at, const char *name, const struct json *value,
                               struct error *err)
{
    static const char *const keys[] = {"$schema", "name", "summary", "base", "set", "layers", NULL};
    if (!json_is_object(value)) return expected(at, "", "a recipe, an object with a name", value, err);
    struct mode *mode = take(1, sizeof *mode, err);
    if (!mode) return err->status;
    *mode = (struct mode){.name = name ? name : json_string(json_get(value, "name")),
                          .precision = PRECISION_BY_UNIT,
                          .weights = name ? FORMAT_INT8 : FORMAT_NONE,
                          .sets = MODE_SET_QUANT_ONLY,
                          .added = true};
    if (!mode->name) return expected(at, "name", "the recipe's name", json_get(value, "name"), err);
    if (check_name(at, mode->name, name != NULL, err)) return err->status;
    at->name = mode->name;
    if (check_keys(at, "", value, keys, err) ||
        get_text(at, "summary", json_get(value, "summary"), "one line of text", &mode->summary, err) ||
        get_base(at, "base", json_get(value, "base"), &mode->base, err) || read_parts(at, value, mode, err))
        return err->status;
    if (!mode->summary && !(mode->summary = summarize(mode, err))) return err->status;
    return mode_add(mode, err);
}

// ---- files ----

static enum status read_document(const char *path, const struct json *root, struct error *err)
{
    static const char *const keys[] = {"$schema", "recipes", NULL};
    const struct json *recipes = json_get(root, "recipes");
    struct place at = {.where = path};
    if (!recipes) return read_recipe(&at, NULL, root, err);
    if (check_keys(&at, "", root, keys, err)) return err->status;
    if (!json_is_array(recipes) || json_count(recipes) == 0)
        return expected(&at, "recipes", "a list of recipes", recipes, err);
    for (const struct json *value = json_first(recipes); value; value = json_next(value)) {
        at = (struct place){path, NULL, at.number + 1};
        if (read_recipe(&at, NULL, value, err)) return err->status;
    }
    return STATUS_OK;
}

static enum status read_file(const char *path, struct error *err)
{
    struct json *root = NULL;
    if (json_read_file(&root, path, err) || keep(root, NULL, err)) return err->status;
    return read_document(path, root, err);
}

enum status recipe_files_read(const char *paths, struct error *err)
{
    for (const char *at = paths; at && *at && !err->status;) {
        const size_t length = strcspn(at, "\n");
        char *path = strndup(at, length);
        if (!path) return error_memory(err, length, "a path");
        read_file(path, err);
        free(path);
        at += length + (at[length] == '\n');
    }
    return err->status;
}

enum status recipe_text_add(const char *where, const char *name, const char *text, struct error *err)
{
    struct json *root = NULL;
    struct place at = {.where = where};
    if (mode_find(name)) return STATUS_OK;
    char *copy = strdup(name);
    if (!copy) return error_memory(err, strlen(name), "the recipes");
    if (keep(NULL, copy, err) || json_parse(&root, text, strlen(text), where, err) || keep(root, NULL, err))
        return err->status;
    return read_recipe(&at, copy, root, err);
}

// ---- the canonical form ----

static bool is_base(const struct setting *setting, const struct units *units)
{
    const struct setting base = setting_base(units);
    return setting_equal(setting, &base);
}

static void write_setting(FILE *out, const struct setting *setting, const struct units *units)
{
    const char *comma = "";
    fputs("\"set\":{", out);
    for (int u = 0; u < units->count; u++) {
        if (setting->of[u] == units->of[u].formats[0]) continue;
        fprintf(out, "%s\"%s\":\"%s\"", comma, units->of[u].name, format_name((enum format)setting->of[u]));
        comma = ",";
    }
    fputc('}', out);
}

static void write_layers(FILE *out, const struct recipe *recipe, const struct units *units)
{
    const char *comma = "";
    fputs("\"layers\":[", out);
    for (int l = 0, end; l < recipe->n_layer; l = end) {
        for (end = l + 1; end < recipe->n_layer; end++)
            if (!setting_equal(&recipe->layers[l], &recipe->layers[end])) break;
        if (is_base(&recipe->layers[l], units)) continue;
        fprintf(out, "%s{\"layers\":\"%d", comma, l);
        if (end > l + 1) fprintf(out, "-%d", end - 1);
        fputs("\",", out);
        write_setting(out, &recipe->layers[l], units);
        fputc('}', out);
        comma = ",";
    }
    fputc(']', out);
}

char *recipe_write(const struct recipe *recipe, const struct units *units)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return NULL;
    fputc('{', out);
    if (recipe->embedding != embedding_unit.formats[0])
        fprintf(out, "\"set\":{\"%s\":\"%s\"},", embedding_unit.name, format_name(recipe->embedding));
    write_layers(out, recipe, units);
    fputc('}', out);
    if (fclose(out) == 0) return text;
    free(text);
    return NULL;
}

// ---- for people ----

static void put_choices(struct json_writer *w, const struct choice *choices)
{
    json_begin_object(w, "set");
    for (const struct choice *c = choices; c && c->unit; c++)
        json_put_string(w, c->unit, format_name(c->format));
    json_end_object(w);
}

static void put_parts(struct json_writer *w, const struct mode *mode)
{
    int p = 0;
    if (mode->n_parts > 0 && !mode->parts[0].layers) put_choices(w, mode->parts[p++].choices);
    if (p == mode->n_parts) return;
    json_begin_array(w, "layers");
    for (; p < mode->n_parts; p++) {
        json_begin_object(w, NULL);
        json_put_string(w, "layers", mode->parts[p].layers);
        if (mode->parts[p].base) json_put_string(w, "base", mode->parts[p].base);
        if (mode->parts[p].choices) put_choices(w, mode->parts[p].choices);
        json_end_object(w);
    }
    json_end_array(w);
}

// Every unit of a named mode, which is the same in all layers.
static void put_units(struct json_writer *w, const struct recipe *recipe, const struct units *units)
{
    json_begin_object(w, "set");
    json_put_string(w, embedding_unit.name, format_name(recipe->embedding));
    for (int u = 0; u < units->count; u++)
        json_put_string(w, units->of[u].name, format_name((enum format)recipe->layers[0].of[u]));
    json_end_object(w);
}

enum status recipe_print(FILE *out, const struct mode *mode, const struct units *units, struct error *err)
{
    struct recipe recipe = {0};
    char name[RECIPE_NAME_CHARS + 8], *text = NULL;
    if (!mode->added && recipe_make(&recipe, mode, units, 1, err)) return err->status;
    struct json_writer *w = json_writer_open();
    if (w) {
        snprintf(name, sizeof name, "%s%s", mode->added ? "" : "my-", mode->name);
        json_begin_object(w, NULL);
        json_put_string(w, "name", name);
        json_put_string(w, "summary", mode->summary);
        if (mode->base) json_put_string(w, "base", mode->base);
        if (mode->added)
            put_parts(w, mode);
        else
            put_units(w, &recipe, units);
        json_end_object(w);
        text = json_writer_finish(w);
    }
    recipe_clear(&recipe);
    if (!text) return error_memory(err, 1, "a recipe");
    fputs(text, out);
    free(text);
    return STATUS_OK;
}
