// SPDX-License-Identifier: Apache-2.0
// Products.  FP32: each thread sums its outputs over k in order, by FMA from 0, and ends at the true depth,
// because a zero more could turn -0 into +0.  INT8: tensor cores, exact in INT32.  Tiles of both operands are
// on their way into shared memory while those in front of them are multiplied.
#include "lane.cuh"

#include <cuda_pipeline.h>

// 16 bytes on their way into shared memory, those from `bytes` on zero; `to` as the hardware counts.  Here
// and below __pipeline_memcpy_async() would branch.
static __device__ __forceinline__ void copy_some(unsigned to, const void *from, int bytes)
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes));
#else
    __pipeline_memcpy_async(__cvta_shared_to_generic(to), from, 16, 16 - bytes);
#endif
}

// 16 or 4 bytes, or nothing.
template <int BYTES> static __device__ __forceinline__ void copy_if(bool yes, unsigned to, const void *from)
{
#if __CUDA_ARCH__ >= 800
    if (BYTES == 16)
        asm volatile(
            "{.reg .pred p; setp.ne.b32 p, %2, 0; @p cp.async.cg.shared.global [%0], [%1], 16;}" ::"r"(to),
            "l"(from), "r"((int)yes));
    else
        asm volatile(
            "{.reg .pred p; setp.ne.b32 p, %2, 0; @p cp.async.ca.shared.global [%0], [%1], 4;}" ::"r"(to),
            "l"(from), "r"((int)yes));
#else
    if (yes) __pipeline_memcpy_async(__cvta_shared_to_generic(to), from, BYTES);
#endif
}

// ---- which tiles? ----

// A size of tiles; what share of its peak a GPU reaches in them when there are many, in percent; how deep a
// product takes as long as what a tile takes besides, to begin and to store; bytes of shared memory.
template <class G> struct tiling {
    int rows, outputs, speed, besides, shared;
    void (*launch)(device_stream stream, const G *gemm, int rows, int outputs);
};

struct gpu {
    int processors, shared;
};

static struct gpu this_gpu(void)
{
    int device = 0;
    struct gpu gpu = {1, 48 << 10};
    cudaGetDevice(&device);
    cudaDeviceGetAttribute(&gpu.processors, cudaDevAttrMultiProcessorCount, device);
    cudaDeviceGetAttribute(&gpu.shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    return gpu;
}

// How long a product takes: until the last processor has done its last tile.
template <class G>
static double takes(const tiling<G> &tiling, int rows, int outputs, int depth, struct gpu gpu)
{
    const unsigned tiles = blocks_of(rows, tiling.rows) * blocks_of(outputs, tiling.outputs);
    if (tiling.shared > gpu.shared) return HUGE_VAL;
    return (double)blocks_of(tiles, gpu.processors) * tiling.rows * tiling.outputs *
           (depth + tiling.besides) / tiling.speed;
}

template <class G>
static const tiling<G> &fastest(const tiling<G> *tilings, int count, int rows, int outputs, int depth)
{
    const struct gpu gpu = this_gpu();
    const tiling<G> *best = tilings;
    for (int i = 1; i < count; i++)
        if (takes(tilings[i], rows, outputs, depth, gpu) < takes(*best, rows, outputs, depth, gpu))
            best = &tilings[i];
    return *best;
}

// ---- FP32 ----

enum { STEP = 16 }; // depth of a tile

// A tile has DOWN x ACROSS threads of M rows and N outputs each: groups of four neighbours, and what is left
// of M and N.  A warp is 4 threads down and 8 across, of which two neighbours have the same outputs: 16 bytes
// for each of half a warp are then one access.  LD_A and LD_PANEL: what a warp reads or writes at once is in
// different banks.  TURNED: activations lie as [k][row] already.
template <int DOWN_, int ACROSS_, int M_, int N_, int TURNED_ = 0> struct f32_shape {
    enum {
        TURNED = TURNED_,
        DOWN = DOWN_,
        ACROSS = ACROSS_,
        M = M_,
        N = N_,
        THREADS = DOWN * ACROSS,
        ROWS = DOWN * M,
        OUTPUTS = ACROSS * N,
        LD_A = ROWS + 4,
        LD_PANEL = (STEP + 1) * KERNEL_LANES,
        APART = TURNED ? THREADS * 4 / ROWS : THREADS / STEP, // k or rows between those that a thread copies
        EACH_A = TURNED ? STEP / APART : ROWS / APART,
        COPIES_W = OUTPUTS * STEP / 4, // of 16 bytes
        EACH_W = (COPIES_W + THREADS - 1) / THREADS,
        PANELS_APART = THREADS / (STEP * 4),
        COPIES = EACH_A + EACH_W,
        AT_ONCE = (COPIES + STEP - 5) / (STEP - 4) // in front of a k: all are under way before the end
    };
    float a[STEP * LD_A], w[OUTPUTS / KERNEL_LANES * LD_PANEL];
};

// Where a thread's copies come from, those of A from rows, or k where it is turned, those of W from panels.
template <class S> struct f32_source {
    const float *a[S::EACH_A], *w[S::EACH_W];
    unsigned to_a, to_w; // in the first tile
    int k_a, k_w;
    bool last_w; // has the thread a last copy of W?
};

// Panels and rows behind the last are the last: nobody stores what comes of them.
template <class S>
static __device__ __forceinline__ void f32_begin(const struct gemm_f32 &g, int row0, int rows, int panel0,
                                                 int panels, char *tiles, struct f32_source<S> *from)
{
    const int i = threadIdx.x, panel = i / (STEP * 4);
    const int row = S::TURNED ? i % (S::ROWS / 4) * 4 : i / 8 % 4 + i / 64 * 4;
    const unsigned to = (unsigned)__cvta_generic_to_shared(tiles);
    from->k_a = S::TURNED ? i / (S::ROWS / 4) : i % 8 + i / 32 % 2 * 8;
    from->k_w = i / 4 % STEP;
    from->to_a = to + (unsigned)sizeof(float) * (from->k_a * S::LD_A + row);
    from->to_w = to + (unsigned)sizeof(float) * (STEP * S::LD_A + panel * S::LD_PANEL + i % (STEP * 4) * 4);
    from->last_w = S::COPIES_W % S::THREADS == 0 || i < S::COPIES_W % S::THREADS;
#pragma unroll
    for (int q = 0; q < S::EACH_A; q++)
        from->a[q] = S::TURNED ? g.a + (from->k_a + q * S::APART) * g.lda + row0 + row
                               : g.a + min(row0 + row + q * S::APART, rows - 1) * g.lda + from->k_a;
#pragma unroll
    for (int q = 0; q < S::EACH_W; q++)
        from->w[q] = g.w +
                     (long)min(panel0 + panel + q * S::PANELS_APART, panels - 1) * g.depth * KERNEL_LANES +
                     i % (STEP * 4) * 4;
}

// One of a tile's copies, A as [k][row].  left: its depth; behind that it is what was there before.
template <class S>
static __device__ __forceinline__ void f32_copy(const struct f32_source<S> &from, int copy, int left,
                                                unsigned tile)
{
    const int q = copy - S::EACH_A;
    if (copy >= S::COPIES) return;
    if (q >= 0)
        copy_if<16>(from.k_w < left && (q + 1 < S::EACH_W || from.last_w),
                    from.to_w + tile + q * (S::PANELS_APART * S::LD_PANEL) * (unsigned)sizeof(float),
                    from.w[q]);
    else if (S::TURNED)
        copy_if<16>(from.k_a + copy * S::APART < left,
                    from.to_a + tile + copy * (S::APART * S::LD_A) * (unsigned)sizeof(float), from.a[copy]);
    else
        copy_if<4>(from.k_a < left, from.to_a + tile + copy * S::APART * (unsigned)sizeof(float),
                   from.a[copy]);
}

template <class S>
static __device__ __forceinline__ void f32_next(const struct gemm_f32 &g, struct f32_source<S> *from)
{
#pragma unroll
    for (int q = 0; q < S::EACH_A; q++)
        from->a[q] += S::TURNED ? STEP * g.lda : STEP;
#pragma unroll
    for (int q = 0; q < S::EACH_W; q++)
        from->w[q] += STEP * KERNEL_LANES;
}

// Which row or output of a tile is the j-th of COUNT that a thread has, of `of` threads the `which`-th.
template <int COUNT> static __device__ __forceinline__ int f32_place(int which, int of, int j)
{
    enum { FOURS = COUNT / 4 * 4 };
    return j < FOURS ? (j / 4 * of + which) * 4 + j % 4 : FOURS * of + which * (COUNT % 4) + j % 4;
}

// Four neighbours of shared memory from the j-th of COUNT on, or what is left.
template <int COUNT> static __device__ __forceinline__ void f32_take(const float *from, int j, float *to)
{
    if (j + 4 <= COUNT)
        load_four(from, to + j);
    else
#pragma unroll
        for (int e = 0; e < COUNT % 4; e++)
            to[j + e] = from[e];
}

template <class S> struct f32_part {
    float a[S::M], w[S::N];
};

template <class S>
static __device__ __forceinline__ void f32_take_part(const S &tile, int k, int down, int across,
                                                     struct f32_part<S> *part)
{
    const float *const a = tile.a + down * 4, *const w = tile.w + across / 4 * S::LD_PANEL + across % 4 * 4;
    const int rest = f32_place<S::N>(across, S::ACROSS, S::N / 4 * 4);
#pragma unroll
    for (int i = 0; i < S::M; i += 4)
        f32_take<S::M>(i + 4 <= S::M ? a + k * S::LD_A + i * S::DOWN
                                     : tile.a + k * S::LD_A + f32_place<S::M>(down, S::DOWN, i),
                       i, part->a);
#pragma unroll
    for (int j = 0; j < S::N; j += 4)
        f32_take<S::N>(j + 4 <= S::N ? w + k * KERNEL_LANES + j / 4 * (S::ACROSS / 4) * S::LD_PANEL
                                     : tile.w + k * KERNEL_LANES + rest / KERNEL_LANES * S::LD_PANEL +
                                           rest % KERNEL_LANES,
                       j, part->w);
}

// Neighbours share an operand, also at the ends of a thread's rows or columns, whichever are longer: what is
// in the registers' cache is not read again.
template <class S>
static __device__ __forceinline__ void f32_multiply(const struct f32_part<S> &part, float (&acc)[S::M][S::N])
{
    enum { ALONG = S::N > S::M ? S::N : S::M };
#pragma unroll
    for (int e = 0; e < S::M * S::N; e++) {
        const int line = e / ALONG, on = line % 2 ? ALONG - 1 - e % ALONG : e % ALONG;
        const int i = S::N > S::M ? line : on, j = S::N > S::M ? on : line;
        acc[i][j] = vf_fma(part.a[i], part.w[j], acc[i][j]);
    }
}

template <class S, bool HALF>
static __device__ __forceinline__ void f32_leave(const struct gemm_f32 &g, int row0, int rows, int output0,
                                                 int outputs, int down, int across,
                                                 const float (&acc)[S::M][S::N])
{
#pragma unroll
    for (int i = 0; i < S::M; i++) {
        const int row = row0 + f32_place<S::M>(down, S::DOWN, i);
        if (row >= rows) continue;
#pragma unroll
        for (int j = 0; j < S::N; j += 4) {
            const int output = output0 + f32_place<S::N>(across, S::ACROSS, j);
            float v[4], *to = g.out + row * g.ldo + output;
            if (output >= outputs) continue;
#pragma unroll
            for (int e = 0; e < 4 && j + e < S::N; e++)
                v[e] = HALF ? vf_round_half(acc[i][j + e]) : acc[i][j + e];
            if (j + 4 <= S::N)
                *(float4 *)to = make_float4(v[0], v[1], v[2], v[3]);
            else
#pragma unroll
                for (int e = 0; e < S::N % 4; e++)
                    to[e] = v[e];
        }
    }
}

// What a thread multiplies is taken from shared memory a k ahead, over the barrier between tiles too, and the
// copies of a tile that is to come are spread over the k of this one: a thread would wait where it has many
// at once, or where it moves on a pointer that a copy has not read yet.
template <class S, int STAGES, int BLOCKS>
static __global__ void __launch_bounds__(S::THREADS, BLOCKS)
    f32_tiles(struct gemm_f32 g, int rows, int outputs)
{
    extern __shared__ __align__(16) char shared[];
    const int row0 = blockIdx.y * S::ROWS, output0 = blockIdx.x * S::OUTPUTS;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int down = warp / (S::ACROSS / 8) * 4 + lane / 16 * 2 + lane % 2,
              across = warp % (S::ACROSS / 8) * 8 + lane / 2 % 8;
    struct f32_source<S> from;
    struct f32_part<S> part[2];
    float acc[S::M][S::N] = {};
    int left = g.depth;
    f32_begin(g, row0, rows, output0 / KERNEL_LANES, outputs / KERNEL_LANES, shared, &from);
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
#pragma unroll
        for (int copy = 0; copy < S::COPIES; copy++)
            f32_copy(from, copy, left - s * STEP, s * (unsigned)sizeof(S));
        f32_next(g, &from);
        __pipeline_commit();
    }
    __pipeline_wait_prior(STAGES - 2);
    __syncthreads();
    unsigned at = 0, ahead = (STAGES - 1) * (unsigned)sizeof(S);
    f32_take_part(*(const S *)shared, 0, down, across, &part[0]);
    for (; left >= STEP; left -= STEP) {
        const unsigned next = at + sizeof(S) == STAGES * sizeof(S) ? 0 : at + (unsigned)sizeof(S);
        const int far = left - (STAGES - 1) * STEP;
#pragma unroll
        for (int k = 0; k < STEP; k++) {
            if (k + 1 < STEP) {
                f32_take_part(*(const S *)(shared + at), k + 1, down, across, &part[(k + 1) % 2]);
            } else {
                __pipeline_wait_prior(STAGES - 2);
                __syncthreads();
                f32_take_part(*(const S *)(shared + next), 0, down, across, &part[(k + 1) % 2]);
            }
#pragma unroll
            for (int i = 0; i < S::AT_ONCE; i++)
                f32_copy(from, k * S::AT_ONCE + i, far, ahead);
            if (k == S::COPIES / S::AT_ONCE) __pipeline_commit();
            f32_multiply(part[k % 2], acc);
            if (k == STEP - 2) f32_next(g, &from);
        }
        ahead = at, at = next;
    }
    for (int k = 0; k < left; k++) {
        f32_take_part(*(const S *)(shared + at), k, down, across, &part[0]);
        f32_multiply(part[0], acc);
    }
    if (g.half)
        f32_leave<S, true>(g, row0, rows, output0, outputs, down, across, acc);
    else
        f32_leave<S, false>(g, row0, rows, output0, outputs, down, across, acc);
}

template <class S, int STAGES, int BLOCKS>
static void f32_launch(device_stream stream, const struct gemm_f32 *g, int rows, int outputs)
{
    const dim3 grid(blocks_of(outputs, S::OUTPUTS), blocks_of(rows, S::ROWS));
    launch(f32_tiles<S, STAGES, BLOCKS>, grid, S::THREADS, STAGES * sizeof(S), stream, *g, rows, outputs);
}

// ---- large products: activations turned to [k][row] before, which takes less than turning each tile ----

enum { TURN = 64, TURN_THREADS = 256 };

static __global__ void __launch_bounds__(TURN_THREADS)
    turn_rows(const float *a, long lda, int rows, int depth, float *turned, long ld)
{
    __shared__ float tile[TURN][TURN + 1];
    const int row0 = blockIdx.x * TURN, k0 = blockIdx.y * TURN;
    const int across = threadIdx.x % (TURN / 4) * 4, down = threadIdx.x / (TURN / 4);
    const bool fours = lda % 4 == 0 && (uintptr_t)a % 16 == 0;
#pragma unroll
    for (int i = down; i < TURN; i += TURN_THREADS * 4 / TURN) {
        const float *from = a + (row0 + i) * lda + k0 + across;
        const int there = row0 + i < rows ? depth - k0 - across : 0;
        float v[4] = {};
        if (fours && there > 0)
            load_four(from, v);
        else
#pragma unroll
            for (int e = 0; e < 4; e++)
                if (e < there) v[e] = from[e];
#pragma unroll
        for (int e = 0; e < 4; e++)
            tile[across + e][i] = v[e];
    }
    __syncthreads();
#pragma unroll
    for (int i = down; i < TURN; i += TURN_THREADS * 4 / TURN) {
        const float *from = &tile[i][across];
        if (k0 + i < depth)
            *(float4 *)&turned[(k0 + i) * ld + row0 + across] =
                make_float4(from[0], from[1], from[2], from[3]);
    }
}

typedef f32_shape<16, 16, 8, 16, 1> f32_large;
typedef tiling<struct gemm_f32> tiling_f32;
enum { DEEP = 256, MANY_OUTPUTS = 1024 }; // where it pays to turn them

template <class S, int STAGES, int BLOCKS> static constexpr tiling_f32 f32_tiling(int speed, int besides)
{
    return {S::ROWS, S::OUTPUTS, speed, besides, STAGES * (int)sizeof(S), f32_launch<S, STAGES, BLOCKS>};
}

// Of activations as they are.
static const tiling_f32 &f32_fastest(int rows, int outputs, int depth)
{
    static constexpr tiling_f32 tilings[] = {
        f32_tiling<f32_shape<16, 16, 8, 16>, 3, 1>(82, 50), // 128 x 256
        f32_tiling<f32_shape<8, 16, 8, 8>, 3, 3>(68, 10),   // 64 x 128
        f32_tiling<f32_shape<8, 16, 8, 8>, 2, 4>(66, 6),    // the same, where a product is shallow
        f32_tiling<f32_shape<8, 16, 8, 6>, 3, 3>(68, 10),   // 64 x 96
        f32_tiling<f32_shape<8, 16, 8, 5>, 3, 3>(62, 10),   // 64 x 80
        f32_tiling<f32_shape<16, 16, 4, 4>, 2, 3>(50, 10),  // 64 x 64
        f32_tiling<f32_shape<16, 16, 2, 2>, 2, 4>(25, 10),  // 32 x 32
    };
    return fastest(tilings, (int)(sizeof tilings / sizeof *tilings), rows, outputs, depth);
}

// Rows whose activations are turned, in whole tiles: all, or as many as give each processor the same number
// of tiles where the others are faster in smaller ones.
static int turned_rows(int rows, int outputs, int depth)
{
    static constexpr tiling_f32 large = f32_tiling<f32_large, 3, 1>(86, 50);
    const struct gpu gpu = this_gpu();
    if (depth < DEEP || outputs < MANY_OUTPUTS || outputs % large.outputs != 0 || large.shared > gpu.shared)
        return 0;
    const int across = outputs / large.outputs, down = (int)blocks_of(rows, large.rows);
    const int even = down * across / gpu.processors * gpu.processors / across * large.rows;
    if (rows <= even) return down * large.rows;
    const double whole = takes(large, rows, outputs, depth, gpu),
                 others = // which are launched by themselves
                 1.15 * takes(f32_fastest(rows - even, outputs, depth), rows - even, outputs, depth, gpu);
    return takes(large, even, outputs, depth, gpu) + others < whole ? even : down * large.rows;
}

size_t device_product_f32_bytes(int rows, int outputs, int depth)
{
    return (size_t)turned_rows(rows, outputs, depth) * (size_t)depth * sizeof(float);
}

void device_product_f32(device_stream stream, const struct gemm_f32 *g, int rows, int outputs, float *room)
{
    const int turned = room ? min(rows, turned_rows(rows, outputs, g->depth)) : 0;
    struct gemm_f32 of = *g;
    if (turned > 0) {
        const long ld = (long)blocks_of(turned, f32_large::ROWS) * f32_large::ROWS;
        const dim3 turns((unsigned)(ld / TURN), blocks_of(g->depth, TURN));
        turn_rows<<<turns, TURN_THREADS, 0, stream>>>(g->a, g->lda, turned, g->depth, room, ld);
        of.a = room, of.lda = ld;
        f32_launch<f32_large, 3, 1>(stream, &of, turned, outputs);
    }
    if (turned < rows) {
        of.a = g->a + turned * g->lda, of.lda = g->lda, of.out += turned * g->ldo;
        f32_fastest(rows - turned, outputs, g->depth).launch(stream, &of, rows - turned, outputs);
    }
}

// ---- INT8 ----

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

// Where a thread's copies come from: `a` and `w` move on, what lies between its copies stays.
template <class S> struct s8_source {
    const int8_t *a;
    const uint8_t *w;
    int from_a[S::EACH_A], from_w[S::EACH_W];
};

// As f32_begin().
template <class S>
static __device__ __forceinline__ void s8_begin(const struct gemm_s8 &g, int row0, int rows, int panel0,
                                                int panels, struct s8_source<S> *from)
{
    const int panel_bytes = (int)s8_depth4(&g) * KERNEL_LANES * 4;
    from->a = g.a + row0 * g.lda;
    from->w = g.w + (long)panel0 * panel_bytes;
#pragma unroll
    for (int q = 0; q < S::EACH_A; q++) {
        const int i = q * S::THREADS + threadIdx.x, row = min(i / (DEPTH / 16), rows - 1 - row0);
        from->from_a[q] = row * (int)g.lda + i % (DEPTH / 16) * 16;
    }
#pragma unroll
    for (int q = 0; q < S::EACH_W; q++) {
        const int i = q * S::THREADS + threadIdx.x, panel = min(i / DEPTH, panels - 1 - panel0);
        from->from_w[q] = panel * panel_bytes + i % DEPTH * 16;
    }
}

// The next tile; left: its depth.  Activations behind it are zero here, whatever is behind them in memory;
// weights are what was there before.
template <class S>
static __device__ __forceinline__ void s8_fetch(struct s8_source<S> *from, int left, S *tile)
{
#pragma unroll
    for (int q = 0; q < S::EACH_A; q++) {
        const int i = q * S::THREADS + threadIdx.x, bytes = left - i % (DEPTH / 16) * 16;
        if (S::COPIES_A % S::THREADS && i >= S::COPIES_A) break;
        int8_t *to = &tile->a[i / (DEPTH / 16) * LD_CODES + i % (DEPTH / 16) * 16];
        copy_some((unsigned)__cvta_generic_to_shared(to), from->a + from->from_a[q], min(16, max(0, bytes)));
    }
    from->a += DEPTH;
#pragma unroll
    for (int q = 0; q < S::EACH_W; q++) {
        const int i = q * S::THREADS + threadIdx.x, k4 = i % DEPTH / 4;
        if (S::COPIES_W % S::THREADS && i >= S::COPIES_W) break;
        uint32_t *to = &tile->w[k4 * S::LD_W + i / DEPTH * KERNEL_LANES + i % 4 * 4];
        copy_if<16>(4 * k4 < left, (unsigned)__cvta_generic_to_shared(to), from->w + from->from_w[q]);
    }
    from->w += DEPTH * KERNEL_LANES;
}

static __device__ __forceinline__ uint32_t s8_signed(uint32_t four) // of code + 128
{
    return four ^ 0x80808080u;
}

// Of 16 rows thread 4g + i has g and g + 8; of 32 outputs it loads 4g to 4g + 3 for four products, and has
// the sums of 8i to 8i + 7: acc[..][e][t] is row g + e / 2 * 8, output 8i + e % 2 * 4 + t.
template <class S> struct s8_part {
    uint32_t a[S::HIGH][4], w[S::WIDE][2][4];
};

#if __CUDA_ARCH__ >= 800
enum { AHEAD = 1 }; // what is multiplied next is taken before
#else
enum { AHEAD = 0 }; // nothing is taken
#endif

template <class S>
static __device__ __forceinline__ void s8_take(const S &tile, int k, int row, int output,
                                               struct s8_part<S> *part)
{
#if __CUDA_ARCH__ >= 800
    const int lane = threadIdx.x % 32, g = lane / 4, i = lane % 4;
#pragma unroll
    for (int m = 0; m < S::HIGH; m++) {
        const void *from = &tile.a[(row + 16 * m + lane % 16) * LD_CODES + k + lane / 16 * 16];
        uint32_t(&a)[4] = part->a[m];
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                     : "r"((unsigned)__cvta_generic_to_shared(from)));
    }
#pragma unroll
    for (int n = 0; n < S::WIDE; n++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const uint4 v =
                *(const uint4 *)&tile.w[(k / 4 + 4 * half + i) * S::LD_W + output + 32 * n + 4 * g];
            uint32_t(&w)[4] = part->w[n][half];
            w[0] = s8_signed(v.x), w[1] = s8_signed(v.y), w[2] = s8_signed(v.z), w[3] = s8_signed(v.w);
        }
#endif
}

// acc[HIGH * 16 rows][WIDE * 32 outputs] of a warp += 32 k.
template <class S>
static __device__ __forceinline__ void s8_multiply(const S &tile, int k, int row, int output,
                                                   const struct s8_part<S> &part,
                                                   int (&acc)[S::HIGH][S::WIDE][4][4])
{
#pragma unroll
    for (int n = 0; n < S::WIDE; n++)
#pragma unroll
        for (int m = 0; m < S::HIGH; m++)
#pragma unroll
            for (int t = 0; t < 4; t++) {
                int(&sums)[4][4] = acc[m][n];
#if __CUDA_ARCH__ >= 800
                const uint32_t(&a)[4] = part.a[m];
                asm volatile(
                    "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                    "{%0,%1,%2,%3};"
                    : "+r"(sums[0][t]), "+r"(sums[1][t]), "+r"(sums[2][t]), "+r"(sums[3][t])
                    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(part.w[n][0][t]), "r"(part.w[n][1][t]));
#else
                const int g = threadIdx.x % 32 / 4, i = threadIdx.x % 4;
#pragma unroll
                for (int e = 0; e < 4; e++)
                    for (int k4 = k; k4 < k + 32; k4 += 4) {
                        const int8_t *a = &tile.a[(row + 16 * m + g + e / 2 * 8) * LD_CODES + k4];
                        const uint32_t w = tile.w[k4 / 4 * S::LD_W + output + 32 * n + 8 * i + e % 2 * 4 + t];
                        sums[e][t] = __dp4a(*(const int *)a, (int)s8_signed(w), sums[e][t]);
                    }
#endif
            }
}

// Eight neighbouring outputs of a row, where there are; all threads of a warp come here.  Of floats two
// neighbouring threads store theirs together, fours of both at a time: that is whole sectors.
static __device__ __forceinline__ void s8_leave(const struct gemm_s8 &g, int row, int rows, int output,
                                                int outputs, const int (&low)[4], const int (&high)[4])
{
    const bool there = row < rows && output < outputs, odd = threadIdx.x % 2;
    const int a_row = min(row, rows - 1), an_output = min(output, outputs - 8);
    float v[8];
#pragma unroll
    for (int t = 0; t < 4; t++) {
        v[t] = s8_value(&g, a_row, an_output + t, low[t]);
        v[4 + t] = s8_value(&g, a_row, an_output + 4 + t, high[t]);
    }
    if (g.result == GEMM_S8_CODES) {
        uint32_t four[2] = {0, 0};
#pragma unroll
        for (int t = 0; t < 8; t++) {
            int8_t code;
            vf_store_s8_sat(&code, v[t]);
            four[t / 4] |= (uint32_t)(uint8_t)code << (t % 4 * 8);
        }
        if (there) *(uint2 *)((int8_t *)g.out + row * g.ldo + output) = make_uint2(four[0], four[1]);
    } else {
        float *const to = (float *)g.out + row * g.ldo + (odd ? output - 4 : output);
        float first[4], second[4];
#pragma unroll
        for (int t = 0; t < 4; t++) {
            const float its = __shfl_xor_sync(~0u, odd ? v[t] : v[4 + t], 1);
            first[t] = odd ? its : v[t];
            second[t] = odd ? v[4 + t] : its;
        }
        if (!there) return;
        *(float4 *)to = make_float4(first[0], first[1], first[2], first[3]);
        *(float4 *)(to + 8) = make_float4(second[0], second[1], second[2], second[3]);
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
                s8_leave(g, row + 16 * m + 8 * half, rows, output + 32 * n, outputs, acc[m][n][2 * half],
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
    struct s8_part<S> part[2];
    __pipeline_wait_prior(STAGES - 2);
    __syncthreads();
    s8_take(stages[0], 0, row, output, &part[0]);
    for (int s = 0, at = 0, ahead = STAGES - 1; s < steps; s++) {
        const int next = at + 1 == STAGES ? 0 : at + 1;
        if (s + STAGES - 1 < steps) s8_fetch(&from, g.depth - (s + STAGES - 1) * DEPTH, &stages[ahead]);
        __pipeline_commit();
#pragma unroll
        for (int k = 0; k < DEPTH; k += 32) {
            if (!AHEAD) s8_multiply(stages[at], k, row, output, part[0], acc);
            if (k + 32 < DEPTH) {
                s8_take(stages[at], k + 32, row, output, &part[(k / 32 + 1) % 2]);
            } else {
                __pipeline_wait_prior(STAGES - 2);
                __syncthreads();
                s8_take(stages[next], 0, row, output, &part[0]);
            }
            if (AHEAD) s8_multiply(stages[at], k, row, output, part[k / 32 % 2], acc);
        }
        ahead = at, at = next;
    }
    const auto leave = [&](enum gemm_s8_result result, bool plain) {
        s8_leave_all<S>(g, result, plain, row0 + row, rows, output0 + output, outputs, acc);
    };
    if (!s8_is_plain(&g)) return leave(g.result, false);
    if (g.result == GEMM_S8_CODES) return leave(GEMM_S8_CODES, true);
    if (g.result == GEMM_S8_FLOAT) return leave(GEMM_S8_FLOAT, true);
    leave(GEMM_S8_HALF, true);
}

template <class S, int STAGES, int BLOCKS>
static void s8_launch(device_stream stream, const struct gemm_s8 *g, int rows, int outputs)
{
    const dim3 grid(blocks_of(outputs, S::OUTPUTS), blocks_of(rows, S::ROWS));
    launch(s8_tiles<S, STAGES, BLOCKS>, grid, S::THREADS, STAGES * sizeof(S), stream, *g, rows, outputs);
}

typedef tiling<struct gemm_s8> tiling_s8;

template <class S, int STAGES, int BLOCKS> static constexpr tiling_s8 s8_tiling(int speed, int besides)
{
    return {S::ROWS, S::OUTPUTS, speed, besides, STAGES * (int)sizeof(S), s8_launch<S, STAGES, BLOCKS>};
}

void device_product_s8(device_stream stream, const struct gemm_s8 *g, int rows, int outputs)
{
    static constexpr tiling_s8 tilings[] = {
        s8_tiling<s8_shape<2, 4, 4, 2>, 4, 1>(62, 240), // 128 x 256
        s8_tiling<s8_shape<2, 2, 4, 2>, 3, 2>(53, 90),  // 128 x 128
        s8_tiling<s8_shape<4, 1, 2, 3>, 4, 2>(48, 90),  // 128 x 96
        s8_tiling<s8_shape<2, 2, 2, 1>, 4, 4>(33, 10),  // 64 x 64
    };
    fastest(tilings, (int)(sizeof tilings / sizeof *tilings), rows, outputs, g->depth)
        .launch(stream, g, rows, outputs);
}
