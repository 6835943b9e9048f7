// SPDX-License-Identifier: Apache-2.0
// Selective scans.  Sequential: threads have a channel, its states in registers.  Blocked: the lanes of
// docs/numerics.md are threads.
#include "lane.cuh"

#include <cuda_pipeline.h>

// The scan of one sample of a batch.
static __device__ __forceinline__ void begin_at(struct scan *s, int row, int length)
{
    struct scan_operand *const all[] = {&s->u, &s->dt, &s->z};
    for (int i = 0; i < 3; i++) {
        if (all[i]->values)
            all[i]->values += row * all[i]->ld;
        else
            all[i]->codes += row * all[i]->ld;
    }
    s->B += row * s->ld_bc;
    s->C += row * s->ld_bc;
    s->y += row * s->ldy;
    s->length = length;
}

// ---- sequential ----

enum { CHUNK = 64, ANY_THREADS = 128 }; // steps of B and C that a block shares

// From shared memory.
template <int COUNT> static __device__ __forceinline__ void take(const float *from, float *to)
{
#pragma unroll
    for (int i = 0; i < COUNT; i += 4) {
        const float4 v = *(const float4 *)(from + i);
        to[i] = v.x, to[i + 1] = v.y, to[i + 2] = v.z, to[i + 3] = v.w;
    }
}

enum { CHANNELS = 64, GROUP = 2 }; // steps whose loads are under way at once

struct shared_bc {
    float B[CHUNK][SCAN_STATES], C[CHUNK][SCAN_STATES];
};

// B and C of a chunk on their way into shared memory.
static __device__ __forceinline__ void fetch_bc(const struct scan &s, int t0, struct shared_bc *to)
{
    const int steps = s.length - t0 < CHUNK ? s.length - t0 : CHUNK;
#pragma unroll
    for (int i = threadIdx.x; i < CHUNK * (SCAN_STATES / 4); i += CHANNELS) {
        const int t = i / (SCAN_STATES / 4), n = i % (SCAN_STATES / 4) * 4;
        if (t >= steps) break;
        __pipeline_memcpy_async(&to->B[t][n], s.B + (t0 + t) * s.ld_bc + n, 16);
        __pipeline_memcpy_async(&to->C[t][n], s.C + (t0 + t) * s.ld_bc + n, 16);
    }
}

// An element of an operand as it is in memory, and its value: in between, the load is under way.
static __device__ __forceinline__ int operand_load(const struct scan_operand &o, long row, int channel)
{
    const long at = row * o.ld + channel;
    return o.values ? __float_as_int(o.values[at]) : o.codes[at];
}

static __device__ __forceinline__ float operand_value(const struct scan_operand &o, int raw)
{
    return o.values ? __int_as_float(raw) : (float)raw * o.scale;
}

// y silu(z)
static __device__ __forceinline__ float gated(const struct scan &s, float y, int raw_z)
{
    const float v = y * vf_silu(operand_value(s.z, raw_z));
    return s.half ? vf_round_half(v) : v;
}

// Steps of a channel; those behind the last are the last once more.
struct raw_group {
    int dt[GROUP], u[GROUP], z[GROUP];
};
struct group {
    float delta[GROUP], u[GROUP], y[GROUP];
};

static __device__ __forceinline__ void load_group(const struct scan &s, int t0, int channel,
                                                  struct raw_group *raw)
{
#pragma unroll
    for (int i = 0; i < GROUP; i++) {
        const int t = t0 + i < s.length ? t0 + i : s.length - 1;
        raw->dt[i] = operand_load(s.dt, t, channel);
        raw->u[i] = operand_load(s.u, t, channel);
        raw->z[i] = operand_load(s.z, t, channel);
    }
}

// near: as scan_states() has it.
template <int NEAR>
static __device__ __forceinline__ void run_group(const struct shared_bc &bc, int t, int steps, const float *A,
                                                 float skip, float *state, struct group *g)
{
#pragma unroll
    for (int i = 0; i < GROUP; i++) {
        if (!NEAR && i >= steps) break;
        float B[SCAN_STATES], C[SCAN_STATES];
        take<SCAN_STATES>(bc.B[t + i], B);
        take<SCAN_STATES>(bc.C[t + i], C);
        const float sum =
            scan_states(SCAN_STATES, NEAR, A, B, C, g->delta[i], g->delta[i] * g->u[i], state, 0);
        g->y[i] = vf_fma(skip, g->u[i], sum);
    }
}

static __global__ void __launch_bounds__(CHANNELS, 6) scan16(struct scan s, struct parts parts)
{
    __shared__ __align__(16) struct shared_bc shared[2];
    const int own = blockIdx.x * CHANNELS + threadIdx.x, sample = blockIdx.y;
    const bool mine = own < s.ld_inner;
    const int channel = mine ? own : (int)s.ld_inner - 1; // which is computed once more
    float A[SCAN_STATES], state[SCAN_STATES], lowest = 0;
    struct raw_group next;
    begin_at(&s, parts.firsts ? parts.firsts[sample] : 0, part_length(parts, sample));
#pragma unroll
    for (int n = 0; n < SCAN_STATES; n++) {
        A[n] = s.A[n * s.ld_inner + channel], state[n] = 0;
        lowest = vf_min(A[n], lowest);
    }
    const float skip = s.D[channel], bias = s.dt_bias[channel];
    fetch_bc(s, 0, &shared[0]);
    __pipeline_commit();
    load_group(s, 0, channel, &next);
    for (int t0 = 0, at = 0; t0 < s.length; t0 += CHUNK, at ^= 1) {
        const int t1 = t0 + CHUNK < s.length ? t0 + CHUNK : s.length;
        __pipeline_wait_prior(0);
        __syncthreads();
        fetch_bc(s, t0 + CHUNK, &shared[at ^ 1]);
        __pipeline_commit();
        for (int t = t0; t < t1; t += GROUP) {
            const struct raw_group raw = next;
            const int steps = t1 - t;
            struct group now = {};
            bool near = steps >= GROUP; // and is each delta A within [-87, 0]?  NaN is not
            load_group(s, t + GROUP, channel, &next);
#pragma unroll
            for (int i = 0; i < GROUP; i++) {
                now.delta[i] = vf_softplus(operand_value(s.dt, raw.dt[i]) + bias);
                now.u[i] = operand_value(s.u, raw.u[i]);
                near = near && now.delta[i] * lowest >= -87.0f;
            }
            if (near)
                run_group<1>(shared[at], t - t0, steps, A, skip, state, &now);
            else
                run_group<0>(shared[at], t - t0, steps, A, skip, state, &now);
#pragma unroll
            for (int i = 0; i < GROUP; i++) {
                const float v = gated(s, now.y[i], raw.z[i]);
                if (mine && i < steps) s.y[(t + i) * s.ldy + channel] = v;
            }
        }
    }
    if (!s.last_state || !mine) return;
    s.last_state += (long)sample * SCAN_STATES * s.ld_inner;
#pragma unroll
    for (int n = 0; n < SCAN_STATES; n++)
        s.last_state[n * s.ld_inner + channel] = state[n];
}

// Any number of states: they lie in `home`.
static __global__ void __launch_bounds__(ANY_THREADS) scan_any(struct scan s, struct parts parts, float *home)
{
    const int channel = blockIdx.x * ANY_THREADS + threadIdx.x, sample = blockIdx.y;
    if (channel >= s.ld_inner) return;
    begin_at(&s, parts.firsts ? parts.firsts[sample] : 0, part_length(parts, sample));
    float *state = home + (long)sample * s.d_state * s.ld_inner + channel;
    for (int n = 0; n < s.d_state; n++)
        state[n * s.ld_inner] = 0;
    for (int t = 0; t < s.length; t++) {
        float delta, u, sum = 0;
        scan_prepare(&s, t, t + 1, channel, &delta, &u);
        const float du = delta * u;
        for (int n = 0; n < s.d_state; n++) {
            const float decay = vf_exp(delta * s.A[n * s.ld_inner + channel]);
            const float v = vf_fma(decay, state[n * s.ld_inner], du * s.B[t * s.ld_bc + n]);
            state[n * s.ld_inner] = v;
            sum = vf_fma(v, s.C[t * s.ld_bc + n], sum);
        }
        const float y = vf_fma(s.D[channel], u, sum);
        scan_gate(&s, t, t + 1, channel, &y);
    }
    for (int n = 0; s.last_state && n < s.d_state; n++)
        s.last_state[((long)sample * s.d_state + n) * s.ld_inner + channel] = state[n * s.ld_inner];
}

void device_scan(device_stream stream, const struct scan *scan, const struct parts *parts, float *home)
{
    const unsigned samples = (unsigned)parts->samples;
    if (scan->d_state == SCAN_STATES)
        scan16<<<dim3(blocks_of(scan->ld_inner, CHANNELS), samples), CHANNELS, 0, stream>>>(*scan, *parts);
    else
        scan_any<<<dim3(blocks_of(scan->ld_inner, ANY_THREADS), samples), ANY_THREADS, 0, stream>>>(
            *scan, *parts, home);
}

// ---- blocked ----

enum { BLOCKED_THREADS = 256, SHARED_STEPS = 2048 };

// LANES of docs/numerics.md with ITEMS steps each; a block has as many channels as there are threads for.
template <int LANES_, int ITEMS_> struct blocked_shape {
    enum {
        LANES = LANES_,
        ITEMS = ITEMS_,
        STEPS = LANES * ITEMS,
        CHANNELS = BLOCKED_THREADS / LANES,
        TOGETHER = SHARED_STEPS / STEPS, // states whose B and C are there at once
        LD = LANES *
             (ITEMS + 1) // steps, with a place more behind those of each lane: lanes are in other banks
    };
    float turned[CHANNELS *
                 LD]; // between threads that load neighbouring channels and those with neighbouring steps
    float B[2][TOGETHER * LD], C[2][TOGETHER * LD];
    float a[BLOCKED_THREADS / WARP], b[BLOCKED_THREADS / WARP]; // the map of each warp
};

// Where a block stands.
struct place {
    int channel0, t0, left; // left: steps up to the end of the sample
};

// The steps of one thread.
template <int ITEMS> struct own_steps {
    float delta[ITEMS], du[ITEMS], y[ITEMS];
    float a[ITEMS], b[ITEMS]; // the maps of the state at hand
    bool usual;               // are all steps there, and is each delta A within [-87, 0]?
};

template <class S> static __device__ __forceinline__ int turned_at(int which, int t)
{
    return which * S::LD + t + t / S::ITEMS;
}

// Steps of a block as they are loaded: a channel of its own for each thread, LANES apart.  Behind the last
// step it is the last.
template <class S>
static __device__ __forceinline__ void load_items(const struct scan &s, const struct scan_operand &o,
                                                  const struct place &p, int (&raw)[S::ITEMS])
{
    const int channel = p.channel0 + threadIdx.x % S::CHANNELS;
#pragma unroll
    for (int i = 0; i < S::ITEMS; i++) {
        const int t = threadIdx.x / S::CHANNELS + i * S::LANES;
        raw[i] = operand_load(o, p.t0 + (t < p.left ? t : p.left - 1), channel);
    }
}

template <class S> static __device__ __forceinline__ float *turned_item(S *shared, int i)
{
    return &shared->turned[turned_at<S>(threadIdx.x % S::CHANNELS, threadIdx.x / S::CHANNELS + i * S::LANES)];
}

template <class S>
static __device__ __forceinline__ void start_steps(const struct scan &s, const struct place &p, int which,
                                                   int lane, float lowest, S *shared,
                                                   struct own_steps<S::ITEMS> *own)
{
    const float skip = s.D[p.channel0 + which], bias = s.dt_bias[p.channel0 + threadIdx.x % S::CHANNELS];
    const float *mine = &shared->turned[turned_at<S>(which, lane * S::ITEMS)];
    int dt[S::ITEMS], u[S::ITEMS];
    load_items<S>(s, s.dt, p, dt);
    load_items<S>(s, s.u, p, u);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < S::ITEMS; i++)
        *turned_item(shared, i) = vf_softplus(operand_value(s.dt, dt[i]) + bias);
    __syncthreads();
    own->usual = p.left - lane * S::ITEMS >= S::ITEMS;
#pragma unroll
    for (int i = 0; i < S::ITEMS; i++) {
        own->delta[i] = mine[i];
        own->usual = own->usual && mine[i] * lowest >= -87.0f; // NaN is not
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < S::ITEMS; i++)
        *turned_item(shared, i) = operand_value(s.u, u[i]);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < S::ITEMS; i++) {
        own->y[i] = mine[i] * skip;
        own->du[i] = own->delta[i] * mine[i];
    }
}

// y silu(z) of the block, by channels.
template <class S>
static __device__ __forceinline__ void finish_steps(const struct scan &s, const struct place &p, int which,
                                                    int lane, S *shared,
                                                    const struct own_steps<S::ITEMS> &own)
{
    const int channel = p.channel0 + threadIdx.x % S::CHANNELS;
    int z[S::ITEMS];
    load_items<S>(s, s.z, p, z);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < S::ITEMS; i++)
        shared->turned[turned_at<S>(which, lane * S::ITEMS) + i] = own.y[i];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < S::ITEMS; i++) {
        const int t = threadIdx.x / S::CHANNELS + i * S::LANES;
        if (t < p.left) s.y[(p.t0 + t) * s.ldy + channel] = gated(s, *turned_item(shared, i), z[i]);
    }
}

// B and C of the states from n on, on their way.
template <class S>
static __device__ __forceinline__ void fetch_some(const struct scan &s, const struct place &p, int n,
                                                  S *shared)
{
    const int buffer = n / S::TOGETHER % 2;
#pragma unroll
    for (int i = 0; i < S::STEPS * S::TOGETHER / BLOCKED_THREADS; i++) {
        const int at = i * BLOCKED_THREADS + threadIdx.x, t = at / S::TOGETHER, k = at % S::TOGETHER;
        const long from = (p.t0 + t) * s.ld_bc + n + k;
        if (t >= p.left || n + k >= s.d_state) continue;
        __pipeline_memcpy_async(&shared->B[buffer][turned_at<S>(k, t)], s.B + from, 4);
        __pipeline_memcpy_async(&shared->C[buffer][turned_at<S>(k, t)], s.C + from, 4);
    }
    __pipeline_commit();
}

// The affine map of the steps of a thread; those from `steps` on are none.
template <int ITEMS, int USUAL>
static __device__ __forceinline__ void reduce_steps(int steps, float A, const float *B,
                                                    struct own_steps<ITEMS> *own, float *ga, float *gb)
{
    *ga = 1, *gb = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        if (!USUAL && i >= steps) break;
        const float x = own->delta[i] * A;
        own->a[i] = USUAL ? vf_exp_near(x) : vf_exp(x);
        own->b[i] = B[i] * own->du[i];
        *gb = i ? vf_fma(own->a[i], *gb, own->b[i]) : own->b[i];
        *ga = i ? own->a[i] * *ga : own->a[i];
    }
}

// Kogge-Stone in a warp, then the warps in order; gives the state in front of the thread's steps and moves
// *carry behind the block.
template <class S>
static __device__ __forceinline__ float scan_lanes(S *shared, float a, float b, float *carry)
{
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int warps = S::LANES / WARP, first = warp / warps * warps;
#pragma unroll
    for (int offset = 1; offset < WARP; offset *= 2) {
        const float a0 = __shfl_up_sync(0xffffffffu, a, offset), b0 = __shfl_up_sync(0xffffffffu, b, offset);
        if (lane >= offset) {
            b = vf_fma(a, b0, b);
            a = a * a0;
        }
    }
    float state = *carry, mine = state;
    if (warps == 1) {
        const float last_a = __shfl_sync(0xffffffffu, a, WARP - 1),
                    last_b = __shfl_sync(0xffffffffu, b, WARP - 1);
        *carry = vf_fma(last_a, state, last_b);
    } else {
        __syncthreads();
        if (lane == WARP - 1) shared->a[warp] = a, shared->b[warp] = b;
        __syncthreads();
        for (int w = first; w < first + warps; w++) {
            if (w == warp) mine = state;
            state = vf_fma(shared->a[w], state, shared->b[w]);
        }
        *carry = state;
    }
    const float a0 = __shfl_up_sync(0xffffffffu, a, 1), b0 = __shfl_up_sync(0xffffffffu, b, 1);
    return lane == 0 ? mine : vf_fma(a0, mine, b0);
}

template <int ITEMS, int USUAL>
static __device__ __forceinline__ void replay_steps(int steps, float state, const float *C,
                                                    struct own_steps<ITEMS> *own)
{
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        if (!USUAL && i >= steps) break;
        state = vf_fma(own->a[i], state, own->b[i]);
        own->y[i] = vf_fma(state, C[i], own->y[i]);
    }
}

// Threads are [channel][lane].
template <int LANES, int ITEMS>
static __global__ void __launch_bounds__(BLOCKED_THREADS, 2) scan_blocks(struct scan s, struct parts parts)
{
    typedef blocked_shape<LANES, ITEMS> S;
    extern __shared__ __align__(16) char room[];
    S *const shared = (S *)room;
    float *const carries = (float *)(shared + 1); // [d_state][channels]
    struct place p = {(int)blockIdx.x * S::CHANNELS};
    const int which = threadIdx.x / LANES, lane = threadIdx.x % LANES, sample = blockIdx.y;
    const int length = part_length(parts, sample);
    int its_lanes, its_items;
    scan_shape(length, &its_lanes, &its_items);
    if (its_lanes != LANES || its_items != ITEMS) return; // another launch has this sample
    begin_at(&s, parts.firsts ? parts.firsts[sample] : 0, length);
    for (int i = threadIdx.x; i < s.d_state * S::CHANNELS; i += BLOCKED_THREADS)
        carries[i] = 0;
    float lowest = 0;
    for (int n = 0; n < s.d_state; n++)
        lowest = vf_min(s.A[n * s.ld_inner + p.channel0 + which], lowest);
    for (p.t0 = 0; p.t0 < length; p.t0 += S::STEPS) {
        struct own_steps<ITEMS> own;
        p.left = length - p.t0;
        const int steps = p.left - lane * ITEMS; // those from ITEMS on are not this thread's
        fetch_some(s, p, 0, shared);
        start_steps(s, p, which, lane, lowest, shared, &own);
        for (int n = 0; n < s.d_state; n++) {
            float a, b, carry = carries[n * S::CHANNELS + which];
            if (n % S::TOGETHER == 0) {
                __pipeline_wait_prior(0);
                __syncthreads();
                fetch_some(s, p, n + S::TOGETHER, shared);
            }
            const int buffer = n / S::TOGETHER % 2, at = turned_at<S>(n % S::TOGETHER, lane * ITEMS);
            const float A = s.A[n * s.ld_inner + p.channel0 + which];
            if (own.usual)
                reduce_steps<ITEMS, 1>(steps, A, shared->B[buffer] + at, &own, &a, &b);
            else
                reduce_steps<ITEMS, 0>(steps, A, shared->B[buffer] + at, &own, &a, &b);
            const float prefix = scan_lanes(shared, a, b, &carry);
            if (own.usual)
                replay_steps<ITEMS, 1>(steps, prefix, shared->C[buffer] + at, &own);
            else
                replay_steps<ITEMS, 0>(steps, prefix, shared->C[buffer] + at, &own);
            __syncwarp(); // all have read it
            if (lane == 0) carries[n * S::CHANNELS + which] = carry;
        }
        finish_steps(s, p, which, lane, shared, own);
    }
}

template <int LANES, int ITEMS>
static void launch_blocks(device_stream stream, const struct scan *scan, const struct parts *parts)
{
    typedef blocked_shape<LANES, ITEMS> S;
    const dim3 grid((unsigned)(scan->ld_inner / S::CHANNELS), (unsigned)parts->samples);
    const size_t bytes = sizeof(S) + (size_t)(scan->d_state * S::CHANNELS) * sizeof(float);
    launch(scan_blocks<LANES, ITEMS>, grid, BLOCKED_THREADS, bytes, stream, *scan, *parts);
}

void device_scan_blocked(device_stream stream, const struct scan *scan, const struct parts *parts, int lanes,
                         int items)
{
    if (lanes == 32 && items == 4)
        launch_blocks<32, 4>(stream, scan, parts);
    else if (lanes == 32 && items == 8)
        launch_blocks<32, 8>(stream, scan, parts);
    else if (lanes == 32)
        launch_blocks<32, 16>(stream, scan, parts);
    else if (lanes == 64)
        launch_blocks<64, 16>(stream, scan, parts);
    else
        launch_blocks<SCAN_MAX_LANES, 16>(stream, scan, parts);
}
