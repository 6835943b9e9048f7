// SPDX-License-Identifier: Apache-2.0
// Progress of a phase on rank 0: how much of its work is done, items, time left.
#ifndef SSMSWEEP_SWEEP_PROGRESS_H
#define SSMSWEEP_SWEEP_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

// When lines are shown, where that is no number of seconds; as --progress lists the words.
enum { PROGRESS_AUTO = -1, PROGRESS_ALWAYS = -2, PROGRESS_NEVER = -3 };

// In caller memory, no clean-up needed.
struct progress {
    const char *phase;
    int done, total;                         // items
    double work, all_work;                   // in any unit, set after progress_start(); 0: items count
    double started, shown, interval_seconds; // interval < 0: silent
    bool terminal;                           // one line, rewritten in place
    double idle_seconds; // of this rank, from its last item to the end of the phase, by scheduler_run()
};

double progress_clock(void);                                       // monotonic seconds
void progress_write_time(char *text, size_t room, double seconds); // "12 s", "3 min", "2.5 h"

// Local.  seconds: one line each interval; PROGRESS_ALWAYS: a line that is rewritten; PROGRESS_AUTO: that on
// a terminal, also where mpirun stands between, else nothing.  A rank other than 0 passes quiet = true.
void progress_start(struct progress *progress, const char *phase, int total, double seconds, bool quiet);
void progress_step(struct progress *progress, int items, double work); // more are done; 0: looks at the clock
void progress_end(struct progress *progress);

#endif
