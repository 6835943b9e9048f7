// SPDX-License-Identifier: Apache-2.0
// Every line of tests/golden/tokenizer_variants.jsonl, which make_tokenizers.py wrote and describes: a
// tokenizer.json that loads and gives the ids of the package `tokenizers`, or is refused with these words.
#include "../support.h"

#include <unistd.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/input/tokenizer.h"

enum { LEAST_VARIANTS = 40, TEXT_ROOM = 1 << 15 };

static const char PATH[] = "test_tokenizer_variants.json";
static const char *const frame[] = {"version",        "truncation", "padding",
                                    "added_tokens",   "normalizer", "pre_tokenizer",
                                    "post_processor", "decoder",    "novelty"};

// The part of the variant, else of the plain tokenizer.json; NULL where neither has it.
static const char *part(const struct json *variant, const struct json *plain, const char *key)
{
    const char *own = json_string(json_get(json_get(variant, "parts"), key));
    return own ? own : json_string(json_get(json_get(plain, "parts"), key));
}

static void write_tokenizer(const struct json *variant, const struct json *plain)
{
    static char text[TEXT_ROOM];
    const char *model = part(variant, plain, "model"), *brace = strrchr(model, '}');
    int used = snprintf(text, sizeof text, "{");
    for (size_t i = 0; i < sizeof frame / sizeof frame[0]; i++)
        if (part(variant, plain, frame[i]))
            used += snprintf(text + used, sizeof text - (size_t)used, "\"%s\": %s, ", frame[i],
                             part(variant, plain, frame[i]));
    used +=
        snprintf(text + used, sizeof text - (size_t)used, "\"model\": %.*s%s \"vocab\": %s, \"merges\": %s}}",
                 (int)(brace - model), model, brace - model > 1 ? "," : "", part(variant, plain, "vocab"),
                 part(variant, plain, "merges"));
    assert_true((size_t)used < sizeof text);
    write_whole(PATH, text, (size_t)used);
}

static const struct json *item(const struct json *array, int index)
{
    const struct json *value = json_first(array);
    for (; index > 0; index--)
        value = json_next(value);
    return value;
}

// The ids of text `index` under `key` of the variant, else the plain ones.
static const struct json *ids_of(const struct json *variant, const struct json *plain, const char *key,
                                 int index)
{
    char digits[12];
    snprintf(digits, sizeof digits, "%d", index);
    const struct json *own = json_get(json_get(variant, key), digits);
    return own ? own : item(json_get(plain, "ids"), index);
}

static void expect_ids(const struct json *wanted, const int32_t *ids, size_t count, const char *name,
                       int index)
{
    size_t i = 0;
    for (const struct json *v = json_first(wanted); v && i < count; v = json_next(v), i++)
        if (ids[i] != (int32_t)json_number(v))
            fail_msg("%s: text %d, id %zu: expected %g, got %d", name, index, i, json_number(v), (int)ids[i]);
    if (count != json_count(wanted))
        fail_msg("%s: text %d: expected %zu ids, got %zu", name, index, json_count(wanted), count);
}

// Any limit gives the first of all ids.
static void expect_limits(const struct tokenizer *tokenizer, const char *text, const int32_t *ids,
                          size_t count)
{
    const size_t limits[] = {0, 1, 2, 3, count / 2, count, count + 1};
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        struct error err = {0};
        int32_t *some = NULL;
        size_t found = 0, wanted = limits[i] < count ? limits[i] : count;
        tokenizer_encode(tokenizer, text, strlen(text), (long)limits[i], &some, &found, &err);
        if (err.status || found != wanted || memcmp(some, ids, wanted * sizeof *ids) != 0)
            fail_msg("limit %zu of %zu: got %zu: %s", limits[i], count, found, err.text);
        free(some);
    }
}

// A text without tokens of its own gets no special ones.
static void check_text(const struct tokenizer *tokenizer, const struct json *variant,
                       const struct json *plain, bool special, int index)
{
    const char *name = json_string(json_get(variant, "name"));
    const char *text = json_string(item(json_get(plain, "texts"), index));
    const struct json *own = ids_of(variant, plain, json_get(variant, "own") ? "own" : "ids", index);
    const struct json *wanted = special && json_count(own) > 0 ? ids_of(variant, plain, "ids", index) : own;
    struct error err = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    tokenizer_encode(tokenizer, text, strlen(text), -1, &ids, &count, &err);
    if (json_is_null(wanted)) {
        expect_error(&err, STATUS_INPUT, json_string(json_get(variant, "text_refused")));
        return;
    }
    if (err.status) fail_msg("%s: text %d: %s", name, index, err.text);
    expect_ids(wanted, ids, count, name, index);
    for (size_t i = 0; i < count; i++)
        assert_in_range(ids[i], 0, tokenizer_vocab_size(tokenizer) - 1);
    expect_limits(tokenizer, text, ids, count);
    free(ids);
}

static void check_variant(const struct json *variant, const struct json *plain)
{
    const char *name = json_string(json_get(variant, "name")),
               *refused = json_string(json_get(variant, "refused"));
    struct error err = {0};
    struct tokenizer *tokenizer = NULL;
    write_tokenizer(variant, plain);
    tokenizer_open(&tokenizer, PATH, &err);
    if (refused) {
        if (!err.status) fail_msg("%s: was not refused", name);
        expect_error(&err, STATUS_INPUT, PATH);
        expect_error(&err, STATUS_INPUT, refused);
        return;
    }
    if (err.status) fail_msg("%s: %s", name, err.text);
    for (int index = 0; index < (int)json_count(json_get(plain, "texts")); index++)
        check_text(tokenizer, variant, plain, true, index);
    tokenizer_drop_special_tokens(tokenizer);
    for (int index = 0; index < (int)json_count(json_get(plain, "texts")); index++)
        check_text(tokenizer, variant, plain, false, index);
    tokenizer_close(tokenizer);
}

static void each_loads_or_is_refused(void **state)
{
    (void)state;
    char *line = NULL;
    size_t room = 0;
    int variants = 0;
    struct json *plain = NULL;
    FILE *file = fopen(SOURCE_DIR "/tests/golden/tokenizer_variants.jsonl", "r");
    assert_non_null(file);
    while (getline(&line, &room, file) > 0) {
        struct error err = {0};
        struct json *read = NULL;
        json_parse(&read, line, strlen(line), "variants", &err);
        if (err.status) fail_msg("%s", err.text);
        if (plain)
            check_variant(read, plain);
        else
            plain = read;
        variants += read != plain;
        if (read != plain) json_close(read);
    }
    json_close(plain);
    free(line);
    fclose(file);
    unlink(PATH);
    print_message("%d variants\n", variants);
    assert_true(variants >= LEAST_VARIANTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_loads_or_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
