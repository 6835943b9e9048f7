// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/random.h"

#include <float.h>
#include <math.h>

uint64_t random_stream(uint64_t seed, const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325); // FNV-1a
    for (const char *c = name; *c; c++)
        hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
    return random_bits(random_bits(seed, 0) ^ hash, 0);
}

void random_shuffle(int *items, int count, uint64_t stream)
{
    for (int i = count - 1; i > 0; i--) {
        const uint32_t other = random_below(stream, (uint64_t)i, (uint64_t)i + 1);
        const int item = items[i];
        items[i] = items[other];
        items[other] = item;
    }
}

// rint, ldexp and frexp are exact, so no libm differs in them.
double random_exp(double x)
{
    double n = rint(x * 0x1.71547652b82fep+0), sum = 1;
    double r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33; // ln 2 in two parts
    for (int k = 14; k > 0; k--)
        sum = 1 + sum * r / k;
    return ldexp(sum, (int)n);
}

double random_log(double x)
{
    int exponent;
    double m = frexp(x, &exponent), sum = 0;
    if (m < 0x1.6a09e667f3bcdp-1) {
        m *= 2;
        exponent--;
    }
    double s = (m - 1) / (m + 1), square = s * s; // log m = 2 atanh s, |s| < 0.172
    for (int k = 25; k > 0; k -= 2)
        sum = sum * square + 1.0 / k;
    return exponent * 0x1.62e42fefa39efp-1 + 2 * s * sum;
}

double portable_log(double x)
{
    if (isnan(x) || x < 0) return NAN;
    if (x < DBL_MIN) return -INFINITY;
    return isinf(x) ? (double)INFINITY : random_log(x);
}

double portable_exp(double x)
{
    if (isnan(x)) return NAN;
    if (x > 700) return INFINITY;
    return x < -700 ? 0 : random_exp(x);
}
