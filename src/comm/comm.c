// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/comm/comm.h"

#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/team.h"

// ---- the launcher ----

static int number_of(const char *variable)
{
    const char *text = variable ? getenv(variable) : NULL;
    return text ? (int)strtol(text, NULL, 10) : COMM_NO_LAUNCHER;
}

void comm_library(char *text, size_t room)
{
    char name[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length;
    MPI_Get_library_version(name, &length);
    name[strcspn(name, ",\n")] = '\0';
    for (char *c = name; *c; c++)
        if (*c == '\t') *c = ' '; // MPICH
    snprintf(text, room, "%s", name);
}

struct launch comm_launch(void)
{
    static const struct {
        const char *rank, *ranks;
    } told[] = {{"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
                {"PMIX_RANK", NULL},
                {"PMI_RANK", "PMI_SIZE"},
                {"SLURM_PROCID", "SLURM_STEP_NUM_TASKS"}}; // of srun alone; a batch script has only the first
    enum { TOLD = sizeof told / sizeof told[0], SLURM = TOLD - 1 };
    struct launch launch = {.rank = COMM_NO_LAUNCHER, .ranks = COMM_NO_LAUNCHER};
    for (int i = 0; i < TOLD; i++) {
        const int rank = number_of(told[i].rank), ranks = number_of(told[i].ranks);
        if (i == SLURM && ranks <= 1) break;
        if (launch.rank == COMM_NO_LAUNCHER) launch.rank = rank;
        if (launch.ranks == COMM_NO_LAUNCHER && ranks != COMM_NO_LAUNCHER) {
            launch.ranks = ranks;
            launch.variable = told[i].ranks;
        }
    }
    return launch;
}

// ---- start and end ----

// The process that is inside MPI_Init.  An MPI that cannot start ends the process by itself, Open MPI with
// _exit(1) and others with exit(1); but 1 says here that a gate failed.
static volatile pid_t starting;

static void end_start(void)
{
    if (starting != getpid()) return; // not for a child of MPI's either
    const struct log log = {.level = LOG_ERROR, .ranks = 1};
    log_job(&log, LOG_ERROR, COMM_CANNOT_START);
    starting = 0;
    _exit((int)STATUS_IO);
}

// MPI's library finds this one in front of libc's.
void _exit(int status)
{
    end_start();
    for (;;)
        syscall(SYS_exit_group, status);
}

// Lost connections and the like: there is no way back.
static void end_job(MPI_Comm *world, int *code, ...)
{
    char words[MPI_MAX_ERROR_STRING] = "";
    int length, rank = 0;
    MPI_Error_string(*code, words, &length);
    MPI_Comm_rank(*world, &rank);
    struct log log = {.level = LOG_ERROR, .rank = rank, .ranks = 2};
    log_rank(&log, LOG_ERROR, "MPI: a message failed: %s; what is finished is kept, go on with --resume",
             words);
    MPI_Abort(*world, (int)STATUS_IO);
}

enum status comm_init(struct comm *comm, int *argc, char ***argv, struct error *err)
{
    int provided;
    const struct launch launch = comm_launch(); // MPI adds variables of its own
    *comm = (struct comm){0};
    atexit(end_start);
    starting = getpid();
    const int code = MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided);
    starting = 0;
    if (code != MPI_SUCCESS) return error_set(err, STATUS_IO, COMM_CANNOT_START);
    thread_settle(); // plug-ins were loaded
    MPI_Errhandler handler;
    MPI_Comm_create_errhandler(end_job, &handler);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, handler); // what is made of it has it, too
    MPI_Errhandler_free(&handler);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm->world); // our messages cannot mix with those of a library
    MPI_Comm_rank(comm->world, &comm->rank);
    MPI_Comm_size(comm->world, &comm->ranks);
    MPI_Comm_split_type(comm->world, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &comm->node);
    MPI_Comm_rank(comm->node, &comm->node_rank);
    MPI_Comm_size(comm->node, &comm->node_ranks);
    comm->threads_may_call = provided >= MPI_THREAD_MULTIPLE;
    if (provided < MPI_THREAD_FUNNELED)
        error_set(err, STATUS_INTERNAL,
                  "MPI: needs MPI_THREAD_FUNNELED, got level %d; use an MPI with threads", provided);
    if (comm->ranks == 1 && launch.ranks > 1)
        error_set(err, STATUS_USAGE,
                  "MPI: the launcher started %d processes (%s), MPI sees 1; start with the mpirun of the MPI "
                  "that ssmsweep was built with",
                  launch.ranks, launch.variable);
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

void comm_nap(struct comm_nap *nap)
{
    enum { PROBES_BEFORE_NAP = 50, FIRST_NAP = 50 * 1000, LONGEST_NAP = 2000 * 1000 };
    if (++nap->probes < PROBES_BEFORE_NAP) return;
    nap->nanoseconds +=
        nap->nanoseconds > 0 ? nap->nanoseconds / 16 : FIRST_NAP; // who waited long can wait longer
    if (nap->nanoseconds > LONGEST_NAP) nap->nanoseconds = LONGEST_NAP;
    nanosleep(&(struct timespec){.tv_nsec = nap->nanoseconds}, NULL);
}

void comm_wait(MPI_Request *request)
{
    struct comm_nap nap = {0};
    int arrived = 0;
    for (MPI_Test(request, &arrived, MPI_STATUS_IGNORE); !arrived;
         MPI_Test(request, &arrived, MPI_STATUS_IGNORE))
        comm_nap(&nap);
}

enum status comm_agree(const struct comm *comm, struct error *err)
{
    int mine = err->status ? comm->rank : INT_MAX, first;
    MPI_Request request;
    MPI_Iallreduce(&mine, &first, 1, MPI_INT, MPI_MIN, comm->world, &request);
    comm_wait(&request);
    if (first == INT_MAX) return STATUS_OK;
    MPI_Bcast(err, (int)sizeof *err, MPI_BYTE, first, comm->world);
    if (first > 0) prefix_rank(err, first);
    return err->status;
}

static void reduce_bits(const struct comm *comm, uint64_t *bits, size_t words, MPI_Op operation)
{
    enum { WORDS_AT_ONCE = 1 << 17 };
    for (size_t w = 0, left = words, n; left > 0; w += n, left -= n) {
        n = left < WORDS_AT_ONCE ? left : WORDS_AT_ONCE;
        MPI_Allreduce(MPI_IN_PLACE, bits + w, (int)n, MPI_UINT64_T, operation, comm->world);
    }
}

void comm_unite_bits(const struct comm *comm, uint64_t *bits, size_t words)
{
    reduce_bits(comm, bits, words, MPI_BOR);
}

void comm_intersect_bits(const struct comm *comm, uint64_t *bits, size_t words)
{
    reduce_bits(comm, bits, words, MPI_BAND);
}

// ---- node block ----

enum { NAME_ROOM = 64, ROOM_LEFT_BYTES = 16 << 20 };

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
static node_count *count_of(const struct node_block *block)
{
    char *end = (char *)block->memory + block->size_bytes;
    return (node_count *)(void *)(end - sizeof(node_count));
}

int node_block_next(const struct node_block *block)
{
    return atomic_fetch_add(count_of(block), 1);
}

void node_block_restart(struct node_block *block, const struct comm *comm)
{
    node_block_fence(block, comm);
    if (!block->shared || comm->node_rank == 0) atomic_store(count_of(block), 0);
    node_block_fence(block, comm);
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
