// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/plan/finished.h"

#include <stdlib.h>

enum { WORD_BITS = 64 };

enum status finished_open(struct finished *finished, int runs, int samples, struct error *err)
{
    const size_t words = ((size_t)samples + WORD_BITS - 1) / WORD_BITS;
    uint64_t *bits = calloc((size_t)runs * words + 1, sizeof *bits);
    if (!bits)
        return error_memory(err, (unsigned long long)runs * words * sizeof *bits, "the states of samples");
    *finished = (struct finished){.bits = bits, .runs = runs, .words = words};
    return STATUS_OK;
}

void finished_close(struct finished *finished)
{
    free(finished->bits);
    *finished = (struct finished){0};
}

void finished_set(struct finished *finished, int run, int sample, bool value)
{
    uint64_t *word = &finished->bits[(size_t)run * finished->words + (size_t)sample / WORD_BITS];
    const uint64_t bit = (uint64_t)1 << (sample % WORD_BITS);
    *word = value ? *word | bit : *word & ~bit;
}

size_t finished_words(const struct finished *finished)
{
    return (size_t)finished->runs * finished->words;
}

long long finished_count(const struct finished *finished)
{
    long long count = 0;
    for (size_t w = 0; w < finished_words(finished); w++)
        count += __builtin_popcountll(finished->bits[w]);
    return count;
}
