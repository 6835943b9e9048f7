// SPDX-License-Identifier: Apache-2.0
// What is worked out about a model: sizes, and the time of one layer on this machine.
#include <stdlib.h>

#include "info_parts.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/sweep/progress.h"

enum { MEASURED_TOKENS = 128, REPEATS = 2, ALIGN = 64 };

// ---- counts ----

static void count_parameters(struct model_facts *facts, const struct model *model)
{
    facts->tied = model->lm_head->data == model->embedding->data; // one storage under two names too
    facts->parameters = tensor_elements(model->embedding) + tensor_elements(model->norm_f) +
                        (facts->tied ? 0 : tensor_elements(model->lm_head));
    for (int i = 0; i < model->dims.n_layer * model->dims.arch->n_tensors; i++)
        facts->parameters += tensor_elements(model->tensors[i]);
    for (size_t i = 0; i < checkpoint_count(model->checkpoint); i++) {
        const struct tensor *tensor = checkpoint_at(model->checkpoint, i);
        facts->elements[tensor->dtype] += tensor_elements(tensor);
    }
}

// ---- the time of a layer ----

struct stand {
    struct model model; // of one layer
    struct weights *weights;
    struct forward *forward;
    void *memory;
    float *residual, *h;
    int tokens;
};

static void close_stand(struct stand *stand)
{
    forward_close(stand->forward);
    weights_close(stand->weights);
    free(stand->memory);
    free(stand->residual);
    free(stand->h);
}

static enum status open_stand(struct stand *stand, const struct model *model, unsigned part, int threads,
                              struct error *err)
{
    stand->model = *model;
    stand->model.dims.n_layer = 1;
    const size_t bytes = weights_bytes(&stand->model, part), padded = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    const size_t values = (size_t)stand->tokens * (size_t)model->dims.d_model;
    stand->memory = aligned_alloc(ALIGN, padded);
    stand->residual = calloc(values, sizeof(float));
    stand->h = calloc(values, sizeof(float));
    if (!stand->memory || !stand->residual || !stand->h) return error_memory(err, padded, "one layer");
    if (weights_open(&stand->weights, &stand->model, part, stand->memory, err) ||
        weights_pack(stand->weights, 0, NULL, err))
        return err->status;
    return forward_open(&stand->forward, stand->weights, stand->tokens, threads, err);
}

static double time_layer(struct stand *stand, const struct mode *mode)
{
    float scales[ARCH_MOST_SITES];
    double best = 0;
    for (int i = 0; i < ARCH_MOST_SITES; i++)
        scales[i] = 0.05f; // the time does not depend on it
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        for (long i = 0; i < (long)stand->tokens * stand->model.dims.d_model; i++)
            stand->residual[i] = (float)(i % 17) - 8.0f;
        double started = progress_clock();
        forward_layer(stand->forward, mode, scales, 0, stand->tokens, stand->residual, stand->h,
                      &(struct capture){.want = (const uint32_t[1]){0}});
        double seconds = progress_clock() - started;
        if (repeat == 0 || seconds < best) best = seconds;
    }
    return best;
}

static enum status measure(const struct model_facts *facts, enum precision precision, unsigned part,
                           double *seconds, struct error *err)
{
    const struct mode *mode = NULL;
    for (int m = 0; m < mode_count() && !mode; m++)
        if (mode_at(m)->precision == precision) mode = mode_at(m);
    struct stand stand = {.tokens = facts->tokens < MEASURED_TOKENS ? facts->tokens : MEASURED_TOKENS};
    if (!open_stand(&stand, facts->model, part, facts->threads, err))
        *seconds = time_layer(&stand, mode) * facts->model->dims.n_layer * facts->tokens / stand.tokens;
    close_stand(&stand);
    return err->status;
}

enum status model_facts_find(struct model_facts *facts, const struct model *model, int tokens, int threads,
                             struct error *err)
{
    struct model_facts found = {.model = model, .tokens = tokens, .threads = threads};
    count_parameters(&found, model);
    found.fp32_bytes = weights_bytes(model, WEIGHTS_FP32);
    found.fp16_bytes = weights_bytes(model, WEIGHTS_FP16);
    found.w8a8_bytes = weights_bytes(model, WEIGHTS_W8A8);
    found.lm_head_bytes = weights_bytes(model, WEIGHTS_LM_HEAD);
    found.workspace_bytes = forward_bytes(&model->dims, tokens, threads);
    found.flop_per_token = model->dims.n_layer * model->dims.arch->operations(&model->dims) +
                           2.0 * model->dims.d_model * model->dims.vocab_size;
    if (measure(&found, PRECISION_FP32, WEIGHTS_FP32, &found.fp32_seconds, err) ||
        measure(&found, PRECISION_W8A8, WEIGHTS_W8A8, &found.w8a8_seconds, err))
        return err->status;
    *facts = found;
    return STATUS_OK;
}
