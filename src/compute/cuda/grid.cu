// SPDX-License-Identifier: Apache-2.0
// How what is observed lies on grids.  Maxima and counts go by no order.  Sums are those of the processor: a
// thread has a sum and adds in the order of the rows, what 256 others have made of the values meanwhile.
#include "lane.cuh"

#include "ssmsweep/compute/grid.h"

enum {
    THREADS = 256,
    TILE = THREADS,
    ROWS = 64, // for a block, about
    MOST_BLOCKS = 1024
};
static const uint32_t infinity_bits = 0x7f800000u;

static __device__ __forceinline__ int columns_before(const struct device_view &view, int part)
{
    int before = 0;
    for (int p = 0; p < part; p++)
        before += view.width[p];
    return before;
}

// |v|, 0 for NaN.
static __device__ __forceinline__ uint32_t size_of(float v)
{
    const uint32_t bits = (uint32_t)vi_bits(v) & 0x7fffffffu;
    return bits <= infinity_bits ? bits : 0;
}

static __device__ uint32_t most_of_warp(uint32_t v)
{
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        v = max(v, __shfl_xor_sync(0xffffffffu, v, offset));
    return v;
}

// ---- maxima: x has columns, y a part, z rows ----

static __global__ void find_columns(struct device_view view, long rows, uint32_t *largest)
{
    const int part = blockIdx.y, column = blockIdx.x * WARP + threadIdx.x;
    const long step = (long)gridDim.z * blockDim.y;
    if (column >= view.width[part]) return;
    const float *values = view.values + view.first[part] + column;
    uint32_t most = 0;
    for (long row = (long)blockIdx.z * blockDim.y + threadIdx.y; row < rows; row += step)
        most = max(most, size_of(values[row * view.ld]));
    atomicMax(&largest[columns_before(view, part) + column], most);
}

// A warp has a row.
static __global__ void find_rows(struct device_view view, long rows, float *largest)
{
    const int part = blockIdx.y, lane = threadIdx.x % WARP;
    const long row = (long)blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    const float *values = view.values + row * view.ld + view.first[part];
    uint32_t most = 0;
    for (int i = lane; i < view.width[part]; i += WARP)
        most = max(most, size_of(values[i]));
    most = most_of_warp(most);
    if (lane == 0) largest[part * rows + row] = __uint_as_float(most);
}

// ---- codes ----

static __global__ void count_codes(struct device_view view, long rows, float scale,
                                   struct grid_tally *tallies)
{
    __shared__ uint32_t near[GRID_CODES + 1]; // what was clamped is the last
    const int part = blockIdx.y;
    for (int i = threadIdx.x; i <= GRID_CODES; i += THREADS)
        near[i] = 0;
    __syncthreads();
    for (long row = blockIdx.x; row < rows; row += gridDim.x)
        for (int i = threadIdx.x; i < view.width[part]; i += THREADS) {
            int clipped;
            const float v = view.values[row * view.ld + view.first[part] + i];
            const int place = grid_place(v, scale, &clipped);
            if (place >= 0) atomicAdd(&near[place], 1u);
            if (place >= 0 && clipped) atomicAdd(&near[GRID_CODES], 1u);
        }
    __syncthreads();
    unsigned long long *counts = (unsigned long long *)tallies[part].codes; // `clipped` is behind them
    for (int i = threadIdx.x; i <= GRID_CODES; i += THREADS)
        if (near[i]) atomicAdd(&counts[i], (unsigned long long)near[i]);
}

// ---- sums: a block has a part of a sample ----

struct of_rows {
    const float *largest; // [parts][rows]
    long rows;
};

// What a value adds; NaN is nothing, as what is behind the last.
static __device__ __forceinline__ void fill(float v, const struct grid_scales &scales, const float *column,
                                            const float *row_largest, double errors[GRID_SUMS])
{
    if (!isnan(v)) {
        grid_errors(&scales, v, *column, grid_row_scale(*row_largest), errors);
        return;
    }
    for (int i = 0; i < GRID_SUMS; i++)
        errors[i] = 0;
}

static __global__ void __launch_bounds__(WARP + TILE)
    add_errors(struct device_view view, struct parts parts, struct grid_scales scales, struct of_rows of,
               double *sums)
{
    __shared__ double errors[2][TILE][GRID_SUMS];
    const int sample = blockIdx.x, part = blockIdx.y, width = view.width[part];
    const long first = view.rows ? sample * view.rows : parts.firsts ? parts.firsts[sample] : 0;
    const long rows = view.rows ? view.rows : part_length(parts, sample),
               tiles = (rows * width + TILE - 1) / TILE;
    const float *values = view.values + first * view.ld + view.first[part];
    const float *columns = scales.columns + columns_before(view, part),
                *row_largest = of.largest + part * of.rows + first;
    const bool fills = threadIdx.x >= WARP;
    const int mine = fills ? (int)threadIdx.x - WARP : 0;
    long row = mine / width;
    int column = mine % width;
    double sum = 0;
    for (long tile = 0; tile <= tiles; tile++) {
        if (fills && tile < tiles) {
            fill(row < rows ? values[row * view.ld + column] : NAN, scales, columns + column,
                 row_largest + row, errors[tile % 2][mine]);
            row += TILE / width, column += TILE % width;
            if (column >= width) column -= width, row++;
        } else if (threadIdx.x < GRID_SUMS && tile > 0) {
            const double(*made)[GRID_SUMS] = errors[(tile - 1) % 2];
#pragma unroll 16
            for (int i = 0; i < TILE; i++)
                sum += made[i][threadIdx.x];
        }
        __syncthreads();
    }
    if (threadIdx.x < GRID_SUMS) sums[((long)sample * gridDim.y + part) * GRID_SUMS + threadIdx.x] = sum;
}

// ---- launches ----

static unsigned at_most(unsigned blocks)
{
    return blocks < MOST_BLOCKS ? blocks : (unsigned)MOST_BLOCKS;
}

static long rows_of(const struct device_view *view, const struct parts *parts)
{
    return view->rows ? view->rows * parts->samples : parts->tokens;
}

void device_grid_largest(device_stream stream, const struct device_view *view, const struct parts *parts,
                         float *largest)
{
    const long rows = rows_of(view, parts);
    int width = 0;
    for (int p = 0; p < view->parts; p++)
        width = view->width[p] > width ? view->width[p] : width;
    const dim3 grid(blocks_of(width, WARP), (unsigned)view->parts, at_most(blocks_of(rows, ROWS)));
    find_columns<<<grid, dim3(WARP, THREADS / WARP), 0, stream>>>(*view, rows, (uint32_t *)largest);
}

size_t device_grid_bytes(const struct device_view *view, const struct parts *parts)
{
    return (size_t)(rows_of(view, parts) * view->parts) * sizeof(float);
}

void device_grid(device_stream stream, const struct device_view *view, const struct parts *parts,
                 const struct grid_scales *scales, double *sums, struct grid_tally *tallies, float *room)
{
    const long rows = rows_of(view, parts);
    const unsigned of_parts = (unsigned)view->parts;
    const struct of_rows of = {room, rows};
    find_rows<<<dim3(blocks_of(rows, THREADS / WARP), of_parts), THREADS, 0, stream>>>(*view, rows, room);
    count_codes<<<dim3(at_most(blocks_of(rows, ROWS / 4)), of_parts), THREADS, 0, stream>>>(
        *view, rows, scales->own, tallies);
    add_errors<<<dim3((unsigned)parts->samples, of_parts), WARP + TILE, 0, stream>>>(*view, *parts, *scales,
                                                                                     of, sums);
}
