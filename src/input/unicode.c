// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdbool.h>
#include <stdio.h>
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

// Below U+0300 (whose UTF-8 begins with 0xCC) everything composed is its own NFC and nothing combines; ASCII
// is its own in every form.
static bool is_surely_normal(enum unicode_form form, const char *text, size_t bytes)
{
    const unsigned char limit = form == UNICODE_NFC ? 0xCC : 0x80;
    for (size_t i = 0; i < bytes; i++)
        if ((unsigned char)text[i] >= limit) return false;
    return true;
}

static enum status take_form(enum unicode_form form, const char *text, size_t bytes, char **normalized,
                             size_t *normalized_bytes, struct error *err)
{
    static const utf8proc_option_t options[] = {
        [UNICODE_NFC] = UTF8PROC_COMPOSE,
        [UNICODE_NFD] = UTF8PROC_DECOMPOSE,
        [UNICODE_NFKC] = UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [UNICODE_NFKD] = UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    utf8proc_uint8_t *result = NULL;
    utf8proc_ssize_t size = (utf8proc_ssize_t)bytes;
    if (is_surely_normal(form, text, bytes)) {
        result = malloc(bytes + 1);
        if (result && bytes > 0) memcpy(result, text, bytes);
    } else {
        size = utf8proc_map((const utf8proc_uint8_t *)text, size, &result, UTF8PROC_STABLE | options[form]);
        if (size < 0 && size != UTF8PROC_ERROR_NOMEM)
            return error_set(err, STATUS_INPUT, "text to tokenize: normalizing failed: %s",
                             utf8proc_errmsg(size));
    }
    if (size < 0 || !result) return error_memory(err, bytes, "normalized text");
    *normalized = (char *)result;
    *normalized_bytes = (size_t)size;
    return STATUS_OK;
}

enum status unicode_normalize(const struct normalizer *normalizer, const char *text, size_t bytes,
                              char **normalized, size_t *normalized_bytes, struct error *err)
{
    char *now = malloc(bytes + 1), *next = NULL;
    if (!now) return error_memory(err, bytes + 1, "normalized text");
    if (bytes > 0) memcpy(now, text, bytes);
    for (int i = 0; i < normalizer->count; i++) {
        take_form(normalizer->forms[i], now, bytes, &next, &bytes, err);
        free(now);
        if (err->status) return err->status;
        now = next;
    }
    *normalized = now;
    *normalized_bytes = bytes;
    return STATUS_OK;
}

// ---- kinds of characters ----

// White_Space of Unicode.
static bool is_space(utf8proc_int32_t c)
{
    return (c >= 0x09 && c <= 0x0d) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

// What \w means in Rust's patterns: Alphabetic (letters, Nl, marks, and some circled letters, which are So),
// marks, decimal digits, connectors, and the two joiners.
static bool is_word(utf8proc_int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    case UTF8PROC_CATEGORY_SO:
        return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
               (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
    default:
        return c == 0x200c || c == 0x200d;
    }
}

// The character that begins at `at`, and its bytes; -1 and 0 at the end.
static utf8proc_int32_t character_at(const char *text, size_t bytes, size_t at, size_t *length)
{
    utf8proc_int32_t code = -1;
    utf8proc_ssize_t left = bytes - at < 4 ? (utf8proc_ssize_t)(bytes - at) : 4;
    utf8proc_ssize_t step = left > 0 ? utf8proc_iterate((const utf8proc_uint8_t *)text + at, left, &code) : 0;
    *length = step > 0 ? (size_t)step : 0;
    return code;
}

static size_t character_before(const char *text, size_t at)
{
    do
        at--;
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80);
    return at;
}

bool unicode_word_begins(const char *text, size_t bytes, size_t at)
{
    size_t length;
    utf8proc_int32_t code = character_at(text, bytes, at, &length);
    return code >= 0 && is_word(code);
}

bool unicode_word_ends(const char *text, size_t at)
{
    return at > 0 && unicode_word_begins(text, at, character_before(text, at));
}

size_t unicode_spaces_end(const char *text, size_t bytes, size_t at)
{
    size_t length;
    while (is_space(character_at(text, bytes, at, &length)))
        at += length;
    return at;
}

size_t unicode_spaces_begin(const char *text, size_t at)
{
    size_t length;
    while (at > 0 && is_space(character_at(text, at, character_before(text, at), &length)))
        at -= length;
    return at;
}

// ---- patterns ----

// White_Space spelled out, as in is_space(): PCRE2's \s also takes U+180E, which Oniguruma's does not.
#define SPACES                                                                                               \
    "\\x{09}-\\x{0d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}"   \
    "\\x{3000}"
#define TRAILING_SPACES "|[" SPACES "]+(?![^" SPACES "])|[" SPACES "]+"
#define LLAMA3(digits)                                                                                       \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}" digits "| ?[^" SPACES                \
    "\\p{L}\\p{N}]+[\\r\\n]*|[" SPACES "]*[\\r\\n]+" TRAILING_SPACES
#define PUNCTUATION "!-/:-@\\x{5b}-\\x{60}\\x{7b}-\\x{7e}\\p{P}"

// `regex` is how files spell the pattern; NULL where they have another word for it.
static const struct {
    const char *ours, *regex;
} patterns[] = {
    [SPLIT_GPT2] = {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACES
                    "\\p{L}\\p{N}]+" TRAILING_SPACES,
                    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
    [SPLIT_LLAMA3] = {LLAMA3("{1,3}"),
                      "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                      "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    [SPLIT_QWEN2] = {LLAMA3(""), "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                                 "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    [SPLIT_DIGIT] = {"\\p{N}|\\P{N}+", NULL},
    [SPLIT_DIGITS] = {"\\p{N}+|\\P{N}+", NULL},
    [SPLIT_PUNCTUATION] = {"[" PUNCTUATION "]|[^" PUNCTUATION "]+", NULL},
    [SPLIT_PUNCTUATIONS] = {"[" PUNCTUATION "]+|[^" PUNCTUATION "]+", NULL},
};

bool split_pattern_find(enum split_pattern *pattern, const char *regex)
{
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        if (patterns[i].regex && strcmp(patterns[i].regex, regex) == 0) {
            *pattern = (enum split_pattern)i;
            return true;
        }
    return false;
}

struct splitter {
    pcre2_code *code;
};

struct splitter_scratch {
    pcre2_match_data *match;
};

static enum status compile(struct splitter **splitter, const char *pattern, struct error *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    struct splitter *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a split pattern");
    // Anchored here and not at the match, where it would switch the JIT off.
    made->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                               PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_DOTALL, &code, &at, NULL);
    if (!made->code) {
        free(made);
        return error_set(err, STATUS_INTERNAL, "split pattern: PCRE2 error %d at %zu", code, (size_t)at);
    }
    (void)pcre2_jit_compile(made->code,
                            PCRE2_JIT_COMPLETE); // without a JIT the interpreter does the same, slower
    *splitter = made;
    return STATUS_OK;
}

enum status splitter_open(struct splitter **splitter, enum split_pattern pattern, struct error *err)
{
    return compile(splitter, patterns[pattern].ours, err);
}

enum status splitter_open_text(struct splitter **splitter, const char *text, struct error *err)
{
    const size_t bytes = strlen(text), most = 12 * bytes + 1; // "\x{10ffff}" for each character
    char *spelled = malloc(most), *pattern = malloc(2 * most + 32);
    size_t used = 0, length = 1;
    for (size_t at = 0; spelled && at < bytes && length > 0; at += length)
        used += (size_t)snprintf(spelled + used, most - used, "\\x{%x}",
                                 (unsigned)character_at(text, bytes, at, &length));
    if (!spelled || !pattern) {
        error_memory(err, 3 * most, "a split pattern");
    } else {
        snprintf(pattern, 2 * most + 32, "%s|(?:(?!%s).)++", spelled, spelled);
        compile(splitter, pattern, err);
    }
    free(spelled);
    free(pattern);
    return err->status;
}

void splitter_close(struct splitter *splitter)
{
    if (splitter) pcre2_code_free(splitter->code);
    free(splitter);
}

struct splitter_scratch *splitter_scratch_open(void)
{
    struct splitter_scratch *scratch = malloc(sizeof *scratch);
    if (!scratch) return NULL;
    scratch->match = pcre2_match_data_create(1, NULL); // no pattern has groups
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
