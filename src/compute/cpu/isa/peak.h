// SPDX-License-Identifier: Apache-2.0
// What the GEMMs could reach at best: their multiply-add instructions on registers alone, in enough
// independent chains to hide the latency.  Comes behind gemm_s8.h, whose instructions it repeats.
#include "vec.h"

#if defined(ISA_AVX512)
enum { PEAK_CHAINS = 24 };
#elif defined(ISA_AVX2)
enum { PEAK_CHAINS = 12 };
#else
enum { PEAK_CHAINS = 8 };
#endif

// Makes the compiler believe that the value is used.
VEC void peak_keep(const void *value)
{
    __asm__ volatile("" : : "r"(value) : "memory");
}

static double peak_f32(long rounds)
{
    const vf x = vf_set1(0.5f), w = vf_set1(0x1p-10f);
    vf acc[PEAK_CHAINS];
#pragma GCC unroll 24
    for (int j = 0; j < PEAK_CHAINS; j++)
        acc[j] = vf_set1((float)j);
    for (long r = 0; r < rounds; r++)
#pragma GCC unroll 24
        for (int j = 0; j < PEAK_CHAINS; j++)
            acc[j] = vf_fma(x, w, acc[j]);
    vf sum = vf_zero();
#pragma GCC unroll 24
    for (int j = 0; j < PEAK_CHAINS; j++)
        sum += acc[j];
    peak_keep(&sum);
    return 2.0 * VW * PEAK_CHAINS * (double)rounds;
}

#if defined(ISA_AVX512) || defined(ISA_AVXVNNI)

static double peak_s8(long rounds)
{
    const vi zero = {0}, x = zero + 0x01010101, w = zero + 0x03030303;
    vi acc[PEAK_CHAINS], sum = zero;
#pragma GCC unroll 24
    for (int j = 0; j < PEAK_CHAINS; j++)
        acc[j] = zero + j;
    for (long r = 0; r < rounds; r++)
#pragma GCC unroll 24
        for (int j = 0; j < PEAK_CHAINS; j++)
            S8_DOT(acc[j], w, x);
#pragma GCC unroll 24
    for (int j = 0; j < PEAK_CHAINS; j++)
        sum += acc[j];
    peak_keep(&sum);
    return 2.0 * 4 * VW * PEAK_CHAINS * (double)rounds;
}

#elif defined(ISA_AVX2)

static double peak_s8(long rounds)
{
    const __m256i x = _mm256_set1_epi16(1), w = _mm256_set1_epi16(3);
    __m256i product, acc[PEAK_CHAINS], sum = _mm256_setzero_si256();
#pragma GCC unroll 24
    for (int j = 0; j < PEAK_CHAINS; j++)
        acc[j] = _mm256_set1_epi32(j);
    for (long r = 0; r < rounds; r++)
#pragma GCC unroll 24
        for (int j = 0; j < PEAK_CHAINS; j++) // an asm, because the product is to be taken each time
            __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0"
                    : "+x"(acc[j]), "=&x"(product)
                    : "x"(w), "x"(x));
#pragma GCC unroll 24
    for (int j = 0; j < PEAK_CHAINS; j++)
        sum = _mm256_add_epi32(sum, acc[j]);
    peak_keep(&sum);
    return 2.0 * 16 * PEAK_CHAINS * (double)rounds;
}

#else

static double peak_s8(long rounds)
{
    int32_t one = 1;
    vi acc[PEAK_CHAINS], sum = {0};
#pragma GCC unroll 24
    for (int j = 0; j < PEAK_CHAINS; j++)
        acc[j] = (vi){j, j, j, j};
    for (long r = 0; r < rounds; r++) {
        __asm__ volatile("" : "+r"(one)); // the product is to be taken each time
        const vi x = {one, one, one, one};
#pragma GCC unroll 24
        for (int j = 0; j < PEAK_CHAINS; j++)
            acc[j] += x * (vi){3 + j, 5, 7, 9};
    }
#pragma GCC unroll 24
    for (int j = 0; j < PEAK_CHAINS; j++)
        sum += acc[j];
    peak_keep(&sum);
    return 2.0 * VW * PEAK_CHAINS * (double)rounds;
}

#endif
