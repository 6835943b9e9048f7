// SPDX-License-Identifier: Apache-2.0
// Steps of Mamba-2: conv1d whose parts have scales of their own, the scan token after token and chunk by
// chunk, the gated norm, and captures in another order of columns.
#include "lane.cuh"

#include "../cpu/isa/ssd.h"

enum { THREADS = 256, ANY_THREADS = 128 };

// ---- conv1d of codes: a factor for each part of the channels ----

enum { CONV1D_ROWS = 8 };

// A thread has some rows of a channel.
static __global__ void conv1d_parts(struct conv1d c, struct device_scales scales, struct parts parts,
                                    int channels)
{
    const int row0 = blockIdx.x * CONV1D_ROWS, channel = blockIdx.y * THREADS + threadIdx.x;
    if (channel >= channels) return;
    int part = 0;
    while (part < CONV1D_PARTS && channel >= c.part_ends[part])
        part++;
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
    conv1d_parts<<<grid, THREADS, 0, stream>>>(*c, *scales, *parts, channels);
}

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
// it: so it keeps its order.
enum { OWN = 16, WIDE = 4, CHANNELS = 64, NEAR = 16, RING = 2 * NEAR };

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

// Tokens [t0, t0 + NEAR) into their places of the ring.
template <int PARTS>
static __device__ __forceinline__ void load_steps(const struct ssd &s, const struct head &h, int channel0,
                                                  int t0, struct steps_shape<PARTS> *shared)
{
    typedef struct steps_shape<PARTS> S;
#pragma unroll 4
    for (int i = threadIdx.x; i < NEAR * S::STATES; i += S::ITS_THREADS) {
        const int t = t0 + i / S::STATES, n = i % S::STATES;
        if (t >= h.length) break;
        shared->B[t % RING][n] = h.B[t * s.ldbc + n];
        shared->C[t % RING][n] = h.C[t * s.ldbc + n];
    }
#pragma unroll 4
    for (int i = threadIdx.x; i < NEAR * CHANNELS; i += S::ITS_THREADS) {
        const int t = t0 + i / CHANNELS, channel = channel0 + i % CHANNELS;
        if (t >= h.length) break;
        if (channel < s.head_dim) shared->u[t % RING][i % CHANNELS] = h.u[t * s.ldu + channel];
    }
    const int t = t0 + threadIdx.x;
    if (threadIdx.x >= NEAR || t >= h.length) return;
    shared->delta[t % RING] = h.delta[t * h.ld_heads];
    shared->decay[t % RING] = h.dA[t * h.ld_heads];
}

static __device__ __forceinline__ void take_four(const float *from, float *to)
{
    const float4 v = *(const float4 *)from;
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

// The own states of a thread at one token, onto the sums of those in front of them.
static __device__ __forceinline__ void own_states(const float *B, const float *C, float decay, float delta,
                                                  const float (&u)[WIDE], float (&state)[OWN][WIDE],
                                                  float (&sum)[WIDE])
{
#pragma unroll
    for (int n = 0; n < OWN; n += 4) {
        float b[4], c[4];
        take_four(B + n, b);
        take_four(C + n, c);
#pragma unroll
        for (int k = 0; k < 4; k++)
#pragma unroll
            for (int j = 0; j < WIDE; j++)
                ssd_state(decay, delta * u[j], b[k], c[k], &state[n + k][j], &sum[j]);
    }
}

template <int PARTS>
static __global__ void __launch_bounds__(steps_shape<PARTS>::ITS_THREADS)
    scan_steps(struct ssd s, struct parts parts)
{
    typedef struct steps_shape<PARTS> S;
    __shared__ __align__(16) S shared;
    const int per_head = (s.head_dim + CHANNELS - 1) / CHANNELS, head = blockIdx.x / per_head;
    const int channel0 = blockIdx.x % per_head * CHANNELS, sample = blockIdx.y;
    const int part = threadIdx.x % PARTS, own = threadIdx.x / PARTS * WIDE;
    const struct head h = head_of(s, parts, head, sample);
    float state[OWN][WIDE] = {}, sum[WIDE] = {};
    for (int j0 = 0; j0 < h.length + PARTS - 1; j0 += NEAR) {
        __syncthreads(); // what these places held is done with
        load_steps<PARTS>(s, h, channel0, j0, &shared);
        __syncthreads();
        for (int j = j0; j < j0 + NEAR; j++) {
            const int t = j - part, at = t & (RING - 1);
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                const float before = PARTS > 1 ? __shfl_up_sync(0xffffffffu, sum[i], 1) : 0;
                sum[i] = part == 0 ? 0 : before;
            }
            if (t < 0 || t >= h.length) continue;
            float u[WIDE];
            take_four(&shared.u[at][own], u);
            own_states(&shared.B[at][part * OWN], &shared.C[at][part * OWN], shared.decay[at],
                       shared.delta[at], u, state, sum);
            if (part < PARTS - 1) continue;
#pragma unroll
            for (int i = 0; i < WIDE; i++) {
                const float y = vf_fma(h.skip, u[i], sum[i]);
                if (channel0 + own + i < s.head_dim)
                    h.y[t * s.ldy + channel0 + own + i] = s.half ? vf_round_half(y) : y;
            }
        }
    }
    if (!s.state) return;
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
enum { TILE = 64, DEEP = 16, LD_TILE = TILE + 4, EACH = 4 };

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

// acc[i][j] = FMA of a and b at the k-th place, of rows from `left` on.
static __device__ __forceinline__ void step_tile(const struct tile &shared, int k, int down, int across,
                                                 int left, float (&acc)[EACH][EACH])
{
    float x[EACH], y[EACH];
    take_four(&shared.a[k][down], x);
    take_four(&shared.b[k][across], y);
#pragma unroll
    for (int i = 0; i < EACH; i++)
#pragma unroll
        for (int j = 0; j < EACH; j++)
            if (down + i >= left) acc[i][j] = vf_fma(x[i], y[j], acc[i][j]);
}

// acc[i][j] += sum over k = 0, 1, ... by FMA of a(row, k) b(k, column).  The k from `free` on are those of
// some rows: the first of them is of all rows, the next not of the first row, and so on.
template <bool ALONG_K, class A, class B>
static __device__ __forceinline__ void multiply_tile(struct tile *shared, int depth, int free, A a, B b,
                                                     float (&acc)[EACH][EACH])
{
    const int down = threadIdx.x / (TILE / EACH) * EACH, across = threadIdx.x % (TILE / EACH) * EACH;
    for (int k0 = 0; k0 < depth; k0 += DEEP) {
        __syncthreads();
#pragma unroll
        for (int i = threadIdx.x; i < DEEP * TILE; i += THREADS) {
            const int k = ALONG_K ? i % DEEP : i / TILE, row = ALONG_K ? i / DEEP : i % TILE;
            shared->a[k][row] = k0 + k < depth ? a(row, k0 + k) : 0;
            shared->b[i / TILE][i % TILE] = k0 + i / TILE < depth ? b(k0 + i / TILE, i % TILE) : 0;
        }
        __syncthreads();
        if (k0 + DEEP <= free) {
#pragma unroll
            for (int k = 0; k < DEEP; k++)
                step_tile(*shared, k, down, across, 0, acc);
        } else {
            for (int k = 0; k < DEEP && k0 + k < depth; k++)
                step_tile(*shared, k, down, across, k0 + k - free, acc);
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
static __global__ void __launch_bounds__(THREADS)
    multiply_CB(struct ssd s, struct parts parts, struct chunk_room room, int chunks)
{
    __shared__ struct tile shared;
    struct chunk c;
    const bool cut = s.order == SSD_CHUNKED_GPU;
    const int across = blockIdx.y * TILE, group = blockIdx.z % s.groups, sample = blockIdx.z / s.groups;
    const int down = blockIdx.x / chunks * TILE;
    const bool is_there = chunk_of(s, parts, group * (s.heads / s.groups), sample, blockIdx.x % chunks, &c);
    if (!is_there || down >= c.tokens || across > down) return;
    float acc[EACH][EACH] = {};
    multiply_tile<true>(
        &shared, s.d_state, s.d_state,
        [&](int row, int k) {
            const float v = down + row < c.tokens ? c.h.C[(down + row) * s.ldbc + k] : 0;
            return cut ? ssd_cut(v) : v;
        },
        [&](int k, int column) {
            const float v = across + column < c.tokens ? c.h.B[(across + column) * s.ldbc + k] : 0;
            return cut ? ssd_cut(v) : v;
        },
        acc);
    const int row0 = down + threadIdx.x / (TILE / EACH) * EACH,
              column0 = across + threadIdx.x % (TILE / EACH) * EACH;
    float *out = room.CB + ((long)group * parts.tokens + c.row) * room.ld;
    for (int i = 0; i < EACH; i++)
        for (int j = 0; j < EACH; j++)
            if (row0 + i < c.tokens && column0 + j < c.tokens)
                out[(row0 + i) * room.ld + column0 + j] = acc[i][j];
}

// What each chunk adds to the state: sum_t u_t (B_t (exp(c_last - c_t) delta_t)).
static __global__ void __launch_bounds__(THREADS)
    add_states(struct ssd s, struct parts parts, struct chunk_room room, int chunks)
{
    __shared__ struct tile shared;
    struct chunk c;
    const int head = blockIdx.y, n0 = blockIdx.x / chunks * TILE, wide = (s.head_dim + TILE - 1) / TILE;
    const int channel0 = blockIdx.z % wide * TILE, sample = blockIdx.z / wide;
    if (!chunk_of(s, parts, head, sample, blockIdx.x % chunks, &c)) return;
    const float *reach = room.reach + c.row * c.h.ld_heads + head;
    float acc[EACH][EACH] = {};
    multiply_tile<false>(
        &shared, c.tokens, c.tokens,
        [&](int row, int t) {
            return n0 + row < s.d_state
                       ? ssd_rounded(&s, c.h.B[t * s.ldbc + n0 + row] * reach[t * c.h.ld_heads])
                       : 0;
        },
        [&](int t, int column) {
            return channel0 + column < s.head_dim ? ssd_rounded(&s, c.h.u[t * s.ldu + channel0 + column]) : 0;
        },
        acc);
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
    if (s.state) s.state[(long)head * s.d_state * ld + i] = state;
}

// y of some tokens of a chunk and some channels of a head.
static __global__ void __launch_bounds__(THREADS)
    put_outputs(struct ssd s, struct parts parts, struct chunk_room room, int chunks)
{
    __shared__ struct tile shared;
    struct chunk c;
    const int head = blockIdx.y, t0 = blockIdx.x / chunks * TILE, wide = (s.head_dim + TILE - 1) / TILE;
    const int channel0 = blockIdx.z % wide * TILE, sample = blockIdx.z / wide;
    if (!chunk_of(s, parts, head, sample, blockIdx.x % chunks, &c) || t0 >= c.tokens) return;
    const int rows = c.tokens - t0 < TILE ? c.tokens - t0 : TILE;
    const float *state = room.states + (c.slot * s.heads + head) * s.d_state * c.h.ld_state;
    const float *CB = room.CB + ((long)(head / (s.heads / s.groups)) * parts.tokens + c.row) * room.ld;
    float earlier[EACH][EACH] = {}, sums[EACH][EACH] = {};
    multiply_tile<true>(
        &shared, s.d_state, s.d_state,
        [&](int row, int n) { return row < rows ? ssd_rounded(&s, c.h.C[(t0 + row) * s.ldbc + n]) : 0; },
        [&](int n, int column) {
            return channel0 + column < s.head_dim ? state[n * c.h.ld_state + channel0 + column] : 0;
        },
        earlier);
    multiply_tile<true>(
        &shared, t0 + rows, t0,
        [&](int row, int k) {
            if (row >= rows || k > t0 + row) return 0.0f;
            return ssd_weight(&s, CB[(t0 + row) * room.ld + k], c.h.dA[(t0 + row) * c.h.ld_heads],
                              c.h.dA[k * c.h.ld_heads], c.h.delta[k * c.h.ld_heads]);
        },
        [&](int k, int column) {
            return channel0 + column < s.head_dim ? ssd_rounded(&s, c.h.u[k * s.ldu + channel0 + column]) : 0;
        },
        sums);
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

// ---- gated norm ----

enum { NORM_SHARED = 48 << 10, NORM_ROWS = 8 };

// A warp has a row, which stands in shared memory or, where it is too long, in `out`: 16 lanes sum it.
static __global__ void gate_rows(struct gated_norm n, int rows, int near)
{
    extern __shared__ float rows_near[];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP,
              row = blockIdx.x * (blockDim.x / WARP) + warp, width = n.width / n.parts;
    if (row >= rows) return;
    const float *y = n.y + row * n.ldy, *z = n.z + row * n.ldz;
    float *out = n.out + row * n.ldo, *v = near ? rows_near + warp * near : out;
    for (int i = lane; i < n.width; i += WARP)
        v[i] = gate_before(&n, y[i], z[i]);
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
        for (int i = first + lane; i < first + width; i += WARP)
            out[i] = gate_behind(&n, v[i], root, n.weight[i], z[i]);
    }
}

void device_gated_norm(device_stream stream, const struct gated_norm *n, int rows)
{
    const size_t row_bytes = (size_t)n->width * sizeof(float);
    const int fit = (int)(NORM_SHARED / row_bytes);
    const int together = fit == 0 ? 1 : fit < NORM_ROWS ? fit : NORM_ROWS;
    const size_t near = fit ? (size_t)together * row_bytes : 0;
    gate_rows<<<blocks_of(rows, together), (unsigned)(WARP * together), near, stream>>>(*n, rows,
                                                                                        fit ? n->width : 0);
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
