// SPDX-License-Identifier: Apache-2.0
// MPI start-up and the one function by which ranks agree on failure (before and after each collective step).
#ifndef SSMSWEEP_SWEEP_COMM_H
#define SSMSWEEP_SWEEP_COMM_H

#include <mpi.h>
#include <stddef.h>

#include "ssmsweep/base/status.h"

struct comm {
    MPI_Comm world;
    MPI_Comm node; // ranks that share memory
    int rank, ranks;
    int node_rank, node_ranks;
};

// Collective.  MPI_Init_thread and the communicators.  comm_finish() is collective too.
enum status comm_init(struct comm *comm, int *argc, char ***argv, struct error *err);
void comm_finish(struct comm *comm);

// Collective.  Every rank passes what it has; all get the same verdict: STATUS_OK if nobody failed, else the
// error of the lowest failing rank (its text, with "rank N: " in front when more than one rank runs and N is
// not 0).
enum status comm_agree(const struct comm *comm, struct error *err);

// Local.  After a failed collective HDF5 call nothing else is safe: prints the error and aborts the job with
// its status.
void comm_abort(const struct comm *comm, const struct error *err) __attribute__((noreturn));

// Collective.  The same after comm_agree(): rank 0 alone prints.
void comm_abort_agreed(const struct comm *comm, const struct error *err) __attribute__((noreturn));

// A block of zeroed memory shared by the ranks of a node (allocated once per node, in an MPI window; private
// to each rank where the system refuses one: then parts is 1).
struct node_block {
    void *memory;
    size_t size_bytes;
    int part, parts; // this rank fills tasks part, part+parts, ...
    MPI_Win window;
    void *private_memory;
};
// Collective over comm->node; size_bytes must be equal on the ranks of a node.
enum status node_block_open(struct node_block *block, const struct comm *comm, size_t size_bytes,
                            struct error *err);
void node_block_fence(struct node_block *block, const struct comm *comm); // Collective over comm->node.
void node_block_close(struct node_block *block); // Collective over comm->node; zeroed is fine.

#endif
