// SPDX-License-Identifier: Apache-2.0
#include <stddef.h>

#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/compute/measure.h"

void predictions_add(struct prediction *predictions, const float *reference_logits, const float *mode_logits,
                     const int32_t *next, int count, int first_id, int ids, int stride)
{
    const struct kernels *kernels = kernels_default();
    for (int t = 0; t < count; t++) {
        struct prediction *p = &predictions[t];
        const float *reference = reference_logits + (ptrdiff_t)t * stride;
        const float *mode = mode_logits + (ptrdiff_t)t * stride;
        struct logit_sums sums;
        kernels->logit_sums(reference, mode, ids, &sums);
        if (first_id == 0)
            p->sums = sums;
        else
            logit_sums_merge(&p->sums, &sums, first_id);
        if (next[t] >= first_id && next[t] < first_id + ids) p->next_logit = mode[next[t] - first_id];
    }
}

void end_of_model_add(struct end_of_model *total, const float *reference_logits, const float *mode_logits,
                      const int32_t *next, int count, int vocab, int stride)
{
    for (int t = 0; t < count; t++) {
        struct prediction prediction;
        for (int first = 0; first < vocab; first += PREDICTION_PIECE) {
            const ptrdiff_t at = (ptrdiff_t)t * stride + first;
            predictions_add(&prediction, reference_logits + at, mode_logits + at, next + t, 1, first,
                            vocab - first < PREDICTION_PIECE ? vocab - first : PREDICTION_PIECE, stride);
        }
        end_of_model_take(total, &prediction, next + t, 1);
    }
}
