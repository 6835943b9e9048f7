// SPDX-License-Identifier: Apache-2.0
// The lines of a stream, of bounded length: a compressed file of one endless line must not fill the memory.
#ifndef SSMSWEEP_INPUT_LINES_H
#define SSMSWEEP_INPUT_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/source.h"

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

#endif
