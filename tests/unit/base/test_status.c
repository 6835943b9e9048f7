// SPDX-License-Identifier: Apache-2.0
#include "../support.h"

#include <errno.h>

static void first_error_stays(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(error_set(&err, STATUS_INPUT, "%s: expected %d", "a", 1), STATUS_INPUT);
    assert_int_equal(error_set(&err, STATUS_USAGE, "second"), STATUS_INPUT);
    assert_int_equal(err.status, STATUS_INPUT);
    assert_string_equal(err.text, "a: expected 1");
}

static void text_is_one_line(void **state)
{
    (void)state;
    struct error err = {0};
    error_set(&err, STATUS_INPUT,
              "a\nb\tc\x7f"
              "d\xc3\xa9");
    assert_string_equal(err.text, "a?b?c?d\xc3\xa9");
}

static void long_text_is_cut(void **state)
{
    (void)state;
    char longer[3000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    struct error err = {0};
    error_set(&err, STATUS_IO, "%s", longer);
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

static void system_errors_are_named(void **state)
{
    (void)state;
    struct error err = {0};
    errno = EACCES;
    assert_int_equal(error_errno(&err, "file", "cannot open"), STATUS_IO);
    assert_string_equal(err.text, "file: cannot open: Permission denied");
    struct error memory = {0};
    error_memory(&memory, 123, "a thing");
    expect_error(&memory, STATUS_IO, "123 bytes|a thing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_error_stays),
        cmocka_unit_test(text_is_one_line),
        cmocka_unit_test(long_text_is_cut),
        cmocka_unit_test(system_errors_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
