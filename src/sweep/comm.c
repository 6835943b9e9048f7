// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/sweep/comm.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "ssmsweep/base/log.h"

enum { HUGE_PAGE_BYTES = 2 << 20, BLOCK_ALIGN = 64 };

enum status comm_init(struct comm *comm, int *argc, char ***argv, struct error *err)
{
    int provided;
    if (MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
        return error_set(err, STATUS_INTERNAL, "MPI: cannot start; check the MPI installation");
    *comm = (struct comm){0};
    MPI_Comm_dup(MPI_COMM_WORLD, &comm->world); // our messages cannot mix with those of a library
    MPI_Comm_rank(comm->world, &comm->rank);
    MPI_Comm_size(comm->world, &comm->ranks);
    MPI_Comm_split_type(comm->world, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &comm->node);
    MPI_Comm_rank(comm->node, &comm->node_rank);
    MPI_Comm_size(comm->node, &comm->node_ranks);
    if (provided < MPI_THREAD_FUNNELED)
        error_set(err, STATUS_INTERNAL,
                  "MPI: needs MPI_THREAD_FUNNELED, got level %d; use an MPI with threads", provided);
    return comm_agree(comm, err);
}

void comm_finish(struct comm *comm)
{
    int started;
    MPI_Initialized(&started);
    if (!started) return;
    MPI_Comm_free(&comm->node);
    MPI_Comm_free(&comm->world);
    MPI_Finalize();
}

static void prefix_rank(struct error *err, int rank)
{
    struct error worded = {0};
    error_set(&worded, err->status, "rank %d: %.1000s", rank, err->text);
    *err = worded;
}

enum status comm_agree(const struct comm *comm, struct error *err)
{
    int mine = err->status ? comm->rank : INT_MAX, first;
    MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, comm->world);
    if (first == INT_MAX) return STATUS_OK;
    MPI_Bcast(err, (int)sizeof *err, MPI_BYTE, first, comm->world);
    if (first > 0) prefix_rank(err, first);
    return err->status;
}

void comm_abort(const struct comm *comm, const struct error *err)
{
    struct log log = {.level = LOG_ERROR, .rank = comm->rank, .ranks = comm->ranks};
    log_rank(&log, LOG_ERROR, "%s", err->text);
    MPI_Abort(comm->world, (int)err->status);
    exit((int)err->status); // MPI_Abort does not come back; the compiler does not know
}

void comm_abort_agreed(const struct comm *comm, const struct error *err)
{
    if (comm->rank == 0) comm_abort(comm, err);
    // Rank 0 speaks and ends the job; leaving by itself here would only race with it.
    struct timespec patience = {.tv_sec = 30};
    nanosleep(&patience, NULL);
    comm_abort(comm, err);
}

// ---- memory shared by the ranks of a node ----

static void advise_huge(void *memory, size_t size_bytes)
{
#ifdef MADV_HUGEPAGE
    uintptr_t from = ((uintptr_t)memory + HUGE_PAGE_BYTES - 1) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1);
    uintptr_t end = (uintptr_t)memory + size_bytes;
    if (end > from) madvise((void *)from, end - from, MADV_HUGEPAGE); // a wish: its refusal costs speed only
#else
    (void)memory, (void)size_bytes;
#endif
}

static enum status open_private(struct node_block *block, size_t size_bytes, struct error *err)
{
    void *memory;
    if (posix_memalign(&memory, HUGE_PAGE_BYTES, size_bytes) != 0)
        return error_memory(err, size_bytes, "the weights");
    advise_huge(memory, size_bytes);
    memset(memory, 0, size_bytes);
    *block = (struct node_block){.memory = memory,
                                 .size_bytes = size_bytes,
                                 .parts = 1,
                                 .window = MPI_WIN_NULL,
                                 .private_memory = memory};
    return STATUS_OK;
}

// Rank 0 of the node holds the memory; the others map it.  Window addresses differ between ranks, so the
// offset of the aligned start is that of rank 0.
static void *map_window(MPI_Win window, const struct comm *comm)
{
    MPI_Aint bytes;
    int unit;
    char *base;
    MPI_Win_shared_query(window, 0, &bytes, &unit, &base);
    uint64_t offset = (HUGE_PAGE_BYTES - (uintptr_t)base % HUGE_PAGE_BYTES) % HUGE_PAGE_BYTES;
    MPI_Bcast(&offset, 1, MPI_UINT64_T, 0, comm->node);
    char *start = base + offset;
    return (uintptr_t)start % BLOCK_ALIGN == 0 ? start : NULL;
}

static bool all_on_node(const struct comm *comm, bool mine)
{
    int ok = mine, all;
    MPI_Allreduce(&ok, &all, 1, MPI_INT, MPI_MIN, comm->node);
    return all != 0;
}

// False where the system refuses (a small /dev/shm): then on every rank of the node.
static bool open_shared(struct node_block *block, const struct comm *comm, size_t size_bytes)
{
    MPI_Win window = MPI_WIN_NULL;
    void *unused;
    MPI_Aint bytes = comm->node_rank == 0 ? (MPI_Aint)(size_bytes + HUGE_PAGE_BYTES) : 0;
    MPI_Comm_set_errhandler(comm->node, MPI_ERRORS_RETURN);
    int code = MPI_Win_allocate_shared(bytes, 1, MPI_INFO_NULL, comm->node, &unused, &window);
    MPI_Comm_set_errhandler(comm->node, MPI_ERRORS_ARE_FATAL);
    if (!all_on_node(comm, code == MPI_SUCCESS)) return false;
    void *memory = map_window(window, comm);
    if (!all_on_node(comm, memory != NULL)) {
        MPI_Win_free(&window);
        return false;
    }
    advise_huge(memory, size_bytes);
    MPI_Win_lock_all(MPI_MODE_NOCHECK, window);
    *block = (struct node_block){.memory = memory,
                                 .size_bytes = size_bytes,
                                 .part = comm->node_rank,
                                 .parts = comm->node_ranks,
                                 .window = window};
    return true;
}

enum status node_block_open(struct node_block *block, const struct comm *comm, size_t size_bytes,
                            struct error *err)
{
    if (size_bytes == 0) size_bytes = BLOCK_ALIGN;
    if (size_bytes > (size_t)PTRDIFF_MAX - HUGE_PAGE_BYTES)
        return error_memory(err, size_bytes, "the weights");
    if (comm->node_ranks > 1 && open_shared(block, comm, size_bytes)) return STATUS_OK;
    return open_private(block, size_bytes, err);
}

void node_block_fence(struct node_block *block, const struct comm *comm)
{
    if (block->window == MPI_WIN_NULL) return;
    MPI_Win_sync(
        block->window); // what this rank wrote is visible before the barrier, what others wrote after it
    MPI_Barrier(comm->node);
    MPI_Win_sync(block->window);
}

void node_block_close(struct node_block *block)
{
    if (!block->memory) return;
    if (block->window != MPI_WIN_NULL) {
        MPI_Win_unlock_all(block->window);
        MPI_Win_free(&block->window);
    }
    free(block->private_memory);
    *block = (struct node_block){.window = MPI_WIN_NULL};
}
