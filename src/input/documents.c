// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/documents.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/signature.h"
#include "ssmsweep/input/lines.h"

struct documents {
    struct text_style style;
    struct lines lines;                    // of the stream, or of the folder's open file
    bool started;                          // the first line was read
    enum { LINES, OBJECTS, ARRAY } layout; // of JSON; known once the stream has begun
    size_t at;                             // OBJECTS, ARRAY: how much of lines.text is used up
    bool inside;                           // ARRAY: an element was read
    char *decoded;                         // text of the last JSON line
    char **paths;                          // of a folder, sorted; NULL for a stream
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
    static const struct {
        const char *ending;
        enum text_format format;
    } names[] = {{".npy", TEXT_NPY},    {".bin", TEXT_BIN},     {".txt", TEXT_TXT},
                 {".json", TEXT_JSONL}, {".jsonl", TEXT_JSONL}, {".ndjson", TEXT_JSONL}};
    const size_t bytes = bare_length(path);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (has_ending(path, bytes, names[i].ending)) return names[i].format;
    return TEXT_AUTO;
}

static size_t bom_bytes(const void *text, size_t bytes)
{
    return bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
}

// RS begins each text of a JSON text sequence.
static size_t skip_blanks(const char *text, size_t bytes, size_t at)
{
    while (at < bytes && memchr(" \t\r\n\x1e", text[at], 5))
        at++;
    return at;
}

// Objects, or an array of them.
static bool looks_like_json(const char *text, size_t bytes)
{
    size_t at = skip_blanks(text, bytes, bom_bytes(text, bytes));
    if (at < bytes && text[at] == '[') at = skip_blanks(text, bytes, at + 1);
    return at < bytes && text[at] == '{';
}

// Does a member `field` stand in what we see of the text?
static bool shows_member(const char *text, size_t bytes, const char *field)
{
    const size_t field_bytes = strlen(field);
    for (size_t i = 0; i + field_bytes + 2 < bytes; i++) {
        if (text[i] != '"' || memcmp(text + i + 1, field, field_bytes) != 0) continue;
        size_t at = skip_blanks(text, bytes, i + field_bytes + 2);
        if (text[i + field_bytes + 1] == '"' && at < bytes && text[at] == ':') return true;
    }
    return false;
}

// A name that says something else than the content does.
static enum status check_name(const struct text_style *style, enum text_format named, const char *path,
                              const char *text, size_t bytes, struct error *err)
{
    const size_t bare = bare_length(path);
    const char *field = style->field ? style->field : "text";
    if (has_ending(path, bare, ".csv") || has_ending(path, bare, ".tsv"))
        return error_set(
            err, STATUS_INPUT,
            "%s: expected texts, got a table by its name; write the texts as JSON lines (docs/texts.md "
            "shows how), or say --text-format txt",
            path);
    if (named == TEXT_TXT && looks_like_json(text, bytes) && shows_member(text, bytes, field))
        return error_set(
            err, STATUS_INPUT,
            "%s: expected plain text, as its name says, got JSON with the key '%.80s'; say --text-format "
            "jsonl, or txt to take it as it is",
            path, field);
    return STATUS_OK;
}

enum status text_format_find(struct text_style *style, struct source *source, const char *path,
                             struct error *err)
{
    const unsigned char *data;
    size_t bytes;
    enum text_format named = by_name(path);
    if (named == TEXT_BIN) source_take_plain(source);
    if (source_view(source, &data, &bytes, err) ||
        check_name(style, named, path, (const char *)data, bytes, err))
        return err->status;
    if (named != TEXT_AUTO)
        style->format = named;
    else if (bytes >= 6 && memcmp(data, "\x93NUMPY", 6) == 0)
        style->format = TEXT_NPY;
    else
        style->format = looks_like_json((const char *)data, bytes) ? TEXT_JSONL : TEXT_TXT;
    return STATUS_OK;
}

// ---- opening ----

static enum status check_source(const struct documents *d, struct error *err)
{
    const unsigned char *data;
    size_t bytes;
    if (source_view(d->lines.source, &data, &bytes, err)) return err->status;
    return signature_check(data, bytes, 0, source_name(d->lines.source),
                           d->style.format == TEXT_JSONL ? "JSON lines" : "text", err);
}

enum status documents_open(struct documents **documents, struct source *source,
                           const struct text_style *style, struct error *err)
{
    struct documents *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a text");
    made->style = *style;
    if (!made->style.field) made->style.field = "text";
    if (made->style.split == SPLIT_AUTO) made->style.split = SPLIT_BLANK;
    made->lines.source = source;
    if (source && check_source(made, err))
        documents_close(made);
    else
        *documents = made;
    return err->status;
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

static enum status take_member(struct documents *d, struct document *document, const char *text, size_t bytes,
                               struct error *err)
{
    free(d->decoded);
    d->decoded = NULL;
    if (json_read_member(&d->decoded, &document->bytes, text, bytes, d->style.field, document->where, err))
        return err->status;
    document->text = d->decoded;
    return STATUS_OK;
}

// ---- JSON that is no lines: one array of objects, or objects of several lines each ----

static enum status bad_json(const struct documents *d, const char *expected, struct error *err)
{
    return error_set(err, STATUS_INPUT,
                     "%s: line %ld: expected %s; check the file, or write one object a line",
                     source_name(d->lines.source), d->lines.number, expected);
}

// The next character that is not blank, -1 at the end; reads lines as needed.
static enum status peek(struct documents *d, int *c, struct error *err)
{
    struct lines *lines = &d->lines;
    size_t added = 1;
    while ((d->at = skip_blanks(lines->text, lines->used, d->at)) == lines->used) {
        d->at = lines->used = 0;
        if (lines_append(lines, &added, err)) return err->status;
        if (added == 0) break;
    }
    *c = added > 0 ? (unsigned char)lines->text[d->at] : -1;
    return STATUS_OK;
}

// What is used up makes room for more; how much that was.
static size_t drop_used(struct documents *d)
{
    const size_t used = d->at;
    memmove(d->lines.text, d->lines.text + used, d->lines.used - used);
    d->lines.used -= used;
    d->at = 0;
    return used;
}

// Where the object that begins at d->at ends.
static enum status find_end(struct documents *d, size_t *end, struct error *err)
{
    struct lines *lines = &d->lines;
    bool inside = false;
    int depth = 0;
    size_t added = 1;
    for (size_t i = d->at;; i++) {
        if (i >= lines->used) {
            i -= drop_used(d);
            if (lines_append(lines, &added, err)) return err->status;
        }
        if (added == 0 || i >= lines->used)
            return bad_json(d, "the end of a JSON object, got the end of the text", err);
        const char c = lines->text[i];
        if (inside && c == '\\')
            i++;
        else if (c == '"')
            inside = !inside;
        else if (!inside && (c == '{' || c == '['))
            depth++;
        else if (!inside && (c == '}' || c == ']') && --depth == 0) {
            *end = i + 1;
            return STATUS_OK;
        }
    }
}

// To the next object; *c is '{', or -1 behind the last.
static enum status find_object(struct documents *d, int *c, struct error *err)
{
    if (peek(d, c, err)) return err->status;
    if (d->layout == ARRAY && d->inside && *c == ',') {
        d->at++;
        if (peek(d, c, err)) return err->status;
    } else if (d->layout == ARRAY && *c == ']') {
        d->at++;
        if (peek(d, c, err)) return err->status;
        return *c < 0 ? STATUS_OK : bad_json(d, "nothing behind the array", err);
    } else if (d->layout == ARRAY && d->inside) {
        return bad_json(d, "',' or ']' behind an object of the array", err);
    }
    if (*c == '{' || (*c < 0 && d->layout == OBJECTS)) return STATUS_OK;
    return bad_json(d, *c < 0 ? "']' at the end of the array" : "a JSON object", err);
}

static enum status next_object(struct documents *d, struct document *document, bool *end, struct error *err)
{
    int c;
    size_t stop = 0;
    if (find_object(d, &c, err)) return err->status;
    *end = c < 0;
    if (*end) return STATUS_OK;
    snprintf(document->where, sizeof document->where, "%.350s: object at line %ld",
             source_name(d->lines.source), d->lines.number);
    if (find_end(d, &stop, err) || take_member(d, document, d->lines.text + d->at, stop - d->at, err))
        return err->status;
    d->at = stop;
    d->inside = true;
    return STATUS_OK;
}

// By the first line that is not blank: json.dumps writes an array as a whole, and with an indent a brace
// alone.
static void find_layout(struct documents *d, const char *line, size_t bytes, size_t at)
{
    d->started = true;
    d->layout = line[at] == '['                                                ? ARRAY
                : line[at] == '{' && skip_blanks(line, bytes, at + 1) == bytes ? OBJECTS
                                                                               : LINES;
    d->at = d->layout == ARRAY ? at + 1 : at;
}

static enum status next_json(struct documents *d, struct document *document, bool *end, struct error *err)
{
    const char *line;
    size_t bytes, at;
    if (d->layout != LINES) return next_object(d, document, end, err);
    do {
        if (lines_next(&d->lines, &line, &bytes, err)) return err->status;
        at = skip_blanks(line, bytes, d->lines.number == 1 ? bom_bytes(line, bytes) : 0);
    } while (bytes > 0 && at == bytes);
    *end = bytes == 0;
    if (*end) return STATUS_OK;
    if (!d->started) find_layout(d, line, bytes, at);
    if (d->layout != LINES) return next_object(d, document, end, err);
    name_line(d, d->lines.number, document);
    return take_member(d, document, line + at, bytes - at, err);
}

static enum status refuse_nul(const struct document *document, struct error *err)
{
    if (document->bytes == 0 || !memchr(document->text, 0, document->bytes)) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "%s: expected text, got a NUL byte; convert UTF-16 to UTF-8, or give another file",
                     document->where);
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
    return refuse_nul(document, err);
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
    return refuse_nul(document, err);
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
            if (check_source(d, err)) return err->status;
        }
        if (next_of_stream(d, document, end, err) || !*end) return err->status;
        close_file(d);
    }
    *end = true;
    return STATUS_OK;
}
