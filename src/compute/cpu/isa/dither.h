// SPDX-License-Identifier: Apache-2.0
// Implementation noise: which unit in the last place an element moves by.
#ifndef SSMSWEEP_COMPUTE_CPU_ISA_DITHER_H
#define SSMSWEEP_COMPUTE_CPU_ISA_DITHER_H

#include "vec.h"

// SplitMix64's finalizer (Steele, Lea and Flood 2014): every input bit reaches every output bit.
VEC uint64_t dither_mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

// mixed: dither_mix() of the key; t counts from the sample's first token on.
VEC uint64_t dither_random(uint64_t mixed, int t, int i)
{
    return dither_mix(mixed ^ ((uint64_t)t << 32 | (uint64_t)i));
}

// Moves a normal number by -1, 0 or +1 unit in the last place; the rest stays.
VEC float dither_nudge(float y, uint64_t random)
{
    uint32_t bits;
    memcpy(&bits, &y, sizeof bits);
    const uint32_t exponent = bits >> 23 & 0xffu;
    if (exponent == 0 || exponent == 0xffu) return y;
    bits += (uint32_t)(random % 3) - 1u;
    memcpy(&y, &bits, sizeof y);
    return y;
}

#endif
