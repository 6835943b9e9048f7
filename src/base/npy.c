// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/base/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/signature.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "items are read and written as they lie in memory");

static const struct {
    const char *name;
    size_t item_bytes;
} DTYPES[] = {
    [NPY_INT32] = {"<i4", 4},   [NPY_INT64] = {"<i8", 8},  [NPY_FLOAT32] = {"<f4", 4},
    [NPY_FLOAT64] = {"<f8", 8}, [NPY_UINT16] = {"<u2", 2}, [NPY_UINT32] = {"<u4", 4},
    [NPY_FLOAT16] = {"<f2", 2},
};

enum { DTYPE_COUNT = sizeof DTYPES / sizeof *DTYPES };

const char *npy_dtype_name(enum npy_dtype dtype)
{
    return DTYPES[dtype].name;
}

size_t npy_item_bytes(enum npy_dtype dtype)
{
    return DTYPES[dtype].item_bytes;
}

bool npy_is_integer(enum npy_dtype dtype)
{
    return dtype != NPY_FLOAT16 && dtype != NPY_FLOAT32 && dtype != NPY_FLOAT64;
}

int64_t npy_integer_at(enum npy_dtype dtype, const unsigned char *data, size_t index)
{
    int64_t wide = 0;
    int32_t narrow = 0;
    if (!npy_is_integer(dtype)) return 0;
    const size_t bytes = npy_item_bytes(dtype);
    if (dtype == NPY_INT32) {
        memcpy(&narrow, data + index * bytes, bytes);
        return narrow;
    }
    memcpy(&wide, data + index * bytes, bytes); // the low bytes come first
    return wide;
}

// ---- reading: the header is a Python dict literal; only the three keys of the format are taken ----

struct cursor {
    const char *at, *end;
    const char *path;
    struct error *err;
};

static enum status torn(struct cursor *c, const char *expected)
{
    return error_set(c->err, STATUS_INPUT,
                     "%s: torn .npy header: expected %s; write the file with numpy.save", c->path, expected);
}

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\n'))
        c->at++;
}

static bool take_char(struct cursor *c, char wanted)
{
    skip_blanks(c);
    if (c->at == c->end || *c->at != wanted) return false;
    c->at++;
    return true;
}

static bool take_word(struct cursor *c, const char *word)
{
    size_t bytes = strlen(word);
    skip_blanks(c);
    if ((size_t)(c->end - c->at) < bytes || memcmp(c->at, word, bytes) != 0) return false;
    c->at += bytes;
    return true;
}

// 'text' or "text" without escapes.
static enum status take_string(struct cursor *c, char *text, size_t room)
{
    char quote = take_char(c, '\'') ? '\'' : '"';
    if (quote == '"' && !take_char(c, '"')) return torn(c, "a quoted string");
    const char *close = memchr(c->at, quote, (size_t)(c->end - c->at));
    if (!close || (size_t)(close - c->at) >= room) return torn(c, "a short quoted string");
    memcpy(text, c->at, (size_t)(close - c->at));
    text[close - c->at] = '\0';
    c->at = close + 1;
    return STATUS_OK;
}

static enum status take_extent(struct cursor *c, size_t *extent)
{
    size_t value = 0;
    skip_blanks(c);
    const char *start = c->at;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++) {
        if (value > (SIZE_MAX - 9) / 10) return torn(c, "a shape that fits in memory");
        value = value * 10 + (size_t)(*c->at - '0');
    }
    if (c->at == start) return torn(c, "a shape of non-negative integers");
    *extent = value;
    return STATUS_OK;
}

static enum status take_shape(struct cursor *c, struct npy *npy)
{
    if (!take_char(c, '(')) return torn(c, "a tuple as 'shape'");
    npy->dims = 0;
    while (!take_char(c, ')')) {
        if (npy->dims == NPY_MAX_DIMS)
            return error_set(c->err, STATUS_INPUT, "%s: array of more than %d dimensions is not supported",
                             c->path, NPY_MAX_DIMS);
        if (take_extent(c, &npy->shape[npy->dims])) return c->err->status;
        npy->dims++;
        if (take_char(c, ',')) continue;
        // (3) is no tuple in Python.
        if (npy->dims == 1 || !take_char(c, ')')) return torn(c, "',' or ')' in 'shape'");
        break;
    }
    return STATUS_OK;
}

static enum status take_dtype(struct cursor *c, struct npy *npy)
{
    char name[32] = "";
    if (take_string(c, name, sizeof name)) return c->err->status;
    for (int i = 0; i < DTYPE_COUNT; i++)
        if (i != NPY_FLOAT16 && strcmp(name, DTYPES[i].name) == 0) {
            npy->dtype = (enum npy_dtype)i;
            return STATUS_OK;
        }
    return error_set(
        c->err, STATUS_INPUT,
        "%s: dtype: expected <u2, <u4, <i4, <i8, <f4 or <f8, got '%s'; convert with numpy.astype", c->path,
        name);
}

static enum status take_order(struct cursor *c)
{
    if (take_word(c, "False")) return STATUS_OK;
    if (!take_word(c, "True")) return torn(c, "True or False as 'fortran_order'");
    return error_set(c->err, STATUS_INPUT,
                     "%s: fortran_order: expected False, got True; save numpy.ascontiguousarray(array)",
                     c->path);
}

static enum status take_entry(struct cursor *c, struct npy *npy, unsigned *seen)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    char key[32] = "";
    if (take_string(c, key, sizeof key)) return c->err->status;
    unsigned which = 0;
    while (which < 3 && strcmp(key, keys[which]) != 0)
        which++;
    if (which == 3 || (*seen & 1u << which)) return torn(c, "each of 'descr', 'fortran_order', 'shape' once");
    *seen |= 1u << which;
    if (!take_char(c, ':')) return torn(c, "':' after a key");
    if (which == 0) return take_dtype(c, npy);
    return which == 1 ? take_order(c) : take_shape(c, npy);
}

static enum status parse_dict(struct cursor *c, struct npy *npy)
{
    unsigned seen = 0;
    if (c->at == c->end || c->end[-1] != '\n') return torn(c, "a newline at its end");
    if (!take_char(c, '{')) return torn(c, "'{'");
    while (!take_char(c, '}')) {
        if (take_entry(c, npy, &seen)) return c->err->status;
        if (take_char(c, ',')) continue;
        if (!take_char(c, '}')) return torn(c, "',' or '}' after a value");
        break;
    }
    skip_blanks(c);
    if (c->at != c->end) return torn(c, "nothing after the '}'");
    return seen == 7 ? STATUS_OK : torn(c, "'descr', 'fortran_order' and 'shape'");
}

// Magic, version and header length; *start is where the dict begins.
static enum status find_header(const unsigned char *d, size_t have_bytes, const char *path, size_t *start,
                               size_t *bytes, struct error *err)
{
    if (signature_check(d, have_bytes, SIGNATURE_NPY, path, "an .npy file", err)) return err->status;
    if (have_bytes < 10 || memcmp(d, "\x93NUMPY", 6) != 0)
        return error_set(err, STATUS_INPUT, "%s: not an .npy file: it does not begin with \\x93NUMPY", path);
    if (d[6] < 1 || d[6] > 3 || d[7] != 0)
        return error_set(err, STATUS_INPUT, "%s: .npy version: expected 1.0, 2.0 or 3.0, got %d.%d", path,
                         d[6], d[7]);
    *start = d[6] == 1 ? 10 : 12;
    *bytes = d[8] | (size_t)d[9] << 8;
    if (d[6] > 1 && have_bytes >= 12) *bytes |= (size_t)d[10] << 16 | (size_t)d[11] << 24;
    return STATUS_OK;
}

// The shape's count of items, if their bytes can be counted at all.
static enum status check_shape(struct npy *npy, const char *path, struct error *err)
{
    size_t count = 1, item = npy_item_bytes(npy->dtype);
    bool empty = false;
    for (int i = 0; i < npy->dims; i++)
        empty = empty || npy->shape[i] == 0;
    for (int i = 0; i < npy->dims && !empty; i++) {
        if (npy->shape[i] > SIZE_MAX / item / count)
            return error_set(err, STATUS_INPUT, "%s: shape: the product of the dimensions overflows", path);
        count *= npy->shape[i];
    }
    npy->count = empty ? 0 : count;
    return STATUS_OK;
}

enum status npy_header_bytes(size_t *bytes, const unsigned char prefix[NPY_PREFIX_BYTES], const char *path,
                             struct error *err)
{
    size_t start = 0, length = 0;
    if (find_header(prefix, NPY_PREFIX_BYTES, path, &start, &length, err)) return err->status;
    if (length > NPY_MAX_HEADER_BYTES)
        return error_set(
            err, STATUS_INPUT,
            "%s: torn .npy header: %zu bytes announced, expected at most %d; write the file with "
            "numpy.save",
            path, length, NPY_MAX_HEADER_BYTES);
    *bytes = start + length;
    return STATUS_OK;
}

enum status npy_parse(struct npy *npy, size_t *header_bytes, const unsigned char *data, size_t have_bytes,
                      const char *path, struct error *err)
{
    struct npy found = {0};
    size_t start = 0, bytes = 0;
    if (find_header(data, have_bytes, path, &start, &bytes, err)) return err->status;
    if (have_bytes < start || have_bytes - start < bytes)
        return error_set(err, STATUS_INPUT,
                         "%s: torn .npy header: %zu bytes announced, the file has %zu in all", path, bytes,
                         have_bytes);
    const char *text = (const char *)data + start;
    struct cursor cursor = {.at = text, .end = text + bytes, .path = path, .err = err};
    if (parse_dict(&cursor, &found) || check_shape(&found, path, err)) return err->status;
    *npy = found;
    *header_bytes = start + bytes;
    return STATUS_OK;
}

enum status npy_map(struct npy *npy, const char *path, struct error *err)
{
    struct npy found = {0};
    struct file_map map = {0};
    size_t start = 0;
    if (file_map(&map, path, err)) return err->status;
    if (npy_parse(&found, &start, map.data, map.size_bytes, path, err)) goto unmap;
    size_t bytes = found.count * npy_item_bytes(found.dtype), have_bytes = map.size_bytes - start;
    if (bytes != have_bytes) {
        error_set(err, STATUS_INPUT,
                  "%s: expected %zu bytes of data for %zu items of %s, got %zu; the file is torn", path,
                  bytes, found.count, npy_dtype_name(found.dtype), have_bytes);
        goto unmap;
    }
    if (found.count > 0) found.data = map.data + start;
    found.map = map;
    *npy = found;
    return STATUS_OK;
unmap:
    file_unmap(&map);
    return err->status;
}

void npy_unmap(struct npy *npy)
{
    file_unmap(&npy->map);
    *npy = (struct npy){0};
}

int64_t npy_integer(const struct npy *npy, size_t index)
{
    return npy_integer_at(npy->dtype, npy->data, index);
}

double npy_number(const struct npy *npy, size_t index)
{
    float narrow = 0;
    double wide = 0;
    if (npy->dtype == NPY_FLOAT64) memcpy(&wide, npy->data + index * sizeof wide, sizeof wide);
    if (npy->dtype == NPY_FLOAT32) memcpy(&narrow, npy->data + index * sizeof narrow, sizeof narrow);
    return npy->dtype == NPY_FLOAT64 ? wide : (double)narrow;
}

// ---- writing ----

size_t npy_header(char header[NPY_HEADER_ROOM], enum npy_dtype dtype, int dims, const size_t *shape)
{
    char *dict = header + 10; // after magic, version and length
    size_t room = NPY_HEADER_ROOM - 10;
    int used =
        snprintf(dict, room, "{'descr': '%s', 'fortran_order': False, 'shape': (", npy_dtype_name(dtype));
    for (int i = 0; i < dims; i++)
        used += snprintf(dict + used, room - (size_t)used,
                         i + 1 < dims ? "%zu, "
                         : dims == 1  ? "%zu,"
                                      : "%zu",
                         shape[i]);
    used += snprintf(dict + used, room - (size_t)used, "), }");
    size_t total = (10 + (size_t)used + 1 + 63) / 64 * 64; // numpy aligns the data to 64 bytes
    memset(dict + used, ' ', total - 10 - (size_t)used);
    header[total - 1] = '\n';
    memcpy(header, "\x93NUMPY\x01", 8); // the literal's own NUL is the minor version
    header[8] = (char)((total - 10) & 0xff);
    header[9] = (char)((total - 10) >> 8);
    return total;
}

enum status npy_write(const char *path, enum npy_dtype dtype, int dims, const size_t *shape, const void *data,
                      struct error *err)
{
    char header[NPY_HEADER_ROOM];
    size_t header_bytes = npy_header(header, dtype, dims, shape);
    size_t data_bytes = npy_item_bytes(dtype);
    for (int i = 0; i < dims; i++)
        data_bytes *= shape[i];
    char *whole = malloc(header_bytes + data_bytes);
    if (!whole) return error_memory(err, header_bytes + data_bytes, "an .npy file");
    memcpy(whole, header, header_bytes);
    if (data_bytes > 0) memcpy(whole + header_bytes, data, data_bytes);
    file_replace(path, whole, header_bytes + data_bytes, err);
    free(whole);
    return err->status;
}
