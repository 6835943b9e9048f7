// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/recipe/recipe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/words.h"
#include "ssmsweep/recipe/mode.h"

// ---- formats ----

static const struct {
    const char *name;
    int group;
} formats[FORMATS] = {
    [FORMAT_NONE] = {"", 0},
    [FORMAT_FLOAT] = {"float", 0},
    [FORMAT_FP16] = {"fp16", 0},
    [FORMAT_INT8] = {"int8", 0},
    [FORMAT_INT8_CHANNEL] = {"int8-channel", 0},
    [FORMAT_INT4_G128] = {"int4-g128", 128},
    [FORMAT_INT4_G64] = {"int4-g64", 64},
    [FORMAT_INT4_G32] = {"int4-g32", 32},
    [FORMAT_INT8_GIVEN] = {"int8-given", 0},
    [FORMAT_DYNAMIC] = {"dynamic", 0},
    [FORMAT_DYNAMIC_TOKEN] = {"dynamic-token", 0},
    [FORMAT_CODES] = {"codes", 0},
    [FORMAT_SEQUENTIAL] = {"sequential", 0},
    [FORMAT_BLOCKED] = {"blocked", 0},
    [FORMAT_CHUNKED] = {"chunked", 0},
    [FORMAT_CHUNKED_GPU] = {"chunked-gpu", 0},
    [FORMAT_CHUNKED_FP16] = {"chunked-fp16", 0},
};

const char *format_name(enum format format)
{
    return formats[format].name;
}

bool format_find(const char *name, enum format *format)
{
    for (int f = FORMAT_NONE + 1; f < FORMATS; f++)
        if (strcmp(formats[f].name, name) == 0) {
            *format = (enum format)f;
            return true;
        }
    return false;
}

int format_group(enum format format)
{
    return formats[format].group;
}

bool format_is_of_weights(enum format format)
{
    return format >= FORMAT_FLOAT && format <= FORMAT_INT4_G32;
}

// ---- units ----

static bool matches(const char *pattern, const char *name)
{
    const size_t length = strlen(pattern);
    return length > 0 && pattern[length - 1] == '*' ? strncmp(pattern, name, length - 1) == 0
                                                    : strcmp(pattern, name) == 0;
}

const struct unit embedding_unit = {"embedding", {FORMAT_FP16, FORMAT_FLOAT}};

bool unit_allows(const struct unit *unit, enum format format)
{
    for (int i = 0; i < UNIT_MOST_FORMATS && unit->formats[i] != FORMAT_NONE; i++)
        if (unit->formats[i] == format) return true;
    return false;
}

int units_find(const struct units *units, const char *name)
{
    for (int u = 0; u < units->count; u++)
        if (strcmp(units->of[u].name, name) == 0) return u;
    return -1;
}

const char *unit_formats(const struct unit *unit, char *text, size_t room)
{
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < UNIT_MOST_FORMATS && unit->formats[i] != FORMAT_NONE && used < room; i++)
        used +=
            (size_t)snprintf(text + used, room - used, "%s%s", i ? ", " : "", format_name(unit->formats[i]));
    return text;
}

// ---- settings ----

struct setting setting_base(const struct units *units)
{
    struct setting setting = {{0}};
    for (int u = 0; u < units->count; u++)
        setting.of[u] = (uint8_t)units->of[u].formats[0];
    return setting;
}

bool setting_equal(const struct setting *a, const struct setting *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

bool setting_is_scaled(const struct setting *setting, const struct units *units)
{
    for (int u = 0; u < units->count; u++)
        if (!matches(UNIT_WEIGHT "*", units->of[u].name) &&
            (setting->of[u] == FORMAT_INT8 || setting->of[u] == FORMAT_INT8_GIVEN ||
             setting->of[u] == FORMAT_CODES))
            return true;
    return units->count == 0; // of a family that tells no units
}

void recipe_clear(struct recipe *recipe)
{
    free(recipe->layers);
    *recipe = (struct recipe){0};
}

int recipe_common_layers(const struct recipe *a, const struct recipe *b)
{
    int layer = 0;
    if (a->precision != b->precision || a->embedding != b->embedding || a->n_layer != b->n_layer) return 0;
    while (layer < a->n_layer && setting_equal(&a->layers[layer], &b->layers[layer]))
        layer++;
    return layer;
}

bool recipe_equal(const struct recipe *a, const struct recipe *b)
{
    return a->n_layer == b->n_layer && recipe_common_layers(a, b) == a->n_layer;
}

// ---- from what is written to the settings of the layers ----

// A recipe that is being made, and for messages where in what is written.
struct making {
    const struct units *units;
    int n_layer, depth;
    enum format weights;        // that weights start in; FORMAT_NONE: as the base has it
    uint32_t *wanted;           // [n_layer] of the part at work
    const struct setting *half; // of layers without scales of activations; NULL: they are as the others
};

static enum status refuse_choice(const struct mode *mode, const struct choice *choice,
                                 const struct unit *known, struct error *err)
{
    char text[160];
    if (known)
        return error_set(err, STATUS_INPUT, "recipe '%s': unit '%s': format '%s' is none of its: expected %s",
                         mode->name, known->name, format_name(choice->format),
                         unit_formats(known, text, sizeof text));
    return error_set(
        err, STATUS_INPUT,
        "recipe '%s': unit '%s' with format '%s': the model has no such unit; `ssmsweep modes 2-1 "
        "--recipe` shows those that there are",
        mode->name, choice->unit, format_name(choice->format));
}

static void set_unit(struct recipe *recipe, const struct making *m, int unit, enum format format)
{
    for (int l = 0; l < m->n_layer; l++)
        if (m->wanted[l]) recipe->layers[l].of[unit] = (uint8_t)format;
}

static enum status set_embedding(struct recipe *recipe, const struct mode *mode,
                                 const struct recipe_part *part, enum format format, struct error *err)
{
    if (part->layers)
        return error_set(err, STATUS_INPUT,
                         "recipe '%s': layers '%s': unit 'embedding' is the model's: expected it in a part "
                         "without layers",
                         mode->name, part->layers);
    recipe->embedding = format;
    return STATUS_OK;
}

static enum status choose(struct recipe *recipe, const struct making *m, const struct mode *mode,
                          const struct recipe_part *part, const struct choice *choice, struct error *err)
{
    const struct unit *known = NULL;
    const bool many = strchr(choice->unit, '*') != NULL;
    int set = 0;
    for (int u = 0; u < m->units->count; u++) {
        if (!matches(choice->unit, m->units->of[u].name)) continue;
        if (!many) known = &m->units->of[u];
        if (!unit_allows(&m->units->of[u], choice->format)) continue;
        set_unit(recipe, m, u, choice->format);
        set++;
    }
    if (matches(choice->unit, embedding_unit.name) && (!many || !part->layers)) {
        if (!many) known = &embedding_unit;
        if (unit_allows(&embedding_unit, choice->format)) {
            set++;
            if (set_embedding(recipe, mode, part, choice->format, err)) return err->status;
        }
    }
    return set > 0 || !mode->added ? STATUS_OK : refuse_choice(mode, choice, known, err);
}

static enum status make(struct recipe *recipe, const struct making *m, const struct mode *mode,
                        struct error *err);

static enum status base_of(struct recipe *recipe, const struct making *m, const struct mode *mode,
                           const char *name, struct error *err)
{
    const struct mode *base = mode_find(name);
    if (!base)
        return error_set(err, STATUS_INPUT,
                         "recipe '%s': base '%s': no such mode; `ssmsweep modes` lists them", mode->name,
                         name);
    if (m->depth > mode_count())
        return error_set(err, STATUS_INPUT, "recipe '%s': base '%s': the bases go in a circle", mode->name,
                         name);
    struct making deeper = *m;
    deeper.depth++;
    if (deeper.weights == FORMAT_NONE) deeper.weights = mode->weights;
    deeper.wanted = calloc((size_t)m->n_layer, sizeof *deeper.wanted);
    if (!deeper.wanted) return error_memory(err, (size_t)m->n_layer * sizeof *deeper.wanted, "a recipe");
    make(recipe, &deeper, base, err);
    free(deeper.wanted);
    return err->status;
}

static enum status take_part(struct recipe *recipe, const struct making *m, const struct mode *mode,
                             const struct recipe_part *part, struct error *err)
{
    char where[128];
    if (part->has && units_find(m->units, part->has) < 0) return STATUS_OK;
    struct recipe base = {.layers = part->base ? calloc((size_t)m->n_layer, sizeof *base.layers) : NULL};
    snprintf(where, sizeof where, "recipe '%.60s': layers", mode->name);
    if (part->base && !base.layers)
        error_memory(err, (size_t)m->n_layer * sizeof *base.layers, "a recipe");
    else if (layer_select(where, part->layers ? part->layers : "all", m->n_layer, m->wanted, err))
        err->status = STATUS_INPUT;
    else if (part->base)
        base_of(&base, m, mode, part->base, err);
    for (int l = 0; l < m->n_layer && part->base && !err->status; l++)
        if (m->wanted[l]) recipe->layers[l] = base.layers[l];
    free(base.layers);
    for (const struct choice *c = part->choices; c && c->unit && !err->status; c++)
        choose(recipe, m, mode, part, c, err);
    return err->status;
}

// Each unit's first format, or of weights that which they start in.
static struct setting start_of(const struct making *m, const struct mode *mode)
{
    const enum format weights = m->weights ? m->weights : mode->weights ? mode->weights : mode_weights();
    struct setting setting = setting_base(m->units);
    for (int u = 0; u < m->units->count; u++)
        if (matches(UNIT_WEIGHT "*", m->units->of[u].name) && unit_allows(&m->units->of[u], weights))
            setting.of[u] = (uint8_t)weights;
    return setting;
}

static bool is_half(const struct making *m, const struct mode *mode, int layer)
{
    return m->half && mode->precision == PRECISION_BY_UNIT && mode_layer_is_half(layer);
}

// Into layers that are there.
static enum status make(struct recipe *recipe, const struct making *m, const struct mode *mode,
                        struct error *err)
{
    if (mode->base) {
        if (base_of(recipe, m, mode, mode->base, err)) return err->status;
    } else {
        recipe->embedding = embedding_unit.formats[0];
        for (int l = 0; l < m->n_layer; l++)
            recipe->layers[l] = is_half(m, mode, l) ? *m->half : start_of(m, mode);
    }
    for (int p = 0; p < mode->n_parts; p++)
        if (take_part(recipe, m, mode, &mode->parts[p], err)) return err->status;
    for (int l = 0; l < m->n_layer && !mode->added; l++)
        if (is_half(m, mode, l)) recipe->layers[l] = *m->half;
    return STATUS_OK;
}

static enum status make_half(struct setting *half, const struct units *units, struct error *err)
{
    struct recipe one = {.layers = half};
    uint32_t wanted = 0;
    return make(&one, &(struct making){.units = units, .n_layer = 1, .wanted = &wanted},
                mode_of_half_layers(), err);
}

enum status recipe_make(struct recipe *recipe, const struct mode *mode, const struct units *units,
                        int n_layer, struct error *err)
{
    const size_t layers = (size_t)n_layer;
    struct setting half;
    if (mode_layers_are_mixed() && make_half(&half, units, err)) return err->status;
    struct recipe made = {
        .precision = mode->precision, .n_layer = n_layer, .layers = calloc(layers, sizeof *made.layers)};
    struct making making = {.units = units,
                            .n_layer = n_layer,
                            .wanted = calloc(layers, sizeof *making.wanted),
                            .half = mode_layers_are_mixed() ? &half : NULL};
    if (!made.layers || !making.wanted)
        error_memory(err, layers * sizeof *made.layers, "a recipe");
    else
        make(&made, &making, mode, err);
    free(making.wanted);
    if (err->status) {
        recipe_clear(&made);
        return err->status;
    }
    *recipe = made;
    return STATUS_OK;
}

// ---- lists of layers ----

// One index: a number (negative from the end), `first` or `last`.
static enum status parse_index(const char *where, struct word part, struct word word, int n_layer, int *index,
                               struct error *err)
{
    char *end = NULL;
    errno = 0;
    const bool first = word_is(part, "first"), named = first || word_is(part, "last");
    long value = named ? (first ? 0 : n_layer - 1) : strtol(part.text, &end, 10);
    if (!named && (part.length == 0 || end != part.text + part.length))
        return error_set(err, STATUS_USAGE,
                         "%s: '%.*s' is no layer; expected an index, a-b, first, last or all", where,
                         word_shown(word), word.text);
    if (errno == ERANGE || value < -n_layer || value >= n_layer)
        return error_set(err, STATUS_USAGE, "%s: layer '%.*s' does not exist; the model has layers 0 to %d",
                         where, word_shown(word), word.text, n_layer - 1);
    *index = (int)(value < 0 ? value + n_layer : value);
    return STATUS_OK;
}

static void want_range(uint32_t *wanted, int from, int to)
{
    for (int l = from; l <= to; l++)
        wanted[l] = 1;
}

static enum status select_range(const char *where, struct word word, int n_layer, uint32_t *wanted,
                                struct error *err)
{
    const char *dash = memchr(word.text + 1, '-', word.length - 1); // a leading '-' is a sign
    struct word first = word, last = word;
    if (dash) {
        first.length = (size_t)(dash - word.text);
        last = (struct word){dash + 1, word.length - first.length - 1};
    }
    int from, to;
    if (parse_index(where, first, word, n_layer, &from, err) ||
        parse_index(where, last, word, n_layer, &to, err))
        return err->status;
    if (from > to)
        return error_set(err, STATUS_USAGE, "%s: range '%.*s' runs backwards", where, word_shown(word),
                         word.text);
    want_range(wanted, from, to);
    return STATUS_OK;
}

enum status layer_select(const char *where, const char *list, int n_layer, uint32_t *wanted,
                         struct error *err)
{
    struct word word;
    bool any = false;
    memset(wanted, 0, (size_t)n_layer * sizeof *wanted);
    while (word_next(&list, &word)) {
        any = true;
        if (word_is(word, "all"))
            want_range(wanted, 0, n_layer - 1);
        else if (select_range(where, word, n_layer, wanted, err))
            return err->status;
    }
    return any ? STATUS_OK
               : error_set(err, STATUS_USAGE, "%s: the list is empty; name a layer, or all", where);
}
