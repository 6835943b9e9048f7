// SPDX-License-Identifier: Apache-2.0
// Threads that work together on one thing at a time.  Who waits spins for a moment, then sleeps: on a machine
// that others use too, spinning takes the cores from the very threads that are waited for.
// OMP_WAIT_POLICY=passive sleeps at once, active spins for long.
#ifndef SSMSWEEP_BASE_TEAM_H
#define SSMSWEEP_BASE_TEAM_H

#include "ssmsweep/base/status.h"

struct team; // opaque

enum { TEAM_MOST_PARTS = 1024 };

// Local.  A team of the calling thread and threads - 1 more, which take no signals.  A system that refuses
// some of them gets a smaller team: the work is done all the same.
enum status team_open(struct team **team, int threads, struct error *err);
void team_close(struct team *team); // NULL is fine

// Calls body(context, part) once for each part 0 .. parts-1, in the threads of the team, and returns when all
// are done.  Part i falls to thread i where that is free, so that a thread meets again what it has in its
// caches; who has done its own takes those that nobody began.  At most TEAM_MOST_PARTS.  Not from inside a
// body, and by the thread that opened the team.
typedef void (*team_body)(void *context, int part);
void team_run(struct team *team, int parts, team_body body, void *context);

// The same for ranges of [0, count), at most `parts` of them, whose inner borders are multiples of grain.
typedef void (*team_range)(void *context, int part, int begin, int end);
void team_divide(struct team *team, int parts, int count, int grain, team_range body, void *context);

// ---- thread ----

// What the results of a thread depend on besides its data: how it rounds, and how it writes numbers.

// Local.  For this thread: rounding to nearest, denormals kept, no traps; numbers with a decimal point,
// whatever setlocale() is told in this process.  First in main(), behind MPI's start and in every thread: a
// library may have set something else when it was loaded, and new threads inherit or take the global setting.
void thread_settle(void);

// ---- cores ----

// Cores that this process may use: what it is bound to, and how much time on them a container gives it.

// The tightest limit of the control groups around this process, as `docker --cpus` sets it; the processes of
// that group share it.
struct cores_quota {
    double cores;                     // of processor time per time, as 0.5; 0: there is no limit
    unsigned long long device, group; // which group it is, where processes compare
};

// Local.  Control groups of version 1 and 2, nested ones too.  root: "", or a folder that stands for / in
// tests.
struct cores_quota cores_quota(const char *root);

// Local.  Cores that this process is bound to, cut by its quota, as whole threads: at least 1.
int cores_usable(void);

#endif
