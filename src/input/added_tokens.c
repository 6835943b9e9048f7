// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/added_tokens.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/input/unicode.h"
#include "ssmsweep/input/vocab.h"

// A trie over bytes; node 0 is the root.  Children of a node hang on a list.
struct node {
    int32_t child, sibling; // 0: none, as the root is nobody's child
    int32_t id;             // -1: no token ends here
    unsigned char byte;
};

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

// *id_of is where the id of that text belongs: -1 if it is new.
static enum status trie_insert(struct trie *trie, const char *text, size_t bytes, int32_t **id_of,
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
    *id_of = &trie->nodes[at].id;
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

static enum status check_entry(const struct json *entry, size_t index, const char *path, struct error *err)
{
    static const char *const known[] = {"id",          "content", "special", "normalized",
                                        "single_word", "lstrip",  "rstrip"};
    static const char *const refused[] = {"single_word", "lstrip", "rstrip"};
    size_t known_count = sizeof known / sizeof *known;
    if (!json_is_object(entry))
        return error_set(err, STATUS_INPUT, "%s: added_tokens[%zu]: expected an object", path, index);
    for (const struct json *v = json_first(entry); v; v = json_next(v)) {
        size_t k = 0;
        while (k < known_count && strcmp(json_key(v), known[k]) != 0)
            k++;
        if (k == known_count)
            return error_set(err, STATUS_INPUT,
                             "%s: added_tokens[%zu].%.60s: unknown key; it might change ids", path, index,
                             json_key(v));
    }
    for (size_t k = 0; k < sizeof refused / sizeof *refused; k++) {
        bool on = false;
        if (read_flag(entry, refused[k], index, path, &on, err)) return err->status;
        if (on)
            return error_set(err, STATUS_INPUT,
                             "%s: added_tokens[%zu].%s: expected false, got true; it is not supported", path,
                             index, refused[k]);
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
    if (expected < 0) expected = tokens->next_id;
    if (!json_is_number(id) || json_number(id) != (double)expected || expected > VOCAB_MAX_ID)
        return error_set(err, STATUS_INPUT,
                         "%s: added_tokens[%zu].id: expected %d, which model.vocab leads to, got %.17g", path,
                         index, (int)expected, json_number(id));
    if (expected >= tokens->next_id) tokens->next_id = expected + 1;
    if (expected > tokens->highest_id) tokens->highest_id = expected;
    return STATUS_OK;
}

static enum status insert_content(struct added_tokens *tokens, enum added_kind kind, const char *text,
                                  size_t bytes, int32_t id, size_t index, const char *path, struct error *err)
{
    int32_t *id_of = NULL;
    if (trie_insert(&tokens->tries[kind], text, bytes, &id_of, err)) return err->status;
    if (*id_of >= 0)
        return error_set(err, STATUS_INPUT,
                         "%s: added_tokens[%zu].content: the same text as another entry; remove one", path,
                         index);
    *id_of = id;
    return STATUS_OK;
}

static enum status insert_entry(struct added_tokens *tokens, const struct json *entry, size_t index,
                                const struct bpe *bpe, bool nfc, const char *path, struct error *err)
{
    bool normalized = false, special = false;
    if (check_entry(entry, index, path, err) ||
        read_flag(entry, "normalized", index, path, &normalized, err) ||
        read_flag(entry, "special", index, path, &special, err))
        return err->status;
    const char *content = json_string(json_get(entry, "content"));
    if (!content || !*content)
        return error_set(err, STATUS_INPUT,
                         "%s: added_tokens[%zu].content: expected a text of one character or more", path,
                         index);
    if (check_id(tokens, entry, index, bpe, path, err)) return err->status;
    int32_t id = (int32_t)json_number(json_get(entry, "id"));
    if (!normalized || !nfc)
        return insert_content(tokens, normalized ? ADDED_NORMALIZED : ADDED_RAW, content, strlen(content), id,
                              index, path, err);
    char *text = NULL;
    size_t bytes = 0;
    if (unicode_nfc(content, strlen(content), &text, &bytes, err)) return err->status;
    insert_content(tokens, ADDED_NORMALIZED, text, bytes, id, index, path, err);
    free(text);
    return err->status;
}

enum status added_tokens_open(struct added_tokens **tokens, const struct json *array, const struct bpe *bpe,
                              bool nfc, const char *path, struct error *err)
{
    if (array && !json_is_null(array) && !json_is_array(array))
        return error_set(err, STATUS_INPUT, "%s: added_tokens: expected an array", path);
    struct added_tokens *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "added tokens");
    made->next_id = bpe_highest_id(bpe) + 1;
    made->highest_id = -1;
    size_t index = 0;
    for (const struct json *v = json_first(array); v && !err->status; v = json_next(v))
        insert_entry(made, v, index++, bpe, nfc, path, err);
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

bool added_tokens_find(const struct added_tokens *tokens, enum added_kind kind, const char *text,
                       size_t bytes, size_t start, struct added_match *match)
{
    const struct trie *trie = &tokens->tries[kind];
    if (trie->count == 0) return false;
    for (; start < bytes; start++) {
        int32_t at = trie->by_first_byte[(unsigned char)text[start]], id = -1;
        size_t end = start;
        for (size_t i = start + 1; at; i++) {
            if (trie->nodes[at].id >= 0) {
                id = trie->nodes[at].id;
                end = i;
            }
            at = i < bytes ? find_child(trie, at, (unsigned char)text[i]) : 0;
        }
        if (id < 0) continue;
        *match = (struct added_match){.start = start, .end = end, .id = id};
        return true;
    }
    return false;
}

int32_t added_tokens_highest_id(const struct added_tokens *tokens)
{
    return tokens->highest_id;
}
