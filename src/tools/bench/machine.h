// SPDX-License-Identifier: Apache-2.0
// Loads that say what the machine can do at best, to be run beside what is compared with them.
#ifndef SSMSWEEP_TOOLS_BENCH_MACHINE_H
#define SSMSWEEP_TOOLS_BENCH_MACHINE_H

#include <stdbool.h>

#include "setting.h"

// The GEMMs' multiply-adds on registers alone, on every thread of a team.
struct peak {
    const struct kernels *kernels;
    struct team *team;
    int threads;
    bool int8;
    long rounds;
    double operations; // of the last run on one thread
};
struct load peak_load(struct peak *peak, const struct setting *setting, int threads, bool int8);

// The exp kernel on arrays that stay in the first-level cache.
enum { EXP_COUNT = 1024 };
struct exps {
    const struct kernels *kernels;
    struct team *team;
    int threads;
    long rounds;
    float in[EXP_COUNT];
};
struct load exps_load(struct exps *exps, const struct setting *setting, int threads);

// a = b + s c over arrays that no cache holds; work: bytes as STREAM counts them.
struct triad {
    struct team *team;
    float *a, *b, *c;
    int count, threads;
};
struct load triad_load(struct triad *triad, const struct setting *setting, int threads);

// Rows of group `machine`.
enum status machine_measure(struct setting *setting, struct error *err);

#endif
