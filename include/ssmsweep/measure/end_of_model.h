// SPDX-License-Identifier: Apache-2.0
// What a mode does to the model's predictions, token by token, without keeping the logits: the likelihood of
// the text, the divergence from the reference's distribution and agreement on the likeliest token.
#ifndef SSMSWEEP_MEASURE_END_OF_MODEL_H
#define SSMSWEEP_MEASURE_END_OF_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/measure/profile.h"

// Sums over the predictions of a next token in one sample; tokens + nonfinite = length - 1.  Natural
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

// Sums over two rows of logits: the reference's [0] and a mode's [1].  Element i goes into lane i mod 8,
// lanes are folded 4, 2, 1; exp in double with a relative error below 4e-16.
struct logit_sums {
    bool finite;    // all of both; where false, nothing of the following is set
    int top[2];     // lowest index of the largest
    float most[2];  // that logit
    double sum[2];  // sum of exp(v - most)
    double product; // sum of exp(r - most r) ((r - most r) - (m - most m)), by FMA
};
// A row of logits by itself, likewise.
struct logit_side {
    bool finite;
    int top;
    float most;
    double sum;
};
// total <- total with the ids behind it, of which the first is first_id.
void logit_sums_merge(struct logit_sums *total, const struct logit_sums *part, int first_id);

// A prediction while the vocabulary goes by, so that logits never leave the caches: sums are made of pieces
// of so many ids, in their order, and merged.
enum { PREDICTION_PIECE = 512 };
struct prediction {
    struct logit_sums sums;
    float next_logit; // of the mode
};

// The next piece of `count` predictions: logit_sums_merge() of each.
void predictions_merge(struct prediction *predictions, const struct logit_sums *parts, int count,
                       int first_id);

// Adds predictions that have had every piece.
void end_of_model_take(struct end_of_model *total, const struct prediction *predictions, const int32_t *next,
                       int count);

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
