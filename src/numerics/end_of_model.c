// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/numerics/end_of_model.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

void end_of_model_clear(struct end_of_model *total)
{
    memset(total, 0, sizeof *total);
}

void end_of_model_merge(struct end_of_model *total, const struct end_of_model *part)
{
    total->tokens += part->tokens;
    total->top1_agree += part->top1_agree;
    total->top1_correct += part->top1_correct;
    total->nonfinite += part->nonfinite;
    total->nll += part->nll;
    total->kl += part->kl;
    total->kl_squares += part->kl_squares;
    total->kl_max = part->kl_max > total->kl_max ? part->kl_max : total->kl_max;
    for (int i = 0; i < PROFILE_BINS; i++)
        total->kl_bins[i] += part->kl_bins[i];
}

// The distribution that a row of logits stands for.
struct row {
    const float *logits;
    int best;
    double log_sum; // of exp(logit)
};

// False: a logit is NaN or Inf.
static bool read_row(struct row *row, const float *logits, int vocab)
{
    double sum = 0;
    *row = (struct row){.logits = logits};
    for (int i = 0; i < vocab; i++) {
        if (!isfinite(logits[i])) return false;
        if (logits[i] > logits[row->best]) row->best = i;
    }
    for (int i = 0; i < vocab; i++)
        sum += exp((double)logits[i] - (double)logits[row->best]);
    row->log_sum = (double)logits[row->best] + log(sum);
    return true;
}

static double divergence(const struct row *reference, const struct row *mode, int vocab)
{
    double kl = 0;
    for (int i = 0; i < vocab; i++) {
        const double p = (double)reference->logits[i] - reference->log_sum;
        kl += exp(p) * (p - ((double)mode->logits[i] - mode->log_sum));
    }
    return kl > 0 ? kl : 0; // what is below is rounding
}

static void add_prediction(struct end_of_model *total, const struct row *reference, const struct row *mode,
                           int next, int vocab)
{
    const double kl = reference->logits == mode->logits ? 0 : divergence(reference, mode, vocab);
    total->top1_agree += reference->best == mode->best;
    total->top1_correct += mode->best == next;
    total->nll += mode->log_sum - (double)mode->logits[next];
    total->kl += kl;
    total->kl_squares += kl * kl;
    total->kl_max = kl > total->kl_max ? kl : total->kl_max;
    total->kl_bins[profile_bin(kl)]++;
}

void end_of_model_add(struct end_of_model *total, const float *reference_logits, const float *mode_logits,
                      const int32_t *next, int count, int vocab, int stride)
{
    for (int t = 0; t < count; t++) {
        struct row reference, mode;
        const size_t at = (size_t)t * (size_t)stride;
        total->tokens++;
        if (read_row(&reference, reference_logits + at, vocab) && read_row(&mode, mode_logits + at, vocab))
            add_prediction(total, &reference, &mode, next[t], vocab);
        else
            total->nonfinite++;
    }
}
