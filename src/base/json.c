// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/number.h"
#include "ssmsweep/base/signature.h"

// ---- members with \u0000 in them, which cJSON cuts ----

// All of this reads JSON that the parser has accepted: quotes pair, escapes are whole.
struct cursor {
    const char *at, *end;
};

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && memchr(" \t\r\n", *c->at, 4))
        c->at++;
}

static unsigned hex4(const char *text)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++) {
        char c = text[i];
        value = value << 4 | (unsigned)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    return value;
}

static size_t put_utf8(char *out, unsigned code)
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    int extra = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const unsigned lead[] = {0, 0xc0, 0xe0, 0xf0};
    out[0] = (char)(lead[extra] | code >> (6 * extra));
    for (int i = 1; i <= extra; i++)
        out[i] = (char)(0x80 | (code >> (6 * (extra - i)) & 0x3f));
    return (size_t)extra + 1;
}

// c->at is behind the "\u".  Half of a surrogate pair gives its own code.
static unsigned take_code(struct cursor *c)
{
    if (c->end - c->at < 4) return 0xfffd;
    unsigned code = hex4(c->at);
    c->at += 4;
    if (code < 0xd800 || code > 0xdbff || c->end - c->at < 6 || memcmp(c->at, "\\u", 2) != 0) return code;
    unsigned low = hex4(c->at + 2);
    if (low < 0xdc00 || low > 0xdfff) return code;
    c->at += 6;
    return 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff));
}

// From behind the opening quote to behind the closing one.  `out` may be NULL; else it holds as many bytes as
// the text between the quotes, which no escape exceeds.
static size_t take_string(struct cursor *c, char *out)
{
    char code[4];
    size_t used = 0;
    while (c->at < c->end && *c->at != '"') {
        size_t bytes = 1;
        code[0] = *c->at++;
        if (code[0] == '\\' && c->at < c->end) {
            static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
            char letter = *c->at++;
            const char *known = letter ? strchr(from, letter) : NULL;
            code[0] = known ? to[known - from] : letter;
            if (letter == 'u') bytes = put_utf8(code, take_code(c));
        }
        if (out) memcpy(out + used, code, bytes);
        used += bytes;
    }
    if (c->at < c->end) c->at++;
    return used;
}

static void skip_value(struct cursor *c)
{
    int depth = 0;
    while (c->at < c->end) {
        char letter = *c->at;
        if (depth == 0 && (letter == ',' || letter == '}')) return;
        c->at++;
        if (letter == '"') take_string(c, NULL);
        if (letter == '{' || letter == '[') depth++;
        if (letter == '}' || letter == ']') depth--;
    }
}

// Does the string that begins here (behind its quote) say `key`?  Moves behind it.
static bool take_key(struct cursor *c, const char *key, char *scratch)
{
    size_t bytes = take_string(c, scratch);
    return bytes == strlen(key) && memcmp(scratch, key, bytes) == 0;
}

// The string member `key` of an object that json_parse() would accept but for \u0000, decoded into
// out[bytes]. False if there is no such member, or it is no string.
static bool json_member_decode(const char *text, size_t bytes, const char *key, char *out, size_t *out_bytes)
{
    struct cursor c = {text, text + bytes};
    skip_blanks(&c);
    if (c.at == c.end || *c.at++ != '{') return false;
    for (;;) {
        skip_blanks(&c);
        if (c.at == c.end || *c.at++ != '"') return false;
        bool found = take_key(&c, key, out);
        skip_blanks(&c);
        if (c.at == c.end || *c.at++ != ':') return false;
        skip_blanks(&c);
        if (found) {
            if (c.at == c.end || *c.at++ != '"') return false;
            *out_bytes = take_string(&c, out);
            return true;
        }
        skip_value(&c);
        if (c.at == c.end || *c.at++ != ',') return false;
    }
}

// ---- documents ----

enum { JSON_MAX_DEPTH = 200 };

// struct json is never defined: a value is a cJSON node under another name.
static const cJSON *node(const struct json *value)
{
    return (const cJSON *)value;
}

static const struct json *wrap(const cJSON *value)
{
    return (const struct json *)value;
}

// ---- messages: where it is, and what stands there ----

enum { PLACE_CHARS = 80, SHOWN_BYTES = 24 };

// "line 3, column 7 (byte 41)"; the line only where there are several.
static void name_place(char place[PLACE_CHARS], const char *text, size_t bytes, size_t at)
{
    size_t line = 1, column = 1;
    bool lines = bytes > 0 && memchr(text, '\n', bytes - 1);
    for (size_t i = 0; i < at; i++) {
        column += ((unsigned char)text[i] & 0xc0) != 0x80; // a character, not a byte
        if (text[i] == '\n') line++, column = 1;
    }
    if (lines)
        snprintf(place, PLACE_CHARS, "line %zu, column %zu (byte %zu)", line, column, at);
    else
        snprintf(place, PLACE_CHARS, "column %zu (byte %zu)", column, at);
}

// The characters at `at` in quotes, up to the end of the line; or that nothing is left.
static void show_text(char shown[SHOWN_BYTES + 8], const char *text, size_t bytes, size_t at)
{
    size_t n = 0;
    while (n < SHOWN_BYTES && at + n < bytes && (unsigned char)text[at + n] >= 0x20)
        n++;
    while (n > 0 && at + n < bytes && ((unsigned char)text[at + n] & 0xc0) == 0x80)
        n--;
    if (n > 0)
        snprintf(shown, SHOWN_BYTES + 8, "'%.*s'", (int)n, text + at);
    else
        snprintf(shown, SHOWN_BYTES + 8, at < bytes ? "a line's end" : "the text's end");
}

void json_describe(const struct json *value, char text[JSON_DESCRIBE_CHARS])
{
    const cJSON *v = node(value);
    char digits[NUMBER_ROOM];
    if (cJSON_IsString(v))
        snprintf(text, JSON_DESCRIBE_CHARS, "'%.60s'", v->valuestring);
    else if (cJSON_IsNumber(v))
        snprintf(text, JSON_DESCRIBE_CHARS, "%s", number_text(v->valuedouble, 10, digits));
    else
        snprintf(text, JSON_DESCRIBE_CHARS, "%s",
                 !v                  ? "no such key"
                 : cJSON_IsObject(v) ? "an object"
                 : cJSON_IsArray(v)  ? "an array"
                 : cJSON_IsTrue(v)   ? "true"
                 : cJSON_IsFalse(v)  ? "false"
                                     : "null");
}

// ---- what is looked at before cJSON reads ----

// The text, and a copy of it where something must be written in another way for cJSON.
struct scan {
    const char *text, *where;
    size_t bytes;
    bool member; // only one member is wanted: \u0000 is allowed, and lone surrogates in the others
    bool torn;   // the text ends within a string, an object or an array
    char *copy;  // NULL: nothing was changed
    struct error *err;
};

static enum status refuse_at(const struct scan *s, size_t at, const char *what)
{
    char place[PLACE_CHARS];
    name_place(place, s->text, s->bytes, at);
    return error_set(s->err, STATUS_INPUT, "%s: %s at %s", s->where, what, place);
}

// Overwrites text[at, at + strlen(stand_in)) in the copy.
static enum status put_stand_in(struct scan *s, size_t at, const char *stand_in)
{
    if (!s->copy) {
        s->copy = malloc(s->bytes);
        if (!s->copy) return error_memory(s->err, s->bytes, "JSON text");
        memcpy(s->copy, s->text, s->bytes);
    }
    memcpy(s->copy + at, stand_in, strlen(stand_in));
    return STATUS_OK;
}

size_t json_utf8_bytes(const char *text, size_t bytes)
{
    for (size_t at = 0; at < bytes;) {
        utf8proc_int32_t code;
        size_t left = bytes - at < 4 ? bytes - at : 4;
        utf8proc_ssize_t step =
            utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)left, &code);
        if (step <= 0) return at;
        at += (size_t)step;
    }
    return bytes;
}

static enum status check_utf8(const struct scan *s)
{
    const size_t valid = json_utf8_bytes(s->text, s->bytes);
    if (valid == s->bytes) return STATUS_OK;
    return error_set(s->err, STATUS_INPUT, "%s: invalid UTF-8 at byte %zu; convert the file to UTF-8",
                     s->where, valid);
}

// The code of the \uXXXX at `at`, or -1 if none stands there.
static long escaped_code(const struct scan *s, size_t at)
{
    char digits[5] = "";
    if (s->bytes < 6 || at > s->bytes - 6 || s->text[at] != '\\' || s->text[at + 1] != 'u') return -1;
    memcpy(digits, s->text + at + 2, 4);
    return strspn(digits, "0123456789abcdefABCDEF") == 4 ? strtol(digits, NULL, 16) : -1;
}

// The \u escape at *at, moved to its last byte.  cJSON takes bad digits for \u0000, which cuts a string, and
// stops at half of a surrogate pair, as Python writes one for a byte that was no UTF-8.
static enum status check_escape(struct scan *s, size_t *at)
{
    const long code = escaped_code(s, *at);
    const size_t from = *at;
    if (code < 0) return refuse_at(s, from, "\\u without four hexadecimal digits");
    if (code == 0 && !s->member) return refuse_at(s, from, "\\u0000 in a string, which is not supported,");
    *at += 5;
    if (code < 0xd800 || code > 0xdfff) return STATUS_OK;
    const long low = code <= 0xdbff ? escaped_code(s, from + 6) : -1;
    if (low >= 0xdc00 && low <= 0xdfff) {
        *at += 6;
        return STATUS_OK;
    }
    char what[80];
    snprintf(what, sizeof what, "half of a surrogate pair, \\u%04lx, which is no character,", code);
    return s->member ? put_stand_in(s, from, "\\ufffd") : refuse_at(s, from, what);
}

// Python's words for numbers that JSON does not have.  No string of the text can be "\xff", which is no
// UTF-8.
static const char not_a_number[] = "\xff";
static const struct {
    const char *word, *stand_in;
} number_words[] = {{"NaN", "\"\xff\""}, {"Infinity", "1e99999 "}, {"-Infinity", "-1e99999 "}};

// Only as a value: what follows must end it.
static enum status take_number_word(struct scan *s, size_t *at)
{
    for (size_t i = 0; i < sizeof number_words / sizeof number_words[0]; i++) {
        size_t bytes = strlen(number_words[i].word), end = *at + bytes;
        if (bytes > s->bytes - *at || memcmp(s->text + *at, number_words[i].word, bytes) != 0) continue;
        while (end < s->bytes && memchr(" \t\r\n", s->text[end], 4))
            end++;
        if (end < s->bytes && !memchr(",]}", s->text[end], 3)) return STATUS_OK;
        if (put_stand_in(s, *at, number_words[i].stand_in)) return s->err->status;
        *at += bytes - 1;
        return STATUS_OK;
    }
    return STATUS_OK;
}

// What cJSON lets pass and we do not: a raw NUL, "\u0000", too deep nesting; and what Python writes and cJSON
// does not read.
static enum status scan_text(struct scan *s)
{
    int depth = 0;
    bool inside = false;
    for (size_t i = 0; i < s->bytes && !s->err->status; i++) {
        char c = s->text[i];
        if (c == '\0') return refuse_at(s, i, "not valid JSON: NUL byte");
        if (inside && c == '\\') {
            if (s->bytes - i < 2 || s->text[i + 1] != 'u')
                i++;
            else
                check_escape(s, &i);
        } else if (c == '"') {
            inside = !inside;
        } else if (!inside && (c == '{' || c == '[')) {
            if (++depth > JSON_MAX_DEPTH)
                return error_set(s->err, STATUS_INPUT, "%s: JSON nested deeper than %d at byte %zu", s->where,
                                 JSON_MAX_DEPTH, i);
        } else if (!inside && (c == '}' || c == ']')) {
            depth--;
        } else if (!inside && (c == 'N' || c == 'I' || c == '-')) {
            take_number_word(s, &i);
        }
    }
    s->torn = inside || depth > 0;
    return s->err->status ? s->err->status : check_utf8(s);
}

// ---- what is looked at behind it ----

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// Sorted keys show duplicates in n log n, which matters for a vocabulary of 50,000.
static enum status check_object(const cJSON *object, const char *where, struct error *err)
{
    size_t n = (size_t)cJSON_GetArraySize(object);
    if (n < 2) return STATUS_OK;
    const char **keys = malloc(n * sizeof *keys);
    if (!keys) return error_memory(err, n * sizeof *keys, "JSON keys");
    size_t i = 0;
    for (const cJSON *c = object->child; c; c = c->next)
        keys[i++] = c->string;
    qsort(keys, n, sizeof *keys, compare_keys);
    for (i = 1; i < n; i++)
        if (strcmp(keys[i - 1], keys[i]) == 0) {
            error_set(err, STATUS_INPUT, "%s: duplicate key '%.200s' in a JSON object; remove one", where,
                      keys[i]);
            break;
        }
    free(keys);
    return err->status;
}

static void restore_not_a_number(cJSON *value)
{
    if (!cJSON_IsString(value) || strcmp(value->valuestring, not_a_number) != 0) return;
    cJSON_free(value->valuestring);
    value->valuestring = NULL;
    value->type = cJSON_Number;
    value->valuedouble = NAN;
}

static enum status check_tree(cJSON *value, const char *where, struct error *err)
{
    restore_not_a_number(value);
    if (cJSON_IsObject(value) && check_object(value, where, err)) return err->status;
    for (cJSON *c = value->child; c; c = c->next)
        if (check_tree(c, where, err)) return err->status;
    return STATUS_OK;
}

static enum status refuse_text(const struct scan *s, size_t at, const char *what)
{
    char place[PLACE_CHARS], shown[SHOWN_BYTES + 8];
    while (at < s->bytes && memchr(" \t\r\n", s->text[at], 4))
        at++;
    name_place(place, s->text, s->bytes, at);
    show_text(shown, s->text, s->bytes, at);
    return error_set(s->err, STATUS_INPUT, "%s: %s at %s: got %s", s->where, what, place,
                     s->bytes > 0 ? shown : "an empty text");
}

// Where cJSON stopped.  Without a quote in front of a key it is one byte further, at the end of a torn text
// one less.
static size_t place_of_error(const struct scan *s, const char *end, const char *text)
{
    size_t at = end && end >= text ? (size_t)(end - text) : 0, before = at;
    if (s->torn && at + 1 == s->bytes) return s->bytes;
    if (at < 2 || memchr(" \t\r\n\"", s->text[at - 1], 5)) return at;
    for (before = at - 1; before > 0 && memchr(" \t\r\n", s->text[before - 1], 4);)
        before--;
    return before > 0 && memchr("{,", s->text[before - 1], 2) ? at - 1 : at;
}

static enum status parse_scanned(struct json **root, const struct scan *s)
{
    const char *text = s->copy ? s->copy : s->text, *end = NULL;
    cJSON *tree = cJSON_ParseWithLengthOpts(text, s->bytes, &end, 0);
    if (!tree) return refuse_text(s, place_of_error(s, end, text), "not valid JSON");
    size_t at = (size_t)(end - text);
    while (at < s->bytes && memchr(" \t\r\n", s->text[at], 4))
        at++;
    if (at < s->bytes) refuse_text(s, at, "unexpected text after the JSON value");
    if (s->err->status || check_tree(tree, s->where, s->err)) {
        cJSON_Delete(tree);
        return s->err->status;
    }
    *root = (struct json *)tree;
    return STATUS_OK;
}

static enum status parse(struct json **root, const char *text, size_t text_bytes, bool member,
                         const char *where, struct error *err)
{
    struct scan scan = {.text = text, .where = where, .bytes = text_bytes, .member = member, .err = err};
    if (!scan_text(&scan)) parse_scanned(root, &scan);
    free(scan.copy);
    return err->status;
}

enum status json_parse(struct json **root, const char *text, size_t text_bytes, const char *where,
                       struct error *err)
{
    return parse(root, text, text_bytes, false, where, err);
}

// What stands instead of the text: another type, or other keys.
static enum status refuse_member(const struct json *root, const char *key, const char *where,
                                 struct error *err)
{
    const struct json *member = json_get(root, key);
    char got[JSON_DESCRIBE_CHARS], keys[160] = "";
    if (!json_is_object(root))
        return error_set(err, STATUS_INPUT, "%s: expected a JSON object with the key '%.80s'", where, key);
    json_describe(member, got);
    size_t used = 0;
    for (const struct json *v = json_first(root); v && !member && used < 80; v = json_next(v))
        used += (size_t)snprintf(keys + used, sizeof keys - used, "%s'%.40s'", used ? ", " : "; there is ",
                                 json_key(v));
    return error_set(err, STATUS_INPUT, "%s: key '%.80s': expected a string, got %s%s%s", where, key, got,
                     keys, used ? " (--text-field chooses)" : "");
}

// A lone surrogate was decoded into three bytes that are no UTF-8; nothing else can be wrong here.
static enum status check_member(const char *value, size_t bytes, const char *key, const char *where,
                                struct error *err)
{
    for (size_t i = 0; i + 2 < bytes; i++) {
        const unsigned char *at = (const unsigned char *)value + i;
        if (at[0] != 0xed || at[1] < 0xa0) continue;
        return error_set(err, STATUS_INPUT,
                         "%s: key '%.80s': half of a surrogate pair, \\u%04x, at byte %zu of the text, which "
                         "is no character; decode the text anew from its source, or replace it",
                         where, key, 0xd000u | (at[1] & 0x3fu) << 6 | (at[2] & 0x3fu), i);
    }
    return STATUS_OK;
}

enum status json_read_member(char **value, size_t *value_bytes, const char *text, size_t text_bytes,
                             const char *key, const char *where, struct error *err)
{
    struct json *root = NULL;
    if (parse(&root, text, text_bytes, true, where, err)) return err->status;
    if (!json_is_string(json_get(root, key))) refuse_member(root, key, where, err);
    json_close(root);
    if (err->status) return err->status;
    char *decoded = malloc(text_bytes + 1);
    size_t bytes = 0;
    if (!decoded) return error_memory(err, text_bytes + 1, "a string");
    if (!json_member_decode(text, text_bytes, key, decoded, &bytes)) // a key that \u0000 cut to `key`
        error_set(err, STATUS_INPUT, "%s: key '%.80s': expected a string, got no such key", where, key);
    else
        check_member(decoded, bytes, key, where, err);
    if (err->status) {
        free(decoded);
        return err->status;
    }
    *value = decoded;
    *value_bytes = bytes;
    return STATUS_OK;
}

enum status json_read_file(struct json **root, const char *path, struct error *err)
{
    struct file_map map = {0};
    if (file_map(&map, path, err)) return err->status;
    if (!signature_check(map.data, map.size_bytes, 0, path, "JSON", err))
        json_parse(root, map.data ? (const char *)map.data : "", map.size_bytes, path, err);
    file_unmap(&map);
    return err->status;
}

void json_close(struct json *root)
{
    cJSON_Delete((cJSON *)root);
}

bool json_is_object(const struct json *value)
{
    return cJSON_IsObject(node(value));
}

bool json_is_array(const struct json *value)
{
    return cJSON_IsArray(node(value));
}

bool json_is_string(const struct json *value)
{
    return cJSON_IsString(node(value));
}

bool json_is_number(const struct json *value)
{
    return cJSON_IsNumber(node(value));
}

bool json_is_bool(const struct json *value)
{
    return cJSON_IsBool(node(value));
}

bool json_is_null(const struct json *value)
{
    return cJSON_IsNull(node(value));
}

const struct json *json_get(const struct json *object, const char *key)
{
    return wrap(cJSON_GetObjectItemCaseSensitive(node(object), key));
}

const struct json *json_first(const struct json *object_or_array)
{
    return object_or_array ? wrap(node(object_or_array)->child) : NULL;
}

const struct json *json_next(const struct json *value)
{
    return value ? wrap(node(value)->next) : NULL;
}

const char *json_key(const struct json *value)
{
    return value ? node(value)->string : NULL;
}

const char *json_string(const struct json *value)
{
    return cJSON_IsString(node(value)) ? node(value)->valuestring : NULL;
}

double json_number(const struct json *value)
{
    return cJSON_IsNumber(node(value)) ? node(value)->valuedouble : 0;
}

bool json_bool(const struct json *value)
{
    return cJSON_IsTrue(node(value));
}

size_t json_count(const struct json *object_or_array)
{
    return object_or_array ? (size_t)cJSON_GetArraySize(node(object_or_array)) : 0;
}

bool json_equal(const struct json *a, const struct json *b)
{
    if (json_is_array(a) && json_is_array(b)) {
        const struct json *x = json_first(a), *y = json_first(b);
        while (x && y && json_equal(x, y)) {
            x = json_next(x);
            y = json_next(y);
        }
        return !x && !y;
    }
    if (json_is_string(a) && json_is_string(b)) return strcmp(json_string(a), json_string(b)) == 0;
    if (json_is_number(a) && json_is_number(b)) return json_number(a) == json_number(b);
    if (json_is_bool(a) && json_is_bool(b)) return json_bool(a) == json_bool(b);
    return (!a || json_is_null(a)) && (!b || json_is_null(b));
}
