// SPDX-License-Identifier: Apache-2.0
#define _GNU_SOURCE // O_TMPFILE
#include "ssmsweep/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DESCRIPTOR_ROOM = 32 }; // for "/proc/self/fd/N"

enum status file_expect_regular(const char *path, mode_t mode, struct error *err)
{
    if (S_ISREG(mode)) return STATUS_OK;
    if (S_ISDIR(mode))
        return error_set(err, STATUS_INPUT, "%s: expected a regular file, got a folder; name a file in it",
                         path);
    return error_set(err, STATUS_INPUT,
                     "%s: expected a regular file, got a pipe or a device; copy it into a file", path);
}

static enum status map_descriptor(struct file_map *map, int descriptor, const char *path, struct error *err)
{
    struct stat info;
    if (fstat(descriptor, &info) != 0) return error_errno(err, path, "cannot stat");
    if (file_expect_regular(path, info.st_mode, err)) return err->status;
    struct file_map found = {.size_bytes = (size_t)info.st_size};
    if (found.size_bytes > 0) {
        void *data = mmap(NULL, found.size_bytes, PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (data == MAP_FAILED) return error_errno(err, path, "cannot map");
        found.data = data;
    }
    *map = found;
    return STATUS_OK;
}

enum status file_map(struct file_map *map, const char *path, struct error *err)
{
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, STATUS_INPUT, "%s: no such file; check the path", path);
    if (descriptor < 0) return error_errno(err, path, "cannot open for reading");
    map_descriptor(map, descriptor, path, err);
    close(descriptor);
    return err->status;
}

size_t file_mark_bytes(const void *text, size_t bytes)
{
    return bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

void file_release(const struct file_map *map)
{
#ifdef MADV_DONTNEED // no page was written, so none is lost
    if (map->data) madvise((void *)(size_t)map->data, map->size_bytes, MADV_DONTNEED);
#else
    (void)map;
#endif
}

void file_want(const struct file_map *map)
{
#ifdef MADV_WILLNEED
    if (map->data) madvise((void *)(size_t)map->data, map->size_bytes, MADV_WILLNEED);
#else
    (void)map;
#endif
}

void file_unmap(struct file_map *map)
{
    if (map->data) munmap((void *)(size_t)map->data, map->size_bytes);
    *map = (struct file_map){0};
}

bool file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool file_is_directory(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool file_is_writable(const char *path)
{
    return access(path, W_OK) == 0;
}

enum status file_make_directories(const char *path, struct error *err)
{
    char *part = strdup(path);
    if (!part) return error_memory(err, strlen(path) + 1, "a path");
    for (char *slash = part + 1; !err->status; slash++) {
        char kept = *slash;
        if (kept != '/' && kept != '\0') continue;
        *slash = '\0';
        // EEXIST may also be another rank that was faster, or a file in the way: look.
        if (mkdir(part, 0777) != 0 && !(errno == EEXIST && file_is_directory(part))) {
            if (errno == EEXIST) errno = ENOTDIR;
            error_errno(err, part, "cannot make the folder");
        }
        *slash = kept;
        if (kept == '\0') break;
    }
    free(part);
    return err->status;
}

// The end of the next component, from `at`, or of the path.
static size_t component_end(const char *path, size_t at)
{
    at += strspn(path + at, "/");
    return at + strcspn(path + at, "/");
}

size_t file_existing_bytes(const char *path)
{
    size_t existing = 0;
    char *part = strdup(path);
    if (!part) return strlen(path); // nothing is to be removed
    while (path[existing] != '\0') {
        const size_t end = component_end(path, existing);
        part[end] = '\0';
        if (!file_exists(part)) break;
        part[end] = path[end];
        existing = end;
    }
    free(part);
    return existing;
}

void file_remove_directories(const char *path, size_t kept_bytes)
{
    char *part = strdup(path);
    for (size_t end = part ? strlen(part) : 0; end > kept_bytes; part[end] = '\0') {
        rmdir(part); // whatever speaks against it: then it stays
        while (end > kept_bytes && part[end - 1] != '/')
            end--;
        while (end > kept_bytes && part[end - 1] == '/')
            end--;
    }
    free(part);
}

char *file_join(const char *directory, const char *name)
{
    size_t room = strlen(directory) + strlen(name) + 2;
    char *path = malloc(room);
    if (path) snprintf(path, room, "%s/%s", directory, name);
    return path;
}

char *file_beside(const char *path, const char *ending, struct error *err)
{
    size_t room = strlen(path) + strlen(ending) + 1;
    char *beside = malloc(room);
    if (beside)
        snprintf(beside, room, "%s%s", path, ending);
    else
        error_memory(err, room, "a path");
    return beside;
}

// ---- files made anew ----

static void name_descriptor(char name[DESCRIPTOR_ROOM], int descriptor)
{
    snprintf(name, DESCRIPTOR_ROOM, "/proc/self/fd/%d", descriptor);
}

// A file beside `path` that has no name yet, and so is gone with the process; NULL where that cannot be had.
static FILE *open_unnamed(const char *path)
{
    char name[DESCRIPTOR_ROOM], *folder = strdup(path), *slash = folder ? strrchr(folder, '/') : NULL;
    if (!folder) return NULL;
    if (slash) slash[slash == folder] = '\0';
    int descriptor = open(slash ? folder : ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    free(folder);
    if (descriptor < 0) return NULL;
    name_descriptor(name, descriptor);
    FILE *out = access(name, F_OK) == 0 ? fdopen(descriptor, "w") : NULL; // by it the file gets its name
    if (!out) close(descriptor);
    return out;
}

// A pipe or a device is not to be replaced; nor are the names of open files, which are links in /dev.
static bool is_special(const char *path)
{
    struct stat info;
    if (lstat(path, &info) == 0 && S_ISLNK(info.st_mode) && strncmp(path, "/dev/", 5) == 0) return true;
    return stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

char *file_follow_links(const char *path)
{
    enum { MOST_LINKS = 40 };
    char target[PATH_MAX], *at = strdup(path);
    for (int links = 0; at; links++) {
        const ssize_t bytes = readlink(at, target, sizeof target - 1);
        if (bytes < 0) return at; // no link, or nothing
        target[bytes] = '\0';
        char *slash = strrchr(at, '/'), *next = NULL;
        if (links == MOST_LINKS) {
            errno = ELOOP;
        } else if (target[0] == '/' || !slash) {
            next = strdup(target);
        } else {
            *slash = '\0';
            next = file_join(at, target); // "" for the root: "/TARGET"
        }
        free(at);
        at = next;
    }
    return NULL;
}

static void open_replacement(struct file_replacement *made)
{
    made->way = FILE_IN_PLACE;
    if (is_special(made->path)) {
        made->out = fopen(made->path, "we");
        return;
    }
    made->way = FILE_UNNAMED;
    made->out = open_unnamed(made->path);
    if (made->out) return;
    made->way = FILE_NAMED;
    made->out = fopen(made->temporary, "we");
}

static enum status begin(struct file_replacement *replacement, const char *path, struct error *err)
{
    struct file_replacement made = {.path = is_special(path) ? strdup(path) : file_follow_links(path)};
    if (!made.path) return error_errno(err, path, "cannot create");
    const size_t room = strlen(made.path) + 32;
    made.temporary = malloc(room);
    if (!made.temporary) {
        error_memory(err, room, "a path");
        goto free_names;
    }
    snprintf(made.temporary, room, "%s.tmp.%ld", made.path, (long)getpid());
    open_replacement(&made);
    if (!made.out) {
        error_errno(err, path, "cannot create");
        goto free_names;
    }
    *replacement = made;
    return STATUS_OK;
free_names:
    free(made.path);
    free(made.temporary);
    return err->status;
}

enum status file_replacement_begin(struct file_replacement *replacement, const char *directory,
                                   const char *name, struct error *err)
{
    char *path = file_join(directory, name);
    if (!path) return error_memory(err, strlen(directory) + strlen(name) + 2, "a path");
    begin(replacement, path, err);
    free(path);
    return err->status;
}

// What a process of the same number left there, long ago, makes room.
static enum status give_name(const struct file_replacement *replacement, struct error *err)
{
    char name[DESCRIPTOR_ROOM];
    name_descriptor(name, fileno(replacement->out));
    for (int tries = 0; tries < 2; tries++) {
        if (linkat(AT_FDCWD, name, AT_FDCWD, replacement->temporary, AT_SYMLINK_FOLLOW) == 0)
            return STATUS_OK;
        if (errno == EEXIST) unlink(replacement->temporary);
    }
    return error_errno(err, replacement->path, "cannot create");
}

enum status file_replacement_end(struct file_replacement *replacement, struct error *err)
{
    const char *path = replacement->path;
    const bool moves = replacement->way != FILE_IN_PLACE;
    errno = EIO; // of an earlier piece the reason is forgotten
    if ((fflush(replacement->out) != 0 || ferror(replacement->out)) && !err->status)
        error_errno(err, path, "cannot write");
    if (!err->status && moves && fsync(fileno(replacement->out)) != 0) error_errno(err, path, "cannot sync");
    if (!err->status && replacement->way == FILE_UNNAMED) give_name(replacement, err);
    if (fclose(replacement->out) != 0 && !err->status) error_errno(err, path, "cannot close");
    if (!err->status && moves && rename(replacement->temporary, path) != 0)
        error_errno(err, path, "cannot rename into place");
    if (err->status && moves) unlink(replacement->temporary);
    free(replacement->path);
    free(replacement->temporary);
    *replacement = (struct file_replacement){0};
    return err->status;
}

enum status file_replace(const char *path, const void *data, size_t size_bytes, struct error *err)
{
    struct file_replacement replacement;
    if (begin(&replacement, path, err)) return err->status;
    if (fwrite(data, 1, size_bytes, replacement.out) != size_bytes) error_errno(err, path, "cannot write");
    return file_replacement_end(&replacement, err);
}

enum status file_replace_in(const char *directory, const char *name, const char *text, struct error *err)
{
    char *path = text ? file_join(directory, name) : NULL;
    if (!path) return error_memory(err, 1u << 16, name);
    file_replace(path, text, strlen(text), err);
    free(path);
    return err->status;
}

long long file_read_at(int descriptor, void *data, size_t bytes, long long offset)
{
    size_t done = 0;
    while (done < bytes) {
        const ssize_t n = pread(descriptor, (char *)data + done, bytes - done, (off_t)offset + (off_t)done);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        done += (size_t)n;
    }
    return (long long)done;
}

bool file_write_at(int descriptor, const void *data, size_t bytes, long long offset)
{
    for (const char *at = data; bytes > 0;) {
        const ssize_t n = pwrite(descriptor, at, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = ENOSPC;
        if (n <= 0) return false;
        at += n;
        bytes -= (size_t)n;
        offset += n;
    }
    return true;
}

// ---- standard ----

// Else the next file or pipe that anybody opens takes the number of the stream, and what is printed goes
// into it.
void standard_open(void)
{
    int descriptor;
    do
        descriptor = open("/dev/null", O_RDWR);
    while (descriptor >= 0 && descriptor <= STDERR_FILENO);
    if (descriptor > STDERR_FILENO) close(descriptor);
}

// A pipe or a socket: it took what it wanted.
static bool reader_left(void)
{
    struct stat info;
    struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
    return fstat(STDOUT_FILENO, &info) == 0 && (S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode)) &&
           poll(&out, 1, 0) > 0 && (out.revents & (POLLERR | POLLHUP));
}

enum status standard_end(struct error *err)
{
    const int code = fflush(stdout) == 0 ? 0 : errno;
    if ((code == 0 && !ferror(stdout)) || reader_left()) return STATUS_OK;
    // The reason of an earlier piece may be forgotten.
    return error_set(err, STATUS_IO, "standard output: cannot write: %s; print it again where it finds room",
                     code ? strerror(code) : "a part of the text is lost");
}
