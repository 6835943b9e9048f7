// SPDX-License-Identifier: Apache-2.0
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ssmsweep/base/file.h"

// ---- pwrite() ----

struct posix {
    struct sink sink; // first
    int descriptor;
    char path[];
};

static struct posix *posix_of(struct sink *sink)
{
    return (struct posix *)(void *)sink;
}

static off_t offset_of(const struct slot *slot)
{
    return (off_t)(slot->data + slot->row * (long long)slot->row_bytes);
}

static enum status fail(const struct posix *posix, const char *what, int code, struct error *err)
{
    struct statvfs disk;
    double free_mebibytes = 0;
    if (fstatvfs(posix->descriptor, &disk) == 0)
        free_mebibytes = (double)disk.f_bavail * (double)disk.f_frsize / (1024.0 * 1024.0);
    return error_set(err, STATUS_IO, "%s: %s: %s (%.1f MiB free there)", posix->path, what, strerror(code),
                     free_mebibytes);
}

static enum status posix_put(struct sink *sink, const struct slot *slot, const void *data, size_t bytes,
                             const char *what, struct error *err)
{
    const struct posix *posix = posix_of(sink);
    if (file_write_at(posix->descriptor, data, bytes, offset_of(slot))) return STATUS_OK;
    return fail(posix, what, errno, err);
}

static bool posix_get(struct sink *sink, const struct slot *slot, size_t first, void *data, size_t bytes)
{
    const struct posix *posix = posix_of(sink);
    const long long n = file_read_at(posix->descriptor, data, bytes, offset_of(slot) + (off_t)first);
    if (n >= 0 && n < (long long)bytes) errno = EIO; // the file was cut
    return n == (long long)bytes;
}

static enum status posix_sync(struct sink *sink, struct error *err)
{
    const struct posix *posix = posix_of(sink);
    if (fsync(posix->descriptor) == 0 || errno == EINVAL || errno == EROFS) return STATUS_OK;
    return fail(posix, "cannot sync layer outputs", errno, err);
}

static void posix_close(struct sink *sink)
{
    close(posix_of(sink)->descriptor);
    free(posix_of(sink));
}

enum status sink_open_posix(struct sink **sink, const char *path, struct error *err)
{
    static const struct sink_kind kind = {"posix", posix_put, posix_get, posix_sync, posix_close};
    const size_t room = sizeof(struct posix) + strlen(path) + 1;
    struct posix *posix = calloc(1, room);
    if (!posix) return error_memory(err, room, "a writer");
    posix->sink.kind = &kind;
    memcpy(posix->path, path, strlen(path));
    posix->descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (posix->descriptor < 0) {
        error_errno(err, path, "cannot open for writing");
        free(posix);
        return err->status;
    }
    *sink = &posix->sink;
    return STATUS_OK;
}
