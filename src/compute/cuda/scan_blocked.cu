// SPDX-License-Identifier: Apache-2.0
// The blocked selective scan: the lanes of docs/numerics.md are threads.
#include "scan.cuh"

// LANES of docs/numerics.md with ITEMS steps each; a block has as many channels as there are threads for, and
// goes from some to the next.  B and C lie by states, of as many as there is room for; step t is at
// blocked_place(t), where four neighbours stay together and lanes are in different banks.
template <int LANES_, int ITEMS_> struct blocked_shape {
    enum {
        LANES = LANES_,
        ITEMS = ITEMS_,
        STEPS = LANES * ITEMS,
        THREADS = LANES > 64 ? 512 : 256,
        CHANNELS = THREADS / LANES,
        QUADS = CHANNELS / 4,
        EACH = STEPS * QUADS / THREADS, // quads of a thread
        FOURS = ITEMS / 4,
        TOGETHER = STEPS < 512 ? 16 : 8192 / STEPS, // states
        MANY = LANES == SCAN_MAX_LANES,             // a sample may have more than one block of steps
        LD = STEPS + 4
    };
    float delta[CHANNELS * LD], u[CHANNELS * LD]; // delta: then y
    float B[TOGETHER * STEPS], C[TOGETHER * STEPS];
    float a[THREADS / WARP], b[THREADS / WARP]; // the map of each warp
};

template <class S> static __device__ __forceinline__ int blocked_place(int t)
{
    return t ^ (t / 32 % S::FOURS * 4);
}

// Where a block stands.
struct place {
    int channel0, t0, left; // left: steps up to the end of the sample
};

// The steps of one thread.
template <class S> struct own_steps {
    float delta[S::ITEMS], du[S::ITEMS], y[S::ITEMS];
    int at[S::FOURS]; // blocked_place() of each four
};

template <class S> static __device__ __forceinline__ void quad_steps(const struct place &p, int (&t)[S::EACH])
{
#pragma unroll
    for (int i = 0; i < S::EACH; i++)
        t[i] = (int)(threadIdx.x + i * S::THREADS) / S::QUADS;
}

// delta and u of the block's steps; those that are not there are 0, and change nothing in front of them.
template <class S>
static __device__ __forceinline__ void prepare_steps(const struct scan &s, const struct place &p, S *shared)
{
    const int quad = threadIdx.x % S::QUADS * 4;
    int t[S::EACH];
    struct quad raw_dt[S::EACH] = {}, raw_u[S::EACH] = {};
    struct source dt = source_of(s.dt, p.channel0 + quad), u = source_of(s.u, p.channel0 + quad);
    float bias[4];
    dt.at += (long)p.t0 * dt.ld, u.at += (long)p.t0 * u.ld;
    quad_steps<S>(p, t);
    load_quads(dt, t, p.left, raw_dt);
    load_quads(u, t, p.left, raw_u);
    load_four(s.dt_bias + p.channel0 + quad, bias);
#pragma unroll
    for (int i = 0; i < S::EACH; i++) {
        float delta[4], values[4];
        delta_of(dt, raw_dt[i], bias, delta);
        quad_values(u, raw_u[i], values);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int at = (quad + e) * S::LD + blocked_place<S>(t[i]);
            shared->delta[at] = t[i] < p.left ? delta[e] : 0;
            shared->u[at] = t[i] < p.left ? values[e] : 0;
        }
    }
}

// B and C of the states from n on.  Behind the last step it is the last.
template <class S>
static __device__ __forceinline__ void load_states(const struct scan &s, const struct place &p, int n,
                                                   S *shared)
{
    const int states = min((int)S::TOGETHER, round_up16(s.d_state) - n);
    for (int i = threadIdx.x; i < states / 4 * S::STEPS; i += S::THREADS) {
        const int t = i % S::STEPS, k = i / S::STEPS * 4;
        const long from = (p.t0 + min(t, p.left - 1)) * s.ld_bc + n + k;
        float B[4], C[4];
        load_four(s.B + from, B);
        load_four(s.C + from, C);
#pragma unroll
        for (int e = 0; e < 4; e++) {
            shared->B[(k + e) * S::STEPS + blocked_place<S>(t)] = B[e];
            shared->C[(k + e) * S::STEPS + blocked_place<S>(t)] = C[e];
        }
    }
}

template <class S>
static __device__ __forceinline__ void take_steps(const float *from, const int (&at)[S::FOURS],
                                                  float (&to)[S::ITEMS])
{
#pragma unroll
    for (int k = 0; k < S::FOURS; k++)
        load_four(from + at[k], to + 4 * k);
}

// Takes the thread's steps; is each delta A of its warp, or its block, within [-87, 0]?
template <class S>
static __device__ __forceinline__ bool start_steps(const struct scan &s, int channel, const float *delta,
                                                   const float *u, struct own_steps<S> *own)
{
    const float skip = s.D[channel];
    float lowest = 0;
    bool near = true;
    for (int n = threadIdx.x % WARP; n < s.d_state; n += WARP)
        lowest = vf_min(s.A[n * s.ld_inner + channel], lowest);
    for (int offset = WARP / 2; offset > 0; offset /= 2)
        lowest = vf_min(__shfl_xor_sync(0xffffffffu, lowest, offset), lowest);
    take_steps<S>(delta, own->at, own->delta);
    take_steps<S>(u, own->at, own->du);
#pragma unroll
    for (int i = 0; i < S::ITEMS; i++) {
        own->y[i] = own->du[i] * skip;
        own->du[i] = own->delta[i] * own->du[i];
        near = near & (own->delta[i] * lowest >= -87.0f); // NaN is not
    }
    return S::LANES > WARP ? __syncthreads_and(near) : __all_sync(0xffffffffu, near);
}

// Kogge-Stone in a warp, then the warps in order; gives the state in front of the thread's steps and moves
// *carry behind the block, where there are more warps.
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
    if (warps > 1) {
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

// One state, with B and C of it.
template <class S, int NEAR>
static __device__ __forceinline__ void run_state(S *shared, float A, const float *all_B, const float *all_C,
                                                 struct own_steps<S> *own, float *carry)
{
    float a[S::ITEMS], b[S::ITEMS], ga, gb;
    take_steps<S>(all_B, own->at, b);
#pragma unroll
    for (int i = 0; i < S::ITEMS; i++) {
        const float x = own->delta[i] * A;
        a[i] = NEAR ? vf_exp_near(x) : vf_exp(x);
        b[i] = b[i] * own->du[i];
        gb = i ? vf_fma(a[i], gb, b[i]) : b[i];
        ga = i ? a[i] * ga : a[i];
    }
    float state = scan_lanes(shared, ga, gb, carry), C[S::ITEMS];
    take_steps<S>(all_C, own->at, C);
#pragma unroll
    for (int i = 0; i < S::ITEMS; i++) {
        state = vf_fma(a[i], state, b[i]);
        own->y[i] = vf_fma(state, C[i], own->y[i]);
    }
}

// The states from n on whose B and C are there.
template <class S, int NEAR>
static __device__ __forceinline__ void run_states(const struct scan &s, S *shared, float *carries, int n,
                                                  int channel, struct own_steps<S> *own)
{
    const int states = min((int)S::TOGETHER, s.d_state - n), which = threadIdx.x / S::LANES;
    const float *A = s.A + n * s.ld_inner + channel;
    float next = *A;
#pragma unroll 1
    for (int k = 0; k < states; k++) {
        const float now = next;
        float *at = carries + (n + k) * S::CHANNELS + which, carry = S::MANY ? *at : 0;
        if (k + 1 < states) next = *(A += s.ld_inner);
        run_state<S, NEAR>(shared, now, shared->B + k * S::STEPS, shared->C + k * S::STEPS, own, &carry);
        if (S::MANY) {
            __syncthreads(); // all have read it
            if (threadIdx.x % S::LANES == 0) *at = carry;
        }
    }
}

// y of the thread's steps to where delta was, then y silu(z) of the block.
template <class S>
static __device__ __forceinline__ void leave_steps(const struct scan &s, const struct place &p, S *shared,
                                                   const struct own_steps<S> &own)
{
    const int quad = threadIdx.x % S::QUADS * 4, channel = p.channel0 + quad;
    float *mine = shared->delta + threadIdx.x / S::LANES * S::LD;
    struct source z = source_of(s.z, channel);
    const struct target to = {(char *)(s.y + p.t0 * s.ldy + channel), (int)s.ldy * 4, s.half};
    struct quad raw[S::EACH] = {};
    int t[S::EACH];
    z.at += (long)p.t0 * z.ld;
    quad_steps<S>(p, t);
    load_quads(z, t, p.left, raw);
#pragma unroll
    for (int k = 0; k < S::FOURS; k++)
        *(float4 *)(mine + own.at[k]) =
            make_float4(own.y[4 * k], own.y[4 * k + 1], own.y[4 * k + 2], own.y[4 * k + 3]);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < S::EACH; i++) {
        const float *from = shared->delta + quad * S::LD + blocked_place<S>(t[i]);
        const float y[4] = {from[0], from[S::LD], from[2 * S::LD], from[3 * S::LD]};
        if (t[i] < p.left) leave_quad(to, t[i], y, z, raw[i]);
    }
}

// Threads are [channel][lane]; turns: channels that a block has one after the other.
template <class S>
static __global__ void __launch_bounds__(S::THREADS, 512 / S::THREADS)
    scan_blocks(struct scan s, struct parts parts, int turns)
{
    extern __shared__ __align__(16) char room[];
    S *const shared = (S *)room;
    float *const carries = (float *)(shared + 1); // [d_state][channels]
    const int which = threadIdx.x / S::LANES, lane = threadIdx.x % S::LANES, sample = blockIdx.y;
    const int length = part_length(parts, sample);
    int its_lanes, its_items;
    scan_shape(length, &its_lanes, &its_items);
    if (its_lanes != S::LANES || its_items != S::ITEMS) return; // another launch has this sample
    begin_at(&s, parts.firsts ? parts.firsts[sample] : 0, length);
    const bool stay = s.d_state <= S::TOGETHER && length <= S::STEPS; // B and C, for all channels
    struct own_steps<S> own;
#pragma unroll
    for (int k = 0; k < S::FOURS; k++)
        own.at[k] = blocked_place<S>(lane * S::ITEMS + 4 * k);
    for (int turn = 0; turn < turns; turn++) {
        struct place p = {((int)blockIdx.x * turns + turn) * S::CHANNELS};
        if (p.channel0 >= s.ld_inner) return;
        for (int i = threadIdx.x; S::MANY && i < s.d_state * S::CHANNELS; i += S::THREADS)
            carries[i] = 0;
        for (p.t0 = 0; p.t0 < length; p.t0 += S::STEPS) {
            p.left = length - p.t0;
            prepare_steps(s, p, shared);
            if (turn == 0 || !stay) load_states(s, p, 0, shared);
            __syncthreads();
            const bool near = start_steps<S>(s, p.channel0 + which, shared->delta + which * S::LD,
                                             shared->u + which * S::LD, &own);
            for (int n = 0; n < s.d_state; n += S::TOGETHER) {
                if (n > 0) {
                    __syncthreads();
                    load_states(s, p, n, shared);
                    __syncthreads();
                }
                if (near)
                    run_states<S, 1>(s, shared, carries, n, p.channel0 + which, &own);
                else
                    run_states<S, 0>(s, shared, carries, n, p.channel0 + which, &own);
            }
            leave_steps(s, p, shared, own);
        }
    }
}

enum { ENOUGH_BLOCKS = 1024 }; // to fill a device

template <int LANES, int ITEMS>
static void launch_blocks(device_stream stream, const struct scan *scan, const struct parts *parts)
{
    typedef blocked_shape<LANES, ITEMS> S;
    const long blocks = blocks_of(scan->ld_inner, S::CHANNELS) * (long)parts->samples;
    const int turns = blocks >= 2 * ENOUGH_BLOCKS ? 2 : 1;
    const size_t bytes = sizeof(S) + (S::MANY ? (size_t)(scan->d_state * S::CHANNELS) * sizeof(float) : 0);
    launch(scan_blocks<S>, dim3(blocks_of(scan->ld_inner, S::CHANNELS * turns), (unsigned)parts->samples),
           S::THREADS, bytes, stream, *scan, *parts, turns);
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
