// SPDX-License-Identifier: Apache-2.0
// The GPT-NeoX tokenizer of the published models against known ids.  Neither is part of this project:
// SSMSWEEP_GOLDEN names the folder with neox_tokenizer.json and neox_lines.jsonl; without it the test is
// skipped.
#include "golden_lines.h"

enum { SKIPPED = 77 };

static void every_line_gives_its_ids(void **state)
{
    struct error err = {0};
    struct tokenizer *tokenizer = NULL;
    char path[4096];
    snprintf(path, sizeof path, "%s/neox_tokenizer.json", (const char *)*state);
    tokenizer_open(&tokenizer, path, &err);
    ASSERT_OK(err);
    assert_int_equal(tokenizer_vocab_size(tokenizer), 50277);
    snprintf(path, sizeof path, "%s/neox_lines.jsonl", (const char *)*state);
    assert_true(check_golden_lines(tokenizer, path) > 200);
    tokenizer_close(tokenizer);
}

int main(void)
{
    char *folder = getenv("SSMSWEEP_GOLDEN");
    if (!folder) {
        puts("SKIP: SSMSWEEP_GOLDEN is not set");
        return SKIPPED;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test_prestate(every_line_gives_its_ids, folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
