// SPDX-License-Identifier: Apache-2.0
// Sums of pairs.  Sums of eight lanes run in the order of the processor's (cpu/isa/pairs.h), and so have its
// bits.
#include <float.h>

#include "lane.cuh"

#include "../cpu/isa/vecd.h"

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

// A group of threads takes so many blocks one after the other, and adds up the steps of all of them side by
// side: that is one chain of additions.
enum {
    SIDE_THREADS = 256,
    SIDE_WARPS = SIDE_THREADS / WARP,
    SIDE_ROUNDS = PAIR_BLOCK / 4 / SIDE_THREADS,
    SIDE_BLOCKS = 2,
    SIDES_AT_ONCE = 4 // groups of a processor
};

struct side_found {
    float least, most;
    int count; // 0: nothing is to be added
    bool alike;
};
struct side_room {
    double steps[SIDE_BLOCKS][PAIR_BLOCK / PAIR_STEP][SUM_LANES];
    float least[SIDE_WARPS], most[SIDE_WARPS];
    int nonfinite[SIDE_BLOCKS];
    int zero[SIDE_BLOCKS]; // 2 * the place in the processor's order, + 1 where it is -0
    struct side_found found[SIDE_BLOCKS];
};

// A side of a block.
struct side {
    const float *v;
    int count;
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

// Of zeros the processor keeps the one that it saw first: by lane of 16, then by element.  Seldom.
static __device__ __noinline__ void side_note_zeros(int *zero, const struct side &side)
{
    for (int first = 4 * threadIdx.x; first < side.count; first += 4 * SIDE_THREADS) {
        const float4 four = side_load(side.v, first, side.count);
        float v[4] = {four.x, four.y, four.z, four.w};
        side_clean(v);
        for (int e = 0; e < 4; e++) {
            const int i = first + e, key = i % KERNEL_LANES << 16 | i;
            if (i < side.count && v[e] == 0) atomicMin(zero, 2 * key + (signbit(v[e]) ? 1 : 0));
        }
    }
}

static __device__ double anchor_of(float least, float most)
{
    int e;
    (void)frexpf(fmaxf(fabsf(least), fabsf(most)), &e);
    return ldexp(1.5, e + 12);
}

// The steps are there: eight threads of a warp add them up.
static __device__ void side_add(const double (*steps)[SUM_LANES], int count, double anchor, double *exact,
                                double *low)
{
    const int lane = threadIdx.x % SUM_LANES;
    double sum = anchor, cut = 0;
#pragma unroll 8
    for (int s = 0; s < (count + PAIR_STEP - 1) / PAIR_STEP; s++) {
        const double x = steps[s][lane], next = sum + x;
        cut += x - (next - sum);
        sum = next;
    }
    __syncwarp();
    double above = 0;
    for (int j = 0; j < SUM_LANES; j++)
        above += __shfl_sync(all_lanes, sum, j, SUM_LANES) - anchor;
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

// For all threads: the steps of a side into the room, as block b of this group, and its extremes.  WHOLE: it
// has all its elements, at a multiple of 16 bytes.
template <bool WHOLE>
static __device__ __forceinline__ void side_take(struct side_room *room, int b, const struct side &side,
                                                 float *its_least, float *its_most)
{
    const int t = threadIdx.x;
    float values[SIDE_ROUNDS][4], least = INFINITY, most = -INFINITY;
    int nonfinite = 0;
#pragma unroll
    for (int q = 0; q < SIDE_ROUNDS; q++) {
        const int first = 4 * (q * SIDE_THREADS + t);
        const float4 four = WHOLE ? *(const float4 *)(side.v + first) : side_load(side.v, first, side.count);
        values[q][0] = four.x, values[q][1] = four.y, values[q][2] = four.z, values[q][3] = four.w;
    }
#pragma unroll
    for (int q = 0; q < SIDE_ROUNDS; q++) {
        nonfinite += side_clean(values[q]);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            if (!WHOLE && 4 * (q * SIDE_THREADS + t) + e >= side.count) continue;
            least = fminf(least, values[q][e]), most = fmaxf(most, values[q][e]);
        }
        int of;
        const double step = side_step(values[q], &of);
        room->steps[b][(q * SIDE_THREADS + t) / SUM_LANES][of] = step;
    }
    if (nonfinite) atomicAdd(&room->nonfinite[b], nonfinite);
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        least = fminf(least, __shfl_xor_sync(all_lanes, least, offset));
        most = fmaxf(most, __shfl_xor_sync(all_lanes, most, offset));
    }
    if (t % WARP == 0) room->least[t / WARP] = least, room->most[t / WARP] = most;
    __syncthreads();
    for (int w = 0; w < SIDE_WARPS; w++)
        least = fminf(least, room->least[w]), most = fmaxf(most, room->most[w]);
    if (least == 0 || most == 0) { // for all threads, or for none
        side_note_zeros(&room->zero[b], side);
        __syncthreads();
        const float zero = room->zero[b] & 1 ? -0.0f : 0.0f;
        if (least == 0) least = zero;
        if (most == 0) most = zero;
    }
    *its_least = least, *its_most = most;
}

static __device__ bool is_whole(const struct side &side)
{
    return side.count == PAIR_BLOCK && ((uintptr_t)side.v & 15) == 0;
}

static __device__ void store_side(struct pair_block *block, int k, const struct side_found &found,
                                  int nonfinite, double exact, double low)
{
    block->min[k] = found.least, block->max[k] = found.most, block->nonfinite[k] = (uint32_t)nonfinite;
    block->exact[k] = exact, block->low[k] = low;
}

// ref and mode are the same memory: one side is both.
static __device__ bool is_alike(const struct device_pairs &pairs, const struct device_sums &sums,
                                const struct device_place &place)
{
    return !sums.known && pairs.ref[place.pair] == pairs.mode[place.pair];
}

static __global__ void __launch_bounds__(SIDE_THREADS, SIDES_AT_ONCE)
    sum_sides(struct device_pairs pairs, struct device_sums sums)
{
    __shared__ struct side_room room;
    const int t = threadIdx.x, k = sums.known ? 1 : blockIdx.y;
    if (t < SIDE_BLOCKS) room.nonfinite[t] = 0, room.zero[t] = INT32_MAX, room.found[t].count = 0;
#pragma unroll 1
    for (int b = 0; b < SIDE_BLOCKS; b++) {
        const int at = blockIdx.x * SIDE_BLOCKS + b;
        if (at >= sums.n_blocks) break;
        const struct device_place place = sums.places[at];
        const bool alike = is_alike(pairs, sums, place);
        if (is_again(pairs, place) || (k && alike)) continue;
        if (sums.known && t == SIDE_THREADS - 1) take_known(&sums.blocks[at], sums.known[at]);
        const struct side side = {(k ? pairs.mode : pairs.ref)[place.pair] + place.first, place.count};
        float least, most;
        __syncthreads(); // the room is free
        if (is_whole(side))
            side_take<true>(&room, b, side, &least, &most);
        else
            side_take<false>(&room, b, side, &least, &most);
        if (t == 0) room.found[b] = {least, most, place.count, alike};
    }
    __syncthreads();
    const int b = t / SUM_LANES;
    if (t >= WARP) return;
    const struct side_found found = b < SIDE_BLOCKS ? room.found[b] : side_found{0, 0, 0, false};
    double exact, low;
    side_add(room.steps[min(b, SIDE_BLOCKS - 1)], found.count, anchor_of(found.least, found.most), &exact,
             &low);
    if (t % SUM_LANES != 0 || found.count == 0) return;
    struct pair_block *block = &sums.blocks[blockIdx.x * SIDE_BLOCKS + b];
    store_side(block, k, found, room.nonfinite[b], exact, low);
    if (found.alike) store_side(block, 1, found, room.nonfinite[b], exact, low);
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
    const dim3 sides(blocks_of(sums->n_blocks, SIDE_BLOCKS), sums->known ? 1 : 2);
    sum_sides<<<sides, SIDE_THREADS, 0, stream>>>(*pairs, *sums);
    const bool has_pieces = sums->n_pieces > 0 && pairs->profiled;
    const unsigned for_pieces = has_pieces ? blocks_of(sums->n_pieces, WARPS * WARP / SUM_LANES) : 0;
    square_blocks<<<for_pieces + blocks_of(sums->n_groups, WARPS), WARPS * WARP, 0, stream>>>(
        *pairs, *sums, (int)for_pieces);
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
