// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/json.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "json_member.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/number.h"

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

static enum status check_utf8(const char *text, size_t bytes, const char *where, struct error *err)
{
    for (size_t at = 0; at < bytes;) {
        utf8proc_int32_t code;
        size_t left = bytes - at < 4 ? bytes - at : 4;
        utf8proc_ssize_t step =
            utf8proc_iterate((const utf8proc_uint8_t *)text + at, (utf8proc_ssize_t)left, &code);
        if (step <= 0)
            return error_set(err, STATUS_INPUT, "%s: invalid UTF-8 at byte %zu; convert the file to UTF-8",
                             where, at);
        at += (size_t)step;
    }
    return STATUS_OK;
}

// What is wrong with the \u escape that begins here, or NULL.  cJSON takes bad digits for \u0000.
static const char *check_escape(const char *text, size_t bytes, bool nul_escapes)
{
    size_t digits = 0;
    while (digits < 4 && 2 + digits < bytes && isxdigit((unsigned char)text[2 + digits]))
        digits++;
    if (digits < 4) return "\\u without four hexadecimal digits";
    return !nul_escapes && memcmp(text + 2, "0000", 4) == 0 ? "\\u0000" : NULL;
}

// What cJSON lets pass and we do not: a raw NUL, "\u0000" (it would cut the string), too deep nesting.
static enum status check_text(const char *text, size_t bytes, bool nul_escapes, const char *where,
                              struct error *err)
{
    int depth = 0;
    bool inside = false;
    for (size_t i = 0; i < bytes; i++) {
        char c = text[i];
        if (c == '\0') return error_set(err, STATUS_INPUT, "%s: NUL byte at byte %zu of JSON text", where, i);
        if (inside && c == '\\') {
            if (bytes - i >= 2 && text[i + 1] == 'u' && check_escape(text + i, bytes - i, nul_escapes))
                return error_set(err, STATUS_INPUT, "%s: %s in a string at byte %zu is not supported", where,
                                 check_escape(text + i, bytes - i, nul_escapes), i);
            i++;
        } else if (c == '"') {
            inside = !inside;
        } else if (!inside && (c == '{' || c == '[')) {
            if (++depth > JSON_MAX_DEPTH)
                return error_set(err, STATUS_INPUT, "%s: JSON nested deeper than %d at byte %zu", where,
                                 JSON_MAX_DEPTH, i);
        } else if (!inside && (c == '}' || c == ']')) {
            depth--;
        }
    }
    return check_utf8(text, bytes, where, err);
}

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

static enum status check_duplicates(const cJSON *value, const char *where, struct error *err)
{
    if (cJSON_IsObject(value) && check_object(value, where, err)) return err->status;
    for (const cJSON *c = value->child; c; c = c->next)
        if (c->child && check_duplicates(c, where, err)) return err->status;
    return STATUS_OK;
}

static enum status parse(struct json **root, const char *text, size_t text_bytes, bool nul_escapes,
                         const char *where, struct error *err)
{
    if (check_text(text, text_bytes, nul_escapes, where, err)) return err->status;
    const char *end = NULL;
    cJSON *tree = cJSON_ParseWithLengthOpts(text, text_bytes, &end, 0);
    if (!tree)
        return error_set(err, STATUS_INPUT, "%s: not valid JSON at byte %zu of %zu", where,
                         end && end >= text ? (size_t)(end - text) : (size_t)0, text_bytes);
    for (; end < text + text_bytes; end++)
        if (!strchr(" \t\r\n", *end)) {
            error_set(err, STATUS_INPUT, "%s: unexpected text after the JSON value at byte %zu", where,
                      (size_t)(end - text));
            break;
        }
    if (err->status || check_duplicates(tree, where, err)) {
        cJSON_Delete(tree);
        return err->status;
    }
    *root = (struct json *)tree;
    return STATUS_OK;
}

enum status json_parse(struct json **root, const char *text, size_t text_bytes, const char *where,
                       struct error *err)
{
    return parse(root, text, text_bytes, false, where, err);
}

enum status json_read_member(char **value, size_t *value_bytes, const char *text, size_t text_bytes,
                             const char *key, const char *where, struct error *err)
{
    struct json *root = NULL;
    if (parse(&root, text, text_bytes, true, where, err)) return err->status;
    const struct json *member = json_get(root, key);
    bool object = json_is_object(root), string = json_is_string(member), found = member != NULL;
    json_close(root);
    if (!object)
        return error_set(err, STATUS_INPUT, "%s: expected a JSON object with the key '%.80s'", where, key);
    if (!string)
        return error_set(err, STATUS_INPUT, "%s: key '%.80s': expected a string, got %s", where, key,
                         found ? "another type" : "no such key");
    char *decoded = malloc(text_bytes + 1);
    size_t bytes = 0;
    if (!decoded) return error_memory(err, text_bytes + 1, "a string");
    if (!json_member_decode(text, text_bytes, key, decoded, &bytes)) { // a key that \u0000 cut to `key`
        free(decoded);
        return error_set(err, STATUS_INPUT, "%s: key '%.80s': expected a string, got no such key", where,
                         key);
    }
    *value = decoded;
    *value_bytes = bytes;
    return STATUS_OK;
}

enum status json_read_file(struct json **root, const char *path, struct error *err)
{
    struct file_map map = {0};
    if (file_map(&map, path, err)) return err->status;
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

// ---- writing ----

struct json_writer {
    FILE *out; // NULL: into the text
    char *text;
    size_t used, size;
    int depth;
    bool first, failed;
};

static void append(struct json_writer *w, const char *text, size_t bytes)
{
    if (w->out) {
        fwrite(text, 1, bytes, w->out);
        return;
    }
    if (w->failed) return;
    if (w->used + bytes + 1 > w->size) {
        size_t size = (w->used + bytes + 1) * 2;
        char *grown = realloc(w->text, size);
        if (!grown) {
            w->failed = true;
            return;
        }
        w->text = grown;
        w->size = size;
    }
    memcpy(w->text + w->used, text, bytes);
    w->used += bytes;
    w->text[w->used] = '\0';
}

static void append_text(struct json_writer *w, const char *text)
{
    append(w, text, strlen(text));
}

static void append_quoted(struct json_writer *w, const char *text)
{
    append_text(w, "\"");
    for (const char *c = text; *c; c++) {
        char code[8];
        if (*c == '"' || *c == '\\') {
            code[0] = '\\', code[1] = *c, code[2] = '\0';
        } else if ((unsigned char)*c < 0x20) {
            snprintf(code, sizeof code, "\\u%04x", (unsigned)*c);
        } else {
            code[0] = *c, code[1] = '\0';
        }
        append_text(w, code);
    }
    append_text(w, "\"");
}

static void new_line(struct json_writer *w)
{
    append_text(w, "\n");
    for (int i = 0; i < w->depth; i++)
        append_text(w, "  ");
}

static void start_value(struct json_writer *w, const char *key)
{
    if (w->depth > 0) {
        if (!w->first) append_text(w, ",");
        new_line(w);
    }
    w->first = false;
    if (key) {
        append_quoted(w, key);
        append_text(w, ": ");
    }
}

static void begin(struct json_writer *w, const char *key, const char *bracket)
{
    start_value(w, key);
    append_text(w, bracket);
    w->depth++;
    w->first = true;
}

static void end(struct json_writer *w, const char *bracket)
{
    w->depth--;
    if (!w->first) new_line(w);
    append_text(w, bracket);
    w->first = false;
}

struct json_writer *json_writer_open(void)
{
    return json_writer_open_file(NULL);
}

struct json_writer *json_writer_open_file(FILE *out)
{
    struct json_writer *w = calloc(1, sizeof *w);
    if (w) *w = (struct json_writer){.out = out, .first = true};
    return w;
}

void json_writer_end(struct json_writer *writer)
{
    append_text(writer, "\n");
    free(writer->text);
    free(writer);
}

void json_begin_object(struct json_writer *writer, const char *key)
{
    begin(writer, key, "{");
}

void json_end_object(struct json_writer *writer)
{
    end(writer, "}");
}

void json_begin_array(struct json_writer *writer, const char *key)
{
    begin(writer, key, "[");
}

void json_end_array(struct json_writer *writer)
{
    end(writer, "]");
}

void json_put_string(struct json_writer *writer, const char *key, const char *text)
{
    start_value(writer, key);
    if (text)
        append_quoted(writer, text);
    else
        append_text(writer, "null");
}

void json_put_double(struct json_writer *writer, const char *key, double value)
{
    start_value(writer, key);
    if (isfinite(value)) {
        char digits[NUMBER_ROOM];
        append_text(writer, number_text(value, NUMBER_EXACT, digits));
        return;
    }
    append_text(writer, "null");
    if (!key) return;
    char flag[128];
    snprintf(flag, sizeof flag, "%s_flag", key);
    json_put_string(writer, flag, isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
}

void json_put_integer(struct json_writer *writer, const char *key, long long value)
{
    char digits[32];
    snprintf(digits, sizeof digits, "%lld", value);
    start_value(writer, key);
    append_text(writer, digits);
}

void json_put_bool(struct json_writer *writer, const char *key, bool value)
{
    start_value(writer, key);
    append_text(writer, value ? "true" : "false");
}

void json_put_null(struct json_writer *writer, const char *key)
{
    start_value(writer, key);
    append_text(writer, "null");
}

char *json_writer_finish(struct json_writer *writer)
{
    append_text(writer, "\n");
    char *text = writer->text;
    if (writer->failed) {
        free(text);
        text = NULL;
    }
    free(writer);
    return text;
}
