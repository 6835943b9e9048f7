// SPDX-License-Identifier: Apache-2.0
#include "setting.h"
#include "ssmsweep/arch/mamba2.h"

#include <stdio.h>
#include <stdlib.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/forward/weights.h"
#include "ssmsweep/recipe/mode.h"

// ---- forward passes ----

// Weights of one precision and what the passes share.
struct engine {
    struct bench_setting *setting;
    struct arena memory;
    struct weights *weights;
    int32_t *ids;  // [length]
    float *scales; // [n_layer][n_sites]
};

// ---- weights, one precision at a time: together they may not fit ----

static void unpack(struct engine *engine)
{
    weights_close(engine->weights);
    arena_clear(&engine->memory);
    engine->weights = NULL;
}

// needs: of the layers; NULL: those of the setting that modes start from.
static enum status pack(struct engine *engine, unsigned part, const struct needs *needs, struct error *err)
{
    const struct model *model = engine->setting->model;
    const size_t bytes = weights_bytes(model, part, needs);
    if (arena_init(&engine->memory, bytes, "the weights", err)) return err->status;
    if (weights_open(&engine->weights, model, part, needs, arena_take(&engine->memory, bytes), err)) {
        arena_clear(&engine->memory);
        return err->status;
    }
    for (int t = 0; t < weights_tasks(engine->weights) && !err->status; t++)
        weights_pack(engine->weights, t, NULL, err);
    if (err->status) unpack(engine);
    return err->status;
}

static unsigned part_of(enum precision precision)
{
    switch (precision) {
    case PRECISION_FP32:
        return WEIGHTS_FP32;
    case PRECISION_FP16:
        return WEIGHTS_FP16;
    case PRECISION_BY_UNIT:
        return WEIGHTS_BY_UNIT;
    }
    return 0;
}

// ---- calibration on the one sample ----

static enum status calibrate(struct engine *engine, struct error *err)
{
    struct observers observers = {.percentile_alpha = 0.9995};
    const struct bench_setting *setting = engine->setting;
    const size_t count = (size_t)(setting->model->dims.n_layer * setting->model->dims.arch->n_sites);
    struct forward *forward = NULL;
    float *observed = calloc(count, sizeof *observed);
    if (!observed) return error_memory(err, count * sizeof *observed, "the observations");
    if (observers_parse(&observers, setting->model->dims.arch, NULL, err) ||
        pack(engine, WEIGHTS_FP32, NULL, err))
        goto free_observed;
    if (forward_open(&forward, engine->weights, setting->length, setting->threads, err) == STATUS_OK) {
        const struct observation observation = {.observers = &observers, .numbers = observed};
        const struct calibration_set set = {.observed = observed, .samples = 1};
        forward_observe(forward, &observation, engine->ids, setting->length, NULL);
        calibrate_scales(&observers, &set, setting->model->dims.n_layer, engine->scales);
    }
    forward_close(forward);
    unpack(engine);
free_observed:
    free(observed);
    return err->status;
}

// ---- one mode ----

struct pass_work {
    const struct engine *engine;
    struct forward *forward;
    struct recipe recipe;
};

static void pass_run(void *context)
{
    const struct pass_work *w = context;
    const struct engine *e = w->engine;
    forward_run(w->forward, &w->recipe, recipe_is_float(&w->recipe) ? NULL : e->scales, e->ids,
                e->setting->length, NULL);
}

// The least that the scan of a layer takes.
static double scan_seconds(const struct dims *dims, const struct recipe *recipe, int length, double f32,
                           double exps)
{
    if (dims->n_heads == 0) return vectors_exps(dims, length) / exps;
    const enum ssd_order order = mamba2_scan_order(recipe, 0);
    return ssd_operations(dims, order, length) / f32 + ssd_exps(dims, order, length) / exps;
}

double passes_bound(const struct dims *dims, const struct recipe *recipe, int length, double gemm, double f32,
                    double exps)
{
    return dims->n_layer *
           (gemms_operations(dims, length) / gemm + scan_seconds(dims, recipe, length, f32, exps));
}

static enum status measure_pass(struct engine *engine, const struct mode *mode, int threads,
                                struct error *err)
{
    static const struct bench_unit unit = {"token/s", 1};
    struct bench_setting *setting = engine->setting;
    const struct dims *dims = &setting->model->dims;
    struct peak peak, f32;
    struct exps exps;
    struct pass_work work = {.engine = engine};
    if (recipe_make(&work.recipe, mode, &dims->arch->units, dims->n_layer, err) ||
        forward_open(&work.forward, engine->weights, setting->length, threads, err)) {
        recipe_clear(&work.recipe);
        return err->status;
    }
    struct load loads[] = {peak_load(&peak, setting, threads, !mode_is_float(mode)),
                           exps_load(&exps, setting, threads),
                           {.run = pass_run, .context = &work, .work = setting->length, .team = threads > 1},
                           peak_load(&f32, setting, threads, false)};
    measure(loads, 4, 2 * setting->seconds); // a pass is long
    const double bound = passes_bound(dims, &work.recipe, setting->length, load_rate(&loads[0]),
                                      load_rate(&loads[3]), load_rate(&loads[1]));
    forward_close(work.forward);
    recipe_clear(&work.recipe);
    return rows_add(&setting->rows, "forward", mode->name, threads, &loads[2], unit, bound, err);
}

static bool any_chosen(const bool *chosen, enum precision precision)
{
    for (int m = 0; m < mode_count(); m++)
        if (chosen[m] && mode_at(m)->precision == precision) return true;
    return false;
}

// What the chosen modes need of each layer's weights; the caller frees.
static enum status find_needs(const struct dims *dims, const bool *chosen, struct needs **needs,
                              struct error *err)
{
    struct needs *found = calloc((size_t)dims->n_layer, sizeof *found);
    if (!found) return error_memory(err, (size_t)dims->n_layer * sizeof *found, "the bench");
    for (int m = 0; m < mode_count() && !err->status && dims->arch->need; m++) {
        struct recipe recipe = {0};
        if (!chosen[m] || mode_is_float(mode_at(m)) || arch_recipe(&recipe, mode_at(m), dims, err)) continue;
        for (int l = 0; l < dims->n_layer; l++)
            dims->arch->need(&recipe.layers[l], &found[l]);
        recipe_clear(&recipe);
    }
    if (err->status) {
        free(found);
        return err->status;
    }
    *needs = found;
    return STATUS_OK;
}

static enum status measure_precision(struct engine *engine, const bool *chosen, enum precision precision,
                                     struct error *err)
{
    int sizes[2];
    struct needs *needs = NULL;
    int teams = team_sizes(engine->setting, sizes);
    if (engine->setting->gpu.alone) teams = 1;
    const bool by_unit = precision == PRECISION_BY_UNIT;
    if (!any_chosen(chosen, precision)) return STATUS_OK;
    if (by_unit && (find_needs(&engine->setting->model->dims, chosen, &needs, err) || calibrate(engine, err)))
        goto free_needs;
    if (pack(engine, part_of(precision), needs, err)) goto free_needs;
    for (int team = 0; team < teams; team++)
        for (int m = 0; m < mode_count() && !err->status; m++)
            if (chosen[m] && mode_at(m)->precision == precision)
                measure_pass(engine, mode_at(m), sizes[team], err);
    const struct gpu_modes there = {engine->weights, chosen, precision, engine->scales};
    if (!err->status && engine->setting->gpu.index >= 0) gpu_measure_modes(engine->setting, &there, err);
    unpack(engine);
free_needs:
    free(needs);
    return err->status;
}

enum status passes_measure(struct bench_setting *setting, const bool *chosen, struct error *err)
{
    static const enum precision precisions[] = {PRECISION_FP32, PRECISION_FP16, PRECISION_BY_UNIT};
    const struct dims *dims = &setting->model->dims;
    struct engine engine = {.setting = setting};
    engine.ids = calloc((size_t)setting->length, sizeof *engine.ids);
    engine.scales = calloc((size_t)(dims->n_layer * dims->arch->n_sites), sizeof *engine.scales);
    if (!engine.ids || !engine.scales) {
        error_memory(err, sizeof *engine.ids, "the bench");
        goto free_all;
    }
    for (int t = 0; t < setting->length; t++)
        engine.ids[t] = (int32_t)((unsigned)t * 7919u % (unsigned)dims->vocab_size);
    rows_title(&setting->rows, dims->n_heads > 0
                                   ? "Forward pass: bound is GEMM at its peak plus the scan's multiply-adds"
                                   : "Forward pass: bound is GEMM at its peak plus the scan's exponentials");
    for (int i = 0; i < 3 && !err->status; i++)
        measure_precision(&engine, chosen, precisions[i], err);
free_all:
    free(engine.scales);
    free(engine.ids);
    return err->status;
}

// ---- start-up ----

enum { BLOCK_BYTES = 1 << 20 };

struct start {
    const char *directory, *path;
    unsigned char *block;
    double file_bytes;
    struct arena memory;
    struct model model;
    struct error *err;
};

static void read_file(void *context)
{
    struct start *start = context;
    FILE *file = fopen(start->path, "rb");
    size_t got;
    start->file_bytes = 0;
    while (file && (got = fread(start->block, 1, BLOCK_BYTES, file)) > 0)
        start->file_bytes += (double)got;
    if (file) fclose(file);
}

static void open_model(void *context)
{
    struct start *start = context;
    struct model model = {0};
    if (!start->err->status) model_open(&model, start->directory, start->err);
    model_close(&model);
}

// What all modes need, by one thread, as each rank packs its part.
static const unsigned parts = WEIGHTS_FP32 | WEIGHTS_FP16 | WEIGHTS_BY_UNIT;

static void pack_model(void *context)
{
    struct start *start = context;
    struct weights *weights = NULL;
    struct arena scratch = {0};
    if (start->err->status ||
        weights_open(&weights, &start->model, parts, NULL, start->memory.base, start->err))
        return;
    for (int t = 0; t < weights_tasks(weights) && !start->err->status; t++)
        weights_pack(weights, t, &scratch, start->err);
    arena_clear(&scratch);
    weights_close(weights);
}

static enum status measure_start(struct bench_setting *setting, struct start *start, struct error *err)
{
    static const struct bench_unit unit = {"GB/s", 1e-9};
    static const char *const names[] = {"read_file", "open_model", "pack_model"};
    struct load loads[] = {{.run = read_file, .context = start},
                           {.run = open_model, .context = start},
                           {.run = pack_model, .context = start}};
    measure(loads, 3, setting->seconds);
    rows_title(&setting->rows, "Start-up: bound is reading the file (from the page cache)");
    for (int i = 0; i < 3 && !err->status; i++) {
        loads[i].work = start->file_bytes;
        rows_add(&setting->rows, "start", names[i], 1, &loads[i], unit, i ? loads[0].best_seconds : 0, err);
    }
    return err->status;
}

enum status start_measure(struct bench_setting *setting, const char *directory, struct error *err)
{
    char *path = file_join(directory, "model.safetensors");
    struct start start = {.directory = directory, .path = path, .block = malloc(BLOCK_BYTES), .err = err};
    if (!path || !start.block) error_memory(err, BLOCK_BYTES, "the bench");
    if (!err->status && file_exists(path) && model_open(&start.model, directory, err) == STATUS_OK &&
        arena_init(&start.memory, weights_bytes(&start.model, parts, NULL), "the weights", err) == STATUS_OK)
        measure_start(setting, &start, err);
    arena_clear(&start.memory);
    model_close(&start.model);
    free(start.block);
    free(path);
    return err->status;
}
