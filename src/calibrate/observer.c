// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/calibrate/observer.h"

#include <string.h>

static const struct {
    const char *name, *option; // in result files; on the command line
    enum observer reference;
} sites[SITE_COUNT] = {
    [SITE_IN_PROJ_INPUT] = {"in_proj:input", "in_proj_input", OBSERVER_MINMAX},
    [SITE_IN_PROJ_OUTPUT] = {"in_proj:output", "in_proj_output", OBSERVER_MINMAX},
    [SITE_X_PROJ_INPUT] = {"x_proj:input", "x_proj_input", OBSERVER_EMA_PERCENTILE},
    [SITE_X_PROJ_OUTPUT] = {"x_proj:output", "x_proj_output", OBSERVER_MINMAX},
    [SITE_DT_PROJ_OUTPUT] = {"dt_proj:output", "dt_proj_output", OBSERVER_MINMAX},
    [SITE_OUT_PROJ_INPUT] = {"out_proj:input", "out_proj_input", OBSERVER_MINMAX},
    [SITE_SSM_STATE] = {"ssm_state_act:input", "ssm_state", OBSERVER_EMA_PERCENTILE},
};

static const struct {
    const char *name;
    unsigned sites; // mask
} groups[] = {
    {"all", (1u << SITE_COUNT) - 1},
    {"inputs", 1u << SITE_IN_PROJ_INPUT | 1u << SITE_X_PROJ_INPUT | 1u << SITE_OUT_PROJ_INPUT},
    {"outputs", 1u << SITE_IN_PROJ_OUTPUT | 1u << SITE_X_PROJ_OUTPUT | 1u << SITE_DT_PROJ_OUTPUT},
};

static const char *const names[OBSERVER_COUNT] = {
    [OBSERVER_MINMAX] = "minmax",
    [OBSERVER_PERCENTILE] = "percentile",
    [OBSERVER_EMA_PERCENTILE] = "ema-percentile",
    [OBSERVER_MSE] = "mse",
    [OBSERVER_ENTROPY] = "entropy",
};

const char *site_name(enum scale_site site)
{
    return sites[site].name;
}

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
    for (int s = 0; s < SITE_COUNT; s++)
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

static unsigned find_sites(const char *text, size_t length)
{
    for (size_t g = 0; g < sizeof groups / sizeof groups[0]; g++)
        if (same(groups[g].name, text, length)) return groups[g].sites;
    for (int s = 0; s < SITE_COUNT; s++)
        if (same(sites[s].option, text, length) || same(sites[s].name, text, length)) return 1u << s;
    return 0;
}

// "KIND" or "SITE=KIND"
static enum status parse_word(struct observers *observers, const char *word, size_t length, struct error *err)
{
    const char *equals = memchr(word, '=', length);
    const char *kind = equals ? equals + 1 : word;
    const size_t kind_length = length - (size_t)(kind - word);
    const unsigned chosen = equals ? find_sites(word, (size_t)(equals - word)) : groups[0].sites;
    int observer = 0;
    while (observer < OBSERVER_COUNT && !same(names[observer], kind, kind_length))
        observer++;
    if (observer == OBSERVER_COUNT)
        return error_set(err, STATUS_USAGE,
                         "--observer: unknown observer '%.*s'; there are minmax, percentile, ema-percentile, "
                         "mse and entropy",
                         (int)(kind_length < 64 ? kind_length : 64), kind);
    if (!chosen)
        return error_set(err, STATUS_USAGE,
                         "--observer: unknown site '%.*s'; there are in_proj_input, in_proj_output, "
                         "x_proj_input, x_proj_output, dt_proj_output, out_proj_input, ssm_state, and the "
                         "groups inputs, outputs and all",
                         (int)(equals - word < 64 ? equals - word : 64), word);
    for (int s = 0; s < SITE_COUNT; s++)
        if (chosen & 1u << s) observers->of_site[s] = (enum observer)observer;
    return STATUS_OK;
}

enum status observers_parse(struct observers *observers, const char *text, struct error *err)
{
    struct observers parsed = *observers;
    for (int s = 0; s < SITE_COUNT; s++)
        parsed.of_site[s] = sites[s].reference;
    for (const char *at = text; at;) {
        const size_t length = strcspn(at, ",");
        if (parse_word(&parsed, at, length, err)) return err->status;
        at = at[length] ? at + length + 1 : NULL;
    }
    *observers = parsed;
    return STATUS_OK;
}
