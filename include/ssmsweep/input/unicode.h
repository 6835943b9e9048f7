// SPDX-License-Identifier: Apache-2.0
// What the tokenizer asks of Unicode: well-formed UTF-8, normal forms, kinds of characters, and the patterns
// that split a text into pre-tokens.
#ifndef SSMSWEEP_INPUT_UNICODE_H
#define SSMSWEEP_INPUT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>

#include "ssmsweep/base/status.h"

// STATUS_INPUT names the offset of the first byte that is no UTF-8.  Local.
enum status unicode_check_utf8(const char *text, size_t bytes, struct error *err);

// Normal forms that are applied one after the other; zeroed: none.
enum unicode_form { UNICODE_NFC, UNICODE_NFD, UNICODE_NFKC, UNICODE_NFKD };
enum { NORMALIZER_MOST_FORMS = 8 };
struct normalizer {
    enum unicode_form forms[NORMALIZER_MOST_FORMS];
    int count;
};

// Valid UTF-8 in its normal form, in malloc'ed memory (caller frees).  Local.
enum status unicode_normalize(const struct normalizer *normalizer, const char *text, size_t bytes,
                              char **normalized, size_t *normalized_bytes, struct error *err);

// In valid UTF-8.  Is the character that begins, or ends, at byte `at` one of a word?  False at the text's
// end.
bool unicode_word_begins(const char *text, size_t bytes, size_t at);
bool unicode_word_ends(const char *text, size_t at);
// Where the white space around byte `at` ends, and where it begins.
size_t unicode_spaces_end(const char *text, size_t bytes, size_t at);
size_t unicode_spaces_begin(const char *text, size_t at);

// Each divides all of a text into pieces.
enum split_pattern {
    SPLIT_GPT2,
    SPLIT_LLAMA3,
    SPLIT_QWEN2,
    SPLIT_DIGIT,        // each number character by itself, and what lies between
    SPLIT_DIGITS,       // runs of them
    SPLIT_PUNCTUATION,  // each punctuation character by itself, and what lies between
    SPLIT_PUNCTUATIONS, // runs of them
};

// The pattern that a tokenizer.json spells as `regex`; false if it is none of these.
bool split_pattern_find(enum split_pattern *pattern, const char *regex);

struct splitter; // opaque: the compiled pattern; read-only after opening

enum status splitter_open(struct splitter **splitter, enum split_pattern pattern, struct error *err);
// Each occurrence of a text (of one character or more) by itself, and what lies between.
enum status splitter_open_text(struct splitter **splitter, const char *text, struct error *err);
void splitter_close(struct splitter *splitter); // NULL is fine

struct splitter_scratch; // opaque: what one thread needs while matching

struct splitter_scratch *splitter_scratch_open(void);          // of any splitter; NULL when memory is out
void splitter_scratch_close(struct splitter_scratch *scratch); // NULL is fine

// End of the pre-token that starts at byte `start` (< bytes) of valid UTF-8.  Local.
enum status splitter_next(const struct splitter *splitter, struct splitter_scratch *scratch, const char *text,
                          size_t bytes, size_t start, size_t *end, struct error *err);

#endif
