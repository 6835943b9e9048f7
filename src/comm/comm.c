// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/comm/comm.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "ssmsweep/base/log.h"
#include "ssmsweep/base/thread.h"

// ---- the launcher ----

static int number_of(const char *variable)
{
    const char *text = variable ? getenv(variable) : NULL;
    return text ? (int)strtol(text, NULL, 10) : COMM_NO_LAUNCHER;
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
    const int code = MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided);
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
