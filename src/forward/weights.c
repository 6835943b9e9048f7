// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/forward/weights.h"

#include <stdlib.h>

#include "pack.h"
#include "ssmsweep/base/arena.h"
#include "weights_view.h"

static float *take_floats(struct arena *arena, long count)
{
    return arena_take(arena, (size_t)count * sizeof(float));
}

static uint8_t *take_codes(struct arena *arena, long outputs, long depth)
{
    return arena_take(arena, (size_t)(outputs * ((depth + 3) / 4 * 4)));
}

static void carve_float(const struct weights *w, struct arena *arena, struct float_layer *layer)
{
    const struct dims *d = &w->model->dims;
    layer->norm = take_floats(arena, w->ld_model);
    layer->in_proj = take_floats(arena, 2L * w->ld_inner * d->d_model);
    layer->conv_w = take_floats(arena, (long)d->d_conv * w->ld_inner);
    layer->conv_b = take_floats(arena, w->ld_inner);
    layer->x_proj = take_floats(arena, (long)w->ld_dbl * d->d_inner);
    layer->dt_proj = take_floats(arena, (long)w->ld_inner * d->dt_rank);
    layer->dt_bias = take_floats(arena, w->ld_inner);
    layer->A = take_floats(arena, (long)d->d_state * w->ld_inner);
    layer->D_skip = take_floats(arena, w->ld_inner);
    layer->out_proj = take_floats(arena, (long)w->ld_model * d->d_inner);
}

static void carve_w8a8(const struct weights *w, struct arena *arena, struct w8a8_layer *layer)
{
    const struct dims *d = &w->model->dims;
    layer->scale = take_floats(arena, SCALE_COUNT);
    layer->in_proj = take_codes(arena, 2L * w->ld_inner, d->d_model);
    layer->conv_w = take_floats(arena, (long)d->d_conv * w->ld_inner);
    layer->conv_b = take_floats(arena, w->ld_inner);
    layer->x_proj = take_codes(arena, w->ld_dbl, d->d_inner);
    layer->dt_proj = take_codes(arena, w->ld_inner, d->dt_rank);
    layer->dt_bias = take_floats(arena, w->ld_inner);
    layer->A = take_floats(arena, (long)d->d_state * w->ld_inner);
    layer->D_skip = take_floats(arena, w->ld_inner);
    layer->out_proj = take_codes(arena, w->ld_model, d->d_inner);
}

static struct head carve_float_head(const struct weights *w, struct arena *arena)
{
    const struct dims *d = &w->model->dims;
    struct head head = {.norm_f = take_floats(arena, w->ld_model)};
    head.lm_head = take_floats(arena, (long)round_up16(d->vocab_size) * d->d_model);
    return head;
}

static void carve_heads(struct weights *w, struct arena *arena)
{
    const struct dims *d = &w->model->dims;
    const bool codes = weights_head_is_codes(w);
    if (codes)
        w->head = (struct head){.codes = take_codes(arena, round_up16(d->vocab_size), d->d_model)};
    else
        w->head = carve_float_head(w, arena);
    w->float_head = codes || w->model->reference ? carve_float_head(w, arena) : w->head;
}

// FP16 weights need no packing of their own where FP32 and the checkpoint's FP16 are the same numbers.
static bool half_is_exact(const struct model *model)
{
    for (int l = 0; l < model->dims.n_layer; l++) {
        const struct model_layer *m = &model->layers[l];
        const struct tensor *rounded[] = {m->in_proj, m->conv_w,  m->conv_b,
                                          m->x_proj,  m->dt_proj, m->out_proj};
        for (size_t i = 0; i < sizeof rounded / sizeof rounded[0]; i++)
            if (rounded[i]->dtype != DTYPE_F16) return false;
    }
    return true;
}

static bool half_is_shared(const struct weights *w)
{
    return (w->parts & WEIGHTS_FP32) && half_is_exact(weights_float_model(w));
}

// The one description of the block: measures it or gives out its parts.
static void carve(struct weights *w, struct arena *arena)
{
    struct float_layer float_scratch;
    struct w8a8_layer w8a8_scratch;
    const struct dims *d = &w->model->dims;
    const bool own_half = (w->parts & WEIGHTS_FP16) && !half_is_shared(w);
    for (int l = 0; l < d->n_layer; l++) {
        if (w->parts & WEIGHTS_FP32) carve_float(w, arena, w->fp32 ? &w->fp32[l] : &float_scratch);
        if (own_half) carve_float(w, arena, w->fp16 ? &w->fp16[l] : &float_scratch);
        if (w->parts & WEIGHTS_W8A8) carve_w8a8(w, arena, w->w8a8 ? &w->w8a8[l] : &w8a8_scratch);
    }
    if (w->parts & WEIGHTS_LM_HEAD) carve_heads(w, arena);
}

static void init_view(struct weights *w, const struct model *model, unsigned parts)
{
    const struct dims *d = &model->dims;
    *w = (struct weights){.model = model,
                          .parts = parts,
                          .ld_model = round_up16(d->d_model),
                          .ld_inner = round_up16(d->d_inner),
                          .ld_rank = round_up16(d->dt_rank),
                          .ld_state = round_up16(d->d_state)};
    w->ld_dbl = w->ld_rank + 2 * w->ld_state;
}

size_t weights_bytes(const struct model *model, unsigned parts)
{
    struct weights w;
    struct arena arena;
    init_view(&w, model, parts);
    arena_init_measure(&arena);
    carve(&w, &arena);
    return arena.used_bytes;
}

enum status weights_open(struct weights **weights, const struct model *model, unsigned parts, void *memory,
                         struct error *err)
{
    const size_t layers = (size_t)model->dims.n_layer;
    const struct kernels *kernels;
    if (kernels_choose(&kernels, err)) return err->status;
    struct weights *w = malloc(sizeof *w);
    if (!w) return error_memory(err, sizeof *w, "the weights");
    init_view(w, model, parts);
    w->kernels = kernels;
    w->fp32 = calloc(layers, sizeof *w->fp32);
    w->fp16 = calloc(layers, sizeof *w->fp16);
    w->w8a8 = calloc(layers, sizeof *w->w8a8);
    if (!w->fp32 || !w->fp16 || !w->w8a8) {
        weights_close(w);
        return error_memory(err, layers * sizeof *w->fp32, "the weights");
    }
    struct arena arena;
    arena_init_over(&arena, memory, weights_bytes(model, parts));
    carve(w, &arena);
    if (half_is_shared(w))
        for (size_t l = 0; l < layers; l++)
            w->fp16[l] = w->fp32[l];
    rotation_init(&w->rotate_model, model->dims.d_model);
    rotation_init(&w->rotate_inner, model->dims.d_inner);
    *weights = w;
    return STATUS_OK;
}

void weights_close(struct weights *weights)
{
    if (!weights) return;
    free(weights->fp32);
    free(weights->fp16);
    free(weights->w8a8);
    free(weights);
}

const struct dims *weights_dims(const struct weights *weights)
{
    return &weights->model->dims;
}

// Tasks 0 .. n_layer-1 are the layers, the others slices of lm_head.
int weights_tasks(const struct weights *weights)
{
    return weights->model->dims.n_layer +
           ((weights->parts & WEIGHTS_LM_HEAD) ? pack_head_slices(weights) : 0);
}

static void pack_layer(struct weights *weights, struct arena *scratch, int layer)
{
    const bool own_half = (weights->parts & WEIGHTS_FP16) && !half_is_shared(weights);
    if (weights->parts & WEIGHTS_FP32) pack_float_layer(weights, scratch, layer, false);
    scratch->used_bytes = 0;
    if (own_half) pack_float_layer(weights, scratch, layer, true);
    scratch->used_bytes = 0;
    if (weights->parts & WEIGHTS_W8A8) pack_w8a8_layer(weights, scratch, layer);
    scratch->used_bytes = 0;
}

enum status weights_pack(struct weights *weights, int task, struct arena *scratch, struct error *err)
{
    const int layers = weights->model->dims.n_layer;
    struct arena own = {0}, *used = scratch ? scratch : &own;
    if (!used->base && arena_init(used, pack_scratch_bytes(weights), "packing", err)) return err->status;
    if (task < layers)
        pack_layer(weights, used, task);
    else
        pack_head_slice(weights, used, task - layers);
    used->used_bytes = 0;
    arena_clear(&own);
    return STATUS_OK;
}
