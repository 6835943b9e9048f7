// SPDX-License-Identifier: Apache-2.0
// A library that is loaded with ssmsweep (LD_PRELOAD): system calls on a result file fail, whoever makes
// them: ssmsweep, HDF5, or MPI-IO behind it.  Which file: one whose path ends with /sweep.h5; only what
// happens to it under this name counts, not while it is made.
//   FILE_FAULT=CALL:K[/RANK]    the K-th CALL (open, seek, read, write, superblock: a write to the first
//   byte,
//                               sync, close, resize, all) fails with EIO (of RANK, or of every rank), once;
//                               where K is odd a write is cut short instead
//   FILE_FAULT=CALL:K+[/RANK]   so do all from the K-th on, with ENOSPC
//   FILE_FAULT=count            none fails; at its end a process says how much was written to the file from
//                               within MPI_File_write_at(), and how much by others
// What happens is said on stderr, in one line that begins "inject: ".
#define _GNU_SOURCE // RTLD_NEXT
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_FILES = 1024 };
static bool ours[MOST_FILES]; // descriptors of the result file

static struct {
    char call[16]; // "": nothing is asked for
    long at, count;
    bool for_ever;
} plan;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool counts;
static _Atomic long long mpi_bytes, other_bytes;
static _Thread_local bool inside_mpi;

__attribute__((destructor)) static void say_counts(void)
{
    char line[120];
    if (!counts) return;
    const int n = snprintf(line, sizeof line, "inject: %lld bytes by MPI_File_write_at, %lld by others\n",
                           (long long)mpi_bytes, (long long)other_bytes);
    if (write(STDERR_FILENO, line, (size_t)n) < 0) return; // nobody reads it
}

int MPI_File_write_at(MPI_File file, MPI_Offset at, const void *data, int n, MPI_Datatype type,
                      MPI_Status *status)
{
    inside_mpi = true;
    const int code = PMPI_File_write_at(file, at, data, n, type, status);
    inside_mpi = false;
    return code;
}

__attribute__((constructor)) static void read_plan(void)
{
    const char *text = getenv("FILE_FAULT"), *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (!text) return;
    const char *colon = strchr(text, ':'), *slash = strchr(text, '/');
    counts = strcmp(text, "count") == 0;
    if (!colon || (slash && strtol(slash + 1, NULL, 10) != (rank ? strtol(rank, NULL, 10) : 0))) return;
    plan.at = strtol(colon + 1, NULL, 10);
    plan.for_ever = strchr(colon, '+') != NULL;
    snprintf(plan.call, sizeof plan.call, "%.*s", (int)(colon - text), text);
}

static void say(const char *call, long at)
{
    char line[80];
    const int n = snprintf(line, sizeof line, "inject: %s %ld\n", call, at);
    if (write(STDERR_FILENO, line, (size_t)n) < 0) return; // nobody reads it
}

// Counts a call on the result file; with errno set where it is to fail.
static bool fails(const char *call)
{
    if (!plan.call[0] || (strcmp(plan.call, call) != 0 && strcmp(plan.call, "all") != 0)) return false;
    pthread_mutex_lock(&lock);
    const long count = ++plan.count;
    pthread_mutex_unlock(&lock);
    const bool fires = plan.for_ever ? count >= plan.at : count == plan.at;
    if (count == plan.at) say(call, count);
    if (fires) errno = plan.for_ever ? ENOSPC : EIO;
    return fires;
}

static bool is_ours(int file)
{
    return file >= 0 && file < MOST_FILES && ours[file];
}

#define REAL(type, name, ...)                                                                                \
    static type (*real)(__VA_ARGS__);                                                                        \
    if (!real) *(void **)(&real) = dlsym(RTLD_NEXT, name)

// ---- open and close ----

static bool names_result(const char *path)
{
    const size_t length = strlen(path);
    return length >= 9 && strcmp(path + length - 9, "/sweep.h5") == 0;
}

static int open_it(const char *path, int flags, mode_t mode)
{
    REAL(int, "open64", const char *, int, ...);
    if (!names_result(path)) return real(path, flags, mode);
    if (fails("open")) return -1;
    const int file = real(path, flags, mode);
    if (file >= 0 && file < MOST_FILES) ours[file] = true;
    return file;
}

#define OPEN(name)                                                                                           \
    int name(const char *path, int flags, ...);                                                              \
    int name(const char *path, int flags, ...)                                                               \
    {                                                                                                        \
        va_list rest;                                                                                        \
        va_start(rest, flags);                                                                               \
        const mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;                                      \
        va_end(rest);                                                                                        \
        return open_it(path, flags, mode);                                                                   \
    }
OPEN(open)
OPEN(open64)

int close(int file)
{
    REAL(int, "close", int);
    const bool mine = is_ours(file), bad = mine && fails("close");
    const int code = bad ? errno : 0;
    if (mine) ours[file] = false;
    const int done = real(file); // it is closed, whatever it answers
    if (bad) errno = code;
    return bad ? -1 : done;
}

// ---- all else ----

#define CALL(type, name, parameters, arguments, call)                                                        \
    type name parameters;                                                                                    \
    type name parameters                                                                                     \
    {                                                                                                        \
        static type(*real) parameters;                                                                       \
        if (!real) *(void **)(&real) = dlsym(RTLD_NEXT, #name);                                              \
        return is_ours(file) && fails(call) ? -1 : real arguments;                                           \
    }
CALL(off_t, lseek, (int file, off_t at, int from), (file, at, from), "seek")
CALL(off64_t, lseek64, (int file, off64_t at, int from), (file, at, from), "seek")
CALL(ssize_t, read, (int file, void *data, size_t bytes), (file, data, bytes), "read")
CALL(ssize_t, pread, (int file, void *data, size_t bytes, off_t at), (file, data, bytes, at), "read")
CALL(ssize_t, pread64, (int file, void *data, size_t bytes, off64_t at), (file, data, bytes, at), "read")
CALL(int, fsync, (int file), (file), "sync")
CALL(int, fdatasync, (int file), (file), "sync")
CALL(int, ftruncate, (int file, off_t bytes), (file, bytes), "resize")
CALL(int, ftruncate64, (int file, off64_t bytes), (file, bytes), "resize")
CALL(int, posix_fallocate, (int file, off_t at, off_t bytes), (file, at, bytes), "resize")

// Cut short, a write has done a part of it.
static size_t shorter(int file, off64_t at, size_t bytes, bool *bad)
{
    *bad = is_ours(file) && fails(at == 0 ? "superblock" : "write");
    return *bad && !plan.for_ever && plan.at % 2 == 1 && bytes > 1 ? bytes / 2 : 0;
}

static void count_bytes(int file, size_t bytes)
{
    if (!is_ours(file)) return;
    if (inside_mpi)
        mpi_bytes += (long long)bytes;
    else
        other_bytes += (long long)bytes;
}

#define WRITE(name, offset)                                                                                  \
    ssize_t name(int file, const void *data, size_t bytes, offset at);                                       \
    ssize_t name(int file, const void *data, size_t bytes, offset at)                                        \
    {                                                                                                        \
        bool bad;                                                                                            \
        REAL(ssize_t, #name, int, const void *, size_t, offset);                                             \
        const size_t part = shorter(file, at, bytes, &bad);                                                  \
        if (!bad) count_bytes(file, bytes);                                                                  \
        if (!bad) return real(file, data, bytes, at);                                                        \
        return part > 0 ? real(file, data, part, at) : -1;                                                   \
    }
WRITE(pwrite, off_t)
WRITE(pwrite64, off64_t)
