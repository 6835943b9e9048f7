// SPDX-License-Identifier: Apache-2.0
// A small vector layer: the same source at 16 lanes (AVX-512), 8 lanes (AVX2, FMA, F16C), 4 lanes (plain
// GCC vectors, any machine) or 1 lane (ISA_ONE: plain floats, as a thread of a GPU has them).  + - * / on vf
// are IEEE per lane.  min and max return the second operand where a comparison with NaN fails, on every
// width.
#ifndef SSMSWEEP_COMPUTE_CPU_ISA_VEC_H
#define SSMSWEEP_COMPUTE_CPU_ISA_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(ISA_AVX512) || defined(ISA_AVX2)
#include <immintrin.h>
#endif

#if defined(ISA_AVX512)
enum { VW = 16 };
#elif defined(ISA_AVX2)
enum { VW = 8 };
#elif defined(ISA_ONE)
enum { VW = 1 };
#else
enum { VW = 4 };
#endif

#if defined(ISA_ONE)
typedef float vf;
typedef int32_t vi;
#else
typedef float vf __attribute__((vector_size(VW * 4)));
typedef int32_t vi __attribute__((vector_size(VW * 4)));
#endif

#if defined(__CUDACC__)
#define VEC static __host__ __device__ __forceinline__
#define UNROLL_16 _Pragma("unroll")
#else
#define VEC static inline __attribute__((always_inline, unused))
#define UNROLL_16 _Pragma("GCC unroll 16")
#endif

VEC vf vf_load(const float *p)
{
#if defined(ISA_ONE)
    return *p; // by memcpy() a GPU would take byte after byte
#else
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
#endif
}

VEC void vf_store(float *p, vf v)
{
#if defined(ISA_ONE)
    *p = v;
#else
    memcpy(p, &v, sizeof v);
#endif
}

VEC vf vf_set1(float x)
{
#if defined(ISA_AVX512)
    return _mm512_set1_ps(x);
#elif defined(ISA_AVX2)
    return _mm256_set1_ps(x);
#elif defined(ISA_ONE)
    return x;
#else
    return (vf){x, x, x, x};
#endif
}

VEC vf vf_zero(void)
{
    return vf_set1(0);
}

VEC vi vi_bits(vf v)
{
    vi bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

VEC vf vf_bits(vi v)
{
    vf bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

// Integers as floats, rounded to nearest.
VEC vf vf_of(vi v)
{
#if defined(ISA_ONE)
    return (vf)v;
#else
    return __builtin_convertvector(v, vf);
#endif
}

VEC vf vf_fma(vf a, vf b, vf c)
{
#if defined(ISA_AVX512)
    return _mm512_fmadd_ps(a, b, c);
#elif defined(ISA_AVX2)
    return _mm256_fmadd_ps(a, b, c);
#elif defined(SSMSWEEP_NO_FMA) // to count those that are not named (tests/device/ptx.py)
    return a * b + c;
#elif defined(ISA_ONE)
    return fmaf(a, b, c);
#else
    vf r;
    for (int i = 0; i < VW; i++)
        r[i] = fmaf(a[i], b[i], c[i]);
    return r;
#endif
}

// a < b ? a : b
VEC vf vf_min(vf a, vf b)
{
#if defined(ISA_AVX512)
    return _mm512_min_ps(a, b);
#elif defined(ISA_AVX2)
    return _mm256_min_ps(a, b);
#elif defined(ISA_ONE)
    return a < b ? a : b;
#else
    vi take = a < b;
    return vf_bits((vi_bits(a) & take) | (vi_bits(b) & ~take));
#endif
}

// a > b ? a : b
VEC vf vf_max(vf a, vf b)
{
#if defined(ISA_AVX512)
    return _mm512_max_ps(a, b);
#elif defined(ISA_AVX2)
    return _mm256_max_ps(a, b);
#elif defined(ISA_ONE)
    return a > b ? a : b;
#else
    vi take = a > b;
    return vf_bits((vi_bits(a) & take) | (vi_bits(b) & ~take));
#endif
}

// v <= limit ? a : b
VEC vf vf_not_above(vf v, vf limit, vf a, vf b)
{
#if defined(ISA_AVX512)
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(v, limit, _CMP_LE_OQ), b, a);
#elif defined(ISA_AVX2)
    return _mm256_blendv_ps(b, a, _mm256_cmp_ps(v, limit, _CMP_LE_OQ));
#elif defined(ISA_ONE)
    return v <= limit ? a : b;
#else
    vi take = v <= limit;
    return vf_bits((vi_bits(a) & take) | (vi_bits(b) & ~take));
#endif
}

VEC vf vf_abs(vf v)
{
    return vf_bits(vi_bits(v) & 0x7fffffff);
}

// Is an element other than zero below `limit` in size?
VEC int vf_any_below(vf v, float limit)
{
#if defined(ISA_AVX512)
    const __mmask16 small = _mm512_cmp_ps_mask(vf_abs(v), vf_set1(limit), _CMP_LT_OQ);
    return _mm512_mask_cmp_ps_mask(small, v, vf_zero(), _CMP_NEQ_OQ) != 0;
#elif defined(ISA_AVX2)
    const __m256 small = _mm256_cmp_ps(vf_abs(v), vf_set1(limit), _CMP_LT_OQ);
    return !_mm256_testz_ps(small, _mm256_cmp_ps(v, vf_zero(), _CMP_NEQ_OQ));
#elif defined(ISA_ONE)
    return v != 0 && vf_abs(v) < limit;
#else
    int any = 0;
    for (int i = 0; i < VW; i++)
        any |= v[i] != 0 && fabsf(v[i]) < limit;
    return any;
#endif
}

// vf_any_below() of any of `count` vectors.
VEC int vf_some_below(const vf *v, int count, float limit)
{
#if defined(ISA_AVX512)
    // Bits without the sign, less one, grow with the size, and those of zero are the largest.
    const __m512i one = _mm512_set1_epi32(1);
    const __m512i bound = _mm512_set1_epi32((vi_bits(vf_set1(limit))[0] << 1) - 1);
    __m512i least = _mm512_sub_epi32((__m512i)(vi_bits(v[0]) << 1), one);
    for (int i = 1; i < count; i++)
        least = _mm512_min_epu32(least, _mm512_sub_epi32((__m512i)(vi_bits(v[i]) << 1), one));
    return _mm512_cmplt_epu32_mask(least, bound) != 0;
#else
    int some = 0;
    for (int i = 0; i < count; i++)
        some |= vf_any_below(v[i], limit);
    return some;
#endif
}

VEC vf vf_sign_of(vf magnitude, vf sign)
{
    return vf_bits(vi_bits(magnitude) | (vi_bits(sign) & (int32_t)0x80000000));
}

// Nearest integer, ties to even.
VEC vf vf_rint(vf v)
{
#if defined(ISA_AVX512)
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(ISA_AVX2)
    return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(ISA_ONE)
    return rintf(v);
#else
    vf r;
    for (int i = 0; i < VW; i++)
        r[i] = rintf(v[i]);
    return r;
#endif
}

VEC vf vf_floor(vf v)
{
#if defined(ISA_AVX512)
    return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#elif defined(ISA_AVX2)
    return _mm256_round_ps(v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
#elif defined(ISA_ONE)
    return floorf(v);
#else
    vf r;
    for (int i = 0; i < VW; i++)
        r[i] = floorf(v[i]);
    return r;
#endif
}

// v * 2^n for integral n in [-151, 129] and |v| near 1: one rounding, gradual underflow.
VEC vf vf_scale2(vf v, vf n)
{
#if defined(ISA_AVX512)
    return _mm512_scalef_ps(v, n);
#else
#if defined(ISA_AVX2)
    vi k = (vi)_mm256_cvtps_epi32(n);
#elif defined(ISA_ONE)
    vi k = n == n ? (vi)n : 0; // the conversion of NaN is undefined
#else
    vi ordered = n == n; // the conversion of NaN is undefined
    vi k = __builtin_convertvector(vf_bits(vi_bits(n) & ordered), vi);
#endif
    vi half = k >> 1;
    vf low = vf_bits((half + 127) << 23), high = vf_bits((k - half + 127) << 23);
    return v * low * high;
#endif
}

// int8 -> float
VEC vf vf_load_s8(const int8_t *p)
{
#if defined(ISA_AVX512)
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
#elif defined(ISA_AVX2)
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
#elif defined(ISA_ONE)
    return (vf)*p;
#else
    return (vf){p[0], p[1], p[2], p[3]};
#endif
}

// Integral values in [-128, 127] -> int8.
VEC void vf_store_s8(int8_t *p, vf v)
{
#if defined(ISA_AVX512)
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
#elif defined(ISA_AVX2)
    __m256i words = _mm256_cvtps_epi32(v);
    __m128i packed = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(packed, packed));
#elif defined(ISA_ONE)
    *p = (int8_t)v;
#else
    for (int i = 0; i < VW; i++)
        p[i] = (int8_t)v[i];
#endif
}

#if !defined(ISA_AVX512) && !defined(ISA_AVX2)
// IEEE binary16 by integer arithmetic: nearest, ties to even, gradual underflow; NaN keeps its upper payload
// bits.
VEC float half_round_bits(float x)
{
#if defined(__CUDA_ARCH__)
    unsigned short half;
    float there;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(x));
    asm("cvt.f32.f16 %0, %1;" : "=f"(there) : "h"(half));
    const int nan = (__float_as_int(x) & 0xffffe000) | 0x00400000; // which the conversion loses
    return x == x ? there : __int_as_float(nan);
#else
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint32_t sign = bits & 0x80000000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) {
        bits = (bits & 0xffffe000u) | 0x00400000u;
    } else if (magnitude >= 0x477ff000u) { // 65520 and above round to infinity
        bits = sign | 0x7f800000u;
    } else if (magnitude < 0x38800000u) { // below 2^-14: multiples of 2^-24, by adding and taking off 0.5
        float shifted, half = 0.5f;
        memcpy(&shifted, &magnitude, sizeof shifted);
        float sum = shifted + half; // the step of floats in [0.5, 1) is 2^-24
        shifted = sum - half;
        memcpy(&bits, &shifted, sizeof bits);
        bits |= sign;
    } else {
        magnitude += 0x0fffu + ((magnitude >> 13) & 1u);
        bits = sign | (magnitude & 0xffffe000u);
    }
    memcpy(&x, &bits, sizeof x);
    return x;
#endif
}
#endif

// To FP16 and back.
VEC vf vf_round_half(vf v)
{
#if defined(ISA_AVX512)
    return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(ISA_AVX2)
    return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(ISA_ONE)
    return half_round_bits(v);
#else
    vf r;
    for (int i = 0; i < VW; i++)
        r[i] = half_round_bits(v[i]);
    return r;
#endif
}

VEC vf vf_sqrt(vf v)
{
#if defined(ISA_AVX512)
    return _mm512_sqrt_ps(v);
#elif defined(ISA_AVX2)
    return _mm256_sqrt_ps(v);
#elif defined(ISA_ONE)
    return sqrtf(v);
#else
    vf r = vf_zero();
    for (int i = 0; i < VW; i++)
        r[i] = sqrtf(v[i]);
    return r;
#endif
}

// ---- exp, SiLU, softplus: of `count` vectors side by side (a constant, up to SIDE_BY_SIDE) or of one ----

// Operation by operation, because each waits for the one in front of it for longer than a processor sees
// ahead.
enum { SIDE_BY_SIDE = 4 };
#if defined(__CUDACC__)
#define EACH_OF(COUNT) _Pragma("unroll") for (int i = 0; i < (COUNT); i++)
#else
#define EACH_OF(COUNT) _Pragma("GCC unroll 4") for (int i = 0; i < (COUNT); i++)
#endif

// exp(x): Cody-Waite reduction by n = rint(x / ln 2), degree-6 minimax polynomial on [-ln2/2, ln2/2] (fit
// error 3e-9, below 1 ulp in all), scaled by 2^n.  Overflows to infinity above 88.72, underflows gradually to
// zero at -104.  The polynomial for x and n:
VEC void vf_exp_parts(vf *x, const vf *n, int count)
{
    vf p[SIDE_BY_SIDE];
    EACH_OF(count) x[i] = vf_fma(n[i], vf_set1(-0x1.62e400p-1f), x[i]);
    EACH_OF(count) x[i] = vf_fma(n[i], vf_set1(-0x1.7f7d1cp-20f), x[i]);
    EACH_OF(count) p[i] = vf_fma(vf_set1(0x1.6a2430p-10f), x[i], vf_set1(0x1.1239e4p-7f));
    EACH_OF(count) p[i] = vf_fma(p[i], x[i], vf_set1(0x1.5558f2p-5f));
    EACH_OF(count) p[i] = vf_fma(p[i], x[i], vf_set1(0x1.555492p-3f));
    EACH_OF(count) p[i] = vf_fma(p[i], x[i], vf_set1(0x1.fffffcp-2f));
    EACH_OF(count) p[i] = vf_fma(p[i], x[i], vf_set1(1.0f));
    EACH_OF(count) x[i] = vf_fma(p[i], x[i], vf_set1(1.0f));
}

VEC void vf_exps(vf *x, int count)
{
    vf n[SIDE_BY_SIDE];
    // this order of operands lets NaN through
    EACH_OF(count) x[i] = vf_max(vf_set1(-104.0f), vf_min(vf_set1(89.0f), x[i]));
#if defined(__CUDA_ARCH__) // n as in vf_exp_nears(), because conversions are slow there
    const vf magic = vf_set1(0x1.8p+23f);
    EACH_OF(count)
    {
        const vf shifted = x[i] * vf_set1(0x1.715476p+0f) + magic;
        const vi bits = vi_bits(shifted) - vi_bits(magic), half = bits >> 1;
        const vf low = vf_bits((half + 127) << 23), high = vf_bits((bits - half + 127) << 23);
        n[0] = shifted - magic;
        vf_exp_parts(x + i, n, 1);
        x[i] = x[i] * low * high;
    }
#else
    EACH_OF(count) n[i] = vf_rint(x[i] * vf_set1(0x1.715476p+0f));
    vf_exp_parts(x, n, count);
    EACH_OF(count) x[i] = vf_scale2(x[i], n[i]);
#endif
}

// exp(x) for -87 <= x <= 0, in half the instructions: n is read off the last bits of the sum with 1.5 * 2^23,
// and as no result is subnormal, it is added to the exponent.  The same bits.
VEC void vf_exp_nears(vf *x, int count)
{
    const vf magic = vf_set1(0x1.8p+23f);
    vf shifted[SIDE_BY_SIDE], n[SIDE_BY_SIDE];
    EACH_OF(count) shifted[i] = x[i] * vf_set1(0x1.715476p+0f);
    EACH_OF(count) shifted[i] = shifted[i] + magic;
    EACH_OF(count) n[i] = shifted[i] - magic;
    vf_exp_parts(x, n, count);
    EACH_OF(count) x[i] = vf_bits(vi_bits(x[i]) + (vi_bits(shifted[i]) << 23));
}

// x / (1 + exp(-x))
VEC void vf_silus(vf *x, int count)
{
    vf e[SIDE_BY_SIDE];
    EACH_OF(count) e[i] = -x[i];
    vf_exps(e, count);
    EACH_OF(count) x[i] = x[i] / (vf_set1(1.0f) + e[i]);
}

// log(1 + exp(v)) = max(v, 0) + e P(e) with e = exp(-|v|), P a degree-10 minimax polynomial of log1p(e)/e on
// [0, 1] (relative fit error 7e-10).  Above 20 the second term is below half an ulp: softplus(v) = v, as the
// model has it.
VEC void vf_softpluses_of(vf *v, const vf *e, int count)
{
    vf p[SIDE_BY_SIDE];
    EACH_OF(count) p[i] = vf_fma(vf_set1(0x1.0a1aacp-9f), e[i], vf_set1(-0x1.b7555cp-7f));
    EACH_OF(count) p[i] = vf_fma(p[i], e[i], vf_set1(0x1.53c988p-5f));
    EACH_OF(count) p[i] = vf_fma(p[i], e[i], vf_set1(-0x1.51ae16p-4f));
    EACH_OF(count) p[i] = vf_fma(p[i], e[i], vf_set1(0x1.fca87cp-4f));
    EACH_OF(count) p[i] = vf_fma(p[i], e[i], vf_set1(-0x1.49d826p-3f));
    EACH_OF(count) p[i] = vf_fma(p[i], e[i], vf_set1(0x1.975ccap-3f));
    EACH_OF(count) p[i] = vf_fma(p[i], e[i], vf_set1(-0x1.ffbd42p-3f));
    EACH_OF(count) p[i] = vf_fma(p[i], e[i], vf_set1(0x1.55534ep-2f));
    EACH_OF(count) p[i] = vf_fma(p[i], e[i], vf_set1(-0x1.fffff4p-2f));
    EACH_OF(count) p[i] = vf_fma(p[i], e[i], vf_set1(1.0f));
    EACH_OF(count) v[i] = vf_max(vf_zero(), v[i]) + e[i] * p[i];
}

VEC void vf_softpluses(vf *v, int count)
{
    vf e[SIDE_BY_SIDE];
    EACH_OF(count) e[i] = -vf_abs(v[i]);
    vf_exps(e, count);
    vf_softpluses_of(v, e, count);
}

VEC vf vf_exp(vf x)
{
    vf_exps(&x, 1);
    return x;
}

VEC vf vf_exp_near(vf x)
{
    vf_exp_nears(&x, 1);
    return x;
}

VEC vf vf_silu(vf x)
{
    vf_silus(&x, 1);
    return x;
}

VEC vf vf_softplus(vf v)
{
    vf_softpluses(&v, 1);
    return v;
}

// min(max(q, -128), 127); NaN gives 127.
VEC vf vf_sat8(vf q)
{
    return vf_max(vf_min(q, vf_set1(127.0f)), vf_set1(-128.0f));
}

// sat8(rint(v)) -> int8.  The conversion rounds to nearest even; what is far below gives INT32_MIN, which
// saturates.
VEC void vf_store_s8_sat(int8_t *p, vf v)
{
#if defined(ISA_AVX512)
    __m512i words = _mm512_cvtps_epi32(vf_min(v, vf_set1(127.0f)));
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtsepi32_epi8(words));
#elif defined(ISA_AVX2)
    __m256i words = _mm256_cvtps_epi32(vf_min(v, vf_set1(127.0f)));
    __m128i packed = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(packed, packed));
#elif defined(__CUDA_ARCH__)
    // The bounds are integers; a sum with 1.5 * 2^23 has the nearest in its low bits, without a conversion.
    *p = (int8_t)__float_as_int(vf_sat8(v) + 0x1.8p+23f);
#else
    vf_store_s8(p, vf_sat8(vf_rint(v)));
#endif
}

// sign(q) * floor(|q| + 0.5): half away from zero.
VEC vf vf_round_away(vf q)
{
    return vf_sign_of(vf_floor(vf_abs(q) + vf_set1(0.5f)), q);
}

// sat8(vf_round_away(v)) -> int8.  To add the half and to cut off what is behind the point is the same.
VEC void vf_store_s8_away(int8_t *p, vf v)
{
#if defined(ISA_AVX512)
    __m512i words = _mm512_cvttps_epi32(vf_min(v + vf_sign_of(vf_set1(0.5f), v), vf_set1(127.0f)));
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtsepi32_epi8(words));
#elif defined(ISA_AVX2)
    __m256i words = _mm256_cvttps_epi32(vf_min(v + vf_sign_of(vf_set1(0.5f), v), vf_set1(127.0f)));
    __m128i packed = _mm_packs_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(packed, packed));
#else
    vf_store_s8(p, vf_sat8(vf_round_away(v)));
#endif
}

// How the blocked scan cuts a sequence (kernels.h).
enum { SCAN_MAX_LANES = 128 };
VEC void scan_shape(int length, int *lanes, int *items)
{
    *lanes = length <= 512 ? 32 : length <= 1024 ? 64 : SCAN_MAX_LANES;
    *items = length <= 128 ? 4 : length <= 256 ? 8 : 16;
}

#endif
