// SPDX-License-Identifier: Apache-2.0
// The processor's formulas at one lane, for kernels.
#ifndef SSMSWEEP_COMPUTE_CUDA_LANE_CUH
#define SSMSWEEP_COMPUTE_CUDA_LANE_CUH

#define ISA_ONE 1
#include "device.h"

#include "../cpu/isa/elementwise.h"
#include "../cpu/isa/gemm_s8.h"
#include "../cpu/isa/scan.h"

// The sample of a row, and the row that it begins at.
static __device__ __forceinline__ int part_of(const struct parts &p, int row, int *first)
{
    const int sample = p.sample_of ? p.sample_of[row] : 0;
    *first = p.firsts ? p.firsts[sample] : 0;
    return sample;
}

static __device__ __forceinline__ int part_length(const struct parts &p, int sample)
{
    return p.firsts ? p.firsts[sample + 1] - p.firsts[sample] : p.tokens;
}

static __device__ __forceinline__ float quiet_nan(void)
{
    return __int_as_float(0x7fc00000);
}

// Four neighbours; from: on a boundary of 16 bytes.
static __device__ __forceinline__ void load_four(const float *from, float *to)
{
    const float4 v = *(const float4 *)from;
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

// ---- the formulas of four neighbours, without a branch for each where no argument is far ----

// About 1 / d, to begin from.
static __device__ __forceinline__ float reciprocal_guess(float d)
{
#if defined(SSMSWEEP_NO_FMA)
    return 1.0f / d;
#else
    float guess;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(guess) : "f"(d));
    return guess;
#endif
}

// n / d of d within [1, 2^87] and of n with 2^-100 <= |n| <= 60: nothing on the way is subnormal, and what is
// left over is known exactly.
static __device__ __forceinline__ float quotient_near(float n, float d)
{
    float inverse = reciprocal_guess(d);
    inverse = vf_fma(vf_fma(-d, inverse, 1.0f), inverse, inverse);
    float q = n * inverse;
    q = vf_fma(vf_fma(-d, q, n), inverse, q);
    return vf_fma(vf_fma(-d, q, n), inverse, q);
}

static __device__ __forceinline__ void silu_four(float (&v)[4])
{
    bool near = true;
#pragma unroll
    for (int i = 0; i < 4; i++)
        near = near & (vf_abs(v[i]) <= 60.0f) & ((v[i] == 0) | (vf_abs(v[i]) >= 0x1p-100f));
    if (near) {
#pragma unroll
        for (int i = 0; i < 4; i++)
            v[i] = vf_sign_of(vf_abs(quotient_near(v[i], 1.0f + vf_exp_near(-v[i]))), v[i]); // -0 stays
        return;
    }
#pragma unroll 1
    for (int i = 0; i < 4; i++) { // in turn: an index that is not known would need memory
        const float of_first = vf_silu(v[0]);
        v[0] = v[1], v[1] = v[2], v[2] = v[3], v[3] = of_first;
    }
}

static __device__ __forceinline__ void softplus_four(float (&v)[4])
{
    bool near = true;
#pragma unroll
    for (int i = 0; i < 4; i++)
        near = near & (v[i] >= -87.0f);
    if (near) { // above 87 what is added to v is nothing, whatever it is
        float e[4];
#pragma unroll
        for (int i = 0; i < 4; i++)
            e[i] = vf_exp_near(fmaxf(-vf_abs(v[i]), -87.0f));
        vf_softpluses_of(v, e, 4);
        return;
    }
#pragma unroll 1
    for (int i = 0; i < 4; i++) {
        const float of_first = vf_softplus(v[0]);
        v[0] = v[1], v[1] = v[2], v[2] = v[3], v[3] = of_first;
    }
}

// Four codes of a register.
static __device__ __forceinline__ void values_of_codes(uint32_t codes, float scale, float (&to)[4])
{
    codes ^= 0x80808080u; // each code + 128, which goes behind the exponent of 2^23
#pragma unroll
    for (int i = 0; i < 4; i++)
        to[i] = (__uint_as_float(__byte_perm(codes, 0x4b000000u, 0x7540u + i)) - (0x1p+23f + 128)) * scale;
}

// sat8(round(v / step)) of many v.
struct grid_step {
    float step, inverse, low, high;
    bool usual, ties_away; // usual: nothing below is subnormal or overflows
};

static __device__ __forceinline__ struct grid_step grid_step_of(float step, bool ties_away)
{
    return {step,     1.0f / step, -128.0f * step, 127.0f * step, step >= 0x1p-60f && step <= 0x1p+60f,
            ties_away};
}

// The code is the last byte.  v is cut first, which changes no code; NaN becomes 127.
static __device__ __forceinline__ uint32_t usual_code(const struct grid_step &s, float v)
{
    v = fmaxf(fminf(v, s.high), s.low);
    float q = v * s.inverse;
    q = vf_fma(vf_fma(-s.step, q, v), s.inverse, q);
    q = vf_fma(vf_fma(-s.step, q, v), s.inverse, q);
    if (s.ties_away) q = vf_sign_of(__fadd_rd(vf_abs(q) + 0.5f, 0x1p+23f) - 0x1p+23f, q);
    return __float_as_uint(q + 0x1.8p+23f);
}

static __device__ __forceinline__ uint32_t four_codes(const struct grid_step &s, const float (&v)[4])
{
    uint32_t code[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (s.usual) {
            code[i] = usual_code(s, v[i]);
        } else {
            const float q = v[i] / s.step;
            code[i] = (uint32_t)(int)vf_sat8(s.ties_away ? vf_round_away(q) : vf_rint(q));
        }
    }
    return __byte_perm(__byte_perm(code[0], code[1], 0x0040), __byte_perm(code[2], code[3], 0x0040), 0x5410);
}

static inline unsigned blocks_of(long count, int each)
{
    return (unsigned)((count + each - 1) / each);
}

// More shared memory than a kernel gets unasked.
template <class KERNEL, class... ARGUMENTS>
static void launch(KERNEL *kernel, dim3 grid, int threads, size_t shared_bytes, device_stream stream,
                   ARGUMENTS... arguments)
{
    if (shared_bytes > (48u << 10))
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
    kernel<<<grid, (unsigned)threads, shared_bytes, stream>>>(arguments...);
}

#endif
