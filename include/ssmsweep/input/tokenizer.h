// SPDX-License-Identifier: Apache-2.0
// Hugging Face tokenizer.json: byte-level BPE with NFC, added tokens and the GPT-2 split pattern.
#ifndef SSMSWEEP_INPUT_TOKENIZER_H
#define SSMSWEEP_INPUT_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"

struct tokenizer; // opaque; read-only after opening

// Local.  STATUS_INPUT names file and key where the description is torn or asks for something else than
// byte-level BPE.
enum status tokenizer_open(struct tokenizer **tokenizer, const char *path, struct error *err);
void tokenizer_close(struct tokenizer *tokenizer);

// Ids of UTF-8 text, no special tokens added.  *ids is malloc'ed, caller frees.  STATUS_INPUT for invalid
// UTF-8 (byte offset named).  Stops early once more than `max_ids` are sure (max_ids < 0: no limit): the
// first max_ids ids are the same as without the limit.
enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t text_bytes,
                             long max_ids, int32_t **ids, size_t *count, struct error *err);

int tokenizer_vocab_size(const struct tokenizer *tokenizer); // highest id + 1

#endif
