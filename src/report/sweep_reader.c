// SPDX-License-Identifier: Apache-2.0
#include "sweep_reader.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- what is wrong ----

void reader_wrong(struct reader *r, const char *key, const char *expected, const struct json *found)
{
    char got[JSON_DESCRIBE_CHARS];
    if (r->err->status) return;
    json_describe(found, got);
    error_set(r->err, STATUS_INPUT,
              "%.300s: %s%s%.40s: expected %s, got %s; not a whole %s of this version: make it again with %s",
              r->path, r->where, r->where[0] ? ": " : "", key, expected, got, r->name, r->again);
}

// Parts of the file do not fit together.
void reader_torn(struct reader *r, const char *what)
{
    if (!r->err->status)
        error_set(r->err, STATUS_INPUT,
                  "%.300s: %s: %s; the file is torn or put together from several: make it again with "
                  "`ssmsweep compare`",
                  r->path, r->where, what);
}

void reader_at(struct reader *r, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(r->where, sizeof r->where, format, arguments);
    va_end(arguments);
}

// ---- values ----

// What is not finite stands as null, with a word beside it.
double reader_number(struct reader *r, const struct json *object, const char *key)
{
    const struct json *value = json_get(object, key);
    char flag_key[48];
    if (json_is_number(value)) return json_number(value);
    snprintf(flag_key, sizeof flag_key, "%s_flag", key);
    const char *flag = json_is_null(value) ? json_string(json_get(object, flag_key)) : NULL;
    if (flag && strcmp(flag, "nan") == 0) return NAN;
    if (flag && strcmp(flag, "inf") == 0) return INFINITY;
    if (flag && strcmp(flag, "-inf") == 0) return -INFINITY;
    reader_wrong(r, key, "a number", value);
    return NAN;
}

double reader_count(struct reader *r, const struct json *object, const char *key, double least, double most)
{
    const struct json *value = json_get(object, key);
    const double number = json_number(value);
    if (json_is_number(value) && number >= least && number <= most && number == floor(number)) return number;
    reader_wrong(r, key, "a whole number within reach", value);
    return least;
}

int reader_int(struct reader *r, const struct json *object, const char *key, int least)
{
    return (int)reader_count(r, object, key, least, INT_MAX);
}

const char *reader_text(struct reader *r, const struct json *object, const char *key)
{
    const char *text = json_string(json_get(object, key));
    if (text) return text;
    reader_wrong(r, key, "a text", json_get(object, key));
    return "";
}

static const struct json *member_of(struct reader *r, const struct json *object, const char *key,
                                    bool fits(const struct json *value), const char *expected)
{
    const struct json *value = json_get(object, key);
    if (!fits(value)) reader_wrong(r, key, expected, value);
    return value;
}

const struct json *reader_array(struct reader *r, const struct json *object, const char *key)
{
    return member_of(r, object, key, json_is_array, "an array");
}

const struct json *reader_object(struct reader *r, const struct json *object, const char *key)
{
    return member_of(r, object, key, json_is_object, "an object");
}

bool reader_bool(struct reader *r, const struct json *object, const char *key)
{
    return json_bool(member_of(r, object, key, json_is_bool, "true or false"));
}

// Null where the scales are of no calibration.
struct cell reader_cell(struct reader *r, const struct json *object)
{
    struct cell cell = {0};
    if (!json_is_null(json_get(object, "calib_data_num")))
        cell.calib_data_num = reader_int(r, object, "calib_data_num", 1);
    if (json_get(object, "order")) cell.order = reader_int(r, object, "order", 1);
    return cell;
}

enum interval_state reader_state(struct reader *r, const struct json *object, const char *key)
{
    const char *text = reader_text(r, object, key);
    for (int s = INTERVAL_OK; s <= INTERVAL_UNDEFINED; s++)
        if (strcmp(text, interval_state_name((enum interval_state)s)) == 0) return (enum interval_state)s;
    reader_wrong(r, key, "a state of an interval", json_get(object, key));
    return INTERVAL_UNDEFINED;
}

void *reader_take(struct reader *r, size_t count, size_t bytes)
{
    void *block = calloc(count + 1, bytes);
    if (!block && !r->err->status) error_memory(r->err, count * bytes, r->path);
    return block;
}
