// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/numerics/component.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
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

// Next word of a comma or blank separated list; false at its end.
static bool next_word(const char **at, char *word, size_t room)
{
    *at += strspn(*at, ", ");
    size_t length = strcspn(*at, ", ");
    snprintf(word, room, "%.*s", (int)(length < room ? length : room - 1), *at);
    *at += length;
    return length > 0;
}

enum status component_select(const char *list, unsigned *mask, struct error *err)
{
    char word[64];
    unsigned chosen = 0;
    while (next_word(&list, word, sizeof word)) {
        unsigned bit = strcmp(word, "all") == 0 ? (1u << COMPONENT_COUNT) - 1 : 0;
        for (int c = 0; c < COMPONENT_COUNT; c++)
            if (strcmp(word, components[c].name) == 0) bit = 1u << c;
        if (!bit)
            return error_set(
                err, STATUS_USAGE,
                "unknown component '%s': expected mixer_input, conv1d_input, conv1d_output, ssm_input, "
                "ssm_output, mixer_output or all",
                word);
        chosen |= bit;
    }
    if (!chosen)
        return error_set(err, STATUS_USAGE, "--components: the list is empty; name a component, or all");
    *mask = chosen;
    return STATUS_OK;
}

// One index: a number (negative from the end), `first` or `last`.
static enum status parse_index(const char *text, const char *word, int n_layer, int *index, struct error *err)
{
    char *end;
    errno = 0;
    long value = strcmp(text, "first") == 0  ? 0
                 : strcmp(text, "last") == 0 ? n_layer - 1
                                             : strtol(text, &end, 10);
    bool named = strcmp(text, "first") == 0 || strcmp(text, "last") == 0;
    if (!named && (end == text || *end))
        return error_set(err, STATUS_USAGE,
                         "--layers: '%s' is no layer; expected an index, a-b, first, last or all", word);
    if (errno == ERANGE || value < -n_layer || value >= n_layer)
        return error_set(err, STATUS_USAGE,
                         "--layers: layer '%s' does not exist; the model has layers 0 to %d", word,
                         n_layer - 1);
    *index = (int)(value < 0 ? value + n_layer : value);
    return STATUS_OK;
}

static enum status select_range(const char *word, int n_layer, unsigned char *wanted, struct error *err)
{
    char from_text[64];
    snprintf(from_text, sizeof from_text, "%s", word);
    char *dash = from_text[0] ? strchr(from_text + 1, '-') : NULL; // a leading '-' is a sign
    const char *to_text = from_text;
    if (dash) {
        *dash = '\0';
        to_text = dash + 1;
    }
    int from, to;
    if (parse_index(from_text, word, n_layer, &from, err) || parse_index(to_text, word, n_layer, &to, err))
        return err->status;
    if (from > to) return error_set(err, STATUS_USAGE, "--layers: range '%s' runs backwards", word);
    memset(wanted + from, 1, (size_t)(to - from) + 1);
    return STATUS_OK;
}

enum status layer_select(const char *list, int n_layer, unsigned char *wanted, struct error *err)
{
    char word[64];
    bool any = false;
    memset(wanted, 0, (size_t)n_layer);
    while (next_word(&list, word, sizeof word)) {
        any = true;
        if (strcmp(word, "all") == 0)
            memset(wanted, 1, (size_t)n_layer);
        else if (select_range(word, n_layer, wanted, err))
            return err->status;
    }
    return any ? STATUS_OK
               : error_set(err, STATUS_USAGE, "--layers: the list is empty; name a layer, or all");
}
