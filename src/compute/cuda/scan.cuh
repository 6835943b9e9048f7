// SPDX-License-Identifier: Apache-2.0
// What the kernels of both scans share: steps of four neighbouring channels, which a thread loads, prepares
// and leaves.
#ifndef SSMSWEEP_COMPUTE_CUDA_SCAN_CUH
#define SSMSWEEP_COMPUTE_CUDA_SCAN_CUH

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

// An operand from the thread's channels on.  It begins, and so does each row, where four elements may.
struct source {
    const char *at;
    int ld; // bytes
    bool values;
    float scale;
};

// As they are in memory: in between, the load is under way.
struct quad {
    float4 raw; // codes: the bits of the first
};

static __device__ __forceinline__ struct source source_of(const struct scan_operand &o, int channel)
{
    if (o.values) return {(const char *)(o.values + channel), (int)o.ld * 4, true, 0};
    return {(const char *)(o.codes + channel), (int)o.ld, false, o.scale};
}

// Steps t, those of them that are there.
template <int COUNT>
static __device__ __forceinline__ void load_quads(const struct source &from, const int (&t)[COUNT],
                                                  int length, struct quad (&to)[COUNT])
{
    if (from.values) {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            if ((unsigned)t[i] < (unsigned)length)
                to[i].raw = *(const float4 *)(from.at + (long)t[i] * from.ld);
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            if ((unsigned)t[i] < (unsigned)length)
                to[i].raw.x = *(const float *)(from.at + (long)t[i] * from.ld);
    }
}

static __device__ __forceinline__ void quad_values(const struct source &of, const struct quad &quad,
                                                   float (&to)[4])
{
    if (of.values)
        to[0] = quad.raw.x, to[1] = quad.raw.y, to[2] = quad.raw.z, to[3] = quad.raw.w;
    else
        values_of_codes(__float_as_uint(quad.raw.x), of.scale, to);
}

static __device__ __forceinline__ void delta_of(const struct source &dt, const struct quad &quad,
                                                const float (&bias)[4], float (&delta)[4])
{
    quad_values(dt, quad, delta);
#pragma unroll
    for (int i = 0; i < 4; i++)
        delta[i] += bias[i];
    softplus_four(delta);
}

// Where y goes.
struct target {
    char *at; // NULL: nowhere
    int ld;   // bytes
    bool half;
};

// y silu(z)
static __device__ __forceinline__ void leave_quad(const struct target &to, int t, const float (&y)[4],
                                                  const struct source &z, const struct quad &quad)
{
    float v[4];
    quad_values(z, quad, v);
    silu_four(v);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[i] = y[i] * v[i];
        if (to.half) v[i] = vf_round_half(v[i]);
    }
    *(float4 *)(to.at + (long)t * to.ld) = make_float4(v[0], v[1], v[2], v[3]);
}

#endif
