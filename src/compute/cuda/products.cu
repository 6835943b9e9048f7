// SPDX-License-Identifier: Apache-2.0
// Products.  FP32: tiles through shared memory; each thread sums its outputs over k in order, by FMA from 0,
// and ends at the true depth, because a zero more could turn -0 into +0.  INT8: tensor cores, exact in INT32.
#include "lane.cuh"

#include <cuda_pipeline.h>

enum { THREADS = 256, STEP = 16 }; // depth of a tile of FP32

// ---- FP32 ----

// ROWS x OUTPUTS of a block, M x N of a thread, the threads of a warp side by side along the outputs.
template <int ROWS, int OUTPUTS, int M, int N> struct f32_tile_shape {
    enum {
        VM = M < 4 ? M : 4, // neighbouring rows of a thread
        VN = N < 4 ? N : 4,
        ACROSS = OUTPUTS / N, // threads
        LD_A = ROWS + 4,
        LD_W = OUTPUTS + 16, // so that neighbouring k are in other banks
        LOADS_A = (ROWS * STEP / 4 + THREADS - 1) / THREADS,
        LOADS_W = (OUTPUTS * STEP / 4 + THREADS - 1) / THREADS
    };
    float a[2][STEP][LD_A], w[2][STEP][LD_W];
};

// Four neighbouring k of a row; rows behind the last one are zero.
template <int ROWS, class S>
static __device__ __forceinline__ void f32_fetch_a(const struct gemm_f32 &g, int row0, int rows, int k0,
                                                   float4 (&part)[S::LOADS_A])
{
#pragma unroll
    for (int q = 0; q < S::LOADS_A; q++) {
        const int i = q * THREADS + threadIdx.x, row = row0 + i / 4;
        part[q] = i < ROWS * STEP / 4 && row < rows ? *(const float4 *)(g.a + row * g.lda + k0 + i % 4 * 4)
                                                    : make_float4(0, 0, 0, 0);
    }
}

// Four neighbouring outputs at a k; what is behind the last panel or the depth is zero.
template <int OUTPUTS, class S>
static __device__ __forceinline__ void f32_fetch_w(const struct gemm_f32 &g, int panel0, int panels, int k0,
                                                   float4 (&part)[S::LOADS_W])
{
#pragma unroll
    for (int q = 0; q < S::LOADS_W; q++) {
        const int i = q * THREADS + threadIdx.x, panel = panel0 + i / (STEP * 4), k = k0 + i / 4 % STEP;
        part[q] = i < OUTPUTS * STEP / 4 && panel < panels && k < g.depth
                      ? *(const float4 *)(g.w + ((long)panel * g.depth + k) * KERNEL_LANES + i % 4 * 4)
                      : make_float4(0, 0, 0, 0);
    }
}

template <int ROWS, int OUTPUTS, class S>
static __device__ __forceinline__ void f32_put(S *shared, int buffer, const float4 (&a)[S::LOADS_A],
                                               const float4 (&w)[S::LOADS_W])
{
#pragma unroll
    for (int q = 0; q < S::LOADS_A; q++) {
        const int i = q * THREADS + threadIdx.x, row = i / 4, k = i % 4 * 4;
        if (i >= ROWS * STEP / 4) break;
        shared->a[buffer][k][row] = a[q].x;
        shared->a[buffer][k + 1][row] = a[q].y;
        shared->a[buffer][k + 2][row] = a[q].z;
        shared->a[buffer][k + 3][row] = a[q].w;
    }
#pragma unroll
    for (int q = 0; q < S::LOADS_W; q++) {
        const int i = q * THREADS + threadIdx.x;
        if (i >= OUTPUTS * STEP / 4) break;
        *(float4 *)&shared->w[buffer][i / 4 % STEP][i / (STEP * 4) * KERNEL_LANES + i % 4 * 4] = w[q];
    }
}

// `V` neighbouring values of shared memory.
template <int V> static __device__ __forceinline__ void f32_take(const float *from, float *to)
{
    if (V == 4) {
        const float4 v = *(const float4 *)from;
        to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
    } else {
#pragma unroll
        for (int i = 0; i < V; i++)
            to[i] = from[i];
    }
}

template <int ROWS, int OUTPUTS, int M, int N, class S>
static __device__ __forceinline__ void f32_step(const S *shared, int buffer, int k, int down, int across,
                                                float (&acc)[M][N])
{
    float a[M], w[N];
#pragma unroll
    for (int i = 0; i < M; i += S::VM)
        f32_take<S::VM>(&shared->a[buffer][k][i / S::VM * (ROWS * S::VM / M) + down * S::VM], a + i);
#pragma unroll
    for (int j = 0; j < N; j += S::VN)
        f32_take<S::VN>(&shared->w[buffer][k][j / S::VN * (OUTPUTS * S::VN / N) + across * S::VN], w + j);
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++)
            acc[i][j] = vf_fma(a[i], w[j], acc[i][j]);
}

template <int ROWS, int OUTPUTS, int M, int N>
static __global__ void __launch_bounds__(THREADS, 2) f32_tiles(struct gemm_f32 g, int rows, int outputs)
{
    typedef f32_tile_shape<ROWS, OUTPUTS, M, N> S;
    __shared__ S shared;
    const int row0 = blockIdx.x * ROWS, output0 = blockIdx.y * OUTPUTS, panels = outputs / KERNEL_LANES;
    const int down = threadIdx.x / S::ACROSS, across = threadIdx.x % S::ACROSS;
    float4 a[S::LOADS_A], w[S::LOADS_W];
    float acc[M][N] = {};
    f32_fetch_a<ROWS, S>(g, row0, rows, 0, a);
    f32_fetch_w<OUTPUTS, S>(g, output0 / KERNEL_LANES, panels, 0, w);
    f32_put<ROWS, OUTPUTS>(&shared, 0, a, w);
    __syncthreads();
    int buffer = 0, k0 = 0;
    for (; k0 + STEP < g.depth; k0 += STEP, buffer ^= 1) {
        f32_fetch_a<ROWS, S>(g, row0, rows, k0 + STEP, a);
        f32_fetch_w<OUTPUTS, S>(g, output0 / KERNEL_LANES, panels, k0 + STEP, w);
#pragma unroll
        for (int k = 0; k < STEP; k++)
            f32_step<ROWS, OUTPUTS, M, N>(&shared, buffer, k, down, across, acc);
        f32_put<ROWS, OUTPUTS>(&shared, buffer ^ 1, a, w);
        __syncthreads();
    }
#pragma unroll 2
    for (int k = 0; k < g.depth - k0; k++)
        f32_step<ROWS, OUTPUTS, M, N>(&shared, buffer, k, down, across, acc);
#pragma unroll
    for (int i = 0; i < M; i++) {
        const int row = row0 + i / S::VM * (ROWS * S::VM / M) + down * S::VM + i % S::VM;
#pragma unroll
        for (int j = 0; j < N; j++) {
            const int output = output0 + j / S::VN * (OUTPUTS * S::VN / N) + across * S::VN + j % S::VN;
            if (row < rows && output < outputs)
                g.out[row * g.ldo + output] = g.half ? vf_round_half(acc[i][j]) : acc[i][j];
        }
    }
}

// The largest tiles of which there are enough for all processors of a GPU.
enum { ENOUGH_BLOCKS = 200 };

static dim3 tiles(int rows, int outputs, int of_rows, int of_outputs)
{
    return dim3(blocks_of(rows, of_rows), blocks_of(outputs, of_outputs));
}

static bool enough(dim3 grid)
{
    return grid.x * grid.y >= ENOUGH_BLOCKS;
}

// ---- large products: activations turned to [k][row], so that both operands go straight into shared memory
// ----

enum { LARGE = 128, STAGES = 3 };

struct f32_stage {
    float a[STEP][LARGE], w[STEP][LARGE];
};

static long turned_rows(int rows)
{
    return (long)blocks_of(rows, LARGE) * LARGE;
}

size_t device_product_f32_bytes(int rows, int outputs, int depth)
{
    const bool large = outputs % LARGE == 0 && enough(tiles(rows, outputs, LARGE, LARGE));
    return large ? (size_t)turned_rows(rows) * (size_t)depth * sizeof(float) : 0;
}

static __global__ void turn_rows(const float *a, long lda, int rows, int depth, float *turned, long ld)
{
    __shared__ float tile[32][33];
    const int row0 = blockIdx.x * 32, k0 = blockIdx.y * 32, across = threadIdx.x % 32,
              down = threadIdx.x / 32;
#pragma unroll
    for (int i = down; i < 32; i += THREADS / 32)
        tile[i][across] = row0 + i < rows && k0 + across < depth ? a[(row0 + i) * lda + k0 + across] : 0;
    __syncthreads();
#pragma unroll
    for (int i = down; i < 32; i += THREADS / 32)
        if (k0 + i < depth) turned[(k0 + i) * ld + row0 + across] = tile[across][i];
}

// One tile on its way into shared memory; what is behind the depth is zero, and nobody takes it.
static __device__ __forceinline__ void large_fetch(const struct gemm_f32 &g, const float *turned, long ld,
                                                   int row0, int panel0, int k0, struct f32_stage *stage)
{
#pragma unroll
    for (int q = 0; q < STEP * LARGE / 4 / THREADS; q++) {
        const int i = q * THREADS + threadIdx.x, k = i / (LARGE / 4), row = i % (LARGE / 4) * 4;
        const bool is_there = k0 + k < g.depth;
        __pipeline_memcpy_async(&stage->a[k][row], turned + (is_there ? (k0 + k) * ld + row0 + row : 0), 16,
                                is_there ? 0 : 16);
    }
#pragma unroll
    for (int q = 0; q < STEP * LARGE / 4 / THREADS; q++) {
        const int i = q * THREADS + threadIdx.x, panel = i / (STEP * 4), k = i / 4 % STEP, lane = i % 4 * 4;
        const bool is_there = k0 + k < g.depth;
        const long from = ((long)(panel0 + panel) * g.depth + k0 + k) * KERNEL_LANES + lane;
        __pipeline_memcpy_async(&stage->w[k][panel * KERNEL_LANES + lane], g.w + (is_there ? from : 0), 16,
                                is_there ? 0 : 16);
    }
}

static __device__ __forceinline__ void large_step(const struct f32_stage &stage, int k, int down, int across,
                                                  float (&acc)[8][8])
{
    float a[8], w[8];
    f32_take<4>(&stage.a[k][down * 4], a);
    f32_take<4>(&stage.a[k][LARGE / 2 + down * 4], a + 4);
    f32_take<4>(&stage.w[k][across * 4], w);
    f32_take<4>(&stage.w[k][LARGE / 2 + across * 4], w + 4);
#pragma unroll
    for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++)
            acc[i][j] = vf_fma(a[i], w[j], acc[i][j]);
}

static __global__ void __launch_bounds__(THREADS, 2)
    f32_large(struct gemm_f32 g, const float *turned, long ld, int rows)
{
    __shared__ __align__(16) struct f32_stage stages[STAGES];
    const int row0 = blockIdx.x * LARGE, panel0 = blockIdx.y * (LARGE / KERNEL_LANES);
    const int down = threadIdx.x / 16, across = threadIdx.x % 16, steps = (g.depth + STEP - 1) / STEP;
    float acc[8][8] = {};
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) large_fetch(g, turned, ld, row0, panel0, s * STEP, &stages[s]);
        __pipeline_commit();
    }
    for (int s = 0; s < steps; s++) {
        const struct f32_stage &stage = stages[s % STAGES];
        __pipeline_wait_prior(STAGES - 2);
        __syncthreads();
        if (s + STAGES - 1 < steps)
            large_fetch(g, turned, ld, row0, panel0, (s + STAGES - 1) * STEP,
                        &stages[(s + STAGES - 1) % STAGES]);
        __pipeline_commit();
        if (g.depth - s * STEP >= STEP) {
#pragma unroll
            for (int k = 0; k < STEP; k++)
                large_step(stage, k, down, across, acc);
        } else {
            for (int k = 0; k < g.depth - s * STEP; k++)
                large_step(stage, k, down, across, acc);
        }
    }
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const int row = row0 + i / 4 * (LARGE / 2) + down * 4 + i % 4;
        if (row >= rows) continue;
#pragma unroll
        for (int j = 0; j < 8; j += 4) {
            float out[4];
#pragma unroll
            for (int e = 0; e < 4; e++)
                out[e] = g.half ? vf_round_half(acc[i][j + e]) : acc[i][j + e];
            *(float4 *)(g.out + row * g.ldo + panel0 * KERNEL_LANES + j / 4 * (LARGE / 2) + across * 4) =
                make_float4(out[0], out[1], out[2], out[3]);
        }
    }
}

void device_product_f32(device_stream stream, const struct gemm_f32 *g, int rows, int outputs, float *room)
{
    const dim3 middle = tiles(rows, outputs, 64, 64);
    if (room) {
        const long ld = turned_rows(rows);
        const dim3 turns((unsigned)(ld / 32), blocks_of(g->depth, 32));
        turn_rows<<<turns, THREADS, 0, stream>>>(g->a, g->lda, rows, g->depth, room, ld);
        f32_large<<<tiles(rows, outputs, LARGE, LARGE), THREADS, 0, stream>>>(*g, room, ld, rows);
    } else if (outputs >= 64 && enough(middle)) {
        f32_tiles<64, 64, 4, 4><<<middle, THREADS, 0, stream>>>(*g, rows, outputs);
    } else {
        f32_tiles<32, 32, 2, 2><<<tiles(rows, outputs, 32, 32), THREADS, 0, stream>>>(*g, rows, outputs);
    }
}

// ---- INT8 ----

enum { DEPTH = 64, LD_CODES = DEPTH + 16 }; // bytes of a tile's rows; rows apart are in other banks

template <int ROWS, int OUTPUTS> struct s8_shape {
    enum {
        DOWN = ROWS / 32, // warps
        ACROSS = THREADS / 32 / DOWN,
        N = OUTPUTS / ACROSS / 8, // products of 8 outputs of a warp
        LD_W = OUTPUTS + 8,
        LOADS_A = ROWS * DEPTH / 16 / THREADS,
        LOADS_W = OUTPUTS * DEPTH / 16 / THREADS
    };
    int8_t a[2][ROWS][LD_CODES];
    uint32_t w[2][DEPTH / 4][LD_W]; // four k of an output
};

// Zero behind the depth: what stands there is another's.
static __device__ __forceinline__ uint32_t s8_cut(uint32_t four, int left)
{
    return left >= 4 ? four : left <= 0 ? 0 : four & ((1u << (8 * left)) - 1);
}

template <class S>
static __device__ __forceinline__ void s8_fetch_a(const struct gemm_s8 &g, int row0, int rows, int k0,
                                                  uint4 (&part)[S::LOADS_A])
{
#pragma unroll
    for (int q = 0; q < S::LOADS_A; q++) {
        const int i = q * THREADS + threadIdx.x, row = row0 + i / 4, k = k0 + i % 4 * 16, left = g.depth - k;
        uint4 v = make_uint4(0, 0, 0, 0);
        if (row < rows && left > 0) v = *(const uint4 *)(g.a + row * g.lda + k);
        if (left < 16)
            v = make_uint4(s8_cut(v.x, left), s8_cut(v.y, left - 4), s8_cut(v.z, left - 8),
                           s8_cut(v.w, left - 12));
        part[q] = v;
    }
}

template <class S>
static __device__ __forceinline__ void s8_fetch_w(const struct gemm_s8 &g, int panel0, int panels, int k0,
                                                  uint4 (&part)[S::LOADS_W])
{
    const int depth4 = (g.depth + 3) / 4;
#pragma unroll
    for (int q = 0; q < S::LOADS_W; q++) {
        const int i = q * THREADS + threadIdx.x, panel = panel0 + i / DEPTH, k4 = k0 / 4 + i % DEPTH / 4;
        uint4 v = make_uint4(0, 0, 0, 0);
        if (panel < panels && k4 < depth4)
            v = *(const uint4 *)(g.w + ((long)panel * depth4 + k4) * (KERNEL_LANES * 4) + i % 4 * 16);
        const uint32_t sign = 0x80808080u; // code + 128 to code
        part[q] = make_uint4(v.x ^ sign, v.y ^ sign, v.z ^ sign, v.w ^ sign);
    }
}

template <class S>
static __device__ __forceinline__ void s8_put(S *shared, int buffer, const uint4 (&a)[S::LOADS_A],
                                              const uint4 (&w)[S::LOADS_W])
{
#pragma unroll
    for (int q = 0; q < S::LOADS_A; q++) {
        const int i = q * THREADS + threadIdx.x;
        *(uint4 *)&shared->a[buffer][i / 4][i % 4 * 16] = a[q];
    }
#pragma unroll
    for (int q = 0; q < S::LOADS_W; q++) {
        const int i = q * THREADS + threadIdx.x;
        *(uint4 *)&shared->w[buffer][i % DEPTH / 4][i / DEPTH * KERNEL_LANES + i % 4 * 4] = w[q];
    }
}

// acc[16 rows][8 outputs] of a warp += 32 k.  Thread 4g + i has rows g and g + 8, outputs 2i and 2i + 1.
template <class S>
static __device__ __forceinline__ void s8_multiply(const S *shared, int buffer, int k, int row, int output,
                                                   int (&acc)[4])
{
    const int g = threadIdx.x % 32 / 4, i = threadIdx.x % 4;
#if __CUDA_ARCH__ >= 800
    const int8_t(*a)[LD_CODES] = shared->a[buffer];
    const uint32_t a0 = *(const uint32_t *)&a[row + g][k + 4 * i],
                   a1 = *(const uint32_t *)&a[row + g + 8][k + 4 * i],
                   a2 = *(const uint32_t *)&a[row + g][k + 16 + 4 * i],
                   a3 = *(const uint32_t *)&a[row + g + 8][k + 16 + 4 * i];
    const uint32_t b0 = shared->w[buffer][k / 4 + i][output + g],
                   b1 = shared->w[buffer][k / 4 + 4 + i][output + g];
    asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
        "{%0,%1,%2,%3};"
        : "+r"(acc[0]), "+r"(acc[1]), "+r"(acc[2]), "+r"(acc[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
#else
#pragma unroll
    for (int k4 = 0; k4 < 8; k4++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int a = *(const int *)&shared->a[buffer][row + g + e / 2 * 8][k + 4 * k4];
            acc[e] = __dp4a(a, (int)shared->w[buffer][k / 4 + k4][output + 2 * i + e % 2], acc[e]);
        }
#endif
}

// What becomes of 16 rows of a warp's sums: through shared memory of its own, so that neighbours leave
// together. T: of what comes out.
template <class T, int N>
static __device__ __forceinline__ void s8_leave_rows(struct gemm_s8 g, void *room, int row, int rows,
                                                     int output, int outputs, const int (&acc)[N][4])
{
    enum { WIDTH = 8 * N, EACH = 16 / sizeof(T), LD = WIDTH + EACH };
    const int lane = threadIdx.x % 32, down = lane / 4, across = lane % 4 * 2;
    T *const out = (T *)g.out, *const tile = (T *)room;
    const long ldo = g.ldo;
    g.out = tile - row * LD - output; // rows and outputs count from the tile on
    g.ldo = LD;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int at = row + down + e / 2 * 8, to = output + 8 * n + across + e % 2;
            if (at < rows && to < outputs) s8_finish(&g, at, to, acc[n][e]);
        }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 16 * WIDTH / EACH; i += 32) {
        const int at = i / (WIDTH / EACH), to = i % (WIDTH / EACH) * EACH;
        if (row + at < rows && output + to < outputs)
            *(uint4 *)(out + (row + at) * ldo + output + to) = *(const uint4 *)(tile + at * LD + to);
    }
    __syncwarp();
}

template <int ROWS, int OUTPUTS>
static __global__ void __launch_bounds__(THREADS) s8_tiles(struct gemm_s8 g, int rows, int outputs)
{
    typedef s8_shape<ROWS, OUTPUTS> S;
    __shared__ __align__(16) S shared;
    const int warp = threadIdx.x / 32, row0 = blockIdx.x * ROWS, output0 = blockIdx.y * OUTPUTS;
    const int row = warp / S::ACROSS * 32, output = warp % S::ACROSS * (S::N * 8);
    const int panel0 = output0 / KERNEL_LANES, panels = outputs / KERNEL_LANES;
    uint4 a[S::LOADS_A], w[S::LOADS_W];
    int acc[2][S::N][4] = {};
    s8_fetch_a<S>(g, row0, rows, 0, a);
    s8_fetch_w<S>(g, panel0, panels, 0, w);
    s8_put(&shared, 0, a, w);
    __syncthreads();
    for (int k0 = 0, buffer = 0; k0 < g.depth; k0 += DEPTH, buffer ^= 1) {
        const bool more = k0 + DEPTH < g.depth;
        if (more) {
            s8_fetch_a<S>(g, row0, rows, k0 + DEPTH, a);
            s8_fetch_w<S>(g, panel0, panels, k0 + DEPTH, w);
        }
#pragma unroll
        for (int k = 0; k < DEPTH; k += 32)
#pragma unroll
            for (int m = 0; m < 2; m++)
#pragma unroll
                for (int n = 0; n < S::N; n++)
                    s8_multiply(&shared, buffer, k, row + 16 * m, output + 8 * n, acc[m][n]);
        if (more) s8_put(&shared, buffer ^ 1, a, w);
        __syncthreads();
    }
    enum { ROOM = 16 * (8 * S::N + 4) * 4 }; // of a warp
    static_assert(ROOM * (THREADS / 32) <= sizeof shared, "what leaves fits where operands were");
    char *const room = (char *)&shared + warp * ROOM;
#pragma unroll
    for (int m = 0; m < 2; m++)
        if (g.result == GEMM_S8_CODES)
            s8_leave_rows<int8_t>(g, room, row0 + row + 16 * m, rows, output0 + output, outputs, acc[m]);
        else
            s8_leave_rows<float>(g, room, row0 + row + 16 * m, rows, output0 + output, outputs, acc[m]);
}

void device_product_s8(device_stream stream, const struct gemm_s8 *g, int rows, int outputs)
{
    const dim3 large = tiles(rows, outputs, 128, 128);
    if (outputs % 128 == 0 && enough(large))
        s8_tiles<128, 128><<<large, THREADS, 0, stream>>>(*g, rows, outputs);
    else
        s8_tiles<64, 64><<<tiles(rows, outputs, 64, 64), THREADS, 0, stream>>>(*g, rows, outputs);
}
