// SPDX-License-Identifier: Apache-2.0
// The sequential selective scan: a channel's states are with one thread or with several, each a little behind
// the one in front of it.
#include "scan.cuh"

// PARTS threads have a channel's states between them, and a block has CHANNELS channels.  Part p is p groups
// of GROUP steps behind part 0, whose sums over states go from part to part: they are those of one thread.
// Steps come in chunks of STEPS: the block prepares one, its threads go through it, and the block leaves what
// is known by then.  With more than one part the chunk before it is still there.
template <int PARTS_, int STEPS_, int CHANNELS_, int GROUP_, int BLOCKS_> struct split {
    enum {
        PARTS = PARTS_,
        STEPS = STEPS_,
        CHANNELS = CHANNELS_,
        GROUP = GROUP_,
        BLOCKS = BLOCKS_, // on a processor
        STATES = SCAN_STATES / PARTS,
        THREADS = CHANNELS * PARTS,
        CHUNKS = PARTS > 1 ? 2 : 1,
        BEHIND = (PARTS - 1) * GROUP, // steps, of the last part
        GROUPS = CHUNKS * (STEPS / GROUP),
        QUADS = CHANNELS / 4,
        QUAD_STEPS = THREADS / QUADS,    // that the block takes at once
        EACH = STEPS / QUAD_STEPS,       // quads of a thread
        APART = WARP / PARTS,            // channels of a warp
        PAD = PARTS > 1 ? 2 * APART : 0, // floats: parts are in other banks
        LD = GROUP * CHANNELS * 2 + PAD, // of a group of steps
        BC = 2 * SCAN_STATES,            // B and C of a step
        BC_STEPS = THREADS / (BC / 4),   // that the block takes at once
        BC_EACH = (STEPS + BC_STEPS - 1) / BC_STEPS
    };
    static_assert(BEHIND < STEPS && EACH * QUAD_STEPS == STEPS, "a thread has a step in both chunks");
    float steps[GROUPS * LD]; // delta and u, then y, of each channel
    float bc[CHUNKS * STEPS * BC];
};

// What a thread prepares next.
template <class S> struct next_chunk {
    struct quad dt[S::EACH], u[S::EACH];
    float4 bc[S::BC_EACH];
};

// The operands, as a thread loads them.
struct sources {
    struct source dt, u, z;
    const char *bc;
    int ld_bc, length;
    float bias[4];
};

template <class S>
static __device__ __forceinline__ struct sources sources_of(const struct scan &s, int channel)
{
    const float *bc = (threadIdx.x & SCAN_STATES / 4 ? s.C : s.B) + threadIdx.x % (SCAN_STATES / 4) * 4;
    struct sources from = {source_of(s.dt, channel), source_of(s.u, channel), source_of(s.z, channel),
                           (const char *)bc,         (int)s.ld_bc * 4,        s.length};
    load_four(s.dt_bias + channel, from.bias);
    return from;
}

template <class S> static __device__ __forceinline__ int quad_step(int i)
{
    return threadIdx.x / S::QUADS + i * S::QUAD_STEPS;
}

// delta and u of a step, which counts from the first chunk that is there.
template <class S> static __device__ __forceinline__ float *step_at(S *shared, int step, int channel)
{
    return shared->steps + step / S::GROUP * S::LD + step % S::GROUP * (S::CHANNELS * 2) + channel * 2;
}

template <class S>
static __device__ __forceinline__ void load_chunk(const struct sources &from, int t0,
                                                  struct next_chunk<S> *to)
{
    int t[S::EACH];
#pragma unroll
    for (int i = 0; i < S::EACH; i++)
        t[i] = t0 + quad_step<S>(i);
    load_quads(from.dt, t, from.length, to->dt);
    load_quads(from.u, t, from.length, to->u);
#pragma unroll
    for (int i = 0; i < S::BC_EACH; i++) {
        const int step = t0 + (int)threadIdx.x / (S::BC / 4) + i * S::BC_STEPS;
        if (step < from.length) to->bc[i] = *(const float4 *)(from.bc + (long)step * from.ld_bc);
    }
}

template <class S>
static __device__ __forceinline__ void prepare_chunk(const struct sources &from, int chunk,
                                                     const struct next_chunk<S> &raw, S *shared)
{
#pragma unroll
    for (int i = 0; i < S::EACH; i++) {
        float delta[4], u[4];
        delta_of(from.dt, raw.dt[i], from.bias, delta);
        quad_values(from.u, raw.u[i], u);
        float4 *to =
            (float4 *)step_at(shared, chunk * S::STEPS + quad_step<S>(i), threadIdx.x % S::QUADS * 4);
        to[0] = make_float4(delta[0], u[0], delta[1], u[1]);
        to[1] = make_float4(delta[2], u[2], delta[3], u[3]);
    }
#pragma unroll
    for (int i = 0; i < S::BC_EACH; i++) {
        const int at = threadIdx.x + i * S::THREADS;
        if (S::STEPS % S::BC_STEPS == 0 || at < S::STEPS * (S::BC / 4))
            ((float4 *)shared->bc)[chunk * S::STEPS * (S::BC / 4) + at] = raw.bc[i];
    }
}

// The steps that are known when all have gone through the chunk at t0: each thread leaves those that it
// prepared.
template <class S> static __device__ __forceinline__ void known_steps(int t0, int (&t)[S::EACH])
{
#pragma unroll
    for (int i = 0; i < S::EACH; i++) {
        const int step = quad_step<S>(i);
        t[i] = t0 + step - (step >= S::STEPS - S::BEHIND ? S::STEPS : 0);
    }
}

template <class S>
static __device__ __forceinline__ void leave_chunk(const struct sources &from, const struct target &to,
                                                   const int (&t)[S::EACH], const struct quad (&z)[S::EACH],
                                                   S *shared)
{
#pragma unroll
    for (int i = 0; i < S::EACH; i++) {
        if (!to.at || (unsigned)t[i] >= (unsigned)from.length) continue;
        const float *at = step_at(shared, t[i] % (S::CHUNKS * S::STEPS), threadIdx.x % S::QUADS * 4);
        const float4 low = *(const float4 *)at, high = *(const float4 *)(at + 4);
        const float y[4] = {low.y, low.w, high.y, high.w};
        leave_quad(to, t[i], y, from.z, z[i]);
    }
}

// Some states of a channel.
template <class S> struct own_states {
    float A[S::STATES], state[S::STATES];
    float limit;          // of delta, up to which each delta A is within [-87, 0]
    float sums[S::GROUP]; // over the states up to here
};

// On a boundary of as many elements, or of four.
template <int COUNT> static __device__ __forceinline__ void take(const float *from, float (&to)[COUNT])
{
    if (COUNT % 4 == 0) {
#pragma unroll
        for (int i = 0; i < COUNT; i += 4)
            load_four(from + i, to + i);
    } else if (COUNT == 2) {
        const float2 v = *(const float2 *)from;
        to[0] = v.x, to[1] = v.y;
    } else {
        to[0] = from[0];
    }
}

template <class S>
static __device__ __forceinline__ struct own_states<S> states_of(const struct scan &s, int first,
                                                                 int channel) {
    struct own_states<S> own = {
    };
    float lowest = 0;
    bool plain = true;
#pragma unroll
    for (int n = 0; n < S::STATES; n++) {
        own.A[n] = s.A[(first + n) * s.ld_inner + channel];
        plain = plain && own.A[n] >= -1e30f && own.A[n] <= 0; // NaN is not
        lowest = vf_min(own.A[n], lowest);
    }
    own.limit = plain ? fminf(0.999999f * (87.0f / vf_abs(lowest)), 1e30f) : -1;
    return own;
}

// near: as scan_states() has it.
template <class S, int NEAR>
static __device__ __forceinline__ float run_step(const float *bc, float delta, float u,
                                                 struct own_states<S> *own, float sum)
{
    float B[S::STATES], C[S::STATES];
    take(bc, B);
    take(bc + SCAN_STATES, C);
    return scan_states(S::STATES, NEAR, own->A, B, C, delta, delta * u, own->state, sum);
}

// A group of steps from t on, of which some may not be there.  at, bc: what there is of the channel's steps,
// and of B and C of its states.
template <class S>
static __device__ __forceinline__ void run_group(const float *at, const float *bc, int t, int length,
                                                 struct own_states<S> *own, float (&u)[S::GROUP])
{
    float delta[S::GROUP];
    bool near = t >= 0 && t + S::GROUP <= length;
#pragma unroll
    for (int i = 0; i < S::GROUP; i++) {
        const float2 both = *(const float2 *)(at + i * S::CHANNELS * 2);
        delta[i] = both.x, u[i] = both.y;
        near = near & (delta[i] <= own->limit); // NaN is not
    }
    if (near) {
#pragma unroll
        for (int i = 0; i < S::GROUP; i++)
            own->sums[i] = run_step<S, 1>(bc + i * S::BC, delta[i], u[i], own, own->sums[i]);
        return;
    }
#pragma unroll 1
    for (int i = 0; i < S::GROUP; i++) { // in turn, from memory
        const float2 both = *(const float2 *)(at + i * S::CHANNELS * 2);
        float sum = own->sums[0];
        if ((unsigned)(t + i) < (unsigned)length)
            sum = run_step<S, 0>(bc + i * S::BC, both.x, both.y, own, sum);
#pragma unroll
        for (int j = 0; j + 1 < S::GROUP; j++)
            own->sums[j] = own->sums[j + 1];
        own->sums[S::GROUP - 1] = sum;
    }
}

// All steps of the chunk at t0, of a part those that are as much earlier.
template <class S>
static __device__ __forceinline__ void run_chunk(S *shared, int chunk, int t0, int length, int part,
                                                 int own_channel, float skip, struct own_states<S> *own)
{
#pragma unroll 1
    for (int g = 0; g < S::STEPS / S::GROUP; g++) {
        const int group = (chunk * (S::STEPS / S::GROUP) + g - part) & (S::GROUPS - 1);
        float *at = shared->steps + group * S::LD + own_channel * 2;
        const float *bc = shared->bc + group * S::GROUP * S::BC + part * S::STATES;
        float u[S::GROUP];
#pragma unroll
        for (int i = 0; i < S::GROUP; i++) {
            if (S::PARTS > 1) own->sums[i] = __shfl_up_sync(0xffffffffu, own->sums[i], S::APART % WARP);
            if (part == 0) own->sums[i] = 0;
        }
        run_group(at, bc, t0 + (g - part) * S::GROUP, length, own, u);
#pragma unroll
        for (int i = 0; i < S::GROUP; i++)
            if (part == S::PARTS - 1) at[i * S::CHANNELS * 2 + 1] = vf_fma(skip, u[i], own->sums[i]);
    }
}

template <class S>
static __global__ void __launch_bounds__(S::THREADS, S::BLOCKS) scan16(struct scan s, struct parts parts)
{
    __shared__ __align__(16) S shared;
    const int first = blockIdx.x * S::CHANNELS, sample = blockIdx.y, part = threadIdx.x % WARP / S::APART;
    const int own_channel = threadIdx.x / WARP * S::APART + threadIdx.x % S::APART;
    // Those behind the last channel compute others once more.
    const int channel = min(first + own_channel, (int)s.ld_inner - 1);
    const int own_quad = first + (int)threadIdx.x % S::QUADS * 4, quad = min(own_quad, (int)s.ld_inner - 4);
    begin_at(&s, parts.firsts ? parts.firsts[sample] : 0, part_length(parts, sample));
    const struct sources from = sources_of<S>(s, quad);
    const struct target to = {own_quad == quad ? (char *)(s.y + quad) : NULL, (int)s.ldy * 4, s.half};
    const float skip = s.D[channel];
    struct own_states<S> own = states_of<S>(s, part * S::STATES, channel);
    struct next_chunk<S> next = {
    };
    load_chunk(from, 0, &next);
    for (int t0 = 0, chunk = 0; t0 < s.length + S::BEHIND; t0 += S::STEPS, chunk ^= S::CHUNKS - 1) {
        int known[S::EACH];
        struct quad z[S::EACH] = {};
        prepare_chunk(from, chunk, next, &shared);
        __syncthreads();
        load_chunk(from, t0 + S::STEPS, &next);
        known_steps<S>(t0, known);
        load_quads(from.z, known, s.length, z);
        run_chunk(&shared, chunk, t0, s.length, part, own_channel, skip, &own);
        __syncthreads();
        leave_chunk(from, to, known, z, &shared);
    }
    if (!s.last_state || first + own_channel >= s.ld_inner) return;
    s.last_state += ((long)sample * SCAN_STATES + part * S::STATES) * s.ld_inner;
#pragma unroll
    for (int n = 0; n < S::STATES; n++)
        s.last_state[n * s.ld_inner + channel] = own.state[n];
}

enum { ANY_THREADS = 128 };

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

template <class S>
static void launch16(device_stream stream, const struct scan *scan, const struct parts *parts)
{
    const dim3 grid(blocks_of(scan->ld_inner, S::CHANNELS), (unsigned)parts->samples);
    scan16<S><<<grid, S::THREADS, 0, stream>>>(*scan, *parts);
}

// Few channels are split so that there are threads for all of the device.
void device_scan(device_stream stream, const struct scan *scan, const struct parts *parts, float *home)
{
    const long channels = scan->ld_inner * parts->samples;
    if (scan->d_state != SCAN_STATES)
        scan_any<<<dim3(blocks_of(scan->ld_inner, ANY_THREADS), (unsigned)parts->samples), ANY_THREADS, 0,
                   stream>>>(*scan, *parts, home);
    else if (channels <= 8 << 10)
        launch16<split<8, 32, 16, 4, 6>>(stream, scan, parts);
    else if (channels <= 44 << 10)
        launch16<split<4, 16, 32, 4, 6>>(stream, scan, parts);
    else
        launch16<split<1, 4, 32, 4, 12>>(stream, scan, parts);
}
