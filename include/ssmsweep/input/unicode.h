// SPDX-License-Identifier: Apache-2.0
// What the tokenizer asks of Unicode: well-formed UTF-8, NFC, and the GPT-2 split into pre-tokens.
#ifndef SSMSWEEP_INPUT_UNICODE_H
#define SSMSWEEP_INPUT_UNICODE_H

#include <stddef.h>

#include "ssmsweep/base/status.h"

// STATUS_INPUT names the offset of the first byte that is no UTF-8.  Local.
enum status unicode_check_utf8(const char *text, size_t bytes, struct error *err);

// NFC of valid UTF-8 in malloc'ed memory (caller frees).  Local.
enum status unicode_nfc(const char *text, size_t bytes, char **normalized, size_t *normalized_bytes,
                        struct error *err);

struct splitter; // opaque: the compiled pattern; read-only after opening

enum status splitter_open(struct splitter **splitter, struct error *err);
void splitter_close(struct splitter *splitter); // NULL is fine

struct splitter_scratch; // opaque: what one thread needs while matching

struct splitter_scratch *splitter_scratch_open(const struct splitter *splitter); // NULL when memory is out
void splitter_scratch_close(struct splitter_scratch *scratch);                   // NULL is fine

// End of the pre-token that starts at byte `start` (< bytes) of valid UTF-8.  Local.
enum status splitter_next(const struct splitter *splitter, struct splitter_scratch *scratch, const char *text,
                          size_t bytes, size_t start, size_t *end, struct error *err);

#endif
