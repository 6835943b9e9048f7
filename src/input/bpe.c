// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/bpe.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum status token_list_push(struct token_list *list, int32_t id, struct error *err)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 256;
        int32_t *grown = realloc(list->ids, room * sizeof *grown);
        if (!grown) return error_memory(err, room * sizeof *grown, "token ids");
        list->ids = grown;
        list->room = room;
    }
    list->ids[list->count++] = id;
    return STATUS_OK;
}

// One merge: the pair of ids is the key of an open-addressing table, at most half full.
struct merge {
    uint64_t pair; // left << 32 | right
    int32_t rank;  // -1 in a free slot
    int32_t id;    // what the two become
};

struct bpe {
    struct vocab *vocab;
    struct merge *merges;
    size_t mask;
    int32_t byte_id[256]; // id of each single byte; -1: it has none
    bool whole_words;     // "ignore_merges": a word that is in the vocabulary is not divided
};

static uint64_t make_pair(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static struct merge *find_merge(const struct bpe *bpe, uint64_t pair)
{
    uint64_t h = pair * 0x9e3779b97f4a7c15u;
    size_t at = (size_t)(h ^ h >> 32) & bpe->mask;
    while (bpe->merges[at].rank >= 0 && bpe->merges[at].pair != pair)
        at = (at + 1) & bpe->mask;
    return &bpe->merges[at];
}

// ---- opening ----

static enum status bad_key(const char *path, const char *key, const char *expected, const struct json *value,
                           struct error *err)
{
    char got[JSON_DESCRIBE_CHARS];
    json_describe(value, got);
    return error_set(err, STATUS_INPUT, "%s: model.%.60s: expected %s, got %s; " VOCAB_REMEDY, path, key,
                     expected, got);
}

// No text, or one without characters.
static bool is_nothing(const struct json *value)
{
    return json_is_null(value) || (json_is_string(value) && json_string(value)[0] == '\0');
}

static bool is_bpe(const struct json *value)
{
    return json_is_string(value) && strcmp(json_string(value), "BPE") == 0;
}

static bool is_zero(const struct json *value)
{
    return json_is_null(value) || (json_is_number(value) && json_number(value) == 0);
}

static bool is_text_or_null(const struct json *value)
{
    return json_is_null(value) || json_is_string(value);
}

static bool is_anything(const struct json *value)
{
    return value != NULL;
}

// Every key that we know, with the values under which it changes no id that we give; any other key might
// change ids.  Every byte of a text has an id of its own, or the text is refused: so nothing is unknown, and
// nothing falls back to bytes.
static const struct setting {
    const char *key, *expected;
    bool (*is_good)(const struct json *value);
} settings[] = {
    {"type", "BPE (on bytes)", is_bpe},
    {"vocab", "", is_anything},
    {"merges", "", is_anything},
    {"dropout", "null", is_zero},
    {"continuing_subword_prefix", "null", is_nothing},
    {"end_of_word_suffix", "null", is_nothing},
    {"unk_token", "null or a token", is_text_or_null},
    {"fuse_unk", "true or false", json_is_bool},
    {"byte_fallback", "true or false", json_is_bool},
    {"ignore_merges", "true or false", json_is_bool},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

static enum status check_setting(const struct json *value, const char *path, struct error *err)
{
    for (size_t i = 0; i < SETTINGS; i++) {
        if (strcmp(json_key(value), settings[i].key) != 0) continue;
        if (settings[i].is_good(value)) return STATUS_OK;
        return bad_key(path, json_key(value), settings[i].expected, value, err);
    }
    return bad_key(path, json_key(value), "no such key", value, err);
}

// Files of before 2020 have no type; what has merges is BPE.
static enum status check_settings(const struct json *model, const char *path, struct error *err)
{
    if (!json_is_object(model))
        return error_set(err, STATUS_INPUT, "%s: model: expected an object; check the file", path);
    const struct json *type = json_get(model, "type");
    if (type ? !is_bpe(type) : !json_get(model, "merges"))
        return bad_key(path, "type", "BPE (on bytes)", type, err);
    for (const struct json *v = json_first(model); v; v = json_next(v))
        if (check_setting(v, path, err)) return err->status;
    return STATUS_OK;
}

// The byte-level alphabet: printable Latin-1 stands for itself; the other bytes, 0x00 to 0x20, 0x7f to 0xa0
// and 0xad, for U+0100, U+0101 ... in order.
static int alphabet_code(int byte)
{
    if (byte <= 0x20) return 0x100 + byte;
    if (byte >= 0x7f && byte <= 0xa0) return 0x121 + byte - 0x7f;
    return byte == 0xad ? 0x143 : byte;
}

static size_t put_alphabet(int byte, char text[4])
{
    return (size_t)utf8proc_encode_char(alphabet_code(byte), (utf8proc_uint8_t *)text);
}

// A tokenizer of a small text may lack bytes: then texts that have them are refused, see missing_byte().
static void find_bytes(struct bpe *bpe)
{
    for (int byte = 0; byte < 256; byte++) {
        char text[4];
        bpe->byte_id[byte] = vocab_find(bpe->vocab, text, put_alphabet(byte, text));
    }
}

// One merge as two texts: ["a", "b"], or "a b" with exactly one space.
static bool read_merge(const struct json *merge, const char **left, size_t *left_bytes, const char **right)
{
    if (json_is_string(merge)) {
        *left = json_string(merge);
        const char *space = strchr(*left, ' ');
        if (!space || strchr(space + 1, ' ')) return false;
        *left_bytes = (size_t)(space - *left);
        *right = space + 1;
    } else {
        const struct json *first = json_first(merge), *second = json_next(first);
        *left = json_string(first);
        *right = json_string(second);
        if (!json_is_array(merge) || !*left || !*right || json_next(second)) return false;
        *left_bytes = strlen(*left);
    }
    return *left_bytes > 0 && **right;
}

static enum status insert_merge(struct bpe *bpe, const struct json *merge, int32_t rank, const char *path,
                                struct error *err)
{
    const char *left = NULL, *right = NULL;
    size_t left_bytes = 0;
    if (!read_merge(merge, &left, &left_bytes, &right))
        return error_set(err, STATUS_INPUT, "%s: model.merges[%d]: expected \"a b\" or [\"a\", \"b\"]", path,
                         (int)rank);
    size_t right_bytes = strlen(right);
    char *joined = malloc(left_bytes + right_bytes);
    if (!joined) return error_memory(err, left_bytes + right_bytes, "a merge");
    memcpy(joined, left, left_bytes);
    memcpy(joined + left_bytes, right, right_bytes);
    int32_t a = vocab_find(bpe->vocab, left, left_bytes), b = vocab_find(bpe->vocab, right, right_bytes);
    int32_t id = vocab_find(bpe->vocab, joined, left_bytes + right_bytes);
    free(joined);
    if (a < 0 || b < 0 || id < 0)
        return error_set(err, STATUS_INPUT,
                         "%s: model.merges[%d]: '%.*s' + '%.60s': a part or the result is not in model.vocab",
                         path, (int)rank, left_bytes < 60 ? (int)left_bytes : 60, left, right);
    struct merge *slot = find_merge(bpe, make_pair(a, b));
    if (slot->rank >= 0)
        return error_set(err, STATUS_INPUT, "%s: model.merges[%d]: the same pair as merges[%d]; remove one",
                         path, (int)rank, (int)slot->rank);
    *slot = (struct merge){.pair = make_pair(a, b), .rank = rank, .id = id};
    return STATUS_OK;
}

static enum status read_merges(struct bpe *bpe, const struct json *merges, const char *path,
                               struct error *err)
{
    size_t slots = 16, count = json_count(merges);
    if (!json_is_array(merges) || count > VOCAB_MAX_ID)
        return error_set(err, STATUS_INPUT, "%s: model.merges: expected an array of pairs", path);
    while (slots < 2 * count)
        slots *= 2;
    bpe->merges = malloc(slots * sizeof *bpe->merges);
    if (!bpe->merges) return error_memory(err, slots * sizeof *bpe->merges, "merges");
    bpe->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        bpe->merges[i] = (struct merge){.rank = -1};
    int32_t rank = 0;
    for (const struct json *v = json_first(merges); v; v = json_next(v))
        if (insert_merge(bpe, v, rank++, path, err)) return err->status;
    return STATUS_OK;
}

enum status bpe_open(struct bpe **bpe, const struct json *model, const char *path, struct error *err)
{
    if (check_settings(model, path, err)) return err->status;
    struct bpe *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a tokenizer");
    if (vocab_open(&made->vocab, json_get(model, "vocab"), path, err) ||
        read_merges(made, json_get(model, "merges"), path, err)) {
        bpe_close(made);
        return err->status;
    }
    find_bytes(made);
    made->whole_words = json_bool(json_get(model, "ignore_merges"));
    *bpe = made;
    return STATUS_OK;
}

void bpe_close(struct bpe *bpe)
{
    if (!bpe) return;
    vocab_close(bpe->vocab);
    free(bpe->merges);
    free(bpe);
}

int32_t bpe_find(const struct bpe *bpe, const char *token)
{
    return vocab_find(bpe->vocab, token, strlen(token));
}

int32_t bpe_highest_id(const struct bpe *bpe)
{
    return vocab_highest_id(bpe->vocab);
}

int32_t bpe_token_count(const struct bpe *bpe)
{
    return (int32_t)vocab_count(bpe->vocab);
}

// ---- encoding: symbols form a linked list, a heap holds the pairs that could be merged ----

struct symbol {
    int32_t id;         // -1 once it is merged into the one before
    int32_t prev, next; // -1 at the ends
};

struct bpe_scratch {
    struct symbol *symbols; // [room]
    uint64_t *heap;         // [2 room], rank << 32 | position: the smallest is merged first
    size_t room, heap_count;
};

struct bpe_scratch *bpe_scratch_open(void)
{
    return calloc(1, sizeof(struct bpe_scratch));
}

void bpe_scratch_close(struct bpe_scratch *scratch)
{
    if (!scratch) return;
    free(scratch->symbols);
    free(scratch->heap);
    free(scratch);
}

static enum status grow_scratch(struct bpe_scratch *scratch, size_t bytes, struct error *err)
{
    if (bytes <= scratch->room) return STATUS_OK;
    size_t room = bytes < 256 ? 256 : bytes;
    free(scratch->symbols);
    free(scratch->heap);
    scratch->symbols = malloc(room * sizeof *scratch->symbols);
    scratch->heap = malloc(2 * room * sizeof *scratch->heap);
    scratch->room = scratch->symbols && scratch->heap ? room : 0;
    if (!scratch->room)
        return error_memory(err, room * (sizeof *scratch->symbols + 2 * sizeof *scratch->heap), "a word");
    return STATUS_OK;
}

static void heap_push(struct bpe_scratch *s, uint64_t value)
{
    size_t at = s->heap_count++;
    for (; at > 0 && s->heap[(at - 1) / 2] > value; at = (at - 1) / 2)
        s->heap[at] = s->heap[(at - 1) / 2];
    s->heap[at] = value;
}

static uint64_t heap_pop(struct bpe_scratch *s)
{
    uint64_t top = s->heap[0], last = s->heap[--s->heap_count];
    size_t at = 0;
    for (size_t child = 1; child < s->heap_count; child = 2 * at + 1) {
        if (child + 1 < s->heap_count && s->heap[child + 1] < s->heap[child]) child++;
        if (s->heap[child] >= last) break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    s->heap[at] = last;
    return top;
}

static const struct merge *merge_at(const struct bpe *bpe, const struct bpe_scratch *s, int32_t position)
{
    const struct symbol *left = &s->symbols[position];
    return find_merge(bpe, make_pair(left->id, s->symbols[left->next].id));
}

static void propose(const struct bpe *bpe, struct bpe_scratch *s, int32_t position)
{
    if (position < 0 || s->symbols[position].next < 0) return;
    const struct merge *merge = merge_at(bpe, s, position);
    if (merge->rank >= 0) heap_push(s, (uint64_t)(uint32_t)merge->rank << 32 | (uint32_t)position);
}

static void apply_merge(const struct bpe *bpe, struct bpe_scratch *s, uint64_t candidate)
{
    int32_t position = (int32_t)(candidate & 0xffffffffu), rank = (int32_t)(candidate >> 32);
    struct symbol *left = &s->symbols[position];
    if (left->id < 0 || left->next < 0) return; // stale: a neighbour was merged meanwhile
    const struct merge *merge = merge_at(bpe, s, position);
    if (merge->rank != rank) return;
    struct symbol *right = &s->symbols[left->next];
    left->id = merge->id;
    left->next = right->next;
    right->id = -1;
    if (left->next >= 0) s->symbols[left->next].prev = position;
    propose(bpe, s, left->prev);
    propose(bpe, s, position);
}

// The id of a word that is in the vocabulary as a whole, or -1.  The symbols, which have 12 bytes for each
// byte of the word, hold its spelling meanwhile.
static int32_t whole_word(const struct bpe *bpe, struct bpe_scratch *s, const char *word, size_t bytes)
{
    char *spelled = (char *)s->symbols;
    size_t used = 0;
    for (size_t i = 0; i < bytes; i++)
        used += put_alphabet((unsigned char)word[i], spelled + used);
    return vocab_find(bpe->vocab, spelled, used);
}

static enum status missing_byte(unsigned char byte, struct error *err)
{
    return error_set(
        err, STATUS_INPUT,
        "text to tokenize: byte 0x%02x has no token in model.vocab of the tokenizer; " VOCAB_REMEDY,
        (unsigned)byte);
}

enum status bpe_encode_word(const struct bpe *bpe, struct bpe_scratch *scratch, const char *word,
                            size_t bytes, struct token_list *tokens, struct error *err)
{
    if (bytes > INT32_MAX / 4)
        return error_set(err, STATUS_INPUT, "text to tokenize: one word of %zu bytes is too long; split it",
                         bytes);
    if (grow_scratch(scratch, bytes, err)) return err->status;
    int32_t n = (int32_t)bytes, whole = bpe->whole_words ? whole_word(bpe, scratch, word, bytes) : -1;
    if (whole >= 0) return token_list_push(tokens, whole, err);
    for (int32_t i = 0; i < n; i++)
        if (bpe->byte_id[(unsigned char)word[i]] < 0) return missing_byte((unsigned char)word[i], err);
    for (int32_t i = 0; i < n; i++)
        scratch->symbols[i] = (struct symbol){
            .id = bpe->byte_id[(unsigned char)word[i]], .prev = i - 1, .next = i + 1 < n ? i + 1 : -1};
    // A merge takes one candidate and adds at most two, and there are fewer than n merges: 2 n places
    // suffice.
    scratch->heap_count = 0;
    for (int32_t i = 0; i + 1 < n; i++)
        propose(bpe, scratch, i);
    while (scratch->heap_count > 0)
        apply_merge(bpe, scratch, heap_pop(scratch));
    for (int32_t i = 0; i >= 0; i = scratch->symbols[i].next)
        if (token_list_push(tokens, scratch->symbols[i].id, err)) break;
    return err->status;
}

// ---- vocab ----

struct entry {
    const char *token; // into `texts`; NULL in a free slot
    uint32_t bytes;
    int32_t id;
};

// Open addressing with linear probing; at most half of the slots are taken.
struct vocab {
    struct entry *slots;
    size_t mask; // slots - 1, a power of two less one
    char *texts;
    size_t count;
    int32_t highest_id;
};

// FNV-1a, 64 bits.
static uint64_t hash_bytes(const char *data, size_t bytes)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ (unsigned char)data[i]) * 0x100000001b3u;
    return h ^ h >> 32;
}

static struct entry *find_slot(const struct vocab *vocab, const char *token, size_t bytes)
{
    size_t at = hash_bytes(token, bytes) & vocab->mask;
    for (;; at = (at + 1) & vocab->mask) {
        struct entry *e = &vocab->slots[at];
        if (!e->token || (e->bytes == bytes && memcmp(e->token, token, bytes) == 0)) return e;
    }
}

static enum status reserve(struct vocab *vocab, const struct json *object, struct error *err)
{
    size_t slots = 16, text_bytes = 1;
    while (slots < 2 * json_count(object))
        slots *= 2;
    for (const struct json *v = json_first(object); v; v = json_next(v))
        text_bytes += strlen(json_key(v));
    vocab->slots = calloc(slots, sizeof *vocab->slots);
    vocab->texts = malloc(text_bytes);
    vocab->mask = slots - 1;
    if (!vocab->slots || !vocab->texts)
        return error_memory(err, slots * sizeof *vocab->slots + text_bytes, "a vocabulary");
    return STATUS_OK;
}

static enum status check_id(const struct json *value, const char *path, struct error *err)
{
    double id = json_number(value);
    if (json_is_number(value) && id >= 0 && id <= VOCAB_MAX_ID && id == (double)(int32_t)id) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "%s: model.vocab: token '%.60s': expected an integer in 0 .. %d as its id", path,
                     json_key(value), VOCAB_MAX_ID);
}

static enum status insert_all(struct vocab *vocab, const struct json *object, const char *path,
                              struct error *err)
{
    size_t used = 0;
    for (const struct json *v = json_first(object); v; v = json_next(v)) {
        if (check_id(v, path, err)) return err->status;
        size_t bytes = strlen(json_key(v));
        char *token = vocab->texts + used;
        memcpy(token, json_key(v), bytes);
        used += bytes;
        int32_t id = (int32_t)json_number(v);
        *find_slot(vocab, token, bytes) = (struct entry){.token = token, .bytes = (uint32_t)bytes, .id = id};
        if (id > vocab->highest_id) vocab->highest_id = id;
    }
    return STATUS_OK;
}

// Two tokens of one id are the mark of a file edited by hand.
static enum status check_distinct(const struct vocab *vocab, const char *path, struct error *err)
{
    size_t ids = (size_t)(vocab->highest_id + 1);
    bool *seen = calloc(ids + 1, sizeof *seen);
    if (!seen) return error_memory(err, ids, "a vocabulary");
    for (size_t i = 0; i <= vocab->mask && !err->status; i++) {
        const struct entry *e = &vocab->slots[i];
        if (!e->token) continue;
        if (seen[e->id])
            error_set(err, STATUS_INPUT, "%s: model.vocab: id %d belongs to two tokens, one is '%.*s'", path,
                      (int)e->id, e->bytes < 60 ? (int)e->bytes : 60, e->token);
        seen[e->id] = true;
    }
    free(seen);
    return err->status;
}

enum status vocab_open(struct vocab **vocab, const struct json *object, const char *path, struct error *err)
{
    if (!json_is_object(object) || !json_first(object))
        return error_set(err, STATUS_INPUT, "%s: model.vocab: expected an object of token: id, got none",
                         path);
    struct vocab *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a vocabulary");
    made->highest_id = -1;
    made->count = json_count(object);
    if (reserve(made, object, err) || insert_all(made, object, path, err) ||
        check_distinct(made, path, err)) {
        vocab_close(made);
        return err->status;
    }
    *vocab = made;
    return STATUS_OK;
}

void vocab_close(struct vocab *vocab)
{
    if (!vocab) return;
    free(vocab->slots);
    free(vocab->texts);
    free(vocab);
}

int32_t vocab_find(const struct vocab *vocab, const char *token, size_t bytes)
{
    const struct entry *e = find_slot(vocab, token, bytes);
    return e->token ? e->id : -1;
}

size_t vocab_count(const struct vocab *vocab)
{
    return vocab->count;
}

int32_t vocab_highest_id(const struct vocab *vocab)
{
    return vocab->highest_id;
}
