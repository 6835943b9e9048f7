// SPDX-License-Identifier: Apache-2.0
// What the files of the processor's backend share: cpu.c (life, steps), cpu_grid.c, cpu_measure.c
// (captures, measuring).
#ifndef SSMSWEEP_COMPUTE_CPU_BATCH_H
#define SSMSWEEP_COMPUTE_CPU_BATCH_H

#include <math.h>

#include "ssmsweep/compute/backend.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/compute/measure.h"

// What a thread has room for: rows of the reference's logits that are kept for all modes, blocks of pairs.
enum { EXPECTED_ROWS = 64, FOUND_BLOCKS = 32 };

struct cpu_batch {
    struct batch batch;
    const struct kernels *kernels;
    struct team *team; // of `threads`
    int threads;
    int32_t *bias128; // [max_tokens]
    float *scratch;   // [threads][scratch_floats]
    long scratch_floats;
    struct expected expected; // [threads][EXPECTED_ROWS]
    int expected_rows;
    struct pair_part *parts;        // [threads][FOUND_BLOCKS]
    uint64_t (*bins)[PROFILE_BINS]; // [threads]
};

static inline struct cpu_batch *cpu_of(struct batch *batch)
{
    return (struct cpu_batch *)batch;
}

static inline void cpu_divide(const struct cpu_batch *b, int count, int grain, team_range body, void *context)
{
    team_divide(b->team, b->threads, count, grain, body, context);
}

static inline void cpu_break_row(float *row, int width)
{
    for (int i = 0; i < width; i++)
        row[i] = NAN;
}

// cpu_grid.c, then cpu_measure.c; struct backend says what each does.
void cpu_grid(struct batch *batch, const struct grid_for *grid);
const float *cpu_give(struct batch *batch, const struct seen *seen, float *room);
void cpu_keep(struct batch *batch, const struct seen *seen, float *to);
void cpu_measure(struct batch *batch, const struct pair *pairs, int count, struct measured *found);
void cpu_expect(struct batch *batch, const float *reference_logits, int count, int ids, int stride);
void cpu_predict(struct batch *batch, struct prediction *predictions, const float *reference_logits,
                 const float *mode_logits, const int32_t *next, int count, int first_id, int ids, int stride);

#endif
