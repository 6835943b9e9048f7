// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/measure/end_of_model.h"

#include <math.h>

#include "ssmsweep/measure/logit_merge.h"

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

// Up to EXPS of them.
static void merge_some(struct prediction *total, const struct logit_sums *parts, int count, int first_id)
{
    double exps[2][EXPS] = {{0}};
    for (int i = 0; i < count; i++) {
        total[i].sums.finite = total[i].sums.finite && parts[i].finite;
        for (int k = 0; k < 2 && total[i].sums.finite; k++)
            exps[k][i] = -fabs(logit_rise(total[i].sums.most[k], parts[i].most[k]));
    }
    natural_exps(exps[0], EXPS);
    natural_exps(exps[1], EXPS);
    for (int i = 0; i < count; i++)
        if (total[i].sums.finite)
            logit_merge(&total[i].sums, &parts[i], first_id, (double[]){exps[0][i], exps[1][i]});
}

void predictions_merge(struct prediction *total, const struct logit_sums *parts, int count, int first_id)
{
    for (int i = 0; i < count; i += EXPS)
        merge_some(total + i, parts + i, count - i < EXPS ? count - i : EXPS, first_id);
}

void logit_sums_merge(struct logit_sums *total, const struct logit_sums *part, int first_id)
{
    struct prediction one = {.sums = *total};
    merge_some(&one, part, 1, first_id);
    *total = one.sums;
}

// log p = v - most - log sum;  KL = sum p_ref (log p_ref - log p_mode), which rounding may take below zero.
static void take_prediction(struct end_of_model *total, const struct prediction *prediction, int32_t next)
{
    const struct logit_sums *sums = &prediction->sums;
    const double log_ref = natural_log(sums->sum[0]), log_mode = natural_log(sums->sum[1]);
    double kl = sums->product / sums->sum[0] - (log_ref - log_mode);
    kl = kl > 0 ? kl : 0;
    total->tokens++;
    total->top1_agree += sums->top[0] == sums->top[1];
    total->top1_correct += sums->top[1] == next;
    total->nll += log_mode - ((double)prediction->next_logit - (double)sums->most[1]);
    total->kl += kl;
    total->kl_squares += kl * kl;
    total->kl_max = kl > total->kl_max ? kl : total->kl_max;
    total->kl_bins[profile_bin(kl)]++;
}

void end_of_model_take(struct end_of_model *total, const struct prediction *predictions, const int32_t *next,
                       int count)
{
    for (int t = 0; t < count; t++) {
        if (predictions[t].sums.finite)
            take_prediction(total, &predictions[t], next[t]);
        else
            total->nonfinite++;
    }
}

void end_of_model_fill(const struct end_of_model *reference, const struct end_of_model *mode, int samples,
                       int sample, double *table)
{
    const double row[TEXT_COLUMNS] = {[TEXT_TOKENS] = (double)mode->tokens,
                                      [TEXT_NLL_REF] = reference->nll,
                                      [TEXT_NLL_MODE] = mode->nll,
                                      [TEXT_KL] = mode->kl,
                                      [TEXT_TOP1_AGREE] = (double)mode->top1_agree};
    for (int c = 0; c < TEXT_COLUMNS; c++)
        table[c * samples + sample] = reference->nonfinite || mode->nonfinite ? (double)NAN : row[c];
}
