// SPDX-License-Identifier: Apache-2.0
#include <stdlib.h>
#include <string.h>

#include "gathered.h"
#include "ssmsweep/base/npy.h"
#include "ssmsweep/base/signature.h"

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
