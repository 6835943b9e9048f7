// SPDX-License-Identifier: Apache-2.0
// Products.  FP32: each thread sums its outputs over k in order, by FMA from 0, and ends at the true depth,
// because a zero more could turn -0 into +0.  INT8: tensor cores, exact in INT32.  Tiles of both operands are
// on their way into shared memory while those in front of them are multiplied.
#include "lane.cuh"

#include <cuda_pipeline.h>

// 16 bytes on their way into shared memory, those from `bytes` on zero.
static __device__ __forceinline__ void copy16(void *to, const void *from, int bytes)
{
    __pipeline_memcpy_async(to, from, 16, 16 - bytes);
}

// ---- FP32 ----

enum { STEP = 16 }; // depth of a tile

// A tile has DOWN x ACROSS threads of M rows and N outputs each: groups of four neighbours, and what is left
// of M and N.  A warp is 4 threads down and 8 across.  LD_A and LD_PANEL: what a warp reads or writes at once
// is in different banks.  TURNED: activations lie as [k][row] already.
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
        EACH_W = (COPIES_W + THREADS - 1) / THREADS
    };
    float a[STEP * LD_A], w[OUTPUTS / KERNEL_LANES * LD_PANEL];
};

// Where a thread's copies come from: A from some rows, or some k where it is turned; W from a panel each.
template <class S> struct f32_source {
    const float *a, *w[S::EACH_W];
    long lda;
    int k, row, rows; // the thread's place in a tile of A; rows from there on
};

// Panels behind the last are the last, and rows behind the last what was there before: nobody stores what
// comes of them.
template <class S>
static __device__ __forceinline__ void f32_begin(const struct gemm_f32 &g, int row0, int rows, int panel0,
                                                 int panels, struct f32_source<S> *from)
{
    const int i = threadIdx.x;
    from->k = S::TURNED ? i / (S::ROWS / 4) : i % 8 + i / 32 % 2 * 8;
    from->row = S::TURNED ? i % (S::ROWS / 4) * 4 : i / 8 % 4 + i / 64 * 4;
    from->rows = rows - row0 - from->row;
    from->lda = g.lda;
    from->a =
        S::TURNED ? g.a + from->k * g.lda + row0 + from->row : g.a + (row0 + from->row) * g.lda + from->k;
#pragma unroll
    for (int q = 0; q < S::EACH_W; q++) {
        const int i = q * S::THREADS + threadIdx.x, panel = panel0 + i / (STEP * 4);
        from->w[q] =
            g.w + (long)(panel < panels ? panel : panels - 1) * g.depth * KERNEL_LANES + i % (STEP * 4) * 4;
    }
}

// The next tile, A as [k][row]; left: its depth.  Behind that it is what was there before.
template <class S>
static __device__ __forceinline__ void f32_fetch(struct f32_source<S> *from, int left, S *tile)
{
#pragma unroll
    for (int q = 0; q < S::EACH_A; q++) {
        const int apart = q * S::APART;
        float *to = &tile->a[from->k * S::LD_A + from->row + (S::TURNED ? apart * S::LD_A : apart)];
        const float *its = from->a + apart * from->lda;
        if (S::TURNED && from->k + apart < left) copy16(to, its, 16);
        if (!S::TURNED && apart < from->rows) __pipeline_memcpy_async(to, its, 4);
    }
    from->a += S::TURNED ? STEP * from->lda : STEP;
#pragma unroll
    for (int q = 0; q < S::EACH_W; q++) {
        const int i = q * S::THREADS + threadIdx.x, k = i / 4 % STEP;
        if (S::COPIES_W % S::THREADS && i >= S::COPIES_W) break;
        float *to = &tile->w[i / (STEP * 4) * S::LD_PANEL + i % (STEP * 4) * 4];
        if (k < left) copy16(to, from->w[q], 16);
        from->w[q] += STEP * KERNEL_LANES;
    }
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
    if (j + 4 <= COUNT) {
        const float4 v = *(const float4 *)from;
        to[j] = v.x, to[j + 1] = v.y, to[j + 2] = v.z, to[j + 3] = v.w;
    } else {
#pragma unroll
        for (int e = 0; e < COUNT % 4; e++)
            to[j + e] = from[e];
    }
}

template <class S> struct f32_part {
    float a[S::M], w[S::N];
};

template <class S>
static __device__ __forceinline__ void f32_take_part(const S &tile, int k, int down, int across,
                                                     struct f32_part<S> *part)
{
#pragma unroll
    for (int i = 0; i < S::M; i += 4)
        f32_take<S::M>(&tile.a[k * S::LD_A + f32_place<S::M>(down, S::DOWN, i)], i, part->a);
#pragma unroll
    for (int j = 0; j < S::N; j += 4) {
        const int output = f32_place<S::N>(across, S::ACROSS, j);
        f32_take<S::N>(
            &tile.w[output / KERNEL_LANES * S::LD_PANEL + k * KERNEL_LANES + output % KERNEL_LANES], j,
            part->w);
    }
}

template <class S>
static __device__ __forceinline__ void f32_multiply(const struct f32_part<S> &part, float (&acc)[S::M][S::N])
{
#pragma unroll
    for (int i = 0; i < S::M; i++)
#pragma unroll
        for (int j = 0; j < S::N; j++)
            acc[i][j] = vf_fma(part.a[i], part.w[j], acc[i][j]);
}

template <class S>
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
                v[e] = g.half ? vf_round_half(acc[i][j + e]) : acc[i][j + e];
            if (j + 4 <= S::N)
                *(float4 *)to = make_float4(v[0], v[1], v[2], v[3]);
            else
#pragma unroll
                for (int e = 0; e < S::N % 4; e++)
                    to[e] = v[e];
        }
    }
}

// What a thread multiplies is taken from shared memory a k ahead, over the barrier between tiles too.
template <class S, int STAGES, int BLOCKS>
static __global__ void __launch_bounds__(S::THREADS, BLOCKS)
    f32_tiles(struct gemm_f32 g, int rows, int outputs)
{
    extern __shared__ __align__(16) char shared[];
    S *const tiles = (S *)shared;
    const int row0 = blockIdx.y * S::ROWS, output0 = blockIdx.x * S::OUTPUTS;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int down = warp / (S::ACROSS / 8) * 4 + lane / 8, across = warp % (S::ACROSS / 8) * 8 + lane % 8;
    struct f32_source<S> from;
    struct f32_part<S> part[2];
    float acc[S::M][S::N] = {};
    int left = g.depth, at = 0;
    f32_begin(g, row0, rows, output0 / KERNEL_LANES, outputs / KERNEL_LANES, &from);
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s * STEP < left) f32_fetch(&from, left - s * STEP, &tiles[s]);
        __pipeline_commit();
    }
    __pipeline_wait_prior(STAGES - 2);
    __syncthreads();
    f32_take_part(tiles[0], 0, down, across, &part[0]);
    for (int ahead = STAGES - 1; left >= STEP; left -= STEP) {
        const int next = at + 1 == STAGES ? 0 : at + 1, far = left - (STAGES - 1) * STEP;
#pragma unroll
        for (int k = 0; k < STEP; k++) {
            if (k + 1 < STEP) {
                f32_take_part(tiles[at], k + 1, down, across, &part[(k + 1) % 2]);
            } else {
                __pipeline_wait_prior(STAGES - 2);
                __syncthreads();
                f32_take_part(tiles[next], 0, down, across, &part[(k + 1) % 2]);
            }
            if (k == 0) {
                if (far > 0) f32_fetch(&from, far, &tiles[ahead]);
                __pipeline_commit();
            }
            f32_multiply(part[k % 2], acc);
        }
        ahead = at, at = next;
    }
    for (int k = 0; k < left; k++) {
        f32_take_part(tiles[at], k, down, across, &part[0]);
        f32_multiply(part[0], acc);
    }
    f32_leave<S>(g, row0, rows, output0, outputs, down, across, acc);
}

template <class S, int STAGES, int BLOCKS>
static void f32_launch(device_stream stream, const struct gemm_f32 *g, int rows, int outputs)
{
    const dim3 grid(blocks_of(outputs, S::OUTPUTS), blocks_of(rows, S::ROWS));
    launch(f32_tiles<S, STAGES, BLOCKS>, grid, S::THREADS, STAGES * sizeof(S), stream, *g, rows, outputs);
}

// ---- large products: activations turned to [k][row] before, which takes less than turning them for each
// tile
// ----

enum { TURN = 32 };

static __global__ void turn_rows(const float *a, long lda, int rows, int depth, float *turned, long ld)
{
    __shared__ float tile[TURN][TURN + 1];
    const int row0 = blockIdx.x * TURN, k0 = blockIdx.y * TURN, across = threadIdx.x % TURN,
              down = threadIdx.x / TURN;
#pragma unroll
    for (int i = down; i < TURN; i += 8)
        tile[i][across] = row0 + i < rows && k0 + across < depth ? a[(row0 + i) * lda + k0 + across] : 0;
    __syncthreads();
#pragma unroll
    for (int i = down; i < TURN; i += 8)
        if (k0 + i < depth) turned[(k0 + i) * ld + row0 + across] = tile[across][i];
}

typedef f32_shape<16, 16, 8, 16, 1> f32_large; // 128 x 256

static long turned_rows(int rows)
{
    return (long)blocks_of(rows, f32_large::ROWS) * f32_large::ROWS;
}

// Are there tiles enough for all processors of a GPU?
static bool enough(int rows, int outputs, int of_rows, int of_outputs)
{
    return blocks_of(rows, of_rows) * blocks_of(outputs, of_outputs) >= 200;
}

template <class S> static bool fits(int rows, int outputs)
{
    return outputs % S::OUTPUTS == 0 && enough(rows, outputs, S::ROWS, S::OUTPUTS);
}

enum { DEEP = 128 }; // where it pays to turn them

size_t device_product_f32_bytes(int rows, int outputs, int depth)
{
    return depth >= DEEP && fits<f32_large>(rows, outputs)
               ? (size_t)turned_rows(rows) * (size_t)depth * sizeof(float)
               : 0;
}

static void f32_turned(device_stream stream, struct gemm_f32 g, int rows, int outputs, float *room)
{
    const long ld = turned_rows(rows);
    const dim3 turns((unsigned)(ld / TURN), blocks_of(g.depth, TURN));
    turn_rows<<<turns, TURN * 8, 0, stream>>>(g.a, g.lda, rows, g.depth, room, ld);
    g.a = room, g.lda = ld;
    f32_launch<f32_large, 2, 1>(stream, &g, rows, outputs);
}

void device_product_f32(device_stream stream, const struct gemm_f32 *g, int rows, int outputs, float *room)
{
    typedef f32_shape<8, 16, 8, 8> middle; // 64 x 128
    typedef f32_shape<8, 16, 8, 6> six;    // 64 x 96
    typedef f32_shape<8, 16, 8, 5> five;   // 64 x 80
    typedef f32_shape<16, 16, 4, 4> small; // 64 x 64
    typedef f32_shape<16, 16, 2, 2> tiny;  // 32 x 32
    if (room)
        f32_turned(stream, *g, rows, outputs, room);
    else if (fits<middle>(rows, outputs))
        f32_launch<middle, 2, 4>(stream, g, rows, outputs);
    else if (fits<five>(rows, outputs))
        f32_launch<five, 3, 3>(stream, g, rows, outputs);
    else if (enough(rows, outputs, six::ROWS, six::OUTPUTS) && outputs > small::OUTPUTS)
        f32_launch<six, 3, 3>(stream, g, rows, outputs);
    else if (enough(rows, outputs, small::ROWS, small::OUTPUTS) && outputs >= small::OUTPUTS)
        f32_launch<small, 2, 3>(stream, g, rows, outputs);
    else
        f32_launch<tiny, 2, 4>(stream, g, rows, outputs);
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
    if (enough(rows, outputs, large::ROWS, large::OUTPUTS))
        s8_launch<large, 3, 2>(stream, g, rows, outputs);
    else if (outputs > small::OUTPUTS && outputs <= narrow::OUTPUTS)
        s8_launch<narrow, 3, 2>(stream, g, rows, outputs);
    else
        s8_launch<small, 3, 4>(stream, g, rows, outputs);
}
