// SPDX-License-Identifier: Apache-2.0
// Lists of commas or blanks, as options have them: their words, where they stand in the text.
#ifndef SSMSWEEP_BASE_WORDS_H
#define SSMSWEEP_BASE_WORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct word {
    const char *text; // of the list; not ended by a zero
    size_t length;
};

// The next one, behind which *at moves; false at the end of the list.
static inline bool word_next(const char **at, struct word *word)
{
    word->text = *at + strspn(*at, ", ");
    word->length = strcspn(word->text, ", ");
    *at = word->text + word->length;
    return word->length > 0;
}

static inline bool word_is(struct word word, const char *name)
{
    return strlen(name) == word.length && memcmp(word.text, name, word.length) == 0;
}

// How many characters of it a message shows.
static inline int word_shown(struct word word)
{
    return word.length < 64 ? (int)word.length : 64;
}

#endif
