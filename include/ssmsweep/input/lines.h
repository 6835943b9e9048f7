// SPDX-License-Identifier: Apache-2.0
// The lines of a stream, of bounded length: a compressed file of one endless line must not fill the memory.
#ifndef SSMSWEEP_INPUT_LINES_H
#define SSMSWEEP_INPUT_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/base/status.h"

enum { LINES_MAX_BYTES = 64 << 20 };

// In caller memory, zeroed but for `source`, which is borrowed; freed by lines_clear().
struct lines {
    struct source *source;
    long number; // of the last line, from 1
    char *text;
    size_t used, room;
};

// The next line with its '\n' (the last may lack it); valid until the next call.  *bytes is 0 at the end.
// STATUS_INPUT: longer than LINES_MAX_BYTES, or what source_view() says.  Local.
enum status lines_next(struct lines *lines, const char **line, size_t *bytes, struct error *err);

// Adds the next line behind those already in lines->text, so that a document of several lines has the same
// bound; *added is 0 at the end.  Setting lines->used to 0 starts anew.
enum status lines_append(struct lines *lines, size_t *added, struct error *err);

void lines_clear(struct lines *lines);

// ---- source ----

// A stream of bytes from a file or from standard input, plain, gzip or Zstandard: told apart by their first
// bytes, inflated as far as they are read, in memory that does not depend on their length.

enum { SOURCE_VIEW_BYTES = 512 };

struct source; // opaque

// "-" is standard input.  Concatenated gzip members and Zstandard frames are one stream.  Local.
// STATUS_INPUT: no such file, a folder, or a name that ends in .gz or .zst over other bytes.
enum status source_open(struct source **source, const char *path, struct error *err);
void source_close(struct source *source); // NULL is fine

// Right after opening: the bytes as they are, unless the name ends in .gz or .zst.  For numbers without a
// header, which may look like the beginning of compressed data.
void source_take_plain(struct source *source);

const char *source_name(const struct source *source); // the path, or "standard input": starts messages
long long source_size(const struct source *source);   // bytes of a plain regular file, -1 for everything else

// The bytes that come next: at least SOURCE_VIEW_BYTES while the stream has them, none only at its end.
// Valid until the next call.  STATUS_INPUT: torn compressed data.
enum status source_view(struct source *source, const unsigned char **data, size_t *bytes, struct error *err);
void source_take(struct source *source, size_t bytes); // moves past bytes of the view

// Exactly `bytes` more bytes.  STATUS_INPUT where the stream ends before them.
enum status source_read(struct source *source, void *out, size_t bytes, struct error *err);

#endif
