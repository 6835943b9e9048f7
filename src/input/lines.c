// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "ssmsweep/base/signature.h"

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

// ---- source ----

enum { PACKED_BYTES = 64 << 10, PLAIN_BYTES = 256 << 10, GZIP_WINDOW = 15 + 16 };
enum packing { PACKING_NONE, PACKING_GZIP, PACKING_ZSTD };

struct source {
    char *name;
    int descriptor;
    long long size; // of the file; -1 for what is no regular file
    enum packing packing;
    bool inside;         // a gzip member or Zstandard frame has begun and not ended
    bool follows;        // a gzip member was read: zeros may pad its end
    bool drained, ended; // nothing more to read, nothing more to view
    z_stream gzip;
    bool gzip_open;
    ZSTD_DStream *zstd;
    size_t packed_at, packed_end; // bytes read and not yet unpacked
    size_t plain_at, plain_end;   // bytes unpacked and not yet taken
    unsigned char packed[PACKED_BYTES];
    unsigned char plain[PLAIN_BYTES];
};

// ---- reading ----

// Reads until something is there to unpack, or the end.
static enum status fill(struct source *s, struct error *err)
{
    if (s->packed_at == s->packed_end) s->packed_at = s->packed_end = 0;
    while (!s->drained) {
        ssize_t n = read(s->descriptor, s->packed + s->packed_end, PACKED_BYTES - s->packed_end);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return error_errno(err, s->name, "cannot read");
        s->packed_end += (size_t)n;
        s->drained = n == 0;
        if (n > 0) break;
    }
    return STATUS_OK;
}

static enum status torn(const struct source *s, const char *kind, const char *why, struct error *err)
{
    return error_set(err, STATUS_INPUT, "%s: torn %s data: %s; copy or compress the file again", s->name,
                     kind, why);
}

// ---- unpacking: from s->packed to out, as far as both go ----

static size_t unpack_none(struct source *s, unsigned char *out, size_t room)
{
    size_t bytes = s->packed_end - s->packed_at;
    if (bytes > room) bytes = room;
    memcpy(out, s->packed + s->packed_at, bytes);
    s->packed_at += bytes;
    return bytes;
}

// Between members: pads of zeros are skipped, as gzip does.  False if no member begins here.
static bool begin_member(struct source *s)
{
    while (s->follows && s->packed_at < s->packed_end && s->packed[s->packed_at] == 0)
        s->packed_at++;
    if (s->packed_at == s->packed_end) return false;
    inflateReset(&s->gzip);
    s->inside = s->follows = true;
    return true;
}

static enum status unpack_gzip(struct source *s, unsigned char *out, size_t room, size_t *got,
                               struct error *err)
{
    *got = 0;
    if (!s->inside && !begin_member(s)) return STATUS_OK;
    s->gzip.next_in = s->packed + s->packed_at;
    s->gzip.avail_in = (uInt)(s->packed_end - s->packed_at);
    s->gzip.next_out = out;
    s->gzip.avail_out = (uInt)room;
    int result = inflate(&s->gzip, Z_NO_FLUSH);
    s->packed_at = s->packed_end - s->gzip.avail_in;
    *got = room - s->gzip.avail_out;
    if (result == Z_STREAM_END) s->inside = false;
    if (result == Z_MEM_ERROR) return error_memory(err, 0, "gzip");
    if (result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR) return STATUS_OK;
    return torn(s, "gzip", s->gzip.msg ? s->gzip.msg : "unknown coding", err);
}

static enum status unpack_zstd(struct source *s, unsigned char *out, size_t room, size_t *got,
                               struct error *err)
{
    *got = 0;
    if (!s->inside && s->packed_at == s->packed_end) return STATUS_OK;
    ZSTD_inBuffer in = {s->packed, s->packed_end, s->packed_at};
    ZSTD_outBuffer to = {out, room, 0};
    size_t result = ZSTD_decompressStream(s->zstd, &to, &in);
    s->packed_at = in.pos;
    *got = to.pos;
    if (ZSTD_isError(result)) return torn(s, "Zstandard", ZSTD_getErrorName(result), err);
    s->inside = result != 0;
    return STATUS_OK;
}

// One step; sets s->ended when nothing is left.
static enum status unpack(struct source *s, struct error *err)
{
    unsigned char *out = s->plain + s->plain_end;
    size_t room = PLAIN_BYTES - s->plain_end, got = 0;
    if (s->packed_at == s->packed_end && fill(s, err)) return err->status;
    bool last = s->drained && s->packed_at == s->packed_end;
    if (s->packing == PACKING_NONE)
        got = unpack_none(s, out, room);
    else if (s->packing == PACKING_GZIP ? unpack_gzip(s, out, room, &got, err)
                                        : unpack_zstd(s, out, room, &got, err))
        return err->status;
    s->plain_end += got;
    if (!last || got > 0) return STATUS_OK;
    if (s->inside)
        return torn(s, s->packing == PACKING_GZIP ? "gzip" : "Zstandard", "it ends in the middle", err);
    s->ended = true;
    return STATUS_OK;
}

// ---- opening ----

static bool ends_with(const char *text, const char *end)
{
    size_t bytes = strlen(text), end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(text + bytes - end_bytes, end) == 0;
}

// None of these can begin UTF-8 text (a skippable frame could: "P*M" and a control character).
static enum packing find_packing(const unsigned char *d, size_t bytes)
{
    if (bytes >= 2 && d[0] == 0x1f && d[1] == 0x8b) return PACKING_GZIP;
    if (bytes >= 4 && memcmp(d, "\x28\xb5\x2f\xfd", 4) == 0) return PACKING_ZSTD;
    if (bytes >= 4 && (d[0] & 0xf0) == 0x50 && memcmp(d + 1, "\x2a\x4d\x18", 3) == 0) return PACKING_ZSTD;
    return PACKING_NONE;
}

// NULL: the name says nothing.
static const char *packing_of_name(const struct source *s)
{
    return ends_with(s->name, ".gz") ? "gzip" : ends_with(s->name, ".zst") ? "Zstandard" : NULL;
}

static enum status begin(struct source *s, struct error *err)
{
    while (s->packed_end < SIGNATURE_BYTES && !s->drained)
        if (fill(s, err)) return err->status;
    s->packing = find_packing(s->packed, s->packed_end);
    const char *kind = packing_of_name(s);
    if (kind && s->packing == PACKING_NONE &&
        signature_check(s->packed, s->packed_end, 0, s->name, kind, err))
        return err->status;
    if (kind && s->packing == PACKING_NONE)
        return error_set(err, STATUS_INPUT,
                         "%s: expected %s data, as its name says, got other bytes; rename it or compress it "
                         "again",
                         s->name, kind);
    if (s->packing == PACKING_GZIP) s->gzip_open = inflateInit2(&s->gzip, GZIP_WINDOW) == Z_OK;
    if (s->packing == PACKING_ZSTD) s->zstd = ZSTD_createDStream();
    if ((s->packing == PACKING_GZIP && !s->gzip_open) || (s->packing == PACKING_ZSTD && !s->zstd))
        return error_memory(err, 0, "decompression");
    return STATUS_OK;
}

static enum status open_descriptor(struct source *s, const char *path, struct error *err)
{
    struct stat info;
    if (strcmp(path, "-") == 0) {
        s->descriptor = STDIN_FILENO;
        s->size = -1;
        return STATUS_OK;
    }
    s->descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (s->descriptor < 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, STATUS_INPUT, "%s: no such file; check the path", path);
    if (s->descriptor < 0) return error_errno(err, path, "cannot open for reading");
    if (fstat(s->descriptor, &info) != 0) return error_errno(err, path, "cannot stat");
    if (S_ISDIR(info.st_mode)) return error_set(err, STATUS_INPUT, "%s: expected a file, got a folder", path);
    s->size = S_ISREG(info.st_mode) ? (long long)info.st_size : -1;
    return STATUS_OK;
}

enum status source_open(struct source **source, const char *path, struct error *err)
{
    struct source *made = calloc(1, sizeof *made);
    if (!made) return error_memory(err, sizeof *made, "a text stream");
    made->descriptor = -1;
    made->name = strdup(strcmp(path, "-") == 0 ? "standard input" : path);
    if (!made->name) error_memory(err, strlen(path) + 1, "a path");
    if (err->status || open_descriptor(made, path, err) || begin(made, err))
        source_close(made);
    else
        *source = made;
    return err->status;
}

void source_close(struct source *source)
{
    if (!source) return;
    if (source->gzip_open) inflateEnd(&source->gzip);
    ZSTD_freeDStream(source->zstd);
    if (source->descriptor > STDIN_FILENO) close(source->descriptor);
    free(source->name);
    free(source);
}

// ---- use ----

const char *source_name(const struct source *source)
{
    return source->name;
}

void source_take_plain(struct source *source)
{
    if (!packing_of_name(source)) source->packing = PACKING_NONE;
}

long long source_size(const struct source *source)
{
    return source->packing == PACKING_NONE ? source->size : -1;
}

enum status source_view(struct source *source, const unsigned char **data, size_t *bytes, struct error *err)
{
    struct source *s = source;
    while (!s->ended && s->plain_end - s->plain_at < SOURCE_VIEW_BYTES) {
        if (s->plain_at > 0) { // few bytes are left: make room behind them
            memmove(s->plain, s->plain + s->plain_at, s->plain_end - s->plain_at);
            s->plain_end -= s->plain_at;
            s->plain_at = 0;
        }
        if (unpack(s, err)) return err->status;
    }
    *data = s->plain + s->plain_at;
    *bytes = s->plain_end - s->plain_at;
    return STATUS_OK;
}

void source_take(struct source *source, size_t bytes)
{
    source->plain_at += bytes;
}

enum status source_read(struct source *source, void *out, size_t bytes, struct error *err)
{
    const unsigned char *data;
    unsigned char *to = out;
    for (size_t n = 0; bytes > 0; bytes -= n, to += n) {
        if (source_view(source, &data, &n, err)) return err->status;
        if (n == 0)
            return error_set(err, STATUS_INPUT, "%s: torn data: %zu bytes more expected; copy it again",
                             source->name, bytes);
        if (n > bytes) n = bytes;
        memcpy(to, data, n);
        source_take(source, n);
    }
    return STATUS_OK;
}
