// SPDX-License-Identifier: Apache-2.0
// ssmsweep with faults on demand: the program itself, with calls of it led through here by the linker
// (--wrap).
//   ssmsweep_inject --inject KIND:K[/RANK] [ssmsweep options]
//       the K-th read, write, sync, message or alloc fails (of RANK, or of every rank)
//   ssmsweep_inject --inject die@POINT[:K][/RANK] ...     SIGKILL in front of the K-th POINT (1)
//   ssmsweep_inject --inject stop@POINT[:K][/RANK] ...    SIGUSR1 there
//   ssmsweep_inject --inject command@POINT[:K][/RANK] ... runs the shell command $INJECT_COMMAND there
//   ssmsweep_inject --inject device-memory:K ...          the K-th piece of a GPU's memory is not there
//   ssmsweep_inject --inject device:K ...                 from the K-th wait for it on the GPU is lost
//   ssmsweep_inject --inject sparse:1 ...                 as on a file system that cannot reserve space
//   ssmsweep_inject --inject nolocks:1 ...                as on a file system that cannot lock files
//   ssmsweep_inject --inject named:1 ...                  as on a file system on which every file has a name
//   ssmsweep_inject --inject item:N[/RANK] ...            outputs of run N / 1000, sample N % 1000 cannot be
//   written
// Points: create, readback, observe, scales, store, metrics, mark, compare, report; pwrite, sync, rename,
// unlink. What happens is said on stderr, in one line that begins "inject: ".
#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <mpi.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/store/store.h"

int program_main(int argc, char **argv); // src/main.c

static struct {
    char what[24]; // "read" ..., "die@store" ...
    long at;       // 0: nothing is asked for
    long count;
    pthread_mutex_t lock;
} plan = {.lock = PTHREAD_MUTEX_INITIALIZER};

#ifdef SSMSWEEP_INJECT_CUDA
static bool lost; // the GPU
#endif

static void say(const char *what, long at)
{
    char line[80];
    int n = snprintf(line, sizeof line, "inject: %s %ld\n", what, at);
    ssize_t unused = write(STDERR_FILENO, line, (size_t)n);
    (void)unused;
}

// Counts; true when the time has come.
static bool fires(const char *what)
{
    if (plan.at == 0 || strcmp(plan.what, what) != 0) return false;
    pthread_mutex_lock(&plan.lock);
    bool now = ++plan.count == plan.at;
    pthread_mutex_unlock(&plan.lock);
    if (now) say(what, plan.at);
    return now;
}

static void point(const char *name)
{
    char what[40];
    if (plan.at == 0) return;
    snprintf(what, sizeof what, "die@%s", name);
    if (fires(what)) kill(getpid(), SIGKILL);
    snprintf(what, sizeof what, "stop@%s", name);
    if (fires(what)) raise(SIGUSR1);
    snprintf(what, sizeof what, "command@%s", name);
    if (fires(what) && system(getenv("INJECT_COMMAND")) != 0) exit(2);
}

static int launcher_rank(void)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    return rank ? (int)strtol(rank, NULL, 10) : 0;
}

static void read_plan(const char *text)
{
    const char *colon = strchr(text, ':'), *slash = strchr(text, '/');
    size_t length = strcspn(text, ":/");
    if (length >= sizeof plan.what || (!colon && !strchr(text, '@'))) {
        fprintf(stderr, "inject: cannot read '%s'\n", text);
        exit(2);
    }
    memcpy(plan.what, text, length);
    if (!slash || strtol(slash + 1, NULL, 10) == launcher_rank())
        plan.at = colon ? strtol(colon + 1, NULL, 10) : 1;
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "--inject") == 0) {
        read_plan(argv[2]);
        memmove(argv + 1, argv + 3, (size_t)(argc - 2) * sizeof *argv); // with the NULL at the end
        argc -= 2;
    }
    return program_main(argc, argv);
}

// WRAP(type, name, (parameters), (arguments), fault): the call, or `fault` in place of it.
#define WRAP(type, name, parameters, arguments, fault)                                                       \
    type __real_##name parameters;                                                                           \
    type __wrap_##name parameters;                                                                           \
    type __wrap_##name parameters                                                                            \
    {                                                                                                        \
        fault;                                                                                               \
        return __real_##name arguments;                                                                      \
    }

// ---- on a GPU: its memory is out, and 702: the launch took too long, after which nothing works ----
#ifdef SSMSWEEP_INJECT_CUDA
WRAP(int, cudaMalloc, (void **memory, size_t bytes), (memory, bytes), if (fires("device-memory")) return 2)
WRAP(int, cudaStreamSynchronize, (void *stream), (stream), if (fires("device")) lost = true;
     if (lost) return 702)
#endif

// ---- alloc ----
#define NO_MEMORY                                                                                            \
    if (fires("alloc")) {                                                                                    \
        errno = ENOMEM;                                                                                      \
        return NULL;                                                                                         \
    }
WRAP(void *, malloc, (size_t bytes), (bytes), NO_MEMORY)
WRAP(void *, calloc, (size_t n, size_t bytes), (n, bytes), NO_MEMORY)
WRAP(void *, realloc, (void *old, size_t bytes), (old, bytes), NO_MEMORY)
WRAP(char *, strdup, (const char *text), (text), NO_MEMORY)
WRAP(int, posix_memalign, (void **block, size_t align, size_t bytes), (block, align, bytes),
     if (fires("alloc")) return ENOMEM)

// ---- read ----
WRAP(herr_t, H5Dread, (hid_t data, hid_t type, hid_t memory, hid_t file, hid_t list, void *values),
     (data, type, memory, file, list, values), if (fires("read")) return -1)
WRAP(hid_t, H5Fopen, (const char *path, unsigned flags, hid_t list), (path, flags, list), point("resume");
     if (fires("read")) return -1)
WRAP(
    ssize_t, pread, (int file, void *data, size_t bytes, off_t offset), (file, data, bytes, offset),
    if (fires("read")) {
        errno = EIO;
        return -1;
    })
WRAP(
    void *, mmap, (void *at, size_t bytes, int protection, int flags, int file, off_t offset),
    (at, bytes, protection, flags, file, offset), if (fires("read")) {
        errno = EIO;
        return MAP_FAILED;
    })

// ---- write ----
#define NO_SPACE                                                                                             \
    if (fires("write")) {                                                                                    \
        errno = ENOSPC;                                                                                      \
        return -1;                                                                                           \
    }
WRAP(ssize_t, write, (int file, const void *data, size_t bytes), (file, data, bytes), NO_SPACE)
WRAP(ssize_t, pwrite, (int file, const void *data, size_t bytes, off_t offset), (file, data, bytes, offset),
     point("pwrite");
     NO_SPACE)
#define NO_DISK                                                                                              \
    if (fires("sync")) {                                                                                     \
        errno = EIO;                                                                                         \
        return -1;                                                                                           \
    }
WRAP(int, fsync, (int file), (file), point("sync"); NO_DISK NO_SPACE)
WRAP(int, ftruncate, (int file, off_t bytes), (file, bytes), NO_SPACE)
WRAP(int, rename, (const char *from, const char *to), (from, to), point("rename"); NO_SPACE)
WRAP(int, unlink, (const char *path), (path), point("unlink"))
WRAP(int, posix_fallocate, (int file, off_t from, off_t bytes), (file, from, bytes),
     if (plan.at && strcmp(plan.what, "sparse") == 0) return EOPNOTSUPP;
     if (fires("write")) return ENOSPC)
WRAP(int, access, (const char *path, int mode), (path, mode),
     if (plan.at && strcmp(plan.what, "named") == 0 && strncmp(path, "/proc/self/fd/", 14) == 0) return -1)
WRAP(herr_t, H5Dwrite, (hid_t data, hid_t type, hid_t memory, hid_t file, hid_t list, const void *values),
     (data, type, memory, file, list, values), if (fires("write")) return -1)
// Like HDF5 itself, which says that something could not be written, and closes the file all the same.
WRAP(
    herr_t, H5Fclose, (hid_t file), (file), if (fires("write")) {
        __real_H5Fclose(file);
        return -1;
    })
WRAP(hid_t, H5Fcreate, (const char *path, unsigned flags, hid_t creation, hid_t access),
     (path, flags, creation, access), if (fires("write")) return -1)
WRAP(hid_t, H5Dcreate2,
     (hid_t at, const char *name, hid_t type, hid_t space, hid_t links, hid_t list, hid_t access),
     (at, name, type, space, links, list, access), point("create");
     if (fires("write")) return -1)

// Of its forms only that with a struct flock is called.
int __real_fcntl(int file, int command, ...);
int __wrap_fcntl(int file, int command, struct flock *lock);
int __wrap_fcntl(int file, int command, struct flock *lock)
{
    if (plan.at && strcmp(plan.what, "nolocks") == 0) {
        errno = ENOLCK;
        return -1;
    }
    return __real_fcntl(file, command, lock);
}

int __real_flock(int file, int how);
int __wrap_flock(int file, int how);
int __wrap_flock(int file, int how)
{
    if (plan.at && strcmp(plan.what, "nolocks") == 0) {
        errno = ENOLCK;
        return -1;
    }
    return __real_flock(file, how);
}

// ---- message: Open MPI's own error handler is called, as for a lost connection ----
#define LOST(comm)                                                                                           \
    if (fires("message")) MPI_Comm_call_errhandler(comm, MPI_ERR_OTHER)
WRAP(int, MPI_Send, (const void *data, int n, MPI_Datatype type, int to, int tag, MPI_Comm comm),
     (data, n, type, to, tag, comm), LOST(comm))
WRAP(int, MPI_Recv,
     (void *data, int n, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Status *status),
     (data, n, type, from, tag, comm, status), LOST(comm))
WRAP(int, MPI_Isend,
     (const void *data, int n, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request *request),
     (data, n, type, to, tag, comm, request), LOST(comm))
WRAP(int, MPI_Irecv,
     (void *data, int n, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Request *request),
     (data, n, type, from, tag, comm, request), LOST(comm))
WRAP(int, MPI_Bcast, (void *data, int n, MPI_Datatype type, int root, MPI_Comm comm),
     (data, n, type, root, comm), LOST(comm))
WRAP(int, MPI_Allreduce, (const void *from, void *to, int n, MPI_Datatype type, MPI_Op op, MPI_Comm comm),
     (from, to, n, type, op, comm), LOST(comm))
WRAP(int, MPI_Iallreduce,
     (const void *from, void *to, int n, MPI_Datatype type, MPI_Op op, MPI_Comm comm, MPI_Request *request),
     (from, to, n, type, op, comm, request), LOST(comm))
WRAP(int, MPI_Ibarrier, (MPI_Comm comm, MPI_Request *request), (comm, request), LOST(comm))

// ---- points ----
static bool is_item(int run, int sample)
{
    bool bad = plan.at > 0 && strcmp(plan.what, "item") == 0 && plan.at == 1000 * run + sample;
    if (bad) say("item", plan.at);
    return bad;
}

WRAP(bool, store_sample_is_whole, (struct store * store, int run, int sample, int length, struct hash *hash),
     (store, run, sample, length, hash), point("readback"))
WRAP(enum status, store_write_observed,
     (struct store * store, int sample, const float *observed, const uint32_t *histogram,
      const unsigned char *digest, struct error *err),
     (store, sample, observed, histogram, digest, err), point("observe"))
WRAP(enum status, store_write_scales, (struct store * store, const float *scales, struct error *err),
     (store, scales, err), point("scales"))
WRAP(enum status, store_write_output,
     (struct store * store, int run, int layer, int component, int sample, const float *values, int length,
      int width, struct error *err),
     (store, run, layer, component, sample, values, length, width, err), point("store");
     if (is_item(run, sample)) return error_set(err, STATUS_IO, "sweep.h5: a bad place on the disk"))
WRAP(enum status, store_write_metrics,
     (struct store * store, int run, int sample, const struct store_metrics *metrics, struct error *err),
     (store, run, sample, metrics, err), point("metrics");
     if (is_item(run, sample)) return error_set(err, STATUS_IO, "sweep.h5: a bad place on the disk"))
WRAP(enum status, store_write_done,
     (struct store * store, int run, int sample, float seconds, struct error *err),
     (store, run, sample, seconds, err), point("mark"))
WRAP(enum status, measure_pairs,
     (struct measurement * measurement, const struct pair_source *source, struct percentile *percentile,
      struct error *err),
     (measurement, source, percentile, err), point("compare"))
WRAP(enum status, file_replace, (const char *path, const void *data, size_t bytes, struct error *err),
     (path, data, bytes, err), point("report"))
