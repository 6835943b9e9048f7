// SPDX-License-Identifier: Apache-2.0
// From the text of an option to its member of the job.
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ssmsweep/input/option.h"

#include "ssmsweep/base/json.h"
#include "ssmsweep/base/number.h"

static enum status bad_number(const struct option *option, const char *text, const char *where,
                              struct error *err)
{
    const char *kind = option->kind == OPTION_DOUBLE ? "a number" : "whole numbers";
    if (option->kind == OPTION_INT) kind = "a whole number";
    if (option->kind == OPTION_BYTES) kind = "bytes (500M, 5G)";
    const bool words = option->kind == OPTION_DOUBLE && option->word;
    return error_set(
        err, STATUS_USAGE, "%s: expected %s%s%s %s %.10g %s %.10g, got '%.64s'; see ssmsweep --help", where,
        words ? option->word : "", words ? ", or " : "", kind, option->above_least ? "above" : "from",
        option->least, option->above_least ? "up to" : "to", option->most, text);
}

// Reads digits (with a sign) up to *end.
static bool parse_int(const struct option *option, const char *text, char **end, int *number)
{
    errno = 0;
    long value = strtol(text, end, 10);
    bool digits = *end != text && !isspace((unsigned char)*text);
    if (!digits || errno || (double)value < option->least || (double)value > option->most) return false;
    *number = (int)value;
    return true;
}

static enum status store_int(const struct option *option, const char *text, const char *where, int *out,
                             struct error *err)
{
    char *end;
    int number;
    if (!parse_int(option, text, &end, &number) || *end) return bad_number(option, text, where, err);
    *out = number;
    return STATUS_OK;
}

// Bytes with a unit; numbers of job files come with the digits alone.
static enum status store_bytes(const struct option *option, const char *text, const char *where,
                               long long *out, struct error *err)
{
    static const char units[] = "KMGT";
    char *end;
    errno = 0;
    double bytes = (double)strtoll(text, &end, 10);
    bool good = !errno && end != text && !isspace((unsigned char)*text);
    const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
    for (const char *u = units; unit && u <= unit; u++)
        bytes *= 1000;
    if (!good || (unit ? end[1] : *end) || bytes < option->least || bytes > option->most)
        return bad_number(option, text, where, err);
    *out = (long long)bytes;
    return STATUS_OK;
}

// The position of the text among words that are divided by '|'; -1: it is none of them.
static int find_word(const char *words, const char *text)
{
    for (int i = 0;; i++) {
        const size_t length = strcspn(words, "|");
        if (strlen(text) == length && strncasecmp(words, text, length) == 0) return i;
        if (!words[length]) return -1;
        words += length + 1;
    }
}

static enum status store_choice(const struct option *option, const char *text, const char *where, int *out,
                                struct error *err)
{
    const int found = find_word(option->word, text);
    if (found < 0)
        return error_set(err, STATUS_USAGE, "%s: expected one of %s, got '%.64s'; see ssmsweep --help", where,
                         option->word, text);
    *out = found;
    return STATUS_OK;
}

static enum status store_double(const struct option *option, const char *text, const char *where, double *out,
                                struct error *err)
{
    char *end;
    const int found = option->word ? find_word(option->word, text) : -1;
    if (found >= 0) {
        *out = -1 - found;
        return STATUS_OK;
    }
    double number = number_read(text, &end);
    bool decimal =
        text[0] && strspn(text, "+-.0123456789eE") == strlen(text); // no hexadecimal, no "nan", no "inf"
    if (!decimal || *end || !(number >= option->least && number <= option->most) ||
        (option->above_least && number <= option->least))
        return bad_number(option, text, where, err);
    *out = number;
    return STATUS_OK;
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return x < y ? -1 : x > y;
}

static enum status store_cells(const struct option *option, const char *text, const char *where,
                               struct job *job, struct error *err)
{
    int numbers[JOB_MAX_CELLS], n = 0, kept = 0;
    char *at = (char *)(size_t)text;
    for (;; at++) {
        if (n == JOB_MAX_CELLS)
            return error_set(err, STATUS_USAGE, "%s: expected at most %d numbers; divide the job", where,
                             JOB_MAX_CELLS);
        if (!parse_int(option, at, &at, &numbers[n++]) || (*at && *at != ','))
            return bad_number(option, text, where, err);
        if (!*at) break;
    }
    qsort(numbers, (size_t)n, sizeof numbers[0], compare_ints);
    for (int i = 0; i < n; i++)
        if (i == 0 || numbers[i] != numbers[i - 1]) job->calib_data_num[kept++] = numbers[i];
    job->n_cells = kept;
    return STATUS_OK;
}

static enum status store_text(const struct option *option, const char *text, const char *where,
                              const char **out, struct error *err)
{
    if (text[option->kind == OPTION_LIST ? strspn(text, ", ") : 0] == '\0')
        return error_set(err, STATUS_USAGE, "%s: expected a text, got an empty one; see ssmsweep --help",
                         where);
    // It goes into JSON, and must come back.
    const size_t bytes = strlen(text), valid = json_utf8_bytes(text, bytes);
    if (valid < bytes)
        return error_set(
            err, STATUS_USAGE,
            "%s: expected UTF-8, got 0x%02x at byte %zu; rename it, or name it by a symbolic link", where,
            (unsigned)(unsigned char)text[valid], valid);
    *out = text;
    return STATUS_OK;
}

enum status option_store(const struct option *option, const char *text, const char *where, struct job *job,
                         struct error *err)
{
    void *out = (char *)job + option->offset;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)out = strcmp(text, "true") == 0;
        break;
    case OPTION_INT:
        return store_int(option, text, where, out, err);
    case OPTION_DOUBLE:
        return store_double(option, text, where, out, err);
    case OPTION_BYTES:
        return store_bytes(option, text, where, out, err);
    case OPTION_CHOICE:
        return store_choice(option, text, where, out, err);
    case OPTION_TEXT:
    case OPTION_LIST:
    case OPTION_LINES:
    case OPTION_FILE:
        return store_text(option, text, where, out, err);
    case OPTION_INT_LIST:
        return store_cells(option, text, where, job, err);
    case OPTION_WORD:
        *(const char **)out = option->word;
        break;
    case OPTION_LEVEL:
        *(enum log_level *)out = option->level;
        break;
    case OPTION_COMMAND:
        job->command = option->command;
        break;
    }
    return STATUS_OK;
}
