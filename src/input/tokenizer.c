// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/tokenizer.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/input/added_tokens.h"
#include "ssmsweep/input/bpe.h"
#include "ssmsweep/input/unicode.h"

enum { MOST_STEPS = 8, WHERE_CHARS = 120 };

struct tokenizer {
    struct bpe *bpe;
    struct added_tokens *added;
    struct normalizer normalizer;
    struct splitter *steps[MOST_STEPS]; // divide the text one after the other, in front of ByteLevel
    int step_count;
    struct splitter *splitter; // of ByteLevel; NULL with "use_regex": false, where a piece is one word
    bool byte_level;           // it was read
    bool add_prefix_space;
    struct token_list begin, end; // ids around each text
    bool templated;               // what gives them was read
    int32_t highest_special;      // of those ids; -1 if there are none
    struct notes notes;
};

// ---- opening ----

struct reading {
    struct tokenizer *tokenizer;
    const char *path;
    struct error *err;
};

// What `value` is: its type, where it has one.
static enum status refuse(const struct reading *r, const char *where, const char *expected,
                          const struct json *value)
{
    char got[JSON_DESCRIBE_CHARS];
    const struct json *type = json_get(value, "type");
    json_describe(json_is_object(value) && json_is_string(type) ? type : value, got);
    return error_set(r->err, STATUS_INPUT, "%s: %s: expected %s, got %s; " VOCAB_REMEDY, r->path, where,
                     expected, got);
}

static bool has_type(const struct json *object, const char *type)
{
    const char *found = json_string(json_get(object, "type"));
    return json_is_object(object) && found && strcmp(found, type) == 0;
}

// Members of `object` must be among `known`, a NULL-terminated list: a key that we ignore might change ids.
static enum status check_keys(const struct reading *r, const struct json *object, const char *const *known,
                              const char *where)
{
    for (const struct json *v = json_first(object); v; v = json_next(v)) {
        const char *const *k = known;
        while (*k && strcmp(*k, json_key(v)) != 0)
            k++;
        if (!*k)
            return error_set(r->err, STATUS_INPUT,
                             "%s: %s: unknown key '%.60s', which might change ids; " VOCAB_REMEDY, r->path,
                             where, json_key(v));
    }
    return STATUS_OK;
}
#define CHECK_KEYS(r, object, where, ...)                                                                    \
    check_keys(r, object, (const char *const[]){"type", __VA_ARGS__, NULL}, where)

static enum status read_flag(const struct reading *r, const struct json *object, const char *key,
                             const char *where, bool *flag)
{
    char inside[WHERE_CHARS];
    const struct json *value = json_get(object, key);
    snprintf(inside, sizeof inside, "%.80s.%s", where, key);
    if (!json_is_bool(value)) return refuse(r, inside, "true or false", value);
    *flag = json_bool(value);
    return STATUS_OK;
}

typedef enum status read_part(const struct reading *r, const struct json *value, const char *where);

// Each part of a Sequence.
static enum status read_sequence(const struct reading *r, const struct json *value, const char *key,
                                 const char *where, read_part *read)
{
    char inside[WHERE_CHARS];
    int index = 0;
    const struct json *parts = json_get(value, key);
    if (CHECK_KEYS(r, value, where, key)) return r->err->status;
    snprintf(inside, sizeof inside, "%.80s.%s", where, key);
    if (!json_is_array(parts)) return refuse(r, inside, "an array", parts);
    for (const struct json *v = json_first(parts); v; v = json_next(v)) {
        snprintf(inside, sizeof inside, "%.80s.%s[%d]", where, key, index++);
        if (read(r, v, inside)) return r->err->status;
    }
    return STATUS_OK;
}

// ---- the normalizer ----

static enum status add_form(const struct reading *r, const struct json *value, enum unicode_form form,
                            const char *where)
{
    struct normalizer *n = &r->tokenizer->normalizer;
    if (check_keys(r, value, (const char *const[]){"type", NULL}, where)) return r->err->status;
    if (n->count > 0 && n->forms[n->count - 1] == form) return STATUS_OK; // twice is once
    if (n->count == NORMALIZER_MOST_FORMS) return refuse(r, where, "fewer normal forms in a row", value);
    n->forms[n->count++] = form;
    return STATUS_OK;
}

static enum status read_normalizer(const struct reading *r, const struct json *value, const char *where)
{
    static const char *const forms[] = {
        [UNICODE_NFC] = "NFC", [UNICODE_NFD] = "NFD", [UNICODE_NFKC] = "NFKC", [UNICODE_NFKD] = "NFKD"};
    if (!value || json_is_null(value)) return STATUS_OK;
    if (has_type(value, "Sequence")) return read_sequence(r, value, "normalizers", where, read_normalizer);
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++)
        if (has_type(value, forms[i])) return add_form(r, value, (enum unicode_form)i, where);
    bool left = true, right = true;
    if (has_type(value, "Strip")) {
        if (CHECK_KEYS(r, value, where, "strip_left", "strip_right") ||
            read_flag(r, value, "strip_left", where, &left) ||
            read_flag(r, value, "strip_right", where, &right))
            return r->err->status;
        if (!left && !right) return STATUS_OK;
    }
    return refuse(r, where, "null, NFC, NFD, NFKC, NFKD or a Sequence of these", value);
}

// ---- the pre-tokenizer ----

static struct splitter **new_step(const struct reading *r, const struct json *value, const char *where)
{
    struct tokenizer *t = r->tokenizer;
    if (t->step_count == MOST_STEPS) {
        refuse(r, where, "fewer steps in front of ByteLevel", value);
        return NULL;
    }
    return &t->steps[t->step_count++];
}

static enum status read_byte_level(const struct reading *r, const struct json *value, const char *where)
{
    struct tokenizer *t = r->tokenizer;
    bool regex = true;
    if (CHECK_KEYS(r, value, where, "add_prefix_space", "trim_offsets", "use_regex") ||
        read_flag(r, value, "add_prefix_space", where, &t->add_prefix_space) ||
        (json_get(value, "use_regex") && read_flag(r, value, "use_regex", where, &regex)))
        return r->err->status;
    t->byte_level = true;
    return regex ? splitter_open(&t->splitter, SPLIT_GPT2, r->err) : STATUS_OK;
}

static enum status read_digits(const struct reading *r, const struct json *value, const char *where)
{
    bool individual = false;
    if (CHECK_KEYS(r, value, where, "individual_digits") ||
        read_flag(r, value, "individual_digits", where, &individual))
        return r->err->status;
    struct splitter **step = new_step(r, value, where);
    return step ? splitter_open(step, individual ? SPLIT_DIGIT : SPLIT_DIGITS, r->err) : r->err->status;
}

static bool is_word(const struct json *value, const char *word)
{
    return json_is_string(value) && strcmp(json_string(value), word) == 0;
}

static enum status read_punctuation(const struct reading *r, const struct json *value, const char *where)
{
    char inside[WHERE_CHARS];
    const struct json *behavior = json_get(value, "behavior");
    const bool runs = is_word(behavior, "Contiguous");
    snprintf(inside, sizeof inside, "%.80s.behavior", where);
    if (CHECK_KEYS(r, value, where, "behavior")) return r->err->status;
    if (!runs && behavior && !is_word(behavior, "Isolated"))
        return refuse(r, inside, "Isolated or Contiguous", behavior);
    struct splitter **step = new_step(r, value, where);
    return step ? splitter_open(step, runs ? SPLIT_PUNCTUATIONS : SPLIT_PUNCTUATION, r->err) : r->err->status;
}

// A pattern that we know covers all of a text: then "what lies between is removed" removes nothing.
static enum status read_split(const struct reading *r, const struct json *value, const char *where)
{
    char inside[WHERE_CHARS];
    bool invert = false;
    enum split_pattern known = SPLIT_GPT2;
    const struct json *pattern = json_get(value, "pattern"), *behavior = json_get(value, "behavior");
    const char *text = json_string(json_get(pattern, "String"));
    const char *regex = json_string(json_get(pattern, "Regex"));
    if (CHECK_KEYS(r, value, where, "pattern", "behavior", "invert") ||
        read_flag(r, value, "invert", where, &invert))
        return r->err->status;
    snprintf(inside, sizeof inside, "%.80s.pattern", where);
    if (json_count(pattern) != 1 || (!regex && (!text || !*text)) ||
        (regex && !split_pattern_find(&known, regex)))
        return refuse(r, inside, "the pattern of GPT-2, Llama-3 or Qwen2, or a text",
                      json_is_object(pattern) ? json_first(pattern) : pattern);
    snprintf(inside, sizeof inside, "%.80s.behavior", where);
    if (!is_word(behavior, "Isolated") && !(regex && invert && is_word(behavior, "Removed")))
        return refuse(r, inside, "Isolated", behavior);
    struct splitter **step = new_step(r, value, where);
    if (!step) return r->err->status;
    return regex ? splitter_open(step, known, r->err) : splitter_open_text(step, text, r->err);
}

static enum status read_pre_tokenizer(const struct reading *r, const struct json *value, const char *where)
{
    static const struct {
        const char *type;
        read_part *read;
    } parts[] = {{"ByteLevel", read_byte_level},
                 {"Digits", read_digits},
                 {"Punctuation", read_punctuation},
                 {"Split", read_split}};
    if (has_type(value, "Sequence"))
        return read_sequence(r, value, "pretokenizers", where, read_pre_tokenizer);
    if (r->tokenizer->byte_level) return refuse(r, where, "nothing behind ByteLevel", value);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (has_type(value, parts[i].type)) return parts[i].read(r, value, where);
    return refuse(r, where, "ByteLevel, with Split, Digits and Punctuation in front of it", value);
}

// ---- the post-processor: ids around the text ----

static enum status add_special(const struct reading *r, const struct json *id, struct token_list *list,
                               const char *where)
{
    double number = json_number(id);
    if (!json_is_number(id) || !(number >= 0 && number <= VOCAB_MAX_ID) || number != (double)(int32_t)number)
        return refuse(r, where, "ids of the vocabulary", id);
    if ((int32_t)number > r->tokenizer->highest_special) r->tokenizer->highest_special = (int32_t)number;
    return token_list_push(list, (int32_t)number, r->err);
}

static enum status add_named(const struct reading *r, const struct json *tokens, const struct json *name,
                             struct token_list *list, const char *where)
{
    const struct json *ids =
        json_is_string(name) ? json_get(json_get(tokens, json_string(name)), "ids") : NULL;
    if (!json_is_array(ids)) return refuse(r, where, "a token that special_tokens has with its ids", name);
    for (const struct json *v = json_first(ids); v; v = json_next(v))
        if (add_special(r, v, list, where)) return r->err->status;
    return STATUS_OK;
}

static enum status begin_template(const struct reading *r, const struct json *value, const char *where)
{
    if (r->tokenizer->templated) return refuse(r, where, "one template of special tokens", value);
    r->tokenizer->templated = true;
    return STATUS_OK;
}

static enum status read_template(const struct reading *r, const struct json *value, const char *where)
{
    char inside[WHERE_CHARS];
    struct tokenizer *t = r->tokenizer;
    bool text = false;
    const struct json *single = json_get(value, "single");
    snprintf(inside, sizeof inside, "%.80s.single", where);
    if (begin_template(r, value, where) || CHECK_KEYS(r, value, where, "single", "pair", "special_tokens"))
        return r->err->status;
    for (const struct json *v = json_first(single); v; v = json_next(v)) {
        const struct json *name = json_get(json_get(v, "SpecialToken"), "id");
        const struct json *sequence = json_get(json_get(v, "Sequence"), "id");
        if (name) {
            if (add_named(r, json_get(value, "special_tokens"), name, text ? &t->end : &t->begin, inside))
                return r->err->status;
        } else if (text || !is_word(sequence, "A")) {
            return refuse(r, inside, "the text, A, once among special tokens", sequence);
        }
        text = text || !name;
    }
    return text ? STATUS_OK : refuse(r, inside, "the text, A, once among special tokens", NULL);
}

// BERT's and RoBERTa's own: "cls" before the text and "sep" behind it, as [token, id].
static enum status read_pair(const struct reading *r, const struct json *value, const char *where)
{
    if (begin_template(r, value, where) ||
        CHECK_KEYS(r, value, where, "sep", "cls", "trim_offsets", "add_prefix_space"))
        return r->err->status;
    if (add_special(r, json_next(json_first(json_get(value, "cls"))), &r->tokenizer->begin, where))
        return r->err->status;
    return add_special(r, json_next(json_first(json_get(value, "sep"))), &r->tokenizer->end, where);
}

static enum status read_post_processor(const struct reading *r, const struct json *value, const char *where)
{
    if (!value || json_is_null(value)) return STATUS_OK;
    if (has_type(value, "Sequence")) return read_sequence(r, value, "processors", where, read_post_processor);
    if (has_type(value, "ByteLevel")) // changes offsets only
        return CHECK_KEYS(r, value, where, "add_prefix_space", "trim_offsets", "use_regex");
    if (has_type(value, "TemplateProcessing")) return read_template(r, value, where);
    if (has_type(value, "BertProcessing") || has_type(value, "RobertaProcessing"))
        return read_pair(r, value, where);
    return refuse(r, where, "null, ByteLevel, TemplateProcessing or a Sequence of these", value);
}

// ---- the whole ----

// Who loads a tokenizer.json to tokenize sets these two anew for each text.
static void note_lengths(struct tokenizer *t, const struct json *root, const char *path)
{
    const struct json *cut = json_get(root, "truncation"), *pad = json_get(root, "padding");
    if (cut && !json_is_null(cut))
        notes_add(&t->notes, "%s: truncation is not applied; --calib_seqlen says how many tokens are kept",
                  path);
    if (pad && !json_is_null(pad))
        notes_add(&t->notes, "%s: padding is not applied; samples keep their length", path);
}

static enum status check_frame(const struct reading *r, const struct json *root)
{
    static const char *const keys[] = {
        "version",       "truncation",     "padding", "added_tokens", "normalizer",
        "pre_tokenizer", "post_processor", "decoder", "model",        NULL};
    if (!json_is_object(root)) return refuse(r, "tokenizer", "a JSON object", root);
    if (check_keys(r, root, keys, "tokenizer")) return r->err->status;
    if (!is_word(json_get(root, "version"), "1.0"))
        return refuse(r, "version", "\"1.0\"", json_get(root, "version"));
    return STATUS_OK;
}

static enum status build(const struct reading *r, const struct json *root)
{
    struct tokenizer *t = r->tokenizer;
    if (check_frame(r, root) || read_normalizer(r, json_get(root, "normalizer"), "normalizer") ||
        read_pre_tokenizer(r, json_get(root, "pre_tokenizer"), "pre_tokenizer"))
        return r->err->status;
    if (!t->byte_level)
        return refuse(r, "pre_tokenizer", "ByteLevel at its end", json_get(root, "pre_tokenizer"));
    if (read_post_processor(r, json_get(root, "post_processor"), "post_processor")) return r->err->status;
    note_lengths(t, root, r->path);
    if (bpe_open(&t->bpe, json_get(root, "model"), r->path, r->err)) return r->err->status;
    return added_tokens_open(&t->added, json_get(root, "added_tokens"), t->bpe, &t->normalizer, r->path,
                             r->err);
}

enum status tokenizer_open(struct tokenizer **tokenizer, const char *path, struct error *err)
{
    struct json *root = NULL;
    if (json_read_file(&root, path, err)) return err->status;
    struct tokenizer *made = calloc(1, sizeof *made);
    if (!made) {
        error_memory(err, sizeof *made, "a tokenizer");
    } else {
        made->highest_special = -1;
        build(&(struct reading){made, path, err}, root);
    }
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
    for (int i = 0; i < tokenizer->step_count; i++)
        splitter_close(tokenizer->steps[i]);
    free(tokenizer->begin.ids);
    free(tokenizer->end.ids);
    free(tokenizer);
}

int tokenizer_vocab_size(const struct tokenizer *tokenizer)
{
    int32_t highest = bpe_highest_id(tokenizer->bpe), added = added_tokens_highest_id(tokenizer->added);
    if (added > highest) highest = added;
    return 1 + (tokenizer->highest_special > highest ? tokenizer->highest_special : highest);
}

const struct notes *tokenizer_notes(const struct tokenizer *tokenizer)
{
    return &tokenizer->notes;
}

int tokenizer_special_tokens(const struct tokenizer *tokenizer)
{
    return (int)(tokenizer->begin.count + tokenizer->end.count);
}

void tokenizer_drop_special_tokens(struct tokenizer *tokenizer)
{
    tokenizer->begin.count = tokenizer->end.count = 0;
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

// A stretch through the steps from `step` on: each divides what the one before it left.
static enum status encode_steps(struct encoding *e, int step, const char *text, size_t bytes)
{
    const struct tokenizer *t = e->tokenizer;
    if (step == t->step_count) return encode_stretch(e, text, bytes);
    for (size_t start = 0, end = 0; start < bytes && !is_enough(e); start = end) {
        if (splitter_next(t->steps[step], e->splitter, text, bytes, start, &end, e->err)) break;
        encode_steps(e, step + 1, text + start, end - start);
    }
    return e->err->status;
}

static enum status encode_normalized(struct encoding *e, const char *text, size_t bytes)
{
    return encode_steps(e, 0, text, bytes);
}

typedef enum status encode_piece(struct encoding *e, const char *text, size_t bytes);

// Added tokens of one kind become ids, what lies between them goes to `between`.
static enum status cut_added(struct encoding *e, enum added_kind kind, const char *text, size_t bytes,
                             encode_piece *between)
{
    struct added_match match = {0};
    size_t taken = 0;
    while (!is_enough(e) && added_tokens_find(e->tokenizer->added, kind, text, bytes, taken, &match)) {
        if (match.start > taken) between(e, text + taken, match.start - taken);
        if (!e->err->status) token_list_push(&e->tokens, match.id, e->err);
        taken = match.end;
    }
    if (!is_enough(e)) between(e, text + taken, bytes - taken);
    return e->err->status;
}

// A stretch of raw text: normalization must not reach across a token that was found in the raw text.
static enum status encode_raw(struct encoding *e, const char *text, size_t bytes)
{
    char *normalized = NULL;
    size_t normalized_bytes = 0;
    if (e->tokenizer->normalizer.count == 0 || bytes == 0)
        return cut_added(e, ADDED_NORMALIZED, text, bytes, encode_normalized);
    if (unicode_normalize(&e->tokenizer->normalizer, text, bytes, &normalized, &normalized_bytes, e->err))
        return e->err->status;
    cut_added(e, ADDED_NORMALIZED, normalized, normalized_bytes, encode_normalized);
    free(normalized);
    return e->err->status;
}

static enum status open_scratch(struct encoding *e)
{
    e->bpe = bpe_scratch_open();
    e->splitter = splitter_scratch_open();
    if (e->bpe && e->splitter) return STATUS_OK;
    return error_memory(e->err, 1024, "tokenizing");
}

static enum status push_all(struct encoding *e, const struct token_list *list)
{
    for (size_t i = 0; i < list->count && !e->err->status; i++)
        token_list_push(&e->tokens, list->ids[i], e->err);
    return e->err->status;
}

// A text that gives no tokens of its own gets none around it either.
static enum status encode_text(struct encoding *e, const char *text, size_t bytes)
{
    const struct tokenizer *t = e->tokenizer;
    if (push_all(e, &t->begin) || cut_added(e, ADDED_RAW, text, bytes, encode_raw)) return e->err->status;
    if (e->tokens.count > t->begin.count) return push_all(e, &t->end);
    e->tokens.count = 0;
    return STATUS_OK;
}

enum status tokenizer_encode(const struct tokenizer *tokenizer, const char *text, size_t text_bytes,
                             long max_ids, int32_t **ids, size_t *count, struct error *err)
{
    const size_t limit = max_ids < 0 ? SIZE_MAX : (size_t)max_ids, least = tokenizer->begin.count + 1;
    struct encoding e = {.tokenizer = tokenizer, .enough = limit > least ? limit : least, .err = err};
    if (unicode_check_utf8(text, text_bytes, err)) return err->status;
    // The caller always gets something to free, even for no ids.
    e.tokens.ids = malloc(sizeof *e.tokens.ids);
    e.tokens.room = e.tokens.ids ? 1 : 0;
    if (!e.tokens.ids) return error_memory(err, sizeof *e.tokens.ids, "token ids");
    if (!open_scratch(&e)) encode_text(&e, text, text_bytes);
    bpe_scratch_close(e.bpe);
    splitter_scratch_close(e.splitter);
    if (err->status) {
        free(e.tokens.ids);
        return err->status;
    }
    *ids = e.tokens.ids;
    *count = e.tokens.count < limit ? e.tokens.count : limit;
    return STATUS_OK;
}
