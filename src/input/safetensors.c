// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"

enum { LENGTH_BYTES = 8 };
static const uint64_t max_header_bytes = 100000000; // as the format demands
static const double max_exact = 9007199254740992.0; // 2^53: beyond it JSON numbers are not exact

// What one entry of the header says; `tensor` lacks its data until all offsets are known to be good.
struct entry {
    struct tensor tensor;
    int64_t begin, end; // bytes, relative to the first byte after the header
};

struct reader {
    const char *path;
    const unsigned char *data; // first byte after the header
    int64_t header_bytes, data_bytes;
    struct entry *entries;
    size_t count;
};

// The header is between *text and *text + header_bytes.
static enum status find_header(struct reader *in, const struct file_map *file, const char **text,
                               struct error *err)
{
    if (file->size_bytes < LENGTH_BYTES)
        return error_set(err, STATUS_INPUT,
                         "%s: torn file: expected at least %d bytes, got %zu; copy it again", in->path,
                         LENGTH_BYTES, file->size_bytes);
    uint64_t length = 0, left = file->size_bytes - LENGTH_BYTES;
    for (int i = LENGTH_BYTES - 1; i >= 0; i--)
        length = length << 8 | file->data[i];
    if (length > max_header_bytes)
        return error_set(
            err, STATUS_INPUT,
            "%s: header length: expected at most %llu bytes, got %llu; this is no safetensors file", in->path,
            (unsigned long long)max_header_bytes, (unsigned long long)length);
    if (length > left)
        return error_set(err, STATUS_INPUT,
                         "%s: torn file: expected a header of %llu bytes, got %llu; copy it again", in->path,
                         (unsigned long long)length, (unsigned long long)left);
    if (length == 0 || file->data[LENGTH_BYTES] != '{')
        return error_set(err, STATUS_INPUT,
                         "%s: header: expected it to begin with '{'; this is no safetensors file", in->path);
    *text = (const char *)file->data + LENGTH_BYTES;
    in->data = file->data + LENGTH_BYTES + length;
    in->header_bytes = (int64_t)length;
    in->data_bytes = (int64_t)(left - length);
    return STATUS_OK;
}

static bool whole_number(const struct json *value, int64_t *number)
{
    double v = json_number(value);
    if (!json_is_number(value) || !(v >= 0 && v <= max_exact) || v != (double)(int64_t)v) return false;
    *number = (int64_t)v;
    return true;
}

static enum status bad_entry(const struct reader *in, const char *name, const char *what, struct error *err)
{
    return error_set(err, STATUS_INPUT,
                     "%s: tensor '%.200s': %s; the file is damaged, copy or convert it again", in->path, name,
                     what);
}

static enum status read_dtype(const struct reader *in, const struct json *value, struct tensor *tensor,
                              struct error *err)
{
    const char *name = json_string(json_get(value, "dtype"));
    if (!name) return bad_entry(in, tensor->name, "expected a string as dtype", err);
    if (dtype_find(name, &tensor->dtype)) return STATUS_OK;
    tensor->dtype = DTYPE_OTHER; // an error where somebody needs it
    snprintf(tensor->other, sizeof tensor->other, "%s", name);
    return STATUS_OK;
}

static enum status read_shape(const struct reader *in, const struct json *value, struct tensor *tensor,
                              struct error *err)
{
    const struct json *shape = json_get(value, "shape");
    if (!json_is_array(shape)) return bad_entry(in, tensor->name, "expected an array as shape", err);
    for (const struct json *size = json_first(shape); size; size = json_next(size)) {
        if (tensor->dims == TENSOR_MAX_DIMS)
            return error_set(err, STATUS_INPUT,
                             "%s: tensor '%.200s': expected at most %d dimensions, got %zu", in->path,
                             tensor->name, TENSOR_MAX_DIMS, json_count(shape));
        if (!whole_number(size, &tensor->shape[tensor->dims++]))
            return bad_entry(in, tensor->name, "expected whole numbers from 0 to 2^53 as shape", err);
    }
    return STATUS_OK;
}

static enum status read_entry(const struct reader *in, const struct json *value, struct entry *entry,
                              struct error *err)
{
    struct tensor *tensor = &entry->tensor;
    *tensor = (struct tensor){.name = json_key(value)};
    if (!json_is_object(value)) return bad_entry(in, tensor->name, "expected an object in the header", err);
    if (read_dtype(in, value, tensor, err) || read_shape(in, value, tensor, err)) return err->status;
    const struct json *offsets = json_get(value, "data_offsets");
    const struct json *begin = json_is_array(offsets) ? json_first(offsets) : NULL;
    if (json_count(offsets) != 2 || !whole_number(begin, &entry->begin) ||
        !whole_number(json_next(begin), &entry->end))
        return bad_entry(in, tensor->name, "expected two whole numbers as data_offsets", err);
    if (entry->begin > entry->end) return bad_entry(in, tensor->name, "data_offsets run backwards", err);
    int64_t bytes;
    if (!tensor_set_contiguous(tensor, &bytes))
        return bad_entry(in, tensor->name, "the shape overflows: its product is beyond 2^63 bytes", err);
    if (tensor->dtype == DTYPE_OTHER) {
        const int64_t given = entry->end - entry->begin;
        if (tensor_elements(tensor) / 8 > given)
            return bad_entry(in, tensor->name, "expected at least a bit for each element", err);
    } else if (bytes != entry->end - entry->begin)
        return error_set(
            err, STATUS_INPUT,
            "%s: tensor '%.200s': expected %lld bytes from its shape, got %lld from data_offsets; "
            "the file is damaged, copy or convert it again",
            in->path, tensor->name, (long long)bytes, (long long)(entry->end - entry->begin));
    return STATUS_OK;
}

static int compare_begins(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end; // an empty tensor in front of the one that begins there
}

// The format wants the bytes covered by tensors, each byte once.
static enum status check_cover(struct reader *in, struct error *err)
{
    if (in->count) qsort(in->entries, in->count, sizeof *in->entries, compare_begins);
    int64_t covered = 0;
    for (size_t i = 0; i < in->count; i++) {
        const struct entry *entry = &in->entries[i];
        if (entry->begin < covered)
            return error_set(err, STATUS_INPUT,
                             "%s: tensors '%.200s' and '%.200s' overlap; the file is damaged", in->path,
                             in->entries[i - 1].tensor.name, entry->tensor.name);
        if (entry->begin > covered)
            return error_set(err, STATUS_INPUT,
                             "%s: tensor '%.200s': expected it to begin at byte %lld, got %lld: a hole; the "
                             "file is damaged",
                             in->path, entry->tensor.name, (long long)covered, (long long)entry->begin);
        covered = entry->end;
    }
    if (covered == in->data_bytes) return STATUS_OK;
    int64_t front = LENGTH_BYTES + in->header_bytes;
    return error_set(err, STATUS_INPUT, "%s: %s: expected %lld bytes, got %lld; copy it again", in->path,
                     covered > in->data_bytes ? "torn file" : "bytes after the last tensor",
                     (long long)(front + covered), (long long)(front + in->data_bytes));
}

static enum status read_entries(struct reader *in, const struct json *root, struct error *err)
{
    for (const struct json *value = json_first(root); value; value = json_next(value)) {
        if (strcmp(json_key(value), "__metadata__") == 0) continue;
        if (read_entry(in, value, &in->entries[in->count++], err)) return err->status;
    }
    return check_cover(in, err);
}

enum status safetensors_read(struct tensor_list *list, const struct file_map *file, const char *path,
                             struct error *err)
{
    struct reader in = {.path = path};
    const char *text = NULL;
    struct json *root;
    if (find_header(&in, file, &text, err) || json_parse(&root, text, (size_t)in.header_bytes, path, err))
        return err->status;
    size_t members = json_count(root);
    in.entries = calloc(members + 1, sizeof *in.entries);
    if (!in.entries) {
        error_memory(err, (members + 1) * sizeof *in.entries, "the tensors of a file");
        goto close_json;
    }
    if (read_entries(&in, root, err)) goto free_entries;
    for (size_t i = 0; i < in.count; i++) {
        in.entries[i].tensor.data = in.data + in.entries[i].begin;
        if (tensor_list_add(list, &in.entries[i].tensor, err)) break;
    }
free_entries:
    free(in.entries);
close_json:
    json_close(root);
    return err->status;
}
