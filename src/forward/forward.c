// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/forward/forward.h"

#include <stdlib.h>
#include <string.h>

#include "parts.h"

// ---- the workspace ----

// The one description of the workspace: measures it or gives out its parts.
static void carve(struct forward *f, const struct dims *d, struct arena *a, void *work)
{
    const size_t row = stream_floats(d, f->shape.max_tokens);
    f->stream.residual = arena_take(a, row * sizeof(float));
    f->stream.h = arena_take(a, row * sizeof(float));
    f->normed = arena_take(a, row * sizeof(float));
    f->xhat = arena_take(a, row * sizeof(float));
    f->codes = arena_take(a, row + 4); // the INT8 kernels read groups of four
    f->room = d->arch->carve(d, f->shape.max_tokens, a, work);
    f->backend->carve(f->batch, &f->shape, a);
}

static struct batch_shape shape_of(const struct dims *d, int max_tokens, int threads)
{
    return (struct batch_shape){max_tokens, threads, d->d_state, d->chunk_size};
}

size_t forward_bytes_on(const struct backend *backend, const struct dims *dims, int max_tokens, int threads)
{
    _Alignas(16) unsigned char unused[ARCH_MOST_POINTERS_BYTES]; // pointers that nobody wants
    struct forward f = {.backend = backend, .shape = shape_of(dims, max_tokens, threads)};
    struct arena arena;
    arena_init_measure(&arena);
    carve(&f, dims, &arena, unused);
    return arena.used_bytes;
}

size_t forward_bytes(const struct dims *dims, int max_tokens, int threads)
{
    return forward_bytes_on(backend_default(), dims, max_tokens, threads);
}

enum status forward_open(struct forward **forward, const struct weights *weights, int max_tokens, int threads,
                         struct error *err)
{
    return forward_open_on(forward, backend_default(), weights, max_tokens, threads, err);
}

enum status forward_open_on(struct forward **forward, const struct backend *backend,
                            const struct weights *weights, int max_tokens, int threads, struct error *err)
{
    const struct dims *d = weights_dims(weights);
    struct forward *f = calloc(1, sizeof *f);
    if (!f) return error_memory(err, sizeof *f, "a forward pass");
    f->backend = backend;
    f->weights = weights;
    f->shape = shape_of(d, max_tokens, threads);
    f->work = calloc(1, d->arch->work_bytes);
    if (!f->work) error_memory(err, d->arch->work_bytes, "a forward pass");
    if (err->status ||
        backend->reserve(&f->arena, forward_bytes_on(backend, d, max_tokens, threads), "a forward pass",
                         err) ||
        backend->open(&f->batch, &f->shape, err) ||
        backend->hold(f->batch, weights->block, weights->block_bytes, err)) {
        forward_close(f);
        return err->status;
    }
    carve(f, d, &f->arena, f->work);
    *forward = f;
    return STATUS_OK;
}

void forward_close(struct forward *forward)
{
    if (!forward) return;
    forward->backend->close(forward->batch);
    forward->backend->release(&forward->arena);
    free(forward->work);
    free(forward);
}

const struct backend *forward_backend(const struct forward *forward)
{
    return forward->backend;
}

struct team *forward_team(const struct forward *forward)
{
    return forward->batch->backend->team(forward->batch);
}

bool forward_divide(struct forward *forward, const int *lengths, int samples)
{
    if (!forward->backend->divide) return false;
    forward->backend->divide(forward->batch, lengths, samples);
    return true;
}

void forward_intercept(struct forward *forward, const struct backend *steps)
{
    forward->batch->backend = steps;
}

enum status forward_settle(struct forward *forward, struct error *err)
{
    return forward->backend->settle(forward->batch, err);
}

void forward_set_dither(struct forward *forward, uint64_t seed)
{
    forward->dither = seed;
    forward->batch->seeds = NULL;
}

void forward_set_dithers(struct forward *forward, const uint64_t *seeds)
{
    forward->dither = seeds[0];
    forward->batch->seeds = seeds;
}

void forward_measure(struct forward *forward, const struct pair *pairs, int count, int tokens,
                     struct measured *found)
{
    forward->batch->tokens = tokens;
    forward->backend->measure(forward->batch, pairs, count, found);
}

void forward_expect(struct forward *forward, const float *reference_logits, int count, int ids)
{
    if (forward->backend->expect)
        forward->backend->expect(forward->batch, reference_logits, count, ids, round_up16(ids));
}

void forward_predict(struct forward *forward, struct prediction *predictions, const float *reference_logits,
                     const float *mode_logits, const int32_t *next, int count, int first_id, int ids)
{
    forward->backend->predict(forward->batch, predictions, reference_logits, mode_logits, next, count,
                              first_id, ids, round_up16(ids));
}

void forward_collect(struct forward *forward, int left)
{
    if (forward->backend->collect) forward->backend->collect(forward->batch, left);
}

const float *forward_fetch(struct forward *forward, const float *from, long count)
{
    return forward->backend->fetch ? forward->backend->fetch(forward->batch, from, count) : from;
}

// ---- captures and observers ----

static bool give(const struct pass *pass, int component, const struct seen *seen)
{
    const struct capture *capture = ((const struct sink *)pass->context)->capture;
    if (!capture || !capture->want || !(capture->want[pass->layer] >> component & 1u)) return true;
    const struct backend *on = pass->batch->backend;
    const float *values;
    if (capture->see && capture->see(capture->context, pass->layer, component, seen, pass->room)) return true;
    float *place = capture->place ? capture->place(capture->context, component) : NULL;
    if (place) {
        on->keep(pass->batch, seen, place);
        values = place;
    } else {
        values = on->give(pass->batch, seen, pass->room);
    }
    return values &&
           capture->take(capture->context, pass->layer, component, values, pass->batch->tokens, seen->width);
}

// ---- the pass ----

static enum packed_form form_of(const struct recipe *recipe)
{
    static const enum packed_form forms[] = {
        [PRECISION_FP32] = PACKED_FP32, [PRECISION_FP16] = PACKED_FP16, [PRECISION_BY_UNIT] = PACKED_BY_UNIT};
    return forms[recipe->precision];
}

size_t stream_floats(const struct dims *dims, int length)
{
    return (size_t)length * (size_t)round_up16(dims->d_model);
}

// h = embedding rows; by unit rotated, and rounded to FP16 where the recipe has it.  residual = 0.  A W8A8
// checkpoint holds them rotated already; made of codes, they are FP16 numbers in every mode.
void forward_start(struct forward *forward, struct stream *stream, const struct recipe *recipe,
                   const int32_t *ids, int length)
{
    const struct weights *w = forward->weights;
    const struct backend *on = forward->batch->backend;
    stream->rotated = !recipe_is_float(recipe);
    const struct model *model = stream->rotated ? w->model : weights_float_model(w);
    const bool held_rotated = model_is_codes(model);
    const long ld = w->ld_model;
    forward->batch->tokens = length;
    on->zero(forward->batch, stream->residual, length * ld);
    on->embed(forward->batch, &(struct embedding){model_embedding_row, model, model->dims.vocab_size}, ids,
              stream->h, ld);
    if (model->ends.embedding) on->round_half(forward->batch, stream->h, ld);
    if (stream->rotated && !held_rotated)
        on->rotate(forward->batch, &w->rotations.model.forward, stream->h, ld);
    if (!stream->rotated && held_rotated)
        on->rotate(forward->batch, &w->rotations.model.inverse, stream->h, ld);
    if (recipe->embedding == FORMAT_FP16) on->round_half(forward->batch, stream->h, ld);
}

void stream_copy(struct forward *forward, const struct stream *from, struct stream *to, int length)
{
    to->rotated = from->rotated;
    stream_turn(forward, from, to, length);
}

bool stream_same(struct forward *forward, const struct stream *a, const struct stream *b, int length)
{
    const long count = length * forward->weights->ld_model;
    const struct backend *on = forward->batch->backend;
    return a->rotated == b->rotated && on->same(forward->batch, a->h, b->h, count) &&
           on->same(forward->batch, a->residual, b->residual, count);
}

void stream_turn(struct forward *forward, const struct stream *from, struct stream *to, int length)
{
    const struct rotations *rotations = &forward->weights->rotations;
    const struct hadamard *rotation = to->rotated ? &rotations->model.forward : &rotations->model.inverse;
    const struct backend *on = forward->batch->backend;
    const long ld = forward->weights->ld_model;
    forward->batch->tokens = length;
    on->copy(forward->batch, from->residual, to->residual, length * ld);
    on->copy(forward->batch, from->h, to->h, length * ld);
    if (to->rotated == from->rotated) return;
    on->rotate(forward->batch, rotation, to->residual, ld);
    on->rotate(forward->batch, rotation, to->h, ld);
}

bool forward_step(struct forward *forward, struct stream *stream, const struct recipe *recipe,
                  const float *scales, int layer, int length, const struct capture *capture,
                  const struct observation *observation)
{
    const struct weights *w = forward->weights;
    const struct dims *d = weights_dims(w);
    const struct sink sink = {capture, observation};
    const long behind_sites = (long)d->n_layer * d->arch->n_sites, of_groups = groups_scales(d).count;
    const struct layer_groups *groups = w->groups ? &w->groups->layers[layer] : NULL;
    const bool scaled = groups && of_groups > 0, // those of a checkpoint have no scales here
        by_site = observation && (observation->numbers || observation->see),
               by_group = observation && observation->numbers && scaled;
    const struct pass pass = {
        .batch = forward->batch,
        .dims = d,
        .recipe = recipe,
        .rotations = &w->rotations,
        .weights = weights_layer(w, form_of(recipe), layer),
        .work = forward->work,
        .room = forward->room,
        .scales = scales ? scales + (long)layer * d->arch->n_sites : NULL,
        .kind = model_layer_kind(w->model, layer),
        .given = w->model->scales ? model_scales(w->model, layer) : NULL,
        .group_scales = scales && scaled ? scales + behind_sites + layer * of_groups : NULL,
        .groups = groups,
        .residual = stream->residual,
        .h = stream->h,
        .normed = forward->normed,
        .xhat = forward->xhat,
        .codes = forward->codes,
        .dither = forward->dither,
        .layer = layer,
        .give = give,
        .observe = by_site ? sink_observe : NULL,
        .group_most = by_group ? observation->numbers + behind_sites + layer * of_groups : NULL,
        .channel_means = observation && observation->channel_means
                             ? observation->channel_means + (long)layer * d->d_inner
                             : NULL,
        .samples = observation ? observation->samples : 0,
        .lengths = observation ? observation->lengths : NULL,
        .group_row = observation ? observation->row : 0,
        .means_row = (long)d->n_layer * d->d_inner,
        .context = &sink};
    forward->batch->tokens = length;
    return d->arch->layer(&pass);
}

static bool run(struct forward *forward, const struct recipe *recipe, const float *scales, const int32_t *ids,
                int length, const struct capture *capture, const struct observation *observation)
{
    forward_start(forward, &forward->stream, recipe, ids, length);
    for (int l = 0; l < weights_dims(forward->weights)->n_layer; l++) {
        if (capture && capture->between_layers && !capture->between_layers(capture->context, l)) return false;
        if (!forward_step(forward, &forward->stream, recipe, scales, l, length, capture, observation))
            return false;
    }
    return true;
}

bool forward_run(struct forward *forward, const struct recipe *recipe, const float *scales,
                 const int32_t *ids, int length, const struct capture *capture)
{
    return run(forward, recipe, scales, ids, length, capture, NULL);
}

bool forward_observe(struct forward *forward, const struct observation *observation, const int32_t *ids,
                     int length, const struct capture *capture)
{
    static const struct recipe observed = {.precision = PRECISION_FP32, .embedding = FORMAT_FLOAT};
    return run(forward, &observed, NULL, ids, length, capture, observation);
}

enum status forward_unit_values(const struct forward *forward, int layer, int unit, float **values, int *rows,
                                int *depth, struct error *err)
{
    const struct weights *w = forward->weights;
    const struct arch *arch = w->model->dims.arch;
    struct arena scratch = {0};
    const struct packing packing = {.kernels = w->kernels,
                                    .model = w->model,
                                    .rotations = &w->rotations,
                                    .scratch = &scratch,
                                    .layer = layer};
    if (arena_init(&scratch, arch->scratch_bytes(&w->model->dims), "a weight", err)) return err->status;
    const float *made = arch->weight_values(&packing, unit, rows, depth);
    const size_t bytes = (size_t)*rows * (size_t)*depth * sizeof *made;
    *values = malloc(bytes);
    if (*values)
        memcpy(*values, made, bytes);
    else
        error_memory(err, bytes, "a weight");
    arena_clear(&scratch);
    return err->status;
}

bool forward_same_weight(const struct forward *forward, int layer, int unit, enum format a, enum format b)
{
    const struct dims *d = weights_dims(forward->weights);
    return d->arch->same_weight(d, weights_layer(forward->weights, PACKED_BY_UNIT, layer), unit, a, b);
}

static void copy_rows(const float *from, long ld_from, float *to, long ld_to, int rows, int width)
{
    for (int t = 0; t < rows; t++)
        memcpy(to + t * ld_to, from + t * ld_from, (size_t)width * sizeof *from);
}

bool forward_layer(struct forward *forward, const struct recipe *recipe, const float *scales, int layer,
                   int length, float *residual, float *h, const struct capture *capture)
{
    const int D = weights_dims(forward->weights)->d_model;
    const long ld = forward->weights->ld_model;
    struct stream *stream = &forward->stream;
    stream->rotated = !recipe_is_float(recipe);
    copy_rows(residual, D, stream->residual, ld, length, D);
    copy_rows(h, D, stream->h, ld, length, D);
    const bool done = forward_step(forward, stream, recipe, scales, layer, length, capture, NULL);
    copy_rows(stream->residual, ld, residual, D, length, D);
    copy_rows(stream->h, ld, h, D, length, D);
    return done;
}

// ---- head ----

// Behind the last layer: final norm with its weight, then lm_head.

static const struct head *head_of(const struct forward *forward, bool rotated)
{
    return rotated ? &forward->weights->head : &forward->weights->float_head;
}

void stream_norm(struct forward *forward, const struct stream *stream, int first, int count, float *normed)
{
    const struct weights *w = forward->weights;
    const struct dims *d = &w->model->dims;
    const struct backend *on = forward->batch->backend;
    const struct head *head = head_of(forward, stream->rotated);
    const long ld = w->ld_model, at = first * ld;
    forward->batch->tokens = count;
    // residual + h is formed in a copy, so that the call can be repeated.
    on->copy(forward->batch, stream->residual + at, forward->xhat, count * ld);
    struct norm norm = {
        .residual = forward->xhat, .h = stream->h + at, .ld = ld, .width = d->d_model, .eps = d->norm_eps};
    if (head->codes) { // n = sat8(rint(x̂' / s_f)), and behind the codes for each token whether it is finite
        norm.codes = (int8_t *)normed;
        norm.step = w->model->ends.lm_head_input;
        on->norm(forward->batch, &norm);
        on->mark_finite(forward->batch, forward->xhat, ld, d->d_model, (int8_t *)normed + count * ld);
        return;
    }
    norm.xhat = normed;
    on->norm(forward->batch, &norm);
    if (!head->norm_f) { // FP16 values, rotated as the stream is: n = FP16(x̂')
        on->round_half(forward->batch, normed, ld);
        return;
    }
    if (stream->rotated) on->rotate(forward->batch, &w->rotations.model.inverse, normed, ld);
    on->weigh(forward->batch, normed, ld, d->d_model, head->norm_f);
}

// logit = FP16((acc · s_W) · s_f), s_W of all or of each; NaN for a token whose row was not finite.
static void logits_of_codes(struct forward *forward, const uint8_t *codes, const float *scales,
                            const int8_t *normed, int width, float *logits)
{
    const struct weights *w = forward->weights;
    const struct backend *on = forward->batch->backend;
    struct gemm_s8 lm_head = {.a = normed,
                              .lda = w->ld_model,
                              .w = codes,
                              .depth = w->model->dims.d_model,
                              .result = GEMM_S8_HALF,
                              .first = w->model->ends.lm_head,
                              .first_outputs = scales,
                              .second = w->model->ends.lm_head_input,
                              .out = logits,
                              .ldo = width};
    on->product_s8(forward->batch, &lm_head, width);
    on->break_marked(forward->batch, normed + (long)forward->batch->tokens * w->ld_model, logits, width,
                     width);
}

void head_logits(struct forward *forward, bool rotated, const float *normed, int count, int first_id, int ids,
                 float *logits)
{
    const struct head *head = head_of(forward, rotated);
    const int depth = weights_dims(forward->weights)->d_model, width = round_up16(ids);
    forward->batch->tokens = count;
    if (head->codes) {
        logits_of_codes(forward, head->codes + (long)first_id * ((depth + 3) / 4 * 4),
                        head->scales ? head->scales + first_id : NULL, (const int8_t *)normed, width, logits);
        return;
    }
    const struct gemm_f32 lm_head = {.a = normed,
                                     .lda = forward->weights->ld_model,
                                     .w = head->lm_head + (long)first_id * depth,
                                     .depth = depth,
                                     .out = logits,
                                     .ldo = width,
                                     .half = !head->norm_f};
    forward->batch->backend->product_f32(forward->batch, &lm_head, width);
}

void forward_logits(struct forward *forward, int first, int count, float *logits)
{
    const struct stream *stream = &forward->stream;
    stream_norm(forward, stream, first, count, forward->normed);
    head_logits(forward, stream->rotated, forward->normed, count, 0,
                weights_dims(forward->weights)->vocab_size, logits);
}
