// SPDX-License-Identifier: Apache-2.0
// What --dry-run says about memory: of the sweep and of the comparison that follows it.
#ifndef SSMSWEEP_SWEEP_MEMORY_PLAN_H
#define SSMSWEEP_SWEEP_MEMORY_PLAN_H

#include <stddef.h>
#include <stdio.h>

#include "ssmsweep/sweep/sweep.h"

// Bytes that nobody can take from the processes: Pss_Anon and Pss_Shmem of /proc/PID/smaps_rollup, without
// the pages of mapped files.
struct memory_plan {
    int ranks; // of the node of rank 0
    size_t node, weights;
    size_t rank;    // the largest of them, without the weights
    size_t started; // of that, what it held before the sweep
};

// Collective, after sweep_open().  Zero where the system does not tell what a process holds.
struct memory_plan memory_plan_make(const struct sweep *sweep);
// Local.
void memory_plan_print(FILE *out, const struct memory_plan *plan);

#endif
