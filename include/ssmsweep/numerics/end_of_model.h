// SPDX-License-Identifier: Apache-2.0
// What a mode does to the model's predictions, token by token, without keeping the logits: the likelihood of
// the text, the divergence from the reference's distribution and agreement on the likeliest token.
#ifndef SSMSWEEP_NUMERICS_END_OF_MODEL_H
#define SSMSWEEP_NUMERICS_END_OF_MODEL_H

#include <stdint.h>

#include "ssmsweep/numerics/profile.h"

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

// Adds predictions: logits[count][stride], of which the first `vocab` of a row count, of the reference and of
// the mode (may be the same array), and next[count], each in [0, vocab).  In double throughout, within 1e-14
// of the exact KL and log-likelihood of a prediction (relative to max(1, the largest term)); sums in a fixed
// order: the same bits everywhere, and in whatever pieces the predictions come.
void end_of_model_add(struct end_of_model *total, const float *reference_logits, const float *mode_logits,
                      const int32_t *next, int count, int vocab, int stride);

#endif
