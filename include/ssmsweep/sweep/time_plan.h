// SPDX-License-Identifier: Apache-2.0
// What --dry-run says about time: one layer of each mode is computed and measured on every rank at once, for
// a second or so in all, and extrapolated by tokens, layers and runs.
#ifndef SSMSWEEP_SWEEP_TIME_PLAN_H
#define SSMSWEEP_SWEEP_TIME_PLAN_H

#include <stdio.h>

#include "ssmsweep/sweep/sweep.h"

// Seconds on the slowest rank.  The reports that follow are not in it.
struct time_plan {
    double pack, calibrate, sweep;
    double item; // the longest
};

// Collective, after sweep_open(): a new sweep, whatever a result file holds.
enum status time_plan_make(struct time_plan *plan, const struct sweep *sweep, struct error *err);

// Local.  "time: about 3 min with 2 ranks x 1 threads: ..."
void time_plan_print(FILE *out, const struct time_plan *plan, const struct sweep *sweep);

#endif
