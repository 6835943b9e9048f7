// SPDX-License-Identifier: Apache-2.0
// How many threads a rank uses, and on which cores.
#ifndef SSMSWEEP_SWEEP_THREADS_H
#define SSMSWEEP_SWEEP_THREADS_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/comm/comm.h"

struct threads {
    int per_rank;
    int own_cores, node_cores; // that this rank and all ranks of this node may use; 0: not known
    double quota; // of the containers of this node together, in cores, where that is less; else 0
    bool unbound; // this rank left the core to which mpirun had bound it unasked
};

// Collective.  per_rank: what was asked for (0: nothing), else OMP_NUM_THREADS, else the cores that the ranks
// of this node may use divided by those ranks; at least 1.  Ranks under one CPU quota share it; half a core
// is one thread.
//
// mpirun binds one or two ranks to a core each, so that the others idle.  Where nobody asked for a binding,
// such a rank goes back to the cores that mpirun itself may use (docs/running.md, "Ranks and threads").
struct threads threads_choose(int asked, const struct comm *comm);

// Collective.  Says once what would make the run slow: more threads than cores, cores that are left unused.
void threads_warn(const struct threads *threads, const struct comm *comm, const struct log *log);

#endif
