// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/numerics/end_of_model.h"

#include <math.h>
#include <stddef.h>

#include "ssmsweep/numerics/kernels.h"

void end_of_model_clear(struct end_of_model *total)
{
    *total = (struct end_of_model){0};
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

// Natural logarithm of x >= 1 within 1e-15 relative to max(1, log x), in basic operations alone: libraries
// differ in the last bit of theirs.  x = m 2^e with m in [sqrt(1/2), sqrt(2)), log m = 2 artanh z with
// z = (m - 1) / (m + 1), |z| < 0.172.
static double natural_log(double x)
{
    int e;
    double m = frexp(x, &e);
    if (m < 0x1.6a09e667f3bcdp-1) m *= 2, e--;
    const double z = (m - 1) / (m + 1), zz = z * z;
    double series = 0; // 1 + z^2/3 + z^4/5 + ...
    for (int k = 21; k > 0; k -= 2)
        series = series * zz + 1.0 / k;
    return (double)e * 0x1.62e42fefa39efp-1 + 2 * z * series;
}

// log p = v - most - log sum;  KL = sum p_ref (log p_ref - log p_mode), which rounding may take below zero.
static void add_prediction(struct end_of_model *total, const struct logit_sums *sums, const float *mode,
                           int32_t next)
{
    const double log_ref = natural_log(sums->sum[0]), log_mode = natural_log(sums->sum[1]);
    double kl = sums->product / sums->sum[0] - (log_ref - log_mode);
    kl = kl > 0 ? kl : 0;
    total->tokens++;
    total->top1_agree += sums->top[0] == sums->top[1];
    total->top1_correct += sums->top[1] == next;
    total->nll += log_mode - ((double)mode[next] - (double)sums->most[1]);
    total->kl += kl;
    total->kl_squares += kl * kl;
    total->kl_max = kl > total->kl_max ? kl : total->kl_max;
    total->kl_bins[profile_bin(kl)]++;
}

void end_of_model_add(struct end_of_model *total, const float *reference_logits, const float *mode_logits,
                      const int32_t *next, int count, int vocab, int stride)
{
    const struct kernels *kernels = kernels_default();
    for (int t = 0; t < count; t++) {
        const float *reference = reference_logits + (ptrdiff_t)t * stride;
        const float *mode = mode_logits + (ptrdiff_t)t * stride;
        struct logit_sums sums;
        kernels->logit_sums(reference, mode, vocab, &sums);
        if (sums.finite)
            add_prediction(total, &sums, mode, next[t]);
        else
            total->nonfinite++;
    }
}
