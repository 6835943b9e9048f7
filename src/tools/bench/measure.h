// SPDX-License-Identifier: Apache-2.0
// Timing on a machine that is shared: loads are run in turn, so that all of them see the same disturbances,
// and the best of many short runs counts.  What one thread does is timed by the processor time it gets, which
// leaves out the time in which another process has the core; what a team does, by the clock on the wall.
#ifndef SSMSWEEP_TOOLS_BENCH_MEASURE_H
#define SSMSWEEP_TOOLS_BENCH_MEASURE_H

#include <stdbool.h>

// A repeatable piece of work, and what became of its runs.
struct load {
    void (*run)(void *context);
    void *context;
    double work; // of one run: operations, bytes or elements
    bool team;   // several threads
    // from measure()
    double best_seconds, median_seconds;
    int runs;
};

double clock_seconds(void);     // monotonic
double processor_seconds(void); // that this process used

// Runs all loads in turn, again and again, for about `seconds` (at least three turns, one of them
// unmeasured).
void measure(struct load *loads, int count, double seconds);

double load_rate(const struct load *load); // work per second of the best run

// Doubles *rounds, which `load` obeys, until a run takes half a millisecond.  For one thread: the first run
// of a team takes long whatever it does.
void load_lengthen(const struct load *load, long *rounds);

#endif
