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
    REFUSED("", "not valid JSON");
    REFUSED("{\"a\": }", "not valid JSON|byte");
    REFUSED("{\"a\": 1", "not valid JSON");
    REFUSED("{\"a\": 1} x", "after the JSON value|byte 9");
    REFUSED("{\"a\": 1, \"b\": {\"k\": 1, \"j\": 2, \"k\": 3}}", "duplicate key 'k'");
    REFUSED("[{\"a\": 1}, {\"z\": 1, \"z\": 1}]", "duplicate key 'z'");
    REFUSED("\"a\xff\"", "invalid UTF-8|byte 2");
    REFUSED("\"a\xc3", "invalid UTF-8|byte 2");
    REFUSED("\"a\\u0000b\"", "u0000");
    REFUSED("[1,\0 2]", "NUL byte|byte 3");
#undef REFUSED
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_values),          cmocka_unit_test(null_is_harmless),
        cmocka_unit_test(refuses_bad_text),      cmocka_unit_test(nesting_is_bounded),
        cmocka_unit_test(writes_stable_text),    cmocka_unit_test(reads_what_it_wrote),
        cmocka_unit_test(missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
