// SPDX-License-Identifier: Apache-2.0
// What the tests of steps share: a batch on each backend, and samples of many lengths.
#ifndef SSMSWEEP_TESTS_DEVICE_STEPS_H
#define SSMSWEEP_TESTS_DEVICE_STEPS_H

#include "support.h"

enum { MOST_TOKENS = 4200, MOST_SAMPLES = 5 };

static int failures;
static long compared;

static inline void expect(const char *what, const char *of, const struct twin *twin, bool floats)
{
    const long differ = twin_differs(twin, floats);
    compared += (long)(twin->bytes / (floats ? sizeof(float) : 1));
    if (differ == 0) return;
    printf("FAIL %s, %s: %ld of %zu differ\n", what, of, differ, twin->bytes / (floats ? sizeof(float) : 1));
    failures++;
}

static inline void settle(void)
{
    struct error err = {0};
    if (backends[1]->settle(batches[1], &err) == STATUS_OK) return;
    printf("FAIL %s\n", err.text);
    exit(1);
}

static inline void set_tokens(int tokens)
{
    for (int i = 0; i < 2; i++)
        batches[i]->tokens = batches[i]->broken = tokens;
}

static inline void *side(const struct twin *twin, int i)
{
    return i ? twin->device : twin->host;
}

// ---- steps over the tokens of samples: the processor takes one after the other ----

static const int divisions[][MOST_SAMPLES] = {
    {1}, {37}, {513}, {1025}, {33, 64}, {5, 130, 257}, {700, 1, 1025, 3, 512}, {64, 64, 64}};
enum { DIVISIONS = sizeof divisions / sizeof divisions[0] };

// Begins sample `s` of a division on the processor, or all of it on the GPU; gives its first row.
static inline int begin(const int *lengths, int s, int *samples)
{
    int first = 0, tokens = 0;
    for (*samples = 0; *samples < MOST_SAMPLES && lengths[*samples]; ++*samples) {
        if (*samples < s) first += lengths[*samples];
        tokens += lengths[*samples];
    }
    batches[1]->tokens = batches[1]->broken = tokens;
    batches[0]->tokens = batches[0]->broken = s < *samples ? lengths[s] : 0;
    return first;
}

static inline int tokens_of(const int *lengths)
{
    int samples;
    begin(lengths, 0, &samples);
    backends[1]->divide(batches[1], lengths, samples);
    return batches[1]->tokens;
}

// False: it says why not.
static inline bool is_a_gpu_there(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (backend_cuda() && cuda_devices() > 0) return true;
    printf("SKIP: %s\n", backend_cuda() ? "no GPU on this machine" : "built without CUDA");
    return false;
}

#endif
