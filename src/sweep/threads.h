// SPDX-License-Identifier: Apache-2.0
// How many threads a rank uses.
#ifndef SSMSWEEP_SWEEP_THREADS_H
#define SSMSWEEP_SWEEP_THREADS_H

#include "ssmsweep/sweep/comm.h"

// Collective.  What was asked for (0: nothing), else OMP_NUM_THREADS, else the cores that the ranks of this
// node may use divided by those ranks; at least 1.
int threads_choose(int asked, const struct comm *comm);

#endif
