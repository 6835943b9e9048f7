// SPDX-License-Identifier: Apache-2.0
// Sums of pairs and of predictions.  A warp has a block of pairs, element i in lane i mod 32; sums of eight
// lanes run in the order of the processor's (cpu/isa/pairs.h, cpu/isa/logits.h), and so have its bits.
#include <float.h>

#include "lane.cuh"

#include "../cpu/isa/vecd.h"

enum { ROWS = WARP / SUM_LANES, WARPS = 4, BINS = PROFILE_BINS };
static const unsigned all_lanes = 0xffffffffu;

// ---- double-double, as measure/accumulate.h has it ----

struct wide_sum {
    double hi, lo;
};

static __device__ wide_sum two_sum(double a, double b)
{
    const double s = a + b, t = s - a;
    return {s, (a - (s - t)) + (b - t)};
}

static __device__ wide_sum normalized(double hi, double lo)
{
    const double s = hi + lo;
    return {s, lo - (s - hi)};
}

static __device__ wide_sum wide_subtract(wide_sum a, wide_sum b)
{
    wide_sum s = two_sum(a.hi, -b.hi);
    const wide_sum t = two_sum(a.lo, -b.lo);
    s = normalized(s.hi, s.lo + t.hi);
    return normalized(s.hi, s.lo + t.lo);
}

// ---- folding ----

// The value of lane `from`.
static __device__ double of_lane(double v, int from)
{
    return __shfl_sync(all_lanes, v, from);
}

// Lanes 0 to 7 of eight, 4, 2, 1.
static __device__ double folded(double v)
{
    for (int half = SUM_LANES / 2; half > 0; half /= 2)
        v += __shfl_down_sync(all_lanes, v, half, SUM_LANES);
    return v;
}

// ---- a block: extremes and sums, from which its means come ----

// The smaller, or where they are equal (both zeros are) the one that the processor saw first: by lane of 16,
// then by element.
struct extreme {
    float value;
    int key;
};

static __device__ void keep_smaller(struct extreme *kept, float value, int key)
{
    if (value < kept->value || (value == kept->value && key < kept->key)) *kept = {value, key};
}

static __device__ float smallest(struct extreme mine)
{
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        const float value = __shfl_xor_sync(all_lanes, mine.value, offset);
        const int key = __shfl_xor_sync(all_lanes, mine.key, offset);
        keep_smaller(&mine, value, key);
    }
    return mine.value;
}

static __device__ void ranges_of(const float *v, int count, int lane, float *least, float *most)
{
    struct extreme low = {INFINITY, INT32_MAX}, high = {INFINITY, INT32_MAX}; // of -v
    for (int i = lane; i < count; i += WARP) {
        const int key = i % KERNEL_LANES << 16 | i;
        if (v[i] < low.value) low = {v[i], key};
        if (-v[i] < high.value) high = {-v[i], key};
    }
    *least = smallest(low);
    *most = -smallest(high);
}

static __device__ double anchor_of(float least, float most)
{
    const float size = fmaxf(fabsf(least), fabsf(most));
    int e = 0;
    if (isfinite(size)) (void)frexpf(size, &e);
    return ldexp(1.5, e + 12);
}

// All four rows of a step at once: v = (a0 + a8) + (a16 + a24).
static __device__ wide_sum anchored_sum(const float *v, int count, int lane, double anchor, double *exact,
                                        double *low)
{
    double sum = anchor, cut = 0;
#pragma unroll 4
    for (int i = 0; i < count; i += WARP) {
        double x = i + lane < count ? (double)v[i + lane] : 0.0;
        x += __shfl_xor_sync(all_lanes, x, SUM_LANES);
        x += __shfl_xor_sync(all_lanes, x, 2 * SUM_LANES);
        const double next = sum + x;
        cut += x - (next - sum);
        sum = next;
    }
    double above = 0;
    for (int j = 0; j < SUM_LANES; j++)
        above += of_lane(sum, j) - anchor;
    *exact = above;
    *low = of_lane(folded(cut), 0);
    return two_sum(*exact, *low);
}

static __global__ void sum_blocks(struct device_pairs pairs, struct device_sums sums)
{
    const int lane = threadIdx.x % WARP, at = blockIdx.x * WARPS + threadIdx.x / WARP;
    if (at >= sums.n_blocks) return;
    const struct device_place place = sums.places[at];
    const double n = (double)place.count;
    struct pair_block block;
    wide_sum sum[2];
    for (int side = 0; side < 2; side++) {
        const float *v = (side ? pairs.mode : pairs.ref)[place.pair] + place.first;
        ranges_of(v, place.count, lane, &block.min[side], &block.max[side]);
        const double anchor = anchor_of(block.min[side], block.max[side]);
        sum[side] = anchored_sum(v, place.count, lane, anchor, &block.exact[side], &block.low[side]);
    }
    if (lane != 0) return;
    for (int side = 0; side < 2; side++) {
        sums.blocks[at].min[side] = block.min[side], sums.blocks[at].max[side] = block.max[side];
        sums.blocks[at].exact[side] = block.exact[side], sums.blocks[at].low[side] = block.low[side];
    }
    double *centre = sums.centres + 3 * (long)at;
    centre[0] = sum[0].hi / n;
    centre[1] = sum[1].hi / n;
    centre[2] = wide_subtract(sum[1], sum[0]).hi / n;
}

// ---- a block: what lies around the means of the one before, and bins ----

// profile_bin()
static __device__ int bin_of(double size)
{
    if (size == 0) return PROFILE_ZERO;
    const int half_octave = (int)(vl_bits(size) >> 51) - 2 * (1023 + PROFILE_LOWEST);
    if (half_octave < 0) return PROFILE_BELOW;
    return half_octave + 2 < PROFILE_ABOVE ? half_octave + 2 : PROFILE_ABOVE;
}

// Two sums for each of the four rows of threads, all as multiply-adds: a * 1 is a.
struct factors {
    double p[2], q[2];
};

static __device__ struct factors factors_of(int row, double a, double b, const double *centre)
{
    const double d = b - a, x = a - centre[0], y = b - centre[1], z = d - centre[2];
    switch (row) {
    case 0:
        return {{fabs(a), x}, {1, x}};
    case 1:
        return {{fabs(b), y}, {1, y}};
    case 2:
        return {{fabs(d), z}, {1, z}};
    default:
        return {{d, x}, {d, y}};
    }
}

// `values` of the four rows of threads, in the block.
static __device__ void store_row(struct pair_block *block, int row, double first, double second)
{
    if (row == 0) block->abs[0] = first, block->squares[0] = second;
    if (row == 1) block->abs[1] = first, block->squares[1] = second;
    if (row == 2) block->abs_diff = first, block->diff_squares = second;
    if (row == 3) block->raw_squares = first, block->products = second;
}

static __device__ void store_extremes(struct pair_block *block, int lane, double extreme)
{
    double low = INFINITY, high = -INFINITY;
    for (int j = 0; j < SUM_LANES; j++) {
        const double mine = of_lane(extreme, j), most = of_lane(extreme, SUM_LANES + j);
        low = mine < low ? mine : low;
        high = most > high ? most : high;
    }
    if (lane == 0) block->diff_min = low, block->diff_max = high;
}

static __global__ void square_blocks(struct device_pairs pairs, struct device_sums sums)
{
    __shared__ uint32_t bins[WARPS][BINS];
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, at = blockIdx.x * WARPS + warp;
    const int row = lane / SUM_LANES;
    if (at >= sums.n_blocks) return;
    const struct device_place place = sums.places[at];
    const float *ref = pairs.ref[place.pair] + place.first, *mode = pairs.mode[place.pair] + place.first;
    double centre[3], sum[2] = {0, 0}, extreme = row == 0 ? INFINITY : -INFINITY;
    for (int i = 0; i < 3; i++)
        centre[i] = sums.centres[3 * (long)place.prior + i];
    for (int i = lane; i < BINS; i += WARP)
        bins[warp][i] = 0;
    __syncwarp();
#pragma unroll 4
    for (int i = lane % SUM_LANES, step = 0; i < place.count; i += SUM_LANES, step++) {
        const double a = (double)ref[i], b = (double)mode[i], d = b - a;
        const struct factors f = factors_of(row, a, b, centre);
        sum[0] = vd_fma(f.p[0], f.q[0], sum[0]);
        sum[1] = vd_fma(f.p[1], f.q[1], sum[1]);
        if (row == 0 ? d < extreme : d > extreme) extreme = d;
        if (step % ROWS == row && d == d) atomicAdd(&bins[warp][bin_of(fabs(d))], 1u);
    }
    __syncwarp();
    const double first = folded(sum[0]), second = folded(sum[1]);
    if (lane % SUM_LANES == 0) store_row(&sums.blocks[at], row, first, second);
    store_extremes(&sums.blocks[at], lane, extreme);
    uint32_t *histogram = sums.histograms + (long)place.slot * BINS;
    for (int i = lane; i < BINS; i += WARP)
        if (bins[warp][i]) atomicAdd(&histogram[i], bins[warp][i]);
}

// Rows 0 and 1 of threads have a sum each.
static __global__ void sum_pieces(struct device_pairs pairs, struct device_sums sums)
{
    const int lane = threadIdx.x % WARP, at = blockIdx.x * WARPS + threadIdx.x / WARP;
    if (at >= sums.n_pieces) return;
    const struct device_place place = sums.places[sums.n_blocks + at];
    const float *ref = pairs.ref[place.pair] + place.first, *mode = pairs.mode[place.pair] + place.first;
    const bool squares = lane / SUM_LANES % 2;
    double sum = 0;
#pragma unroll 4
    for (int i = lane % SUM_LANES; i < place.count; i += SUM_LANES) {
        const double d = (double)mode[i] - (double)ref[i];
        sum = squares ? vd_fma(d, d, sum) : vd_fma(fabs(d), 1.0, sum);
    }
    sum = folded(sum);
    if (lane == 0) sums.pieces[at].abs_diff = sum;
    if (lane == SUM_LANES) sums.pieces[at].raw_squares = sum;
}

void device_pair_sums(device_stream stream, const struct device_pairs *pairs, const struct device_sums *sums)
{
    const unsigned blocks = blocks_of(sums->n_blocks, WARPS);
    sum_blocks<<<blocks, WARPS * WARP, 0, stream>>>(*pairs, *sums);
    square_blocks<<<blocks, WARPS * WARP, 0, stream>>>(*pairs, *sums);
    if (sums->n_pieces > 0)
        sum_pieces<<<blocks_of(sums->n_pieces, WARPS), WARPS * WARP, 0, stream>>>(*pairs, *sums);
}

// ---- predictions: eight threads have a piece of the vocabulary of a row ----

// The largest of the piece and its lowest index, for all eight; false where one is not finite.
static __device__ bool top_of(const float *row, int count, int j, unsigned group, int *index, float *most)
{
    float spoiled = 0;
    *most = -FLT_MAX, *index = 0;
    for (int i = j; i < count; i += SUM_LANES) {
        if (row[i] > *most) *most = row[i], *index = i;
        spoiled = vf_fma(row[i], 0.0f, spoiled);
    }
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
    double sum[2] = {0, 0}, product = 0;
    for (int i = j; i < count; i += SUM_LANES) {
        const double r = (double)reference[i] - (double)s.most[0], m = (double)mode[i] - (double)s.most[1];
        const double e = vd_exp(r);
        sum[0] += e;
        sum[1] += vd_exp(m);
        product = vd_fma(e, r - m, product);
    }
    s.sum[0] = folded_group(sum[0], group);
    s.sum[1] = folded_group(sum[1], group);
    s.product = folded_group(product, group);
    if (j == 0) p.sums[part] = s;
}

static __global__ void take_next(struct device_predictions p)
{
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= p.rows) return;
    const int at = p.next[row] - p.first_id;
    if (at >= 0 && at < p.ids) p.next_logit[row] = p.mode[row * p.stride + at];
}

void device_predict(device_stream stream, const struct device_predictions *predictions)
{
    enum { THREADS = 128 };
    const int pieces = (predictions->ids + PREDICTION_PIECE - 1) / PREDICTION_PIECE;
    const long threads = (long)predictions->rows * pieces * SUM_LANES;
    sum_logits<<<blocks_of(threads, THREADS), THREADS, 0, stream>>>(*predictions, pieces);
    take_next<<<blocks_of(predictions->rows, THREADS), THREADS, 0, stream>>>(*predictions);
}

// ---- the same bits ----

static __global__ void compare_bits(const float *a, const float *b, long count, int *differs)
{
    const long i = (long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count && __float_as_int(a[i]) != __float_as_int(b[i])) *differs = 1;
}

void device_compare(device_stream stream, const float *a, const float *b, long count, int *differs)
{
    compare_bits<<<blocks_of(count, 256), 256, 0, stream>>>(a, b, count, differs);
}
