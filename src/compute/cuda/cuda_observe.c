// SPDX-License-Identifier: Apache-2.0
// Observers on a GPU: some bytes of each sample go there and come back.
#include <string.h>

#include "cuda_batch.h"

static struct device_view view_of(const struct observed *observed)
{
    struct device_view view = {.values = observed->values,
                               .ld = observed->ld,
                               .rows = observed->of_samples ? observed->rows : 0,
                               .parts = observed->parts};
    for (int p = 0; p < observed->parts; p++)
        view.first[p] = observed->columns[p].first, view.width[p] = observed->columns[p].width;
    return view;
}

// What is found lies in front of the counts, and behind both room for ranks.
void cuda_look(struct batch *batch, const struct look_for *look)
{
    struct cuda_batch *b = cuda_of(batch);
    const struct parts parts = parts_of(b);
    const struct device_view view = view_of(look->observed);
    const size_t samples = (size_t)parts.samples, bins = look->bins ? (size_t)look->bins->count : 0,
                 found = samples * sizeof *look->found, back = found + samples * bins * sizeof(uint32_t);
    char *there = cuda_room(b, &b->look, back + device_ranks_bytes(parts.samples)),
         *here = cuda_room(b, &b->looked, back);
    if (!view.values || !there || !here) return;
    uint32_t *counts = (void *)(there + found), *room = (void *)(there + back);
    memcpy(here, look->found, found);
    cuda_note(b, cudaMemcpyAsync(there, here, found, cudaMemcpyHostToDevice, b->stream));
    if (look->ranked)
        device_ranks(b->stream, &view, &parts, (void *)there, room);
    else
        device_largest(b->stream, &view, &parts, (void *)there);
    if (look->bins) device_bins(b->stream, &view, &parts, look->bins, counts);
    cuda_note(b, cudaMemcpyAsync(here, there, back, cudaMemcpyDeviceToHost, b->stream));
    cuda_launched(b);
    cuda_note(b, cudaStreamSynchronize(b->stream));
    if (b->failed != cudaSuccess) return;
    memcpy(look->found, here, found);
    const uint32_t *counted = (const void *)(here + found);
    for (size_t s = 0; s < samples; s++)
        for (size_t i = 0; i < bins; i++)
            look->counts[(long)s * look->stride + (long)i] += counted[s * bins + i];
}

// ---- grids ----

// What comes back, one behind the other; sizes of each in bytes.
struct grid_shape {
    size_t sums, tallies, largest;
};

static struct grid_shape shape_of(const struct grid_for *grid, const struct device_view *view, int samples)
{
    struct grid_shape shape = {0};
    for (int p = 0; p < view->parts; p++)
        shape.largest += (size_t)view->width[p] * sizeof(float);
    if (!grid->scales) return shape;
    shape.sums = (size_t)(samples * view->parts * GRID_SUMS) * sizeof(double);
    shape.tallies = (size_t)view->parts * sizeof(struct grid_tally);
    return shape;
}

static void take_grid(const struct grid_for *grid, const struct grid_shape *shape, const char *made,
                      int samples)
{
    const size_t sums = (size_t)(grid->parts * GRID_SUMS) * sizeof(double);
    memcpy(grid->largest, made + shape->sums + shape->tallies, shape->largest);
    if (!grid->scales) return;
    for (int s = 0; s < samples; s++)
        memcpy(grid->sums + s * grid->stride, made + (size_t)s * sums, sums);
    memcpy(grid->tallies, made + shape->sums, shape->tallies);
}

// Behind what comes back lie the scales of columns, on their way there, and room for rows.
void cuda_grid(struct batch *batch, const struct grid_for *grid)
{
    struct cuda_batch *b = cuda_of(batch);
    const struct parts parts = parts_of(b);
    struct device_view view = view_of(grid->observed);
    view.parts = grid->parts;
    const struct grid_shape shape = shape_of(grid, &view, parts.samples);
    const size_t back = shape.sums + shape.tallies + shape.largest, all = back + shape.largest;
    char *there = cuda_room(b, &b->look, all + device_grid_bytes(&view, &parts)),
         *here = cuda_room(b, &b->looked, all);
    if (!view.values || !there || !here) return;
    cuda_note(b, cudaMemsetAsync(there, 0, back, b->stream));
    device_grid_largest(b->stream, &view, &parts, (void *)(there + shape.sums + shape.tallies));
    if (grid->scales) {
        struct grid_scales scales = *grid->scales;
        memcpy(here + back, scales.columns, shape.largest);
        cuda_note(
            b, cudaMemcpyAsync(there + back, here + back, shape.largest, cudaMemcpyHostToDevice, b->stream));
        scales.columns = (void *)(there + back);
        device_grid(b->stream, &view, &parts, &scales, (void *)there, (void *)(there + shape.sums),
                    (void *)(there + all));
    }
    cuda_note(b, cudaMemcpyAsync(here, there, back, cudaMemcpyDeviceToHost, b->stream));
    cuda_launched(b);
    cuda_note(b, cudaStreamSynchronize(b->stream));
    if (b->failed == cudaSuccess) take_grid(grid, &shape, here, parts.samples);
}

float *cuda_per_sample(struct batch *batch, long count)
{
    struct cuda_batch *b = cuda_of(batch);
    return cuda_room(b, &b->of_samples, (size_t)parts_of(b).samples * (size_t)count * sizeof(float));
}
