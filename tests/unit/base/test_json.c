// SPDX-License-Identifier: Apache-2.0
#include "../support.h"

#include <math.h>

#include "ssmsweep/base/json.h"

static struct json *parse(const char *text)
{
    struct json *root = NULL;
    struct error err = {0};
    json_parse(&root, text, strlen(text), "text", &err);
    if (err.status) fail_msg("%s", err.text);
    return root;
}

static void reads_values(void **state)
{
    (void)state;
    struct json *root =
        parse(" {\"a\": [1, -2.5e3, true, null], \"b\": {\"A\": \"x\\u00e9\\\"\"}, \"c\": false}\n");
    assert_true(json_is_object(root));
    assert_int_equal(json_count(root), 3);
    const struct json *a = json_get(root, "a"), *item = json_first(a);
    assert_true(json_is_array(a));
    assert_string_equal(json_key(a), "a");
    assert_true(json_is_number(item) && json_number(item) == 1);
    item = json_next(item);
    assert_true(json_number(item) == -2500);
    item = json_next(item);
    assert_true(json_is_bool(item) && json_bool(item));
    item = json_next(item);
    assert_true(json_is_null(item));
    assert_null(json_next(item));
    assert_string_equal(json_string(json_get(json_get(root, "b"), "A")), "x\xc3\xa9\"");
    assert_null(json_get(json_get(root, "b"), "a")); // case matters
    assert_true(json_is_bool(json_get(root, "c")) && !json_bool(json_get(root, "c")));
    json_close(root);
}

// Look-ups chain through what is not there.
static void null_is_harmless(void **state)
{
    (void)state;
    assert_null(json_get(NULL, "a"));
    assert_null(json_first(NULL));
    assert_null(json_next(NULL));
    assert_null(json_key(NULL));
    assert_null(json_string(NULL));
    assert_true(json_number(NULL) == 0);
    assert_false(json_bool(NULL));
    assert_int_equal(json_count(NULL), 0);
    assert_false(json_is_object(NULL) || json_is_null(NULL) || json_is_number(NULL));
    json_close(NULL);
}

static void expect_refused(const char *text, size_t bytes, const char *words)
{
    struct json *root = NULL;
    struct error err = {0};
    json_parse(&root, text, bytes, "here.json", &err);
    expect_error(&err, STATUS_INPUT, words);
    assert_non_null(strstr(err.text, "here.json"));
    assert_null(root);
}

static void refuses_bad_text(void **state)
{
    (void)state;
#define REFUSED(text, words) expect_refused(text, sizeof text - 1, words)
    REFUSED("", "not valid JSON|got an empty text");
    REFUSED("{\"a\": }", "not valid JSON|column 7 (byte 6): got '}'");
    REFUSED("{\"a\": 1", "not valid JSON|got the text's end");
    REFUSED("{\"a\": 1} x", "after the JSON value at column 10 (byte 9): got 'x'");
    REFUSED("{\n\"\xc3\xa9\": 1,\n\"b\": Nan}\n", "not valid JSON at line 3, column 6 (byte 16): got 'Nan}'");
    REFUSED("Entry not found", "not valid JSON at column 1 (byte 0): got 'Entry not found'");
    REFUSED("{NaN: 1}", "not valid JSON at column 2 (byte 1)");
    REFUSED("[NaNa]", "not valid JSON|got 'NaNa]'");
    REFUSED("[-Infinite]", "not valid JSON");
    REFUSED("[1, \"x\\ud83d y\"]", "half of a surrogate pair, \\ud83d|column 7 (byte 6)");
    REFUSED("[\"\\udcb2\"]", "half of a surrogate pair, \\udcb2");
    REFUSED("[\"\\ud83d\\ud83d\\ude00\"]", "half of a surrogate pair, \\ud83d|(byte 2)");
    REFUSED("[\"\\u12g4\"]", "\\u without four");
    REFUSED("{\"a\": 1, \"b\": {\"k\": 1, \"j\": 2, \"k\": 3}}", "duplicate key 'k'");
    REFUSED("[{\"a\": 1}, {\"z\": 1, \"z\": 1}]", "duplicate key 'z'");
    REFUSED("\"a\xff\"", "invalid UTF-8|byte 2");
    REFUSED("\"a\xc3", "invalid UTF-8|byte 2");
    REFUSED("\"a\\u0000b\"", "u0000");
    REFUSED("[1,\0 2]", "NUL byte|byte 3");
#undef REFUSED
}

// Python's json module writes these.
static void numbers_that_are_none_are_read(void **state)
{
    (void)state;
    struct json *root =
        parse("{\"a\": [0.0, Infinity], \"b\": -Infinity ,\"c\":NaN\n, \"NaN\": \"NaN, Infinity\"}");
    const struct json *infinite = json_next(json_first(json_get(root, "a")));
    assert_true(json_is_number(infinite) && json_number(infinite) == INFINITY);
    assert_true(json_number(json_get(root, "b")) == -INFINITY);
    assert_true(json_is_number(json_get(root, "c")) && isnan(json_number(json_get(root, "c"))));
    assert_string_equal(json_string(json_get(root, "NaN")), "NaN, Infinity");
    json_close(root);
    root = parse("NaN");
    assert_true(json_is_number(root) && isnan(json_number(root)));
    json_close(root);
}

static void expect_member(const char *line, const char *text)
{
    struct error err = {0};
    char *value = NULL;
    size_t bytes = 0;
    json_read_member(&value, &bytes, line, strlen(line), "text", "here", &err);
    if (err.status) fail_msg("%s", err.text);
    assert_int_equal(bytes, strlen(text));
    assert_memory_equal(value, text, bytes);
    free(value);
}

static void only_the_member_matters(void **state)
{
    (void)state;
    struct error err = {0};
    char *value = NULL;
    size_t bytes = 0;
    expect_member("{\"score\": NaN, \"text\": \"a\", \"x\": [-Infinity]}", "a");
    expect_member("{\"title\": \"\\ud83d\", \"text\": \"a\\ud83d\\ude00\"}", "a\xf0\x9f\x98\x80");
    const char lone[] = "{\"text\": \"x \\udcb2 y\"}", pair[] = "{\"text\": \"\\ud83d\\u0041\"}";
    json_read_member(&value, &bytes, lone, sizeof lone - 1, "text", "here", &err);
    expect_error(&err, STATUS_INPUT, "here: key 'text': half of a surrogate pair, \\udcb2, at byte 2");
    err = (struct error){0};
    json_read_member(&value, &bytes, pair, sizeof pair - 1, "text", "here", &err);
    expect_error(&err, STATUS_INPUT, "\\ud83d, at byte 0");
    err = (struct error){0};
    json_read_member(&value, &bytes, "{\"a\": 1, \"b\": 2}", 16, "text", "here", &err);
    expect_error(&err, STATUS_INPUT, "got no such key; there is 'a', 'b'");
    assert_null(value);
}

static void other_files_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *what;
    } files[] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
         "a git-lfs pointer|git lfs pull"},
        {"\n<!DOCTYPE html><html>", "an HTML or XML page"},
        {"PK\x03\x04", "a zip archive"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct json *root = NULL;
        struct error err = {0};
        write_whole("test_json.json", files[i].bytes, strlen(files[i].bytes));
        json_read_file(&root, "test_json.json", &err);
        expect_error(&err, STATUS_INPUT, "test_json.json: expected JSON, got");
        expect_error(&err, STATUS_INPUT, files[i].what);
    }
    remove("test_json.json");
}

static void nesting_is_bounded(void **state)
{
    (void)state;
    char deep[500];
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    deep[400] = '\0';
    json_close(parse(deep));
    memset(deep, '[', 201);
    memset(deep + 201, ']', 201);
    expect_refused(deep, 402, "nested deeper than 200");
}

static char *written(void)
{
    struct json_writer *w = json_writer_open();
    assert_non_null(w);
    json_begin_object(w, NULL);
    json_put_string(w, "text", "a\"\\\n\xc3\xa9");
    json_put_string(w, "none", NULL);
    json_put_double(w, "third", 1.0 / 3);
    json_put_double(w, "nan", NAN);
    json_put_double(w, "minus", -INFINITY);
    json_put_integer(w, "big", 9007199254740993LL);
    json_put_bool(w, "yes", true);
    json_put_null(w, "null");
    json_begin_array(w, "list");
    json_put_double(w, NULL, INFINITY);
    json_put_integer(w, NULL, -1);
    json_begin_object(w, NULL);
    json_end_object(w);
    json_end_array(w);
    json_end_object(w);
    return json_writer_finish(w);
}

static void writes_stable_text(void **state)
{
    (void)state;
    char *text = written();
    assert_string_equal(
        text, "{\n  \"text\": \"a\\\"\\\\\\u000a\xc3\xa9\",\n  \"none\": null,\n"
              "  \"third\": 0.33333333333333331,\n  \"nan\": null,\n  \"nan_flag\": \"nan\",\n"
              "  \"minus\": null,\n  \"minus_flag\": \"-inf\",\n  \"big\": 9007199254740993,\n"
              "  \"yes\": true,\n  \"null\": null,\n  \"list\": [\n    null,\n    -1,\n    {}\n  ]\n}\n");
    free(text);
}

static void reads_what_it_wrote(void **state)
{
    (void)state;
    char *text = written();
    struct json *root = parse(text);
    assert_true(json_number(json_get(root, "third")) == 1.0 / 3);
    assert_string_equal(json_string(json_get(root, "text")), "a\"\\\n\xc3\xa9");
    json_close(root);
    free(text);
}

static void missing_file_is_named(void **state)
{
    (void)state;
    struct json *root = NULL;
    struct error err = {0};
    json_read_file(&root, "no_such.json", &err);
    expect_error(&err, STATUS_INPUT, "no_such.json|no such file");
}

// Host names, variables of a batch system: what is no UTF-8 does not make a report unreadable.
static void writes_what_it_reads(void **state)
{
    (void)state;
    struct json_writer *writer = json_writer_open();
    json_begin_array(writer, NULL);
    json_put_string(writer, NULL, "mod\xe8le");
    json_put_string(writer, NULL, "\xe9\xff");
    json_put_string(writer, NULL, "\xc3\xa9\xc3");
    json_end_array(writer);
    char *text = json_writer_finish(writer);
    struct json *root = parse(text);
    static const char *const expected[] = {"mod\xef\xbf\xbdle", "\xef\xbf\xbd\xef\xbf\xbd",
                                           "\xc3\xa9\xef\xbf\xbd"};
    const struct json *item = json_first(root);
    for (int i = 0; i < 3; i++, item = json_next(item))
        assert_string_equal(json_string(item), expected[i]);
    json_close(root);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_values),
        cmocka_unit_test(null_is_harmless),
        cmocka_unit_test(refuses_bad_text),
        cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(writes_stable_text),
        cmocka_unit_test(reads_what_it_wrote),
        cmocka_unit_test(missing_file_is_named),
        cmocka_unit_test(numbers_that_are_none_are_read),
        cmocka_unit_test(only_the_member_matters),
        cmocka_unit_test(other_files_are_named),
        cmocka_unit_test(writes_what_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
