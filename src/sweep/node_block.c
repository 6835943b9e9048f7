// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/node_block.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#if defined __linux__ && !defined MADV_COLLAPSE
#define MADV_COLLAPSE 25 // of linux/mman.h; Debian 12's C library does not name it yet
#endif

enum { HUGE_PAGE_BYTES = 2 << 20, NAME_ROOM = 64, ROOM_LEFT_BYTES = 16 << 20, WORTH_ASKING_BYTES = 16 << 20 };

// Maps `descriptor` (-1: anonymous memory) at a multiple of 2 MiB, so that huge pages fit; NULL if it cannot
// be.
static void *map_aligned(int descriptor, size_t size_bytes)
{
    size_t room = size_bytes + HUGE_PAGE_BYTES;
    char *reserved = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (reserved == MAP_FAILED) return NULL;
    size_t skip = (HUGE_PAGE_BYTES - (uintptr_t)reserved % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    char *start = reserved + skip;
    int flags = MAP_FIXED | (descriptor < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
    void *memory = mmap(start, size_bytes, PROT_READ | PROT_WRITE, flags, descriptor, 0);
    if (memory == MAP_FAILED) {
        munmap(reserved, room);
        return NULL;
    }
    if (skip > 0) munmap(reserved, skip);
    munmap(start + size_bytes, HUGE_PAGE_BYTES - skip);
#ifdef MADV_HUGEPAGE
    madvise(memory, size_bytes, MADV_HUGEPAGE); // a wish: its refusal costs speed only
#endif
    return memory;
}

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

// This rank's part of the block.
struct stretch {
    size_t from, to;
};

static struct stretch own_stretch(const struct comm *comm, size_t size_bytes)
{
    size_t pages = size_bytes / HUGE_PAGE_BYTES, ranks = (size_t)comm->node_ranks,
           rank = (size_t)comm->node_rank;
    return (struct stretch){pages * rank / ranks * HUGE_PAGE_BYTES,
                            pages * (rank + 1) / ranks * HUGE_PAGE_BYTES};
}

// Has shared memory in huge pages where the system gives them to those who ask in this way (Linux 6.1), even
// where it does not otherwise: clearing and mapping a page at a time is dearer than packing the weights.  A
// huge page is made around an ordinary one.
static void ask_for_huge_pages(int descriptor, char *memory, struct stretch own)
{
#ifdef MADV_COLLAPSE
    if (own.to - own.from < WORTH_ASKING_BYTES || !has_room(descriptor, own.to - own.from)) return;
    for (size_t at = own.from; at < own.to; at += HUGE_PAGE_BYTES)
        if (posix_fallocate(descriptor, (off_t)at, 1) != 0) return;
    madvise(memory + own.from, own.to - own.from, MADV_COLLAPSE);
#else
    (void)descriptor, (void)memory, (void)own;
#endif
}

// Each rank has its own stretch allocated: too small a file system shows here and not as a SIGBUS later, and
// the pages are spread over the memories of the node.
static bool reserve_part(const struct comm *comm, int descriptor, char *memory, size_t size_bytes)
{
    const struct stretch own = own_stretch(comm, size_bytes);
    if (!memory || own.from == own.to) return memory != NULL;
    ask_for_huge_pages(descriptor, memory, own);
    return posix_fallocate(descriptor, (off_t)own.from, (off_t)(own.to - own.from)) == 0;
}

static void *map_object(const struct comm *comm, int descriptor, size_t size_bytes)
{
    bool sized = descriptor >= 0 && (comm->node_rank > 0 || ftruncate(descriptor, (off_t)size_bytes) == 0);
    if (!all_on_node(comm, sized)) return NULL;
    void *memory = map_aligned(descriptor, size_bytes);
    // MPI keeps messages and the state of open files in the same place, and fails where nothing is left of
    // it.
    if (all_on_node(comm, reserve_part(comm, descriptor, memory, size_bytes)) &&
        all_on_node(comm, has_room(descriptor, ROOM_LEFT_BYTES)))
        return memory;
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
    if (!made.shared) made.memory = map_aligned(-1, rounded);
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
