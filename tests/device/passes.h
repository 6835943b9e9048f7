// SPDX-License-Identifier: Apache-2.0
// A model, packed for every mode and some recipes, with a pass on the processor and one on the GPU.
#ifndef SSMSWEEP_TESTS_DEVICE_PASSES_H
#define SSMSWEEP_TESTS_DEVICE_PASSES_H

#include "support.h"

#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/cuda.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/recipe/mode.h"

enum { MOST_RECIPES = 96, OBSERVED_TOKENS = 64 };

struct stand {
    struct model model;
    struct recipe recipes[MOST_RECIPES]; // the modes, then random ones
    int n_modes, n_recipes;
    struct needs *needs;
    void *memory;
    struct weights *weights;
    struct forward *host, *device;
    float *scales;
};

static inline void good(enum status status, const struct error *err)
{
    if (status == STATUS_OK) return;
    printf("FAIL %s\n", err->text);
    exit(1);
}

// A recipe by unit with a random format for each unit of each layer.
static inline struct recipe random_recipe(const struct dims *dims, uint32_t *seed)
{
    struct recipe recipe = {.precision = PRECISION_BY_UNIT, .n_layer = dims->n_layer};
    recipe.embedding = next(seed) % 2 ? FORMAT_FP16 : FORMAT_FLOAT;
    recipe.layers = calloc((size_t)dims->n_layer, sizeof *recipe.layers);
    if (!recipe.layers) exit(1);
    for (int l = 0; l < dims->n_layer; l++)
        for (int u = 0; u < dims->arch->units.count; u++) {
            const struct unit *unit = &dims->arch->units.of[u];
            int formats = 0;
            while (formats < UNIT_MOST_FORMATS && unit->formats[formats] != FORMAT_NONE)
                formats++;
            recipe.layers[l].of[u] = (uint8_t)unit->formats[next(seed) % (uint32_t)formats];
        }
    return recipe;
}

static inline void observe_scales(struct stand *s)
{
    struct error err = {0};
    int32_t ids[OBSERVED_TOKENS];
    const size_t numbers = (size_t)(s->model.dims.n_layer * s->model.dims.arch->n_sites);
    float *observed = calloc(numbers, sizeof *observed);
    struct observers observers = {.percentile_alpha = 0.9995};
    s->scales = calloc(numbers, sizeof *s->scales);
    if (!observed || !s->scales) exit(1);
    for (int t = 0; t < OBSERVED_TOKENS; t++)
        ids[t] = (t * 7919 + 13) % s->model.dims.vocab_size;
    good(observers_parse(&observers, s->model.dims.arch, NULL, &err), &err);
    const struct observation observation = {.observers = &observers, .numbers = observed};
    const struct calibration_set set = {.observed = observed, .samples = 1};
    forward_observe(s->host, &observation, ids, OBSERVED_TOKENS, NULL);
    calibrate_scales(&observers, &set, s->model.dims.n_layer, s->scales);
    free(observed);
}

// alter: changes the model before it is packed, or NULL.
static inline void stand_open(struct stand *s, const char *folder, int random, int max_tokens, int threads,
                              void (*alter)(struct model *model))
{
    struct error err = {0};
    uint32_t seed = 4711;
    *s = (struct stand){0};
    good(model_open(&s->model, folder, &err), &err);
    if (alter) alter(&s->model);
    const struct dims *dims = &s->model.dims;
    for (; s->n_modes < mode_count(); s->n_modes++)
        good(recipe_make(&s->recipes[s->n_modes], mode_at(s->n_modes), &dims->arch->units, dims->n_layer,
                         &err),
             &err);
    for (s->n_recipes = s->n_modes; s->n_recipes < s->n_modes + random; s->n_recipes++)
        s->recipes[s->n_recipes] = random_recipe(dims, &seed);
    s->needs = calloc((size_t)dims->n_layer, sizeof *s->needs);
    if (!s->needs) exit(1);
    for (int r = 0; r < s->n_recipes; r++)
        for (int l = 0; l < dims->n_layer && !recipe_is_float(&s->recipes[r]); l++)
            dims->arch->need(&s->recipes[r].layers[l], &s->needs[l]);
    const unsigned parts = WEIGHTS_FP32 | WEIGHTS_FP16 | WEIGHTS_BY_UNIT | WEIGHTS_LM_HEAD;
    s->memory = aligned_alloc(64, (weights_bytes(&s->model, parts, s->needs) + 63) / 64 * 64);
    if (!s->memory) exit(1);
    good(weights_open(&s->weights, &s->model, parts, s->needs, s->memory, &err), &err);
    for (int task = 0; task < weights_tasks(s->weights); task++)
        good(weights_pack(s->weights, task, NULL, &err), &err);
    const int host_tokens = max_tokens > 2048 ? 2048 : max_tokens;
    good(forward_open(&s->host, s->weights, host_tokens, threads, &err), &err);
    good(forward_open_on(&s->device, backend_cuda(), s->weights, max_tokens, threads, &err), &err);
    observe_scales(s);
}

static inline void stand_close(struct stand *s)
{
    for (int r = 0; r < s->n_recipes; r++)
        recipe_clear(&s->recipes[r]);
    forward_close(s->host);
    forward_close(s->device);
    weights_close(s->weights);
    free(s->memory), free(s->needs), free(s->scales);
    model_close(&s->model);
}

// What reports call the recipe.
static inline const char *stand_name(const struct stand *s, int r)
{
    return r < s->n_modes ? mode_at(r)->name : "a random recipe";
}

#endif
