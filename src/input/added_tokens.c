// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/input/bpe.h"
#include "ssmsweep/input/unicode.h"

// A trie over bytes; node 0 is the root.  Children of a node hang on a list.
struct node {
    int32_t child, sibling; // 0: none, as the root is nobody's child
    int32_t id;             // -1: no token ends here
    unsigned char byte;
    unsigned char flags; // of the token, OR-ed
};
enum { LSTRIP = 1, RSTRIP = 2, SINGLE_WORD = 4 };

struct trie {
    struct node *nodes;
    size_t count, room;
    int32_t by_first_byte[256]; // 0: no token begins so
};

struct added_tokens {
    struct trie tries[ADDED_KINDS];
    int32_t next_id; // which a token that is not in the vocabulary gets
    int32_t highest_id;
};

static enum status new_node(struct trie *trie, unsigned char byte, int32_t *index, struct error *err)
{
    if (trie->count == trie->room) {
        size_t room = trie->room ? 2 * trie->room : 64;
        struct node *grown = room < INT32_MAX ? realloc(trie->nodes, room * sizeof *grown) : NULL;
        if (!grown) return error_memory(err, room * sizeof *grown, "added tokens");
        trie->nodes = grown;
        trie->room = room;
    }
    trie->nodes[trie->count] = (struct node){.id = -1, .byte = byte};
    *index = (int32_t)trie->count++;
    return STATUS_OK;
}

static int32_t find_child(const struct trie *trie, int32_t parent, unsigned char byte)
{
    if (parent == 0) return trie->by_first_byte[byte];
    int32_t child = trie->nodes[parent].child;
    while (child && trie->nodes[child].byte != byte)
        child = trie->nodes[child].sibling;
    return child;
}

// *end is the node of that text; its id is -1 if it is new.
static enum status trie_insert(struct trie *trie, const char *text, size_t bytes, struct node **end,
                               struct error *err)
{
    int32_t at = 0, child = 0;
    if (trie->count == 0 && new_node(trie, 0, &child, err)) return err->status;
    for (size_t i = 0; i < bytes; i++, at = child) {
        unsigned char byte = (unsigned char)text[i];
        child = find_child(trie, at, byte);
        if (child) continue;
        if (new_node(trie, byte, &child, err)) return err->status;
        if (at == 0) trie->by_first_byte[byte] = child;
        trie->nodes[child].sibling = trie->nodes[at].child;
        trie->nodes[at].child = child;
    }
    *end = &trie->nodes[at];
    return STATUS_OK;
}

// ---- opening ----

static enum status read_flag(const struct json *entry, const char *key, size_t index, const char *path,
                             bool *flag, struct error *err)
{
    const struct json *value = json_get(entry, key);
    if (!json_is_bool(value))
        return error_set(err, STATUS_INPUT, "%s: added_tokens[%zu].%s: expected true or false", path, index,
                         key);
    *flag = json_bool(value);
    return STATUS_OK;
}

static enum status check_entry(const struct json *entry, size_t index, const char *path, unsigned char *flags,
                               struct error *err)
{
    static const char *const known[] = {"id",          "content", "special", "normalized",
                                        "single_word", "lstrip",  "rstrip"};
    static const struct {
        const char *key;
        unsigned char flag;
    } known_flags[] = {{"single_word", SINGLE_WORD}, {"lstrip", LSTRIP}, {"rstrip", RSTRIP}};
    size_t known_count = sizeof known / sizeof *known;
    if (!json_is_object(entry))
        return error_set(err, STATUS_INPUT, "%s: added_tokens[%zu]: expected an object", path, index);
    for (const struct json *v = json_first(entry); v; v = json_next(v)) {
        size_t k = 0;
        while (k < known_count && strcmp(json_key(v), known[k]) != 0)
            k++;
        if (k == known_count)
            return error_set(
                err, STATUS_INPUT,
                "%s: added_tokens[%zu].%.60s: unknown key, which might change ids; " VOCAB_REMEDY, path,
                index, json_key(v));
    }
    for (size_t k = 0; k < sizeof known_flags / sizeof *known_flags; k++) {
        bool on = false;
        if (read_flag(entry, known_flags[k].key, index, path, &on, err)) return err->status;
        if (on) *flags |= known_flags[k].flag;
    }
    return STATUS_OK;
}

// The loader of the format gives a token its id in the vocabulary, or the next free one; the file must say
// the same.
static enum status check_id(struct added_tokens *tokens, const struct json *entry, size_t index,
                            const struct bpe *bpe, const char *path, struct error *err)
{
    const struct json *id = json_get(entry, "id");
    int32_t expected = bpe_find(bpe, json_string(json_get(entry, "content")));
    char got[JSON_DESCRIBE_CHARS];
    json_describe(id, got);
    if (expected < 0) expected = tokens->next_id;
    if (!json_is_number(id) || json_number(id) != (double)expected || expected > VOCAB_MAX_ID)
        return error_set(
            err, STATUS_INPUT,
            "%s: added_tokens[%zu].id: expected %d, as its place behind model.vocab gives, got %s; "
            "write the file again with the tokenizers package",
            path, index, (int)expected, got);
    if (expected >= tokens->next_id) tokens->next_id = expected + 1;
    if (expected > tokens->highest_id) tokens->highest_id = expected;
    return STATUS_OK;
}

static enum status insert_content(struct added_tokens *tokens, enum added_kind kind, const char *text,
                                  size_t bytes, const struct node *token, size_t index, const char *path,
                                  struct error *err)
{
    struct node *end = NULL;
    if (trie_insert(&tokens->tries[kind], text, bytes, &end, err)) return err->status;
    if (end->id >= 0)
        return error_set(err, STATUS_INPUT,
                         "%s: added_tokens[%zu].content: the same text as another entry; remove one", path,
                         index);
    end->id = token->id;
    end->flags = token->flags;
    return STATUS_OK;
}

static enum status insert_entry(struct added_tokens *tokens, const struct json *entry, size_t index,
                                const struct bpe *bpe, const struct normalizer *normalizer, const char *path,
                                struct error *err)
{
    bool normalized = false, special = false;
    struct node token = {0};
    if (check_entry(entry, index, path, &token.flags, err) ||
        read_flag(entry, "normalized", index, path, &normalized, err) ||
        read_flag(entry, "special", index, path, &special, err))
        return err->status;
    const char *content = json_string(json_get(entry, "content"));
    if (!content || !*content)
        return error_set(err, STATUS_INPUT,
                         "%s: added_tokens[%zu].content: expected a text of one character or more", path,
                         index);
    if (check_id(tokens, entry, index, bpe, path, err)) return err->status;
    token.id = (int32_t)json_number(json_get(entry, "id"));
    if (!normalized)
        return insert_content(tokens, ADDED_RAW, content, strlen(content), &token, index, path, err);
    char *text = NULL;
    size_t bytes = 0;
    if (unicode_normalize(normalizer, content, strlen(content), &text, &bytes, err)) return err->status;
    insert_content(tokens, ADDED_NORMALIZED, text, bytes, &token, index, path, err);
    free(text);
    return err->status;
}

enum status added_tokens_open(struct added_tokens **tokens, const struct json *array, const struct bpe *bpe,
                              const struct normalizer *normalizer, const char *path, struct error *err)
{
    if (array && !json_is_null(array) && !json_is_array(array))
        return error_set(err, STATUS_INPUT, "%s: added_tokens: expected an array", path);
    struct added_tokens *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "added tokens");
    made->next_id = bpe_token_count(bpe);
    made->highest_id = -1;
    size_t index = 0;
    for (const struct json *v = json_first(array); v && !err->status; v = json_next(v))
        insert_entry(made, v, index++, bpe, normalizer, path, err);
    if (err->status)
        added_tokens_close(made);
    else
        *tokens = made;
    return err->status;
}

void added_tokens_close(struct added_tokens *tokens)
{
    if (!tokens) return;
    for (int kind = 0; kind < ADDED_KINDS; kind++)
        free(tokens->tries[kind].nodes);
    free(tokens);
}

// The longest token that begins at `start`: the node where it ends, 0 if there is none.
static int32_t longest_at(const struct trie *trie, const char *text, size_t bytes, size_t start, size_t *end)
{
    int32_t found = 0;
    for (int32_t at = trie->by_first_byte[(unsigned char)text[start]]; at;) {
        start++;
        if (trie->nodes[at].id >= 0) {
            found = at;
            *end = start;
        }
        at = start < bytes ? find_child(trie, at, (unsigned char)text[start]) : 0;
    }
    return found;
}

bool added_tokens_find(const struct added_tokens *tokens, enum added_kind kind, const char *text,
                       size_t bytes, size_t taken, struct added_match *match)
{
    const struct trie *trie = &tokens->tries[kind];
    if (trie->count == 0) return false;
    for (size_t start = match->next, end = 0; start < bytes;) {
        const int32_t at = longest_at(trie, text, bytes, start, &end);
        if (!at) {
            start++;
            continue;
        }
        const struct node *token = &trie->nodes[at];
        const size_t from = start;
        start = match->next = end;
        if (token->flags & SINGLE_WORD &&
            (unicode_word_ends(text, from) || unicode_word_begins(text, bytes, end)))
            continue;
        match->id = token->id;
        match->start = token->flags & LSTRIP ? unicode_spaces_begin(text, from) : from;
        if (match->start < taken) match->start = taken;
        match->end = token->flags & RSTRIP ? unicode_spaces_end(text, bytes, end) : end;
        return true;
    }
    return false;
}

int32_t added_tokens_highest_id(const struct added_tokens *tokens)
{
    return tokens->highest_id;
}
