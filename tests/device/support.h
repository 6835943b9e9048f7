// SPDX-License-Identifier: Apache-2.0
// What the tests on a GPU share: random numbers, arrays on both sides, comparing bits.
#ifndef SSMSWEEP_TESTS_DEVICE_SUPPORT_H
#define SSMSWEEP_TESTS_DEVICE_SUPPORT_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cuda_runtime_api.h>

#include "ssmsweep/compute/cuda.h"

#define MUST(call) must((int)(call), #call, __FILE__, __LINE__)

static inline void must(int result, const char *what, const char *file, int line)
{
    if (result == 0) return;
    fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, cudaGetErrorString((cudaError_t)result));
    exit(1);
}

// xorshift, seeded for each array: the same numbers everywhere.
static inline uint32_t next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    return *seed ^= *seed << 5;
}

// One array in memory of the host and of the device.
struct twin {
    void *host, *device;
    size_t bytes;
};

static inline struct twin twin_of(size_t bytes)
{
    struct twin twin = {.bytes = (bytes + 63) / 64 * 64};
    twin.host = aligned_alloc(64, twin.bytes);
    if (!twin.host) exit(1);
    memset(twin.host, 0, twin.bytes);
    MUST(cudaMalloc(&twin.device, twin.bytes));
    MUST(cudaMemset(twin.device, 0, twin.bytes));
    return twin;
}

static inline void twin_free(struct twin *twin)
{
    free(twin->host);
    MUST(cudaFree(twin->device));
    *twin = (struct twin){0};
}

static inline void twin_send(const struct twin *twin)
{
    MUST(cudaMemcpy(twin->device, twin->host, twin->bytes, cudaMemcpyHostToDevice));
}

// What values are like: of kind 0 about 1, of kind 1 of many sizes, of kind 2 subnormal, of kind 3 with
// infinities and NaN here and there.
static inline float number(uint32_t *seed, int kind)
{
    const float unit = (float)(next(seed) >> 8) / 8388608.0f - 1.0f;
    if (kind == 1) return ldexpf(unit, (int)(next(seed) % 60) - 40);
    if (kind == 2) return unit * 1e-39f;
    if (kind == 3 && next(seed) % 997 == 0) return next(seed) % 2 ? NAN : INFINITY;
    return unit;
}

// `width` of each row of `ld`, the rest zero.
static inline struct twin twin_floats(uint32_t seed, long rows, long ld, long width, int kind, float scale)
{
    struct twin twin = twin_of((size_t)(rows * ld) * sizeof(float));
    float *v = twin.host;
    for (long t = 0; t < rows; t++)
        for (long i = 0; i < ld; i++)
            v[t * ld + i] = i < width ? number(&seed, kind) * scale : 0;
    twin_send(&twin);
    return twin;
}

// Codes with many of the edges -128, -127, 0, 127.
static inline struct twin twin_codes(uint32_t seed, long rows, long ld, long width)
{
    static const int8_t edges[] = {-128, -127, 0, 127};
    struct twin twin = twin_of((size_t)(rows * ld));
    int8_t *v = twin.host;
    for (long t = 0; t < rows; t++)
        for (long i = 0; i < ld; i++) {
            const uint32_t r = next(&seed);
            v[t * ld + i] = i >= width ? 0 : r % 4 == 0 ? edges[r / 4 % 4] : (int8_t)(r >> 24);
        }
    twin_send(&twin);
    return twin;
}

// Floats whose bits differ, any NaN for any NaN.
static inline long differing(const float *a, const float *b, long count)
{
    long found = 0;
    for (long i = 0; i < count; i++)
        found += memcmp(&a[i], &b[i], sizeof *a) != 0 && !(isnan(a[i]) && isnan(b[i]));
    return found;
}

static inline void *fetched(const struct twin *twin)
{
    void *copy = malloc(twin->bytes);
    if (!copy) exit(1);
    MUST(cudaMemcpy(copy, twin->device, twin->bytes, cudaMemcpyDeviceToHost));
    return copy;
}

// Compares both sides; returns how many values differ.
static inline long twin_differs(const struct twin *twin, bool floats)
{
    void *device = fetched(twin);
    long found = 0;
    if (floats)
        found = differing(twin->host, device, (long)(twin->bytes / sizeof(float)));
    else
        for (size_t i = 0; i < twin->bytes; i++)
            found += ((const char *)twin->host)[i] != ((const char *)device)[i];
    free(device);
    return found;
}

// ---- the two backends ----

static struct batch *batches[2]; // of the processor, of the GPU
static struct arena arenas[2];
static const struct backend *backends[2];

static inline void open_batches(const struct batch_shape *shape)
{
    struct error err = {0};
    backends[0] = &backend_cpu, backends[1] = backend_cuda();
    for (int i = 0; i < 2; i++) {
        struct arena measured;
        arena_init_measure(&measured);
        backends[i]->carve(NULL, shape, &measured);
        if (backends[i]->reserve(&arenas[i], measured.used_bytes, "a test", &err) ||
            backends[i]->open(&batches[i], shape, &err)) {
            printf("FAIL %s\n", err.text);
            exit(1);
        }
        backends[i]->carve(batches[i], shape, &arenas[i]);
    }
}

static inline void close_batches(void)
{
    for (int i = 0; i < 2; i++) {
        backends[i]->close(batches[i]);
        backends[i]->release(&arenas[i]);
    }
}

#endif
