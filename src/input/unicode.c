// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "ssmsweep/base/json.h"

enum status unicode_check_utf8(const char *text, size_t bytes, struct error *err)
{
    const size_t valid = json_utf8_bytes(text, bytes);
    if (valid == bytes) return STATUS_OK;
    return error_set(err, STATUS_INPUT, "text to tokenize: invalid UTF-8 at byte %zu; convert it to UTF-8",
                     valid);
}

// Below U+0300 (whose UTF-8 begins with 0xCC) everything composed is its own NFC and nothing combines.
static bool is_surely_nfc(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] >= 0xCC) return false;
    return true;
}

enum status unicode_nfc(const char *text, size_t bytes, char **normalized, size_t *normalized_bytes,
                        struct error *err)
{
    utf8proc_uint8_t *result = NULL;
    utf8proc_ssize_t size = (utf8proc_ssize_t)bytes;
    if (is_surely_nfc(text, bytes)) {
        result = malloc(bytes + 1);
        if (result && bytes > 0) memcpy(result, text, bytes);
    } else {
        size =
            utf8proc_map((const utf8proc_uint8_t *)text, size, &result, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
        if (size < 0 && size != UTF8PROC_ERROR_NOMEM)
            return error_set(err, STATUS_INPUT, "text to tokenize: NFC failed: %s", utf8proc_errmsg(size));
    }
    if (size < 0 || !result) return error_memory(err, bytes, "normalized text");
    *normalized = (char *)result;
    *normalized_bytes = (size_t)size;
    return STATUS_OK;
}

// White_Space of Unicode, spelled out: PCRE2's \s also takes U+180E, which Oniguruma's does not.
#define SPACES                                                                                               \
    "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"   \
    "\\x{3000}"

static const char PATTERN[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACES "\\p{L}\\p{N}]+"
                              "|[" SPACES "]+(?![^" SPACES "])|[" SPACES "]+";

struct splitter {
    pcre2_code *code;
};

struct splitter_scratch {
    pcre2_match_data *match;
};

enum status splitter_open(struct splitter **splitter, struct error *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    struct splitter *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "the split pattern");
    // Anchored here and not at the match, where it would switch the JIT off.
    made->code = pcre2_compile((PCRE2_SPTR)PATTERN, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &code, &at, NULL);
    if (!made->code) {
        free(made);
        return error_set(err, STATUS_INTERNAL, "split pattern: PCRE2 error %d at %zu", code, (size_t)at);
    }
    (void)pcre2_jit_compile(made->code,
                            PCRE2_JIT_COMPLETE); // without a JIT the interpreter does the same, slower
    *splitter = made;
    return STATUS_OK;
}

void splitter_close(struct splitter *splitter)
{
    if (splitter) pcre2_code_free(splitter->code);
    free(splitter);
}

struct splitter_scratch *splitter_scratch_open(const struct splitter *splitter)
{
    struct splitter_scratch *scratch = malloc(sizeof *scratch);
    if (!scratch) return NULL;
    scratch->match = pcre2_match_data_create_from_pattern(splitter->code, NULL);
    if (!scratch->match) {
        free(scratch);
        return NULL;
    }
    return scratch;
}

void splitter_scratch_close(struct splitter_scratch *scratch)
{
    if (scratch) pcre2_match_data_free(scratch->match);
    free(scratch);
}

enum status splitter_next(const struct splitter *splitter, struct splitter_scratch *scratch, const char *text,
                          size_t bytes, size_t start, size_t *end, struct error *err)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int rc = pcre2_match(splitter->code, subject, bytes, start, PCRE2_NO_UTF_CHECK, scratch->match, NULL);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(splitter->code, subject, bytes, start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         scratch->match, NULL);
    size_t found = rc > 0 ? pcre2_get_ovector_pointer(scratch->match)[1] : start;
    // The alternatives cover every character, so only a limit of PCRE2 can bring us here.
    if (found <= start)
        return error_set(err, STATUS_INTERNAL, "split pattern: PCRE2 error %d at byte %zu of %zu", rc, start,
                         bytes);
    *end = found;
    return STATUS_OK;
}
