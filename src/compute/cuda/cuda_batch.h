// SPDX-License-Identifier: Apache-2.0
// A batch on a GPU, for cuda.c (steps) and cuda_measure.c (measuring).
#ifndef SSMSWEEP_COMPUTE_CUDA_BATCH_H
#define SSMSWEEP_COMPUTE_CUDA_BATCH_H

#include <cuda_runtime_api.h>

#include "device.h"
#include "ssmsweep/compute/cuda.h"

// Memory that grows to what was asked for.
struct room {
    void *memory;
    size_t bytes;
    bool on_host; // pinned
};

// Rows of an embedding that the device has: each goes there once.
struct embedded {
    const void *context;
    float *rows;    // [embedding's rows][ld] on the device
    bool *is_there; // [embedding's rows]
};
enum { EMBEDDINGS = 2 }; // of a W8A8 checkpoint and of its float model

struct cuda_batch {
    struct batch batch;
    struct team *team;
    cudaStream_t stream;
    cudaError_t failed; // the first
    // The samples at hand, where they are more than one; their tokens are batch.tokens.
    struct parts divided;
    long division;           // counts them
    int *lengths;            // [max_tokens], of the samples
    int *firsts, *sample_of; // [max_tokens + 1], [max_tokens] on the device, as the next
    int *broken;             // [max_tokens]
    float *most;             // [max_tokens]
    struct embedded embedded[EMBEDDINGS];
    struct room staging, copy;    // of rows, on the host and on the device
    struct room turned;           // activations of a product
    struct room home;             // of states
    struct room keys, keys_here;  // of dither, of each sample
    size_t keys_at, keys_samples; // the next place of those, and its size
    struct room look, looked;     // what observers ask for, on the device and on the host
    struct room of_samples;       // what a layer leaves of each sample
    struct room order;            // of columns
    struct room draft;            // on the host, not pinned: what put() brings
    float *drafted_to;
    size_t drafted;                   // bytes; 0: nothing
    struct cuda_measuring *measuring; // NULL: nothing was measured yet
    const unsigned char *weights;     // the block on the host
    unsigned char *device_weights;    // its copy
    size_t weights_bytes;
};

static inline struct cuda_batch *cuda_of(struct batch *batch)
{
    return (struct cuda_batch *)batch;
}

// The first failure is kept until settle(); the second asks for that of a launch.
void cuda_note(struct cuda_batch *b, cudaError_t result);
void cuda_launched(struct cuda_batch *b);

// Local: what became of `what`.
enum status cuda_error(struct error *err, cudaError_t result, const char *what);

// Room of so many bytes; NULL where there is none left, which is noted.
void *cuda_room(struct cuda_batch *b, struct room *room, size_t bytes);

// The samples at hand.
static inline struct parts parts_of(const struct cuda_batch *b)
{
    if (b->divided.samples > 1 && b->divided.tokens == b->batch.tokens) return b->divided;
    return (struct parts){.tokens = b->batch.tokens, .samples = 1, .broken = b->broken};
}

// Where it is on the device, weights or not.
static inline const void *here(const struct cuda_batch *b, const void *p)
{
    const unsigned char *at = p;
    const bool packed = p && at >= b->weights && at < b->weights + b->weights_bytes;
    return packed ? b->device_weights + (at - b->weights) : p;
}

// The order of columns on the device, until the next call; NULL: there is no memory left, which is noted.
const int32_t *cuda_order(struct cuda_batch *b, const int32_t *order, int width);

// As struct backend has them.
enum status cuda_hold(struct batch *batch, const void *weights, size_t bytes, struct error *err);
void cuda_embed(struct batch *batch, const struct embedding *embedding, const int32_t *ids, float *out,
                long ld);
void cuda_look(struct batch *batch, const struct look_for *look);
void cuda_grid(struct batch *batch, const struct grid_for *grid);
float *cuda_per_sample(struct batch *batch, long count);
float *cuda_draft(struct batch *batch, float *to, long count);
void cuda_put(struct batch *batch);
void cuda_ssd(struct batch *batch, const struct ssd *ssd);
void cuda_gated_norm(struct batch *batch, const struct gated_norm *norm);
void cuda_measure(struct batch *batch, const struct pair *pairs, int count, struct measured *found);
void cuda_predict(struct batch *batch, struct prediction *predictions, const float *reference_logits,
                  const float *mode_logits, const int32_t *next, int count, int first_id, int ids,
                  int stride);
void cuda_collect(struct batch *batch, int left);
bool cuda_same(struct batch *batch, const float *a, const float *b, long count);
void cuda_measuring_close(struct cuda_measuring *measuring); // NULL is fine

#endif
