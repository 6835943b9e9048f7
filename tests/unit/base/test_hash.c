// SPDX-License-Identifier: Apache-2.0
#include "../support.h"

#include "ssmsweep/base/hash.h"

static void expect_digest(struct hash *hash, const char *expected)
{
    unsigned char digest[HASH_BYTES];
    char hex[HASH_HEX_CHARS + 1];
    hash_finish(hash, digest);
    hash_hex(digest, hex);
    assert_string_equal(hex, expected);
}

// The examples of FIPS 180-4, and that a finished state starts afresh.
static void known_answers(void **state)
{
    (void)state;
    struct hash *hash = hash_open();
    assert_non_null(hash);
    expect_digest(hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    hash_update(hash, "abc", 3);
    expect_digest(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    for (int i = 0; i < 1000000; i++)
        hash_update(hash, "a", 1);
    expect_digest(hash, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    hash_close(hash);
    hash_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_answers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
