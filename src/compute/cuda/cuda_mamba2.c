// SPDX-License-Identifier: Apache-2.0
// Steps that Mamba-2 alone has.
#include "cuda_batch.h"

static int longest_of(const struct cuda_batch *b, const struct parts *parts)
{
    int longest = parts->samples > 1 ? 0 : parts->tokens;
    for (int s = 0; parts->samples > 1 && s < parts->samples; s++)
        if (b->lengths[s] > longest) longest = b->lengths[s];
    return longest;
}

size_t cuda_ssd_bytes(const struct ssd *ssd, int samples)
{
    const struct parts parts = {.tokens = ssd->length, .samples = samples};
    return device_ssd_bytes(ssd, &parts, ssd->length);
}

void cuda_ssd(struct batch *batch, const struct ssd *ssd)
{
    struct cuda_batch *b = cuda_of(batch);
    const struct parts parts = parts_of(b);
    const int longest = longest_of(b, &parts);
    struct ssd there = *ssd;
    there.dt_bias = here(b, ssd->dt_bias);
    there.A = here(b, ssd->A);
    there.D = here(b, ssd->D);
    if (parts.samples > 1 && !ssd->of_samples) there.state = NULL;
    const size_t bytes = device_ssd_bytes(&there, &parts, longest);
    float *home = bytes ? cuda_room(b, &b->home, bytes) : NULL;
    if (bytes && !home) return;
    device_ssd(b->stream, &there, &parts, longest, home);
    cuda_launched(b);
}

void cuda_gated_norm(struct batch *batch, const struct gated_norm *norm)
{
    struct cuda_batch *b = cuda_of(batch);
    struct gated_norm there = *norm;
    there.weight = here(b, norm->weight);
    device_gated_norm(b->stream, &there, batch->tokens);
    cuda_launched(b);
}
