// SPDX-License-Identifier: Apache-2.0
#include "golden_lines.h"

#include <unistd.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/npy.h"
#include "ssmsweep/input/corpus.h"

#define DEMO SOURCE_DIR "/jobs/demo/"

static const char LINES[] = "test_corpus.jsonl", ARRAY[] = "test_corpus.npy";

enum { DEMO_VOCAB = 2048 };

static struct corpus_request ask(const char *path, int samples, int seqlen)
{
    return (struct corpus_request){.path = path,
                                   .pad_id = -1,
                                   .tokenizer_path = DEMO "tokenizer.json",
                                   .samples = samples,
                                   .seqlen = seqlen,
                                   .vocab_size = DEMO_VOCAB};
}

static struct corpus read_ok(const struct corpus_request *request)
{
    struct error err = {0};
    struct corpus corpus = {0};
    corpus_read(&corpus, request, &err);
    ASSERT_OK(err);
    return corpus;
}

static void assert_refused(const struct corpus_request *request, const char *expected)
{
    struct error err = {0};
    struct corpus corpus = {.samples = 99};
    corpus_read(&corpus, request, &err);
    if (err.status != STATUS_INPUT || !strstr(err.text, expected))
        fail_msg("expected '%s', got %d: %s", expected, (int)err.status, err.text);
    assert_int_equal(corpus.samples, 99);
}

static void put_lines(const char *text, size_t bytes)
{
    struct error err = {0};
    file_replace(LINES, text, bytes, &err);
    ASSERT_OK(err);
}

static void put_array(const int32_t *ids, size_t rows, size_t width)
{
    struct error err = {0};
    npy_write(ARRAY, NPY_INT32, 2, (size_t[]){rows, width}, ids, &err);
    ASSERT_OK(err);
}

// The text and its known ids make the same corpus, except for the tokenizer.
static void text_and_ids_give_the_same_corpus(void **state)
{
    (void)state;
    const int seqlens[] = {512, 1, 4096};
    for (int i = 0; i < 3; i++) {
        struct corpus_request text = ask(DEMO "calibration.jsonl", 40, seqlens[i]);
        struct corpus_request ids = ask(SOURCE_DIR "/tests/golden/demo_calibration_ids.npy", 40, seqlens[i]);
        struct corpus a = read_ok(&text), b = read_ok(&ids);
        assert_int_equal(a.samples, 40);
        assert_int_equal(b.samples, 40);
        assert_int_equal(a.max_tokens, b.max_tokens);
        assert_true(a.max_tokens <= seqlens[i]);
        assert_memory_equal(a.length, b.length, 40 * sizeof *a.length);
        assert_memory_equal(a.ids, b.ids, 40 * (size_t)a.max_tokens * sizeof *a.ids);
        assert_string_equal(a.ids_hex, b.ids_hex);
        assert_int_equal(strlen(a.tokenizer_hex), HASH_HEX_CHARS);
        assert_string_equal(b.tokenizer_hex, "");
        corpus_clear(&a);
        corpus_clear(&b);
    }
}

static void samples_are_padded_and_digested(void **state)
{
    (void)state;
    const int32_t rows[3][4] = {{5, -1, -1, -1}, {-1, -1, -1, -1}, {7, 8, 9, -1}};
    const int32_t digested[] = {1, 5, 3, 7, 8, 9};
    unsigned char digest[HASH_BYTES];
    char hex[HASH_HEX_CHARS + 1];
    put_array(&rows[0][0], 3, 4);
    struct corpus_request request = ask(ARRAY, 2, 512);
    struct corpus corpus = read_ok(&request);
    assert_int_equal(corpus.samples, 2);
    assert_int_equal(corpus.max_tokens, 3);
    assert_int_equal(corpus.skipped_empty, 1);
    assert_memory_equal(corpus.length, ((int32_t[]){1, 3}), 2 * sizeof(int32_t));
    assert_memory_equal(corpus.ids, ((int32_t[]){5, -1, -1, 7, 8, 9}), 6 * sizeof(int32_t));
    struct hash *hash = hash_open();
    hash_update(hash, digested, sizeof digested);
    hash_finish(hash, digest);
    hash_hex(digest, hex);
    hash_close(hash);
    assert_string_equal(corpus.ids_hex, hex);
    corpus_clear(&corpus);
    assert_null(corpus.ids);
}

static void wide_ids_are_read(void **state)
{
    (void)state;
    struct error err = {0};
    const int64_t row[] = {1, 2047, -1};
    npy_write(ARRAY, NPY_INT64, 2, (size_t[]){1, 3}, row, &err);
    ASSERT_OK(err);
    struct corpus_request request = ask(ARRAY, 1, 512);
    struct corpus corpus = read_ok(&request);
    assert_memory_equal(corpus.ids, ((int32_t[]){1, 2047}), 2 * sizeof(int32_t));
    corpus_clear(&corpus);
    const int64_t wide[] = {1, (int64_t)1 << 32, -1};
    npy_write(ARRAY, NPY_INT64, 2, (size_t[]){1, 3}, wide, &err);
    ASSERT_OK(err);
    assert_refused(&request, "got 4294967296");
}

static void blank_lines_and_empty_texts_do_not_count(void **state)
{
    (void)state;
    const char lines[] = "\n{\"text\": \"one\"}\r\n   \t\n{\"id\": 3, \"text\": \"\"}\n{\"text\": \"two\"}";
    put_lines(lines, sizeof lines - 1);
    struct corpus_request request = ask(LINES, 2, 512);
    struct corpus corpus = read_ok(&request);
    assert_int_equal(corpus.samples, 2);
    assert_int_equal(corpus.skipped_empty, 1);
    corpus_clear(&corpus);
    request.samples = 3;
    assert_refused(&request, "expected 3 samples, got 2 (and 1 empty");
}

static void no_more_is_read_than_asked_for(void **state)
{
    (void)state;
    const char lines[] = "{\"text\": \"one\"}\nthis is no JSON\n";
    put_lines(lines, sizeof lines - 1);
    struct corpus_request request = ask(LINES, 1, 512);
    struct corpus corpus = read_ok(&request);
    corpus_clear(&corpus);
    request.samples = 2;
    assert_refused(&request, "line 2");
}

static void bad_lines_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *line, *expected;
    } cases[] = {
        {"{\"text\": 1}", "line 2: key 'text': expected a string, got 1"},
        {"{\"txt\": \"x\"}", "line 2: key 'text': expected a string, got no such key"},
        {"[\"x\"]", "line 2: expected a JSON object"},
        {"\"text\"", "line 2: expected a JSON object"},
        {"{\"text\": \"x\"", "line 2: not valid JSON"},
        {"{\"text\": \"x\"} {}", "line 2: unexpected text"},
        {"{\"text\": \"\xff\"}", "line 2: invalid UTF-8"},
        {"{\"text\": \"\\ud800\"}", "line 2: key 'text': half of a surrogate pair, \\ud800"},
        {"{\"text\": null}", "line 2: key 'text': expected a string, got null"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        int bytes =
            snprintf(text, sizeof text, "{\"text\": \"fine\"}\n%s\n{\"text\": \"fine\"}\n", cases[i].line);
        put_lines(text, (size_t)bytes);
        struct corpus_request request = ask(LINES, 3, 512);
        assert_refused(&request, cases[i].expected);
    }
    const char with_nul[] = "{\"text\": \"x\"}\n{\"te\0xt\": \"x\"}\n";
    put_lines(with_nul, sizeof with_nul - 1);
    struct corpus_request request = ask(LINES, 2, 512);
    assert_refused(&request, "line 2");
}

static void ids_outside_the_vocabulary_are_named(void **state)
{
    (void)state;
    const int32_t rows[2][3] = {{1, 2, 3}, {4, 2048, -1}};
    put_array(&rows[0][0], 2, 3);
    struct corpus_request request = ask(ARRAY, 2, 512);
    assert_refused(&request, "sample 1, position 1");
    assert_refused(&request, "2048");
    put_array((int32_t[]){1, -1, 2}, 1, 3);
    request.samples = 1;
    assert_refused(&request, "sample 0, position 2: expected only padding");
    put_array((int32_t[]){1, -2, -1}, 1, 3);
    assert_refused(&request, "got -2");
    // a model with a smaller vocabulary than its tokenizer
    struct corpus_request text = ask(DEMO "calibration.jsonl", 1, 512);
    text.vocab_size = 256;
    assert_refused(&text, "vocab_size 256");
}

static void other_arrays_and_files_are_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct corpus_request request = ask(ARRAY, 1, 512);
    npy_write(ARRAY, NPY_FLOAT32, 2, (size_t[]){1, 1}, &(float){1}, &err);
    assert_refused(&request, "expected uint16, uint32, int32 or int64 ids");
    npy_write(ARRAY, NPY_INT32, 1, (size_t[]){1}, &(int32_t){1}, &err);
    assert_refused(&request, "in 1 dimensions");
    npy_write(ARRAY, NPY_INT32, 2, (size_t[]){1000000, 0}, NULL, &err);
    ASSERT_OK(err);
    assert_refused(&request, "expected 1 samples, got 0");
    request = ask("no such text.jsonl", 1, 512);
    assert_refused(&request, "no such text.jsonl");
    request = ask("no such ids.npy", 1, 512);
    assert_refused(&request, "no such ids.npy");
    request = ask(SOURCE_DIR "/jobs/demo", 1, 512);
    assert_refused(&request, "got a folder without any");
    request = ask(DEMO "calibration.jsonl", 1, 512);
    request.tokenizer_path = "no such tokenizer.json";
    assert_refused(&request, "no such tokenizer.json");
    request = ask(DEMO "calibration.jsonl", 513, 512);
    assert_refused(&request, "got 512");
}

static int remove_files(void **state)
{
    (void)state;
    unlink(LINES);
    unlink(ARRAY);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_and_ids_give_the_same_corpus),
        cmocka_unit_test(samples_are_padded_and_digested),
        cmocka_unit_test(wide_ids_are_read),
        cmocka_unit_test(blank_lines_and_empty_texts_do_not_count),
        cmocka_unit_test(no_more_is_read_than_asked_for),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(ids_outside_the_vocabulary_are_named),
        cmocka_unit_test(other_arrays_and_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, remove_files);
}
