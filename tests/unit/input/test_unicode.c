// SPDX-License-Identifier: Apache-2.0
// The split into pre-tokens, shown with '|' between them.
#include "golden_lines.h"

#include "ssmsweep/input/unicode.h"

static void assert_split(const struct splitter *splitter, const char *text, const char *expected)
{
    struct error err = {0};
    char shown[256] = "";
    size_t used = 0;
    struct splitter_scratch *scratch = splitter_scratch_open();
    assert_non_null(scratch);
    for (size_t start = 0, end = 0; start < strlen(text); start = end) {
        splitter_next(splitter, scratch, text, strlen(text), start, &end, &err);
        ASSERT_OK(err);
        used += (size_t)snprintf(shown + used, sizeof shown - used, "%s%.*s", start ? "|" : "",
                                 (int)(end - start), text + start);
    }
    assert_string_equal(shown, expected);
    splitter_scratch_close(scratch);
}

static void words_numbers_punctuation_and_blanks(void **state)
{
    assert_split(*state, "Hello world  again", "Hello| world| | again");
    assert_split(*state, "don't they'll I'M", "don|'t| they|'ll| I|'|M");
    assert_split(*state, "a1b 22,x", "a|1|b| 22|,|x");
    assert_split(*state, " \n\n x", " \n\n| x");
    assert_split(*state, "x \t\n", "x| \t\n");
    assert_split(*state, "x\n\ny", "x|\n|\n|y");
    assert_split(*state, "\xc3\xa9t\xc3\xa9 \xe2\x85\xa3 \xc2\xbd!",
                 "\xc3\xa9t\xc3\xa9| \xe2\x85\xa3| \xc2\xbd|!");
}

// U+180E was white space once and is not any more; U+0085, U+00A0, U+2028 and U+3000 are.
static void white_space_is_that_of_unicode(void **state)
{
    assert_split(*state, "!\xe1\xa0\x8e\xe1\xa0\x8e!", "!\xe1\xa0\x8e\xe1\xa0\x8e!");
    assert_split(*state, "!\xc2\x85\xc2\xa0!", "!|\xc2\x85|\xc2\xa0|!");
    assert_split(*state, "!\xe2\x80\xa8\xe3\x80\x80!", "!|\xe2\x80\xa8|\xe3\x80\x80|!");
    assert_split(*state, "!\xe2\x80\x8b!", "!\xe2\x80\x8b!"); // the zero-width space is none
    assert_split(*state, "!\x1c\x1f!", "!\x1c\x1f!");         // nor are the separators of ASCII
}

static void nfc_of_ascii_and_of_marks(void **state)
{
    (void)state;
    struct error err = {0};
    static const char *const cases[][2] = {
        {"", ""},
        {"plain", "plain"},
        {"\xc3\xa9", "\xc3\xa9"},
        {"e\xcc\x81", "\xc3\xa9"},
        {"\xef\xac\x81", "\xef\xac\x81"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct normalizer nfc = {.forms = {UNICODE_NFC}, .count = 1};
        char *text = NULL;
        size_t bytes = 0;
        unicode_normalize(&nfc, cases[i][0], strlen(cases[i][0]), &text, &bytes, &err);
        ASSERT_OK(err);
        assert_int_equal(bytes, strlen(cases[i][1]));
        assert_memory_equal(text, cases[i][1], bytes);
        free(text);
    }
}

static int open_splitter(void **state)
{
    struct error err = {0};
    struct splitter *splitter = NULL;
    if (splitter_open(&splitter, SPLIT_GPT2, &err)) return -1;
    *state = splitter;
    return 0;
}

static int close_splitter(void **state)
{
    splitter_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_numbers_punctuation_and_blanks),
        cmocka_unit_test(white_space_is_that_of_unicode),
        cmocka_unit_test(nfc_of_ascii_and_of_marks),
    };
    return cmocka_run_group_tests(tests, open_splitter, close_splitter);
}
