// SPDX-License-Identifier: Apache-2.0
// Encoding with the demo model's tokenizer: known ids, and the corners of Unicode and of size.
#include "golden_lines.h"

#include <time.h>

#include "ssmsweep/base/npy.h"

enum { DEMO_VOCAB = 2048, DEMO_DOCUMENTS = 512, MEGABYTE = 1 << 20, MOST_SECONDS = 20 };

static int open_demo(void **state)
{
    struct error err = {0};
    struct tokenizer *tokenizer = NULL;
    if (tokenizer_open(&tokenizer, SOURCE_DIR "/jobs/demo/tokenizer.json", &err)) {
        print_error("%s\n", err.text);
        return -1;
    }
    *state = tokenizer;
    return 0;
}

static int close_demo(void **state)
{
    tokenizer_close(*state);
    return 0;
}

static void golden_lines_give_their_ids(void **state)
{
    assert_int_equal(tokenizer_vocab_size(*state), DEMO_VOCAB);
    assert_int_equal(check_golden_lines(*state, SOURCE_DIR "/tests/golden/demo_lines.jsonl"), 648);
}

static void calibration_text_gives_its_ids(void **state)
{
    struct error err = {0};
    struct npy golden = {0};
    npy_map(&golden, SOURCE_DIR "/tests/golden/demo_calibration_ids.npy", &err);
    ASSERT_OK(err);
    assert_int_equal(golden.shape[0], DEMO_DOCUMENTS);
    FILE *file = fopen(SOURCE_DIR "/jobs/demo/calibration.jsonl", "r");
    assert_non_null(file);
    char *line = NULL;
    size_t room = 0, row = 0;
    for (; getline(&line, &room, file) > 0; row++) {
        struct json *root = NULL;
        int32_t *ids = NULL;
        size_t count = 0;
        json_parse(&root, line, strlen(line), "calibration", &err);
        const char *text = json_string(json_get(root, "text"));
        tokenizer_encode(*state, text, strlen(text), -1, &ids, &count, &err);
        ASSERT_OK(err);
        for (size_t i = 0; i < golden.shape[1]; i++)
            assert_int_equal(npy_integer(&golden, row * golden.shape[1] + i), i < count ? ids[i] : -1);
        assert_true(count <= golden.shape[1]);
        free(ids);
        json_close(root);
    }
    assert_int_equal(row, DEMO_DOCUMENTS);
    free(line);
    fclose(file);
    npy_unmap(&golden);
}

static void assert_same_ids(const struct tokenizer *tokenizer, const char *a, const char *b)
{
    struct error err = {0};
    int32_t *ids[2] = {NULL, NULL};
    size_t count[2] = {0, 0};
    tokenizer_encode(tokenizer, a, strlen(a), -1, &ids[0], &count[0], &err);
    tokenizer_encode(tokenizer, b, strlen(b), -1, &ids[1], &count[1], &err);
    ASSERT_OK(err);
    assert_int_equal(count[0], count[1]);
    assert_memory_equal(ids[0], ids[1], count[0] * sizeof *ids[0]);
    free(ids[0]);
    free(ids[1]);
}

static void decomposed_text_is_composed(void **state)
{
    assert_same_ids(*state, "cafe\xcc\x81 na\x69\xcc\x88ve", "caf\xc3\xa9 na\xc3\xafve");
    // Hangul: the letters of U+AC01, then U+AC00 with a trailing consonant
    assert_same_ids(*state, "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8", "\xea\xb0\x81");
    assert_same_ids(*state, "\xea\xb0\x80\xe1\x86\xa8", "\xea\xb0\x81");
    // marks are put in order: dot below before dot above
    assert_same_ids(*state, "s\xcc\x87\xcc\xa3", "\xe1\xb9\xa9");
    // singletons: Angstrom sign; composition exclusions stay apart: U+0958
    assert_same_ids(*state, "\xe2\x84\xab", "\xc3\x85");
    assert_same_ids(*state, "\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc");
}

// A token that is found in the raw text keeps what follows it apart, so the accent has nothing to combine
// with.
static void added_token_inside_text(void **state)
{
    struct error err = {0};
    const char text[] = "a<|endoftext|>\xcc\x81<|endoftext|<|endoftext|><|endoftext|>";
    int32_t *ids = NULL;
    size_t count = 0;
    tokenizer_encode(*state, text, sizeof text - 1, -1, &ids, &count, &err);
    ASSERT_OK(err);
    assert_int_equal(ids[0], 65);
    assert_int_equal(ids[1], 0);
    int found = 0;
    for (size_t i = 0; i < count; i++)
        found += ids[i] == 0;
    assert_int_equal(found, 3);
    assert_int_equal(ids[count - 1], 0);
    assert_int_equal(ids[count - 2], 0);
    check_limits(*state, text, sizeof text - 1, ids, count, &err);
    free(ids);
}

static void invalid_utf8_is_refused(void **state)
{
    static const struct {
        const char *text;
        const char *where;
    } cases[] = {
        {"ok \x80", "byte 3"},          {"\xc3", "byte 0"},
        {"ab\xe2\x82", "byte 2"},       {"\xc0\xaf", "byte 0"},
        {"x\xed\xa0\x80", "byte 1"},    {"\xf4\x90\x80\x80", "byte 0"},
        {"long enough\xff", "byte 11"}, {"\xf8\x88\x80\x80\x80", "byte 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        int32_t *ids = NULL;
        size_t count = 7;
        assert_int_equal(
            tokenizer_encode(*state, cases[i].text, strlen(cases[i].text), -1, &ids, &count, &err),
            STATUS_INPUT);
        assert_non_null(strstr(err.text, cases[i].where));
        assert_null(ids);
        assert_int_equal(count, 7);
    }
}

static char *repeat(const char *part, size_t bytes)
{
    size_t step = strlen(part);
    char *text = malloc(bytes);
    assert_non_null(text);
    for (size_t i = 0; i < bytes; i++)
        text[i] = part[i % step];
    return text;
}

// Returns the number of ids of `bytes` bytes of `part` again and again; time that
// grows with the square of a word would be minutes: the limit is far from that, and from a busy machine's.
static size_t count_of_repeated(const struct tokenizer *tokenizer, const char *part, size_t bytes)
{
    struct error err = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    char *text = repeat(part, bytes);
    struct timespec start, end;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    tokenizer_encode(tokenizer, text, bytes, -1, &ids, &count, &err);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end);
    ASSERT_OK(err);
    assert_true((double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec) <
                MOST_SECONDS);
    free(ids);
    free(text);
    return count;
}

static void long_words_take_no_long_time(void **state)
{
    assert_in_range(count_of_repeated(*state, "abcdefghij", MEGABYTE), MEGABYTE / 10, MEGABYTE);
    assert_in_range(count_of_repeated(*state, "a", MEGABYTE), 1, MEGABYTE);
    assert_in_range(count_of_repeated(*state, "in the", MEGABYTE), 1, MEGABYTE);
    assert_in_range(count_of_repeated(*state, " ", MEGABYTE), 1, MEGABYTE / 4);
    assert_in_range(count_of_repeated(*state, "\n\t \r", MEGABYTE), 1, MEGABYTE);
    assert_in_range(count_of_repeated(*state, "-", MEGABYTE), 1, MEGABYTE / 4);
    assert_in_range(count_of_repeated(*state, "<|endoftext|", 12 * 80000), 1, 12 * 80000);
}

// The last blank of a run belongs to the word behind it.
static void long_whitespace_leaves_one_blank_to_the_word(void **state)
{
    struct error err = {0};
    enum { RUN = 100000 };
    char *text = repeat(" ", RUN + 3);
    int32_t *ids = NULL, *tail = NULL, *head = NULL;
    size_t count = 0, tail_count = 0, head_count = 0;
    memcpy(text + RUN, "the", 3);
    tokenizer_encode(*state, text, RUN + 3, -1, &ids, &count, &err);
    tokenizer_encode(*state, text, RUN - 1, -1, &head, &head_count, &err);
    tokenizer_encode(*state, " the", 4, -1, &tail, &tail_count, &err);
    ASSERT_OK(err);
    assert_int_equal(count, head_count + tail_count);
    assert_memory_equal(ids, head, head_count * sizeof *ids);
    assert_memory_equal(ids + head_count, tail, tail_count * sizeof *ids);
    free(ids);
    free(head);
    free(tail);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_lines_give_their_ids),
        cmocka_unit_test(calibration_text_gives_its_ids),
        cmocka_unit_test(decomposed_text_is_composed),
        cmocka_unit_test(added_token_inside_text),
        cmocka_unit_test(invalid_utf8_is_refused),
        cmocka_unit_test(long_words_take_no_long_time),
        cmocka_unit_test(long_whitespace_leaves_one_blank_to_the_word),
    };
    return cmocka_run_group_tests(tests, open_demo, close_demo);
}
