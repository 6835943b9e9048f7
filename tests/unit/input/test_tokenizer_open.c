// SPDX-License-Identifier: Apache-2.0
// Descriptions of tokenizers, made here from a small vocabulary: byte b has id b, a few merges follow.
#include "golden_lines.h"

#include <unistd.h>
#include <utf8proc.h>

#include "ssmsweep/base/file.h"

static const char PATH[] = "test_tokenizer.json";

enum { TEXT_ROOM = 16384 };

// Each part is JSON; NULL takes the default.
struct parts {
    const char *frame; // further members of the root, each with a comma behind it
    const char *normalizer, *pre_tokenizer;
    const char *settings; // members of the model before the vocabulary
    const char *extra;    // members of the vocabulary behind the bytes
    const char *merges, *added;
};

static size_t put_alphabet(char *text)
{
    size_t used = 0;
    utf8proc_int32_t shifted = 0x100;
    for (int b = 0; b < 256; b++) {
        utf8proc_uint8_t c[5] = {0};
        int printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
        utf8proc_encode_char(printable ? b : shifted++, c);
        used +=
            (size_t)sprintf(text + used, "\"%s%s\": %d, ", b == '"' || b == '\\' ? "\\" : "", (char *)c, b);
    }
    return used;
}

static const char *or_default(const char *part, const char *usual)
{
    return part ? part : usual;
}

static void make_text(char text[TEXT_ROOM], const struct parts *p)
{
    size_t n = (size_t)sprintf(
        text,
        "{\"version\": \"1.0\", %s \"normalizer\": %s, \"pre_tokenizer\": %s, \"added_tokens\": %s, "
        "\"model\": {%s ",
        or_default(p->frame, ""), or_default(p->normalizer, "{\"type\": \"NFC\"}"),
        or_default(p->pre_tokenizer,
                   "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true}"),
        or_default(p->added, "[]"), or_default(p->settings, "\"type\": \"BPE\","));
    n += (size_t)sprintf(text + n, "\"vocab\": {");
    n += put_alphabet(text + n);
    sprintf(text + n, "%s}, \"merges\": %s}}",
            or_default(p->extra, "\"ab\": 256, \"bc\": 257, \"abc\": 258, \"\xc4\xa0\x61\": 259"),
            or_default(p->merges, "[\"b c\", \"a b\", \"a bc\", \"\xc4\xa0 a\"]"));
}

static struct tokenizer *open_text(const char *text, size_t bytes, struct error *err)
{
    struct tokenizer *tokenizer = NULL;
    file_replace(PATH, text, bytes, err);
    ASSERT_OK(*err);
    tokenizer_open(&tokenizer, PATH, err);
    return tokenizer;
}

static struct tokenizer *open_parts(const struct parts *parts, struct error *err)
{
    char text[TEXT_ROOM];
    make_text(text, parts);
    return open_text(text, strlen(text), err);
}

// `expected` ends with -1.
static void assert_ids(const struct parts *parts, const char *text, const int32_t *expected)
{
    struct error err = {0};
    int32_t *ids = NULL;
    size_t count = 0;
    struct tokenizer *tokenizer = open_parts(parts, &err);
    ASSERT_OK(err);
    tokenizer_encode(tokenizer, text, strlen(text), -1, &ids, &count, &err);
    ASSERT_OK(err);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids[i], expected[i]);
    assert_int_equal(expected[count], -1);
    check_limits(tokenizer, text, strlen(text), ids, count, &err);
    free(ids);
    tokenizer_close(tokenizer);
}

#define IDS(...) ((const int32_t[]){__VA_ARGS__, -1})

static void merges_follow_their_rank(void **state)
{
    (void)state;
    const struct parts strings = {0};
    const struct parts pairs = {
        .merges = "[[\"b\", \"c\"], [\"a\", \"b\"], [\"a\", \"bc\"], [\"\xc4\xa0\", \"a\"]]"};
    const struct parts no_bc = {.merges = "[[\"a\", \"b\"], [\"b\", \"c\"]]"};
    assert_ids(&strings, "abc", IDS(258));
    assert_ids(&strings, "ab", IDS(256));
    assert_ids(&strings, "abab", IDS(256, 256));
    assert_ids(&strings, "bbcabcb a", IDS('b', 257, 258, 'b', 259));
    assert_ids(&strings, " abc", IDS(' ', 258)); // a bc comes before Ġ a
    assert_ids(&pairs, " abcab", IDS(' ', 258, 256));
    assert_ids(&no_bc, "abcbc", IDS(256, 'c', 257));
    assert_ids(&strings, "", IDS(-1));
}

// Of equal neighbours the left two merge first.
static void equal_pairs_merge_from_the_left(void **state)
{
    (void)state;
    const struct parts parts = {.extra = "\"aa\": 256, \"aaaa\": 257", .merges = "[\"a a\", \"aa aa\"]"};
    assert_ids(&parts, "aaa", IDS(256, 'a'));
    assert_ids(&parts, "aaaaaaa", IDS(257, 256, 'a'));
}

static void normalizer_may_be_absent(void **state)
{
    (void)state;
    const struct parts none = {.normalizer = "null"};
    const struct parts twice = {
        .normalizer =
            "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}, {\"type\": \"NFC\"}]}"};
    const struct parts empty = {.normalizer = "{\"type\": \"Sequence\", \"normalizers\": []}"};
    assert_ids(&none, "e\xcc\x81", IDS('e', 0xcc, 0x81));
    assert_ids(&empty, "e\xcc\x81", IDS('e', 0xcc, 0x81));
    assert_ids(&twice, "e\xcc\x81", IDS(0xc3, 0xa9));
}

#define ADDED(id, content, normalized)                                                                       \
    "{\"id\": " id ", \"content\": \"" content "\", \"special\": false, \"normalized\": " normalized         \
    ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false}"

static void added_tokens_raw_and_normalized(void **state)
{
    (void)state;
    const struct parts parts = {
        .added = "[" ADDED("260", "<x>", "false") ", " ADDED("261", "e\xcc\x81", "true") ", " ADDED(
            "262", "\xc3\xa9\xc3\xa9", "true") ", " ADDED("258", "abc", "true") "]"};
    assert_ids(&parts, "<x>", IDS(260));
    assert_ids(&parts, "<<x>>", IDS('<', 260, '>'));
    assert_ids(&parts, "b<x>c", IDS('b', 260, 'c'));
    // composed and decomposed text are the same once normalized; the longest token wins
    assert_ids(&parts, "\xc3\xa9", IDS(261));
    assert_ids(&parts, "e\xcc\x81", IDS(261));
    assert_ids(&parts, "e\xcc\x81\xc3\xa9\xc3\xa9", IDS(262, 261));
    // the accent behind a raw token does not reach across it
    assert_ids(&parts, "e<x>\xcc\x81", IDS('e', 260, 0xcc, 0x81));
    // a token of the vocabulary cuts the text before it is split: the blank stays alone
    assert_ids(&parts, " abcabc", IDS(' ', 258, 258));
}

static void prefix_space_and_no_regex(void **state)
{
    (void)state;
    const struct parts prefix = {.pre_tokenizer = "{\"type\": \"ByteLevel\", \"add_prefix_space\": true}",
                                 .added = "[" ADDED("260", "<x>", "false") "]"};
    const struct parts whole = {
        .pre_tokenizer = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}",
        .extra = "\"b\xc4\xa0\": 256",
        .merges = "[\"b \xc4\xa0\"]"};
    assert_ids(&prefix, "a", IDS(259));
    assert_ids(&prefix, " a", IDS(259));
    assert_ids(&prefix, "<x>a\n", IDS(260, 259, '\n'));
    assert_ids(&prefix, "", IDS(-1));
    assert_ids(&whole, "b b", IDS(256, 'b'));
}

static void harmless_settings_are_taken(void **state)
{
    (void)state;
    const struct parts parts = {
        .settings = "\"type\": \"BPE\", \"dropout\": null, \"unk_token\": \"<unk>\", "
                    "\"continuing_subword_prefix\": \"\", "
                    "\"end_of_word_suffix\": null, \"fuse_unk\": true, \"byte_fallback\": false, "
                    "\"ignore_merges\": false,",
        .frame =
            "\"truncation\": null, \"padding\": null, \"decoder\": {\"type\": \"Fuse\"}, \"post_processor\": "
            "{\"type\": \"ByteLevel\", \"add_prefix_space\": true, \"trim_offsets\": true},"};
    assert_ids(&parts, "abc", IDS(258));
}

static void what_we_do_not_do_is_refused(void **state)
{
    (void)state;
    static const struct {
        struct parts parts;
        const char *expected;
    } cases[] = {
        {{.settings = "\"type\": \"WordPiece\","}, "model.type"},
        {{.settings = "", .merges = "null"}, "model.merges"},
        {{.settings = "\"type\": \"BPE\", \"dropout\": 0.1,"}, "model.dropout"},
        {{.settings = "\"type\": \"BPE\", \"byte_fallback\": 1,"}, "model.byte_fallback"},
        {{.settings = "\"type\": \"BPE\", \"ignore_merges\": null,"}, "model.ignore_merges"},
        {{.settings = "\"type\": \"BPE\", \"continuing_subword_prefix\": \"##\","},
         "model.continuing_subword_prefix"},
        {{.settings = "\"type\": \"BPE\", \"end_of_word_suffix\": \"</w>\","}, "model.end_of_word_suffix"},
        {{.settings = "\"type\": \"BPE\", \"novelty\": 1,"}, "model.novelty"},
        {{.normalizer = "{\"type\": \"Nmt\"}"}, "normalizer"},
        {{.normalizer = "{\"type\": \"NFC\", \"x\": 1}"}, "normalizer: unknown key 'x'"},
        {{.normalizer = "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}]}"},
         "normalizer"},
        {{.pre_tokenizer = "null"}, "pre_tokenizer"},
        {{.pre_tokenizer = "{\"type\": \"Whitespace\"}"}, "pre_tokenizer"},
        {{.pre_tokenizer = "{\"type\": \"ByteLevel\"}"}, "add_prefix_space"},
        {{.pre_tokenizer = "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": 1}"},
         "use_regex"},
        {{.frame = "\"post_processor\": {\"type\": \"TemplateProcessing\"},"}, "post_processor"},
        {{.frame = "\"novelty\": null,"}, "'novelty'"},
        {{.frame = "\"version\": \"1.0\","}, "duplicate key"},
        {{.extra = "\"ab\": -1"}, "token 'ab'"},
        {{.extra = "\"ab\": 256.5"}, "token 'ab'"},
        {{.extra = "\"ab\": \"256\""}, "token 'ab'"},
        {{.extra = "\"ab\": 1e300"}, "token 'ab'"},
        {{.extra = "\"ab\": 97"}, "id 97 belongs to two tokens"},
        {{.merges = "{}"}, "model.merges"},
        {{.merges = "null"}, "model.merges"},
        {{.merges = "[\"a b\", \"ab\"]"}, "model.merges[1]"},
        {{.merges = "[\"a b c\"]"}, "model.merges[0]"},
        {{.merges = "[\" b\"]"}, "model.merges[0]"},
        {{.merges = "[[\"a\"]]"}, "model.merges[0]"},
        {{.merges = "[[\"a\", \"b\", \"c\"]]"}, "model.merges[0]"},
        {{.merges = "[[\"a\", 1]]"}, "model.merges[0]"},
        {{.merges = "[{\"a\": \"a\", \"b\": \"b\"}]"}, "model.merges[0]"},
        {{.merges = "[\"a b\", \"a c\"]"}, "model.merges[1]: 'a' + 'c'"},
        {{.merges = "[\"a b\", \"b c\", [\"a\", \"b\"]]"}, "model.merges[2]: the same pair as merges[0]"},
        {{.added = "{}"}, "added_tokens"},
        {{.added = "[1]"}, "added_tokens[0]"},
        {{.added = "[" ADDED("260", "", "false") "]"}, "added_tokens[0].content"},
        {{.added = "[" ADDED("7", "<x>", "false") "]"}, "added_tokens[0].id: expected 260"},
        {{.added = "[" ADDED("260", "abc", "false") "]"}, "added_tokens[0].id: expected 258"},
        {{.added = "[" ADDED("260", "<x>", "false") ", " ADDED("260", "<y>", "false") "]"},
         "added_tokens[1].id"},
        {{.added = "[" ADDED("258", "abc", "false") ", " ADDED("258", "abc", "false") "]"},
         "added_tokens[1].content"},
        {{.added = "[" ADDED("260", "<x>", "0") "]"}, "added_tokens[0].normalized"},
        {{.added = "[{\"id\": 260, \"content\": \"<x>\", \"novelty\": 1}]"}, "added_tokens[0].novelty"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        assert_null(open_parts(&cases[i].parts, &err));
        if (err.status != STATUS_INPUT || !strstr(err.text, cases[i].expected) || !strstr(err.text, PATH))
            fail_msg("case %zu: expected '%s', got %d: %s", i, cases[i].expected, (int)err.status, err.text);
    }
    struct error err = {0};
    struct tokenizer *none = NULL;
    assert_int_equal(tokenizer_open(&none, "no such tokenizer.json", &err), STATUS_INPUT);
    assert_null(none);
}

static void torn_texts_are_refused(void **state)
{
    (void)state;
    char text[TEXT_ROOM];
    const struct parts parts = {.added = "[" ADDED("260", "<x>", "false") "]"};
    make_text(text, &parts);
    size_t bytes = strlen(text);
    for (size_t kept = 0; kept < bytes; kept += 13) {
        struct error err = {0};
        assert_null(open_text(text, kept, &err));
        assert_int_equal(err.status, STATUS_INPUT);
    }
}

static uint32_t next_random(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

// One byte is copied elsewhere, or a digit becomes another.
static void damage(char *text, size_t bytes, uint32_t *random)
{
    size_t at = next_random(random) % bytes;
    if (next_random(random) & 1) {
        text[at] = text[next_random(random) % bytes];
        return;
    }
    while (text[at] < '0' || text[at] > '9')
        at = (at + 1) % bytes;
    text[at] = (char)('0' + next_random(random) % 10);
}

// A damaged text may still make a tokenizer, but then one that works.
static void damaged_texts_do_no_harm(void **state)
{
    (void)state;
    char whole[TEXT_ROOM], text[TEXT_ROOM];
    const struct parts parts = {.added = "[" ADDED("260", "<x>", "true") "]"};
    make_text(whole, &parts);
    size_t bytes = strlen(whole);
    int refused = 0;
    uint32_t random = 1;
    for (int round = 0; round < 1500; round++) {
        struct error err = {0};
        memcpy(text, whole, bytes);
        damage(text, bytes, &random);
        struct tokenizer *tokenizer = open_text(text, bytes, &err);
        refused += tokenizer == NULL;
        assert_int_equal(err.status, tokenizer ? STATUS_OK : STATUS_INPUT);
        if (!tokenizer) continue;
        int32_t *ids = NULL;
        size_t count = 0;
        const char sample[] = "abc a<x> \xc3\xa9t\xc3\xa9 abcabc";
        tokenizer_encode(tokenizer, sample, sizeof sample - 1, -1, &ids, &count, &err);
        ASSERT_OK(err);
        for (size_t i = 0; i < count; i++)
            assert_in_range(ids[i], 0, tokenizer_vocab_size(tokenizer) - 1);
        free(ids);
        tokenizer_close(tokenizer);
    }
    print_message("%d of 1500 refused\n", refused);
    assert_in_range(refused, 100, 1400);
}

static int remove_file(void **state)
{
    (void)state;
    unlink(PATH);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_follow_their_rank),     cmocka_unit_test(equal_pairs_merge_from_the_left),
        cmocka_unit_test(normalizer_may_be_absent),     cmocka_unit_test(added_tokens_raw_and_normalized),
        cmocka_unit_test(prefix_space_and_no_regex),    cmocka_unit_test(harmless_settings_are_taken),
        cmocka_unit_test(what_we_do_not_do_is_refused), cmocka_unit_test(torn_texts_are_refused),
        cmocka_unit_test(damaged_texts_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, remove_file);
}
