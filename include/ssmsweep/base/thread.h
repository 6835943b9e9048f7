// SPDX-License-Identifier: Apache-2.0
// What the results of a thread depend on besides its data: how it rounds, and how it writes numbers.
#ifndef SSMSWEEP_BASE_THREAD_H
#define SSMSWEEP_BASE_THREAD_H

// Local.  For this thread: rounding to nearest, denormals kept, no traps; numbers with a decimal point,
// whatever setlocale() is told in this process.  First in main(), behind MPI's start and in every thread: a
// library may have set something else when it was loaded, and new threads inherit or take the global setting.
void thread_settle(void);

#endif
