// SPDX-License-Identifier: Apache-2.0
// A stream of bytes from a file or from standard input, plain, gzip or Zstandard: told apart by their first
// bytes, inflated as far as they are read, in memory that does not depend on their length.
#ifndef SSMSWEEP_INPUT_SOURCE_H
#define SSMSWEEP_INPUT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/base/status.h"

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
