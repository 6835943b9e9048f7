// SPDX-License-Identifier: Apache-2.0
// A wish to stop, by signal: SIGUSR1, SIGUSR2, SIGTERM, SIGINT or SIGHUP.  What runs may end within the time
// of grace; nothing new begins.
#ifndef SSMSWEEP_BASE_STOP_H
#define SSMSWEEP_BASE_STOP_H

#include <stdbool.h>

// What this process knows of it.  In caller memory, no clean-up needed.
struct stop {
    double grace_seconds; // less where a launcher leaves less
    int signal;           // 0: nobody wishes to stop
    double since;         // monotonic seconds at which this process learned of it
};

// Local.  Installs the handlers, best before MPI starts; a signal that is ignored stays ignored (nohup).  A
// second SIGINT ends the process at once.  Where mpirun ends the run, it kills the processes soon after
// SIGTERM: then the time of grace is a share of what is left, and the first rank says at once, from the
// handler, what happens.
void stop_catch(bool first_rank);

// Local.  The work is over: what a launcher does with ranks that end no longer matters.
void stop_silence(void);

// Local.  Does a launcher seem to end this process just now?
bool stop_is_ended(void);

// Local.  Has this process been told to stop, by a signal or by stop_note()?
bool stop_wanted(struct stop *stop);

// Local.  Another process was; the first signal stays.
void stop_note(struct stop *stop, int signal);

// Local.  `graces` times the grace has passed since.
bool stop_overdue(struct stop *stop, double graces);

const char *stop_signal_name(int signal); // "SIGUSR1" ...

#endif
