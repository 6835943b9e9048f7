// SPDX-License-Identifier: Apache-2.0
// Hugging Face tokenizer.json: byte-level BPE with normal forms, added tokens, the split patterns of GPT-2,
// Llama-3 and Qwen2, and special tokens around each text.  What a file says is judged by its effect on ids.
#ifndef SSMSWEEP_INPUT_TOKENIZER_H
#define SSMSWEEP_INPUT_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"

struct tokenizer; // opaque; read-only after opening

// Local.  STATUS_INPUT names file, key and value where the description is torn or asks for what would change
// ids and is not supported.
enum status tokenizer_open(struct tokenizer **tokenizer, const char *path, struct error *err);
void tokenizer_close(struct tokenizer *tokenizer);

// Ids of UTF-8 text, with the special tokens that the file puts around it (but none around a text without
// tokens). *ids is malloc'ed, caller frees.  STATUS_INPUT for invalid UTF-8 (byte offset named), and a byte
// without a token. Stops early once more than `max_ids` are sure (max_ids < 0: no limit): the first max_ids
// ids are the same as without the limit.
enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t text_bytes,
                             long max_ids, int32_t **ids, size_t *count, struct error *err);

// What the file asks for and is not done, as it is the job's: truncation, padding.
const struct notes *tokenizer_notes(const struct tokenizer *tokenizer);
int tokenizer_special_tokens(const struct tokenizer *tokenizer); // around each text
void tokenizer_drop_special_tokens(struct tokenizer *tokenizer); // before the first text

int tokenizer_vocab_size(const struct tokenizer *tokenizer); // highest id + 1

#endif
