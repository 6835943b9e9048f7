// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ssmsweep/base/json.h"

static void expect(const char *json, const char *key, const char *wanted, size_t bytes)
{
    struct error err = {0};
    char *value = NULL;
    size_t value_bytes = 0;
    json_read_member(&value, &value_bytes, json, strlen(json), key, "t", &err);
    assert_string_equal(err.text, "");
    assert_int_equal(value_bytes, bytes);
    assert_memory_equal(value, wanted, bytes);
    free(value);
}

static void refuse(const char *json, const char *key, const char *why)
{
    struct error err = {0};
    char *value = NULL;
    size_t value_bytes = 0;
    json_read_member(&value, &value_bytes, json, strlen(json), key, "t", &err);
    assert_int_equal(err.status, STATUS_INPUT);
    assert_non_null(strstr(err.text, why));
    assert_null(value);
}

static void strings_are_decoded(void **state)
{
    (void)state;
    expect("{\"t\":\"\"}", "t", "", 0);
    expect(" { \"t\" : \"a\" } ", "t", "a", 1);
    expect("{\"t\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "t", "\"\\/\b\f\n\r\t", 8);
    expect("{\"t\":\"a\\u0000b\"}", "t", "a\0b", 3);
    expect("{\"t\":\"\\u007f\\u0080\\u07FF\\u0800\\uffff\"}", "t",
           "\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf", 11);
    expect("{\"t\":\"\\ud83d\\uDE00\\ud800\\udc00\\udbff\\udfff\"}", "t",
           "\xf0\x9f\x98\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 12);
    expect("{\"t\":\"caf\xc3\xa9\"}", "t", "caf\xc3\xa9", 5);
}

static void other_members_are_passed_over(void **state)
{
    (void)state;
    expect("{\"a\":{\"t\":\"no\"},\"b\":[\"}\",{\"t\":1}],\"c\":\"\\\"t\\\":\",\"d\":-1e5,\"e\":null,\"t\":"
           "\"yes\"}",
           "t", "yes", 3);
    expect("{\"\\u0074ext\":\"escaped key\"}", "text", "escaped key", 11);
    expect("{\"a\":\"\\\\\",\"t\":\"x\\\\\"}", "t", "x\\", 2);
}

static void what_is_no_string_is_refused(void **state)
{
    (void)state;
    refuse("{\"t\":1}", "t", "key 't': expected a string, got 1");
    refuse("{\"a\":{\"t\":\"x\"}}", "t", "no such key");
    refuse("[\"t\"]", "t", "expected a JSON object");
    refuse("{\"t\\u0000\":\"x\"}", "t", "no such key");
    refuse("{\"t\":\"x\"", "t", "not valid JSON");
    refuse("{\"t\":\"x\",\"t\":\"y\"}", "t", "duplicate key");
    refuse("{\"t\":\"\\udc00\"}", "t", "half of a surrogate pair");
    refuse("{\"t\":\"\\u00\"}", "t", "four hexadecimal digits");
    refuse("{\"t\":\"\\u00zz\"}", "t", "four hexadecimal digits");
    refuse("{\"t\":\"\\u", "t", "four hexadecimal digits");
    refuse("{\"t\":\"\\", "t", "not valid JSON");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(other_members_are_passed_over),
        cmocka_unit_test(what_is_no_string_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
