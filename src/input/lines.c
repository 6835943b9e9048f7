// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/lines.h"

#include <stdlib.h>
#include <string.h>

static enum status append(struct lines *lines, const void *data, size_t bytes, struct error *err)
{
    if (bytes > LINES_MAX_BYTES - lines->used)
        return error_set(err, STATUS_INPUT,
                         "%s: line %ld: expected lines and documents of at most %d MiB; divide the text",
                         source_name(lines->source), lines->number, LINES_MAX_BYTES >> 20);
    size_t wanted = lines->used + bytes;
    if (wanted > lines->room) {
        size_t room = wanted < LINES_MAX_BYTES / 2 ? 2 * wanted : LINES_MAX_BYTES;
        char *grown = realloc(lines->text, room);
        if (!grown) return error_memory(err, room, "a line of text");
        lines->text = grown;
        lines->room = room;
    }
    memcpy(lines->text + lines->used, data, bytes);
    lines->used = wanted;
    return STATUS_OK;
}

enum status lines_append(struct lines *lines, size_t *added, struct error *err)
{
    size_t before = lines->used, bytes = 0;
    const unsigned char *data, *newline = NULL;
    lines->number++;
    while (!newline) {
        if (source_view(lines->source, &data, &bytes, err)) return err->status;
        if (bytes == 0) break;
        newline = memchr(data, '\n', bytes);
        if (newline) bytes = (size_t)(newline - data) + 1;
        if (append(lines, data, bytes, err)) return err->status;
        source_take(lines->source, bytes);
    }
    *added = lines->used - before;
    if (*added == 0) lines->number--;
    return STATUS_OK;
}

enum status lines_next(struct lines *lines, const char **line, size_t *bytes, struct error *err)
{
    lines->used = 0;
    if (lines_append(lines, bytes, err)) return err->status;
    *line = lines->text;
    return STATUS_OK;
}

void lines_clear(struct lines *lines)
{
    free(lines->text);
    *lines = (struct lines){0};
}
