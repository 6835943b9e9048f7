// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/corpus.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/npy.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/base/signature.h"
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
    struct notes notes;
};

// Takes one sample, or counts it if it is empty.
enum status gathered_add(struct gathered *g, const int32_t *ids, size_t count, struct error *err);
bool gathered_is_complete(const struct gathered *g);

// Rows of an .npy array from a stream, until enough are there.
enum status gathered_read_ids(struct gathered *g, struct source *source, struct error *err);

// Ids without a header, of request->ids_dtype: one sample after the other, each of `seqlen` ids, the last of
// what is left.
enum status gathered_read_bare_ids(struct gathered *g, struct source *source, struct error *err);

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

enum status gathered_add(struct gathered *g, const int32_t *ids, size_t count, struct error *err)
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

bool gathered_is_complete(const struct gathered *g)
{
    return g->samples >= (size_t)g->request->samples;
}

// ---- text ----

static enum status add_document(struct gathered *g, const struct tokenizer *tokenizer,
                                const struct document *document, struct error *err)
{
    int32_t *ids = NULL;
    size_t count = 0;
    struct error why = {0};
    if (tokenizer_encode(tokenizer, document->text, document->bytes, g->request->seqlen, &ids, &count, &why))
        return error_set(err, why.status, "%s: %s", document->where, why.text);
    gathered_add(g, ids, count, err);
    free(ids);
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

static void settle_special_tokens(struct gathered *g, struct tokenizer *tokenizer)
{
    const int around = tokenizer_special_tokens(tokenizer);
    g->notes = *tokenizer_notes(tokenizer);
    if (g->request->no_special_tokens)
        tokenizer_drop_special_tokens(tokenizer);
    else if (around > 0)
        notes_add(
            &g->notes,
            "%s: post_processor puts %d special token%s around each text; --no-special-tokens leaves %s out",
            g->request->tokenizer_path, around, around > 1 ? "s" : "", around > 1 ? "them" : "it");
}

static enum status gather_documents(struct gathered *g, struct documents *documents,
                                    char tokenizer_hex[HASH_HEX_CHARS + 1], struct error *err)
{
    struct tokenizer *tokenizer = NULL;
    const char *path = g->request->tokenizer_path;
    bool end = false;
    if (!file_exists(path))
        return error_set(
            err, STATUS_INPUT,
            "%s: no such file; text needs a tokenizer: --tokenizer FILE names one (for models of "
            "state-spaces and Quamba: tokenizer.json of EleutherAI/gpt-neox-20b), or give token ids as "
            ".npy",
            path);
    if (hash_file(path, tokenizer_hex, err) || tokenizer_open(&tokenizer, path, err)) return err->status;
    settle_special_tokens(g, tokenizer);
    while (!gathered_is_complete(g)) {
        struct document document;
        if (documents_next(documents, &document, &end, err) || end) break;
        if (add_document(g, tokenizer, &document, err)) break;
    }
    tokenizer_close(tokenizer);
    return err->status;
}

static enum status gather_folder(struct gathered *g, char tokenizer_hex[HASH_HEX_CHARS + 1],
                                 struct error *err)
{
    const struct corpus_request *r = g->request;
    struct text_style style = r->style;
    struct documents *documents = NULL;
    if (style.format == TEXT_AUTO) style.format = TEXT_TXT;
    if (style.format != TEXT_TXT)
        return error_set(err, STATUS_INPUT,
                         "%s: expected a file, got a folder, which can only hold .txt files", r->path);
    if (documents_open_folder(&documents, r->path, &style, err)) return err->status;
    gather_documents(g, documents, tokenizer_hex, err);
    documents_close(documents);
    return err->status;
}

static enum status gather_stream(struct gathered *g, char tokenizer_hex[HASH_HEX_CHARS + 1],
                                 struct error *err)
{
    const struct corpus_request *r = g->request;
    struct text_style style = r->style;
    struct source *source = NULL;
    struct documents *documents = NULL;
    if (source_open(&source, r->path, err)) return err->status;
    if (style.format == TEXT_AUTO && text_format_find(&style, source, r->path, err)) goto close_source;
    if (style.format == TEXT_BIN) source_take_plain(source);
    if (style.format == TEXT_NPY)
        gathered_read_ids(g, source, err);
    else if (style.format == TEXT_BIN)
        gathered_read_bare_ids(g, source, err);
    else if (!documents_open(&documents, source, &style, err))
        gather_documents(g, documents, tokenizer_hex, err);
    documents_close(documents);
close_source:
    source_close(source);
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
    corpus->notes = g->notes;
    return hash_samples(corpus, corpus->ids_hex, err);
}

static const char *samples_option(const struct corpus_request *r)
{
    return r->samples_option ? r->samples_option : "calib_data_num";
}

static enum status check_request(const struct corpus_request *r, struct error *err)
{
    if (r->samples < 1)
        return error_set(err, STATUS_USAGE, "%s: expected 1 or more samples, got %d", samples_option(r),
                         r->samples);
    if (r->seqlen < 1)
        return error_set(err, STATUS_USAGE, "calib_seqlen: expected 1 or more tokens, got %d", r->seqlen);
    return STATUS_OK;
}

enum status corpus_read(struct corpus *corpus, const struct corpus_request *request, struct error *err)
{
    struct gathered g = {.request = request};
    struct corpus found = {0};
    if (check_request(request, err)) return err->status;
    if (file_is_directory(request->path))
        gather_folder(&g, found.tokenizer_hex, err);
    else
        gather_stream(&g, found.tokenizer_hex, err);
    if (!err->status && !gathered_is_complete(&g))
        error_set(err, STATUS_INPUT,
                  "%s: expected %d samples, got %zu (and %ld empty ones, which do not count); lower "
                  "%s or add text",
                  request->path, request->samples, g.samples, g.skipped_empty, samples_option(request));
    if (!err->status && !lay_out(&g, &found, err)) *corpus = found;
    if (err->status) corpus_clear(&found);
    free(g.ids);
    free(g.length);
    return err->status;
}

enum status corpus_take(struct corpus *part, const struct corpus *whole, const int *which, int samples,
                        struct error *err)
{
    struct corpus taken = *whole; // its digest of the tokenizer; the rest follows
    taken.samples = samples;
    taken.max_tokens = 0;
    for (int s = 0; s < samples; s++)
        if (whole->length[which ? which[s] : s] > taken.max_tokens)
            taken.max_tokens = whole->length[which ? which[s] : s];
    size_t width = (size_t)taken.max_tokens, tokens = (size_t)samples * width;
    taken.ids = malloc(tokens * sizeof *taken.ids);
    taken.length = malloc((size_t)samples * sizeof *taken.length);
    if (!taken.ids || !taken.length) error_memory(err, tokens * sizeof *taken.ids, "the token ids");
    for (int s = 0; s < samples && !err->status; s++) {
        const size_t from = (size_t)(which ? which[s] : s);
        memcpy(taken.ids + (size_t)s * width, whole->ids + from * (size_t)whole->max_tokens,
               width * sizeof *taken.ids);
        taken.length[s] = whole->length[from];
    }
    if (!err->status && !hash_samples(&taken, taken.ids_hex, err))
        *part = taken;
    else
        corpus_clear(&taken);
    return err->status;
}

static int compare_samples(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

int corpus_split(int samples, int seed, int *which)
{
    const int first = samples - samples / 2;
    for (int s = 0; s < samples; s++)
        which[s] = s;
    random_shuffle(which, samples, random_stream((uint64_t)seed, "samples that choose and judge"));
    qsort(which, (size_t)first, sizeof *which, compare_samples);
    qsort(which + first, (size_t)(samples - first), sizeof *which, compare_samples);
    return first;
}

void corpus_drop_ids(struct corpus *corpus)
{
    free(corpus->ids);
    corpus->ids = NULL;
}

void corpus_clear(struct corpus *corpus)
{
    free(corpus->ids);
    free(corpus->length);
    *corpus = (struct corpus){0};
}

// ---- corpus ids ----

// A row is held as a whole: it must not be what fills the memory.
static const size_t max_row_bytes = (size_t)64 << 20;

// Padding is what follows the first pad_id if that is negative, and so no token, else the trailing run of it.
static size_t tokens_of_row(const int64_t *row, size_t width, int64_t pad_id)
{
    size_t n = 0;
    if (pad_id >= 0) {
        for (n = width; n > 0 && row[n - 1] == pad_id;)
            n--;
        return n;
    }
    while (n < width && row[n] != pad_id)
        n++;
    return n;
}

static enum status add_row(struct gathered *g, const int64_t *row, size_t width, int32_t *ids, size_t number,
                           struct error *err)
{
    const struct corpus_request *r = g->request;
    size_t count = tokens_of_row(row, width, r->pad_id);
    for (size_t i = 0; i < width; i++) {
        bool padding = i >= count;
        if (padding ? row[i] == r->pad_id : row[i] >= 0 && row[i] < r->vocab_size) continue;
        if (padding)
            return error_set(
                err, STATUS_INPUT,
                "%s: sample %zu, position %zu: expected only padding of %d after the first %d, got "
                "%lld (vocab_size %d); see --pad-id",
                r->path, number, i, r->pad_id, r->pad_id, (long long)row[i], r->vocab_size);
        return error_set(
            err, STATUS_INPUT,
            "%s: sample %zu, position %zu: expected an id below vocab_size, or %d as padding, got "
            "%lld (vocab_size %d); use the tokenizer of this model, or see --pad-id",
            r->path, number, i, r->pad_id, (long long)row[i], r->vocab_size);
    }
    if (count > (size_t)r->seqlen) count = (size_t)r->seqlen;
    for (size_t i = 0; i < count; i++)
        ids[i] = (int32_t)row[i];
    return gathered_add(g, ids, count, err);
}

static enum status check_array(const struct gathered *g, const struct npy *npy, struct error *err)
{
    if (!npy_is_integer(npy->dtype) || npy->dims != 2)
        return error_set(
            err, STATUS_INPUT,
            "%s: expected uint16, uint32, int32 or int64 ids of shape [samples, L], got %s in %d "
            "dimensions; use astype and reshape",
            g->request->path, npy_dtype_name(npy->dtype), npy->dims);
    if (npy->shape[1] > max_row_bytes / npy_item_bytes(npy->dtype))
        return error_set(err, STATUS_INPUT,
                         "%s: expected samples of at most %zu MiB, got %zu ids in each; divide them",
                         g->request->path, max_row_bytes >> 20, npy->shape[1]);
    return STATUS_OK;
}

static enum status read_rows(struct gathered *g, struct source *source, const struct npy *npy,
                             struct error *err)
{
    size_t width = npy->shape[1], bytes = width * npy_item_bytes(npy->dtype);
    unsigned char *packed = malloc(bytes + 1);
    int64_t *row = malloc((width + 1) * sizeof *row);
    int32_t *ids = malloc((width + 1) * sizeof *ids);
    if (!packed || !row || !ids) error_memory(err, (width + 1) * sizeof *row, "a sample");
    for (size_t n = 0; !err->status && n < npy->shape[0] && width > 0 && !gathered_is_complete(g); n++) {
        if (source_read(source, packed, bytes, err)) break;
        for (size_t i = 0; i < width; i++)
            row[i] = npy_integer_at(npy->dtype, packed, i);
        add_row(g, row, width, ids, n, err);
    }
    free(ids);
    free(row);
    free(packed);
    return err->status;
}

// A plain file tells its size: then one that is torn behind the rows that we need is refused as well.
static enum status check_size(const struct npy *npy, size_t header_bytes, const struct source *source,
                              struct error *err)
{
    size_t bytes = npy->count * npy_item_bytes(npy->dtype);
    long long have = source_size(source);
    if (have < 0 || (unsigned long long)have - header_bytes == bytes) return STATUS_OK;
    return error_set(
        err, STATUS_INPUT, "%s: expected %zu bytes of data for %zu items of %s, got %lld; the file is torn",
        source_name(source), bytes, npy->count, npy_dtype_name(npy->dtype), have - (long long)header_bytes);
}

static enum status read_header(struct npy *npy, struct source *source, struct error *err)
{
    const unsigned char *view;
    const char *path = source_name(source);
    size_t bytes = 0, have = 0, used = 0;
    if (source_view(source, &view, &have, err)) return err->status;
    if (signature_check(view, have, SIGNATURE_NPY, path, "an .npy file", err)) return err->status;
    if (have < NPY_PREFIX_BYTES)
        return error_set(err, STATUS_INPUT, "%s: not an .npy file: it has %zu bytes in all", path, have);
    if (npy_header_bytes(&bytes, view, path, err)) return err->status;
    unsigned char *header = malloc(bytes);
    if (!header) return error_memory(err, bytes, "an .npy header");
    if (!source_read(source, header, bytes, err) && !npy_parse(npy, &used, header, bytes, path, err))
        check_size(npy, used, source, err);
    free(header);
    return err->status;
}

enum status gathered_read_ids(struct gathered *g, struct source *source, struct error *err)
{
    struct npy npy = {0};
    if (read_header(&npy, source, err) || check_array(g, &npy, err)) return err->status;
    return read_rows(g, source, &npy, err);
}

// ---- without a header ----

// The bytes that are left, at most `bytes`.
static enum status read_up_to(struct source *source, unsigned char *out, size_t bytes, size_t *got,
                              struct error *err)
{
    const unsigned char *data;
    size_t n = 0;
    for (*got = 0; *got < bytes; *got += n) {
        if (source_view(source, &data, &n, err) || n == 0) break;
        if (n > bytes - *got) n = bytes - *got;
        memcpy(out + *got, data, n);
        source_take(source, n);
    }
    return err->status;
}

static enum status check_bare(const struct gathered *g, struct source *source, struct error *err)
{
    const unsigned char *data;
    size_t have = 0;
    const struct corpus_request *r = g->request;
    if (source_view(source, &data, &have, err) ||
        signature_check(data, have, ~(unsigned)(SIGNATURE_INSTEAD | SIGNATURE_NPY), r->path,
                        "ids without a header", err))
        return err->status;
    if (r->ids_dtype == IDS_BY_HEADER)
        return error_set(
            err, STATUS_INPUT,
            "%s: expected ids with a header, as .npy has it; say what these are with --ids-dtype "
            "uint16, uint32, int32 or int64",
            r->path);
    return STATUS_OK;
}

enum status gathered_read_bare_ids(struct gathered *g, struct source *source, struct error *err)
{
    static const enum npy_dtype dtypes[] = {[IDS_UINT16] = NPY_UINT16,
                                            [IDS_UINT32] = NPY_UINT32,
                                            [IDS_INT32] = NPY_INT32,
                                            [IDS_INT64] = NPY_INT64};
    if (check_bare(g, source, err)) return err->status;
    const enum npy_dtype dtype = dtypes[g->request->ids_dtype];
    const size_t width = (size_t)g->request->seqlen, item = npy_item_bytes(dtype);
    unsigned char *packed = malloc(width * item);
    int64_t *row = malloc(width * sizeof *row);
    int32_t *ids = malloc(width * sizeof *ids);
    if (!packed || !row || !ids) error_memory(err, width * sizeof *row, "a sample");
    for (size_t n = 0, got = width * item; !err->status && got == width * item && !gathered_is_complete(g);
         n++) {
        if (read_up_to(source, packed, width * item, &got, err) || got == 0) break;
        if (got % item > 0)
            error_set(err, STATUS_INPUT,
                      "%s: expected whole ids of %zu bytes, got %zu bytes more at the end; "
                      "the file is torn, or --ids-dtype is another",
                      g->request->path, item, got % item);
        for (size_t i = 0; i < got / item; i++)
            row[i] = npy_integer_at(dtype, packed, i);
        if (!err->status) add_row(g, row, got / item, ids, n, err);
    }
    free(ids);
    free(row);
    free(packed);
    return err->status;
}
