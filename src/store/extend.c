// SPDX-License-Identifier: Apache-2.0
// Adds the datasets of further runs to a result file.  HDF5 cannot be interrupted while it changes a file, so
// it changes a shadow: a copy of all bytes but the raw data, with holes there.  A whole shadow is called
// PATH.extension, and its bytes are then copied over those of the file; whoever opens the file next finishes
// what was interrupted.  Raw data are never touched, moved or copied.
#include "handle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hdf.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/store/claim.h"

static const char EXTENSION[] = ".extension"; // of a whole shadow

// ---- where raw data lie ----

struct extent {
    unsigned long long start, end;
};

struct extents {
    struct extent *items;
    size_t n, room;
};

static herr_t add_extent(struct extents *extents, unsigned long long start, unsigned long long bytes)
{
    if (extents->n == extents->room) {
        size_t room = extents->room ? 2 * extents->room : 256;
        struct extent *grown = realloc(extents->items, room * sizeof *grown);
        if (!grown) return -1;
        extents->items = grown;
        extents->room = room;
    }
    extents->items[extents->n++] = (struct extent){start, start + bytes};
    return 0;
}

static herr_t visit_object(hid_t root, const char *name, const hdf_object_info *info, void *context)
{
    if (info->type != H5O_TYPE_DATASET) return 0;
    hid_t data = H5Dopen2(root, name, H5P_DEFAULT);
    if (data < 0) return -1;
    haddr_t offset = H5Dget_offset(data);
    hsize_t bytes = H5Dget_storage_size(data);
    H5Dclose(data);
    return offset == HADDR_UNDEF ? 0 : add_extent(context, offset, bytes);
}

static int compare_extents(const void *a, const void *b)
{
    const struct extent *x = a, *y = b;
    return x->start < y->start ? -1 : x->start > y->start;
}

// Ascending; extents->items is freed by the caller, after a failure too.
static enum status find_extents(struct extents *extents, const char *path, struct error *err)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) return hdf_error(err, path, "cannot open as HDF5");
    if (HDF_VISIT(file, H5_INDEX_NAME, H5_ITER_NATIVE, visit_object, extents, H5O_INFO_BASIC) < 0)
        hdf_error(err, path, "cannot list the datasets");
    H5Fclose(file);
    if (extents->n) qsort(extents->items, extents->n, sizeof *extents->items, compare_extents);
    return err->status;
}

// ---- the bytes between them ----

struct copy {
    int from, to;
    const char *from_path, *to_path;
    unsigned long long shift; // where byte 0 goes
};

static enum status copy_bytes(const struct copy *copy, unsigned long long start, unsigned long long end,
                              struct error *err)
{
    enum { PIECE_BYTES = 1 << 16 };
    char piece[PIECE_BYTES];
    while (start < end) {
        size_t wanted = end - start < PIECE_BYTES ? (size_t)(end - start) : PIECE_BYTES;
        const long long n = file_read_at(copy->from, piece, wanted, (long long)start);
        if (n < 0) return error_errno(err, copy->from_path, "cannot read");
        if (n == 0)
            return error_set(err, STATUS_INPUT, "%s: ends at byte %llu, expected %llu", copy->from_path,
                             start, end);
        if (!file_write_at(copy->to, piece, (size_t)n, (long long)(copy->shift + start)))
            return error_errno(err, copy->to_path, "cannot write");
        start += (unsigned long long)n;
    }
    return STATUS_OK;
}

// Copies from start .. end what is no raw data.
static enum status copy_gaps(const struct copy *copy, const struct extents *raw, unsigned long long start,
                             unsigned long long end, struct error *err)
{
    unsigned long long at = start;
    for (size_t i = 0; i < raw->n && raw->items[i].start < end; i++) {
        if (raw->items[i].start > at && copy_bytes(copy, at, raw->items[i].start, err)) return err->status;
        if (raw->items[i].end > at) at = raw->items[i].end;
    }
    return at < end ? copy_bytes(copy, at, end, err) : STATUS_OK;
}

static enum status sync_file(int descriptor, const char *path, struct error *err)
{
    return fsync(descriptor) == 0 ? STATUS_OK : error_errno(err, path, "cannot sync");
}

// ---- the shadow ----

// Behind the shadow are the same bytes of the file as it was, and this: by them a file is known as the one
// that the shadow is for, even if the shadow lies over a part of it.
struct trailer {
    char magic[16];
    unsigned long long shadow_bytes, base_bytes;
};
static const char MAGIC[16] = "ssmsweep extend";

static enum status make_shadow(const char *path, const char *shadow, struct error *err)
{
    struct extents raw = {0};
    struct stat info;
    struct copy copy = {.from_path = path, .to_path = shadow};
    if (find_extents(&raw, path, err)) goto free_extents;
    copy.from = open(path, O_RDONLY | O_CLOEXEC);
    if (copy.from < 0) {
        error_errno(err, path, "cannot open");
        goto free_extents;
    }
    copy.to = open(shadow, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (copy.to < 0) {
        error_errno(err, shadow, "cannot create");
        goto close_from;
    }
    if (fstat(copy.from, &info) != 0 || ftruncate(copy.to, info.st_size) != 0)
        error_errno(err, shadow, "cannot give it its size");
    else
        copy_gaps(&copy, &raw, 0, (unsigned long long)info.st_size, err);
    close(copy.to);
close_from:
    close(copy.from);
free_extents:
    free(raw.items);
    return err->status;
}

// With the file as it was behind it.
static enum status append_base(const char *path, const char *shadow, struct error *err)
{
    struct extents raw = {0};
    struct stat base, whole;
    struct copy copy = {.from = open(path, O_RDONLY | O_CLOEXEC),
                        .to = open(shadow, O_WRONLY | O_CLOEXEC),
                        .from_path = path,
                        .to_path = shadow};
    if (copy.from < 0 || copy.to < 0 || fstat(copy.from, &base) != 0 || fstat(copy.to, &whole) != 0) {
        error_errno(err, shadow, "cannot open again");
    } else if (find_extents(&raw, path, err) == STATUS_OK) {
        struct trailer trailer = {.shadow_bytes = (unsigned long long)whole.st_size,
                                  .base_bytes = (unsigned long long)base.st_size};
        memcpy(trailer.magic, MAGIC, sizeof trailer.magic);
        copy.shift = trailer.shadow_bytes;
        copy_gaps(&copy, &raw, 0, trailer.base_bytes, err);
        const off_t end = (off_t)(trailer.shadow_bytes + trailer.base_bytes);
        if (!err->status && !file_write_at(copy.to, &trailer, sizeof trailer, end))
            error_errno(err, shadow, "cannot write");
    }
    free(raw.items);
    if (copy.from >= 0) close(copy.from);
    if (copy.to >= 0) close(copy.to);
    return err->status;
}

static enum status sync_path(const char *path, struct error *err)
{
    int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0) return error_errno(err, path, "cannot open");
    sync_file(descriptor, path, err);
    close(descriptor);
    return err->status;
}

// The name must be on the disk before the file is touched.  Not every file system can promise that of
// folders.
static void sync_folder_of(char *path)
{
    char *slash = strrchr(path, '/'), kept = slash ? slash[1] : '\0';
    if (slash) slash[1] = '\0';
    int descriptor = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (slash) slash[1] = kept;
    if (descriptor < 0) return;
    fsync(descriptor);
    close(descriptor);
}

// ---- is it for this file? ----

static enum status read_at(int descriptor, const char *path, unsigned long long offset, void *bytes,
                           size_t count, struct error *err)
{
    const long long n = file_read_at(descriptor, bytes, count, (long long)offset);
    if (n < 0) return error_errno(err, path, "cannot read");
    if (n < (long long)count)
        return error_set(err, STATUS_INPUT, "%s: ends at byte %llu; the file is torn", path,
                         offset + (unsigned long long)n);
    return STATUS_OK;
}

static enum status refuse_foreign(const struct copy *copy, struct error *err)
{
    return error_set(
        err, STATUS_INPUT,
        "%.300s: modes were being added to another file than what %.300s is now; put that file back, or "
        "remove the .extension",
        copy->from_path, copy->to_path);
}

static enum status read_trailer(const struct copy *copy, struct trailer *trailer, struct error *err)
{
    struct stat shadow, file;
    if (fstat(copy->from, &shadow) != 0 || fstat(copy->to, &file) != 0)
        return error_errno(err, copy->from_path, "cannot stat");
    const unsigned long long bytes = (unsigned long long)shadow.st_size;
    if (bytes < sizeof *trailer) return refuse_foreign(copy, err);
    if (read_at(copy->from, copy->from_path, bytes - sizeof *trailer, trailer, sizeof *trailer, err))
        return err->status;
    if (memcmp(trailer->magic, MAGIC, sizeof MAGIC) != 0 || trailer->base_bytes > bytes ||
        trailer->shadow_bytes != bytes - sizeof *trailer - trailer->base_bytes ||
        (unsigned long long)file.st_size < trailer->base_bytes)
        return refuse_foreign(copy, err);
    return STATUS_OK;
}

// Every byte that is no raw data is what it was, or what it becomes.
static enum status check_bytes(const struct copy *copy, const struct trailer *trailer,
                               unsigned long long start, unsigned long long end, struct error *err)
{
    enum { PIECE_BYTES = 1 << 14 };
    char is[PIECE_BYTES], was[PIECE_BYTES], becomes[PIECE_BYTES];
    while (start < end) {
        const size_t count = end - start < PIECE_BYTES ? (size_t)(end - start) : PIECE_BYTES;
        if (read_at(copy->to, copy->to_path, start, is, count, err) ||
            read_at(copy->from, copy->from_path, start, becomes, count, err) ||
            read_at(copy->from, copy->from_path, trailer->shadow_bytes + start, was, count, err))
            return err->status;
        for (size_t i = 0; i < count; i++)
            if (is[i] != was[i] && is[i] != becomes[i]) return refuse_foreign(copy, err);
        start += count;
    }
    return STATUS_OK;
}

static enum status check_file(const struct copy *copy, const struct extents *raw,
                              const struct trailer *trailer, struct error *err)
{
    unsigned long long at = 0, end = trailer->base_bytes;
    for (size_t i = 0; i < raw->n && raw->items[i].start < end; i++) {
        if (raw->items[i].start > at && check_bytes(copy, trailer, at, raw->items[i].start, err))
            return err->status;
        if (raw->items[i].end > at) at = raw->items[i].end;
    }
    return at < end ? check_bytes(copy, trailer, at, end, err) : STATUS_OK;
}

// ---- over the file ----

// What is new comes first, behind the end of the file as it was: if there is no room for it, the file is cut
// back to what it was.  The blocks are reserved, where the file system can promise them.
static enum status append(const struct copy *copy, const struct extents *raw, off_t start, off_t end,
                          struct error *err)
{
    if (start >= end) return STATUS_OK; // an interrupted one: all is copied again
    create_room(copy->to, (unsigned long long)end, copy->to_path, err);
    if (!err->status && ftruncate(copy->to, end) != 0) error_errno(err, copy->to_path, "cannot grow");
    if (!err->status &&
        copy_gaps(copy, raw, (unsigned long long)start, (unsigned long long)end, err) == STATUS_OK)
        sync_file(copy->to, copy->to_path, err);
    if (err->status && ftruncate(copy->to, start) != 0) // the first error stays
        error_errno(err, copy->to_path, "cannot cut back");
    return err->status;
}

// *dropped: the shadow is of no use, the file is as it was.
static enum status lay_over(struct copy *copy, bool locked, bool *dropped, struct error *err)
{
    struct extents raw = {0};
    struct trailer trailer;
    struct stat file;
    copy->to = open(copy->to_path, O_RDWR | O_CLOEXEC);
    if (copy->to < 0) return error_errno(err, copy->to_path, "cannot open the result file for writing");
    if (!locked) file_lock(copy->to, copy->to_path, FILE_LOCK_EXCLUSIVE, err);
    if (!err->status && fstat(copy->to, &file) != 0) error_errno(err, copy->to_path, "cannot stat");
    if (err->status) goto close_to;
    if (!read_trailer(copy, &trailer, err) && !find_extents(&raw, copy->from_path, err) &&
        !check_file(copy, &raw, &trailer, err)) {
        *dropped = append(copy, &raw, file.st_size, (off_t)trailer.shadow_bytes, err) != STATUS_OK;
        if (!err->status && copy_gaps(copy, &raw, 0, (unsigned long long)file.st_size, err) == STATUS_OK)
            sync_file(copy->to, copy->to_path, err);
    }
close_to:
    free(raw.items);
    close(copy->to);
    return err->status;
}

// One of several processes does it.  Where files cannot be locked they all write the same bytes.  `locked`:
// the caller holds the exclusive lock of the file.
static enum status finish(const char *shadow_path, const char *path, bool locked, struct error *err)
{
    struct stat info;
    bool dropped = false;
    struct copy copy = {
        .from = open(shadow_path, O_RDONLY | O_CLOEXEC), .from_path = shadow_path, .to_path = path};
    if (copy.from < 0 && errno == ENOENT) return STATUS_OK;
    if (copy.from < 0) return error_errno(err, shadow_path, "cannot open");
    while (flock(copy.from, LOCK_EX) != 0 && errno == EINTR) {
    }
    bool still_there = fstat(copy.from, &info) == 0 && info.st_nlink > 0;
    if (still_there) lay_over(&copy, locked, &dropped, err);
    if (still_there && (!err->status || dropped) && unlink(shadow_path) != 0 && errno != ENOENT)
        error_errno(err, shadow_path, "cannot remove");
    close(copy.from);
    return err->status;
}

// ---- the whole ----

enum status extend_finish(const char *path, struct error *err)
{
    char *shadow = file_beside(path, EXTENSION, err);
    if (shadow) finish(shadow, path, false, err);
    free(shadow);
    return err->status;
}

enum status extend_discard(const char *path, struct error *err)
{
    char *shadow = file_beside(path, EXTENSION, err);
    // A read-only file system refuses before it looks whether there is anything to remove.
    if (shadow && file_exists(shadow) && unlink(shadow) != 0 && errno != ENOENT)
        error_errno(err, shadow, "cannot remove");
    free(shadow);
    return err->status;
}

enum status extend_file(const char *path, const struct contents *contents, struct error *err)
{
    char *part = file_beside(path, STORE_PART, err), *whole = file_beside(path, EXTENSION, err);
    if (part && whole && make_shadow(path, part, err) == STATUS_OK &&
        create_missing(part, contents, err) == STATUS_OK && append_base(path, part, err) == STATUS_OK &&
        sync_path(part, err) == STATUS_OK && rename(part, whole) != 0)
        error_errno(err, whole, "cannot rename the extension into place");
    if (err->status && part) unlink(part);
    if (!err->status) {
        sync_folder_of(whole);
        finish(whole, path, true, err);
    }
    free(part);
    free(whole);
    return err->status;
}
