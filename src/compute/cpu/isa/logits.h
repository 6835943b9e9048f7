// SPDX-License-Identifier: Apache-2.0
// Softmax sums over two rows of logits.
#include <float.h>

#include "ssmsweep/compute/kernels.h"
#include "vecd.h"

// The largest value per lane, where it was first seen, and a sum that only finite values leave at zero.
struct top_lanes {
    vf most, spoiled;
    vi index;
};

VEC void top_step(struct top_lanes *top, vf v, vi index)
{
    vi above = v > top->most;
    top->most = vf_bits((vi_bits(v) & above) | (vi_bits(top->most) & ~above));
    top->index = (index & above) | (top->index & ~above);
    top->spoiled = vf_fma(v, vf_zero(), top->spoiled);
}

// False where a value is not finite.
VEC bool top_fold(const struct top_lanes *top, int *index, float *most)
{
    bool finite = true;
    *index = top->index[0], *most = top->most[0];
    for (int j = 0; j < VW; j++) {
        finite &= top->spoiled[j] == 0;
        if (top->most[j] > *most || (top->most[j] == *most && top->index[j] < *index))
            *index = top->index[j], *most = top->most[j];
    }
    return finite;
}

// The largest of row[0 .. count) and its lowest index.  In front of the last incomplete vector, -FLT_MAX is
// never above anything and finite.
static bool logit_top(const float *row, int count, int *index, float *most)
{
    struct top_lanes top = {vf_set1(-FLT_MAX), vf_zero(), {0}};
    vi at;
    for (int j = 0; j < VW; j++)
        at[j] = j;
    int i = 0;
    for (; i + VW <= count; i += VW, at += VW)
        top_step(&top, vf_load(row + i), at);
    if (i < count) {
        float tail[VW];
        for (int j = 0; j < VW; j++)
            tail[j] = i + j < count ? row[i + j] : -FLT_MAX;
        top_step(&top, vf_load(tail), at);
    }
    return top_fold(&top, index, most);
}

// ---- sums: rows of so many vectors side by side ----

enum { LOGIT_VECTORS = EXPS_SIDE_BY_SIDE, LOGIT_STEP = LOGIT_VECTORS * DW };
#define EACH_LOGITS _Pragma("GCC unroll 4") for (int i = 0; i < LOGIT_VECTORS; i++)

// LOGIT_STEP logits, of which the first `count` are there, and `room` for them where these are not all.
VEC const float *logits_from(const float *row, int count, float room[LOGIT_STEP])
{
    if (count >= LOGIT_STEP) return row;
    memset(room, 0, LOGIT_STEP * sizeof *room);
    memcpy(room, row, (size_t)count * sizeof *room);
    return room;
}

// v - most and its exponential, which is 0 behind the first `count`.
VEC void logit_exps(const float *v, vd most, int count, vd *difference, vd *exps)
{
    EACH_LOGITS difference[i] = vd_load_floats(v + i * DW) - most;
    EACH_LOGITS exps[i] = difference[i];
    vd_exps(exps, LOGIT_VECTORS);
    if (count >= LOGIT_STEP) return;
    EACH_LOGITS exps[i] = (vd)((vl)exps[i] & vl_first(count, i));
}

VEC double sum_fold(const vd parts[DPARTS])
{
    double lane[SUM_LANES];
    memcpy(lane, parts, sizeof lane);
    return fold(lane);
}

static void logit_side(const float *row, int count, struct logit_side *side, double *exps)
{
    side->finite = logit_top(row, count, &side->top, &side->most);
    if (!side->finite) return;
    const vd most = vd_set1((double)side->most);
    vd sum[DPARTS] = {{0}};
    for (int at = 0; at < count; at += LOGIT_STEP) {
        float room[LOGIT_STEP];
        double tail[LOGIT_STEP];
        vd r[LOGIT_VECTORS], p[LOGIT_VECTORS];
        const int left = count - at;
        logit_exps(logits_from(row + at, left, room), most, left, r, p);
        EACH_LOGITS sum[i % DPARTS] += p[i];
        double *to = left < LOGIT_STEP ? tail : exps + at;
        EACH_LOGITS vd_store(to + i * DW, p[i]);
        if (left < LOGIT_STEP) memcpy(exps + at, tail, (size_t)left * sizeof *exps);
    }
    side->sum = sum_fold(sum);
}

struct logit_lanes {
    vd sum[DPARTS], product[DPARTS];
};

VEC void logit_step(struct logit_lanes *l, const float *reference, const double *exps, const float *mode,
                    vd most_reference, vd most_mode, int count)
{
    vd m[LOGIT_VECTORS], q[LOGIT_VECTORS];
    logit_exps(mode, most_mode, count, m, q);
    EACH_LOGITS l->sum[i % DPARTS] += q[i];
    EACH_LOGITS
    {
        const vd r = vd_load_floats(reference + i * DW) - most_reference;
        l->product[i % DPARTS] = vd_fma(vd_load(exps + i * DW), r - m[i], l->product[i % DPARTS]);
    }
}

static void logit_sums(const float *reference, const struct logit_side *side, const double *exps,
                       const float *mode, int count, struct logit_sums *sums)
{
    sums->finite = logit_top(mode, count, &sums->top[1], &sums->most[1]) && side->finite;
    if (!sums->finite) return;
    sums->top[0] = side->top, sums->most[0] = side->most, sums->sum[0] = side->sum;
    const vd most_reference = vd_set1((double)side->most), most_mode = vd_set1((double)sums->most[1]);
    struct logit_lanes l = {{{0}}, {{0}}};
    int at = 0;
    for (; at + LOGIT_STEP <= count; at += LOGIT_STEP)
        logit_step(&l, reference + at, exps + at, mode + at, most_reference, most_mode, LOGIT_STEP);
    if (at < count) {
        float tail[2][LOGIT_STEP];
        double rest[LOGIT_STEP] = {0};
        memcpy(rest, exps + at, (size_t)(count - at) * sizeof *rest);
        logit_step(&l, logits_from(reference + at, count - at, tail[0]), rest,
                   logits_from(mode + at, count - at, tail[1]), most_reference, most_mode, count - at);
    }
    sums->sum[1] = sum_fold(l.sum);
    sums->product = sum_fold(l.product);
}
