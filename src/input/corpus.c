// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/corpus.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/npy.h"
#include "ssmsweep/input/tokenizer.h"

// Samples while they are read: one after the other in `ids`, as their number may be far more than there are.
struct gathered {
    const struct corpus_request *request;
    int32_t *ids;
    size_t ids_count, ids_room;
    int32_t *length;
    size_t samples, samples_room;
    int32_t longest;
    long skipped_empty;
};

static enum status grow(int32_t **array, size_t *room, size_t wanted, struct error *err)
{
    if (wanted <= *room) return STATUS_OK;
    size_t grown_room = 2 * wanted;
    int32_t *grown = realloc(*array, grown_room * sizeof *grown);
    if (!grown) return error_memory(err, grown_room * sizeof *grown, "calibration samples");
    *array = grown;
    *room = grown_room;
    return STATUS_OK;
}

// Takes one sample, or counts it if it is empty.
static enum status add_sample(struct gathered *g, const int32_t *ids, size_t count, struct error *err)
{
    const struct corpus_request *r = g->request;
    if (count == 0) {
        g->skipped_empty++;
        return STATUS_OK;
    }
    if (count > (size_t)r->seqlen) count = (size_t)r->seqlen;
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= r->vocab_size)
            return error_set(
                err, STATUS_INPUT,
                "%s: sample %zu, position %zu: expected an id in 0 .. %d (vocab_size %d), got %d; use the "
                "tokenizer of this model",
                r->path, g->samples, i, r->vocab_size - 1, r->vocab_size, (int)ids[i]);
    if (grow(&g->ids, &g->ids_room, g->ids_count + count, err)) return err->status;
    if (grow(&g->length, &g->samples_room, g->samples + 1, err)) return err->status;
    memcpy(g->ids + g->ids_count, ids, count * sizeof *ids);
    g->ids_count += count;
    g->length[g->samples++] = (int32_t)count;
    if ((int32_t)count > g->longest) g->longest = (int32_t)count;
    return STATUS_OK;
}

static bool is_complete(const struct gathered *g)
{
    return g->samples >= (size_t)g->request->samples;
}

// ---- JSONL ----

static enum status add_line(struct gathered *g, const struct tokenizer *tokenizer, const char *line,
                            size_t bytes, long number, struct error *err)
{
    struct json *root = NULL;
    int32_t *ids = NULL;
    size_t count = 0, where_room = strlen(g->request->path) + 40;
    if (strspn(line, " \t\r\n") == bytes) return STATUS_OK;
    char *where = malloc(where_room);
    if (!where) return error_memory(err, where_room, "a path");
    snprintf(where, where_room, "%s: line %ld", g->request->path, number);
    if (json_parse(&root, line, bytes, where, err)) goto free_where;
    const char *text = json_string(json_get(root, "text"));
    if (!json_is_object(root))
        error_set(err, STATUS_INPUT, "%s: expected a JSON object with the key 'text'", where);
    else if (!text)
        error_set(err, STATUS_INPUT, "%s: key 'text': expected a string, got %s", where,
                  json_get(root, "text") ? "another type" : "no such key");
    else if (!tokenizer_encode(tokenizer, text, strlen(text), g->request->seqlen, &ids, &count, err))
        add_sample(g, ids, count, err);
    free(ids);
    json_close(root);
free_where:
    free(where);
    return err->status;
}

static enum status read_lines(struct gathered *g, const struct tokenizer *tokenizer, FILE *file,
                              struct error *err)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t bytes = 0;
    errno = 0;
    for (long number = 1; !is_complete(g) && (bytes = getline(&line, &room, file)) >= 0; number++)
        if (add_line(g, tokenizer, line, (size_t)bytes, number, err)) break;
    if (!err->status && bytes < 0 && !feof(file)) error_errno(err, g->request->path, "cannot read");
    free(line);
    return err->status;
}

static enum status hash_file(const char *path, char hex[HASH_HEX_CHARS + 1], struct error *err)
{
    struct file_map map = {0};
    unsigned char digest[HASH_BYTES];
    if (file_map(&map, path, err)) return err->status;
    struct hash *hash = hash_open();
    if (hash) {
        if (map.size_bytes > 0) hash_update(hash, map.data, map.size_bytes);
        hash_finish(hash, digest);
        hash_hex(digest, hex);
    } else {
        error_memory(err, 1024, "a digest");
    }
    hash_close(hash);
    file_unmap(&map);
    return err->status;
}

static enum status gather_jsonl(struct gathered *g, char tokenizer_hex[HASH_HEX_CHARS + 1], struct error *err)
{
    const struct corpus_request *r = g->request;
    struct tokenizer *tokenizer = NULL;
    // A folder can be opened as a stream, and would fail later with a stranger message.
    if (!file_exists(r->path) || file_is_directory(r->path))
        return error_set(err, STATUS_INPUT,
                         "%s: expected a .jsonl or .npy file of calibration text; check the path", r->path);
    if (hash_file(r->tokenizer_path, tokenizer_hex, err)) return err->status;
    if (tokenizer_open(&tokenizer, r->tokenizer_path, err)) return err->status;
    FILE *file = fopen(r->path, "re");
    if (file) {
        read_lines(g, tokenizer, file, err);
        fclose(file);
    } else {
        error_errno(err, r->path, "cannot open for reading");
    }
    tokenizer_close(tokenizer);
    return err->status;
}

// ---- .npy ----

// The ids of a row up to its padding, at most seqlen of them.  *row has room for them.
static enum status read_row(const struct gathered *g, const struct npy *npy, size_t row, int32_t *ids,
                            size_t *count, struct error *err)
{
    size_t width = npy->shape[1], n = 0, limit = (size_t)g->request->seqlen;
    bool ended = false;
    for (size_t i = 0; i < width; i++) {
        int64_t id = npy_integer(npy, row * width + i);
        if (id == -1) {
            ended = true;
            continue;
        }
        if (ended || id < 0 || id >= g->request->vocab_size)
            return error_set(
                err, STATUS_INPUT, "%s: sample %zu, position %zu: expected %s, got %lld (vocab_size %d)",
                g->request->path, row, i,
                ended ? "only padding of -1 after the first -1" : "an id below vocab_size, or -1 as padding",
                (long long)id, g->request->vocab_size);
        if (n < limit) ids[n++] = (int32_t)id;
    }
    *count = n;
    return STATUS_OK;
}

static enum status gather_rows(struct gathered *g, const struct npy *npy, struct error *err)
{
    bool integers = npy->dtype == NPY_INT32 || npy->dtype == NPY_INT64;
    if (!integers || npy->dims != 2)
        return error_set(err, STATUS_INPUT,
                         "%s: expected int32 ids of shape [samples, L], got %s in %d dimensions",
                         g->request->path, npy_dtype_name(npy->dtype), npy->dims);
    size_t width = npy->shape[1] < (size_t)g->request->seqlen ? npy->shape[1] : (size_t)g->request->seqlen;
    int32_t *ids = malloc((width + 1) * sizeof *ids);
    if (!ids) return error_memory(err, (width + 1) * sizeof *ids, "a sample");
    for (size_t row = 0; row < npy->shape[0] && !is_complete(g) && width > 0; row++) {
        size_t count = 0;
        if (read_row(g, npy, row, ids, &count, err) || add_sample(g, ids, count, err)) break;
    }
    free(ids);
    return err->status;
}

static enum status gather_npy(struct gathered *g, struct error *err)
{
    struct npy npy = {0};
    if (npy_map(&npy, g->request->path, err)) return err->status;
    gather_rows(g, &npy, err);
    npy_unmap(&npy);
    return err->status;
}

// ---- the corpus ----

// SHA-256 of (length, ids) of every sample.  Little-endian like the machines we run on; npy.c asserts it.
static enum status hash_samples(const struct corpus *corpus, char hex[HASH_HEX_CHARS + 1], struct error *err)
{
    unsigned char digest[HASH_BYTES];
    struct hash *hash = hash_open();
    if (!hash) return error_memory(err, 1024, "a digest");
    for (int s = 0; s < corpus->samples; s++) {
        const int32_t *ids = corpus->ids + (size_t)s * (size_t)corpus->max_tokens;
        hash_update(hash, &corpus->length[s], sizeof corpus->length[s]);
        hash_update(hash, ids, (size_t)corpus->length[s] * sizeof *ids);
    }
    hash_finish(hash, digest);
    hash_hex(digest, hex);
    hash_close(hash);
    return STATUS_OK;
}

// From samples one after the other to the padded matrix; takes over g->length.
static enum status lay_out(struct gathered *g, struct corpus *corpus, struct error *err)
{
    size_t width = (size_t)g->longest, taken = 0;
    int32_t *ids =
        width <= SIZE_MAX / sizeof *ids / g->samples ? malloc(g->samples * width * sizeof *ids) : NULL;
    if (!ids)
        return error_memory(err, (unsigned long long)g->samples * width * sizeof *ids, "calibration samples");
    for (size_t s = 0; s < g->samples; s++) {
        size_t count = (size_t)g->length[s];
        memcpy(ids + s * width, g->ids + taken, count * sizeof *ids);
        for (size_t i = count; i < width; i++)
            ids[s * width + i] = -1;
        taken += count;
    }
    corpus->ids = ids;
    corpus->length = g->length;
    g->length = NULL;
    corpus->samples = (int)g->samples;
    corpus->max_tokens = g->longest;
    corpus->skipped_empty = g->skipped_empty;
    return hash_samples(corpus, corpus->ids_hex, err);
}

static enum status check_request(const struct corpus_request *r, struct error *err)
{
    if (r->samples < 1)
        return error_set(err, STATUS_USAGE, "calib_data_num: expected 1 or more samples, got %d", r->samples);
    if (r->seqlen < 1)
        return error_set(err, STATUS_USAGE, "calib_seqlen: expected 1 or more tokens, got %d", r->seqlen);
    return STATUS_OK;
}

static bool ends_with(const char *text, const char *end)
{
    size_t bytes = strlen(text), end_bytes = strlen(end);
    return bytes >= end_bytes && strcmp(text + bytes - end_bytes, end) == 0;
}

enum status corpus_read(struct corpus *corpus, const struct corpus_request *request, struct error *err)
{
    struct gathered g = {.request = request};
    struct corpus found = {0};
    if (check_request(request, err)) return err->status;
    if (ends_with(request->path, ".npy"))
        gather_npy(&g, err);
    else
        gather_jsonl(&g, found.tokenizer_hex, err);
    if (!err->status && !is_complete(&g))
        error_set(err, STATUS_INPUT,
                  "%s: expected %d samples, got %zu (and %ld empty ones, which do not count); lower "
                  "calib_data_num or add text",
                  request->path, request->samples, g.samples, g.skipped_empty);
    if (!err->status && !lay_out(&g, &found, err)) *corpus = found;
    if (err->status) corpus_clear(&found);
    free(g.ids);
    free(g.length);
    return err->status;
}

void corpus_clear(struct corpus *corpus)
{
    free(corpus->ids);
    free(corpus->length);
    *corpus = (struct corpus){0};
}
