// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/tokenizer.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/input/added_tokens.h"
#include "ssmsweep/input/bpe.h"
#include "ssmsweep/input/unicode.h"

struct tokenizer {
    struct bpe *bpe;
    struct added_tokens *added;
    struct splitter *splitter; // NULL with "use_regex": false, where a piece is one word
    bool nfc, add_prefix_space;
};

// ---- opening ----

static enum status refuse(const char *path, const char *key, const char *expected, struct error *err)
{
    return error_set(err, STATUS_INPUT, "%s: %.80s: expected %s; nothing else is supported", path, key,
                     expected);
}

static bool has_type(const struct json *object, const char *type)
{
    const char *found = json_string(json_get(object, "type"));
    return json_is_object(object) && found && strcmp(found, type) == 0;
}

// Members of `object` must be among `known`, a NULL-terminated list: a key that we ignore might change ids.
static enum status check_keys(const struct json *object, const char *const *known, const char *path,
                              const char *where, struct error *err)
{
    for (const struct json *v = json_first(object); v; v = json_next(v)) {
        const char *const *k = known;
        while (*k && strcmp(*k, json_key(v)) != 0)
            k++;
        if (!*k)
            return error_set(err, STATUS_INPUT, "%s: %s: unknown key '%.60s'; it might change ids", path,
                             where, json_key(v));
    }
    return STATUS_OK;
}

// null, NFC, or a Sequence of these; NFC twice is NFC.
static enum status read_normalizer(const struct json *value, bool *nfc, const char *path, struct error *err)
{
    static const char *const nfc_keys[] = {"type", NULL};
    static const char *const sequence_keys[] = {"type", "normalizers", NULL};
    if (!value || json_is_null(value)) return STATUS_OK;
    if (has_type(value, "NFC")) {
        *nfc = true;
        return check_keys(value, nfc_keys, path, "normalizer", err);
    }
    const struct json *parts = json_get(value, "normalizers");
    if (!has_type(value, "Sequence") || !json_is_array(parts))
        return refuse(path, "normalizer", "null, NFC or a Sequence of NFC", err);
    if (check_keys(value, sequence_keys, path, "normalizer", err)) return err->status;
    for (const struct json *v = json_first(parts); v; v = json_next(v))
        if (read_normalizer(v, nfc, path, err)) return err->status;
    return STATUS_OK;
}

static enum status read_pre_tokenizer(struct tokenizer *t, const struct json *value, const char *path,
                                      struct error *err)
{
    static const char *const keys[] = {"type", "add_prefix_space", "trim_offsets", "use_regex", NULL};
    if (!has_type(value, "ByteLevel")) return refuse(path, "pre_tokenizer", "type ByteLevel", err);
    if (check_keys(value, keys, path, "pre_tokenizer", err)) return err->status;
    const struct json *prefix = json_get(value, "add_prefix_space"), *regex = json_get(value, "use_regex");
    if (!json_is_bool(prefix)) return refuse(path, "pre_tokenizer.add_prefix_space", "true or false", err);
    if (regex && !json_is_bool(regex)) return refuse(path, "pre_tokenizer.use_regex", "true or false", err);
    t->add_prefix_space = json_bool(prefix);
    return !regex || json_bool(regex) ? splitter_open(&t->splitter, err) : STATUS_OK;
}

// What surrounds the model: of the keys that are refused, each could add, drop or change ids.
static enum status check_frame(const struct json *root, const char *path, struct error *err)
{
    static const char *const keys[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    if (!json_is_object(root)) return refuse(path, "tokenizer", "a JSON object", err);
    if (check_keys(root, keys, path, "tokenizer", err)) return err->status;
    const struct json *version = json_get(root, "version");
    if (!json_is_string(version) || strcmp(json_string(version), "1.0") != 0)
        return refuse(path, "version", "\"1.0\"", err);
    const char *const nulls[] = {"truncation", "padding"};
    for (int i = 0; i < 2; i++) {
        const struct json *value = json_get(root, nulls[i]);
        if (value && !json_is_null(value)) return refuse(path, nulls[i], "null", err);
    }
    const struct json *post = json_get(root, "post_processor");
    if (post && !json_is_null(post) && !has_type(post, "ByteLevel"))
        return refuse(path, "post_processor", "null or type ByteLevel", err);
    return STATUS_OK;
}

static enum status build(struct tokenizer *t, const struct json *root, const char *path, struct error *err)
{
    if (check_frame(root, path, err)) return err->status;
    if (read_normalizer(json_get(root, "normalizer"), &t->nfc, path, err)) return err->status;
    if (read_pre_tokenizer(t, json_get(root, "pre_tokenizer"), path, err)) return err->status;
    if (bpe_open(&t->bpe, json_get(root, "model"), path, err)) return err->status;
    return added_tokens_open(&t->added, json_get(root, "added_tokens"), t->bpe, t->nfc, path, err);
}

enum status tokenizer_open(struct tokenizer **tokenizer, const char *path, struct error *err)
{
    struct json *root = NULL;
    if (json_read_file(&root, path, err)) return err->status;
    struct tokenizer *made = calloc(1, sizeof *made);
    if (!made)
        error_memory(err, sizeof *made, "a tokenizer");
    else
        build(made, root, path, err);
    json_close(root);
    if (err->status)
        tokenizer_close(made);
    else
        *tokenizer = made;
    return err->status;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (!tokenizer) return;
    added_tokens_close(tokenizer->added);
    bpe_close(tokenizer->bpe);
    splitter_close(tokenizer->splitter);
    free(tokenizer);
}

int tokenizer_vocab_size(const struct tokenizer *tokenizer)
{
    int32_t vocab = bpe_highest_id(tokenizer->bpe), added = added_tokens_highest_id(tokenizer->added);
    return 1 + (vocab > added ? vocab : added);
}

// ---- encoding ----

struct encoding {
    const struct tokenizer *tokenizer;
    struct bpe_scratch *bpe;
    struct splitter_scratch *splitter;
    struct token_list tokens;
    size_t enough; // ids after which we may stop
    struct error *err;
};

static bool is_enough(const struct encoding *e)
{
    return e->err->status || e->tokens.count >= e->enough;
}

static enum status encode_words(struct encoding *e, const char *text, size_t bytes)
{
    const struct tokenizer *t = e->tokenizer;
    for (size_t start = 0, end = bytes; start < bytes && !is_enough(e); start = end) {
        end = bytes;
        if (t->splitter && splitter_next(t->splitter, e->splitter, text, bytes, start, &end, e->err)) break;
        bpe_encode_word(t->bpe, e->bpe, text + start, end - start, &e->tokens, e->err);
    }
    return e->err->status;
}

// A stretch of normalized text without added tokens; each stretch gets its own leading space where asked for.
static enum status encode_stretch(struct encoding *e, const char *text, size_t bytes)
{
    if (bytes == 0 || !e->tokenizer->add_prefix_space || text[0] == ' ') return encode_words(e, text, bytes);
    char *spaced = malloc(bytes + 1);
    if (!spaced) return error_memory(e->err, bytes + 1, "text with a leading space");
    spaced[0] = ' ';
    memcpy(spaced + 1, text, bytes);
    encode_words(e, spaced, bytes + 1);
    free(spaced);
    return e->err->status;
}

typedef enum status encode_piece(struct encoding *e, const char *text, size_t bytes);

// Added tokens of one kind become ids, what lies between them goes to `between`.
static enum status cut_added(struct encoding *e, enum added_kind kind, const char *text, size_t bytes,
                             encode_piece *between)
{
    struct added_match match = {0};
    size_t start = 0;
    while (!is_enough(e) && added_tokens_find(e->tokenizer->added, kind, text, bytes, start, &match)) {
        between(e, text + start, match.start - start);
        if (!e->err->status) token_list_push(&e->tokens, match.id, e->err);
        start = match.end;
    }
    if (!is_enough(e)) between(e, text + start, bytes - start);
    return e->err->status;
}

// A stretch of raw text: normalization must not reach across a token that was found in the raw text.
static enum status encode_raw(struct encoding *e, const char *text, size_t bytes)
{
    char *normalized = NULL;
    size_t normalized_bytes = 0;
    if (!e->tokenizer->nfc || bytes == 0) return cut_added(e, ADDED_NORMALIZED, text, bytes, encode_stretch);
    if (unicode_nfc(text, bytes, &normalized, &normalized_bytes, e->err)) return e->err->status;
    cut_added(e, ADDED_NORMALIZED, normalized, normalized_bytes, encode_stretch);
    free(normalized);
    return e->err->status;
}

static enum status open_scratch(struct encoding *e)
{
    e->bpe = bpe_scratch_open();
    if (e->tokenizer->splitter) e->splitter = splitter_scratch_open(e->tokenizer->splitter);
    if (e->bpe && (e->splitter || !e->tokenizer->splitter)) return STATUS_OK;
    return error_memory(e->err, 1024, "tokenizing");
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t text_bytes,
                             long max_ids, int32_t **ids, size_t *count, struct error *err)
{
    struct encoding e = {
        .tokenizer = tokenizer, .enough = max_ids < 0 ? SIZE_MAX : (size_t)max_ids, .err = err};
    if (unicode_check_utf8(text, text_bytes, err)) return err->status;
    // The caller always gets something to free, even for no ids.
    e.tokens.ids = malloc(sizeof *e.tokens.ids);
    e.tokens.room = e.tokens.ids ? 1 : 0;
    if (!e.tokens.ids) return error_memory(err, sizeof *e.tokens.ids, "token ids");
    if (!open_scratch(&e)) cut_added(&e, ADDED_RAW, text, text_bytes, encode_raw);
    bpe_scratch_close(e.bpe);
    splitter_scratch_close(e.splitter);
    if (err->status) {
        free(e.tokens.ids);
        return err->status;
    }
    *ids = e.tokens.ids;
    *count = e.tokens.count < e.enough ? e.tokens.count : e.enough;
    return STATUS_OK;
}
