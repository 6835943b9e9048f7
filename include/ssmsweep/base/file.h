// SPDX-License-Identifier: Apache-2.0
// Files: map for reading, and write so that a final name never holds half a file.
#ifndef SSMSWEEP_BASE_FILE_H
#define SSMSWEEP_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/types.h>

#include "ssmsweep/base/status.h"

// A read-only mapping of a whole regular file.  In caller memory; file_unmap() frees (a zeroed one is fine).
struct file_map {
    const unsigned char *data; // NULL for an empty file
    size_t size_bytes;
};

// Errors: STATUS_INPUT if the file is missing or no regular file, STATUS_IO if it cannot be read.  Local.
enum status file_map(struct file_map *map, const char *path, struct error *err);
void file_unmap(struct file_map *map);
// Bytes of a byte order mark in front of a text: 3 or 0.
size_t file_mark_bytes(const void *text, size_t bytes);
// Gives the pages that were read so far back to the page cache; the next access maps them again.
void file_release(const struct file_map *map);
// Has the system read it in the background.  This and file_release() also take a part of a mapping that
// begins at a page.
void file_want(const struct file_map *map);

// STATUS_INPUT where `mode`, of stat(), is that of a folder, a pipe or a device.
enum status file_expect_regular(const char *path, mode_t mode, struct error *err);
bool file_exists(const char *path);
bool file_is_directory(const char *path);
bool file_is_writable(const char *path); // of a folder: files can be made in it

// mkdir -p.  STATUS_IO names the component that could not be made.
enum status file_make_directories(const char *path, struct error *err);
// Bytes of the beginning of `path` that exist: what file_make_directories() need not make.
size_t file_existing_bytes(const char *path);
// The other way round: removes those folders on `path`, behind its first `kept_bytes`, that are empty.
void file_remove_directories(const char *path, size_t kept_bytes);

// Writes a file without a name, fsyncs it, links it as PATH.tmp.<pid> and renames that to PATH: the old
// content or the new, never a part.  Where the file system has no files without a name, it is PATH.tmp.<pid>
// at once.  Of a symbolic link the file that it leads to is replaced.  What is no file (a pipe, /dev/null,
// /dev/stdout) is written to as it is.
enum status file_replace(const char *path, const void *data, size_t size_bytes, struct error *err);

// The same of DIR/NAME with a text; NULL stands for one that memory did not suffice for.
enum status file_replace_in(const char *directory, const char *name, const char *text, struct error *err);

// The same of DIR/NAME, piece by piece: what is written to `out` need not be in memory.  In caller memory.
struct file_replacement {
    FILE *out;
    char *path, *temporary;
    enum { FILE_UNNAMED, FILE_NAMED, FILE_IN_PLACE } way;
};
// On success file_replacement_end() must follow, which frees.
enum status file_replacement_begin(struct file_replacement *replacement, const char *directory,
                                   const char *name, struct error *err);
// Renames what was written into place; after an error, also one that *err held before, the old file stays.
enum status file_replacement_end(struct file_replacement *replacement, struct error *err);

// What a chain of links at `path` leads to, whether it is there or not, in malloc'ed memory (caller frees):
// the file behind a link is replaced, and the link stays.  NULL with errno set.
char *file_follow_links(const char *path);

// "DIR/NAME" in malloc'ed memory (caller frees); NULL when memory is out.
char *file_join(const char *directory, const char *name);
// PATH with an ending, likewise; NULL with *err set.
char *file_beside(const char *path, const char *ending, struct error *err);

// Local.  The whole of it, however many calls that takes.  Read: the bytes that were read, fewer where the
// file ends, or -1 with errno set.  Write: false with errno set.
long long file_read_at(int descriptor, void *data, size_t bytes, long long offset);
bool file_write_at(int descriptor, const void *data, size_t bytes, long long offset);

// ---- standard ----

// Standard input, output and error, as whoever starts the program leaves them.

// Local.  In front of all else: a stream that is closed becomes /dev/null.
void standard_open(void);

// Local.  Whether everything that was printed has left the program: STATUS_IO where it could not, which a
// table in a full disk does not show by itself.
enum status standard_end(struct error *err);

#endif
