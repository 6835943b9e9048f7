// SPDX-License-Identifier: Apache-2.0
// What all measurements of one run share.
#ifndef SSMSWEEP_TOOLS_BENCH_SETTING_H
#define SSMSWEEP_TOOLS_BENCH_SETTING_H

#include <stdint.h>

#include "rows.h"
#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/compute/kernels.h"

struct setting {
    const struct kernels *kernels;
    const struct model *model;
    int length;  // tokens
    int vocab;   // logits of a token
    int threads; // "all"
    struct team *team;
    double seconds; // for each measurement
    float *pool;    // far more than the caches hold, random in [-1, 1)
    long pool_floats;
    struct arena arena; // owns the pool
    struct row_list rows;
};

// The pool holds the weights of one matrix of every layer, or those of lm_head, and at least what bandwidth
// takes to measure.  vocab: may be another one than the model's.
enum status setting_open(struct setting *setting, const struct model *model, int vocab, int threads,
                         struct error *err);
void setting_close(struct setting *setting);

// Uniform in [-1, 1); the state is any number.
float random_uniform(uint32_t *state);

// Team sizes to measure: 1 and, if it is another one, `threads`.
static inline int team_sizes(const struct setting *setting, int sizes[2])
{
    sizes[0] = 1;
    sizes[1] = setting->threads;
    return setting->threads > 1 ? 2 : 1;
}

#endif
