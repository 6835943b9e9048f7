// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/arch/component.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    bool inner; // I wide, else D
} components[COMPONENT_COUNT] = {
    [COMPONENT_MIXER_INPUT] = {"mixer_input", false},    [COMPONENT_CONV1D_INPUT] = {"conv1d_input", true},
    [COMPONENT_CONV1D_OUTPUT] = {"conv1d_output", true}, [COMPONENT_SSM_INPUT] = {"ssm_input", true},
    [COMPONENT_SSM_OUTPUT] = {"ssm_output", true},       [COMPONENT_MIXER_OUTPUT] = {"mixer_output", false},
};

const char *component_name(enum component component)
{
    return components[component].name;
}

int component_width(const struct dims *dims, enum component component)
{
    return components[component].inner ? dims->d_inner : dims->d_model;
}

// A part of a list of commas or blanks, where it stands there.
struct word {
    const char *text;
    size_t length;
};

// The next one, behind which *at moves; false at the end of the list.
static bool next_word(const char **at, struct word *word)
{
    word->text = *at + strspn(*at, ", ");
    word->length = strcspn(word->text, ", ");
    *at = word->text + word->length;
    return word->length > 0;
}

static bool is(struct word word, const char *name)
{
    return strlen(name) == word.length && memcmp(word.text, name, word.length) == 0;
}

// For messages.
static int shown(struct word word)
{
    return word.length < 64 ? (int)word.length : 64;
}

enum status component_select(const char *list, unsigned *mask, struct error *err)
{
    struct word word;
    unsigned chosen = 0;
    while (next_word(&list, &word)) {
        unsigned bit = is(word, "all") ? (1u << COMPONENT_COUNT) - 1 : 0;
        for (int c = 0; c < COMPONENT_COUNT; c++)
            if (is(word, components[c].name)) bit = 1u << c;
        if (!bit)
            return error_set(
                err, STATUS_USAGE,
                "unknown component '%.*s': expected mixer_input, conv1d_input, conv1d_output, ssm_input, "
                "ssm_output, mixer_output or all",
                shown(word), word.text);
        chosen |= bit;
    }
    if (!chosen)
        return error_set(err, STATUS_USAGE, "--components: the list is empty; name a component, or all");
    *mask = chosen;
    return STATUS_OK;
}

// One index: a number (negative from the end), `first` or `last`.
static enum status parse_index(struct word part, struct word word, int n_layer, int *index, struct error *err)
{
    char *end = NULL;
    errno = 0;
    const bool first = is(part, "first"), named = first || is(part, "last");
    long value = named ? (first ? 0 : n_layer - 1) : strtol(part.text, &end, 10);
    if (!named && (part.length == 0 || end != part.text + part.length))
        return error_set(err, STATUS_USAGE,
                         "--layers: '%.*s' is no layer; expected an index, a-b, first, last or all",
                         shown(word), word.text);
    if (errno == ERANGE || value < -n_layer || value >= n_layer)
        return error_set(err, STATUS_USAGE,
                         "--layers: layer '%.*s' does not exist; the model has layers 0 to %d", shown(word),
                         word.text, n_layer - 1);
    *index = (int)(value < 0 ? value + n_layer : value);
    return STATUS_OK;
}

static enum status select_range(struct word word, int n_layer, unsigned char *wanted, struct error *err)
{
    const char *dash = memchr(word.text + 1, '-', word.length - 1); // a leading '-' is a sign
    struct word first = word, last = word;
    if (dash) {
        first.length = (size_t)(dash - word.text);
        last = (struct word){dash + 1, word.length - first.length - 1};
    }
    int from, to;
    if (parse_index(first, word, n_layer, &from, err) || parse_index(last, word, n_layer, &to, err))
        return err->status;
    if (from > to)
        return error_set(err, STATUS_USAGE, "--layers: range '%.*s' runs backwards", shown(word), word.text);
    memset(wanted + from, 1, (size_t)(to - from) + 1);
    return STATUS_OK;
}

enum status layer_select(const char *list, int n_layer, unsigned char *wanted, struct error *err)
{
    struct word word;
    bool any = false;
    memset(wanted, 0, (size_t)n_layer);
    while (next_word(&list, &word)) {
        any = true;
        if (is(word, "all"))
            memset(wanted, 1, (size_t)n_layer);
        else if (select_range(word, n_layer, wanted, err))
            return err->status;
    }
    return any ? STATUS_OK
               : error_set(err, STATUS_USAGE, "--layers: the list is empty; name a layer, or all");
}
