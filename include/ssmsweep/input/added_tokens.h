// SPDX-License-Identifier: Apache-2.0
// The `added_tokens` of a tokenizer.json: texts that become one id wherever they stand, before anything is
// split.
#ifndef SSMSWEEP_INPUT_ADDED_TOKENS_H
#define SSMSWEEP_INPUT_ADDED_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/input/bpe.h"
#include "ssmsweep/input/unicode.h"

struct added_tokens; // opaque; read-only after opening

// Tokens with "normalized": false are sought in the raw text, the others in the normalized text.
enum added_kind { ADDED_RAW, ADDED_NORMALIZED, ADDED_KINDS };

struct added_match {
    size_t start, end; // with the white space that lstrip and rstrip take
    int32_t id;
    size_t next; // where the search goes on
};

// `array` may be NULL.  The texts of ADDED_NORMALIZED are normalized as well.  STATUS_INPUT names `path` and
// the entry: torn, unknown keys, or an id that contradicts `bpe`.  Local.
enum status added_tokens_open(struct added_tokens **tokens, const struct json *array, const struct bpe *bpe,
                              const struct normalizer *normalizer, const char *path, struct error *err);
void added_tokens_close(struct added_tokens *tokens); // NULL is fine

// The leftmost token from match->next (0 at first) on, of those the longest; false if there is none.  What
// was found before took the text up to `taken`, and leaves the white space behind that to this one.
bool added_tokens_find(const struct added_tokens *tokens, enum added_kind kind, const char *text,
                       size_t bytes, size_t taken, struct added_match *match);

int32_t added_tokens_highest_id(const struct added_tokens *tokens); // -1 if there are none

#endif
