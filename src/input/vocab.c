// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/vocab.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

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
