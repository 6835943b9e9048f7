// SPDX-License-Identifier: Apache-2.0
// What a mode does to the model's predictions, token by token, without keeping the logits: the likelihood of
// the text, the divergence from the reference's distribution and agreement on the likeliest token.
#ifndef SSMSWEEP_MEASURE_END_OF_MODEL_H
#define SSMSWEEP_MEASURE_END_OF_MODEL_H

#include <stdint.h>

#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/measure/profile.h"

// Of one sample: sums over its predictions of a next token; tokens + nonfinite = length - 1.  Natural
// logarithms.  Plain data, merged by adding, in the order of the samples.
struct end_of_model {
    uint64_t tokens;
    uint64_t top1_agree;   // the likeliest token is the reference's (the lowest id of equals)
    uint64_t top1_correct; // it is the next token of the text
    uint64_t nonfinite;    // predictions with a NaN or Inf among the logits; they are in none of the others
    double nll;            // sum of -log p_mode(next token); perplexity = exp(nll / tokens)
    double kl;             // sum of KL(p_reference || p_mode)
    double kl_squares;     // sum of its squares
    double kl_max;
    uint64_t kl_bins[PROFILE_BINS]; // histogram of the KL of each prediction, bins as profile_bin()
};

void end_of_model_clear(struct end_of_model *total);
void end_of_model_merge(struct end_of_model *total, const struct end_of_model *part);

// A prediction while the vocabulary goes by, so that logits never leave the caches: sums are made of pieces
// of so many ids, in their order, and merged.
enum { PREDICTION_PIECE = 512 };
struct prediction {
    struct logit_sums sums;
    float next_logit; // of the mode
};

// The next piece of `count` predictions: logits[count][stride] of ids [first_id, first_id + ids), of the
// reference and of the mode (may be the same array), and next[count], each in the vocabulary.  first_id is 0
// at first, then grows by PREDICTION_PIECE; only the last piece may have fewer ids.
void predictions_add(struct prediction *predictions, const float *reference_logits, const float *mode_logits,
                     const int32_t *next, int count, int first_id, int ids, int stride);
// Adds predictions that have had every piece.
void end_of_model_take(struct end_of_model *total, const struct prediction *predictions, const int32_t *next,
                       int count);

// Both at once: logits[count][stride], of which the first `vocab` of a row count.  In double throughout,
// within 1e-14 of the exact KL and log-likelihood of a prediction (relative to max(1, the largest term));
// sums in a fixed order: the same bits everywhere, and in whatever pieces the predictions come.
void end_of_model_add(struct end_of_model *total, const float *reference_logits, const float *mode_logits,
                      const int32_t *next, int count, int vocab, int stride);

// ---- sums of samples side by side ----

// Columns of a table of the whole model's numbers, [TEXT_COLUMNS][samples]: sums over
// the predicted tokens of a sample, logarithms natural.
enum text_column {
    TEXT_TOKENS,     // predicted tokens
    TEXT_NLL_REF,    // sum of -log p(token) under the reference
    TEXT_NLL_MODE,   // the same under the mode
    TEXT_KL,         // sum of KL(reference || mode), nats
    TEXT_TOP1_AGREE, // tokens whose most likely successor is the same
    TEXT_COLUMNS
};

// Fills column `sample` of table [TEXT_COLUMNS][samples]; NaN where logits of either side are not finite.
// Local; no memory is taken.
void end_of_model_fill(const struct end_of_model *reference, const struct end_of_model *mode, int samples,
                       int sample, double *table);

#endif
