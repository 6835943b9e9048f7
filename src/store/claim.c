// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // locks of open file descriptions: closing another descriptor does not drop them
#include "ssmsweep/store/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/store/store.h"

static const char ENDING[] = ".lock";

// ---- the lock ----

enum outcome { LOCKED, HELD_BY_ANOTHER, NO_LOCKS };

// Kernels and file systems that do not know the first kind may know the second.
static int control(int descriptor, int first, int second, struct flock *lock)
{
    int code = fcntl(descriptor, first, lock);
    return code != 0 && errno == EINVAL ? fcntl(descriptor, second, lock) : code;
}

static enum outcome try_lock(int descriptor)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (control(descriptor, F_OFD_SETLK, F_SETLK, &whole) == 0) return LOCKED;
    return errno == EAGAIN || errno == EACCES ? HELD_BY_ANOTHER : NO_LOCKS;
}

// ---- who holds it ----

static void write_holder(int descriptor)
{
    char host[65] = "", text[CLAIM_HOLDER_ROOM], slurm[96] = "", when[32];
    const char *job = getenv("SLURM_JOB_ID"), *restarts = getenv("SLURM_RESTART_COUNT");
    const time_t now = time(NULL);
    struct tm parts;
    gethostname(host, sizeof host - 1);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts));
    if (job)
        snprintf(slurm, sizeof slurm, ", Slurm job %.24s%s%.12s", job, restarts ? ", restart " : "",
                 restarts ? restarts : "");
    int n =
        snprintf(text, sizeof text, "host %s, process %ld%s, since %s\n", host, (long)getpid(), slurm, when);
    // For people only: a full disk must not stop a run that adds nothing.
    if (ftruncate(descriptor, 0) != 0 || pwrite(descriptor, text, (size_t)n, 0) != n) return;
}

static void read_holder(int descriptor, char holder[CLAIM_HOLDER_ROOM])
{
    ssize_t n = pread(descriptor, holder, CLAIM_HOLDER_ROOM - 1, 0);
    holder[n > 0 ? n : 0] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
    if (!holder[0]) snprintf(holder, CLAIM_HOLDER_ROOM, "which does not say what it is");
}

// ---- taking it ----

// The last holder may have removed the file between our open() and our lock.
static bool is_at(int descriptor, const char *path)
{
    struct stat opened, named;
    return fstat(descriptor, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

// What a link of that name points to is not ours to write to.
// The descriptor of a locked file, or of one that another holds, or (NO_LOCKS) -1 with errno set.
static enum outcome open_locked(const char *path, int *descriptor)
{
    enum outcome outcome;
    for (;;) {
        *descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (*descriptor < 0) return NO_LOCKS;
        outcome = try_lock(*descriptor);
        if (outcome != LOCKED || is_at(*descriptor, path)) break;
        close(*descriptor);
    }
    if (outcome != NO_LOCKS) return outcome;
    const int reason = errno;
    unlink(path);
    close(*descriptor);
    errno = reason;
    *descriptor = -1;
    return outcome;
}

static enum status refuse(const char *result_path, const char *holder, struct error *err)
{
    return error_set(err, STATUS_BUSY,
                     "%.500s: another run writes to it (%s); wait for its end or stop it, then go on with "
                     "--resume, or choose another --output_dir",
                     result_path, holder);
}

enum status claim_take(struct claim *claim, const char *result_path, const struct log *log, struct error *err)
{
    char holder[CLAIM_HOLDER_ROOM];
    int descriptor;
    if (claim->path || claim->futile) return STATUS_OK;
    char *path = file_beside(result_path, ENDING, err);
    if (!path) return err->status;
    switch (open_locked(path, &descriptor)) {
    case LOCKED:
        write_holder(descriptor);
        *claim = (struct claim){.path = path, .descriptor = descriptor};
        return STATUS_OK;
    case HELD_BY_ANOTHER:
        read_holder(descriptor, holder);
        close(descriptor);
        refuse(result_path, holder, err);
        break;
    case NO_LOCKS:
        log_job(log, LOG_NORMAL, "%s: cannot be locked (%s): nothing stops a second run on the same file",
                path, strerror(errno));
        claim->futile = true;
    }
    free(path);
    return err->status;
}

void claim_drop(struct claim *claim)
{
    if (claim->path) {
        if (is_at(claim->descriptor, claim->path)) unlink(claim->path); // before somebody else may lock it
        close(claim->descriptor);
        free(claim->path);
    }
    *claim = (struct claim){0};
}

// ---- looking ----

bool claim_look(const char *result_path, char holder[CLAIM_HOLDER_ROOM])
{
    struct error no_memory = {0};
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char *path = file_beside(result_path, ENDING, &no_memory);
    int descriptor = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    bool held =
        descriptor >= 0 && control(descriptor, F_OFD_GETLK, F_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    if (held) read_holder(descriptor, holder);
    if (descriptor >= 0) close(descriptor);
    free(path);
    return held;
}

enum status claim_refuse(const char *result_path, struct error *err)
{
    char holder[CLAIM_HOLDER_ROOM];
    return claim_look(result_path, holder) ? refuse(result_path, holder, err) : STATUS_OK;
}

// ---- the lock of the file itself ----

static enum status refuse_open(const char *path, enum file_lock kind, struct error *err)
{
    return error_set(
        err, STATUS_BUSY, "%.500s: another program has it open%s (HDF5's lock); close it there, then %s",
        path, kind == FILE_LOCK_SHARED ? " for writing" : ", and adding modes changes what it has read",
        "repeat the command");
}

// As HDF5 does with HDF5_USE_FILE_LOCKING=BEST_EFFORT: where there are no locks nobody can hold one.
enum status file_lock(int descriptor, const char *path, enum file_lock kind, struct error *err)
{
    const int how = (kind == FILE_LOCK_SHARED ? LOCK_SH : LOCK_EX) | LOCK_NB;
    int code;
    do
        code = flock(descriptor, how);
    while (code != 0 && errno == EINTR);
    return code != 0 && errno == EWOULDBLOCK ? refuse_open(path, kind, err) : STATUS_OK;
}

enum status file_lock_open(int *descriptor, const char *path, enum file_lock kind, struct error *err)
{
    const int opened = open(path, O_RDWR | O_CLOEXEC);
    if (opened < 0) return error_errno(err, path, "cannot open the result file for writing");
    if (file_lock(opened, path, kind, err))
        close(opened);
    else
        *descriptor = opened;
    return err->status;
}

enum status store_look_for_lock(const char *path, bool adds_modes, struct error *err)
{
    int descriptor = -1;
    if (file_lock_open(&descriptor, path, adds_modes ? FILE_LOCK_EXCLUSIVE : FILE_LOCK_SHARED, err))
        return err->status;
    close(descriptor);
    return STATUS_OK;
}
