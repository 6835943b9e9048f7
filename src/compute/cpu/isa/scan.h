// SPDX-License-Identifier: Apache-2.0
// Selective scan, lanes over channels: the state of VW channels lives in registers, B and C are broadcast,
// and no sum ever crosses lanes.  Steps are taken in chunks: softplus of a chunk, the recurrence, then skip
// and gate.
#include "vec.h"

enum { SCAN_CHUNK = 64, SCAN_STATES = 16 };

VEC vf operand_at(const struct scan_operand *o, long row, int channel)
{
    if (o->values) return vf_load(o->values + row * o->ld + channel);
    return vf_load_s8(o->codes + row * o->ld + channel) * vf_set1(o->scale);
}

// delta and u of `steps` steps from t on for one vector of channels, [step][VW]; steps is a constant, up to
// SIDE_BY_SIDE.
VEC void scan_prepare_some(const struct scan *s, int t, int steps, int channel, vf bias, float *delta,
                           float *u)
{
    vf v[SIDE_BY_SIDE];
    EACH_OF(steps) v[i] = operand_at(&s->dt, t + i, channel) + bias;
    vf_softpluses(v, steps);
    EACH_OF(steps) vf_store(delta + i * VW, v[i]);
    EACH_OF(steps) vf_store(u + i * VW, operand_at(&s->u, t + i, channel));
}

VEC void scan_prepare(const struct scan *s, int t0, int t1, int channel, float *delta, float *u)
{
    const vf bias = vf_load(s->dt_bias + channel);
    int t = t0;
    for (; t + SIDE_BY_SIDE <= t1; t += SIDE_BY_SIDE)
        scan_prepare_some(s, t, SIDE_BY_SIDE, channel, bias, delta + (t - t0) * VW, u + (t - t0) * VW);
    for (; t < t1; t++)
        scan_prepare_some(s, t, 1, channel, bias, delta + (t - t0) * VW, u + (t - t0) * VW);
}

// y silu(z) of steps, into place.
VEC void scan_gate_some(const struct scan *s, int t, int steps, int channel, const float *y)
{
    vf z[SIDE_BY_SIDE];
    EACH_OF(steps) z[i] = operand_at(&s->z, t + i, channel);
    vf_silus(z, steps);
    EACH_OF(steps)
    {
        const vf v = vf_load(y + i * VW) * z[i];
        vf_store(s->y + (t + i) * s->ldy + channel, s->half ? vf_round_half(v) : v);
    }
}

VEC void scan_gate(const struct scan *s, int t0, int t1, int channel, const float *y)
{
    int t = t0;
    for (; t + SIDE_BY_SIDE <= t1; t += SIDE_BY_SIDE)
        scan_gate_some(s, t, SIDE_BY_SIDE, channel, y + (t - t0) * VW);
    for (; t < t1; t++)
        scan_gate_some(s, t, 1, channel, y + (t - t0) * VW);
}

// One step of some states: gives the sum of C s behind `sum`.  Constants after inlining: states where it is
// 16, and near: is every delta A within [-87, 0]?
VEC vf scan_states(int states, int near, const float *A, const float *B, const float *C, vf delta, vf du,
                   vf *state, vf sum)
{
    UNROLL_16
    for (int n = 0; n < states; n++) {
        const vf x = delta * vf_load(A + n * VW), decay = near ? vf_exp_near(x) : vf_exp(x);
        state[n] = vf_fma(decay, state[n], du * vf_set1(B[n]));
        sum = vf_fma(state[n], vf_set1(C[n]), sum);
    }
    return sum;
}

// ---- what is exp_near's, and what is fetched ----

// Is every delta A of steps [0, steps) within [-87, 0], A being the least of the states?  delta is not
// negative.
VEC int scan_near(const float *delta, int steps, vf A)
{
    vf most = vf_zero(), spoiled = vf_zero(); // not zero where something is not finite
    for (int t = 0; t < steps; t++) {
        const vf d = vf_load(delta + (long)t * VW);
        most = vf_max(d, most);
        spoiled = vf_fma(d, vf_zero(), spoiled);
    }
    float least[VW];
    vf_store(least, vf_fma(most, A, spoiled));
    int near = 1;
    for (int j = 0; j < VW; j++)
        near &= least[j] >= -87.0f;
    return near;
}

// The least A of each channel.
VEC vf scan_least(const float *A, long ld, int states)
{
    vf least = vf_load(A);
    for (int n = 1; n < states; n++)
        least = vf_min(least, vf_load(A + n * ld));
    return least;
}

#if defined(__x86_64__) && !defined(__CUDACC__)
#define SCAN_FETCH(p) __builtin_prefetch(p, 0, 2)
#define SCAN_FETCH_TO_WRITE(p) __asm__ volatile("prefetchw %0" : : "m"(*(const char *)(p)))
#else
#define SCAN_FETCH(p) (void)(p)
#define SCAN_FETCH_TO_WRITE(p) (void)(p)
#endif

VEC void operand_fetch(const struct scan_operand *o, long row, int channel)
{
    if (o->values)
        SCAN_FETCH(o->values + row * o->ld + channel);
    else
        SCAN_FETCH(o->codes + row * o->ld + channel);
}

// A vector of channels has one line of each row, far apart: no processor sees by itself what comes next.
VEC void scan_fetch(const struct scan *s, long row, int channel)
{
    operand_fetch(&s->u, row, channel);
    operand_fetch(&s->dt, row, channel);
    operand_fetch(&s->z, row, channel);
    SCAN_FETCH_TO_WRITE(s->y + row * s->ldy + channel);
}

// What comes behind chunk [t0, t1) of a channel: the same rows of the channels behind it where it is the
// last.
struct scan_ahead {
    long row, rows;
    int channel;
};
VEC struct scan_ahead scan_behind(const struct scan *s, int t1, int channel, int channel1, int rows)
{
    const int last = t1 >= s->length, first = last ? 0 : t1, left = s->length - first;
    struct scan_ahead ahead;
    ahead.row = first;
    ahead.rows = last && channel + VW >= channel1 ? 0 : left < rows ? left : rows;
    ahead.channel = last ? channel + VW : channel;
    return ahead;
}

// scan_states(), near, with SIDE_BY_SIDE states at a time.
VEC vf scan_states_side_by_side(int states, const float *A, const float *B, const float *C, vf delta, vf du,
                                vf *state, vf sum)
{
    vf decay[SIDE_BY_SIDE];
    UNROLL_16
    for (int n = 0; n < states; n += SIDE_BY_SIDE) {
        EACH_OF(SIDE_BY_SIDE) decay[i] = delta * vf_load(A + (n + i) * VW);
        vf_exp_nears(decay, SIDE_BY_SIDE);
        EACH_OF(SIDE_BY_SIDE) state[n + i] = vf_fma(decay[i], state[n + i], du * vf_set1(B[n + i]));
        EACH_OF(SIDE_BY_SIDE) sum = vf_fma(state[n + i], vf_set1(C[n + i]), sum);
    }
    return sum;
}

// The recurrence over one chunk.
VEC void scan_steps(const struct scan *s, int t0, int t1, int states, int near, const float *A,
                    const float *delta, const float *u, vf skip, vf *state, float *y,
                    const struct scan_ahead *ahead)
{
    for (int t = t0; t < t1; t++) {
        const vf d = vf_load(delta + (t - t0) * VW), ut = vf_load(u + (t - t0) * VW);
        if (t - t0 < ahead->rows) scan_fetch(s, ahead->row + t - t0, ahead->channel);
        const float *B = s->B + t * s->ld_bc, *C = s->C + t * s->ld_bc;
        const vf sum = near ? scan_states_side_by_side(states, A, B, C, d, d * ut, state, vf_zero())
                            : scan_states(states, 0, A, B, C, d, d * ut, state, vf_zero());
        vf_store(y + (t - t0) * VW, vf_fma(skip, ut, sum));
    }
}

// Copies between the registers' home and memory, so that the loop above can keep them in registers.
VEC void scan_chunk16(const struct scan *s, int t0, int t1, int near, const float *A, const float *delta,
                      const float *u, vf skip, float *home, float *y, const struct scan_ahead *ahead)
{
    vf state[SCAN_STATES];
#pragma GCC unroll 16
    for (int n = 0; n < SCAN_STATES; n++)
        state[n] = vf_load(home + n * VW);
    scan_steps(s, t0, t1, SCAN_STATES, near, A, delta, u, skip, state, y, ahead);
#pragma GCC unroll 16
    for (int n = 0; n < SCAN_STATES; n++)
        vf_store(home + n * VW, state[n]);
}

// scratch: A and state [d_state][VW] each, then delta, u, y [SCAN_CHUNK][VW] each.
static void scan_sequential(const struct scan *s, int channel0, int channel1, float *scratch)
{
    float *A = scratch, *home = A + (long)s->d_state * VW, *delta = home + (long)s->d_state * VW;
    float *u = delta + SCAN_CHUNK * VW, *y = u + SCAN_CHUNK * VW;
    for (int channel = channel0; channel < channel1; channel += VW) {
        const vf skip = vf_load(s->D + channel);
        for (int n = 0; n < s->d_state; n++) {
            vf_store(A + n * VW, vf_load(s->A + n * s->ld_inner + channel));
            vf_store(home + n * VW, vf_zero());
        }
        const vf least = scan_least(A, VW, s->d_state);
        for (int t0 = 0; t0 < s->length; t0 += SCAN_CHUNK) {
            const int t1 = t0 + SCAN_CHUNK < s->length ? t0 + SCAN_CHUNK : s->length;
            const struct scan_ahead ahead = scan_behind(s, t1, channel, channel1, SCAN_CHUNK);
            scan_prepare(s, t0, t1, channel, delta, u);
            if (s->d_state != SCAN_STATES)
                scan_steps(s, t0, t1, s->d_state, 0, A, delta, u, skip, (vf *)(void *)home, y, &ahead);
            else if (scan_near(delta, t1 - t0, least))
                scan_chunk16(s, t0, t1, 1, A, delta, u, skip, home, y, &ahead);
            else
                scan_chunk16(s, t0, t1, 0, A, delta, u, skip, home, y, &ahead);
            scan_gate(s, t0, t1, channel, y);
        }
        if (s->last_state)
            for (int n = 0; n < s->d_state; n++)
                vf_store(s->last_state + n * s->ld_inner + channel, vf_load(home + n * VW));
    }
}

// ---- blocked ----

// A block's lanes have `items` neighbouring steps each.  What is in front of a lane is known when its turn
// comes: the state in front of its warp and the map of all lanes between, which a Kogge-Stone scan gives lane
// after lane, as level d joins a lane with the one 2^d before it.  So a lane is read once: its own map and
// the states behind its steps grow side by side.
enum { WARP = 32, WARP_LEVELS = 5, LANE_STATES = 4, LANE_MAX_ITEMS = 16 };

// Affine maps s -> a s + b of a vector of channels, a times 2^63.
struct scan_map {
    float a[VW], b[VW];
};

// One state.
struct lane_state {
    float A[VW];
    struct scan_map before[WARP - 1]; // of level d: 2^d, a ring from 2^d - 1 on
    struct scan_map all;              // from the begin of the warp to the lane at hand
    float carry[VW];                  // the state in front of the warp
};

// A lane's steps of a vector of channels, [items][VW].
struct scan_lane {
    float delta[LANE_MAX_ITEMS * VW], du[LANE_MAX_ITEMS * VW], y[LANE_MAX_ITEMS * VW];
};

// One step of some states: state, the lane's map so far, and y.
VEC vf lane_step(int states, int near, int first, const struct lane_state *of, const float *B, const float *C,
                 vf delta, vf du, vf *state, vf *a, vf *b, vf y)
{
    vf decay[LANE_STATES];
#pragma GCC unroll 4
    for (int n = 0; n < states; n++)
        decay[n] = delta * vf_load(of[n].A);
    if (near && states == SIDE_BY_SIDE)
        vf_exp_nears(decay, SIDE_BY_SIDE);
    else
#pragma GCC unroll 4
        for (int n = 0; n < states; n++)
            decay[n] = near ? vf_exp_near(decay[n]) : vf_exp(decay[n]);
#pragma GCC unroll 4
    for (int n = 0; n < states; n++) {
        const vf added = vf_set1(B[n]) * du;
        b[n] = first ? added : vf_fma(decay[n], b[n], added);
        a[n] = first ? decay[n] : decay[n] * a[n];
        state[n] = vf_fma(decay[n], state[n], added);
        y = vf_fma(state[n], vf_set1(C[n]), y);
    }
    return y;
}

// Products of many decays are subnormal more often than not, and a processor may take a hundred times as long
// for such a number.  So a map has its a as a 2^63, which is normal (0 or from 2^-86 to 2^63), and what is
// done with it gives the bits of plain multiplications.

// a *= b as maps have it, of some states side by side.  A product of at most 1 here is one that is subnormal,
// or nearly, and has its last place at 2^-149: that of the sum with 1.
VEC void map_products(vf *a, const vf *b, int states)
{
    const vf one = vf_set1(1.0f);
    vf r[LANE_STATES];
    EACH_OF(states) r[i] = vf_fma(a[i], b[i], one);
    EACH_OF(states) a[i] = a[i] * b[i];
    EACH_OF(states) r[i] = r[i] - one;
    EACH_OF(states) a[i] = vf_not_above(a[i], one, r[i], a[i]);
    EACH_OF(states) a[i] = a[i] * vf_set1(0x1p-63f);
}

// b = a s + b, the first as maps have it.
VEC void maps_of(const vf *a, vf *b, const vf *s, int states)
{
    if (vf_some_below(s, states, 0x1p-100f))
        EACH_OF(states) b[i] = vf_fma(a[i] * vf_set1(0x1p-63f), s[i], b[i]);
    else
        EACH_OF(states) b[i] = vf_fma(a[i] * vf_set1(0x1p-40f), s[i] * vf_set1(0x1p-23f), b[i]);
}

// The states in front of lane `j` of a warp.
VEC void lane_prefixes(const struct lane_state *k, int j, int states, vf *state)
{
    vf a[LANE_STATES], carry[LANE_STATES];
    EACH_OF(states) carry[i] = vf_load(k[i].carry);
    EACH_OF(states) a[i] = vf_load(k[i].all.a);
    EACH_OF(states) state[i] = j == 0 ? carry[i] : vf_load(k[i].all.b);
    if (j > 0) maps_of(a, state, carry, states);
}

// Takes the maps of lane j in.
VEC void lane_join(struct lane_state *k, int j, int states, vf *a, vf *b)
{
    vf a0[LANE_STATES], b0[LANE_STATES];
    EACH_OF(states) a[i] = a[i] * vf_set1(0x1p+63f);
#pragma GCC unroll 5
    for (int d = 0; d < WARP_LEVELS; d++) {
        const int distance = 1 << d, at = distance - 1 + (j & (distance - 1));
        EACH_OF(states) a0[i] = vf_load(k[i].before[at].a);
        EACH_OF(states) b0[i] = vf_load(k[i].before[at].b);
        EACH_OF(states) vf_store(k[i].before[at].a, a[i]);
        EACH_OF(states) vf_store(k[i].before[at].b, b[i]);
        if (j < distance) continue;
        maps_of(a, b, b0, states);
        map_products(a, a0, states);
    }
    EACH_OF(states) vf_store(k[i].all.a, a[i]);
    EACH_OF(states) vf_store(k[i].all.b, b[i]);
    if (j < WARP - 1) return;
    EACH_OF(states) b0[i] = vf_load(k[i].carry);
    maps_of(a, b, b0, states);
    EACH_OF(states) vf_store(k[i].carry, b[i]);
}

// Steps [t0, t0 + steps), lane j of its warp; of: the states from n on.
VEC void lane_states(const struct scan *s, int t0, int steps, int j, int n, int states, int near,
                     struct scan_lane *lane, struct lane_state *of)
{
    vf state[LANE_STATES], a[LANE_STATES], b[LANE_STATES];
#pragma GCC unroll 4
    for (int i = 0; i < states; i++)
        a[i] = b[i] = vf_zero();
    lane_prefixes(of, j, states, state);
    const float *B = s->B + t0 * s->ld_bc + n, *C = s->C + t0 * s->ld_bc + n;
    vf_store(lane->y, lane_step(states, near, 1, of, B, C, vf_load(lane->delta), vf_load(lane->du), state, a,
                                b, vf_load(lane->y)));
    for (int t = 1; t < steps; t++) {
        const vf delta = vf_load(lane->delta + t * VW), du = vf_load(lane->du + t * VW);
        const vf y = vf_load(lane->y + t * VW);
        B += s->ld_bc, C += s->ld_bc;
        vf_store(lane->y + t * VW, lane_step(states, near, 0, of, B, C, delta, du, state, a, b, y));
    }
    lane_join(of, j, states, a, b);
}

VEC void lane_run(const struct scan *s, int t0, int steps, int j, int near, struct scan_lane *lane,
                  struct lane_state *of)
{
    int n = 0;
    for (; n + LANE_STATES <= s->d_state; n += LANE_STATES)
        lane_states(s, t0, steps, j, n, LANE_STATES, near, lane, of + n);
    for (; n < s->d_state; n++)
        lane_states(s, t0, steps, j, n, 1, near, lane, of + n);
}

// delta, delta u and D u of a lane.
VEC void lane_start(const struct scan *s, int t0, int steps, int channel, struct scan_lane *lane)
{
    const vf skip = vf_load(s->D + channel);
    scan_prepare(s, t0, t0 + steps, channel, lane->delta, lane->du);
    for (int t = 0; t < steps; t++) {
        const vf u = vf_load(lane->du + t * VW);
        vf_store(lane->y + t * VW, u * skip);
        vf_store(lane->du + t * VW, vf_load(lane->delta + t * VW) * u);
    }
}

// scratch: [d_state] of struct lane_state, then the lane.  A block that is not whole is the last one: nobody
// asks for the state behind it.
static void scan_blocked(const struct scan *s, int channel0, int channel1, float *scratch)
{
    int lanes, items;
    scan_shape(s->length, &lanes, &items);
    struct lane_state *of = (struct lane_state *)(void *)scratch;
    struct scan_lane *lane = (struct scan_lane *)(void *)(of + s->d_state);
    for (int channel = channel0; channel < channel1; channel += VW) {
        const vf least = scan_least(s->A + channel, s->ld_inner, s->d_state);
        for (int n = 0; n < s->d_state; n++) {
            vf_store(of[n].A, vf_load(s->A + n * s->ld_inner + channel));
            vf_store(of[n].carry, vf_zero());
        }
        for (int t0 = 0, j = 0; t0 < s->length; t0 += items, j = (j + 1) % WARP) {
            const int steps = s->length - t0 < items ? s->length - t0 : items;
            const struct scan_ahead ahead = scan_behind(s, t0 + items, channel, channel1, items);
            for (int t = 0; t < ahead.rows; t++)
                scan_fetch(s, ahead.row + t, ahead.channel);
            lane_start(s, t0, steps, channel, lane);
            if (scan_near(lane->delta, steps, least))
                lane_run(s, t0, steps, j, 1, lane, of);
            else
                lane_run(s, t0, steps, j, 0, lane, of);
            scan_gate(s, t0, t0 + steps, channel, lane->y);
        }
    }
}
