// SPDX-License-Identifier: Apache-2.0
// Steps over rows: norm, conv1d, quantizers, what is not finite.
#include "lane.cuh"

#include "../cpu/isa/dither.h"

enum { THREADS = 256, WARPS = THREADS / 32 };

// The row of a warp, where each has one.
static __device__ __forceinline__ int warp_row(void)
{
    return blockIdx.x * WARPS + threadIdx.x / 32;
}

// Four neighbours.
static __device__ __forceinline__ void load_four(const int8_t *from, float (&to)[4])
{
    const char4 v = *(const char4 *)from;
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

// The largest of a warp's values, and of a block's, none of them below 0, for all their threads.
static __device__ float warp_most(float most)
{
    for (int offset = 16; offset > 0; offset /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, most, offset);
        most = other > most ? other : most;
    }
    return most;
}

static __device__ float block_most(float most)
{
    __shared__ float warps[WARPS];
    most = warp_most(most);
    if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = most;
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        most = warps[i] > most ? warps[i] : most;
    return most;
}

// max|x| of a row, NaN passed over.
static __device__ float row_most(const float *x, int width)
{
    float most = 0;
    for (int i = threadIdx.x; i < width; i += THREADS)
        most = vf_max(vf_abs(x[i]), most);
    return block_most(most);
}

static __device__ __forceinline__ bool is_finite(float x)
{
    return (vi_bits(x) & 0x7fffffff) < 0x7f800000;
}

// Asks all threads of a warp for a row of their own; what is behind its width is zero.
static __device__ bool row_is_finite(const float *x, int width)
{
    bool finite = true;
#pragma unroll 4
    for (int i = threadIdx.x % 32 * 4; i < width; i += 32 * 4) {
        float v[4];
        load_four(x + i, v);
        finite = finite && is_finite(v[0]) && is_finite(v[1]) && is_finite(v[2]) && is_finite(v[3]);
    }
    return __all_sync(0xffffffffu, finite);
}

// ---- norm: all threads of a row load it, 16 of them sum it, thread i the elements i mod 16 ----

enum { NORM_SHARED = 48 << 10, NORM_ROWS = 8 };

// The sum of squares of a row over 16 threads, for all of them; group: the mask of their lanes.
static __device__ __forceinline__ float squares_of(const float *row, int width16, unsigned group)
{
    float acc = 0;
#pragma unroll 8
    for (int i = threadIdx.x % KERNEL_LANES; i < width16; i += KERNEL_LANES)
        acc = vf_fma(row[i], row[i], acc);
    for (int half = KERNEL_LANES / 2; half > 0; half /= 2)
        acc += __shfl_down_sync(group, acc, half, KERNEL_LANES);
    return __shfl_sync(group, acc, 0, KERNEL_LANES);
}

// Each warp has a row of its own, in shared memory.
static __global__ void norm_rows(struct norm n, int rows, int width16)
{
    extern __shared__ float near[];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = blockIdx.x * (blockDim.x / 32) + warp;
    const long at = row * n.ld;
    float *mine = near + warp * width16;
    if (row >= rows) return;
#pragma unroll 4
    for (int i = lane; i < width16; i += 32)
        mine[i] = n.h ? n.residual[at + i] + n.h[at + i] : n.residual[at + i];
    __syncwarp();
    const float mean = squares_of(mine, width16, 0xffffu << (threadIdx.x & KERNEL_LANES)) / (float)n.width;
    const float root = sqrtf(mean + n.eps);
    if (n.h)
        for (int i = lane; i < width16; i += 32)
            n.residual[at + i] = mine[i];
    struct norm here = n;
    here.residual = mine - at;
    for (int i = lane; i < width16; i += 32)
        norm_at(&here, at, i, root, n.step);
}

// Rows of any width; a warp has two.
static __global__ void norm_wide(struct norm n, int rows, int width16)
{
    const int row = blockIdx.x * (THREADS / KERNEL_LANES) + threadIdx.x / KERNEL_LANES;
    const long at = row * n.ld;
    if (row >= rows) return;
    for (int i = threadIdx.x % KERNEL_LANES; n.h && i < width16; i += KERNEL_LANES)
        n.residual[at + i] += n.h[at + i];
    const float squares = squares_of(n.residual + at, width16, 0xffffu << (threadIdx.x & KERNEL_LANES));
    const float root = sqrtf(squares / (float)n.width + n.eps);
    for (int i = threadIdx.x % KERNEL_LANES; i < width16; i += KERNEL_LANES)
        norm_at(&n, at, i, root, n.step);
}

void device_norm(device_stream stream, const struct norm *norm, int rows)
{
    const int width16 = round_up16(norm->width);
    const size_t row_bytes = (size_t)width16 * sizeof(float);
    const int fit = (int)(NORM_SHARED / row_bytes), together = fit > NORM_ROWS ? NORM_ROWS : fit;
    if (together > 0)
        norm_rows<<<blocks_of(rows, together), (unsigned)(32 * together), (size_t)together * row_bytes,
                    stream>>>(*norm, rows, width16);
    else
        norm_wide<<<blocks_of(rows, THREADS / KERNEL_LANES), THREADS, 0, stream>>>(*norm, rows, width16);
}

// ---- conv1d ----

enum { CONV1D_ROWS = 4, CONV1D_TAPS = 4, CONV1D_THREADS = 128 };

template <int CODES>
static __device__ __forceinline__ void conv1d_load(const struct conv1d &c, long row, int channel,
                                                   float (&x)[4])
{
    const long at = row * c.ldx + channel;
    if (CODES)
        load_four(c.x_codes + at, x);
    else
        load_four(c.x_float + at, x);
}

// Rows of a sample behind rows of the same: taps meet what was loaded once for all rows.
template <int CODES, int CHANNELS>
static __device__ __forceinline__ void conv1d_inside(const struct conv1d &c, int row0, int channel,
                                                     float (&v)[CONV1D_ROWS][4])
{
    float w[CONV1D_TAPS][4], x[CONV1D_ROWS + CONV1D_TAPS - 1][4];
#pragma unroll
    for (int k = 0; k < CONV1D_TAPS; k++)
        load_four(c.w + k * c.ldw + channel, w[k]);
#pragma unroll
    for (int r = 0; r < CONV1D_ROWS + CONV1D_TAPS - 1; r++)
        conv1d_load<CODES>(c, row0 + r - (CONV1D_TAPS - 1), channel, x[r]);
#pragma unroll
    for (int r = 0; r < CONV1D_ROWS; r++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            float sum = 0;
#pragma unroll
            for (int k = 0; k < CONV1D_TAPS; k++)
                sum = vf_fma(w[k][e], x[r + k][e], sum);
            v[r][e] = conv1d_linear(&c, channel + e, sum, CODES, CHANNELS);
        }
}

// v: sums.
static __device__ __forceinline__ void conv1d_leave(const struct conv1d &c, const struct grid_step &step,
                                                    long row, int channel, float (&v)[4])
{
    silu_four(v);
    if (c.codes) *(uint32_t *)(c.codes + row * c.ldq + channel) = four_codes(step, v);
    if (!c.v) return;
#pragma unroll
    for (int e = 0; e < 4; e++)
        v[e] = c.half ? vf_round_half(v[e]) : v[e];
    *(float4 *)(c.v + row * c.ldv + channel) = make_float4(v[0], v[1], v[2], v[3]);
}

// A thread has some rows of four channels.
template <int CODES, int CHANNELS>
static __global__ void conv1d_rows(struct conv1d c, struct parts parts, int channels)
{
    const int row0 = blockIdx.x * CONV1D_ROWS, channel = (blockIdx.y * CONV1D_THREADS + threadIdx.x) * 4;
    const int last = row0 + CONV1D_ROWS <= parts.tokens ? row0 + CONV1D_ROWS - 1 : parts.tokens - 1;
    int first, first_of_last;
    float v[CONV1D_ROWS][4];
    if (channel >= channels) return;
    const int sample = part_of(parts, row0, &first);
    part_of(parts, last, &first_of_last);
    const struct grid_step step = grid_step_of(c.step, c.ties_away);
    struct conv1d its = c;
    if (c.x_scale) its.tap_scale *= c.x_scale[sample];
    if (c.d_conv == CONV1D_TAPS && row0 - (CONV1D_TAPS - 1) >= first && first == first_of_last &&
        last == row0 + CONV1D_ROWS - 1) {
        conv1d_inside<CODES, CHANNELS>(its, row0, channel, v);
#pragma unroll
        for (int r = 0; r < CONV1D_ROWS; r++)
            conv1d_leave(c, step, row0 + r, channel, v[r]);
        return;
    }
    for (int row = row0; row <= last; row++) {
        const int its_sample = part_of(parts, row, &first), before = c.d_conv - 1 - (row - first);
        its.tap_scale = c.x_scale ? c.tap_scale * c.x_scale[its_sample] : c.tap_scale;
#pragma unroll
        for (int e = 0; e < 4; e++)
            v[0][e] = conv1d_taps(&its, row, channel + e, CODES, CHANNELS, before > 0 ? before : 0);
        conv1d_leave(c, step, row, channel, v[0]);
    }
}

void device_conv1d(device_stream stream, const struct conv1d *c, const struct parts *parts, int channels)
{
    const dim3 grid(blocks_of(parts->tokens, CONV1D_ROWS), blocks_of(channels, 4 * CONV1D_THREADS));
    if (c->x_codes && c->tap_scales)
        conv1d_rows<1, 1><<<grid, CONV1D_THREADS, 0, stream>>>(*c, *parts, channels);
    else if (c->x_codes)
        conv1d_rows<1, 0><<<grid, CONV1D_THREADS, 0, stream>>>(*c, *parts, channels);
    else
        conv1d_rows<0, 0><<<grid, CONV1D_THREADS, 0, stream>>>(*c, *parts, channels);
}

// ---- quantizers ----

static __device__ __forceinline__ float step_of(float most)
{
    return most > 0 ? most / 127.0f : 1.0f;
}

static __global__ void sample_most(struct quantize q, struct parts parts, float *most)
{
    int first;
    const int row = blockIdx.x, sample = part_of(parts, row, &first);
    const float found = row_most(q.x + row * q.ldx, q.width);
    if (threadIdx.x == 0) atomicMax((int *)&most[sample], __float_as_int(found)); // none is below 0
}

// The step of each sample; one of which something is not finite is broken as a whole.
static __global__ void sample_step(struct quantize q, struct parts parts, const float *most)
{
    for (int s = threadIdx.x; s < parts.samples; s += THREADS) {
        if (parts.broken[s] < part_length(parts, s) || !is_finite(most[s])) parts.broken[s] = 0;
        q.steps[s] = step_of(most[s]);
    }
}

static __device__ __forceinline__ float code_of(const struct quantize &q, float x, float step)
{
    return vf_sat8(q.ties_away ? vf_round_away(x / step) : vf_rint(x / step));
}

// A warp has a row.  fours: rows begin and end where four elements may.
static __global__ void quantize_rows(struct quantize q, struct parts parts, bool fours)
{
    int first;
    const int lane = threadIdx.x % 32, row = warp_row();
    if (row >= parts.tokens) return;
    const float *x = q.x + row * q.ldx;
    float step = q.step;
    if (q.of == STEP_OF_SAMPLE) step = q.steps[part_of(parts, row, &first)];
    if (q.of == STEP_OF_ROWS) {
        float most = 0;
        for (int i = lane; i < q.width; i += 32)
            most = vf_max(vf_abs(x[i]), most);
        step = step_of(warp_most(most));
        if (lane == 0) q.steps[row] = step;
    }
    if (!fours) {
        for (int i = lane; i < q.width; i += 32)
            vf_store_s8(q.codes + row * q.ldq + i, code_of(q, x[i], step));
        return;
    }
    const struct grid_step grid = grid_step_of(step, q.ties_away);
#pragma unroll 4
    for (int i = lane * 4; i < q.width; i += 32 * 4) {
        float v[4];
        load_four(x + i, v);
        *(uint32_t *)(q.codes + row * q.ldq + i) = four_codes(grid, v);
    }
}

void device_quantize(device_stream stream, const struct quantize *q, const struct parts *parts, float *most)
{
    const unsigned rows = (unsigned)parts->tokens;
    if (q->of == STEP_OF_SAMPLE) {
        cudaMemsetAsync(most, 0, (size_t)parts->samples * sizeof *most, stream);
        sample_most<<<rows, THREADS, 0, stream>>>(*q, *parts, most);
        sample_step<<<1, THREADS, 0, stream>>>(*q, *parts, most);
    }
    const bool fours =
        ((uintptr_t)q->x % 16 | (uintptr_t)q->codes % 4 | (q->width | q->ldx | q->ldq) % 4) == 0;
    quantize_rows<<<blocks_of(rows, WARPS), THREADS, 0, stream>>>(*q, *parts, fours);
}

static __global__ void dequantize_rows(const int8_t *codes, long ldq, int width, struct device_scale scale,
                                       struct parts parts, float *values, long ldv)
{
    int first;
    const int row = warp_row();
    if (row >= parts.tokens) return;
    const int sample = part_of(parts, row, &first);
    const float s = scale.many ? scale.many[scale.by_row ? row : sample] : scale.one;
#pragma unroll 4
    for (int i = threadIdx.x % 32; i < width; i += 32)
        values[row * ldv + i] = (float)codes[row * ldq + i] * s;
}

void device_dequantize(device_stream stream, const int8_t *codes, long ldq, int width,
                       const struct device_scale *scale, const struct parts *parts, float *values, long ldv)
{
    dequantize_rows<<<blocks_of(parts->tokens, WARPS), THREADS, 0, stream>>>(codes, ldq, width, *scale,
                                                                             *parts, values, ldv);
}

static __global__ void quotients_of(const float *from, int count, float by, float *to)
{
    const int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < count) to[i] = (float)((double)from[i] / (double)by);
}

void device_quotients(device_stream stream, const float *from, int count, float by, float *to)
{
    quotients_of<<<blocks_of(count, THREADS), THREADS, 0, stream>>>(from, count, by, to);
}

// ---- elements ----

static __global__ void half_elements(float *x, long count)
{
    const long i = (long)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) x[i] = vf_round_half(x[i]);
}

void device_round_half(device_stream stream, float *x, long count)
{
    half_elements<<<blocks_of(count, THREADS), THREADS, 0, stream>>>(x, count);
}

static __global__ void dither_rows(struct parts parts, float *x, long ld, int width, const uint64_t *keys)
{
    int first;
    const uint64_t mixed = keys[part_of(parts, blockIdx.x, &first)];
    float *row = x + blockIdx.x * ld;
    for (int i = threadIdx.x; i < width; i += THREADS)
        row[i] = dither_nudge(row[i], dither_random(mixed, (int)blockIdx.x - first, i));
}

void device_dither(device_stream stream, const struct parts *parts, float *x, long ld, int width,
                   const uint64_t *keys)
{
    dither_rows<<<(unsigned)parts->tokens, THREADS, 0, stream>>>(*parts, x, ld, width, keys);
}

static __global__ void weigh_rows(float *x, long ld, int width, const float *weight)
{
    for (int i = threadIdx.x; i < width; i += THREADS)
        x[blockIdx.x * ld + i] *= weight[i];
}

void device_weigh(device_stream stream, float *x, long ld, int width, int rows, const float *weight)
{
    weigh_rows<<<(unsigned)rows, THREADS, 0, stream>>>(x, ld, width, weight);
}

static __global__ void scatter_rows(const float *from, const int32_t *ids, float *to, long ld)
{
    for (int i = threadIdx.x; i < ld; i += THREADS)
        to[ids[blockIdx.x] * ld + i] = from[blockIdx.x * ld + i];
}

void device_scatter_rows(device_stream stream, const float *from, const int32_t *ids, int count, float *to,
                         long ld)
{
    if (count > 0) scatter_rows<<<(unsigned)count, THREADS, 0, stream>>>(from, ids, to, ld);
}

static __global__ void gather_rows(const float *from, const int32_t *ids, float *to, long ld)
{
    for (int i = threadIdx.x; i < ld; i += THREADS)
        to[blockIdx.x * ld + i] = from[ids[blockIdx.x] * ld + i];
}

void device_gather_rows(device_stream stream, const float *from, const int32_t *ids, int count, float *to,
                        long ld)
{
    gather_rows<<<(unsigned)count, THREADS, 0, stream>>>(from, ids, to, ld);
}

static __global__ void copy_rows(const float *from, long ld_from, float *to, long ld_to, int width)
{
    for (int i = threadIdx.x; i < width; i += THREADS)
        to[blockIdx.x * ld_to + i] = from[blockIdx.x * ld_from + i];
}

void device_copy_rows(device_stream stream, const float *from, long ld_from, float *to, long ld_to, int rows,
                      int width)
{
    copy_rows<<<(unsigned)rows, THREADS, 0, stream>>>(from, ld_from, to, ld_to, width);
}

// ---- what is not finite ----

static __global__ void clear_broken(struct parts parts)
{
    for (int s = threadIdx.x; s < parts.samples; s += THREADS)
        parts.broken[s] = part_length(parts, s);
}

static __global__ void find_rows(struct parts parts, const float *rows, long ld, int width)
{
    int first;
    const int row = warp_row();
    if (row >= parts.tokens || row_is_finite(rows + row * ld, width)) return;
    const int sample = part_of(parts, row, &first);
    if (threadIdx.x % 32 == 0) atomicMin(&parts.broken[sample], row - first);
}

void device_find_broken(device_stream stream, const struct parts *parts, const float *rows, long ld,
                        int width)
{
    clear_broken<<<1, THREADS, 0, stream>>>(*parts);
    find_rows<<<blocks_of(parts->tokens, WARPS), THREADS, 0, stream>>>(*parts, rows, ld, width);
}

static __device__ void break_row(float *row, int width) // by a warp
{
    for (int i = threadIdx.x % 32; i < width; i += 32)
        row[i] = quiet_nan();
}

static __global__ void break_from(int rows, const float *from, long ld_from, int width_from, float *to,
                                  long ld_to, int width_to)
{
    const int row = warp_row();
    if (row >= rows || row_is_finite(from + row * ld_from, width_from)) return;
    break_row(to + row * ld_to, width_to);
}

void device_break_rows(device_stream stream, int rows, const float *from, long ld_from, int width_from,
                       float *to, long ld_to, int width_to)
{
    break_from<<<blocks_of(rows, WARPS), THREADS, 0, stream>>>(rows, from, ld_from, width_from, to, ld_to,
                                                               width_to);
}

static __global__ void break_behind(struct parts parts, float *rows, long ld, int width)
{
    int first;
    const int row = warp_row();
    if (row >= parts.tokens) return;
    const int sample = part_of(parts, row, &first);
    if (row - first >= parts.broken[sample]) break_row(rows + row * ld, width);
}

void device_break_rest(device_stream stream, const struct parts *parts, float *rows, long ld, int width)
{
    break_behind<<<blocks_of(parts->tokens, WARPS), THREADS, 0, stream>>>(*parts, rows, ld, width);
}

static __global__ void mark_rows(int count, const float *rows, long ld, int width, int8_t *finite)
{
    const int row = warp_row();
    if (row < count) finite[row] = row_is_finite(rows + row * ld, width);
}

void device_mark_finite(device_stream stream, int count, const float *rows, long ld, int width,
                        int8_t *finite)
{
    mark_rows<<<blocks_of(count, WARPS), THREADS, 0, stream>>>(count, rows, ld, width, finite);
}

static __global__ void break_where(int count, const int8_t *finite, float *rows, long ld, int width)
{
    const int row = warp_row();
    if (row < count && !finite[row]) break_row(rows + row * ld, width);
}

void device_break_marked(device_stream stream, int count, const int8_t *finite, float *rows, long ld,
                         int width)
{
    break_where<<<blocks_of(count, WARPS), THREADS, 0, stream>>>(count, finite, rows, ld, width);
}

// ---- for observers and tests ----

static __global__ void most_of(const float *x, long count, float *most)
{
    float found = 0;
    for (long i = (long)blockIdx.x * THREADS + threadIdx.x; i < count; i += (long)gridDim.x * THREADS)
        found = vf_max(vf_abs(x[i]), found);
    found = block_most(found);
    if (threadIdx.x == 0) atomicMax((int *)most, __float_as_int(found));
}

void device_most(device_stream stream, const float *x, long count, float *most)
{
    const unsigned blocks = blocks_of(count, 16 * THREADS);
    cudaMemsetAsync(most, 0, sizeof *most, stream);
    most_of<<<blocks, THREADS, 0, stream>>>(x, count, most);
}

// As kernels have them, which take four at once.
static __device__ float apply(enum device_function function, float x)
{
    float four[4] = {x, x, x, x};
    switch (function) {
    case DEVICE_EXP:
        return vf_exp(x);
    case DEVICE_EXP_NEAR:
        return x >= -87.0f && x <= 0 ? vf_exp_near(x) : vf_exp(x);
    case DEVICE_SILU:
        silu_four(four);
        return four[2];
    case DEVICE_SOFTPLUS:
        softplus_four(four);
        return four[2];
    case DEVICE_ROUND_HALF:
        return vf_round_half(x);
    case DEVICE_SQRT:
        return vf_sqrt(x);
    default: {
        const struct grid_step step = grid_step_of(DEVICE_STEP, function == DEVICE_QUANTIZE_AWAY);
        return (float)(int8_t)(four_codes(step, four) >> 16);
    }
    }
}

static __global__ void map(enum device_function function, uint32_t first, long count, float *out)
{
    const long i = (long)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) out[i] = apply(function, __uint_as_float(first + (uint32_t)i));
}

void device_map(device_stream stream, enum device_function function, uint32_t first, long count, float *out)
{
    map<<<blocks_of(count, THREADS), THREADS, 0, stream>>>(function, first, count, out);
}
