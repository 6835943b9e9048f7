// SPDX-License-Identifier: Apache-2.0
#include "synth_tensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    int n_layer, d_model, tokens;
} presets[SYNTH_PRESETS] = {
    [SYNTH_TINY] = {2, 64, 509},      [SYNTH_130M] = {24, 768, 50277},  [SYNTH_370M] = {48, 1024, 50277},
    [SYNTH_790M] = {48, 1536, 50277}, [SYNTH_1_4B] = {48, 2048, 50277}, [SYNTH_2_8B] = {64, 2560, 50277},
};

enum { D_STATE = 16, D_CONV = 4, EXPAND = 2, TENSORS_OF_LAYER = 10, VOCAB_MULTIPLE = 8 };

static void add(struct synth_tensors *t, const char *name, enum synth_law law, double mean, double std,
                const int64_t shape[3])
{
    struct synth_tensor *item = &t->items[t->count++];
    *item = (struct synth_tensor){.law = law, .mean = mean, .std = std, .elements = 1};
    snprintf(item->name, sizeof item->name, "%s", name);
    for (; item->dims < 3 && shape[item->dims] > 0; item->dims++) {
        item->shape[item->dims] = shape[item->dims];
        item->elements *= shape[item->dims];
    }
}

// The ranges of Mamba's own initialisation.
static void add_layer(struct synth_tensors *t, int layer)
{
    const struct dims *m = &t->dims;
    const int64_t D = m->d_model, I = m->d_inner, N = m->d_state, R = m->dt_rank, K = m->d_conv;
    const double d = (double)D, i = (double)I;
    const struct {
        const char *name;
        enum synth_law law;
        double mean, std;
        int64_t shape[3];
    } rows[TENSORS_OF_LAYER] = {
        {"norm.weight", LAW_NORMAL, 1, 0.2, {D}},
        {"mixer.in_proj.weight", LAW_HOT, 0, 1 / sqrt(d), {2 * I, D}},
        {"mixer.conv1d.weight", LAW_NORMAL, 0, 0.5 / sqrt((double)K), {I, 1, K}},
        {"mixer.conv1d.bias", LAW_NORMAL, 0, 0.1, {I}},
        {"mixer.x_proj.weight", LAW_NORMAL, 0, 1 / sqrt(i), {R + 2 * N, I}},
        {"mixer.dt_proj.weight", LAW_NORMAL, 0, 1 / sqrt((double)R), {I, R}},
        {"mixer.dt_proj.bias", LAW_DT, 0, 0, {I}},
        {"mixer.A_log", LAW_A_LOG, 0, 0.05, {I, N}},
        {"mixer.D", LAW_NORMAL, 1, 0.1, {I}},
        {"mixer.out_proj.weight", LAW_NORMAL, 0, 1 / sqrt(i * 2 * m->n_layer), {D, I}},
    };
    for (int r = 0; r < TENSORS_OF_LAYER; r++) {
        char name[64];
        snprintf(name, sizeof name, "backbone.layers.%d.%s", layer, rows[r].name);
        add(t, name, rows[r].law, rows[r].mean, rows[r].std, rows[r].shape);
    }
}

enum status synth_tensors_make(struct synth_tensors *tensors, enum synth_preset preset, struct error *err)
{
    int D = presets[preset].d_model, tokens = presets[preset].tokens, n_layer = presets[preset].n_layer;
    struct synth_tensors t = {
        .tokens = tokens,
        .dims = {.n_layer = n_layer,
                 .d_model = D,
                 .d_inner = EXPAND * D,
                 .d_state = D_STATE,
                 .d_conv = D_CONV,
                 .dt_rank = (D + 15) / 16,
                 .vocab_size = (tokens + VOCAB_MULTIPLE - 1) / VOCAB_MULTIPLE * VOCAB_MULTIPLE,
                 .norm_eps = 1e-5F,
                 .arch = arch_at(0)}};
    size_t room = 2 + (size_t)n_layer * TENSORS_OF_LAYER;
    t.items = calloc(room, sizeof *t.items);
    if (!t.items) return error_memory(err, room * sizeof *t.items, "the list of tensors");
    add(&t, "backbone.embeddings.weight", LAW_NORMAL, 0, 0.3, (int64_t[3]){t.dims.vocab_size, D});
    for (int layer = 0; layer < n_layer; layer++)
        add_layer(&t, layer);
    add(&t, "backbone.norm_f.weight", LAW_NORMAL, 1, 0.1, (int64_t[3]){D});
    *tensors = t;
    return STATUS_OK;
}

void synth_tensors_clear(struct synth_tensors *tensors)
{
    free(tensors->items);
    *tensors = (struct synth_tensors){0};
}
