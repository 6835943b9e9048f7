// SPDX-License-Identifier: Apache-2.0
// Progress of a phase on rank 0: items done, rate, time left.
#ifndef SSMSWEEP_SWEEP_PROGRESS_H
#define SSMSWEEP_SWEEP_PROGRESS_H

#include <stdbool.h>

// In caller memory, no clean-up needed.
struct progress {
    const char *phase;
    int done, total;
    double started, shown, interval_seconds; // interval < 0: silent
    bool terminal;                           // one line, rewritten in place
    double idle_seconds; // of this rank, from its last item to the end of the phase, by scheduler_run()
};

double progress_clock(void); // monotonic seconds

// Local.  seconds < 0: a terminal gets a line that is rewritten, anything else gets nothing; else one line
// each interval. A rank other than 0 passes quiet = true.
void progress_start(struct progress *progress, const char *phase, int total, double seconds, bool quiet);
void progress_step(struct progress *progress, int items); // items more are done; 0: only looks at the clock
void progress_end(struct progress *progress);

#endif
