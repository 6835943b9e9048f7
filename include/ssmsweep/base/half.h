// SPDX-License-Identifier: Apache-2.0
// IEEE half precision (binary16) and FP32, by their bits: no processor is needed that has it.
#ifndef SSMSWEEP_BASE_HALF_H
#define SSMSWEEP_BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float float_of_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// Exact, and no FP32 subnormal occurs on the way.  Without branches, so that the compiler can use vectors.
static inline float half_to_float(uint16_t half)
{
    const int32_t sign = (int32_t)((uint32_t)(half & 0x8000u) << 16), rest = half & 0x7fff;
    const int32_t bias =
        rest >= 0x7c00 ? 224 << 23 : 112 << 23; // infinities and NaN: to the largest exponent
    const int32_t normal = (rest << 13) + bias;
    const int32_t subnormal = (int32_t)bits_of_float((float)rest * 0x1p-24f);
    const int32_t is_normal = -(int32_t)(rest >= 0x0400);
    return float_of_bits((uint32_t)(sign | (normal & is_normal) | (subnormal & ~is_normal)));
}

// The nearest half, of two the even one: infinite from 65520 on.  A NaN stays one, quiet.
static inline uint16_t half_of_float(float value)
{
    const uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
    if (size > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (size >> 13 & 0x3ffu));
    if (size >= bits_of_float(65520.0f)) return (uint16_t)(sign | 0x7c00u);
    if (size < bits_of_float(0x1p-14f)) // a subnormal half: the last bit of 0.5 is its
        return (uint16_t)(sign | (bits_of_float(float_of_bits(size) + 0.5f) - bits_of_float(0.5f)));
    return (uint16_t)(sign | (size + 0xfffu + (size >> 13 & 1u) - (112u << 23)) >> 13);
}

#endif
