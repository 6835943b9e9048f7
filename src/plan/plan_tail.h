// SPDX-License-Identifier: Apache-2.0
// How the order of hand-out ends: coarse items first, finer ones behind them, so that all ranks end together.
#ifndef SSMSWEEP_PLAN_PLAN_TAIL_H
#define SSMSWEEP_PLAN_PLAN_TAIL_H

#include "plan_groups.h"

// So many samples, in shards of so many, each shard in all groups of a division.
struct trial_stretch {
    int division, samples, shard;
};
struct trial {
    int n;
    struct trial_stretch stretches[PLAN_STRETCHES];
};

// What the sweep is divided over.
struct extent {
    int ranks, samples;
    int given_shard;                 // 0: to be chosen
    const int32_t *length;           // [samples] tokens
    const int *order;                // [samples] in which they are handed out; NULL: as they are
    double tokens;                   // of all samples
    const struct finished *finished; // what needs nothing any more; NULL: nothing is
};

// Beyond so many items for each rank the end is short however they are divided.
enum { PLAN_FEW_ITEMS = 64 };

// Local, and the same on every rank.  Samples of a shard of a division: large enough to be worth a message,
// small enough for some items per rank.
int tail_shard(const struct division *division, const struct extent *extent);

// Local, and the same on every rank.  The trial that ends first when each item goes to the rank that is free
// first, over ranks of slightly different speed.  Coarse divisions come first in a trial: each further group
// computes the reference once more.
enum status tail_choose(struct trial *chosen, const struct divisions *divisions, const struct extent *extent,
                        struct error *err);

#endif
