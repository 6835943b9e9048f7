// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/arch/arch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/arch/mamba2.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/base/words.h"
#include "ssmsweep/recipe/mode.h"

#ifdef SSMSWEEP_TOY_FAMILY // for tests/cli/toy_family.py alone
extern const struct arch arch_toy;
static const struct arch *const families[] = {&arch_mamba1, &arch_falcon_mamba, &arch_mamba2, &arch_toy};
#else
static const struct arch *const families[] = {&arch_mamba1, &arch_falcon_mamba, &arch_mamba2};
#endif
enum { FAMILIES = sizeof families / sizeof families[0] };

_Static_assert((int)MAMBA1_COMPONENTS <= (int)ARCH_MOST_COMPONENTS &&
                   (int)MAMBA1_SITES <= (int)ARCH_MOST_SITES &&
                   (int)MAMBA2_COMPONENTS <= (int)ARCH_MOST_COMPONENTS &&
                   (int)MAMBA2_SITES <= (int)ARCH_MOST_SITES,
               "masks have 32 bits");

const struct arch *arch_at(int index)
{
    return index < FAMILIES ? families[index] : NULL;
}

const struct arch *arch_find(const char *name)
{
    for (int i = 0; i < FAMILIES; i++)
        if (strcmp(families[i]->name, name) == 0) return families[i];
    return NULL;
}

// ---- sizes ----

int arch_dims(const struct dims *dims, struct arch_dim found[ARCH_MOST_DIMS])
{
    const struct arch_dim all[] = {{"n_layer", dims->n_layer},       {"d_model", dims->d_model},
                                   {"d_inner", dims->d_inner},       {"d_state", dims->d_state},
                                   {"d_conv", dims->d_conv},         {"dt_rank", dims->dt_rank},
                                   {"vocab_size", dims->vocab_size}, {"n_heads", dims->n_heads},
                                   {"head_dim", dims->head_dim},     {"n_groups", dims->n_groups},
                                   {"chunk_size", dims->chunk_size}, {"norm_groups", dims->norm_groups},
                                   {"gate_last", dims->gate_last}};
    int count = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i].value) found[count++] = all[i];
    return count;
}

static void add_number(char *text, size_t room, const char *name, float value)
{
    const size_t used = strlen(text);
    char digits[NUMBER_ROOM];
    snprintf(text + used, room - used, ", %s %s", name, number_text((double)value, 9, digits));
}

void arch_dims_text(const struct dims *dims, char *text, size_t room)
{
    struct arch_dim found[ARCH_MOST_DIMS];
    const int count = arch_dims(dims, found);
    text[0] = '\0';
    for (int i = 0; i < count; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, room - used, "%s%s %d", i ? ", " : "", found[i].name, found[i].value);
    }
    add_number(text, room, "norm_eps", dims->norm_eps);
    if (dims->mixer_eps > 0) add_number(text, room, "mixer_eps", dims->mixer_eps);
    if (dims->n_heads == 0) return;
    add_number(text, room, "dt_min", dims->dt_min);
    add_number(text, room, "dt_max", dims->dt_max);
}

int64_t arch_size(enum arch_extent extent, const struct dims *dims)
{
    const int64_t bc = (int64_t)dims->n_groups * dims->d_state;
    switch (extent) {
    case EXTENT_END:
    case EXTENT_ONE:
        return 1;
    case EXTENT_D:
        return dims->d_model;
    case EXTENT_I:
        return dims->d_inner;
    case EXTENT_2I:
        return 2 * (int64_t)dims->d_inner;
    case EXTENT_N:
        return dims->d_state;
    case EXTENT_K:
        return dims->d_conv;
    case EXTENT_R:
        return dims->dt_rank;
    case EXTENT_R_2N:
        return dims->dt_rank + 2 * (int64_t)dims->d_state;
    case EXTENT_H:
        return dims->n_heads;
    case EXTENT_GN:
        return bc;
    case EXTENT_I_2GN:
        return dims->d_inner + 2 * bc;
    case EXTENT_2I_2GN_H:
        return 2 * (int64_t)dims->d_inner + 2 * bc + dims->n_heads;
    case EXTENT_VOCAB:
        return dims->vocab_size;
    }
    return 1;
}

int arch_find_component(const struct arch *arch, const char *name, size_t length)
{
    for (int c = 0; c < arch->n_components; c++)
        if (strlen(arch->components[c].name) == length &&
            strncmp(arch->components[c].name, name, length) == 0)
            return c;
    return -1;
}

int arch_width(const struct dims *dims, int component)
{
    return (int)arch_size(dims->arch->components[component].width, dims);
}

// ---- recipes ----

static enum status check_groups(const struct mode *mode, const struct dims *dims, const struct recipe *recipe,
                                int layer, int unit, struct error *err)
{
    const struct arch *arch = dims->arch;
    const enum format format = (enum format)recipe->layers[layer].of[unit];
    const int group = format_group(format), depth = group > 0 && arch->depth ? arch->depth(dims, unit) : 0;
    if (depth == 0 || depth % group == 0) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "mode '%s': layer %d: unit '%s': format %s shares a scale between %d inputs, expected a "
                     "multiple of that, got %d; choose smaller groups",
                     mode->name, layer, arch->units.of[unit].name, format_name(format), group, depth);
}

// Static INT8 has a scale of calibration, which some layers of a checkpoint have not.
static enum status check_scales(const struct mode *mode, const struct dims *dims, const struct recipe *recipe,
                                int layer, int unit, struct error *err)
{
    const enum format format = (enum format)recipe->layers[layer].of[unit];
    const struct unit *of = &dims->arch->units.of[unit];
    const bool is_static = format == FORMAT_INT8 || format == FORMAT_CODES;
    if (!is_static || strncmp(of->name, UNIT_WEIGHT, sizeof UNIT_WEIGHT - 1) == 0 ||
        !mode_layer_is_half(layer))
        return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "mode '%s': layer %d: unit '%s': format %s has a scale, which a W4A16 layer of the "
                     "checkpoint has not: expected %s, or a float mode",
                     mode->name, layer, of->name, format_name(format), mode_of_half_layers()->name);
}

enum status arch_recipe(struct recipe *recipe, const struct mode *mode, const struct dims *dims,
                        struct error *err)
{
    struct recipe made = {0};
    if (recipe_make(&made, mode, &dims->arch->units, dims->n_layer, err)) return err->status;
    for (int l = 0; l < dims->n_layer && !recipe_is_float(&made); l++)
        for (int u = 0; u < dims->arch->units.count; u++)
            if (check_groups(mode, dims, &made, l, u, err) || check_scales(mode, dims, &made, l, u, err)) {
                recipe_clear(&made);
                return err->status;
            }
    *recipe = made;
    return STATUS_OK;
}

// ---- lists of components ----

static enum status unknown_component(const struct arch *arch, struct word word, struct error *err)
{
    char known[ARCH_MOST_COMPONENTS * (ARCH_NAME_CHARS + 2)] = "";
    for (int c = 0; c < arch->n_components; c++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", c ? ", " : "", arch->components[c].name);
    }
    return error_set(err, STATUS_USAGE, "unknown component '%.*s': expected %s or all", word_shown(word),
                     word.text, known);
}

static enum status select_of(const struct arch *arch, const char *list, uint32_t *mask, struct error *err)
{
    struct word word;
    uint32_t chosen = 0;
    while (word_next(&list, &word)) {
        const int component = arch_find_component(arch, word.text, word.length);
        if (component < 0 && !word_is(word, "all")) return unknown_component(arch, word, err);
        chosen |= component < 0 ? arch_all_components(arch) : 1u << component;
    }
    if (!chosen)
        return error_set(err, STATUS_USAGE, "--components: the list is empty; name a component, or all");
    *mask = chosen;
    return STATUS_OK;
}

enum status component_select(const struct arch *arch, const char *list, uint32_t *mask, struct error *err)
{
    if (arch) return select_of(arch, list, mask, err);
    for (int i = 0; i < FAMILIES; i++) {
        struct error others = {0};
        if (select_of(families[i], list, mask, i ? &others : err) == STATUS_OK) {
            *err = (struct error){0};
            return STATUS_OK;
        }
    }
    return err->status;
}

bool component_listed(const char *list, const char *name)
{
    struct word word;
    while (word_next(&list, &word))
        if (word_is(word, "all") || word_is(word, name)) return true;
    return false;
}
