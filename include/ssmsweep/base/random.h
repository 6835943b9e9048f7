// SPDX-License-Identifier: Apache-2.0
// Random numbers by counter: value i of a stream is a function of (seed, name of the stream, i) alone, so
// that threads may divide a stream.  Integers and IEEE +, -, *, / and sqrt only, nothing of libm: the same
// bits everywhere.
#ifndef SSMSWEEP_BASE_RANDOM_H
#define SSMSWEEP_BASE_RANDOM_H

#include <stdint.h>

// Key of a stream.
uint64_t random_stream(uint64_t seed, const char *name);

// 64 random bits: SplitMix64 (Steele, Lea, Flood 2014) started at the key, its step number `index`.
static inline uint64_t random_bits(uint64_t stream, uint64_t index)
{
    uint64_t z = stream + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

// Uniform in [0, 1), 53 bits.
static inline double random_uniform(uint64_t stream, uint64_t index)
{
    return (double)(random_bits(stream, index) >> 11) * 0x1p-53;
}

// Uniform in 0 .. below-1; below is at most 2^32.
static inline uint32_t random_below(uint64_t stream, uint64_t index, uint64_t below)
{
    return (uint32_t)((random_bits(stream, index) >> 32) * below >> 32);
}

// Puts `items` into an order by chance (Fisher and Yates).
void random_shuffle(int *items, int count, uint64_t stream);

// Nearly normal, mean 0, variance 1: the sum of 64 coin flips (binomial, standard deviation 4) and of two
// uniforms in [-1/2, 1/2), which makes a density of straight lines through points 1/4 apart on the bell.
// Excess kurtosis -0.03; reaches beyond 8.  Value `index` takes the bits 2*index and 2*index + 1.
static inline double random_normal(uint64_t stream, uint64_t index)
{
    uint64_t flips = random_bits(stream, 2 * index), rest = random_bits(stream, 2 * index + 1);
    int64_t heads = (int64_t)__builtin_popcountll(flips) - 33;
    int64_t sum = heads * (INT64_C(1) << 32) + (int64_t)(rest >> 32) + (int64_t)(rest & UINT32_MAX);
    return ((double)sum + 1.0) * 0x1.fd5a9eebfd779p-35; // 2^-32 / sqrt(16 + 1/6)
}

// exp(x) and log(x) to a few units of the last place, for |x| <= 700 and positive normal x.
double random_exp(double x);
double random_log(double x);

// The same for every x, and as portable.
double portable_log(double x); // natural; -INFINITY for 0 and what is subnormal, NaN below 0
double portable_exp(double x); // 0 or INFINITY beyond +-700

#endif
