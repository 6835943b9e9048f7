// SPDX-License-Identifier: Apache-2.0
// FP32 GEMM.  A tile of outputs stays in registers while k runs over the whole depth: per k, one load of each
// weight vector, one broadcast per row, one FMA per output vector.  Rows are taken in blocks that stay in the
// second-level cache, and while the rows of a block pass a column of weights, the next column is fetched.
#include "gemm.h"
#include "vec.h"

#if defined(ISA_AVX512)
enum { F32_ROWS = 8, F32_PANELS = 3 };
#elif defined(ISA_AVX2)
enum { F32_ROWS = 6, F32_PANELS = 1 };
#else
enum { F32_ROWS = 2, F32_PANELS = 1 };
#endif
enum { F32_PER_PANEL = KERNEL_LANES / VW, F32_VECTORS = F32_PANELS * F32_PER_PANEL };

// rows and panels are constants after inlining.
VEC void f32_tile(const struct gemm_f32 *g, int row, int panel, int rows, int panels, struct gemm_ahead ahead)
{
    const long step = (long)g->depth * KERNEL_LANES;
    const float *a = g->a + row * g->lda, *w = g->w + panel * step;
    const long lda = g->lda;
    vf acc[F32_ROWS][F32_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < panels * F32_PER_PANEL; j++)
            acc[i][j] = vf_zero();
    for (int k = 0; k < g->depth; k++) {
        vf b[F32_VECTORS];
        __builtin_prefetch(ahead.at);
        ahead.at += ahead.step;
#pragma GCC unroll 8
        for (int j = 0; j < panels * F32_PER_PANEL; j++)
            b[j] =
                vf_load(w + (j / F32_PER_PANEL) * step + (long)k * KERNEL_LANES + (j % F32_PER_PANEL) * VW);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            vf x = vf_set1(a[i * lda + k]);
#pragma GCC unroll 8
            for (int j = 0; j < panels * F32_PER_PANEL; j++)
                acc[i][j] = vf_fma(x, b[j], acc[i][j]);
        }
    }
    float *out = g->out + row * g->ldo + (long)panel * KERNEL_LANES;
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 8
        for (int j = 0; j < panels * F32_PER_PANEL; j++)
            vf_store(out + i * g->ldo + j * VW, g->half ? vf_round_half(acc[i][j]) : acc[i][j]);
}

#define F32_CASE(R)                                                                                          \
    case R:                                                                                                  \
        f32_tile(g, row, panel, (R) <= F32_ROWS ? (R) : F32_ROWS, panels, here);                             \
        break;

// One column of tiles; next: panels of the column behind it, which is fetched meanwhile, or none.
VEC void f32_column(const struct gemm_f32 *g, int row0, int row1, int panel, int panels, int next)
{
    const long bytes = (long)next * g->depth * KERNEL_LANES * (long)sizeof(float);
    const float *behind = g->w + (long)(panel + panels) * g->depth * KERNEL_LANES;
    const struct gemm_ahead here = {(const char *)(g->w + (long)panel * g->depth * KERNEL_LANES), 0};
    const int tiles = (row1 - row0) / F32_ROWS;
    int row = row0;
    for (int tile = 0; tile < tiles; tile++, row += F32_ROWS)
        f32_tile(g, row, panel, F32_ROWS, panels,
                 next ? gemm_share(behind, bytes, tile, tiles, g->depth) : here);
    switch (row1 - row) {
        F32_CASE(1)
        F32_CASE(2)
        F32_CASE(3)
        F32_CASE(4)
        F32_CASE(5)
        F32_CASE(6)
        F32_CASE(7)
    default:
        break;
    }
}

// Panels of the column that begins at `panel`.
VEC int f32_wide(int panel, int panel1)
{
    const int left = panel1 - panel;
    return left < F32_PANELS ? left : F32_PANELS;
}

VEC void f32_columns(const struct gemm_f32 *g, int row0, int row1, int panel0, int panel1)
{
    for (int panel = panel0, panels = f32_wide(panel, panel1), next; panels > 0;
         panel += panels, panels = next) {
        next = f32_wide(panel + panels, panel1);
        if (panels == F32_PANELS)
            f32_column(g, row0, row1, panel, F32_PANELS, next);
        else if (F32_PANELS == 3 && panels == 2)
            f32_column(g, row0, row1, panel, 2, next);
        else
            f32_column(g, row0, row1, panel, 1, next);
    }
}

static void gemm_f32(const struct gemm_f32 *g, int row0, int row1, int panel0, int panel1)
{
    const int some = gemm_block_rows(row1 - row0, g->depth * (long)sizeof *g->a, F32_ROWS);
    for (int row = row0; row < row1; row += some)
        f32_columns(g, row, row1 - row < some ? row1 : row + some, panel0, panel1);
}
