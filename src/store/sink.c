// SPDX-License-Identifier: Apache-2.0
#include "sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ssmsweep/base/file.h"

// ---- the file as a descriptor ----

static const struct sink_file *file_of(const struct sink *sink)
{
    return (const struct sink_file *)(const void *)sink;
}

static off_t offset_of(const struct slot *slot)
{
    return (off_t)(slot->of.data + slot->row * (long long)slot->row_bytes);
}

static enum status fail(const struct sink_file *file, const char *what, int code, struct error *err)
{
    struct statvfs disk;
    double free_mebibytes = 0;
    if (fstatvfs(file->descriptor, &disk) == 0)
        free_mebibytes = (double)disk.f_bavail * (double)disk.f_frsize / (1024.0 * 1024.0);
    return error_set(err, STATUS_IO, "%s: %s: %s (%.1f MiB free there)", file->path, what, strerror(code),
                     free_mebibytes);
}

enum status sink_file_open(struct sink_file *file, const char *path, struct error *err)
{
    file->path = strdup(path);
    file->descriptor = -1;
    if (!file->path) return error_memory(err, strlen(path) + 1, "a writer");
    file->descriptor = open(path, O_RDWR | O_CLOEXEC);
    return file->descriptor < 0 ? error_errno(err, path, "cannot open for writing") : STATUS_OK;
}

void sink_file_close(struct sink_file *file)
{
    if (file->path && file->descriptor >= 0) close(file->descriptor);
    free(file->path);
}

bool sink_file_get(struct sink *sink, const struct slot *slot, size_t first, void *data, size_t bytes)
{
    const struct sink_file *file = file_of(sink);
    const long long n = file_read_at(file->descriptor, data, bytes, offset_of(slot) + (off_t)first);
    if (n >= 0 && n < (long long)bytes) errno = EIO; // the file was cut
    return n == (long long)bytes;
}

enum status sink_file_sync(struct sink *sink, struct error *err)
{
    const struct sink_file *file = file_of(sink);
    if (fsync(file->descriptor) == 0 || errno == EINVAL || errno == EROFS) return STATUS_OK;
    return fail(file, "cannot sync layer outputs", errno, err);
}

// ---- pwrite() ----

static enum status posix_put(struct sink *sink, const struct slot *slot, const void *data, size_t bytes,
                             const char *what, struct error *err)
{
    const struct sink_file *file = file_of(sink);
    if (file_write_at(file->descriptor, data, bytes, offset_of(slot))) return STATUS_OK;
    return fail(file, what, errno, err);
}

static void posix_close(struct sink *sink, const struct error *loss, struct error *err)
{
    (void)loss; // nothing is left to write
    (void)err;
    sink_file_close((struct sink_file *)(void *)sink);
    free(sink);
}

enum status sink_open_posix(struct sink **sink, const char *path, struct error *err)
{
    static const struct sink_kind kind = {"posix",       true,           posix_put,
                                          sink_file_get, sink_file_sync, posix_close};
    struct sink_file *file = calloc(1, sizeof *file);
    if (!file) return error_memory(err, sizeof *file, "a writer");
    file->sink.kind = &kind;
    if (sink_file_open(file, path, err)) {
        sink_file_close(file);
        free(file);
        return err->status;
    }
    *sink = &file->sink;
    return STATUS_OK;
}
