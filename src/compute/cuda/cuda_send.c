// SPDX-License-Identifier: Apache-2.0
// What goes from the host to a GPU: the weights, rows of embeddings, and what layers make on the host,
// vectors of scales and orders of columns.
#include <stdlib.h>
#include <string.h>

#include "cuda_batch.h"

enum {
    STAGES = 3,            // of weights on their way
    STAGE_BYTES = 4 << 20, // pinned memory takes longer to get than to fill
    PARTS = 64,            // of what threads do
    LINE = 64              // bytes
};

// ---- weights ----

// A part of the weights into pinned memory, by all threads.
struct carrying {
    const unsigned char *from;
    unsigned char *to;
};

static void carry(void *context, int part, int begin, int end)
{
    const struct carrying *c = context;
    (void)part;
    memcpy(c->to + begin, c->from + begin, (size_t)(end - begin));
}

// What is not pinned goes to the device at a fraction of its speed, and pinning takes as long as copying.
static cudaError_t copy_weights(struct cuda_batch *b, unsigned char *to, const unsigned char *from,
                                size_t bytes)
{
    unsigned char *stages = cuda_room(b, &b->staging, (size_t)STAGES * STAGE_BYTES);
    cudaEvent_t gone[STAGES] = {NULL};
    cudaError_t result = stages ? cudaSuccess : cudaErrorMemoryAllocation;
    for (int i = 0; i < STAGES && result == cudaSuccess; i++)
        result = cudaEventCreateWithFlags(&gone[i], cudaEventDisableTiming);
    for (size_t at = 0, i = 0; at < bytes && result == cudaSuccess; at += STAGE_BYTES, i = (i + 1) % STAGES) {
        const size_t here = bytes - at < STAGE_BYTES ? bytes - at : STAGE_BYTES;
        unsigned char *stage = stages + i * STAGE_BYTES;
        struct carrying carrying = {from + at, stage};
        result = cudaEventSynchronize(gone[i]); // of before; one that was never recorded is over
        team_divide(b->team, PARTS, (int)here, LINE, carry, &carrying);
        if (result == cudaSuccess)
            result = cudaMemcpyAsync(to + at, stage, here, cudaMemcpyHostToDevice, b->stream);
        if (result == cudaSuccess) result = cudaEventRecord(gone[i], b->stream);
    }
    const cudaError_t last = cudaStreamSynchronize(b->stream);
    for (int i = 0; i < STAGES; i++)
        if (gone[i]) cudaEventDestroy(gone[i]);
    return result == cudaSuccess ? last : result;
}

enum status cuda_hold(struct batch *batch, const void *weights, size_t bytes, struct error *err)
{
    struct cuda_batch *b = cuda_of(batch);
    void *copy = NULL;
    const cudaError_t result = cudaMalloc(&copy, bytes);
    if (result != cudaSuccess) {
        cudaGetLastError();
        return error_set(err, STATUS_IO, ERROR_MEMORY " on the device: cannot get %zu bytes for the weights",
                         bytes);
    }
    const cudaError_t copied = copy_weights(b, copy, weights, bytes);
    if (copied != cudaSuccess) {
        cudaFree(copy);
        return cuda_error(err, copied, "cannot copy the weights");
    }
    cudaFree(b->device_weights);
    b->weights = weights, b->device_weights = copy, b->weights_bytes = bytes;
    return STATUS_OK;
}

// ---- rows of embeddings ----

// NULL where there is no memory for it, which is noted.
static struct embedded *embedded_of(struct cuda_batch *b, const struct embedding *embedding, long ld)
{
    int i = 0;
    while (i < EMBEDDINGS - 1 && b->embedded[i].context && b->embedded[i].context != embedding->context)
        i++;
    struct embedded *e = &b->embedded[i];
    if (e->context == embedding->context) return e;
    cudaFree(e->rows);
    free(e->is_there);
    *e = (struct embedded){.is_there = calloc((size_t)embedding->rows, 1)};
    const size_t bytes = (size_t)embedding->rows * (size_t)ld * sizeof *e->rows;
    const cudaError_t result = e->is_there ? cudaMalloc((void **)&e->rows, bytes) : cudaErrorMemoryAllocation;
    cuda_note(b, result);
    if (result != cudaSuccess) return NULL;
    cuda_note(b, cudaMemsetAsync(e->rows, 0, bytes, b->stream));
    e->context = embedding->context;
    return e;
}

// Rows on their way, by all threads.
struct rows_begun {
    const struct embedding *embedding;
    const int32_t *ids;
    unsigned char *to;
    size_t row_bytes;
};

static void read_rows(void *context, int part, int begin, int end)
{
    const struct rows_begun *r = context;
    (void)part;
    for (int i = begin; i < end; i++) {
        float *row = (float *)(void *)(r->to + (size_t)i * r->row_bytes);
        memset(row, 0, r->row_bytes);
        r->embedding->row(r->embedding->context, r->ids[i], row);
    }
}

// Rows of those ids that are there for the first time, as many at once as there is pinned memory; ids lie on
// the device as well.
static void send_rows(struct cuda_batch *b, struct embedded *e, struct rows_begun *begun, int count,
                      const int32_t *there, unsigned char *rows_there, long ld)
{
    const int32_t *ids = begun->ids;
    const int most = (int)(STAGE_BYTES / begun->row_bytes) + 1;
    for (int done = 0; done < count && b->failed == cudaSuccess; done += most) {
        const int left = count - done, some = left < most ? left : most;
        begun->ids = ids + done;
        team_divide(b->team, PARTS, some, 1, read_rows, begun);
        cuda_note(b, cudaMemcpyAsync(rows_there, begun->to, (size_t)some * begun->row_bytes,
                                     cudaMemcpyHostToDevice, b->stream));
        device_scatter_rows(b->stream, (const float *)(const void *)rows_there, there + done, some, e->rows,
                            ld);
        cuda_note(b, cudaStreamSynchronize(b->stream));
    }
}

// Rows that are there for the first time go to the device; then it takes all of them from there.
void cuda_embed(struct batch *batch, const struct embedding *embedding, const int32_t *ids, float *out,
                long ld)
{
    struct cuda_batch *b = cuda_of(batch);
    struct embedded *e = embedded_of(b, embedding, ld);
    const size_t id_bytes = (size_t)batch->tokens * sizeof *ids, row_bytes = (size_t)ld * sizeof *out,
                 before = (2 * id_bytes + LINE - 1) / LINE * LINE, room = before + STAGE_BYTES + row_bytes;
    unsigned char *host = cuda_room(b, &b->staging, room), *device = cuda_room(b, &b->copy, room);
    if (!e || !host || !device) return;
    int32_t *all = (int32_t *)(void *)host, *fresh_ids = all + batch->tokens;
    int fresh = 0;
    memcpy(all, ids, id_bytes);
    for (int t = 0; t < batch->tokens; t++)
        if (!e->is_there[ids[t]]) e->is_there[ids[t]] = true, fresh_ids[fresh++] = ids[t];
    cuda_note(b, cudaMemcpyAsync(device, host, 2 * id_bytes, cudaMemcpyHostToDevice, b->stream));
    const int32_t *there = (const int32_t *)(const void *)device;
    struct rows_begun begun = {embedding, fresh_ids, host + before, row_bytes};
    send_rows(b, e, &begun, fresh, there + batch->tokens, device + before, ld);
    device_gather_rows(b->stream, e->rows, there, batch->tokens, out, ld);
    cuda_note(b, cudaStreamSynchronize(b->stream)); // who comes next has the rooms
    cuda_launched(b);
}

// ---- what layers make ----

// What is copied from memory that is not pinned is out of it when the call returns.
static void send(struct cuda_batch *b, const void *from, void *to, size_t bytes)
{
    cuda_note(b, cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, b->stream));
}

float *cuda_draft(struct batch *batch, float *to, long count)
{
    struct cuda_batch *b = cuda_of(batch);
    const size_t bytes = (size_t)count * sizeof *to;
    if (bytes > b->draft.bytes) {
        free(b->draft.memory);
        b->draft.memory = malloc(bytes);
        b->draft.bytes = b->draft.memory ? bytes : 0;
    }
    if (!b->draft.memory) cuda_note(b, cudaErrorMemoryAllocation);
    b->drafted_to = to, b->drafted = b->draft.memory ? bytes : 0;
    return b->draft.memory;
}

void cuda_put(struct batch *batch)
{
    struct cuda_batch *b = cuda_of(batch);
    if (b->drafted > 0) send(b, b->draft.memory, b->drafted_to, b->drafted);
    b->drafted = 0;
}

const int32_t *cuda_order(struct cuda_batch *b, const int32_t *order, int width)
{
    const size_t bytes = (size_t)width * sizeof *order;
    int32_t *there = cuda_room(b, &b->order, bytes);
    if (there) send(b, order, there, bytes);
    return there;
}
