// SPDX-License-Identifier: Apache-2.0
// Sums of predictions.  Those of eight lanes run in the order of the processor's (cpu/isa/logits.h), and so
// have its bits.
#include <float.h>

#include "lane.cuh"

#include "../cpu/isa/vecd.h"
#include "ssmsweep/measure/logit_merge.h"

static const unsigned all_lanes = 0xffffffffu;

// ---- predictions: eight threads have a piece of the vocabulary of a row ----

// Logits of a row that a thread loads together, and exponentials that it takes side by side.
enum { LOGITS_AHEAD = 8, TOGETHER = EXPS_SIDE_BY_SIDE };

static __device__ __forceinline__ void top_step(float v, int i, int *index, float *most, float *spoiled)
{
    if (v > *most) *most = v, *index = i;
    *spoiled = vf_fma(v, 0.0f, *spoiled);
}

// The largest of the piece and its lowest index, for all eight; false where one is not finite.
static __device__ __forceinline__ bool top_of(const float *row, int count, int j, unsigned group, int *index,
                                              float *most)
{
    float spoiled = 0;
    int i = j;
    *most = -FLT_MAX, *index = 0;
    for (; i + (LOGITS_AHEAD - 1) * SUM_LANES < count; i += LOGITS_AHEAD * SUM_LANES) {
        float v[LOGITS_AHEAD];
#pragma unroll
        for (int k = 0; k < LOGITS_AHEAD; k++)
            v[k] = row[i + k * SUM_LANES];
#pragma unroll
        for (int k = 0; k < LOGITS_AHEAD; k++)
            top_step(v[k], i + k * SUM_LANES, index, most, &spoiled);
    }
    for (; i < count; i += SUM_LANES)
        top_step(row[i], i, index, most, &spoiled);
    for (int offset = SUM_LANES / 2; offset > 0; offset /= 2) {
        const float other = __shfl_xor_sync(group, *most, offset);
        const int at = __shfl_xor_sync(group, *index, offset);
        if (other > *most || (other == *most && at < *index)) *most = other, *index = at;
    }
    return __all_sync(group, spoiled == 0);
}

static __device__ double folded_group(double v, unsigned group)
{
    for (int half = SUM_LANES / 2; half > 0; half /= 2)
        v += __shfl_down_sync(group, v, half, SUM_LANES);
    return v;
}

// A thread's sums of its logits i, i + 8, ..., COUNT of them.
template <int COUNT>
static __device__ __forceinline__ void add_logits(const float *reference, const float *mode, int i,
                                                  const double (&most)[2], double (&sum)[2], double *product)
{
    double of_reference[COUNT], of_mode[COUNT], difference[COUNT];
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
        of_reference[k] = (double)reference[i + k * SUM_LANES] - most[0];
        of_mode[k] = (double)mode[i + k * SUM_LANES] - most[1];
        difference[k] = of_reference[k] - of_mode[k];
    }
    vd_exps(of_reference, COUNT);
    vd_exps(of_mode, COUNT);
#pragma unroll
    for (int k = 0; k < COUNT; k++) {
        sum[0] += of_reference[k];
        sum[1] += of_mode[k];
        *product = vd_fma(of_reference[k], difference[k], *product);
    }
}

static __global__ void sum_logits(struct device_predictions p, int pieces)
{
    const long part = ((long)blockIdx.x * blockDim.x + threadIdx.x) / SUM_LANES;
    const int j = threadIdx.x % SUM_LANES;
    const unsigned group = 0xffu << (threadIdx.x % WARP / SUM_LANES * SUM_LANES);
    if (part >= (long)p.rows * pieces) return;
    const int piece = (int)(part % pieces), first = piece * PREDICTION_PIECE;
    const int count = min(p.ids - first, (int)PREDICTION_PIECE);
    const float *reference = p.reference + part / pieces * p.stride + first,
                *mode = p.mode + part / pieces * p.stride + first;
    struct logit_sums s;
    const bool finite = top_of(reference, count, j, group, &s.top[0], &s.most[0]);
    s.finite = top_of(mode, count, j, group, &s.top[1], &s.most[1]) && finite;
    const double most[2] = {(double)s.most[0], (double)s.most[1]};
    double sum[2] = {0, 0}, product = 0;
    int i = j;
    for (; i + (TOGETHER - 1) * SUM_LANES < count; i += TOGETHER * SUM_LANES)
        add_logits<TOGETHER>(reference, mode, i, most, sum, &product);
    for (; i < count; i += SUM_LANES)
        add_logits<1>(reference, mode, i, most, sum, &product);
    s.sum[0] = folded_group(sum[0], group);
    s.sum[1] = folded_group(sum[1], group);
    s.product = folded_group(product, group);
    if (j == 0) p.parts[part] = s;
}

// A warp has a row: what the next piece does to the sums in front of it depends on their largest alone, so 32
// steps are made side by side, and taken one after the other.
static __device__ float largest_before(float most, float total)
{
    const int lane = threadIdx.x % WARP;
    float up_to = most;
    for (int offset = 1; offset < WARP; offset *= 2) {
        const float other = __shfl_up_sync(all_lanes, up_to, offset);
        if (lane >= offset && other > up_to) up_to = other;
    }
    float before = __shfl_up_sync(all_lanes, up_to, 1);
    if (lane == 0 || total > before) before = total;
    return before;
}

// Pieces first .. first + count - 1 of a row, count up to 32, none of which is the first of all.
static __device__ void take_pieces(struct logit_sums *total, const struct logit_sums *parts, int first,
                                   int count)
{
    const int lane = threadIdx.x % WARP;
    const struct logit_sums part = parts[first + (lane < count ? lane : 0)];
    double exps[2];
    for (int k = 0; k < 2; k++) {
        const float before = largest_before(lane < count ? part.most[k] : -FLT_MAX, total->most[k]);
        exps[k] = -fabs(logit_rise(before, part.most[k]));
    }
    natural_exps(exps, 2);
    total->finite = __all_sync(all_lanes, lane >= count || part.finite) && total->finite;
    for (int i = 0; i < count; i++) {
        struct logit_sums one;
        double its[2];
        for (int k = 0; k < 2; k++) {
            one.top[k] = __shfl_sync(all_lanes, part.top[k], i);
            one.most[k] = __shfl_sync(all_lanes, part.most[k], i);
            one.sum[k] = __shfl_sync(all_lanes, part.sum[k], i);
            its[k] = __shfl_sync(all_lanes, exps[k], i);
        }
        one.product = __shfl_sync(all_lanes, part.product, i);
        logit_merge(total, &one, (first + i) * PREDICTION_PIECE, its);
    }
}

static __global__ void merge_logits(struct device_predictions p, int pieces)
{
    const int row = (blockIdx.x * blockDim.x + threadIdx.x) / WARP;
    if (row >= p.rows) return;
    const struct logit_sums *parts = p.parts + (long)row * pieces;
    struct logit_sums total = parts[0];
    for (int first = 1; first < pieces; first += WARP)
        take_pieces(&total, parts, first, min(pieces - first, (int)WARP));
    if (threadIdx.x % WARP != 0) return;
    p.made[row].sums = total;
    p.made[row].next_logit = p.mode[row * p.stride + p.next[row]];
}

void device_predict(device_stream stream, const struct device_predictions *predictions)
{
    enum { THREADS = 128 };
    const int pieces = (predictions->ids + PREDICTION_PIECE - 1) / PREDICTION_PIECE;
    const long threads = (long)predictions->rows * pieces * SUM_LANES;
    sum_logits<<<blocks_of(threads, THREADS), THREADS, 0, stream>>>(*predictions, pieces);
    merge_logits<<<blocks_of(predictions->rows, THREADS / WARP), THREADS, 0, stream>>>(*predictions, pieces);
}
