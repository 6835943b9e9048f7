// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/forward/forward.h"

#include <stdlib.h>
#include <string.h>

#include "workspace.h"

static float *take_rows(struct arena *arena, long rows, long width)
{
    return arena_take(arena, (size_t)(rows * width) * sizeof(float));
}

static int8_t *take_codes(struct arena *arena, long rows, long width)
{
    return arena_take(arena, (size_t)(rows * width) + 4); // the INT8 kernels read groups of four
}

// Skips the d_conv - 1 rows of zeros in front of row 0 (NULL while measuring stays NULL).
static void *behind(void *block, size_t bytes)
{
    return block ? (char *)block + bytes : NULL;
}

// The one description of the workspace: measures it or gives out its parts.
static void carve(struct forward *f, const struct dims *d)
{
    struct arena *a = &f->arena;
    const long L = f->max_tokens, ldD = round_up16(d->d_model), ldI = round_up16(d->d_inner);
    const long ld_dbl = round_up16(d->dt_rank) + 2L * round_up16(d->d_state), before = d->d_conv - 1;
    f->residual = take_rows(a, L, ldD);
    f->h = take_rows(a, L, ldD);
    f->normed = take_rows(a, L, ldD);
    f->xhat = take_rows(a, L, ldD);
    f->xz = behind(take_rows(a, L + before, 2 * ldI), (size_t)(before * 2 * ldI) * sizeof(float));
    f->v = take_rows(a, L, ldI);
    f->dbl = take_rows(a, L, ld_dbl);
    f->dt = take_rows(a, L, ldI);
    f->n_codes = take_codes(a, L, ldD);
    f->xz_codes = behind(take_codes(a, L + before, 2 * ldI), (size_t)(before * 2 * ldI));
    f->u_codes = take_codes(a, L, ldI);
    f->scan_codes = take_codes(a, L, ldI);
    f->dbl_codes = take_codes(a, L, ld_dbl);
    f->dt_codes = take_codes(a, L, ldI);
    f->y_codes = take_codes(a, L, ldI);
    f->bias128 = arena_take(a, (size_t)L * sizeof *f->bias128);
    f->state = take_rows(a, d->d_state, ldI);
    const long rows = L > d->d_state ? L : d->d_state; // the state is observed through `captured` as well
    long wide = ldD > ldI ? ldD : ldI;
    if (ld_dbl > wide) wide = ld_dbl;
    f->y = take_rows(a, 1, L * ldI + rows * wide);
    f->captured = behind(f->y, (size_t)(L * ldI) * sizeof(float));
    f->scratch_floats = scan_scratch_floats(f->max_tokens, d->d_state);
    f->scratch = take_rows(a, f->threads, f->scratch_floats);
}

size_t forward_bytes(const struct dims *dims, int max_tokens, int threads)
{
    struct forward f = {.max_tokens = max_tokens, .threads = threads};
    arena_init_measure(&f.arena);
    carve(&f, dims);
    return f.arena.used_bytes;
}

enum status forward_open(struct forward **forward, const struct weights *weights, int max_tokens, int threads,
                         struct error *err)
{
    struct forward *f = calloc(1, sizeof *f);
    if (!f) return error_memory(err, sizeof *f, "a forward pass");
    f->weights = weights;
    f->max_tokens = max_tokens;
    f->threads = threads;
    if (arena_init(&f->arena, forward_bytes(weights_dims(weights), max_tokens, threads), "a forward pass",
                   err) ||
        team_open(&f->team, threads, err)) {
        arena_clear(&f->arena);
        free(f);
        return err->status;
    }
    carve(f, weights_dims(weights));
    *forward = f;
    return STATUS_OK;
}

void forward_close(struct forward *forward)
{
    if (!forward) return;
    team_close(forward->team);
    arena_clear(&forward->arena);
    free(forward);
}

struct team *forward_team(const struct forward *forward)
{
    return forward->team;
}

// Element or row `index`.
static struct tensor take_row(const struct tensor *tensor, int32_t index)
{
    struct tensor row = *tensor;
    row.data += (size_t)(index * tensor->stride[0]) * dtype_bytes(tensor->dtype);
    row.shape[0] = 1;
    return row;
}

// Of codes: code * scale of the row, which is exact.
static void copy_embedding(const struct forward *f, const struct model *model, int32_t id, float *out)
{
    const struct tensor row = take_row(model->embedding, id);
    if (!model->ends.embedding) {
        tensor_to_f32(&row, out);
        return;
    }
    const struct tensor scale = take_row(model->ends.embedding, id);
    float step;
    tensor_to_f32(&scale, &step);
    tensor_to_i8(&row, f->n_codes);
    for (int i = 0; i < model->dims.d_model; i++)
        out[i] = (float)f->n_codes[i] * step;
}

// h = embedding rows; for W8A8 rotated and rounded to FP16, for fp16 rounded.  residual = 0.  A W8A8
// checkpoint holds them rotated already; made of codes, they are FP16 numbers in every mode.
static void start(struct forward *f, const struct mode *mode, const int32_t *ids, int length)
{
    const struct weights *w = f->weights;
    f->rotated = mode->precision == PRECISION_W8A8;
    const struct model *model = f->rotated ? w->model : weights_float_model(w);
    const bool held_rotated = model->kind == MODEL_W8A8;
    const long ld = w->ld_model;
    f->length = length;
    memset(f->residual, 0, (size_t)(length * ld) * sizeof *f->residual);
    memset(f->h, 0, (size_t)(length * ld) * sizeof *f->h);
    for (int t = 0; t < length; t++)
        copy_embedding(f, model, ids[t], f->h + t * ld);
    if (model->ends.embedding) w->kernels->round_half(f->h, length * ld);
    if (f->rotated && !held_rotated) run_hadamard(f, &w->rotate_model.forward, f->h, ld);
    if (!f->rotated && held_rotated) run_hadamard(f, &w->rotate_model.inverse, f->h, ld);
    if (mode->precision != PRECISION_FP32) w->kernels->round_half(f->h, length * ld);
}

static bool run_layer(struct forward *f, const struct mode *mode, const float *scales, int layer,
                      const struct capture *capture)
{
    return mode_is_float(mode) ? layer_float(f, mode, layer, capture, NULL)
                               : layer_w8a8(f, mode, scales, layer, capture);
}

static bool go_on(const struct capture *capture, int layer)
{
    return !capture || !capture->between_layers || capture->between_layers(capture->context, layer);
}

bool forward_run(struct forward *forward, const struct mode *mode, const float *scales, const int32_t *ids,
                 int length, const struct capture *capture)
{
    start(forward, mode, ids, length);
    for (int l = 0; l < weights_dims(forward->weights)->n_layer; l++)
        if (!go_on(capture, l) || !run_layer(forward, mode, scales, l, capture)) return false;
    return true;
}

// What calibration looks at.
static const struct mode observed_mode = {.precision = PRECISION_FP32, .scan_order = SCAN_SEQUENTIAL};

bool forward_observe(struct forward *forward, const struct observation *observation, const int32_t *ids,
                     int length, const struct capture *capture)
{
    start(forward, &observed_mode, ids, length);
    for (int l = 0; l < weights_dims(forward->weights)->n_layer; l++)
        if (!go_on(capture, l) || !layer_float(forward, &observed_mode, l, capture, observation))
            return false;
    return true;
}

size_t stream_floats(const struct dims *dims, int length)
{
    return (size_t)length * (size_t)round_up16(dims->d_model);
}

void forward_start(struct forward *forward, struct stream *stream, const struct mode *mode,
                   const int32_t *ids, int length)
{
    struct forward f = *forward; // the same workspace, another residual stream
    f.residual = stream->residual, f.h = stream->h;
    start(&f, mode, ids, length);
    stream->rotated = f.rotated;
}

bool forward_step(struct forward *forward, struct stream *stream, const struct mode *mode,
                  const float *scales, int layer, int length, const struct capture *capture,
                  const struct observation *observation)
{
    struct forward f = *forward;
    f.residual = stream->residual, f.h = stream->h;
    f.length = length;
    return mode_is_float(mode) ? layer_float(&f, mode, layer, capture, observation)
                               : layer_w8a8(&f, mode, scales, layer, capture);
}

void forward_set_dither(struct forward *forward, uint64_t seed)
{
    forward->dither = seed;
}

static void copy_rows(const float *from, long ld_from, float *to, long ld_to, int rows, int width)
{
    for (int t = 0; t < rows; t++)
        memcpy(to + t * ld_to, from + t * ld_from, (size_t)width * sizeof *from);
}

bool forward_layer(struct forward *forward, const struct mode *mode, const float *scales, int layer,
                   int length, float *residual, float *h, const struct capture *capture)
{
    const int D = weights_dims(forward->weights)->d_model;
    const long ld = forward->weights->ld_model;
    forward->length = length;
    forward->rotated = !mode_is_float(mode);
    copy_rows(residual, D, forward->residual, ld, length, D);
    copy_rows(h, D, forward->h, ld, length, D);
    const bool done = run_layer(forward, mode, scales, layer, capture);
    copy_rows(forward->residual, ld, residual, D, length, D);
    copy_rows(forward->h, ld, h, D, length, D);
    return done;
}

static const struct head *head_of(const struct forward *forward, bool rotated)
{
    return rotated ? &forward->weights->head : &forward->weights->float_head;
}

// The codes of the rows, and behind them for each token whether its row is finite.  `normed` may be the rows.
static void put_codes(const struct forward *f, const float *rows, float *normed)
{
    const long ld = f->weights->ld_model;
    int8_t *finite = (int8_t *)normed + f->length * ld;
    for (int t = 0; t < f->length; t++)
        f->bias128[t] = row_is_finite(rows + t * ld, f->weights->model->dims.d_model);
    memcpy(normed, f->n_codes, (size_t)(f->length * ld));
    for (int t = 0; t < f->length; t++)
        finite[t] = (int8_t)f->bias128[t];
}

void stream_norm(struct forward *forward, const struct stream *stream, int first, int count, float *normed)
{
    struct forward f = *forward; // the same buffers
    const struct weights *w = f.weights;
    const struct dims *d = &w->model->dims;
    const struct head *head = head_of(forward, stream->rotated);
    const long ld = w->ld_model, at = first * ld;
    f.length = count;
    // residual + h is formed in a copy, so that the call can be repeated.
    memcpy(f.normed, stream->residual + at, (size_t)(count * ld) * sizeof *f.normed);
    struct norm norm = {
        .residual = f.normed, .h = stream->h + at, .ld = ld, .width = d->d_model, .eps = d->norm_eps};
    if (head->codes) { // n = sat8(rint(x̂' / s_f))
        norm.codes = f.n_codes;
        norm.step = w->model->ends.lm_head_input;
        run_norm(&f, &norm);
        put_codes(&f, f.normed, normed);
        return;
    }
    norm.xhat = f.xhat;
    run_norm(&f, &norm);
    if (stream->rotated) run_hadamard(&f, &w->rotate_model.inverse, f.xhat, ld);
    for (int t = 0; t < count; t++)
        for (int i = 0; i < d->d_model; i++)
            normed[t * ld + i] = f.xhat[t * ld + i] * head->norm_f[i];
}

// logit = FP16((acc · s_W) · s_f); NaN for a token whose row was not finite.
static void logits_of_codes(struct forward *f, const uint8_t *codes, const int8_t *normed, int width,
                            float *logits)
{
    const struct w8a8_ends *ends = &f->weights->model->ends;
    struct gemm_s8 lm_head = {.a = normed,
                              .lda = f->weights->ld_model,
                              .w = codes,
                              .depth = f->weights->model->dims.d_model,
                              .result = GEMM_S8_HALF,
                              .first = ends->lm_head,
                              .second = ends->lm_head_input,
                              .out = logits,
                              .ldo = width};
    run_row_sums(f, &lm_head);
    run_gemm_s8(f, &lm_head, width / KERNEL_LANES);
    const int8_t *finite = normed + f->length * f->weights->ld_model;
    for (int t = 0; t < f->length; t++)
        if (!finite[t]) break_row(logits + (long)t * width, width);
}

void head_logits(struct forward *forward, bool rotated, const float *normed, int count, int first_id, int ids,
                 float *logits)
{
    struct forward f = *forward;
    const struct head *head = head_of(forward, rotated);
    const int depth = f.weights->model->dims.d_model, width = round_up16(ids);
    f.length = count;
    if (head->codes) {
        logits_of_codes(&f, head->codes + (long)first_id * ((depth + 3) / 4 * 4), (const int8_t *)normed,
                        width, logits);
        return;
    }
    struct gemm_f32 lm_head = {.a = normed,
                               .lda = f.weights->ld_model,
                               .w = head->lm_head + (long)first_id * depth,
                               .depth = depth,
                               .out = logits,
                               .ldo = width};
    run_gemm_f32(&f, &lm_head, width / KERNEL_LANES);
}

void forward_logits(struct forward *forward, int first, int count, float *logits)
{
    const struct stream stream = {
        .residual = forward->residual, .h = forward->h, .rotated = forward->rotated};
    stream_norm(forward, &stream, first, count, forward->normed);
    head_logits(forward, stream.rotated, forward->normed, count, 0, forward->weights->model->dims.vocab_size,
                logits);
}
