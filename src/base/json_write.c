// SPDX-License-Identifier: Apache-2.0
// The writing half of json.h.
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"

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
    const char *invalid = text + json_utf8_bytes(text, strlen(text));
    append_text(w, "\"");
    for (const char *c = text; *c; c++) {
        char code[8];
        if (c == invalid) {
            strcpy(code, "\\ufffd");
            invalid = c + 1 + json_utf8_bytes(c + 1, strlen(c + 1));
        } else if (*c == '"' || *c == '\\') {
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
