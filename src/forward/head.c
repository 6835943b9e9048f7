// SPDX-License-Identifier: Apache-2.0
// Behind the last layer: final norm with its weight, then lm_head.
#include <string.h>

#include "parts.h"

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
    memcpy(forward->xhat, stream->residual + at, (size_t)(count * ld) * sizeof *forward->xhat);
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
    if (stream->rotated) on->rotate(forward->batch, &w->rotations.model.inverse, normed, ld);
    for (int t = 0; t < count; t++)
        for (int i = 0; i < d->d_model; i++)
            normed[t * ld + i] *= head->norm_f[i];
}

// logit = FP16((acc · s_W) · s_f); NaN for a token whose row was not finite.
static void logits_of_codes(struct forward *forward, const uint8_t *codes, const int8_t *normed, int width,
                            float *logits)
{
    const struct weights *w = forward->weights;
    const struct backend *on = forward->batch->backend;
    struct gemm_s8 lm_head = {.a = normed,
                              .lda = w->ld_model,
                              .w = codes,
                              .depth = w->model->dims.d_model,
                              .result = GEMM_S8_HALF,
                              .first = w->model->ends.lm_head,
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
        logits_of_codes(forward, head->codes + (long)first_id * ((depth + 3) / 4 * 4), (const int8_t *)normed,
                        width, logits);
        return;
    }
    const struct gemm_f32 lm_head = {.a = normed,
                                     .lda = forward->weights->ld_model,
                                     .w = head->lm_head + (long)first_id * depth,
                                     .depth = depth,
                                     .out = logits,
                                     .ldo = width};
    forward->batch->backend->product_f32(forward->batch, &lm_head, width);
}

void forward_logits(struct forward *forward, int first, int count, float *logits)
{
    const struct stream *stream = &forward->stream;
    stream_norm(forward, stream, first, count, forward->normed);
    head_logits(forward, stream->rotated, forward->normed, count, 0,
                weights_dims(forward->weights)->vocab_size, logits);
}
