// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/documents.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/input/lines.h"

struct documents {
    struct text_style style;
    struct lines lines; // of the stream, or of the folder's open file
    bool started;       // the first line was read
    char *decoded;      // text of the last JSON line
    char **paths;       // of a folder, sorted; NULL for a stream
    size_t n_paths, next_path;
    struct source *file; // of the folder
};

// ---- which format ----

static bool has_ending(const char *name, size_t bytes, const char *ending)
{
    size_t n = strlen(ending);
    return bytes > n && memcmp(name + bytes - n, ending, n) == 0;
}

// Bytes of the name without .gz or .zst.
static size_t bare_length(const char *name)
{
    size_t bytes = strlen(name);
    if (has_ending(name, bytes, ".gz")) return bytes - 3;
    return has_ending(name, bytes, ".zst") ? bytes - 4 : bytes;
}

static enum text_format by_name(const char *path)
{
    size_t bytes = bare_length(path);
    if (has_ending(path, bytes, ".npy")) return TEXT_NPY;
    if (has_ending(path, bytes, ".txt")) return TEXT_TXT;
    if (has_ending(path, bytes, ".jsonl") || has_ending(path, bytes, ".json")) return TEXT_JSONL;
    return TEXT_AUTO;
}

enum status text_format_find(enum text_format *format, struct source *source, const char *path,
                             struct error *err)
{
    const unsigned char *data;
    size_t bytes;
    enum text_format named = by_name(path);
    if (named != TEXT_AUTO) {
        *format = named;
        return STATUS_OK;
    }
    if (source_view(source, &data, &bytes, err)) return err->status;
    size_t at = file_mark_bytes(data, bytes);
    while (at < bytes && strchr(" \t\r\n", data[at]) && data[at])
        at++;
    if (bytes >= 6 && memcmp(data, "\x93NUMPY", 6) == 0)
        *format = TEXT_NPY;
    else
        *format = at < bytes && data[at] == '{' ? TEXT_JSONL : TEXT_TXT;
    return STATUS_OK;
}

// ---- opening ----

enum status documents_open(struct documents **documents, struct source *source,
                           const struct text_style *style, struct error *err)
{
    struct documents *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a text");
    made->style = *style;
    if (!made->style.field) made->style.field = "text";
    if (made->style.split == SPLIT_AUTO) made->style.split = SPLIT_BLANK;
    made->lines.source = source;
    *documents = made;
    return STATUS_OK;
}

static int keep_text(const struct dirent *entry)
{
    const char *name = entry->d_name;
    return name[0] != '.' && has_ending(name, bare_length(name), ".txt");
}

// By bytes: alphasort() would follow the locale.
static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static enum status list_folder(struct documents *d, const char *path, struct error *err)
{
    struct dirent **entries = NULL;
    int n = scandir(path, &entries, keep_text, by_bytes);
    if (n < 0) return error_errno(err, path, "cannot list the folder");
    d->paths = calloc((size_t)n + 1, sizeof *d->paths);
    for (int i = 0; i < n; i++) {
        if (d->paths) d->paths[i] = file_join(path, entries[i]->d_name);
        if (!d->paths || !d->paths[i]) error_memory(err, strlen(path) + 256, "a path");
        free(entries[i]);
    }
    free(entries);
    d->n_paths = (size_t)n;
    if (n == 0)
        return error_set(
            err, STATUS_INPUT,
            "%s: expected a file of text, or a folder with .txt files in it, got a folder without "
            "any; check the path",
            path);
    return err->status;
}

enum status documents_open_folder(struct documents **documents, const char *path,
                                  const struct text_style *style, struct error *err)
{
    struct text_style files = *style;
    struct documents *made = NULL;
    if (files.split == SPLIT_AUTO) files.split = SPLIT_FILE;
    if (documents_open(&made, NULL, &files, err)) return err->status;
    if (list_folder(made, path, err))
        documents_close(made);
    else
        *documents = made;
    return err->status;
}

static void close_file(struct documents *d)
{
    source_close(d->file);
    d->file = NULL;
    d->lines.source = NULL;
}

void documents_close(struct documents *documents)
{
    if (!documents) return;
    close_file(documents);
    lines_clear(&documents->lines);
    for (size_t i = 0; documents->paths && i < documents->n_paths; i++)
        free(documents->paths[i]);
    free(documents->paths);
    free(documents->decoded);
    free(documents);
}

// ---- reading ----

static bool is_blank(const char *line, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (!memchr(" \t\r\n", line[i], 4)) return false;
    return true;
}

static void name_line(const struct documents *d, long number, struct document *document)
{
    snprintf(document->where, sizeof document->where, "%.350s: line %ld", source_name(d->lines.source),
             number);
}

static enum status next_json(struct documents *d, struct document *document, bool *end, struct error *err)
{
    const char *line;
    size_t bytes, skip;
    do {
        if (lines_next(&d->lines, &line, &bytes, err)) return err->status;
        skip = d->lines.number == 1 ? file_mark_bytes(line, bytes) : 0;
    } while (bytes > 0 && is_blank(line + skip, bytes - skip));
    *end = bytes == 0;
    if (*end) return STATUS_OK;
    name_line(d, d->lines.number, document);
    free(d->decoded);
    d->decoded = NULL;
    if (json_read_member(&d->decoded, &document->bytes, line + skip, bytes - skip, d->style.field,
                         document->where, err))
        return err->status;
    document->text = d->decoded;
    return STATUS_OK;
}

// The lines up to a blank one or the end, without the last line's end.
static enum status next_paragraph(struct documents *d, struct document *document, bool *end,
                                  struct error *err)
{
    struct lines *lines = &d->lines;
    size_t added = 0, used = 0;
    long first = 0;
    for (lines->used = 0;; used = lines->used) {
        if (lines_append(lines, &added, err)) return err->status;
        if (!d->started) {
            size_t skip = file_mark_bytes(lines->text, added);
            if (skip > 0) memmove(lines->text, lines->text + skip, added - skip);
            lines->used -= skip;
        }
        d->started = true;
        if (added > 0 && !is_blank(lines->text + used, lines->used - used)) {
            if (!first) first = lines->number;
            continue;
        }
        lines->used = used;
        if (used > 0 || added == 0) break;
    }
    *end = used == 0;
    if (used > 0 && lines->text[used - 1] == '\n') used--;
    if (used > 0 && lines->text[used - 1] == '\r') used--;
    document->text = lines->text;
    document->bytes = used;
    name_line(d, first, document);
    return STATUS_OK;
}

// All of a stream as it is, but for a byte order mark; it ends after one, even if that is empty.
static enum status next_whole(struct documents *d, struct document *document, bool *end, struct error *err)
{
    size_t added = 1;
    *end = d->started;
    if (*end) return STATUS_OK;
    d->started = true;
    for (d->lines.used = 0; added > 0;)
        if (lines_append(&d->lines, &added, err)) return err->status;
    size_t skip = file_mark_bytes(d->lines.text, d->lines.used);
    document->text = d->lines.text ? d->lines.text + skip : "";
    document->bytes = d->lines.used - skip;
    name_line(d, 1, document);
    return STATUS_OK;
}

static enum status next_of_stream(struct documents *d, struct document *document, bool *end,
                                  struct error *err)
{
    if (d->style.format == TEXT_JSONL) return next_json(d, document, end, err);
    if (d->style.split == SPLIT_FILE) return next_whole(d, document, end, err);
    return next_paragraph(d, document, end, err);
}

enum status documents_next(struct documents *documents, struct document *document, bool *end,
                           struct error *err)
{
    struct documents *d = documents;
    *document = (struct document){.text = ""};
    *end = false;
    if (!d->paths) return next_of_stream(d, document, end, err);
    while (d->file || d->next_path < d->n_paths) {
        if (!d->file) {
            if (source_open(&d->file, d->paths[d->next_path++], err)) return err->status;
            d->lines.source = d->file;
            d->lines.number = 0;
            d->started = false;
        }
        if (next_of_stream(d, document, end, err) || !*end) return err->status;
        close_file(d);
    }
    *end = true;
    return STATUS_OK;
}
