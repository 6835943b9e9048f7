// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/calibrate/observer.h"

#include <stdio.h>
#include <string.h>

static const char *const names[OBSERVER_COUNT] = {
    [OBSERVER_MINMAX] = "minmax",
    [OBSERVER_PERCENTILE] = "percentile",
    [OBSERVER_EMA_PERCENTILE] = "ema-percentile",
    [OBSERVER_MSE] = "mse",
    [OBSERVER_ENTROPY] = "entropy",
};

const char *observer_name(enum observer observer)
{
    return names[observer];
}

bool observer_takes_quantile(enum observer observer)
{
    return observer == OBSERVER_PERCENTILE || observer == OBSERVER_EMA_PERCENTILE;
}

bool observer_takes_histogram(enum observer observer)
{
    return observer == OBSERVER_MSE || observer == OBSERVER_ENTROPY;
}

bool observers_take_histogram(const struct observers *observers)
{
    for (int s = 0; s < observers->n_sites; s++)
        if (observer_takes_histogram(observers->of_site[s])) return true;
    return false;
}

// ---- the option ----

// `-` and `_` are the same, as in options.
static bool same(const char *name, const char *text, size_t length)
{
    if (strlen(name) != length) return false;
    for (size_t i = 0; i < length; i++)
        if ((name[i] == '_' ? '-' : name[i]) != (text[i] == '_' ? '-' : text[i])) return false;
    return true;
}

static uint32_t find_sites(const struct arch *arch, const char *text, size_t length)
{
    const unsigned group = same("inputs", text, length)    ? SITE_INPUT
                           : same("outputs", text, length) ? SITE_OUTPUT
                                                           : 0;
    const bool all = same("all", text, length);
    uint32_t found = 0;
    for (int s = 0; s < arch->n_sites; s++) {
        const struct arch_site *site = &arch->sites[s];
        if (all || (site->groups & group) || same(site->option, text, length) ||
            same(site->name, text, length))
            found |= 1u << s;
    }
    return found;
}

static enum status unknown_site(const struct arch *arch, const char *text, size_t length, struct error *err)
{
    char known[ARCH_MOST_SITES * (ARCH_NAME_CHARS + 2)] = "";
    for (int s = 0; s < arch->n_sites; s++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s, ", arch->sites[s].option);
    }
    return error_set(err, STATUS_USAGE,
                     "--observer: unknown site '%.*s'; there are %sand the groups inputs, outputs and all",
                     (int)(length < 64 ? length : 64), text, known);
}

// "KIND" or "SITE=KIND"
static enum status parse_word(struct observers *observers, const struct arch *arch, const char *word,
                              size_t length, struct error *err)
{
    const char *equals = memchr(word, '=', length);
    const char *kind = equals ? equals + 1 : word;
    const size_t kind_length = length - (size_t)(kind - word);
    const uint32_t chosen = equals ? find_sites(arch, word, (size_t)(equals - word)) : UINT32_MAX;
    int observer = 0;
    while (observer < OBSERVER_COUNT && !same(names[observer], kind, kind_length))
        observer++;
    if (observer == OBSERVER_COUNT)
        return error_set(err, STATUS_USAGE,
                         "--observer: unknown observer '%.*s'; there are minmax, percentile, ema-percentile, "
                         "mse and entropy",
                         (int)(kind_length < 64 ? kind_length : 64), kind);
    if (!chosen) return unknown_site(arch, word, (size_t)(equals - word), err);
    for (int s = 0; s < arch->n_sites; s++)
        if (chosen & 1u << s) observers->of_site[s] = (enum observer)observer;
    return STATUS_OK;
}

static enum status parse(struct observers *observers, const struct arch *arch, const char *text,
                         struct error *err)
{
    struct observers parsed = {.n_sites = arch->n_sites, .percentile_alpha = observers->percentile_alpha};
    for (int s = 0; s < arch->n_sites; s++)
        parsed.of_site[s] =
            arch->sites[s].kind == SITE_OF_QUANTILES ? OBSERVER_EMA_PERCENTILE : OBSERVER_MINMAX;
    for (const char *at = text; at;) {
        const size_t length = strcspn(at, ",");
        if (parse_word(&parsed, arch, at, length, err)) return err->status;
        at = at[length] ? at + length + 1 : NULL;
    }
    *observers = parsed;
    return STATUS_OK;
}

enum status observers_parse(struct observers *observers, const struct arch *arch, const char *text,
                            struct error *err)
{
    if (arch) return parse(observers, arch, text, err);
    for (int i = 0; (arch = arch_at(i)); i++) {
        struct error others = {0};
        if (parse(observers, arch, text, i ? &others : err)) continue;
        *err = (struct error){0};
        return STATUS_OK;
    }
    return err->status;
}
