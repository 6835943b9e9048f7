// SPDX-License-Identifier: Apache-2.0
// Steps of Mamba-2 on rows: conv1d whose parts have scales of their own, columns that have, the gated norm,
// and captures in another order of columns.
#include "lane.cuh"

#include "../cpu/isa/ssd.h"

enum { THREADS = 256 };

// ---- conv1d of codes: a factor for each part of the channels ----

static __device__ __forceinline__ int conv1d_part(const struct conv1d &c, int channel)
{
    int part = 0;
    while (part < CONV1D_PARTS && channel >= c.part_ends[part])
        part++;
    return part;
}

// Where the factors are the same for all samples.
static __global__ void scale_taps(struct conv1d c, struct device_scales scales, int channels)
{
    const int channel = blockIdx.x * THREADS + threadIdx.x, part = conv1d_part(c, channel);
    if (channel < channels)
        c.taps[channel] = c.tap_scales[channel] * (part < CONV1D_PARTS ? scales.of[part].one : 1);
}

enum { CONV1D_ROWS = 8 };

// A thread has some rows of a channel.
static __global__ void conv1d_parts(struct conv1d c, struct device_scales scales, struct parts parts,
                                    int channels)
{
    const int row0 = blockIdx.x * CONV1D_ROWS, channel = blockIdx.y * THREADS + threadIdx.x;
    if (channel >= channels) return;
    const int part = conv1d_part(c, channel);
    for (int row = row0; row < row0 + CONV1D_ROWS && row < parts.tokens; row++) {
        int first;
        const int sample = part_of(parts, row, &first), before = c.d_conv - 1 - (row - first);
        struct conv1d its = c;
        if (part < CONV1D_PARTS) {
            const struct device_scale &scale = scales.of[part];
            its.tap_scale *= scale.many ? scale.many[sample] : scale.one;
        }
        conv1d_finish(&c, row, channel, conv1d_at(&its, row, channel, 1, 1, before > 0 ? before : 0));
    }
}

void device_conv1d_parts(device_stream stream, const struct conv1d *c, const struct device_scales *scales,
                         const struct parts *parts, int channels)
{
    const dim3 grid(blocks_of(parts->tokens, CONV1D_ROWS), blocks_of(channels, THREADS));
    bool of_samples = false;
    for (int p = 0; p < CONV1D_PARTS; p++)
        of_samples = of_samples || scales->of[p].many;
    if (of_samples) {
        conv1d_parts<<<grid, THREADS, 0, stream>>>(*c, *scales, *parts, channels);
        return;
    }
    struct conv1d scaled = *c;
    scaled.tap_scales = c->taps;
    scale_taps<<<grid.y, THREADS, 0, stream>>>(*c, *scales, channels);
    device_conv1d(stream, &scaled, parts, channels);
}

// ---- columns with scales of their own ----

enum { COLUMNS_THREADS = 128, COLUMNS_ROWS = 8 };

// Four neighbouring columns of a row: x, or the codes as they are given.
static __device__ __forceinline__ void columns_take(const struct columns &c, long row, int i, float (&to)[4])
{
    if (c.x) {
        load_four(c.x + row * c.ldx + i, to);
        return;
    }
    const char4 v = *(const char4 *)(c.given + row * c.ldg + i);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

static __device__ __forceinline__ void columns_put(const struct columns &c, long row, int i,
                                                   const float (&from)[4], const float (&steps)[4])
{
    float code[4];
#pragma unroll
    for (int e = 0; e < 4; e++)
        code[e] = c.x ? columns_code(&c, from[e], steps[e]) : from[e];
    if (c.codes)
        *(char4 *)(c.codes + row * c.ldq + i) = make_char4((signed char)code[0], (signed char)code[1],
                                                           (signed char)code[2], (signed char)code[3]);
    if (c.values)
        *(float4 *)(c.values + row * c.ldv + i) =
            make_float4(code[0] * steps[0], code[1] * steps[1], code[2] * steps[2], code[3] * steps[3]);
}

// A thread has some rows of four columns, whose loads are under way at once.
static __global__ void __launch_bounds__(COLUMNS_THREADS) columns_rows(struct columns c, int rows)
{
    const int i = (blockIdx.x * COLUMNS_THREADS + threadIdx.x) * 4, row0 = blockIdx.y * COLUMNS_ROWS;
    float x[COLUMNS_ROWS][4], steps[4];
    if (i >= c.width) return;
    load_four(c.steps + i, steps);
#pragma unroll
    for (int r = 0; r < COLUMNS_ROWS; r++)
        if (row0 + r < rows) columns_take(c, row0 + r, i, x[r]);
#pragma unroll
    for (int r = 0; r < COLUMNS_ROWS; r++)
        if (row0 + r < rows) columns_put(c, row0 + r, i, x[r], steps);
}

void device_columns(device_stream stream, const struct columns *columns, int rows)
{
    const dim3 grid(blocks_of(columns->width, 4 * COLUMNS_THREADS), blocks_of(rows, COLUMNS_ROWS));
    columns_rows<<<grid, COLUMNS_THREADS, 0, stream>>>(*columns, rows);
}

// ---- gated norm ----

enum { NORM_SHARED = 48 << 10, NORM_ROWS = 8 };

// V neighbouring values, 1 or 4.
template <int V> static __device__ __forceinline__ void take_some(const float *from, float (&to)[V])
{
    if (V == 4)
        load_four(from, to);
    else
        to[0] = from[0];
}

template <int V> static __device__ __forceinline__ void put_some(float *to, const float (&from)[V])
{
    if (V == 4)
        *(float4 *)to = make_float4(from[0], from[V / 4], from[V / 2], from[V - 1]);
    else
        to[0] = from[0];
}

// A warp has a row, which stands in shared memory or, where it is too long, in `out`: 16 lanes sum it.
template <int V> static __global__ void gate_rows(struct gated_norm n, int rows, int near)
{
    extern __shared__ __align__(16) float rows_near[];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP,
              row = blockIdx.x * (blockDim.x / WARP) + warp, width = n.width / n.parts;
    if (row >= rows) return;
    const float *y = n.y + row * n.ldy, *z = n.z + row * n.ldz;
    float *out = n.out + row * n.ldo, *v = near ? rows_near + warp * near : out;
#pragma unroll 4
    for (int i = lane * V; i < n.width; i += WARP * V) {
        float its_y[V], its_z[V];
        take_some<V>(y + i, its_y);
        take_some<V>(z + i, its_z);
#pragma unroll
        for (int e = 0; e < V; e++)
            its_y[e] = gate_before(&n, its_y[e], its_z[e]);
        put_some<V>(v + i, its_y);
    }
    __syncwarp();
    for (int first = 0; first < n.width; first += width) {
        float acc = 0;
#pragma unroll 8
        for (int i = lane % KERNEL_LANES; i < width; i += KERNEL_LANES)
            acc = vf_fma(v[first + i], v[first + i], acc);
        for (int half = KERNEL_LANES / 2; half > 0; half /= 2)
            acc += __shfl_down_sync(0xffffffffu, acc, half, KERNEL_LANES);
        const float squares = __shfl_sync(0xffffffffu, acc, 0);
        const float root = sqrtf(squares / (float)width + n.eps);
#pragma unroll 4
        for (int i = first + lane * V; i < first + width; i += WARP * V) {
            float its[V], weight[V], its_z[V];
            take_some<V>(v + i, its);
            take_some<V>(n.weight + i, weight);
            take_some<V>(z + i, its_z);
#pragma unroll
            for (int e = 0; e < V; e++)
                its[e] = gate_behind(&n, its[e], root, weight[e], its_z[e]);
            put_some<V>(out + i, its);
        }
    }
}

static bool is_even(const float *p, long ld)
{
    return (uintptr_t)p % 16 == 0 && ld % 4 == 0;
}

void device_gated_norm(device_stream stream, const struct gated_norm *n, int rows)
{
    const size_t row_bytes = (size_t)n->width * sizeof(float);
    const int fit = (int)(NORM_SHARED / row_bytes);
    const int together = fit == 0 ? 1 : fit < NORM_ROWS ? fit : NORM_ROWS, near = fit ? n->width : 0;
    const size_t near_bytes = fit ? (size_t)together * row_bytes : 0;
    const unsigned blocks = blocks_of(rows, together), threads = (unsigned)(WARP * together);
    const bool fours = n->width / n->parts % 4 == 0 && is_even(n->y, n->ldy) && is_even(n->z, n->ldz) &&
                       is_even(n->out, n->ldo) && is_even(n->weight, 0);
    if (fours)
        gate_rows<4><<<blocks, threads, near_bytes, stream>>>(*n, rows, near);
    else
        gate_rows<1><<<blocks, threads, near_bytes, stream>>>(*n, rows, near);
}

// ---- captures ----

static __global__ void order_columns(const float *values, const int8_t *codes, long ld, int width,
                                     struct device_scale scale, struct parts parts, const int32_t *order,
                                     float *to)
{
    int first;
    const long row = blockIdx.x;
    const int sample = part_of(parts, (int)row, &first);
    const float step = scale.many ? scale.many[scale.by_row ? row : sample] : scale.one;
    for (int i = threadIdx.x; i < width; i += THREADS) {
        const long at = row * ld + order[i];
        to[row * width + i] = values ? values[at] : (float)codes[at] * step;
    }
}

void device_order_columns(device_stream stream, const float *values, const int8_t *codes, long ld, int width,
                          const struct device_scale *scale, const struct parts *parts, const int32_t *order,
                          float *to)
{
    order_columns<<<(unsigned)parts->tokens, THREADS, 0, stream>>>(values, codes, ld, width, *scale, *parts,
                                                                   order, to);
}
