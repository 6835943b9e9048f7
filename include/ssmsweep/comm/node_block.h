// SPDX-License-Identifier: Apache-2.0
// Memory that the ranks of a node share: one copy of the weights, however many ranks run there.
//
// Made with POSIX shared memory: MPI_Win_allocate_shared of Open MPI 4.1 hangs the other ranks where /dev/shm
// is too small.
#ifndef SSMSWEEP_COMM_NODE_BLOCK_H
#define SSMSWEEP_COMM_NODE_BLOCK_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/comm/comm.h"

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
// Collective over comm->node.  What any rank wrote before it, every rank sees after it.
void node_block_fence(struct node_block *block, const struct comm *comm);
void node_block_close(struct node_block *block); // Local; zeroed is fine.

#endif
