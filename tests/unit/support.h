// SPDX-License-Identifier: Apache-2.0
// What several unit tests need: cmocka with its headers, files, and a check of messages.
#ifndef SSMSWEEP_TESTS_UNIT_SUPPORT_H
#define SSMSWEEP_TESTS_UNIT_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ssmsweep/base/status.h"

// The status, and each of the words that `words` lists, divided by '|'.
static inline void expect_error(const struct error *err, enum status status, const char *words)
{
    if (err->status != status)
        fail_msg("status %d, expected %d and '%s': %s", err->status, status, words, err->text);
    for (const char *at = words; *at;) {
        char word[256];
        size_t length = strcspn(at, "|");
        assert_true(length < sizeof word);
        snprintf(word, sizeof word, "%.*s", (int)length, at);
        if (!strstr(err->text, word)) fail_msg("expected '%s' in: %s", word, err->text);
        at += length + (at[length] == '|');
    }
    assert_null(strchr(err->text, '\n'));
}

static inline void write_whole(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

// Followed by a NUL; the caller frees.
static inline char *read_whole(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("cannot open %s", path);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *bytes = (size_t)ftell(file);
    rewind(file);
    char *data = calloc(1, *bytes + 1);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, *bytes, file), *bytes);
    fclose(file);
    return data;
}

#endif
