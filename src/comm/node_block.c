// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/comm/node_block.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "ssmsweep/base/arena.h"

enum { HUGE_PAGE_BYTES = 2 << 20, NAME_ROOM = 64, ROOM_LEFT_BYTES = 16 << 20 };

static bool all_on_node(const struct comm *comm, bool mine)
{
    int ok = mine, all;
    MPI_Allreduce(&ok, &all, 1, MPI_INT, MPI_MIN, comm->node);
    return all != 0;
}

// Rank 0 of the node names and makes the object, the others open it.
static int open_object(const struct comm *comm, char name[NAME_ROOM])
{
    int descriptor = -1;
    if (comm->node_rank == 0) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        snprintf(name, NAME_ROOM, "/ssmsweep.%ld.%ld", (long)getpid(), now.tv_nsec);
        descriptor = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
        if (descriptor < 0) name[0] = '\0';
    }
    MPI_Bcast(name, NAME_ROOM, MPI_CHAR, 0, comm->node);
    if (comm->node_rank != 0 && name[0]) descriptor = shm_open(name, O_RDWR, 0600);
    return descriptor;
}

typedef _Atomic int node_count;
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "processes share the counter");

static bool has_room(int descriptor, size_t bytes)
{
    struct statvfs info;
    if (fstatvfs(descriptor, &info) != 0 || info.f_blocks == 0) return true; // no limit known
    return (unsigned long long)info.f_bavail * info.f_frsize >= bytes;
}

// Each rank has its own stretch allocated: too small a file system shows here and not as a SIGBUS later, and
// the pages are spread over the memories of the node.
static bool reserve_part(const struct comm *comm, int descriptor, size_t size_bytes)
{
    size_t pages = size_bytes / HUGE_PAGE_BYTES, ranks = (size_t)comm->node_ranks,
           rank = (size_t)comm->node_rank;
    size_t from = pages * rank / ranks * HUGE_PAGE_BYTES, to = pages * (rank + 1) / ranks * HUGE_PAGE_BYTES;
    return from == to || posix_fallocate(descriptor, (off_t)from, (off_t)(to - from)) == 0;
}

static void *map_object(const struct comm *comm, int descriptor, size_t size_bytes)
{
    bool sized = descriptor >= 0 && (comm->node_rank > 0 || ftruncate(descriptor, (off_t)size_bytes) == 0);
    if (!all_on_node(comm, sized)) return NULL;
    if (!all_on_node(comm, reserve_part(comm, descriptor, size_bytes))) return NULL;
    // MPI keeps messages and the state of open files in the same place, and fails where nothing is left of
    // it.
    if (!all_on_node(comm, has_room(descriptor, ROOM_LEFT_BYTES))) return NULL;
    void *memory = memory_map(size_bytes, descriptor);
    if (all_on_node(comm, memory != NULL)) return memory;
    if (memory) munmap(memory, size_bytes);
    return NULL;
}

// NULL on every rank of the node if it does not work on one of them.
static void *open_shared(const struct comm *comm, size_t size_bytes)
{
    char name[NAME_ROOM] = "";
    int descriptor = open_object(comm, name);
    bool opened = all_on_node(comm, descriptor >= 0);
    if (comm->node_rank == 0 && name[0]) shm_unlink(name); // all have it open: a crash leaves nothing behind
    void *memory = opened ? map_object(comm, descriptor, size_bytes) : NULL;
    if (descriptor >= 0) close(descriptor);
    return memory;
}

enum status node_block_open(struct node_block *block, const struct comm *comm, size_t size_bytes,
                            struct error *err)
{
    if (size_bytes > (size_t)PTRDIFF_MAX - 2 * HUGE_PAGE_BYTES)
        return error_memory(err, size_bytes, "the weights");
    const size_t counted = size_bytes + sizeof(node_count);
    const size_t rounded = (counted / HUGE_PAGE_BYTES + 1) * HUGE_PAGE_BYTES;
    struct node_block made = {.size_bytes = rounded};
    if (comm->node_ranks > 1) made.memory = open_shared(comm, rounded);
    made.shared = made.memory != NULL;
    if (!made.shared) made.memory = memory_map(rounded, -1);
    if (!made.memory) return error_memory(err, size_bytes, "the weights");
    *block = made;
    return STATUS_OK;
}

// The counter lies at the end of the block.
int node_block_next(const struct node_block *block)
{
    char *end = (char *)block->memory + block->size_bytes;
    return atomic_fetch_add((node_count *)(void *)(end - sizeof(node_count)), 1);
}

void node_block_fence(struct node_block *block, const struct comm *comm)
{
    if (!block->shared) return;
    atomic_thread_fence(memory_order_seq_cst);
    MPI_Request barrier;
    MPI_Ibarrier(comm->node, &barrier);
    comm_wait(&barrier);
    atomic_thread_fence(memory_order_seq_cst);
}

void node_block_close(struct node_block *block)
{
    if (block->memory) munmap(block->memory, block->size_bytes);
    *block = (struct node_block){0};
}
