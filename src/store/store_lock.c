// SPDX-License-Identifier: Apache-2.0
#include "store_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "ssmsweep/store/store.h"

static enum status refuse(const char *path, enum store_lock kind, struct error *err)
{
    return error_set(
        err, STATUS_BUSY, "%.500s: another program has it open%s (HDF5's lock); close it there, then %s",
        path, kind == STORE_LOCK_SHARED ? " for writing" : ", and adding modes changes what it has read",
        "repeat the command");
}

// As HDF5 does with HDF5_USE_FILE_LOCKING=BEST_EFFORT: where there are no locks nobody can hold one.
enum status store_lock(int descriptor, const char *path, enum store_lock kind, struct error *err)
{
    const int how = (kind == STORE_LOCK_SHARED ? LOCK_SH : LOCK_EX) | LOCK_NB;
    int code;
    do
        code = flock(descriptor, how);
    while (code != 0 && errno == EINTR);
    return code != 0 && errno == EWOULDBLOCK ? refuse(path, kind, err) : STATUS_OK;
}

enum status store_open_locked(int *descriptor, const char *path, enum store_lock kind, struct error *err)
{
    const int opened = open(path, O_RDWR | O_CLOEXEC);
    if (opened < 0) return error_errno(err, path, "cannot open the result file for writing");
    if (store_lock(opened, path, kind, err))
        close(opened);
    else
        *descriptor = opened;
    return err->status;
}

enum status store_look_for_lock(const char *path, bool adds_modes, struct error *err)
{
    int descriptor = -1;
    if (store_open_locked(&descriptor, path, adds_modes ? STORE_LOCK_EXCLUSIVE : STORE_LOCK_SHARED, err))
        return err->status;
    close(descriptor);
    return STATUS_OK;
}
