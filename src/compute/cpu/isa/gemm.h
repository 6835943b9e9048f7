// SPDX-License-Identifier: Apache-2.0
// What the GEMMs share: blocks of rows that stay in the second-level cache, and weights that are fetched
// while the tiles of a column are computed.
#ifndef SSMSWEEP_COMPUTE_CPU_ISA_GEMM_H
#define SSMSWEEP_COMPUTE_CPU_ISA_GEMM_H

#include "vec.h"

enum { GEMM_BLOCK_BYTES = 512 << 10 }; // of activations

// Rows to take at once: blocks alike, of whole tiles.
VEC int gemm_block_rows(int rows, long row_bytes, int tile_rows)
{
    const long blocks = (rows * row_bytes + GEMM_BLOCK_BYTES - 1) / GEMM_BLOCK_BYTES;
    const long some = (rows + blocks - 1) / (blocks > 0 ? blocks : 1);
    return (int)((some + tile_rows - 1) / tile_rows * tile_rows);
}

// What a tile fetches for the column behind its own: from `at` on, `step` bytes for each k.
struct gemm_ahead {
    const char *at;
    long step;
};

// The share of tile `tile` of `bytes` of weights, in `steps` steps.
VEC struct gemm_ahead gemm_share(const void *next, long bytes, int tile, int tiles, long steps)
{
    const long each = bytes / tiles;
    struct gemm_ahead ahead;
    ahead.at = (const char *)next + tile * each;
    ahead.step = (each + steps - 1) / steps;
    return ahead;
}

#endif
