// SPDX-License-Identifier: Apache-2.0
// Sums of pairs and of predictions.  Sums of eight lanes run in the order of the processor's
// (cpu/isa/pairs.h, cpu/isa/logits.h), and so have its bits.
#include <float.h>

#include "lane.cuh"

#include "../cpu/isa/vecd.h"
#include "ssmsweep/measure/logit_merge.h"

enum { WARPS = 4, BINS = PROFILE_BINS };
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

// Lanes 0 to 7 of eight, 4, 2, 1; for the first.
static __device__ double folded(double v)
{
    for (int half = SUM_LANES / 2; half > 0; half /= 2)
        v += __shfl_down_sync(all_lanes, v, half, SUM_LANES);
    return v;
}

static __device__ bool is_finite(float v)
{
    return fabsf(v) < INFINITY;
}

// ---- a side of a block: its extremes, and the sum from which its mean comes ----

enum { SIDE_THREADS = 256, SIDE_WARPS = SIDE_THREADS / WARP, SIDE_ROUNDS = PAIR_BLOCK / 4 / SIDE_THREADS };

struct side_room {
    double steps[PAIR_BLOCK / PAIR_STEP][SUM_LANES];
    float least[SIDE_WARPS], most[SIDE_WARPS];
    int nonfinite;
    int zero; // 2 * the place in the processor's order, + 1 where it is -0
};

// Elements first .. first + 3 of the block, zeros behind its end.
static __device__ __forceinline__ float4 side_load(const float *v, int first, int count)
{
    float4 four = make_float4(0, 0, 0, 0);
    if (first + 4 <= count && ((uintptr_t)(v + first) & 15) == 0) return *(const float4 *)(v + first);
    if (first < count) four.x = v[first];
    if (first + 1 < count) four.y = v[first + 1];
    if (first + 2 < count) four.z = v[first + 2];
    if (first + 3 < count) four.w = v[first + 3];
    return four;
}

// Zeros for what is not finite; how many there were.
static __device__ __forceinline__ int side_clean(float (&v)[4])
{
    int nonfinite = 0;
#pragma unroll
    for (int e = 0; e < 4; e++)
        if (!is_finite(v[e])) v[e] = 0, nonfinite++;
    return nonfinite;
}

// v = (a0 + a8) + (a16 + a24) of a step, for each of the eight threads that hold it: lane *of.
static __device__ __forceinline__ double side_step(const float (&v)[4], int *of)
{
    const int t = threadIdx.x % SUM_LANES;
    const bool second = t & 2, third = t & 4;
    double kept[2], sent[2];
    kept[0] = second ? v[2] : v[0], kept[1] = second ? v[3] : v[1];
    sent[0] = second ? v[0] : v[2], sent[1] = second ? v[1] : v[3];
#pragma unroll
    for (int e = 0; e < 2; e++)
        kept[e] += __shfl_xor_sync(all_lanes, sent[e], 2);
    const double own = third ? kept[1] : kept[0], other = third ? kept[0] : kept[1];
    *of = 4 * (t & 1) + (second ? 2 : 0) + (third ? 1 : 0);
    return own + __shfl_xor_sync(all_lanes, other, 4);
}

// Of zeros the processor keeps the one that it saw first: by lane of 16, then by element.
static __device__ void side_note_zeros(struct side_room *room, const float (&v)[4], int first, int count)
{
#pragma unroll
    for (int e = 0; e < 4; e++) {
        const int i = first + e, key = i % KERNEL_LANES << 16 | i;
        if (i < count && v[e] == 0) atomicMin(&room->zero, 2 * key + (signbit(v[e]) ? 1 : 0));
    }
}

static __device__ double anchor_of(float least, float most)
{
    int e;
    (void)frexpf(fmaxf(fabsf(least), fabsf(most)), &e);
    return ldexp(1.5, e + 12);
}

// The steps are there: eight threads add them up.
static __device__ void side_add(const struct side_room &room, int count, double anchor, double *exact,
                                double *low)
{
    const int lane = threadIdx.x;
    double sum = anchor, cut = 0;
#pragma unroll 8
    for (int s = 0; s < (count + PAIR_STEP - 1) / PAIR_STEP; s++) {
        const double x = room.steps[s][lane % SUM_LANES], next = sum + x;
        cut += x - (next - sum);
        sum = next;
    }
    double above = 0;
    for (int j = 0; j < SUM_LANES; j++)
        above += __shfl_sync(all_lanes, sum, j) - anchor;
    *exact = above;
    *low = folded(cut);
}

static __device__ void take_known(struct pair_block *block, const struct pair_block &known)
{
    block->min[0] = known.min[0], block->max[0] = known.max[0], block->nonfinite[0] = known.nonfinite[0];
    block->exact[0] = known.exact[0], block->low[0] = known.low[0];
}

static __device__ bool is_again(const struct device_pairs &pairs, const struct device_place &place)
{
    return pairs.again >> place.pair & 1u;
}

static __global__ void __launch_bounds__(SIDE_THREADS, 4)
    sum_sides(struct device_pairs pairs, struct device_sums sums)
{
    __shared__ struct side_room room;
    const int t = threadIdx.x, at = blockIdx.x, side = sums.known ? 1 : blockIdx.y;
    const struct device_place place = sums.places[at];
    const bool alike = !sums.known && pairs.ref[place.pair] == pairs.mode[place.pair];
    const float *v = (side ? pairs.mode : pairs.ref)[place.pair] + place.first;
    if (is_again(pairs, place) || (side && alike)) return;
    if (sums.known && t == SIDE_THREADS - 1) take_known(&sums.blocks[at], sums.known[at]);
    if (t == 0) room.nonfinite = 0, room.zero = INT32_MAX;
    float values[SIDE_ROUNDS][4];
#pragma unroll
    for (int q = 0; q < SIDE_ROUNDS; q++) {
        const float4 four = side_load(v, 4 * (q * SIDE_THREADS + t), place.count);
        values[q][0] = four.x, values[q][1] = four.y, values[q][2] = four.z, values[q][3] = four.w;
    }
    __syncthreads();
    float least = INFINITY, most = -INFINITY;
    int nonfinite = 0;
#pragma unroll
    for (int q = 0; q < SIDE_ROUNDS; q++) {
        nonfinite += side_clean(values[q]);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            if (4 * (q * SIDE_THREADS + t) + e >= place.count) continue;
            least = fminf(least, values[q][e]), most = fmaxf(most, values[q][e]);
        }
        int of;
        const double step = side_step(values[q], &of);
        room.steps[(q * SIDE_THREADS + t) / SUM_LANES][of] = step;
    }
    if (nonfinite) atomicAdd(&room.nonfinite, nonfinite);
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        least = fminf(least, __shfl_xor_sync(all_lanes, least, offset));
        most = fmaxf(most, __shfl_xor_sync(all_lanes, most, offset));
    }
    if (t % WARP == 0) room.least[t / WARP] = least, room.most[t / WARP] = most;
    __syncthreads();
    for (int w = 0; w < SIDE_WARPS; w++)
        least = fminf(least, room.least[w]), most = fmaxf(most, room.most[w]);
    if (least == 0 || most == 0) { // for all threads, or for none
#pragma unroll
        for (int q = 0; q < SIDE_ROUNDS; q++)
            side_note_zeros(&room, values[q], 4 * (q * SIDE_THREADS + t), place.count);
        __syncthreads();
        const float zero = room.zero & 1 ? -0.0f : 0.0f;
        if (least == 0) least = zero;
        if (most == 0) most = zero;
    }
    if (t >= WARP) return;
    double exact, low;
    side_add(room, place.count, anchor_of(least, most), &exact, &low);
    if (t > 0) return;
    struct pair_block *block = &sums.blocks[at];
    for (int k = side; k <= (alike ? 1 : side); k++) {
        block->min[k] = least, block->max[k] = most, block->nonfinite[k] = (uint32_t)room.nonfinite;
        block->exact[k] = exact, block->low[k] = low;
    }
}

// ---- a block: what lies around the means of the one before, and bins ----

// profile_bin() by the upper half of |d|.
static __device__ __forceinline__ int bin_of(double size)
{
    const int half_octave = __double2hiint(size) >> 19, bin = half_octave - 2 * (1023 + PROFILE_LOWEST) + 2;
    return half_octave == 0 ? (int)PROFILE_ZERO : min(max(bin, (int)PROFILE_BELOW), (int)PROFILE_ABOVE);
}

struct centres {
    double ref, mode, diff;
};

static __device__ struct centres centres_of(const struct pair_block &block, double n)
{
    const wide_sum ref = two_sum(block.exact[0], block.low[0]), mode = two_sum(block.exact[1], block.low[1]);
    return {ref.hi / n, mode.hi / n, wide_subtract(mode, ref).hi / n};
}

// What one of eight threads sums.
struct lane_sums {
    double abs[2], squares[2], products, diff_squares, abs_diff, raw_squares, diff_min, diff_max;
};

static __device__ __forceinline__ double lane_add(struct lane_sums *s, const struct centres &c, double a,
                                                  double b)
{
    const double d = b - a, x = a - c.ref, y = b - c.mode, z = d - c.diff;
    s->abs[0] += fabs(a);
    s->abs[1] += fabs(b);
    s->abs_diff += fabs(d);
    s->raw_squares = vd_fma(d, d, s->raw_squares);
    s->squares[0] = vd_fma(x, x, s->squares[0]);
    s->squares[1] = vd_fma(y, y, s->squares[1]);
    s->products = vd_fma(x, y, s->products);
    s->diff_squares = vd_fma(z, z, s->diff_squares);
    if (d < s->diff_min || d > s->diff_max) { // seldom
        if (d < s->diff_min) s->diff_min = d;
        if (d > s->diff_max) s->diff_max = d;
    }
    return fabs(d);
}

// A pair of which one is NaN or Inf: Inf is counted, NaN is not.
static __device__ __forceinline__ int spoiled_bin(float a, float b)
{
    const double d = (double)b - (double)a;
    return d == d ? (int)PROFILE_ABOVE : -1;
}

// bins: a column of them.  PROFILED: they are wanted.  SPOILED: there may be NaN and Inf.
template <bool PROFILED, bool SPOILED>
static __device__ __forceinline__ void lane_pair(struct lane_sums *s, const struct centres &c, float a,
                                                 float b, uint32_t *bins)
{
    const bool finite = !SPOILED || (is_finite(a) && is_finite(b));
    const double size =
        lane_add(s, c, !SPOILED || is_finite(a) ? a : 0.0f, !SPOILED || is_finite(b) ? b : 0.0f);
    if (!PROFILED) return;
    const int bin = finite ? bin_of(size) : spoiled_bin(a, b);
    if (!SPOILED || bin >= 0) atomicAdd(&bins[bin * SUM_LANES], 1u);
}

enum { AHEAD = 4 }; // pairs of a thread that are loaded together

// Lane j of a block.
template <bool PROFILED, bool SPOILED>
static __device__ __forceinline__ void lane_pairs(struct lane_sums *s, const struct centres &c,
                                                  const float *ref, const float *mode, int count, int j,
                                                  uint32_t *bins)
{
    int i = j;
    for (; i + (AHEAD - 1) * SUM_LANES < count; i += AHEAD * SUM_LANES) {
        float a[AHEAD], b[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            a[k] = ref[i + k * SUM_LANES], b[k] = mode[i + k * SUM_LANES];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            lane_pair<PROFILED, SPOILED>(s, c, a[k], b[k], bins);
    }
    for (; i < count; i += SUM_LANES)
        lane_pair<PROFILED, SPOILED>(s, c, ref[i], mode[i], bins);
}

// Extremes of eight lanes, the lowest lane of equals; for all of them.
static __device__ void fold_extremes(struct lane_sums *s)
{
    double low = INFINITY, high = -INFINITY;
    for (int j = 0; j < SUM_LANES; j++) {
        const double mine = __shfl_sync(all_lanes, s->diff_min, j, SUM_LANES),
                     most = __shfl_sync(all_lanes, s->diff_max, j, SUM_LANES);
        low = mine < low ? mine : low;
        high = most > high ? most : high;
    }
    s->diff_min = low, s->diff_max = high;
}

static __device__ void store_sums(struct pair_block *block, struct lane_sums s, bool mine)
{
    fold_extremes(&s);
    for (int k = 0; k < 2; k++)
        s.abs[k] = folded(s.abs[k]), s.squares[k] = folded(s.squares[k]);
    s.products = folded(s.products), s.diff_squares = folded(s.diff_squares);
    s.abs_diff = folded(s.abs_diff), s.raw_squares = folded(s.raw_squares);
    if (!mine) return;
    for (int k = 0; k < 2; k++)
        block->abs[k] = s.abs[k], block->squares[k] = s.squares[k];
    block->products = s.products, block->diff_squares = s.diff_squares;
    block->abs_diff = block->raw_abs = s.abs_diff, block->raw_squares = s.raw_squares;
    block->diff_min = s.diff_min, block->diff_max = s.diff_max;
}

// By position NaN is passed over, and Inf counts: d^2 and |d| of a lane, with a rounding each.
static __device__ void spoiled_sums(const float *ref, const float *mode, int count, int j, double *squares,
                                    double *abs)
{
    for (int i = j; i < count; i += SUM_LANES) {
        const double d = fabs((double)mode[i] - (double)ref[i]);
        if (d != d) continue;
        *squares += d * d;
        *abs += d;
    }
}

static __device__ void store_spoiled(struct pair_block *block, const float *ref, const float *mode, int count,
                                     double squares, double abs)
{
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < count; i++) {
        const double d = (double)mode[i] - (double)ref[i];
        if (!(fabs(d) < INFINITY)) continue;
        low = d < low ? d : low;
        high = d > high ? d : high;
    }
    block->raw_squares = squares, block->raw_abs = abs;
    block->finite_min = low, block->finite_max = high;
}

static __device__ bool is_spoiled(const struct pair_block &block)
{
    return block.nonfinite[0] || block.nonfinite[1];
}

// Eight threads have a piece.
static __device__ void sum_pieces(const struct device_pairs &pairs, const struct device_sums &sums)
{
    const int at = (blockIdx.x * blockDim.x + threadIdx.x) / SUM_LANES, j = threadIdx.x % SUM_LANES;
    const bool there = at < sums.n_pieces;
    const struct device_place place = sums.places[sums.n_blocks + (there ? at : 0)];
    const bool works = there && !is_again(pairs, place);
    const float *ref = pairs.ref[place.pair] + place.first, *mode = pairs.mode[place.pair] + place.first;
    double squares = 0, abs = 0;
    if (works && is_spoiled(sums.blocks[place.prior])) {
        spoiled_sums(ref, mode, place.count, j, &squares, &abs);
    } else if (works) {
#pragma unroll 8
        for (int i = j; i < place.count; i += SUM_LANES) {
            const double d = (double)mode[i] - (double)ref[i];
            squares = vd_fma(d, d, squares);
            abs += fabs(d);
        }
    }
    __syncwarp();
    squares = folded(squares), abs = folded(abs);
    if (works && j == 0) sums.pieces[at].raw_squares = squares, sums.pieces[at].raw_abs = abs;
}

// Eight threads have a block, a warp up to four of one sample and pair, whose bins they share: a column of
// those for each lane, so that threads seldom meet.  The first `for_pieces` of the grid sum pieces.
static __global__ void __launch_bounds__(WARPS *WARP, 8)
    square_blocks(struct device_pairs pairs, struct device_sums sums, int for_pieces)
{
    __shared__ uint32_t columns[WARPS][BINS * SUM_LANES];
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, j = lane % SUM_LANES;
    if (blockIdx.x < for_pieces) {
        sum_pieces(pairs, sums);
        return;
    }
    const int at = (blockIdx.x - for_pieces) * WARPS + warp;
    if (at >= sums.n_groups) return;
    const struct device_group group = sums.groups[at];
    if (is_again(pairs, sums.places[group.first])) return;
    const bool works = lane / SUM_LANES < group.count;
    const int own = group.first + (works ? lane / SUM_LANES : 0);
    const struct device_place place = sums.places[own];
    const float *ref = pairs.ref[place.pair] + place.first, *mode = pairs.mode[place.pair] + place.first;
    const struct centres c = centres_of(sums.blocks[place.prior], (double)sums.places[place.prior].count);
    struct lane_sums s = {{0, 0}, {0, 0}, 0, 0, 0, 0, INFINITY, -INFINITY};
    const bool profiled = pairs.profiled >> place.pair & 1u;
    uint32_t *const bins = columns[warp];
    for (int i = lane; i < BINS * SUM_LANES; i += WARP)
        bins[i] = 0;
    __syncwarp();
    const int count = works ? place.count : 0;
    const bool spoiled = works && is_spoiled(sums.blocks[own]), any = __any_sync(all_lanes, spoiled);
    if (any)
        lane_pairs<true, true>(&s, c, ref, mode, count, j, bins + j);
    else if (profiled)
        lane_pairs<true, false>(&s, c, ref, mode, count, j, bins + j);
    else
        lane_pairs<false, false>(&s, c, ref, mode, count, j, bins + j);
    __syncwarp();
    store_sums(&sums.blocks[own], s, works && j == 0);
    if (any) {
        double squares = 0, abs = 0;
        if (spoiled) spoiled_sums(ref, mode, place.count, j, &squares, &abs);
        __syncwarp();
        squares = folded(squares), abs = folded(abs);
        if (spoiled && j == 0) store_spoiled(&sums.blocks[own], ref, mode, place.count, squares, abs);
    }
    uint32_t *histogram = sums.histograms + (long)place.slot * BINS;
    for (int bin = lane; bin < BINS && profiled; bin += WARP) {
        uint32_t total = 0;
        for (int k = 0; k < SUM_LANES; k++)
            total += bins[bin * SUM_LANES + k];
        if (total) atomicAdd(&histogram[bin], total);
    }
}

void device_pair_sums(device_stream stream, const struct device_pairs *pairs, const struct device_sums *sums)
{
    sum_sides<<<dim3((unsigned)sums->n_blocks, sums->known ? 1 : 2), SIDE_THREADS, 0, stream>>>(*pairs,
                                                                                                *sums);
    const bool has_pieces = sums->n_pieces > 0 && pairs->profiled;
    const unsigned for_pieces = has_pieces ? blocks_of(sums->n_pieces, WARPS * WARP / SUM_LANES) : 0;
    square_blocks<<<for_pieces + blocks_of(sums->n_groups, WARPS), WARPS * WARP, 0, stream>>>(
        *pairs, *sums, (int)for_pieces);
}

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
