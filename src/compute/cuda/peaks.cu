// SPDX-License-Identifier: Apache-2.0
// What a GPU does at best, for `bench`: kernels that do one thing alone, on registers, in as many chains side
// by side as no one waits for another.
#include "lane.cuh"

enum { THREADS = 256, BLOCKS_OF_PROCESSOR = 8, CHAINS = 16, UNROLLED = 16, TILES = 8 };

// Sums that stay finite and differ from chain to chain; what comes out is looked at, if only by the compiler.
static __global__ void __launch_bounds__(THREADS) peak_f32(long rounds, float *out)
{
    float sums[CHAINS];
    const float by = 0.999f - 1e-4f * (float)(threadIdx.x % 8), plus = 1e-3f * (float)(threadIdx.x + 1);
#pragma unroll
    for (int c = 0; c < CHAINS; c++)
        sums[c] = (float)(c + 1) * plus;
    for (long r = 0; r < rounds; r++)
#pragma unroll
        for (int u = 0; u < UNROLLED; u++)
#pragma unroll
            for (int c = 0; c < CHAINS; c++)
                sums[c] = vf_fma(sums[c], by, plus);
    float all = 0;
#pragma unroll
    for (int c = 0; c < CHAINS; c++)
        all += sums[c];
    if (all == 0.5f) out[threadIdx.x] = all;
}

// Tiles of 16 x 8 outputs and 32 k, as products.cu has them; below compute capability 8.0 products of four by
// the ordinary processors, as there.
static __global__ void __launch_bounds__(THREADS) peak_s8(long rounds, float *out)
{
    int sums[TILES][4] = {};
    const uint32_t seed = threadIdx.x * 2654435761u + 12345u;
    const uint32_t a[4] = {seed, seed * 3u, seed * 5u, seed * 7u}, b[2] = {seed * 11u, seed * 13u};
    for (long r = 0; r < rounds; r++)
#pragma unroll
        for (int u = 0; u < UNROLLED; u++)
#pragma unroll
            for (int t = 0; t < TILES; t++) {
#if __CUDA_ARCH__ >= 800
                asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, "
                             "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                             : "+r"(sums[t][0]), "+r"(sums[t][1]), "+r"(sums[t][2]), "+r"(sums[t][3])
                             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
#pragma unroll
                for (int e = 0; e < 32; e++)
                    sums[t][e % 4] = __dp4a((int)a[e % 4], (int)b[e % 2], sums[t][e % 4]);
#endif
            }
    int all = 0;
#pragma unroll
    for (int t = 0; t < TILES; t++)
        all += sums[t][0] ^ sums[t][1] ^ sums[t][2] ^ sums[t][3];
    if (all == 12345) out[threadIdx.x] = (float)all;
}

// A little below zero, as the scan has them, and again and again of what came out.
static __global__ void __launch_bounds__(THREADS) peak_exp(long rounds, float *out)
{
    float x[CHAINS];
#pragma unroll
    for (int c = 0; c < CHAINS; c++)
        x[c] = 1e-3f * (float)(threadIdx.x + c);
    for (long r = 0; r < rounds; r++)
#pragma unroll
        for (int c = 0; c < CHAINS; c++)
            x[c] = vf_exp_near(-x[c]);
    float all = 0;
#pragma unroll
    for (int c = 0; c < CHAINS; c++)
        all += x[c];
    if (all == 0.5f) out[threadIdx.x] = all;
}

double device_peak(device_stream stream, enum device_peak peak, int processors, long rounds, float *out)
{
    const unsigned blocks = (unsigned)processors * BLOCKS_OF_PROCESSOR;
    const double threads = (double)blocks * THREADS * (double)rounds;
    switch (peak) {
    case DEVICE_PEAK_F32:
        peak_f32<<<blocks, THREADS, 0, stream>>>(rounds, out);
        return 2.0 * UNROLLED * CHAINS * threads;
    case DEVICE_PEAK_S8:
        peak_s8<<<blocks, THREADS, 0, stream>>>(rounds, out);
        return 2.0 * 16 * 8 * 32 / WARP * UNROLLED * TILES * threads;
    default:
        peak_exp<<<blocks, THREADS, 0, stream>>>(rounds, out);
        return CHAINS * threads;
    }
}
