// SPDX-License-Identifier: Apache-2.0
// The scan of Mamba-2: token after token, and chunk by chunk.
#include "lane.cuh"

#include "../cpu/isa/ssd.h"

#include <cuda_pipeline.h>

enum { THREADS = 256, ANY_THREADS = 128 };

// ---- the scan: what all orders share ----

static __global__ void times_rows(struct ssd s, int rows)
{
    const int ld = round_up16(s.heads);
    const long i = (long)blockIdx.x * THREADS + threadIdx.x;
    if (i < (long)rows * ld) ssd_times_at(&s, i / ld, (int)(i % ld));
}

// One head of one sample.
struct head {
    int length;
    long ld_heads, ld_state;
    const float *u;          // of token 0 and channel 0, as y
    const float *delta, *dA; // of token 0
    const float *B, *C;      // of token 0 and its group
    float *y;
    float skip;
};

static __device__ __forceinline__ struct head head_of(const struct ssd &s, const struct parts &parts,
                                                      int head, int sample)
{
    const long row = parts.firsts ? parts.firsts[sample] : 0, ld_heads = round_up16(s.heads);
    const long group = (long)(head / (s.heads / s.groups)) * s.d_state;
    return {part_length(parts, sample),
            ld_heads,
            round_up16(s.head_dim),
            s.u + row * s.ldu + (long)head * s.head_dim,
            s.delta + row * ld_heads + head,
            s.dA + row * ld_heads + head,
            s.B + row * s.ldbc + group,
            s.C + row * s.ldbc + group,
            s.y + row * s.ldy + (long)head * s.head_dim,
            s.D[head]};
}

// ---- token after token ----

// PARTS threads, neighbours in a warp, have the states of WIDE channels, each those of its own part, in
// registers.  The sum over states goes from one thread to the next, each a step behind the one in front of
// it: so it keeps its order.  What some tokens bring is on its way while those in front of them are at work.
enum { OWN = 16, WIDE = 4, CHANNELS = 64, NEAR = 8, RING = 3 * NEAR, FIT = 4 };

// Rows are so long that parts, a step apart, are in other banks.
template <int PARTS> struct steps_shape {
    enum {
        STATES = PARTS * OWN,
        LD = STATES + 12,
        LDU = CHANNELS + 4,
        ITS_THREADS = CHANNELS / WIDE * PARTS
    };
    float B[RING][LD], C[RING][LD];
    float u[RING][LDU];
    float delta[RING], decay[RING];
};

static __device__ __forceinline__ void send_one(float *to, const float *from)
{
    __pipeline_memcpy_async(to, from, sizeof *to);
}

// Tokens [t0, t0 + NEAR), t0 a multiple of NEAR, to their places of the ring.
template <int PARTS>
static __device__ __forceinline__ void send_steps(const struct ssd &s, const struct head &h, int channel0,
                                                  int t0, struct steps_shape<PARTS> *shared)
{
    typedef struct steps_shape<PARTS> S;
    const int place = t0 % RING, left = h.length - t0;
    for (int i = threadIdx.x; i < NEAR * S::STATES; i += S::ITS_THREADS) {
        const int t = i / S::STATES, n = i % S::STATES;
        if (t >= left) break;
        send_one(&shared->B[place + t][n], h.B + (t0 + t) * s.ldbc + n);
        send_one(&shared->C[place + t][n], h.C + (t0 + t) * s.ldbc + n);
    }
    for (int i = threadIdx.x; i < NEAR * CHANNELS; i += S::ITS_THREADS) {
        const int t = i / CHANNELS, channel = channel0 + i % CHANNELS;
        if (t >= left) break;
        if (channel < s.head_dim)
            send_one(&shared->u[place + t][i % CHANNELS], h.u + (t0 + t) * s.ldu + channel);
    }
    if (threadIdx.x < NEAR && threadIdx.x < left) {
        send_one(&shared->delta[place + threadIdx.x], h.delta + (t0 + threadIdx.x) * h.ld_heads);
        send_one(&shared->decay[place + threadIdx.x], h.dA + (t0 + threadIdx.x) * h.ld_heads);
    }
    __pipeline_commit();
}

// The own states of a thread at one token, onto the sums of those in front of them; x: delta u.
static __device__ __forceinline__ void own_states(const float *B, const float *C, float decay,
                                                  const float (&x)[WIDE], float (&state)[OWN][WIDE],
                                                  float (&sum)[WIDE])
{
#pragma unroll
    for (int n = 0; n < OWN; n += 4) {
        float b[4], c[4];
        load_four(B + n, b);
        load_four(C + n, c);
#pragma unroll
        for (int k = 0; k < 4; k++)
#pragma unroll
            for (int j = 0; j < WIDE; j++)
                ssd_state(decay, x[j], b[k], c[k], &state[n + k][j], &sum[j]);
    }
}

// The outputs of a thread's channels at one token; what is behind the head is another's.
static __device__ __forceinline__ void put_steps(const struct ssd &s, const struct head &h, int t,
                                                 int channel, const float *u, const float (&sum)[WIDE])
{
    float y[WIDE];
#pragma unroll
    for (int i = 0; i < WIDE; i++) {
        y[i] = vf_fma(h.skip, u[i], sum[i]);
        if (s.half) y[i] = vf_round_half(y[i]);
        if (channel + i < s.head_dim) h.y[t * s.ldy + channel + i] = y[i];
    }
}

template <int PARTS>
static __global__ void __launch_bounds__(steps_shape<PARTS>::ITS_THREADS, FIT)
    scan_steps(struct ssd s, struct parts parts)
{
    typedef struct steps_shape<PARTS> S;
    __shared__ __align__(16) S shared;
    const int per_head = (s.head_dim + CHANNELS - 1) / CHANNELS, head = blockIdx.x / per_head;
    const int channel0 = blockIdx.x % per_head * CHANNELS, sample = blockIdx.y;
    const int part = threadIdx.x % PARTS, own = threadIdx.x / PARTS * WIDE;
    const struct head h = head_of(s, parts, head, sample);
    float state[OWN][WIDE] = {}, sum[WIDE] = {};
    send_steps<PARTS>(s, h, channel0, 0, &shared);
    for (int j0 = 0; j0 < h.length + PARTS - 1; j0 += NEAR) {
        __pipeline_wait_prior(0);
        __syncthreads(); // the tokens from j0 on are there, and those more than NEAR in front of it are done
                         // with
        send_steps<PARTS>(s, h, channel0, j0 + NEAR, &shared);
        int at = (j0 + RING - part) % RING;
        for (int t = j0 - part; t < j0 + NEAR - part; t++, at = at + 1 < RING ? at + 1 : 0) {
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                const float before = PARTS > 1 ? __shfl_up_sync(0xffffffffu, sum[i], 1) : 0;
                sum[i] = part == 0 ? 0 : before;
            }
            if (t < 0 || t >= h.length) continue;
            float x[WIDE];
            load_four(&shared.u[at][own], x);
#pragma unroll
            for (int i = 0; i < WIDE; i++)
                x[i] = shared.delta[at] * x[i];
            own_states(&shared.B[at][part * OWN], &shared.C[at][part * OWN], shared.decay[at], x, state, sum);
            if (part == PARTS - 1) put_steps(s, h, t, channel0 + own, &shared.u[at][own], sum);
        }
    }
    if (!s.state) return;
    s.state += (long)sample * s.heads * s.d_state * h.ld_state;
#pragma unroll
    for (int n = 0; n < OWN; n++)
#pragma unroll
        for (int i = 0; i < WIDE; i++)
            if (channel0 + own + i < s.head_dim)
                s.state[((long)head * s.d_state + part * OWN + n) * h.ld_state + channel0 + own + i] =
                    state[n][i];
}

// Any number of states: a thread has a channel, its states lie in `home`.
static __global__ void __launch_bounds__(ANY_THREADS) scan_any(struct ssd s, struct parts parts, float *home)
{
    const int i = blockIdx.x * ANY_THREADS + threadIdx.x, sample = blockIdx.y;
    const int head = i / s.head_dim, channel = i % s.head_dim;
    if (head >= s.heads) return;
    const struct head h = head_of(s, parts, head, sample);
    float *state = home + ((long)sample * s.heads + head) * s.d_state * h.ld_state + channel;
    for (int n = 0; n < s.d_state; n++)
        state[n * h.ld_state] = 0;
    for (int t = 0; t < h.length; t++) {
        const float u = h.u[t * s.ldu + channel], x = h.delta[t * h.ld_heads] * u,
                    decay = h.dA[t * h.ld_heads];
        float sum = 0;
        for (int n = 0; n < s.d_state; n++)
            ssd_state(decay, x, h.B[t * s.ldbc + n], h.C[t * s.ldbc + n], &state[n * h.ld_state], &sum);
        sum = vf_fma(h.skip, u, sum);
        h.y[t * s.ldy + channel] = s.half ? vf_round_half(sum) : sum;
    }
}

template <int PARTS>
static void launch_steps(device_stream stream, const struct ssd *s, const struct parts *parts)
{
    const dim3 grid(blocks_of(s->head_dim, CHANNELS) * (unsigned)s->heads, (unsigned)parts->samples);
    scan_steps<PARTS><<<grid, steps_shape<PARTS>::ITS_THREADS, 0, stream>>>(*s, *parts);
}

static void scan_tokens(device_stream stream, const struct ssd *s, const struct parts *parts, float *home)
{
    const dim3 grid(blocks_of((long)s->heads * s->head_dim, ANY_THREADS), (unsigned)parts->samples);
    switch (s->d_state) {
    case 8 * OWN:
        launch_steps<8>(stream, s, parts);
        break;
    case 4 * OWN:
        launch_steps<4>(stream, s, parts);
        break;
    case 2 * OWN:
        launch_steps<2>(stream, s, parts);
        break;
    case OWN:
        launch_steps<1>(stream, s, parts);
        break;
    default:
        scan_any<<<grid, ANY_THREADS, 0, stream>>>(*s, *parts, s->state ? s->state : home);
    }
}

// ---- chunk by chunk ----

// The sums of a chunk are products of matrices that are made on their way into shared memory.  What is added
// to the state by each chunk is known without the state: so all chunks are computed at once, but for one pass
// over them that makes the states in front of them.
enum { TILE = 64, DEEP = 16, LD_TILE = TILE + 4, EACH = 4, PARTS_OF_TILE = DEEP * TILE / THREADS };

struct tile {
    float a[DEEP][LD_TILE], b[DEEP][LD_TILE];
};

// A chunk of a sample, with the head that begins there.
struct chunk {
    struct head h; // of the chunk's first token
    int tokens;
    long slot; // among all chunks of the batch
    int row;   // of the batch
};

// False: the sample has no such chunk.  Chunks of samples in front of one are no more than their tokens over
// the length of a chunk, and one for each.
static __device__ __forceinline__ bool chunk_of(const struct ssd &s, const struct parts &parts, int head,
                                                int sample, int index, struct chunk *c)
{
    const int first = parts.firsts ? parts.firsts[sample] : 0, t0 = index * s.chunk;
    c->h = head_of(s, parts, head, sample);
    if (t0 >= c->h.length) return false;
    c->tokens = c->h.length - t0 < s.chunk ? c->h.length - t0 : s.chunk;
    c->slot = first / s.chunk + sample + index;
    c->row = first + t0;
    c->h.u += t0 * s.ldu, c->h.y += t0 * s.ldy;
    c->h.B += t0 * s.ldbc, c->h.C += t0 * s.ldbc;
    c->h.delta += t0 * c->h.ld_heads, c->h.dA += t0 * c->h.ld_heads;
    return true;
}

static long slots_of(const struct ssd &s, const struct parts &parts)
{
    return parts.tokens / s.chunk + parts.samples;
}

struct chunk_room {
    float *states; // [slots][heads][d_state][head_dim rounded up]: added by the chunk, then in front of it
    float *CB;     // [groups][tokens][ld], C.B of each token with those of its chunk up to it
    float *reach;  // [tokens][heads rounded up]
    long ld;
};

// Which elements of a tile a thread brings: part q of it, neighbours in a warp along k or across it.
template <bool ALONG_K> static __device__ __forceinline__ int depth_of(int q)
{
    return ALONG_K ? threadIdx.x % DEEP : threadIdx.x / TILE + q * (THREADS / TILE);
}

template <bool ALONG_K> static __device__ __forceinline__ int place_of(int q)
{
    return ALONG_K ? threadIdx.x / DEEP + q * (THREADS / DEEP) : threadIdx.x % TILE;
}

enum rounding { ROUND_NONE, ROUND_CUT, ROUND_HALF };

static __device__ __forceinline__ float rounded(enum rounding rounding, float v)
{
    return rounding == ROUND_HALF ? vf_round_half(v) : rounding == ROUND_CUT ? ssd_cut(v) : v;
}

// An operand that lies in memory: element i at the k-th place is from[i * ld + k * ld_k], times scale[k *
// ld_scale] if there is one, and zero from `count` on.
template <bool ALONG> struct matrix {
    enum { ALONG_K = ALONG };
    const float *from, *scale;
    long ld, ld_k, ld_scale;
    int count;
    enum rounding rounding;
    float v[PARTS_OF_TILE], factor[PARTS_OF_TILE];

    __device__ __forceinline__ void fetch(int k0, int depth)
    {
#pragma unroll
        for (int q = 0; q < PARTS_OF_TILE; q++) {
            const int i = place_of<ALONG>(q), k = k0 + depth_of<ALONG>(q);
            const bool is_there = i < count && k < depth;
            v[q] = is_there ? __ldg(from + i * ld + k * ld_k) : 0;
            if (scale) factor[q] = k < depth ? __ldg(scale + k * ld_scale) : 0;
        }
    }
    __device__ __forceinline__ float value(int q) const
    {
        return rounded(rounding, scale ? v[q] * factor[q] : v[q]);
    }
};

// w of some tokens, from t0 on, and those of the chunk up to them.
struct weights {
    enum { ALONG_K = true };
    const struct ssd *s;
    const float *CB, *c, *delta; // of the chunk
    long ld, ld_heads;
    int t0, rows, k;
    float own[PARTS_OF_TILE]; // c of the thread's tokens
    float product[PARTS_OF_TILE], c_k, delta_k;

    __device__ __forceinline__ void begin()
    {
#pragma unroll
        for (int q = 0; q < PARTS_OF_TILE; q++) {
            const int row = place_of<true>(q);
            own[q] = row < rows ? __ldg(c + (t0 + row) * ld_heads) : 0;
        }
    }
    __device__ __forceinline__ void fetch(int k0, int depth)
    {
        k = k0 + depth_of<true>(0);
        c_k = k < depth ? __ldg(c + k * ld_heads) : 0;
        delta_k = k < depth ? __ldg(delta + k * ld_heads) : 0;
#pragma unroll
        for (int q = 0; q < PARTS_OF_TILE; q++) {
            const int row = place_of<true>(q);
            product[q] = row < rows && k <= t0 + row ? __ldg(CB + (t0 + row) * ld + k) : 0;
        }
    }
    __device__ __forceinline__ float value(int q) const
    {
        return ssd_weight(s, product[q], own[q], c_k, delta_k); // behind the token nobody takes it
    }
};

// acc[i][j] = FMA of a and b at the k-th place, of rows from `left` on.
static __device__ __forceinline__ void step_tile(const struct tile &shared, int k, int down, int across,
                                                 int left, float (&acc)[EACH][EACH])
{
    float x[EACH], y[EACH];
    load_four(&shared.a[k][down], x);
    load_four(&shared.b[k][across], y);
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++)
            if (down + i >= left) acc[i][j] = vf_fma(x[i], y[j], acc[i][j]);
}

// acc[i][j] += sum over k = 0, 1, ... by FMA of a(row, k) b(k, column).  The k from `free` on are those of
// some rows: the first of them is of all rows, the next not of the first row, and so on.  While a tile is at
// work the next one is on its way.
template <class A, class B>
static __device__ __forceinline__ void multiply_tile(struct tile (&shared)[2], int depth, int free, A &a,
                                                     B &b, float (&acc)[EACH][EACH])
{
    const int down = threadIdx.x / (TILE / EACH) * EACH, across = threadIdx.x % (TILE / EACH) * EACH;
    __syncthreads(); // what was there is done with
    a.fetch(0, depth);
    b.fetch(0, depth);
    for (int k0 = 0; k0 < depth; k0 += DEEP) {
        struct tile &its = shared[k0 / DEEP % 2];
#pragma unroll
        for (int q = 0; q < PARTS_OF_TILE; q++) {
            its.a[depth_of<A::ALONG_K>(q)][place_of<A::ALONG_K>(q)] = a.value(q);
            its.b[depth_of<B::ALONG_K>(q)][place_of<B::ALONG_K>(q)] = b.value(q);
        }
        __syncthreads();
        if (k0 + DEEP < depth) {
            a.fetch(k0 + DEEP, depth);
            b.fetch(k0 + DEEP, depth);
        }
        if (k0 + DEEP <= free) {
#pragma unroll
            for (int k = 0; k < DEEP; k++)
                step_tile(its, k, down, across, 0, acc);
        } else {
            for (int k = 0; k < DEEP && k0 + k < depth; k++)
                step_tile(its, k, down, across, k0 + k - free, acc);
        }
    }
}

// dA becomes its running sum in each chunk, and what B is multiplied with is made of it.
static __global__ void sum_decays(struct ssd s, struct parts parts, struct chunk_room room)
{
    struct chunk c;
    const int head = blockIdx.y * WARP + threadIdx.x;
    if (head >= s.heads || !chunk_of(s, parts, head, blockIdx.z, blockIdx.x, &c)) return;
    const long ld = c.h.ld_heads;
    float *dA = s.dA + c.row * ld + head, *reach = room.reach + c.row * ld + head, sum = 0;
    for (int t0 = 0; t0 < c.tokens; t0 += NEAR) {
        float own[NEAR];
#pragma unroll
        for (int i = 0; i < NEAR; i++) // all of them are under way at once
            own[i] = t0 + i < c.tokens ? dA[(t0 + i) * ld] : 0;
#pragma unroll
        for (int i = 0; i < NEAR; i++) {
            if (t0 + i >= c.tokens) break;
            sum = t0 + i ? sum + own[i] : own[i];
            dA[(t0 + i) * ld] = sum;
        }
    }
#pragma unroll 8
    for (int t = 0; t < c.tokens; t++)
        reach[t * ld] = ssd_reach(sum, dA[t * ld], c.h.delta[t * ld]);
}

// C.B of a group: each block some tokens with some of those in front of them.
static __global__ void __launch_bounds__(THREADS, 3)
    multiply_CB(struct ssd s, struct parts parts, struct chunk_room room, int chunks)
{
    __shared__ __align__(16) struct tile shared[2];
    struct chunk c;
    const int across = blockIdx.y * TILE, group = blockIdx.z % s.groups, sample = blockIdx.z / s.groups;
    const int down = blockIdx.x / chunks * TILE;
    const bool is_there = chunk_of(s, parts, group * (s.heads / s.groups), sample, blockIdx.x % chunks, &c);
    if (!is_there || down >= c.tokens || across > down) return;
    const enum rounding rounding = s.order == SSD_CHUNKED_GPU ? ROUND_CUT : ROUND_NONE;
    struct matrix<true> C = {
        c.h.C + down *s.ldbc, NULL, s.ldbc, 1, 0, c.tokens - down, rounding
    };
    struct matrix<true> B = {
        c.h.B + across *s.ldbc, NULL, s.ldbc, 1, 0, c.tokens - across, rounding
    };
    float acc[EACH][EACH] = {};
    multiply_tile(shared, s.d_state, s.d_state, C, B, acc);
    const int row0 = down + threadIdx.x / (TILE / EACH) * EACH,
              column0 = across + threadIdx.x % (TILE / EACH) * EACH;
    float *out = room.CB + ((long)group * parts.tokens + c.row) * room.ld;
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++)
            if (row0 + i < c.tokens && column0 + j < c.tokens)
                out[(row0 + i) * room.ld + column0 + j] = acc[i][j];
}

// What each chunk adds to the state: sum_t u_t (B_t (exp(c_last - c_t) delta_t)).
static __global__ void __launch_bounds__(THREADS, 3)
    add_states(struct ssd s, struct parts parts, struct chunk_room room, int chunks)
{
    __shared__ __align__(16) struct tile shared[2];
    struct chunk c;
    const int head = blockIdx.y, n0 = blockIdx.x / chunks * TILE, wide = (s.head_dim + TILE - 1) / TILE;
    const int channel0 = blockIdx.z % wide * TILE, sample = blockIdx.z / wide;
    if (!chunk_of(s, parts, head, sample, blockIdx.x % chunks, &c)) return;
    const enum rounding rounding = s.order == SSD_CHUNKED ? ROUND_NONE : ROUND_HALF;
    struct matrix<false> B = {
        c.h.B + n0, room.reach + c.row *c.h.ld_heads + head, 1, s.ldbc, c.h.ld_heads, s.d_state - n0, rounding
    };
    struct matrix<false> u = {
        c.h.u + channel0, NULL, 1, s.ldu, 0, s.head_dim - channel0, rounding
    };
    float acc[EACH][EACH] = {};
    multiply_tile(shared, c.tokens, c.tokens, B, u, acc);
    const int row0 = n0 + threadIdx.x / (TILE / EACH) * EACH,
              column0 = channel0 + threadIdx.x % (TILE / EACH) * EACH;
    float *out = room.states + (c.slot * s.heads + head) * s.d_state * c.h.ld_state;
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++)
            if (row0 + i < s.d_state && column0 + j < s.head_dim)
                out[(row0 + i) * c.h.ld_state + column0 + j] = acc[i][j];
}

// The state in front of each chunk, as it is read there, in place of what the chunk adds.
static __global__ void run_states(struct ssd s, struct parts parts, struct chunk_room room)
{
    const int ld = round_up16(s.head_dim), head = blockIdx.y, sample = blockIdx.z;
    const int i = blockIdx.x * THREADS + threadIdx.x, n = i / ld, channel = i % ld;
    if (n >= s.d_state || channel >= s.head_dim) return;
    struct chunk c;
    float state = 0;
    for (int index = 0; chunk_of(s, parts, head, sample, index, &c); index++) {
        float *at = room.states + (c.slot * s.heads + head) * s.d_state * ld + i;
        const float added = *at, decay = vf_exp(c.h.dA[(c.tokens - 1) * c.h.ld_heads]);
        *at = ssd_rounded(&s, state);
        state = vf_fma(decay, state, added);
    }
    if (s.state) s.state[((long)sample * s.heads + head) * s.d_state * ld + i] = state;
}

// y of some tokens of a chunk and some channels of a head.
static __global__ void __launch_bounds__(THREADS, 3)
    put_outputs(struct ssd s, struct parts parts, struct chunk_room room, int chunks)
{
    __shared__ __align__(16) struct tile shared[2];
    struct chunk c;
    const int head = blockIdx.y, t0 = blockIdx.x / chunks * TILE, wide = (s.head_dim + TILE - 1) / TILE;
    const int channel0 = blockIdx.z % wide * TILE, sample = blockIdx.z / wide;
    if (!chunk_of(s, parts, head, sample, blockIdx.x % chunks, &c) || t0 >= c.tokens) return;
    const int rows = c.tokens - t0 < TILE ? c.tokens - t0 : TILE;
    const float *state = room.states + (c.slot * s.heads + head) * s.d_state * c.h.ld_state;
    const float *CB = room.CB + ((long)(head / (s.heads / s.groups)) * parts.tokens + c.row) * room.ld;
    const enum rounding rounding = s.order == SSD_CHUNKED ? ROUND_NONE : ROUND_HALF;
    struct matrix<true> C = {
        c.h.C + t0 *s.ldbc, NULL, s.ldbc, 1, 0, rows, rounding
    };
    struct matrix<false> S = {
        state + channel0, NULL, 1, c.h.ld_state, 0, s.head_dim - channel0, ROUND_NONE
    };
    struct matrix<false> u = {
        c.h.u + channel0, NULL, 1, s.ldu, 0, s.head_dim - channel0, rounding
    };
    struct weights w = {&s, CB, c.h.dA, c.h.delta, room.ld, c.h.ld_heads, t0, rows};
    float earlier[EACH][EACH] = {}, sums[EACH][EACH] = {};
    multiply_tile(shared, s.d_state, s.d_state, C, S, earlier);
    w.begin();
    multiply_tile(shared, t0 + rows, t0, w, u, sums);
    const int row0 = t0 + threadIdx.x / (TILE / EACH) * EACH,
              column0 = channel0 + threadIdx.x % (TILE / EACH) * EACH;
    for (int i = 0; i < EACH && row0 + i < c.tokens; i++) {
        const float decay = vf_exp(c.h.dA[(row0 + i) * c.h.ld_heads]);
        for (int j = 0; j < EACH; j++)
            if (column0 + j < s.head_dim)
                c.h.y[(row0 + i) * s.ldy + column0 + j] = ssd_output(
                    &s, sums[i][j], earlier[i][j], decay, c.h.skip, c.h.u[(row0 + i) * s.ldu + column0 + j]);
    }
}

// longest: of the samples.
static long ld_of_chunk(const struct ssd *s, int longest)
{
    return round_up16(s->chunk < longest ? s->chunk : longest);
}

// Its parts out of `home`; returns how many floats they have.
static long carve_chunks(const struct ssd *s, const struct parts *parts, int longest, float *home,
                         struct chunk_room *room)
{
    const long states = slots_of(*s, *parts) * s->heads * s->d_state * round_up16(s->head_dim);
    room->ld = ld_of_chunk(s, longest);
    const long CB = s->groups * parts->tokens * room->ld;
    room->states = home;
    room->CB = home + states;
    room->reach = room->CB + CB;
    return states + CB + (long)parts->tokens * round_up16(s->heads);
}

static void scan_chunks(device_stream stream, const struct ssd *s, const struct parts *parts, int longest,
                        float *home)
{
    const unsigned samples = (unsigned)parts->samples, heads = (unsigned)s->heads,
                   chunks = blocks_of(longest, s->chunk), wide = blocks_of(s->head_dim, TILE);
    const int state = s->d_state * round_up16(s->head_dim);
    struct chunk_room room;
    carve_chunks(s, parts, longest, home, &room);
    const unsigned tiles = blocks_of(room.ld, TILE), down = blocks_of(s->d_state, TILE);
    sum_decays<<<dim3(chunks, blocks_of(s->heads, WARP), samples), WARP, 0, stream>>>(*s, *parts, room);
    multiply_CB<<<dim3(tiles * chunks, tiles, (unsigned)s->groups * samples), THREADS, 0, stream>>>(
        *s, *parts, room, (int)chunks);
    add_states<<<dim3(down * chunks, heads, wide * samples), THREADS, 0, stream>>>(*s, *parts, room,
                                                                                   (int)chunks);
    run_states<<<dim3(blocks_of(state, THREADS), heads, samples), THREADS, 0, stream>>>(*s, *parts, room);
    put_outputs<<<dim3(tiles * chunks, heads, wide * samples), THREADS, 0, stream>>>(*s, *parts, room,
                                                                                     (int)chunks);
}

size_t device_ssd_bytes(const struct ssd *s, const struct parts *parts, int longest)
{
    struct chunk_room room;
    const long states = (long)parts->samples * s->heads * s->d_state * round_up16(s->head_dim);
    const bool in_registers =
        s->d_state == OWN || s->d_state == 2 * OWN || s->d_state == 4 * OWN || s->d_state == 8 * OWN;
    const long floats = s->order != SSD_SEQUENTIAL ? carve_chunks(s, parts, longest, NULL, &room)
                        : in_registers             ? 0
                                                   : states;
    return (size_t)floats * sizeof(float);
}

void device_ssd(device_stream stream, const struct ssd *s, const struct parts *parts, int longest,
                float *home)
{
    const long times = (long)parts->tokens * round_up16(s->heads);
    times_rows<<<blocks_of(times, THREADS), THREADS, 0, stream>>>(*s, parts->tokens);
    if (s->order == SSD_SEQUENTIAL)
        scan_tokens(stream, s, parts, home);
    else
        scan_chunks(stream, s, parts, longest, home);
}
