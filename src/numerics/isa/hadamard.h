// SPDX-License-Identifier: Apache-2.0
// Hadamard rotation of one row.  Stages narrower than a vector are done inside it: with p the vector whose
// lanes are exchanged at distance h, lanes without bit h get v + p, lanes with it p - v = p + (-v).
#include "vec.h"

VEC vf butterfly_inside(vf v, int h)
{
    static const int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vi lanes;
    memcpy(&lanes, lane, sizeof lanes);
    const vi flip = ((lanes & h) != 0) & (int32_t)0x80000000;
    return __builtin_shuffle(v, lanes ^ h) + vf_bits(vi_bits(v) ^ flip);
}

VEC void sylvester_inside(float *x, int count)
{
    for (int i = 0; i < count; i += VW) {
        vf v = vf_load(x + i);
#pragma GCC unroll 4
        for (int h = 1; h < VW; h *= 2)
            v = butterfly_inside(v, h);
        vf_store(x + i, v);
    }
}

VEC void sylvester_stage(float *x, int count, int h)
{
    for (int i = 0; i < count; i += 2 * h)
        for (int j = i; j < i + h; j += VW) {
            vf a = vf_load(x + j), b = vf_load(x + j + h);
            vf_store(x + j, a + b);
            vf_store(x + j + h, a - b);
        }
}

// Chunks too short for a vector.
VEC void sylvester_narrow(float *x, int count, int power)
{
    for (int h = 1; h < power; h *= 2)
        for (int i = 0; i < count; i += 2 * h)
            for (int j = i; j < i + h; j++) {
                float a = x[j], b = x[j + h];
                x[j] = a + b;
                x[j + h] = a - b;
            }
}

enum { HADAMARD_MAX_BASE = 40, HADAMARD_GROUP = 4 };

// Column j of the chunks: out_i = sum_c m[i][c] y_c, c = 0, 1, ... by FMA, then the factor.
VEC void base_vector(const struct hadamard *h, float *x)
{
    vf y[HADAMARD_MAX_BASE];
    for (int c = 0; c < h->base; c++)
        y[c] = vf_load(x + (long)c * h->power);
    for (int i = 0; i < h->base; i += HADAMARD_GROUP) {
        vf acc[HADAMARD_GROUP];
#pragma GCC unroll 4
        for (int g = 0; g < HADAMARD_GROUP; g++)
            acc[g] = vf_zero();
        for (int c = 0; c < h->base; c++)
#pragma GCC unroll 4
            for (int g = 0; g < HADAMARD_GROUP; g++)
                acc[g] = vf_fma(vf_set1(h->matrix[(i + g) * h->base + c]), y[c], acc[g]);
#pragma GCC unroll 4
        for (int g = 0; g < HADAMARD_GROUP; g++)
            vf_store(x + (long)(i + g) * h->power, acc[g] * vf_set1(h->factor));
    }
}

VEC void base_narrow(const struct hadamard *h, float *x)
{
    float y[HADAMARD_MAX_BASE];
    for (int c = 0; c < h->base; c++)
        y[c] = x[(long)c * h->power];
    for (int i = 0; i < h->base; i++) {
        float acc = 0;
        for (int c = 0; c < h->base; c++)
            acc = fmaf(h->matrix[i * h->base + c], y[c], acc);
        x[(long)i * h->power] = acc * h->factor;
    }
}

static void hadamard(const struct hadamard *h, float *row)
{
    const int wide = h->power >= VW;
    if (wide) {
        sylvester_inside(row, h->dim);
        for (int stage = VW; stage < h->power; stage *= 2)
            sylvester_stage(row, h->dim, stage);
    } else {
        sylvester_narrow(row, h->dim, h->power);
    }
    if (!h->matrix) {
        for (int i = 0; i < h->dim; i++)
            row[i] *= h->factor;
    } else if (wide) {
        for (int j = 0; j < h->power; j += VW)
            base_vector(h, row + j);
    } else {
        for (int j = 0; j < h->power; j++)
            base_narrow(h, row + j);
    }
}
