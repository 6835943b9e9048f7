// SPDX-License-Identifier: Apache-2.0
// JSON: a reader over cJSON (json.c is its only user) and a writer with stable, readable output.
#ifndef SSMSWEEP_BASE_JSON_H
#define SSMSWEEP_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "ssmsweep/base/status.h"

struct json; // opaque: one value inside a document

// How many of these bytes are UTF-8, from the first on; `bytes` if all are.
size_t json_utf8_bytes(const char *text, size_t bytes);

// ---- reading ----
// Parses a whole text.  *root is freed by json_close(), which takes the root only.  `where` (a path) starts
// the message.  NaN, Infinity and -Infinity, which Python writes, are numbers.  STATUS_INPUT: not JSON (line,
// column and what stands there are named), invalid UTF-8, text after the value, duplicate key in an object, a
// NUL or half of a surrogate pair inside a string, nesting beyond 200; in a file, also another kind of file.
enum status json_parse(struct json **root, const char *text, size_t text_bytes, const char *where,
                       struct error *err);
enum status json_read_file(struct json **root, const char *path, struct error *err);
void json_close(struct json *root); // NULL is fine

// One string member of a whole text that is an object, where \u0000 is allowed in strings:
// value[value_bytes], malloc'ed, not terminated.  Errors as json_parse(), and STATUS_INPUT if there is no
// such member or it is no string; halves of surrogate pairs matter only in that member.
enum status json_read_member(char **value, size_t *value_bytes, const char *text, size_t text_bytes,
                             const char *key, const char *where, struct error *err);

bool json_is_object(const struct json *value);
bool json_is_array(const struct json *value);
bool json_is_string(const struct json *value);
bool json_is_number(const struct json *value);
bool json_is_bool(const struct json *value);
bool json_is_null(const struct json *value);

// All of these take NULL and then give NULL / 0 / false, so that look-ups chain.
const struct json *json_get(const struct json *object, const char *key); // linear
const struct json *json_first(const struct json *object_or_array);
const struct json *json_next(const struct json *value);
const char *json_key(const struct json *value);    // of an object's member
const char *json_string(const struct json *value); // NULL if it is no string
double json_number(const struct json *value);      // 0 if it is no number
bool json_bool(const struct json *value);          // true only for `true`
size_t json_count(const struct json *object_or_array);
// The same values: no objects, but arrays of others, in their order.  NULL is as good as null.
bool json_equal(const struct json *a, const struct json *b);

// A value for messages: "no such key" of NULL, "null", "true", "12.5", "'text'", "an object", "an array".
enum { JSON_DESCRIBE_CHARS = 72 };
void json_describe(const struct json *value, char text[JSON_DESCRIBE_CHARS]);

// ---- writing ----
// Objects and arrays nest by begin/end; `key` is NULL inside arrays and for the outermost value.  Doubles
// carry 17 significant digits; NaN and Inf become null, followed in objects by "<key>_flag": "nan" | "inf" |
// "-inf".  A byte that is no UTF-8 becomes U+FFFD, so that what is written can be read: texts that must come
// back as they were are checked before.
struct json_writer;                         // opaque
struct json_writer *json_writer_open(void); // NULL when memory is out
void json_begin_object(struct json_writer *writer, const char *key);
void json_end_object(struct json_writer *writer);
void json_begin_array(struct json_writer *writer, const char *key);
void json_end_array(struct json_writer *writer);
void json_put_string(struct json_writer *writer, const char *key, const char *text); // NULL text becomes null
void json_put_double(struct json_writer *writer, const char *key, double value);
void json_put_integer(struct json_writer *writer, const char *key, long long value);
void json_put_bool(struct json_writer *writer, const char *key, bool value);
void json_put_null(struct json_writer *writer, const char *key);
// Ends the text with a newline and hands it over (caller frees); NULL when memory ran out on the way.  Closes
// the writer.
char *json_writer_finish(struct json_writer *writer);

// The same straight into a file, which is borrowed; it keeps what went wrong there (ferror).
struct json_writer *json_writer_open_file(FILE *out);
void json_writer_end(struct json_writer *writer); // newline; closes the writer

#endif
