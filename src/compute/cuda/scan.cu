// SPDX-License-Identifier: Apache-2.0
// Selective scans and rotations.  Sequential: threads have a channel, its states in registers.  Blocked: the
// lanes of docs/numerics.md are threads.
#include "lane.cuh"

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

// 16 states: PARTS threads have a channel, each the states of its own part.  The sum over states goes from
// one thread to the next, each a step behind the one in front of it: so it keeps its order.
enum { CHANNELS = 32, PARTS = 4, OWN = SCAN_STATES / PARTS, SCAN_THREADS = CHANNELS * PARTS, CHUNK = 64 };

// Some steps: B and C, read by all channels of a block, and what each channel has of its own.
struct shared_chunk {
    float B[CHUNK][SCAN_STATES], C[CHUNK][SCAN_STATES];
    float delta[CHUNK][CHANNELS], u[CHUNK][CHANNELS]; // u: y where a step is done
};

// Loads of many steps are under way at once.
static __device__ __forceinline__ void prepare_chunk(const struct scan &s, int t0, int steps, int channel0,
                                                     struct shared_chunk *shared)
{
    const int own = threadIdx.x % CHANNELS, channel = channel0 + own;
#pragma unroll 4
    for (int t = threadIdx.x / CHANNELS; t < steps; t += PARTS) {
        if (channel >= s.ld_inner) break;
        shared->delta[t][own] = vf_softplus(operand_at(&s.dt, t0 + t, channel) + s.dt_bias[channel]);
        shared->u[t][own] = operand_at(&s.u, t0 + t, channel);
    }
#pragma unroll 4
    for (int i = threadIdx.x; i < steps * SCAN_STATES; i += SCAN_THREADS) {
        const int t = i / SCAN_STATES, n = i % SCAN_STATES;
        shared->B[t][n] = s.B[(t0 + t) * s.ld_bc + n];
        shared->C[t][n] = s.C[(t0 + t) * s.ld_bc + n];
    }
}

static __device__ __forceinline__ void gate_chunk(const struct scan &s, int t0, int steps, int channel0,
                                                  const struct shared_chunk *shared)
{
    const int own = threadIdx.x % CHANNELS, channel = channel0 + own;
#pragma unroll 4
    for (int t = threadIdx.x / CHANNELS; t < steps; t += PARTS) {
        if (channel >= s.ld_inner) break;
        const float v = shared->u[t][own] * vf_silu(operand_at(&s.z, t0 + t, channel));
        s.y[(t0 + t) * s.ldy + channel] = s.half ? vf_round_half(v) : v;
    }
}

// What a thread has of its channel; lowest: of all 16 A.
struct own_states {
    float A[OWN], state[OWN], skip, lowest;
};

static __device__ __forceinline__ void take_states(const float *from, float *to)
{
    static_assert(OWN == 4, "as one vector");
    const float4 v = *(const float4 *)from;
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

// One step of the own states onto the sum of those in front of them.
static __device__ __forceinline__ float own_step(const struct shared_chunk &shared, int t, int which,
                                                 int part, struct own_states *own, float sum)
{
    const float delta = shared.delta[t][which], du = delta * shared.u[t][which];
    float B[OWN], C[OWN];
    take_states(&shared.B[t][part * OWN], B);
    take_states(&shared.C[t][part * OWN], C);
    if (delta * own->lowest >= -87.0f) // then so is each delta A; NaN is not
        return scan_states(OWN, 1, own->A, B, C, delta, du, own->state, sum);
    return scan_states(OWN, 0, own->A, B, C, delta, du, own->state, sum);
}

static __device__ __forceinline__ void run_chunk(struct shared_chunk *shared, int steps, int which, int part,
                                                 struct own_states *own)
{
    float sum = 0;
    for (int j = 0; j < steps + PARTS - 1; j++) {
        const float before = __shfl_up_sync(0xffffffffu, sum, 1);
        const int t = j - part;
        if (t < 0 || t >= steps) continue;
        sum = own_step(*shared, t, which, part, own, part == 0 ? 0 : before);
        if (part == PARTS - 1) shared->u[t][which] = vf_fma(own->skip, shared->u[t][which], sum);
    }
}

static __global__ void __launch_bounds__(SCAN_THREADS, 6) scan16(struct scan s, struct parts parts)
{
    __shared__ __align__(16) struct shared_chunk shared;
    const int channel0 = blockIdx.x * CHANNELS, sample = blockIdx.y;
    const int which = threadIdx.x / PARTS, part = threadIdx.x % PARTS, channel = channel0 + which;
    const bool mine = channel < s.ld_inner;
    struct own_states own;
    begin_at(&s, parts.firsts ? parts.firsts[sample] : 0, part_length(parts, sample));
    own.skip = mine ? s.D[channel] : 0, own.lowest = 0;
    for (int n = 0; mine && n < SCAN_STATES; n++)
        own.lowest = vf_min(s.A[n * s.ld_inner + channel], own.lowest);
#pragma unroll
    for (int n = 0; n < OWN; n++) {
        own.A[n] = mine ? s.A[(part * OWN + n) * s.ld_inner + channel] : 0;
        own.state[n] = 0;
    }
    for (int t0 = 0; t0 < s.length; t0 += CHUNK) {
        const int steps = t0 + CHUNK < s.length ? CHUNK : s.length - t0;
        prepare_chunk(s, t0, steps, channel0, &shared);
        __syncthreads();
        run_chunk(&shared, steps, which, part, &own);
        __syncthreads();
        gate_chunk(s, t0, steps, channel0, &shared);
        __syncthreads();
    }
    if (!s.last_state || !mine) return;
    s.last_state += (long)sample * SCAN_STATES * s.ld_inner;
#pragma unroll
    for (int n = 0; n < OWN; n++)
        s.last_state[(part * OWN + n) * s.ld_inner + channel] = own.state[n];
}

// Any number of states: they lie in `home`.
static __global__ void __launch_bounds__(SCAN_THREADS)
    scan_any(struct scan s, struct parts parts, float *home)
{
    const int channel = blockIdx.x * SCAN_THREADS + threadIdx.x, sample = blockIdx.y;
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
    const bool usual = scan->d_state == SCAN_STATES;
    const dim3 grid(blocks_of(scan->ld_inner, usual ? CHANNELS : SCAN_THREADS), (unsigned)parts->samples);
    if (usual)
        scan16<<<grid, SCAN_THREADS, 0, stream>>>(*scan, *parts);
    else
        scan_any<<<grid, SCAN_THREADS, 0, stream>>>(*scan, *parts, home);
}

// ---- blocked ----

enum { BLOCKED_THREADS = 256, SHARED_STEPS = 2048 };

// A block has BLOCKED_THREADS / lanes channels and lanes * ITEMS steps at a time.  Between the threads that
// load neighbouring channels and those that have neighbouring steps, values go through `turned`; B and C are
// shared for some states at a time.  Where steps are counted, one more place behind those of each thread puts
// neighbouring threads into other banks.
template <int ITEMS> struct shared_block {
    float turned[BLOCKED_THREADS * (ITEMS + 1)]; // [channels][steps]
    float B[SHARED_STEPS / ITEMS * (ITEMS + 1)]; // [states][steps]
    float C[SHARED_STEPS / ITEMS * (ITEMS + 1)];
    float a[BLOCKED_THREADS / WARP], b[BLOCKED_THREADS / WARP]; // the map of each warp
};

// Where a block stands.
struct place {
    int lanes, channels, channel0; // channels of the block
    int steps;                     // lanes * ITEMS
    int t0, left;                  // first step, steps up to the end of the sample
};

// The steps of one thread.
template <int ITEMS> struct own_steps {
    float delta[ITEMS], du[ITEMS], y[ITEMS], a[ITEMS];
};

template <int ITEMS> static __device__ __forceinline__ int turned_at(const struct place &p, int which, int t)
{
    return which * p.lanes * (ITEMS + 1) + t + t / ITEMS;
}

// delta and u of the block, by channels: `what` says which of them goes into `turned`.
template <int ITEMS>
static __device__ __forceinline__ void turn_input(const struct scan &s, const struct place &p, bool u,
                                                  struct shared_block<ITEMS> *shared)
{
    __syncthreads();
    for (int i = threadIdx.x; i < p.channels * p.steps; i += BLOCKED_THREADS) {
        const int which = i % p.channels, t = i / p.channels, channel = p.channel0 + which;
        float v = 0;
        if (t < p.left && u)
            v = operand_at(&s.u, p.t0 + t, channel);
        else if (t < p.left)
            v = vf_softplus(operand_at(&s.dt, p.t0 + t, channel) + s.dt_bias[channel]);
        shared->turned[turned_at<ITEMS>(p, which, t)] = v;
    }
    __syncthreads();
}

template <int ITEMS>
static __device__ __forceinline__ void start_steps(const struct scan &s, const struct place &p, int which,
                                                   int lane, struct shared_block<ITEMS> *shared,
                                                   struct own_steps<ITEMS> *own)
{
    const float skip = s.D[p.channel0 + which];
    const float *mine = &shared->turned[turned_at<ITEMS>(p, which, lane * ITEMS)];
    turn_input<ITEMS>(s, p, false, shared);
#pragma unroll
    for (int i = 0; i < ITEMS; i++)
        own->delta[i] = mine[i];
    turn_input<ITEMS>(s, p, true, shared);
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        own->y[i] = mine[i] * skip;
        own->du[i] = own->delta[i] * mine[i];
    }
}

// y silu(z) of the block, by channels.
template <int ITEMS>
static __device__ __forceinline__ void finish_steps(const struct scan &s, const struct place &p, int which,
                                                    int lane, struct shared_block<ITEMS> *shared,
                                                    const struct own_steps<ITEMS> &own)
{
    __syncthreads();
#pragma unroll
    for (int i = 0; i < ITEMS; i++)
        shared->turned[turned_at<ITEMS>(p, which, lane * ITEMS) + i] = own.y[i];
    __syncthreads();
    for (int i = threadIdx.x; i < p.channels * p.steps; i += BLOCKED_THREADS) {
        const int its = i % p.channels, t = i / p.channels;
        if (t < p.left)
            scan_gate(&s, p.t0 + t, p.t0 + t + 1, p.channel0 + its,
                      &shared->turned[turned_at<ITEMS>(p, its, t)]);
    }
}

// B and C of `count` states from n on.
template <int ITEMS>
static __device__ __forceinline__ void share_some(const struct scan &s, const struct place &p, int n,
                                                  int count, struct shared_block<ITEMS> *shared)
{
    __syncthreads();
    for (int i = threadIdx.x; i < p.steps * count; i += BLOCKED_THREADS) {
        const int t = i / count, k = i % count;
        const long from = (p.t0 + t) * s.ld_bc + n + k;
        shared->B[turned_at<ITEMS>(p, k, t)] = t < p.left ? s.B[from] : 0;
        shared->C[turned_at<ITEMS>(p, k, t)] = t < p.left ? s.C[from] : 0;
    }
    __syncthreads();
}

// The affine map of the steps of a thread; those from `steps` on are none.
template <int ITEMS>
static __device__ __forceinline__ void reduce_steps(int steps, float A, const float *B,
                                                    struct own_steps<ITEMS> *own, float *ga, float *gb)
{
    *ga = 1, *gb = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        if (i >= steps) break;
        const float a = vf_exp(own->delta[i] * A), b = B[i] * own->du[i];
        own->a[i] = a;
        *gb = i ? vf_fma(a, *gb, b) : b;
        *ga = i ? a * *ga : a;
    }
}

// Kogge-Stone in a warp, then the warps in order; gives the state in front of the thread's steps and moves
// *carry behind the block.
template <int ITEMS>
static __device__ __forceinline__ float scan_lanes(struct shared_block<ITEMS> *shared, int lanes, float a,
                                                   float b, float *carry)
{
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const int warps = lanes / WARP, first = warp / warps * warps;
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

template <int ITEMS>
static __device__ __forceinline__ void replay_steps(int steps, float state, const float *B, const float *C,
                                                    struct own_steps<ITEMS> *own)
{
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        if (i >= steps) break;
        state = vf_fma(own->a[i], state, B[i] * own->du[i]);
        own->y[i] = vf_fma(state, C[i], own->y[i]);
    }
}

// Threads are [channel][lane].  carries: [d_state][channels] of a block.
template <int ITEMS>
static __global__ void __launch_bounds__(BLOCKED_THREADS, 2)
    scan_lanes_items(struct scan s, struct parts parts, int lanes)
{
    extern __shared__ float carries[];
    __shared__ struct shared_block<ITEMS> shared;
    struct place p = {lanes, BLOCKED_THREADS / lanes};
    const int which = threadIdx.x / lanes, lane = threadIdx.x % lanes, sample = blockIdx.y;
    const int length = part_length(parts, sample);
    int its_lanes, its_items;
    scan_shape(length, &its_lanes, &its_items);
    if (its_lanes != lanes || its_items != ITEMS) return; // another launch has this sample
    p.channel0 = blockIdx.x * p.channels, p.steps = lanes * ITEMS;
    begin_at(&s, parts.firsts ? parts.firsts[sample] : 0, length);
    for (int i = threadIdx.x; i < s.d_state * p.channels; i += BLOCKED_THREADS)
        carries[i] = 0;
    const int together = SHARED_STEPS / p.steps; // states
    for (p.t0 = 0; p.t0 < length; p.t0 += p.steps) {
        struct own_steps<ITEMS> own;
        p.left = length - p.t0;
        start_steps<ITEMS>(s, p, which, lane, &shared, &own);
        const int steps = p.left - lane * ITEMS; // those from ITEMS on are not this thread's
        for (int n = 0; n < s.d_state; n++) {
            float a, b, carry = carries[n * p.channels + which];
            if (n % together == 0) {
                const int left = s.d_state - n;
                share_some<ITEMS>(s, p, n, left < together ? left : together, &shared);
            }
            const int at = turned_at<ITEMS>(p, n % together, lane * ITEMS);
            reduce_steps<ITEMS>(steps, s.A[n * s.ld_inner + p.channel0 + which], shared.B + at, &own, &a, &b);
            const float prefix = scan_lanes<ITEMS>(&shared, lanes, a, b, &carry);
            replay_steps<ITEMS>(steps, prefix, shared.B + at, shared.C + at, &own);
            __syncwarp(); // all have read it
            if (lane == 0) carries[n * p.channels + which] = carry;
        }
        finish_steps<ITEMS>(s, p, which, lane, &shared, own);
    }
}

void device_scan_blocked(device_stream stream, const struct scan *scan, const struct parts *parts, int lanes,
                         int items)
{
    const int channels = BLOCKED_THREADS / lanes; // 2 to 8, and ld_inner is a multiple of 16
    const dim3 grid((unsigned)(scan->ld_inner / channels), (unsigned)parts->samples);
    const size_t bytes = (size_t)(scan->d_state * channels) * sizeof(float);
    if (items == 4)
        scan_lanes_items<4><<<grid, BLOCKED_THREADS, bytes, stream>>>(*scan, *parts, lanes);
    else if (items == 8)
        scan_lanes_items<8><<<grid, BLOCKED_THREADS, bytes, stream>>>(*scan, *parts, lanes);
    else
        scan_lanes_items<16><<<grid, BLOCKED_THREADS, bytes, stream>>>(*scan, *parts, lanes);
}

// ---- rotations ----

enum { ROTATE_THREADS = 256, MOST_SHARED = 48 << 10, MOST_BASE = 40 };

// x or -x, as the sign of an entry of the base matrix's row is.
static __device__ __forceinline__ float signed_by(uint64_t negative, int column, float x)
{
    return negative >> column & 1u ? -x : x;
}

// Sylvester stages of a row at x.
static __device__ void sylvester(const struct device_rotation &r, float *x)
{
    for (int h = 1; h < r.power; h *= 2) {
        for (int pair = threadIdx.x; pair < r.dim / 2; pair += ROTATE_THREADS) {
            const int i = 2 * pair - (pair & (h - 1)); // 2h (pair / h) + pair % h
            const float a = x[i], b = x[i + h];
            x[i] = a + b;
            x[i + h] = a - b;
        }
        __syncthreads();
    }
}

// Where element i of a row is in shared memory: neighbours at any distance are in other banks.
static __device__ __forceinline__ int padded(int i)
{
    return i + i / 32;
}

// Stages h, 2h, ... up to R / 2 times h, in registers: R values lie h apart.
template <int R>
static __device__ __forceinline__ void sylvester_stages(const struct device_rotation &r, int h, float *x)
{
    for (int some = threadIdx.x; some < r.dim / R; some += ROTATE_THREADS) {
        const int first = R * some - (R - 1) * (some & (h - 1)); // R h (some / h) + some % h
        float v[R];
#pragma unroll
        for (int k = 0; k < R; k++)
            v[k] = x[padded(first + k * h)];
#pragma unroll
        for (int stage = 1; stage < R; stage *= 2)
#pragma unroll
            for (int k = 0; k < R; k++)
                if ((k & stage) == 0) {
                    const float a = v[k], b = v[k + stage];
                    v[k] = a + b;
                    v[k + stage] = a - b;
                }
#pragma unroll
        for (int k = 0; k < R; k++)
            x[padded(first + k * h)] = v[k];
    }
    __syncthreads();
}

// The base matrix over the chunks of a row; a product with +-1 is exact, so an addition is the multiply-add.
// A thread has every `of`-th output of a column.
template <int BASE>
static __device__ __forceinline__ void base_columns(const struct device_rotation &r, const float *x,
                                                    float *row)
{
    const int of = r.power < ROTATE_THREADS ? ROTATE_THREADS / r.power : 1;
    for (int at = threadIdx.x; at < r.power * of; at += ROTATE_THREADS) {
        const int j = at & (r.power - 1), own = at / r.power;
        float y[BASE];
#pragma unroll
        for (int c = 0; c < BASE; c++)
            y[c] = x[padded(c * r.power + j)];
        for (int i = own; i < BASE; i += of) {
            const uint64_t negative = r.negative[i];
            float sum = 0;
#pragma unroll
            for (int c = 0; c < BASE; c++)
                sum += signed_by(negative, c, y[c]);
            row[i * r.power + j] = sum * r.factor;
        }
    }
}

// A row that fits into shared memory.
static __global__ void __launch_bounds__(ROTATE_THREADS)
    rotate_near(struct device_rotation r, float *rows, long ld)
{
    extern __shared__ float x[];
    float *row = rows + blockIdx.x * ld;
    int h = 1;
    for (int i = threadIdx.x; i < r.dim; i += ROTATE_THREADS)
        x[padded(i)] = row[i];
    __syncthreads();
    for (; 8 * h <= r.power; h *= 8)
        sylvester_stages<8>(r, h, x);
    for (; 2 * h <= r.power; h *= 2)
        sylvester_stages<2>(r, h, x);
    if (r.has_matrix && r.base == 12)
        base_columns<12>(r, x, row);
    else if (r.has_matrix)
        base_columns<MOST_BASE>(r, x, row); // rotation_exists(): there is no third
    else
        for (int i = threadIdx.x; i < r.dim; i += ROTATE_THREADS)
            row[i] = x[padded(i)] * r.factor;
}

// Any row, in place.
static __global__ void __launch_bounds__(ROTATE_THREADS)
    rotate_far(struct device_rotation r, float *rows, long ld)
{
    float *row = rows + blockIdx.x * ld, y[MOST_BASE];
    sylvester(r, row);
    for (int j = threadIdx.x; j < r.power; j += ROTATE_THREADS) {
        for (int c = 0; c < r.base; c++)
            y[c] = row[c * r.power + j];
        for (int i = 0; i < r.base; i++) {
            float sum = r.has_matrix ? 0 : y[0];
            for (int c = 0; r.has_matrix && c < r.base; c++)
                sum += signed_by(r.negative[i], c, y[c]);
            row[i * r.power + j] = sum * r.factor;
        }
    }
}

void device_rotate(device_stream stream, const struct device_rotation *rotation, int rows, float *x, long ld)
{
    const size_t bytes = (size_t)(rotation->dim + rotation->dim / 32 + 1) * sizeof *x;
    if (bytes <= MOST_SHARED)
        rotate_near<<<(unsigned)rows, ROTATE_THREADS, bytes, stream>>>(*rotation, x, ld);
    else
        rotate_far<<<(unsigned)rows, ROTATE_THREADS, 0, stream>>>(*rotation, x, ld);
}
