// SPDX-License-Identifier: Apache-2.0
#include "setting.h"

#include <string.h>

enum { BANDWIDTH_FLOATS = 48 << 20 }; // 192 MiB in three arrays

float random_uniform(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(int32_t)*state * 0x1p-31f;
}

enum status setting_open(struct setting *setting, const struct model *model, int vocab, int threads,
                         struct error *err)
{
    const struct dims *d = &model->dims;
    const long weights = 2L * (d->d_inner + KERNEL_LANES) * d->d_model * d->n_layer;
    const long head = ((long)vocab + KERNEL_LANES) * d->d_model;
    memset(setting, 0, sizeof *setting);
    if (kernels_choose(&setting->kernels, err) || team_open(&setting->team, threads, err)) return err->status;
    setting->threads = threads;
    setting->model = model;
    setting->vocab = vocab;
    setting->pool_floats = weights > BANDWIDTH_FLOATS ? weights : BANDWIDTH_FLOATS;
    if (head > setting->pool_floats) setting->pool_floats = head;
    const size_t bytes = (size_t)setting->pool_floats * sizeof(float);
    if (arena_init(&setting->arena, bytes, "the bench", err)) return err->status;
    setting->pool = arena_take(&setting->arena, bytes);
    uint32_t state = 1;
    for (long i = 0; i < setting->pool_floats; i++)
        setting->pool[i] = random_uniform(&state);
    return STATUS_OK;
}

void setting_close(struct setting *setting)
{
    team_close(setting->team);
    arena_clear(&setting->arena);
    rows_clear(&setting->rows);
}
