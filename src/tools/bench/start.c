// SPDX-License-Identifier: Apache-2.0
#include "start.h"

#include <stdio.h>
#include <stdlib.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/forward/weights.h"

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
static const unsigned parts = WEIGHTS_FP32 | WEIGHTS_FP16 | WEIGHTS_W8A8;

static void pack_model(void *context)
{
    struct start *start = context;
    struct weights *weights = NULL;
    struct arena scratch = {0};
    if (start->err->status || weights_open(&weights, &start->model, parts, start->memory.base, start->err))
        return;
    for (int t = 0; t < weights_tasks(weights) && !start->err->status; t++)
        weights_pack(weights, t, &scratch, start->err);
    arena_clear(&scratch);
    weights_close(weights);
}

static enum status measure_start(struct setting *setting, struct start *start, struct error *err)
{
    static const struct unit unit = {"GB/s", 1e-9};
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

enum status start_measure(struct setting *setting, const char *directory, struct error *err)
{
    char *path = file_join(directory, "model.safetensors");
    struct start start = {.directory = directory, .path = path, .block = malloc(BLOCK_BYTES), .err = err};
    if (!path || !start.block) error_memory(err, BLOCK_BYTES, "the bench");
    if (!err->status && file_exists(path) && model_open(&start.model, directory, err) == STATUS_OK &&
        arena_init(&start.memory, weights_bytes(&start.model, parts), "the weights", err) == STATUS_OK)
        measure_start(setting, &start, err);
    arena_clear(&start.memory);
    model_close(&start.model);
    free(start.block);
    free(path);
    return err->status;
}
