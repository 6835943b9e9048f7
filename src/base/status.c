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
