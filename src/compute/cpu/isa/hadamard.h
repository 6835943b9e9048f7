// SPDX-License-Identifier: Apache-2.0
// Hadamard rotation of one row.  Stages narrower than a vector are done inside it: with p the vector whose
// lanes are exchanged at distance h, lanes without bit h get v + p, lanes with it p - v = p + (-v).
#include "vec.h"

// Lane i gets lane i ^ h.
VEC vf exchange(vf v, vi lanes, int h)
{
#if defined(ISA_ONE)
    (void)lanes, (void)h;
    return v;
#elif defined(__clang__)
    vf exchanged = v;
    for (int i = 0; i < VW; i++)
        exchanged[i] = v[i ^ h];
    (void)lanes;
    return exchanged;
#else
    return __builtin_shuffle(v, lanes ^ h);
#endif
}

VEC vf butterfly_inside(vf v, int h)
{
    static const int32_t lane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    vi lanes;
    memcpy(&lanes, lane, sizeof lanes);
    const vi flip = ((lanes & h) != 0) & (int32_t)0x80000000;
#if defined(ISA_AVX512) || defined(ISA_AVX2)
    return vf_fma(v, vf_bits(vi_bits(vf_set1(1.0f)) | flip), exchange(v, lanes, h)); // +-1: exact
#else
    return exchange(v, lanes, h) + vf_bits(vi_bits(v) ^ flip);
#endif
}

enum { SYLVESTER_VECTORS = 8 };

// The stages up to vectors * VW / 2 of `vectors` neighbouring vectors, in registers; vectors is a constant
// after inlining.
VEC void sylvester_block(float *x, int vectors)
{
    vf v[SYLVESTER_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < vectors; i++) {
        v[i] = vf_load(x + i * VW);
#pragma GCC unroll 4
        for (int h = 1; h < VW; h *= 2)
            v[i] = butterfly_inside(v[i], h);
    }
#pragma GCC unroll 3
    for (int h = 1; h < vectors; h *= 2)
#pragma GCC unroll 8
        for (int i = 0; i < vectors; i++)
            if ((i & h) == 0) {
                const vf a = v[i], b = v[i + h];
                v[i] = a + b;
                v[i + h] = a - b;
            }
#pragma GCC unroll 8
    for (int i = 0; i < vectors; i++)
        vf_store(x + i * VW, v[i]);
}

// Stages of a row up to blocks of several vectors; returns the distance of the next stage.
VEC int sylvester_blocks(float *x, int count, int power)
{
    const int vectors = power / VW < SYLVESTER_VECTORS ? power / VW : SYLVESTER_VECTORS;
    for (int i = 0; i < count; i += vectors * VW)
        switch (vectors) {
        case 8:
            sylvester_block(x + i, 8);
            break;
        case 4:
            sylvester_block(x + i, 4);
            break;
        case 2:
            sylvester_block(x + i, 2);
            break;
        default:
            sylvester_block(x + i, 1);
        }
    return vectors * VW;
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

enum { HADAMARD_MAX_BASE = 40, HADAMARD_GROUP = 4 };

// A vector of every chunk: out_i = sum_c m[i][c] x_c, c = 0, 1, ... by FMA, then the factor.  Chunks lie
// `step` apart, those of the result, which may be the same, out_step.
VEC void base_vector(const struct hadamard *h, int base, const float *x, long step, float *out, long out_step)
{
    vf y[HADAMARD_MAX_BASE];
#pragma GCC unroll 12
    for (int c = 0; c < base; c++)
        y[c] = vf_load(x + c * step);
#pragma GCC unroll 3
    for (int i = 0; i < base; i += HADAMARD_GROUP) {
        vf acc[HADAMARD_GROUP];
#pragma GCC unroll 4
        for (int g = 0; g < HADAMARD_GROUP; g++)
            acc[g] = vf_zero();
#pragma GCC unroll 12
        for (int c = 0; c < base; c++)
#pragma GCC unroll 4
            for (int g = 0; g < HADAMARD_GROUP; g++)
                acc[g] = vf_fma(vf_set1(h->matrix[(i + g) * base + c]), y[c], acc[g]);
#pragma GCC unroll 4
        for (int g = 0; g < HADAMARD_GROUP; g++)
            vf_store(out + (i + g) * out_step, acc[g] * vf_set1(h->factor));
    }
}

// Chunks too short for a vector: vectors hold several while they are transformed, and of one vector the lanes
// of a chunk are kept behind the base matrix.
VEC void hadamard_narrow(const struct hadamard *h, float *row)
{
    float x[HADAMARD_MAX_BASE * VW + VW] = {0}, out[HADAMARD_MAX_BASE * VW + VW];
    const size_t chunk_bytes = (size_t)h->power * sizeof *row;
    memcpy(x, row, (size_t)h->dim * sizeof *row);
    for (int i = 0; i < h->dim; i += VW) {
        vf v = vf_load(x + i);
        for (int distance = 1; distance < h->power; distance *= 2)
            v = butterfly_inside(v, distance);
        vf_store(x + i, v);
    }
    if (h->matrix) {
        base_vector(h, h->base, x, h->power, out, VW);
        for (int c = 0; c < h->base; c++)
            memcpy(row + (long)c * h->power, out + c * VW, chunk_bytes);
    } else {
        for (int i = 0; i < h->dim; i++)
            row[i] = x[i] * h->factor;
    }
}

static void hadamard(const struct hadamard *h, float *row)
{
    if (h->power < VW) {
        hadamard_narrow(h, row);
        return;
    }
    for (int stage = sylvester_blocks(row, h->dim, h->power); stage < h->power; stage *= 2)
        sylvester_stage(row, h->dim, stage);
    if (!h->matrix)
        for (int i = 0; i < h->dim; i++)
            row[i] *= h->factor;
    if (h->base == 12) // the usual one, unrolled
        for (int j = 0; h->matrix && j < h->power; j += VW)
            base_vector(h, 12, row + j, h->power, row + j, h->power);
    else
        for (int j = 0; h->matrix && j < h->power; j += VW)
            base_vector(h, h->base, row + j, h->power, row + j, h->power);
}
