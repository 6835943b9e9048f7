// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum status error_set(struct error *err, enum status status, const char *format, ...)
{
    if (err->status != STATUS_OK) return err->status;
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    for (unsigned char *c = (unsigned char *)err->text; *c; c++)
        if (*c < 0x20 || *c == 0x7f) *c = '?';
    err->status = status;
    return status;
}

enum status error_errno(struct error *err, const char *where, const char *what)
{
    return error_set(err, STATUS_IO, "%s: %s: %s", where, what, strerror(errno));
}

enum status error_memory(struct error *err, unsigned long long bytes, const char *what)
{
    return error_set(err, STATUS_IO, ERROR_MEMORY ": cannot get %llu bytes for %s", bytes, what);
}

// ---- log ----

// One write per line, so that lines of several ranks do not mix.
static void put_line(const char *prefix, const char *format, va_list args)
{
    char line[1400];
    int n = snprintf(line, sizeof line, "%s", prefix);
    int more = vsnprintf(line + n, sizeof line - (size_t)n - 1, format, args);
    if (more < 0) return;
    n = n + more < (int)sizeof line - 1 ? n + more : (int)sizeof line - 2;
    line[n] = '\n';
    fwrite(line, 1, (size_t)n + 1, stderr);
}

void log_job(const struct log *log, enum log_level level, const char *format, ...)
{
    if (log->rank != 0 || (level > log->level && level != LOG_ERROR)) return;
    va_list args;
    va_start(args, format);
    put_line("ssmsweep: ", format, args);
    va_end(args);
}

void log_rank(const struct log *log, enum log_level level, const char *format, ...)
{
    if (level > log->level && level != LOG_ERROR) return;
    char prefix[40] = "ssmsweep: ";
    if (log->ranks > 1) snprintf(prefix, sizeof prefix, "ssmsweep: [rank %d] ", log->rank);
    va_list args;
    va_start(args, format);
    put_line(prefix, format, args);
    va_end(args);
}

// ---- notes ----

void notes_add(struct notes *notes, const char *format, ...)
{
    if (notes->count == NOTES_MOST) return;
    char *line = notes->lines[notes->count];
    va_list args;
    va_start(args, format);
    vsnprintf(line, NOTE_CHARS, format, args);
    va_end(args);
    for (int i = 0; i < notes->count; i++)
        if (strcmp(notes->lines[i], line) == 0) return;
    notes->count++;
}

void notes_log(const struct log *log, const struct notes *notes)
{
    for (int i = 0; i < notes->count; i++)
        log_job(log, LOG_NORMAL, "%s", notes->lines[i]);
}
