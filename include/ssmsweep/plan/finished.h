// SPDX-License-Identifier: Apache-2.0
// Which samples of which runs are stored, a bit for each: every rank has them all.
#ifndef SSMSWEEP_PLAN_FINISHED_H
#define SSMSWEEP_PLAN_FINISHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"

struct finished {
    uint64_t *bits; // [runs][words], behind the samples 0
    int runs;
    size_t words; // of a run
};

// Local.  Nothing is finished.
enum status finished_open(struct finished *finished, int runs, int samples, struct error *err);
void finished_close(struct finished *finished); // a zeroed one is fine

static inline bool finished_has(const struct finished *finished, int run, int sample)
{
    return finished->bits[(size_t)run * finished->words + (size_t)sample / 64] >> (sample % 64) & 1;
}

// Local.
void finished_set(struct finished *finished, int run, int sample, bool value);
long long finished_count(const struct finished *finished);
size_t finished_words(const struct finished *finished); // of bits, all runs

#endif
