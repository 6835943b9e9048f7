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

float *cuda_per_sample(struct batch *batch, long count)
{
    struct cuda_batch *b = cuda_of(batch);
    return cuda_room(b, &b->of_samples, (size_t)parts_of(b).samples * (size_t)count * sizeof(float));
}
