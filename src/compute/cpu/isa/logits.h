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

struct logit_lanes {
    vd sum[2][DPARTS], product[DPARTS];
};

// Eight logits of each; masked: only the first `count` of them.
VEC void logit_step(struct logit_lanes *l, const float *reference, const float *mode, const vd most[2],
                    bool masked, int count)
{
#pragma GCC unroll 4
    for (int part = 0; part < DPARTS; part++) {
        vd r = vd_load_floats(reference + part * DW) - most[0],
           m = vd_load_floats(mode + part * DW) - most[1];
        vd p = vd_exp(r), q = vd_exp(m);
        if (masked) {
            p = (vd)((vl)p & vl_first(count, part));
            q = (vd)((vl)q & vl_first(count, part));
        }
        l->sum[0][part] += p;
        l->sum[1][part] += q;
        l->product[part] = vd_fma(p, r - m, l->product[part]);
    }
}

VEC double sum_fold(const vd parts[DPARTS])
{
    double lane[SUM_LANES];
    memcpy(lane, parts, sizeof lane);
    return fold(lane);
}

static void logit_sums(const float *reference, const float *mode, int count, struct logit_sums *sums)
{
    const bool finite = logit_top(reference, count, &sums->top[0], &sums->most[0]);
    sums->finite = logit_top(mode, count, &sums->top[1], &sums->most[1]) && finite;
    if (!sums->finite) return;
    const vd most[2] = {vd_set1((double)sums->most[0]), vd_set1((double)sums->most[1])};
    struct logit_lanes l = {0};
    int i = 0;
    for (; i + SUM_LANES <= count; i += SUM_LANES)
        logit_step(&l, reference + i, mode + i, most, false, 0);
    if (i < count) {
        float tail[2][SUM_LANES] = {{0}};
        memcpy(tail[0], reference + i, (size_t)(count - i) * sizeof *reference);
        memcpy(tail[1], mode + i, (size_t)(count - i) * sizeof *mode);
        logit_step(&l, tail[0], tail[1], most, true, count - i);
    }
    sums->sum[0] = sum_fold(l.sum[0]);
    sums->sum[1] = sum_fold(l.sum[1]);
    sums->product = sum_fold(l.product);
}
