// SPDX-License-Identifier: Apache-2.0
// MPI start-up and the one function by which ranks agree on failure (before and after each collective step).
//
// comm/ has what every user of MPI needs: start and end, agreement, waiting that leaves the core to others,
// memory that the ranks of a node share (node_block.h).  It knows base/ alone: neither what is computed nor
// what is stored. Folders below it in the table of docs/design.md may use MPI, those above it may not.
#ifndef SSMSWEEP_COMM_COMM_H
#define SSMSWEEP_COMM_COMM_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"

struct comm {
    MPI_Comm world;
    MPI_Comm node; // ranks that share memory
    int rank, ranks;
    int node_rank, node_ranks;
    bool threads_may_call; // MPI, any of them at any time
};

enum { COMM_NO_LAUNCHER = -1 };

// What a launcher says in the environment.
struct launch {
    int rank, ranks;      // COMM_NO_LAUNCHER where it does not say
    const char *variable; // that says `ranks`; NULL if none does
};

// Local.  To be asked before MPI starts, which sets such variables, too.
struct launch comm_launch(void);
// Local; also before comm_init().  "Open MPI v4.1.4": the first words of what the library calls itself.
void comm_library(char *text, size_t room);

#define COMM_CANNOT_START                                                                                    \
    "MPI: cannot start, see above for its own words; it wants to write to /tmp or TMPDIR, a network "        \
    "interface, "                                                                                            \
    "and ssh or rsh on the PATH"

// Collective.  MPI_Init_thread and the communicators.  comm_finish() is collective too.
enum status comm_init(struct comm *comm, int *argc, char ***argv, struct error *err);
void comm_finish(struct comm *comm);

// Waiting without keeping a core busy: MPI itself spins, and takes the core from a rank that computes.
// Whoever polls calls comm_nap() after each probe in vain: the first ones return at once, then it sleeps, a
// little longer each time.  Begins zeroed.
struct comm_nap {
    int probes;
    long nanoseconds;
};
void comm_nap(struct comm_nap *nap);
void comm_wait(MPI_Request *request); // for a request, in that way

// Collective.  Every rank passes what it has; all get the same verdict: STATUS_OK if nobody failed, else the
// error of the lowest failing rank (its text, with "rank N: " in front when more than one rank runs and N is
// not 0).
enum status comm_agree(const struct comm *comm, struct error *err);

// Collective.  Afterwards every rank has the bits that any rank had, or that all ranks had.
void comm_unite_bits(const struct comm *comm, uint64_t *bits, size_t words);
void comm_intersect_bits(const struct comm *comm, uint64_t *bits, size_t words);

// ---- node block ----

// Memory that the ranks of a node share: one copy of the weights, however many ranks run there.
//
// Made with POSIX shared memory: MPI_Win_allocate_shared of Open MPI 4.1 hangs the other ranks where /dev/shm
// is too small.

// In caller memory.  `memory` is zeroed and at 2 MiB; private to each rank where the system has too little
// shared memory.
struct node_block {
    void *memory;
    size_t size_bytes;
    bool shared;
};

// Collective over comm->node; size_bytes must be equal on the ranks of a node.  STATUS_IO: out of memory,
// maybe on this rank only.
enum status node_block_open(struct node_block *block, const struct comm *comm, size_t size_bytes,
                            struct error *err);
// Local.  0, 1, 2, ...: each number once among the threads and ranks that share the block.
int node_block_next(const struct node_block *block);
// Collective over comm->node.  node_block_next() counts from 0 again.
void node_block_restart(struct node_block *block, const struct comm *comm);
// Collective over comm->node.  What any rank wrote before it, every rank sees after it.
void node_block_fence(struct node_block *block, const struct comm *comm);
void node_block_close(struct node_block *block); // Local; zeroed is fine.

#endif
