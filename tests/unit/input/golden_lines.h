// SPDX-License-Identifier: Apache-2.0
// Compares a tokenizer with a file of lines {"text", "ids"}, as several tests do.
#ifndef TESTS_GOLDEN_LINES_H
#define TESTS_GOLDEN_LINES_H

// clang-format off
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
// clang-format on
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/input/tokenizer.h"

#define ASSERT_OK(error) assert_string_equal((error).text, "")

// The JSON reader refuses \u0000, a tokenizer must not: it travels as a private-use character of as many
// characters.
static inline void hide_nul(char *line)
{
    for (char *at = line; (at = strstr(at, "\\u0000")) != NULL;)
        memcpy(at, "\\ue123", 6);
}

static inline size_t restore_nul(char *text)
{
    size_t used = 0;
    for (const char *c = text; *c; c++) {
        bool nul = memcmp(c, "\xee\x84\xa3", strnlen(c, 3)) == 0 && strnlen(c, 3) == 3;
        text[used++] = nul ? '\0' : *c;
        if (nul) c += 2;
    }
    return used;
}

// The prefix property is checked on the way: any limit gives the first ids of the full encoding.
static inline void check_limits(const struct tokenizer *tokenizer, const char *text, size_t bytes,
                                const int32_t *ids, size_t count, struct error *err)
{
    const size_t limits[] = {0, 1, 2, count / 2, count ? count - 1 : 0, count, count + 1};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        int32_t *some = NULL;
        size_t some_count = 0, expected = limits[i] < count ? limits[i] : count;
        tokenizer_encode(tokenizer, text, bytes, (long)limits[i], &some, &some_count, err);
        ASSERT_OK(*err);
        assert_int_equal(some_count, expected);
        assert_memory_equal(some, ids, expected * sizeof *ids);
        free(some);
    }
}

static inline void check_line(const struct tokenizer *tokenizer, char *line, int number)
{
    struct error err = {0};
    struct json *root = NULL;
    int32_t *ids = NULL;
    size_t count = 0, i = 0;
    hide_nul(line);
    json_parse(&root, line, strlen(line), "golden", &err);
    ASSERT_OK(err);
    char *text = strdup(json_string(json_get(root, "text")));
    const struct json *expected = json_get(root, "ids");
    size_t bytes = restore_nul(text);
    tokenizer_encode(tokenizer, text, bytes, -1, &ids, &count, &err);
    ASSERT_OK(err);
    for (const struct json *v = json_first(expected); v && i < count; v = json_next(v), i++)
        if (ids[i] != (int32_t)json_number(v))
            fail_msg("line %d, id %zu: expected %g, got %d", number, i, json_number(v), ids[i]);
    if (count != json_count(expected))
        fail_msg("line %d: expected %zu ids, got %zu", number, json_count(expected), count);
    check_limits(tokenizer, text, bytes, ids, count, &err);
    free(text);
    free(ids);
    json_close(root);
}

// Returns how many lines there were.
static inline int check_golden_lines(const struct tokenizer *tokenizer, const char *path)
{
    char *line = NULL;
    size_t room = 0;
    int number = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (getline(&line, &room, file) > 0)
        check_line(tokenizer, line, ++number);
    free(line);
    fclose(file);
    return number;
}

#endif
