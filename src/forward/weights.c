// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/forward/weights.h"

#include <stdlib.h>
#include <string.h>

#include "parts.h"
#include "ssmsweep/arch/codes4.h"
#include "ssmsweep/arch/pack.h"

enum { HEAD_SLICE_ROWS = 1024 }; // a multiple of 16

static struct head carve_float_head(const struct weights *w, struct arena *arena)
{
    const struct dims *d = &w->model->dims;
    struct head head = {.norm_f = pack_floats(arena, w->ld_model)};
    head.lm_head = pack_floats(arena, (long)round_up16(d->vocab_size) * d->d_model);
    return head;
}

static void carve_heads(struct weights *w, struct arena *arena)
{
    const struct dims *d = &w->model->dims;
    const bool codes = weights_head_is_codes(w);
    const int outputs = round_up16(d->vocab_size);
    if (weights_head_is_half(w))
        w->head = (struct head){.lm_head = pack_floats(arena, (long)outputs * d->d_model)};
    else if (codes)
        w->head = (struct head){.codes = pack_outputs(arena, outputs, d->d_model),
                                .scales = w->model->ends.lm_head_4bit ? pack_floats(arena, outputs) : NULL};
    else
        w->head = carve_float_head(w, arena);
    w->float_head = codes || w->model->reference ? carve_float_head(w, arena) : w->head;
}

// FP16 weights need no packing of their own where FP32 and the checkpoint's FP16 are the same numbers.
static bool half_is_exact(const struct model *model)
{
    const struct arch *arch = model->dims.arch;
    for (int i = 0; i < model->dims.n_layer * arch->n_tensors; i++)
        if (arch->tensors[i % arch->n_tensors].halves && model->tensors[i]->dtype != DTYPE_F16) return false;
    return true;
}

static bool half_is_shared(const struct weights *w)
{
    return (w->parts & WEIGHTS_FP32) && half_is_exact(weights_float_model(w));
}

static const unsigned part_of[PACKED_FORMS] = {
    [PACKED_FP32] = WEIGHTS_FP32, [PACKED_FP16] = WEIGHTS_FP16, [PACKED_BY_UNIT] = WEIGHTS_BY_UNIT};

// Has the block weights of its own in this form?
static bool is_packed(const struct weights *w, enum packed_form form)
{
    return (w->parts & part_of[form]) && (form != PACKED_FP16 || !half_is_shared(w));
}

static const struct needs *needs_of(const struct weights *w, int layer)
{
    return w->needs ? &w->needs[layer] : &w->base;
}

// The one description of the block: measures it or gives out its parts.
static void carve(struct weights *w, struct arena *arena, void *unused)
{
    const struct dims *d = &w->model->dims;
    bool packed[PACKED_FORMS];
    for (int f = 0; f < PACKED_FORMS; f++)
        packed[f] = is_packed(w, (enum packed_form)f);
    for (int l = 0; l < d->n_layer; l++)
        for (int f = 0; f < PACKED_FORMS; f++) {
            const enum packed_form form = (enum packed_form)f;
            if (packed[f])
                d->arch->carve_layer(d, form, needs_of(w, l), arena,
                                     unused ? unused : weights_layer(w, form, l));
        }
    if (w->parts & WEIGHTS_LM_HEAD) carve_heads(w, arena);
}

static void init_view(struct weights *w, const struct model *model, unsigned parts, const struct needs *needs)
{
    const struct arch *arch = model->dims.arch;
    *w = (struct weights){
        .model = model, .parts = parts, .needs = needs, .ld_model = round_up16(model->dims.d_model)};
    const struct setting setting = setting_base(&arch->units);
    if (arch->need) arch->need(&setting, &w->base);
}

size_t weights_bytes(const struct model *model, unsigned parts, const struct needs *needs)
{
    _Alignas(16) unsigned char unused[ARCH_MOST_POINTERS_BYTES]; // pointers that nobody wants
    struct weights w;
    struct arena arena;
    init_view(&w, model, parts, needs);
    arena_init_measure(&arena);
    carve(&w, &arena, unused);
    return arena.used_bytes;
}

enum status weights_open(struct weights **weights, const struct model *model, unsigned parts,
                         const struct needs *needs, void *memory, struct error *err)
{
    const size_t layers = (size_t)model->dims.n_layer, layer_bytes = model->dims.arch->layer_bytes;
    const struct kernels *kernels;
    if (kernels_choose(&kernels, err)) return err->status;
    struct weights *w = malloc(sizeof *w);
    if (!w) return error_memory(err, sizeof *w, "the weights");
    init_view(w, model, parts, needs);
    w->kernels = kernels;
    w->groups = model->order;
    w->filled = model->dims.grouped ? parts & ~(unsigned)WEIGHTS_BY_UNIT : parts;
    for (int f = 0; f < PACKED_FORMS; f++) {
        w->layers[f] = calloc(layers, layer_bytes);
        if (!w->layers[f]) error_memory(err, layers * layer_bytes, "the weights");
    }
    if (err->status) {
        weights_close(w);
        return err->status;
    }
    struct arena arena;
    w->block = memory;
    w->block_bytes = weights_bytes(model, parts, needs);
    arena_init_over(&arena, memory, w->block_bytes);
    carve(w, &arena, NULL);
    if (half_is_shared(w)) memcpy(w->layers[PACKED_FP16], w->layers[PACKED_FP32], layers * layer_bytes);
    rotation_init(&w->rotations.model, model->dims.d_model);
    if (model->dims.d_inner > 0) rotation_init(&w->rotations.inner, model->dims.d_inner);
    *weights = w;
    return STATUS_OK;
}

void weights_close(struct weights *weights)
{
    if (!weights) return;
    for (int f = 0; f < PACKED_FORMS; f++)
        free(weights->layers[f]);
    free(weights);
}

void weights_set_groups(struct weights *weights, const struct groups *groups)
{
    weights->groups = groups;
    weights->filled = weights->parts & WEIGHTS_BY_UNIT;
}

const struct dims *weights_dims(const struct weights *weights)
{
    return &weights->model->dims;
}

// ---- lm_head ----

static int head_slices(const struct weights *weights)
{
    return (weights->model->dims.vocab_size + HEAD_SLICE_ROWS - 1) / HEAD_SLICE_ROWS;
}

// Rows of 4 bits as floats, turned back or, for FP16 inputs, as they are.
static void pack_head_rows4(const struct weights *w, struct arena *scratch, const struct model *model,
                            int first, int count, bool turned, float *packed)
{
    const int D = model->dims.d_model;
    const struct codes4 codes = codes4_find(model, "lm_head", model->dims.vocab_size, D);
    float *values = pack_take(scratch, (long)KERNEL_LANES * D), scales[KERNEL_LANES];
    int8_t *int8 = arena_take(scratch, (size_t)(KERNEL_LANES * D));
    for (int n = 0; n < count; n += KERNEL_LANES) {
        const int lanes = count - n < KERNEL_LANES ? count - n : KERNEL_LANES;
        const struct tensor rows = {.dtype = DTYPE_F32,
                                    .dims = 2,
                                    .shape = {lanes, D},
                                    .stride = {D, 1},
                                    .data = (const unsigned char *)values};
        codes4_load(&codes, w->kernels, scratch, first + n, lanes, int8, scales, values);
        packed = pack_panels(w->kernels, scratch, &rows, 0, lanes,
                             (struct panel_recipe){.rotation = turned ? &w->rotations.model.inverse : NULL},
                             packed);
    }
}

// Rows [first, first + count) of a float lm_head or, with their scale, of codes; those of a checkpoint of
// codes are turned back.
static void pack_head_rows(const struct weights *w, struct arena *scratch, const struct model *model,
                           int first, int count, float *packed)
{
    const bool rotated = model_is_codes(model);
    if (model->ends.lm_head_4bit) {
        pack_head_rows4(w, scratch, model, first, count, true, packed);
        return;
    }
    const struct panel_recipe recipe = {.rotation = rotated ? &w->rotations.model.inverse : NULL,
                                        .scale = model->ends.lm_head};
    pack_panels(w->kernels, scratch, model->lm_head, first, count, recipe, packed);
}

// scales: [count rounded up to 16] of codes of 4 bits; NULL: they are INT8.
static void pack_head_codes(const struct weights *w, struct arena *scratch, int first, int count,
                            uint8_t *packed, float *scales)
{
    const int depth = w->model->dims.d_model;
    const struct codes4 words = codes4_find(w->model, "lm_head", w->model->dims.vocab_size, depth);
    int8_t *codes = arena_take(scratch, (size_t)(KERNEL_LANES * depth) + KERNEL_LANES);
    for (int n = 0; n < count; n += KERNEL_LANES) {
        const int lanes = count - n < KERNEL_LANES ? count - n : KERNEL_LANES;
        if (scales) {
            memset(scales + n, 0, KERNEL_LANES * sizeof *scales);
            codes4_load(&words, w->kernels, scratch, first + n, lanes, codes, scales + n, NULL);
        } else {
            const struct tensor some = pack_rows(w->model->lm_head, first + n, lanes);
            tensor_to_i8(&some, codes);
        }
        packed = pack_codes(codes, 0, lanes, depth, packed);
    }
}

static void pack_head(const struct weights *w, struct arena *scratch, const struct model *model, int slice,
                      const struct head *head)
{
    const struct dims *d = &model->dims;
    const int first = slice * HEAD_SLICE_ROWS, left = d->vocab_size - first,
              count = left < HEAD_SLICE_ROWS ? left : HEAD_SLICE_ROWS;
    if (head->codes) {
        pack_head_codes(w, scratch, first, count, head->codes + (long)first * ((d->d_model + 3) / 4 * 4),
                        head->scales ? head->scales + first : NULL);
        return;
    }
    if (!head->norm_f) { // for FP16 inputs
        pack_head_rows4(w, scratch, model, first, count, false, head->lm_head + (long)first * d->d_model);
        return;
    }
    pack_head_rows(w, scratch, model, first, count, head->lm_head + (long)first * d->d_model);
    if (slice == 0)
        pack_vector(pack_view(w->kernels, scratch, model->norm_f, false), d->d_model, w->ld_model,
                    head->norm_f);
}

static void pack_head_slice(struct weights *weights, struct arena *scratch, int slice)
{
    pack_head(weights, scratch, weights->model, slice, &weights->head);
    if (weights->model->reference || weights_head_is_codes(weights))
        pack_head(weights, scratch, weights_float_model(weights), slice, &weights->float_head);
}

// ---- tasks ----

// Tasks 0 .. n_layer-1 are the layers, the others slices of lm_head.
int weights_tasks(const struct weights *weights)
{
    return weights->model->dims.n_layer + ((weights->filled & WEIGHTS_LM_HEAD) ? head_slices(weights) : 0);
}

static void pack_layer(struct weights *weights, struct arena *scratch, int layer)
{
    for (int f = 0; f < PACKED_FORMS; f++) {
        const enum packed_form form = (enum packed_form)f;
        const struct packing packing = {.kernels = weights->kernels,
                                        .model = form == PACKED_BY_UNIT ? weights->model
                                                                        : weights_float_model(weights),
                                        .needs = needs_of(weights, layer),
                                        .groups = weights->groups ? &weights->groups->layers[layer] : NULL,
                                        .rotations = &weights->rotations,
                                        .scratch = scratch,
                                        .layer = layer};
        if (is_packed(weights, form) && (weights->filled & part_of[form]))
            weights->model->dims.arch->pack(&packing, form, weights_layer(weights, form, layer));
        scratch->used_bytes = 0;
    }
}

enum status weights_pack(struct weights *weights, int task, struct arena *scratch, struct error *err)
{
    const struct dims *d = &weights->model->dims;
    struct arena own = {0}, *used = scratch ? scratch : &own;
    if (!used->base && arena_init(used, d->arch->scratch_bytes(d), "packing", err)) return err->status;
    if (task < d->n_layer)
        pack_layer(weights, used, task);
    else
        pack_head_slice(weights, used, task - d->n_layer);
    used->used_bytes = 0;
    arena_clear(&own);
    return STATUS_OK;
}
