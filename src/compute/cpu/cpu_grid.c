// SPDX-License-Identifier: Apache-2.0
// How what is observed lies on grids, on the processor: one sample, row by row.
#include <string.h>

#include "cpu_batch.h"
#include "ssmsweep/compute/grid.h"

static void note_largest(float *largest, const float *row, int width)
{
    for (int c = 0; c < width; c++)
        if (fabsf(row[c]) > largest[c]) largest[c] = fabsf(row[c]);
}

static float largest_of(const float *row, int width)
{
    float most = 0;
    for (int c = 0; c < width; c++)
        note_largest(&most, row + c, 1);
    return most;
}

static void add_row(const struct grid_scales *scales, const float *columns, const float *row, int width,
                    double sums[GRID_SUMS], struct grid_tally *tally)
{
    const float of_row = grid_row_scale(largest_of(row, width));
    for (int c = 0; c < width; c++) {
        double errors[GRID_SUMS];
        int clipped;
        if (isnan(row[c])) continue;
        const int place = grid_place(row[c], scales->own, &clipped);
        if (place >= 0) tally->codes[place]++, tally->clipped += (uint64_t)clipped;
        grid_errors(scales, row[c], columns[c], of_row, errors);
        for (int i = 0; i < GRID_SUMS; i++)
            sums[i] += errors[i];
    }
}

void cpu_grid(struct batch *batch, const struct grid_for *grid)
{
    const struct observed *o = grid->observed;
    const struct grid_scales *scales = grid->scales;
    (void)batch;
    for (int p = 0, first = 0; p < grid->parts; first += o->columns[p++].width) {
        const int width = o->columns[p].width;
        double sums[GRID_SUMS] = {0};
        memset(grid->largest + first, 0, (size_t)width * sizeof *grid->largest);
        if (scales) grid->tallies[p] = (struct grid_tally){.clipped = 0};
        for (long t = 0; t < o->rows; t++) {
            const float *row = o->values + t * o->ld + o->columns[p].first;
            note_largest(grid->largest + first, row, width);
            if (scales) add_row(scales, scales->columns + first, row, width, sums, &grid->tallies[p]);
        }
        if (scales) memcpy(grid->sums + p * GRID_SUMS, sums, sizeof sums);
    }
}
