// SPDX-License-Identifier: Apache-2.0
// Byte-level BPE: the `model` of a tokenizer.json.  A word of raw bytes becomes ids by merging, again and
// again, the neighbouring pair of lowest rank, the leftmost first.
#ifndef SSMSWEEP_INPUT_BPE_H
#define SSMSWEEP_INPUT_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/status.h"

// A growing list, zeroed at first; the caller frees `ids`.
struct token_list {
    int32_t *ids;
    size_t count, room;
};

enum status token_list_push(struct token_list *list, int32_t id, struct error *err);

struct bpe; // opaque; read-only after opening

// `model` is the value of that key; nothing of it is needed afterwards.  STATUS_INPUT names `path` and the
// key. Local.
enum status bpe_open(struct bpe **bpe, const struct json *model, const char *path, struct error *err);
void bpe_close(struct bpe *bpe); // NULL is fine

int32_t bpe_find(const struct bpe *bpe,
                 const char *token); // id of an entry as the vocabulary spells it, or -1
int32_t bpe_highest_id(const struct bpe *bpe);
int32_t bpe_token_count(const struct bpe *bpe); // of the vocabulary

struct bpe_scratch; // opaque: what one thread needs while merging

struct bpe_scratch *bpe_scratch_open(void);          // NULL when memory is out
void bpe_scratch_close(struct bpe_scratch *scratch); // NULL is fine

// Appends the ids of one pre-token: `bytes` (>= 1) bytes of valid UTF-8.  O(bytes log bytes).  Local.
enum status bpe_encode_word(const struct bpe *bpe, struct bpe_scratch *scratch, const char *word,
                            size_t bytes, struct token_list *tokens, struct error *err);

// ---- vocab ----

// The vocabulary of a tokenizer: a hash map from token to id.

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
