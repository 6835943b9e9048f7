// SPDX-License-Identifier: Apache-2.0
// The vocabulary of a tokenizer: a hash map from token to id.
#ifndef SSMSWEEP_INPUT_VOCAB_H
#define SSMSWEEP_INPUT_VOCAB_H

#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/status.h"

enum { VOCAB_MAX_ID = (1 << 24) - 1 };

// What to do about a tokenizer that is not supported.
#define VOCAB_REMEDY "give the ids as .npy (docs/texts.md shows how)"

struct vocab; // opaque; read-only after opening

// From a JSON object of token: id; the texts are copied.  STATUS_INPUT names `path` and the token whose id is
// no integer in 0 .. VOCAB_MAX_ID or belongs to another token already.  Local.
enum status vocab_open(struct vocab **vocab, const struct json *object, const char *path, struct error *err);
void vocab_close(struct vocab *vocab); // NULL is fine

int32_t vocab_find(const struct vocab *vocab, const char *token, size_t bytes); // -1 if there is none
size_t vocab_count(const struct vocab *vocab);                                  // of tokens
int32_t vocab_highest_id(const struct vocab *vocab);                            // -1 if it is empty

#endif
