// SPDX-License-Identifier: Apache-2.0
// What observers ask of the |v| of each sample: the largest, the number of a rank with the one behind it, and
// counts in bins.  All of it goes by the bits of |v|, whose order is that of the numbers, and none of it by
// the order in which they are seen: the processor finds the same.
#include "lane.cuh"

enum {
    THREADS = 256,
    DIGIT_BITS = 11, // the most of a digit
    DIGITS = 1 << DIGIT_BITS,
    ROWS = 16,       // of a sample, about, for a block
    MOST_BLOCKS = 64 // for a sample
};
static const uint32_t infinity_bits = 0x7f800000u;

// ---- the numbers of a sample, those of block y ----

template <typename Take>
static __device__ __forceinline__ void each_number(const struct device_view &view, const struct parts &parts,
                                                   Take take)
{
    const int sample = blockIdx.y;
    const long first = view.rows ? sample * view.rows : parts.firsts ? parts.firsts[sample] : 0;
    const long rows = view.rows ? view.rows : part_length(parts, sample);
    for (long row = first + blockIdx.x; row < first + rows; row += gridDim.x)
        for (int p = 0; p < view.parts; p++)
            for (int i = threadIdx.x; i < view.width[p]; i += THREADS)
                take((uint32_t)vi_bits(view.values[row * view.ld + view.first[p] + i]) & 0x7fffffffu);
}

static dim3 grid_of(const struct device_view *view, const struct parts *parts)
{
    const long rows = view->rows ? view->rows : (parts->tokens + parts->samples - 1) / parts->samples;
    const unsigned blocks = blocks_of(rows, ROWS);
    return dim3(blocks < MOST_BLOCKS ? blocks : (unsigned)MOST_BLOCKS, (unsigned)parts->samples);
}

// ---- the largest ----

static __device__ uint32_t most_of_warp(uint32_t v)
{
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        v = max(v, __shfl_xor_sync(0xffffffffu, v, offset));
    return v;
}

static __global__ void find_largest(struct device_view view, struct parts parts, struct look_found *found)
{
    uint32_t most = 0;
    each_number(view, parts, [&](uint32_t bits) {
        if (bits <= infinity_bits) most = max(most, bits);
    });
    most = most_of_warp(most);
    if (threadIdx.x % WARP == 0) atomicMax(&found[blockIdx.y].bits, most);
}

void device_largest(device_stream stream, const struct device_view *view, const struct parts *parts,
                    struct look_found *found)
{
    find_largest<<<grid_of(view, parts), THREADS, 0, stream>>>(*view, *parts, found);
}

// ---- a rank: digit by digit, from the highest ----

// Counts the digit at `shift` of those that have the digits in front of it.
static __global__ void count_digits(struct device_view view, struct parts parts,
                                    const struct look_found *found, int shift, int width, uint32_t *counts)
{
    __shared__ uint32_t near[DIGITS];
    const uint32_t digits = 1u << width, before = found[blockIdx.y].bits;
    for (uint32_t i = threadIdx.x; i < digits; i += THREADS)
        near[i] = 0;
    __syncthreads();
    each_number(view, parts, [&](uint32_t bits) {
        if ((bits ^ before) >> (shift + width) == 0) atomicAdd(&near[bits >> shift & (digits - 1)], 1u);
    });
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < digits; i += THREADS)
        if (near[i]) atomicAdd(&counts[blockIdx.y * DIGITS + i], near[i]);
}

static __device__ uint32_t sum_in_front(uint32_t v, int lane) // and of the lane itself
{
    for (int offset = 1; offset < WARP; offset *= 2) {
        const uint32_t other = __shfl_up_sync(0xffffffffu, v, offset);
        if (lane >= offset) v += other;
    }
    return v;
}

// A warp has a sample: takes the digit in which the rank lies, and clears the counts.  Behind the last digit
// `next` is the number itself where there is another one of the same, else to be looked for.
static __global__ void take_digit(struct look_found *found, int shift, int width, uint32_t *counts)
{
    const int lane = threadIdx.x;
    struct look_found *mine = &found[blockIdx.x];
    const uint32_t rank = mine->rank;
    uint32_t before = 0, bits = mine->bits;
    __syncwarp();
    for (uint32_t i = lane; i < 1u << width; i += WARP) {
        const uint32_t count = counts[blockIdx.x * DIGITS + i], up_to = before + sum_in_front(count, lane);
        if (rank < up_to && rank >= up_to - count) {
            mine->bits = bits | i << shift;
            mine->rank = rank - (up_to - count);
            mine->next = rank + 1 < up_to ? mine->bits : UINT32_MAX;
        }
        counts[blockIdx.x * DIGITS + i] = 0;
        before = __shfl_sync(0xffffffffu, up_to, WARP - 1);
    }
}

static __global__ void find_next(struct device_view view, struct parts parts, struct look_found *found)
{
    const uint32_t than = found[blockIdx.y].bits;
    uint32_t least = UINT32_MAX;
    if (found[blockIdx.y].next == than) return;
    each_number(view, parts, [&](uint32_t bits) {
        if (bits > than) least = min(least, bits);
    });
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        least = min(least, __shfl_xor_sync(0xffffffffu, least, offset));
    if (threadIdx.x % WARP == 0) atomicMin(&found[blockIdx.y].next, least);
}

// The last number of all has none behind it.
static __global__ void end_ranks(struct look_found *found, int samples)
{
    for (int s = threadIdx.x; s < samples; s += THREADS)
        if (found[s].next == UINT32_MAX) found[s].next = found[s].bits;
}

size_t device_ranks_bytes(int samples)
{
    return (size_t)samples * DIGITS * sizeof(uint32_t);
}

void device_ranks(device_stream stream, const struct device_view *view, const struct parts *parts,
                  struct look_found *found, uint32_t *room)
{
    static const struct {
        int shift, width;
    } digits[] = {{20, 11}, {10, 10}, {0, 10}};
    const dim3 grid = grid_of(view, parts);
    cudaMemsetAsync(room, 0, device_ranks_bytes(parts->samples), stream);
    for (int i = 0; i < 3; i++) {
        count_digits<<<grid, THREADS, 0, stream>>>(*view, *parts, found, digits[i].shift, digits[i].width,
                                                   room);
        take_digit<<<(unsigned)parts->samples, WARP, 0, stream>>>(found, digits[i].shift, digits[i].width,
                                                                  room);
    }
    find_next<<<grid, THREADS, 0, stream>>>(*view, *parts, found);
    end_ranks<<<1, THREADS, 0, stream>>>(found, parts->samples);
}

// ---- bins ----

static __global__ void count_bins(struct device_view view, struct parts parts, struct bit_bins bins,
                                  uint32_t *counts)
{
    extern __shared__ uint32_t near_bins[];
    for (int i = threadIdx.x; i < bins.count; i += THREADS)
        near_bins[i] = 0;
    __syncthreads();
    each_number(view, parts, [&](uint32_t bits) {
        if (bits > infinity_bits) return;
        const uint32_t bin = bits < bins.lowest    ? 0
                             : bits < bins.highest ? 1 + ((bits - bins.lowest) >> bins.shift)
                                                   : (uint32_t)bins.count - 1;
        atomicAdd(&near_bins[bin], 1u);
    });
    __syncthreads();
    for (int i = threadIdx.x; i < bins.count; i += THREADS)
        if (near_bins[i]) atomicAdd(&counts[(long)blockIdx.y * bins.count + i], near_bins[i]);
}

void device_bins(device_stream stream, const struct device_view *view, const struct parts *parts,
                 const struct bit_bins *bins, uint32_t *counts)
{
    const size_t bytes = (size_t)bins->count * sizeof *counts;
    cudaMemsetAsync(counts, 0, (size_t)parts->samples * bytes, stream);
    count_bins<<<grid_of(view, parts), THREADS, bytes, stream>>>(*view, *parts, *bins, counts);
}
