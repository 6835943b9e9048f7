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

// 16 bytes on their way into shared memory, those from `bytes` on zero.
static __device__ __forceinline__ void copy16(void *to, const void *from, int bytes)
{
    __pipeline_memcpy_async(to, from, 16, 16 - bytes);
}

enum { DEPTH = 64, LD_CODES = DEPTH + 16 }; // of a tile, bytes; rows that a warp reads are in other banks

// A tile has DOWN x ACROSS warps of HIGH x 16 rows and WIDE x 32 outputs.
template <int DOWN_, int ACROSS_, int HIGH_, int WIDE_> struct s8_shape {
    enum {
        DOWN = DOWN_,
        ACROSS = ACROSS_,
        HIGH = HIGH_,
        WIDE = WIDE_,
        THREADS = DOWN * ACROSS * 32,
        ROWS = DOWN * HIGH * 16,
        OUTPUTS = ACROSS * WIDE * 32,
        LD_W = OUTPUTS + 8,
        COPIES_A = ROWS * DEPTH / 16,
        COPIES_W = OUTPUTS * DEPTH / 16,
        EACH_A = (COPIES_A + THREADS - 1) / THREADS,
        EACH_W = (COPIES_W + THREADS - 1) / THREADS
    };
    int8_t a[ROWS * LD_CODES];
    uint32_t w[DEPTH / 4 * LD_W]; // four k of an output
};

template <class S> struct s8_source {
    const int8_t *a[S::EACH_A];
    const uint8_t *w[S::EACH_W];
};

// As f32_begin().
template <class S>
static __device__ __forceinline__ void s8_begin(const struct gemm_s8 &g, int row0, int rows, int panel0,
                                                int panels, struct s8_source<S> *from)
{
    const long panel_bytes = s8_depth4(&g) * KERNEL_LANES * 4;
#pragma unroll
    for (int q = 0; q < S::EACH_A; q++) {
        const int i = q * S::THREADS + threadIdx.x, row = row0 + i / (DEPTH / 16);
        from->a[q] = g.a + (row < rows ? row : rows - 1) * g.lda + i % (DEPTH / 16) * 16;
    }
#pragma unroll
    for (int q = 0; q < S::EACH_W; q++) {
        const int i = q * S::THREADS + threadIdx.x, panel = panel0 + i / DEPTH;
        from->w[q] = g.w + (panel < panels ? panel : panels - 1) * panel_bytes + i % DEPTH * 16;
    }
}

// The next tile; left: its depth.  Activations behind it are zero here, whatever is behind them in memory;
// weights are what was there before.
template <class S>
static __device__ __forceinline__ void s8_fetch(struct s8_source<S> *from, int left, S *tile)
{
#pragma unroll
    for (int q = 0; q < S::EACH_A; q++) {
        const int i = q * S::THREADS + threadIdx.x, behind = left - i % (DEPTH / 16) * 16;
        if (S::COPIES_A % S::THREADS && i >= S::COPIES_A) break;
        int8_t *to = &tile->a[i / (DEPTH / 16) * LD_CODES + i % (DEPTH / 16) * 16];
        copy16(to, from->a[q], behind >= 16 ? 16 : behind > 0 ? behind : 0);
        from->a[q] += DEPTH;
    }
#pragma unroll
    for (int q = 0; q < S::EACH_W; q++) {
        const int i = q * S::THREADS + threadIdx.x, k4 = i % DEPTH / 4;
        if (S::COPIES_W % S::THREADS && i >= S::COPIES_W) break;
        uint32_t *to = &tile->w[k4 * S::LD_W + i / DEPTH * KERNEL_LANES + i % 4 * 4];
        if (4 * k4 < left) copy16(to, from->w[q], 16);
        from->w[q] += DEPTH * KERNEL_LANES;
    }
}

static __device__ __forceinline__ uint32_t s8_signed(uint32_t four) // of code + 128
{
    return four ^ 0x80808080u;
}

// acc[HIGH * 16 rows][WIDE * 32 outputs] of a warp += 32 k.  Of 16 rows thread 4g + i has g and g + 8; of 32
// outputs it loads 4g to 4g + 3 for four products, and has the sums of 8i to 8i + 7: acc[..][e][t] is row
// g + e / 2 * 8, output 8i + e % 2 * 4 + t.
template <class S>
static __device__ __forceinline__ void s8_step(const S &tile, int k, int row, int output,
                                               int (&acc)[S::HIGH][S::WIDE][4][4])
{
    const int lane = threadIdx.x % 32, g = lane / 4, i = lane % 4;
#if __CUDA_ARCH__ >= 800
    uint32_t a[S::HIGH][4];
#pragma unroll
    for (int m = 0; m < S::HIGH; m++) {
        const void *from = &tile.a[(row + 16 * m + lane % 16) * LD_CODES + k + lane / 16 * 16];
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(a[m][0]), "=r"(a[m][1]), "=r"(a[m][2]), "=r"(a[m][3])
                     : "r"((unsigned)__cvta_generic_to_shared(from))
                     : "memory");
    }
#pragma unroll
    for (int n = 0; n < S::WIDE; n++) {
        uint32_t w[2][4];
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const uint4 v =
                *(const uint4 *)&tile.w[(k / 4 + 4 * half + i) * S::LD_W + output + 32 * n + 4 * g];
            w[half][0] = s8_signed(v.x), w[half][1] = s8_signed(v.y);
            w[half][2] = s8_signed(v.z), w[half][3] = s8_signed(v.w);
        }
#pragma unroll
        for (int m = 0; m < S::HIGH; m++)
#pragma unroll
            for (int t = 0; t < 4; t++)
                asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                    "{%0,%1,%2,%3};"
                    : "+r"(acc[m][n][0][t]), "+r"(acc[m][n][1][t]), "+r"(acc[m][n][2][t]),
                      "+r"(acc[m][n][3][t])
                    : "r"(a[m][0]), "r"(a[m][1]), "r"(a[m][2]), "r"(a[m][3]), "r"(w[0][t]), "r"(w[1][t]));
    }
#else
    for (int k4 = 0; k4 < 8; k4++)
#pragma unroll
        for (int m = 0; m < S::HIGH; m++)
#pragma unroll
            for (int n = 0; n < S::WIDE; n++)
#pragma unroll
                for (int e = 0; e < 4; e++)
#pragma unroll
                    for (int t = 0; t < 4; t++) {
                        const int a =
                            *(const int *)&tile.a[(row + 16 * m + g + e / 2 * 8) * LD_CODES + k + 4 * k4];
                        const uint32_t w =
                            tile.w[(k / 4 + k4) * S::LD_W + output + 32 * n + 8 * i + e % 2 * 4 + t];
                        acc[m][n][e][t] = __dp4a(a, (int)s8_signed(w), acc[m][n][e][t]);
                    }
#endif
}

// Eight neighbouring outputs of a row.
static __device__ __forceinline__ void s8_leave(const struct gemm_s8 &g, int row, int output,
                                                const int (&low)[4], const int (&high)[4])
{
    float v[8];
#pragma unroll
    for (int t = 0; t < 4; t++) {
        v[t] = s8_value(&g, row, output + t, low[t]);
        v[4 + t] = s8_value(&g, row, output + 4 + t, high[t]);
    }
    const long at = row * g.ldo + output;
    if (g.result == GEMM_S8_CODES) {
        uint32_t four[2] = {0, 0};
#pragma unroll
        for (int t = 0; t < 8; t++) {
            int8_t code;
            vf_store_s8_sat(&code, v[t]);
            four[t / 4] |= (uint32_t)(uint8_t)code << (t % 4 * 8);
        }
        *(uint2 *)((int8_t *)g.out + at) = make_uint2(four[0], four[1]);
    } else {
        *(float4 *)((float *)g.out + at) = make_float4(v[0], v[1], v[2], v[3]);
        *(float4 *)((float *)g.out + at + 4) = make_float4(v[4], v[5], v[6], v[7]);
    }
}

// result and plain are constants after inlining.
template <class S>
static __device__ __forceinline__ void s8_leave_all(struct gemm_s8 g, enum gemm_s8_result result, bool plain,
                                                    int row, int rows, int output, int outputs,
                                                    const int (&acc)[S::HIGH][S::WIDE][4][4])
{
    const int lane = threadIdx.x % 32;
    g.result = result;
    if (plain) g.first_rows = g.first_outputs = g.second_rows = g.second_outputs = NULL;
    row += lane / 4, output += lane % 4 * 8;
#pragma unroll
    for (int m = 0; m < S::HIGH; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int n = 0; n < S::WIDE; n++)
                if (row + 16 * m + 8 * half < rows && output + 32 * n < outputs)
                    s8_leave(g, row + 16 * m + 8 * half, output + 32 * n, acc[m][n][2 * half],
                             acc[m][n][2 * half + 1]);
}

template <class S, int STAGES, int BLOCKS>
static __global__ void __launch_bounds__(S::THREADS, BLOCKS) s8_tiles(struct gemm_s8 g, int rows, int outputs)
{
    extern __shared__ __align__(16) char shared[];
    S *const stages = (S *)shared;
    const int warp = threadIdx.x / 32, steps = (g.depth + DEPTH - 1) / DEPTH;
    const int row0 = blockIdx.y * S::ROWS, output0 = blockIdx.x * S::OUTPUTS;
    const int row = warp / S::ACROSS * (S::HIGH * 16), output = warp % S::ACROSS * (S::WIDE * 32);
    struct s8_source<S> from;
    int acc[S::HIGH][S::WIDE][4][4] = {};
    s8_begin(g, row0, rows, output0 / KERNEL_LANES, outputs / KERNEL_LANES, &from);
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) s8_fetch(&from, g.depth - s * DEPTH, &stages[s]);
        __pipeline_commit();
    }
    for (int s = 0, at = 0, ahead = STAGES - 1; s < steps; s++) {
        __pipeline_wait_prior(STAGES - 2);
        __syncthreads();
        if (s + STAGES - 1 < steps) s8_fetch(&from, g.depth - (s + STAGES - 1) * DEPTH, &stages[ahead]);
        __pipeline_commit();
#pragma unroll
        for (int k = 0; k < DEPTH; k += 32)
            s8_step(stages[at], k, row, output, acc);
        ahead = at;
        at = at + 1 == STAGES ? 0 : at + 1;
    }
    const bool plain = s8_is_plain(&g);
    if (g.result == GEMM_S8_CODES && plain)
        s8_leave_all<S>(g, GEMM_S8_CODES, true, row0 + row, rows, output0 + output, outputs, acc);
    else if (g.result == GEMM_S8_FLOAT && plain)
        s8_leave_all<S>(g, GEMM_S8_FLOAT, true, row0 + row, rows, output0 + output, outputs, acc);
    else
        s8_leave_all<S>(g, g.result, false, row0 + row, rows, output0 + output, outputs, acc);
}

template <class S, int STAGES, int BLOCKS>
static void s8_launch(device_stream stream, const struct gemm_s8 *g, int rows, int outputs)
{
    const dim3 grid(blocks_of(outputs, S::OUTPUTS), blocks_of(rows, S::ROWS));
    launch(s8_tiles<S, STAGES, BLOCKS>, grid, S::THREADS, STAGES * sizeof(S), stream, *g, rows, outputs);
}

void device_product_s8(device_stream stream, const struct gemm_s8 *g, int rows, int outputs)
{
    typedef s8_shape<2, 4, 4, 1> large;  // 128 x 128
    typedef s8_shape<8, 1, 1, 3> narrow; // 128 x 96
    typedef s8_shape<2, 2, 2, 1> small;  // 64 x 64
    if (enough(tiles(rows, outputs, large::ROWS, large::OUTPUTS)))
        s8_launch<large, 3, 2>(stream, g, rows, outputs);
    else if (outputs > small::OUTPUTS && outputs <= narrow::OUTPUTS)
        s8_launch<narrow, 3, 2>(stream, g, rows, outputs);
    else
        s8_launch<small, 3, 4>(stream, g, rows, outputs);
}
