// SPDX-License-Identifier: Apache-2.0
// Doubles for the vector layer: sums over many elements run in eight lanes whatever the width, which are DW
// wide parts of a row of eight.
#ifndef SSMSWEEP_COMPUTE_CPU_ISA_VECD_H
#define SSMSWEEP_COMPUTE_CPU_ISA_VECD_H

#include "vec.h"

#if defined(ISA_ONE)
enum { DW = 1 };
typedef double vd;
typedef int64_t vl;
#else
enum { DW = VW / 2 };
typedef double vd __attribute__((vector_size(DW * 8)));
typedef int64_t vl __attribute__((vector_size(DW * 8)));
#endif
enum { DPARTS = SUM_LANES / DW };

VEC vd vd_set1(double x)
{
#if defined(ISA_AVX512)
    return _mm512_set1_pd(x);
#elif defined(ISA_AVX2)
    return _mm256_set1_pd(x);
#elif defined(ISA_ONE)
    return x;
#else
    return (vd){x, x};
#endif
}

VEC vd vd_zero(void)
{
    return vd_set1(0);
}

VEC vl vl_bits(vd v)
{
    vl bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

VEC vd vd_bits(vl v)
{
    vd bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

VEC vd vd_load(const double *p)
{
    vd v;
    memcpy(&v, p, sizeof v);
    return v;
}

VEC void vd_store(double *p, vd v)
{
    memcpy(p, &v, sizeof v);
}

VEC vd vd_load_floats(const float *p)
{
#if defined(ISA_AVX512)
    return _mm512_cvtps_pd(_mm256_loadu_ps(p));
#elif defined(ISA_AVX2)
    return _mm256_cvtps_pd(_mm_loadu_ps(p));
#elif defined(ISA_ONE)
    return *p;
#else
    return (vd){p[0], p[1]};
#endif
}

VEC vd vd_fma(vd a, vd b, vd c)
{
#if defined(ISA_AVX512)
    return _mm512_fmadd_pd(a, b, c);
#elif defined(ISA_AVX2)
    return _mm256_fmadd_pd(a, b, c);
#elif defined(ISA_ONE)
#if defined(SSMSWEEP_NO_FMA)
    return a * b + c;
#else
    return fma(a, b, c);
#endif
#else
    return (vd){fma(a[0], b[0], c[0]), fma(a[1], b[1], c[1])};
#endif
}

// sum + v.  With AVX-512 as a multiply-add, because the sums keep the adders busy and these units idle.
VEC vd vd_accumulate(vd sum, vd v)
{
#if defined(ISA_AVX512)
    return _mm512_fmadd_pd(v, _mm512_set1_pd(1.0), sum);
#else
    return sum + v;
#endif
}

// a where the mask is set, else b.
VEC vd vd_select(vl mask, vd a, vd b)
{
    return vd_bits((vl_bits(a) & mask) | (vl_bits(b) & ~mask));
}

// a < b ? a : b
VEC vd vd_min(vd a, vd b)
{
#if defined(ISA_AVX512)
    return _mm512_min_pd(a, b);
#elif defined(ISA_AVX2)
    return _mm256_min_pd(a, b);
#elif defined(ISA_ONE)
    return a < b ? a : b;
#else
    return vd_select((vl)(a < b), a, b);
#endif
}

// a > b ? a : b
VEC vd vd_max(vd a, vd b)
{
#if defined(ISA_AVX512)
    return _mm512_max_pd(a, b);
#elif defined(ISA_AVX2)
    return _mm256_max_pd(a, b);
#elif defined(ISA_ONE)
    return a > b ? a : b;
#else
    return vd_select((vl)(a > b), a, b);
#endif
}

VEC vd vd_abs(vd v)
{
    return vd_bits(vl_bits(v) & INT64_MAX);
}

#if !defined(ISA_ONE)
// Mask of those lanes of a part that are among the first `count` of the row of eight.
VEC vl vl_first(int count, int part)
{
    vl mask;
    for (int j = 0; j < DW; j++)
        mask[j] = part * DW + j < count ? -1 : 0;
    return mask;
}
#endif

// exp(x) for x <= 709, relative error below 4e-16; what is below -700 counts as -700.  Cody-Waite reduction
// by n = rint(x / ln 2), which is read off the last bits of the sum with 1.5 * 2^52, then a polynomial of
// degree 11 (relative fit error 2e-17), then n is added to the exponent.  Several side by side, operation by
// operation, because each waits for the one in front of it for longer than a processor sees ahead.
enum { EXPS_SIDE_BY_SIDE = 4 };
#define EACH_EXP _Pragma("GCC unroll 4") for (int i = 0; i < count; i++)
#define EXP_STEP(c) EACH_EXP p[i] = vd_fma(p[i], x[i], vd_set1(c))

// count: a constant up to EXPS_SIDE_BY_SIDE
VEC void vd_exps(vd *x, int count)
{
    const vd magic = vd_set1(0x1.8p+52);
    vd shifted[EXPS_SIDE_BY_SIDE], n[EXPS_SIDE_BY_SIDE], p[EXPS_SIDE_BY_SIDE];
    EACH_EXP x[i] = vd_max(x[i], vd_set1(-700.0));
    EACH_EXP shifted[i] = vd_fma(x[i], vd_set1(0x1.71547652b82fep+0), magic);
    EACH_EXP n[i] = shifted[i] - magic;
    EACH_EXP x[i] = vd_fma(n[i], vd_set1(-0x1.62e42fee00000p-1), x[i]);
    EACH_EXP x[i] = vd_fma(n[i], vd_set1(-0x1.a39ef35793c76p-33), x[i]);
    EACH_EXP p[i] = vd_set1(0x1.af38b54e1e505p-26);
    EXP_STEP(0x1.28918590c4da6p-22);
    EXP_STEP(0x1.71de0da7cb8b6p-19);
    EXP_STEP(0x1.a019b90cf6663p-16);
    EXP_STEP(0x1.a01a01a7c6c86p-13);
    EXP_STEP(0x1.6c16c1788bea9p-10);
    EXP_STEP(0x1.11111111109acp-7);
    EXP_STEP(0x1.5555555553d63p-5);
    EXP_STEP(0x1.5555555555556p-3);
    EXP_STEP(0x1.0000000000001p-1);
    EXP_STEP(1.0);
    EXP_STEP(1.0);
    EACH_EXP x[i] = vd_bits(vl_bits(p[i]) + (vl_bits(shifted[i]) << 52));
}

VEC vd vd_exp(vd x)
{
    vd_exps(&x, 1);
    return x;
}

#endif
