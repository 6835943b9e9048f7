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

// delta and u of steps [t0, t1) for one vector of channels, [step][VW].
VEC void scan_prepare(const struct scan *s, int t0, int t1, int channel, float *delta, float *u)
{
    const vf bias = vf_load(s->dt_bias + channel);
    for (int t = t0; t < t1; t++) {
        vf_store(delta + (t - t0) * VW, vf_softplus(operand_at(&s->dt, t, channel) + bias));
        vf_store(u + (t - t0) * VW, operand_at(&s->u, t, channel));
    }
}

// y silu(z) of steps [t0, t1), into place.
VEC void scan_gate(const struct scan *s, int t0, int t1, int channel, const float *y)
{
    for (int t = t0; t < t1; t++) {
        vf v = vf_load(y + (t - t0) * VW) * vf_silu(operand_at(&s->z, t, channel));
        vf_store(s->y + t * s->ldy + channel, s->half ? vf_round_half(v) : v);
    }
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

// The recurrence over one chunk.
VEC void scan_steps(const struct scan *s, int t0, int t1, int states, const float *A, const float *delta,
                    const float *u, vf skip, vf *state, float *y)
{
    for (int t = t0; t < t1; t++) {
        const vf d = vf_load(delta + (t - t0) * VW), ut = vf_load(u + (t - t0) * VW);
        const vf sum =
            scan_states(states, 0, A, s->B + t * s->ld_bc, s->C + t * s->ld_bc, d, d * ut, state, vf_zero());
        vf_store(y + (t - t0) * VW, vf_fma(skip, ut, sum));
    }
}

// Copies between the registers' home and memory, so that the loop above can keep them in registers.
VEC void scan_chunk16(const struct scan *s, int t0, int t1, const float *A, const float *delta,
                      const float *u, vf skip, float *home, float *y)
{
    vf state[SCAN_STATES];
#pragma GCC unroll 16
    for (int n = 0; n < SCAN_STATES; n++)
        state[n] = vf_load(home + n * VW);
    scan_steps(s, t0, t1, SCAN_STATES, A, delta, u, skip, state, y);
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
        for (int t0 = 0; t0 < s->length; t0 += SCAN_CHUNK) {
            const int t1 = t0 + SCAN_CHUNK < s->length ? t0 + SCAN_CHUNK : s->length;
            scan_prepare(s, t0, t1, channel, delta, u);
            if (s->d_state == SCAN_STATES)
                scan_chunk16(s, t0, t1, A, delta, u, skip, home, y);
            else
                scan_steps(s, t0, t1, s->d_state, A, delta, u, skip, (vf *)(void *)home, y);
            scan_gate(s, t0, t1, channel, y);
        }
        if (s->last_state)
            for (int n = 0; n < s->d_state; n++)
                vf_store(s->last_state + n * s->ld_inner + channel, vf_load(home + n * VW));
    }
}

// ---- blocked ----

enum { WARP = 32 };

// Buffers of one block, all [..][VW].
struct block {
    int lanes, items, steps;  // steps <= lanes * items are real, the rest is the identity map
    float *delta, *du, *y;    // [lanes * items]
    float *a;                 // [lanes * items] exp(delta A)
    float *group_a, *group_b; // [lanes] the map of each lane, then the inclusive scan inside its warp
    float *prefix_b;          // [lanes] the state in front of each lane
};

// Each lane reduces its neighbouring steps to one affine map s -> a s + b.  B: of this state, stride ld.
VEC void block_reduce(const struct block *k, vf A, const float *B, long ld)
{
    for (int lane = 0; lane < k->lanes; lane++) {
        vf ga = vf_set1(1.0f), gb = vf_zero();
        for (int i = 0; i < k->items; i++) {
            const int t = lane * k->items + i;
            if (t >= k->steps) break; // the identity changes nothing
            vf a = vf_exp(vf_load(k->delta + (long)t * VW) * A);
            vf b = vf_set1(B[t * ld]) * vf_load(k->du + (long)t * VW);
            vf_store(k->a + (long)t * VW, a);
            gb = i ? vf_fma(a, gb, b) : b;
            ga = i ? a * ga : a;
        }
        vf_store(k->group_a + lane * VW, ga);
        vf_store(k->group_b + lane * VW, gb);
    }
}

// Kogge-Stone over the 32 lanes of a warp; from the top down, so that the left operands are still the old
// ones.
VEC void block_warp_scan(float *a, float *b)
{
    for (int offset = 1; offset < WARP; offset *= 2)
        for (int j = WARP - 1; j >= offset; j--) {
            vf a1 = vf_load(a + j * VW), b1 = vf_load(b + j * VW);
            vf a0 = vf_load(a + (j - offset) * VW), b0 = vf_load(b + (j - offset) * VW);
            vf_store(a + j * VW, a1 * a0);
            vf_store(b + j * VW, vf_fma(a1, b0, b1));
        }
}

// Warps are chained in order from the state `carry` in front of the block; returns the state behind it.
VEC vf block_prefixes(const struct block *k, vf carry)
{
    for (int warp = 0; warp < k->lanes; warp += WARP) {
        float *a = k->group_a + warp * VW, *b = k->group_b + warp * VW;
        block_warp_scan(a, b);
        vf_store(k->prefix_b + warp * VW, carry);
        for (int j = 1; j < WARP; j++)
            vf_store(k->prefix_b + (warp + j) * VW,
                     vf_fma(vf_load(a + (j - 1) * VW), carry, vf_load(b + (j - 1) * VW)));
        carry = vf_fma(vf_load(a + (WARP - 1) * VW), carry, vf_load(b + (WARP - 1) * VW));
    }
    return carry;
}

// Each lane replays its steps from its prefix and adds C s to y.
VEC void block_replay(const struct block *k, const float *B, const float *C, long ld)
{
    for (int lane = 0; lane * k->items < k->steps; lane++) {
        vf state = vf_load(k->prefix_b + lane * VW);
        for (int i = 0; i < k->items && lane * k->items + i < k->steps; i++) {
            const int t = lane * k->items + i;
            vf b = vf_set1(B[t * ld]) * vf_load(k->du + (long)t * VW);
            state = vf_fma(vf_load(k->a + (long)t * VW), state, b);
            vf_store(k->y + (long)t * VW, vf_fma(state, vf_set1(C[t * ld]), vf_load(k->y + (long)t * VW)));
        }
    }
}

VEC void block_start(const struct scan *s, const struct block *k, int t0, int channel)
{
    const vf skip = vf_load(s->D + channel);
    scan_prepare(s, t0, t0 + k->steps, channel, k->delta, k->du);
    for (int t = 0; t < k->steps; t++) {
        vf u = vf_load(k->du + (long)t * VW);
        vf_store(k->y + (long)t * VW, u * skip);
        vf_store(k->du + (long)t * VW, vf_load(k->delta + (long)t * VW) * u);
    }
}

static struct block block_layout(const struct scan *s, float *scratch)
{
    struct block k;
    scan_shape(s->length, &k.lanes, &k.items);
    const long steps = (long)k.lanes * k.items;
    k.steps = 0;
    k.delta = scratch;
    k.du = k.delta + steps * VW;
    k.y = k.du + steps * VW;
    k.a = k.y + steps * VW;
    k.group_a = k.a + steps * VW;
    k.group_b = k.group_a + (long)k.lanes * VW;
    k.prefix_b = k.group_b + (long)k.lanes * VW;
    return k;
}

static void scan_blocked(const struct scan *s, int channel0, int channel1, float *scratch)
{
    float *carry = scratch; // [d_state][VW]
    struct block k = block_layout(s, scratch + (long)s->d_state * VW);
    const int size = k.lanes * k.items;
    for (int channel = channel0; channel < channel1; channel += VW) {
        for (int n = 0; n < s->d_state; n++)
            vf_store(carry + n * VW, vf_zero());
        for (int t0 = 0; t0 < s->length; t0 += size) {
            k.steps = s->length - t0 < size ? s->length - t0 : size;
            block_start(s, &k, t0, channel);
            for (int n = 0; n < s->d_state; n++) {
                const float *B = s->B + t0 * s->ld_bc + n, *C = s->C + t0 * s->ld_bc + n;
                block_reduce(&k, vf_load(s->A + n * s->ld_inner + channel), B, s->ld_bc);
                vf_store(carry + n * VW, block_prefixes(&k, vf_load(carry + n * VW)));
                block_replay(&k, B, C, s->ld_bc);
            }
            scan_gate(s, t0, t0 + k.steps, channel, k.y);
        }
    }
}
