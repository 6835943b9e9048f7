// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/checkpoint.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/json.h"
#include "ssmsweep/base/signature.h"
#include "ssmsweep/input/pickle.h"
#include "ssmsweep/input/torch_zip.h"

struct checkpoint {
    char *path;
    struct file_map *files;
    size_t n_files;
    struct shard_map *map; // NULL: one file
    struct tensor_list tensors;
    struct scalar_list scalars;
};

// The layouts that are read, in this order.
static const struct layout {
    const char *name;
    bool torch, index;
} layouts[] = {{"model.safetensors", false, false},
               {"model.safetensors.index.json", false, true},
               {"pytorch_model.bin", true, false},
               {"pytorch_model.bin.index.json", true, true}};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

// The first layout that is there; of others beside it, which may hold other weights, one is noted.
static enum status find_layout(struct checkpoint *c, const char *directory, const struct layout **layout,
                               struct notes *notes, struct error *err)
{
    for (size_t i = 0; i < LAYOUTS; i++) {
        char *path = file_join(directory, layouts[i].name);
        if (!path) return error_memory(err, strlen(directory), "a path");
        const bool there = file_exists(path);
        if (there && !c->path) {
            c->path = path;
            *layout = &layouts[i];
            continue;
        }
        free(path);
        if (!there) continue;
        notes_add(notes, "%s is read; %s beside it is not", c->path, layouts[i].name);
        break;
    }
    if (c->path) return STATUS_OK;
    return error_set(err, STATUS_INPUT,
                     "%s/model.safetensors: no such file, and no index, no pytorch_model.bin; a model folder "
                     "holds one of them",
                     directory);
}

static enum status read_file(struct checkpoint *c, const struct layout *layout, const char *path,
                             struct error *err)
{
    struct file_map *file = &c->files[c->n_files];
    if (file_map(file, path, err)) return err->status;
    c->n_files++;
    const unsigned own = layout->torch ? SIGNATURE_ZIP | SIGNATURE_PICKLE : SIGNATURE_SAFETENSORS;
    if (signature_check(file->data, file->size_bytes, own, path,
                        layout->torch ? "a zip archive as PyTorch writes it" : "a safetensors file", err))
        return err->status;
    if (layout->torch) return torch_zip_read(&c->tensors, &c->scalars, file, path, err);
    return safetensors_read(&c->tensors, file, path, err);
}

static enum status read_shard(struct checkpoint *c, const struct layout *layout, const char *directory,
                              size_t index, struct error *err)
{
    char *path = file_join(directory, shard_map_file(c->map, index));
    if (!path) return error_memory(err, strlen(directory), "a path");
    if (!file_exists(path))
        error_set(err, STATUS_INPUT, "%s: no such file; %s names this shard, copy it too", path, c->path);
    else
        read_file(c, layout, path, err);
    free(path);
    return err->status;
}

// The name of the shard that holds a tensor's bytes.
static const char *shard_of(const struct checkpoint *c, const struct tensor *tensor)
{
    for (size_t i = 0; i < c->n_files; i++)
        if (tensor->data >= c->files[i].data && tensor->data <= c->files[i].data + c->files[i].size_bytes)
            return shard_map_file(c->map, i);
    return c->path;
}

// One copy is kept of a tensor that stands in several shards.  Which one would count if they differed, nobody
// says.
static enum status drop_copies(struct checkpoint *c, struct error *err)
{
    struct tensor_list *list = &c->tensors;
    size_t kept = 0;
    tensor_list_order(list);
    for (size_t i = 0; i < list->count; i++) {
        const struct tensor *before = kept ? &list->items[kept - 1] : NULL, *tensor = &list->items[i];
        if (before && strcmp(before->name, tensor->name) == 0) {
            if (!tensor_same_values(before, tensor))
                error_set(
                    err, STATUS_INPUT,
                    "%s: tensor '%.200s': expected the same values in %.200s and %.200s, got others; copy "
                    "index and shards again",
                    c->path, tensor->name, shard_of(c, before), shard_of(c, tensor));
            free((void *)(size_t)tensor->name);
        } else {
            list->items[kept++] = *tensor;
        }
    }
    list->count = kept;
    return err->status;
}

static enum status read_shards(struct checkpoint *c, const struct layout *layout, const char *directory,
                               struct error *err)
{
    if (shard_map_open(&c->map, c->path, err)) return err->status;
    size_t files = shard_map_files(c->map);
    c->files = calloc(files, sizeof *c->files);
    if (!c->files) error_memory(err, files * sizeof *c->files, "the shards");
    for (size_t i = 0; i < files && !err->status; i++)
        read_shard(c, layout, directory, i, err);
    return err->status ? err->status : drop_copies(c, err);
}

// A name stands for a tensor or for a number, not for both.
static enum status sort_names(struct checkpoint *c, struct error *err)
{
    if (tensor_list_sort(&c->tensors, c->path, err) || scalar_list_sort(&c->scalars, c->path, err))
        return err->status;
    for (size_t i = 0; i < c->scalars.count; i++)
        if (tensor_list_find(&c->tensors, c->scalars.items[i].name))
            return error_set(err, STATUS_INPUT, "%s: key '%.200s' occurs twice", c->path,
                             c->scalars.items[i].name);
    return STATUS_OK;
}

static int keep_scales(const struct dirent *entry)
{
    static const char ending[] = "scales.pt";
    const size_t bytes = strlen(entry->d_name), cut = sizeof ending - 1;
    return bytes >= cut && strcmp(entry->d_name + bytes - cut, ending) == 0;
}

// Whoever keeps such a file beside a model could believe that the W8A8 modes use it.
static void note_scale_caches(const char *directory, struct notes *notes)
{
    struct dirent **entries = NULL;
    const int count = scandir(directory, &entries, keep_scales, alphasort);
    for (int i = 0; i < count; i++) {
        notes_add(
            notes,
            "%s/%s is not read: a cache of scales, as Quamba's code of 2024 writes it, belongs to other "
            "numerics; scales are calibrated here",
            directory, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

static enum status read_checkpoint(struct checkpoint *c, const char *directory, struct notes *notes,
                                   struct error *err)
{
    const struct layout *layout = NULL;
    if (find_layout(c, directory, &layout, notes, err)) return err->status;
    note_scale_caches(directory, notes);
    if (layout->index) {
        if (read_shards(c, layout, directory, err)) return err->status;
    } else {
        c->files = calloc(1, sizeof *c->files);
        if (!c->files) return error_memory(err, sizeof *c->files, "a checkpoint");
        if (read_file(c, layout, c->path, err)) return err->status;
    }
    return sort_names(c, err);
}

enum status checkpoint_open(struct checkpoint **checkpoint, const char *directory, struct notes *notes,
                            struct error *err)
{
    struct checkpoint *opened = calloc(1, sizeof *opened);
    if (!opened) return error_memory(err, sizeof *opened, "a checkpoint");
    if (read_checkpoint(opened, directory, notes, err))
        checkpoint_close(opened);
    else
        *checkpoint = opened;
    return err->status;
}

void checkpoint_close(struct checkpoint *checkpoint)
{
    if (!checkpoint) return;
    shard_map_close(checkpoint->map);
    tensor_list_clear(&checkpoint->tensors);
    scalar_list_clear(&checkpoint->scalars);
    for (size_t i = 0; i < checkpoint->n_files; i++)
        file_unmap(&checkpoint->files[i]);
    free(checkpoint->files);
    free(checkpoint->path);
    free(checkpoint);
}

void checkpoint_release(const struct checkpoint *checkpoint)
{
    for (size_t i = 0; checkpoint && i < checkpoint->n_files; i++)
        file_release(&checkpoint->files[i]);
}

const char *checkpoint_path(const struct checkpoint *checkpoint)
{
    return checkpoint->path;
}

size_t checkpoint_files(const struct checkpoint *checkpoint)
{
    return checkpoint->n_files;
}

size_t checkpoint_bytes(const struct checkpoint *checkpoint)
{
    size_t bytes = 0;
    for (size_t i = 0; i < checkpoint->n_files; i++)
        bytes += checkpoint->files[i].size_bytes;
    return bytes;
}

size_t checkpoint_count(const struct checkpoint *checkpoint)
{
    return checkpoint->tensors.count;
}

const struct tensor *checkpoint_at(const struct checkpoint *checkpoint, size_t index)
{
    return &checkpoint->tensors.items[index];
}

const struct tensor *checkpoint_find(const struct checkpoint *checkpoint, const char *name)
{
    return tensor_list_find(&checkpoint->tensors, name);
}

const char *checkpoint_missing_from(const struct checkpoint *checkpoint, const char *name)
{
    return checkpoint->map ? shard_map_find(checkpoint->map, name) : NULL;
}

// `*name`, which the list owns, with `to` in place of `from` at its beginning.
static enum status rename_one(const char **name, const char *from, const char *to, struct error *err)
{
    const size_t cut = strlen(from);
    if (strncmp(*name, from, cut) != 0) return STATUS_OK;
    const size_t bytes = strlen(*name) - cut + strlen(to) + 1;
    char *renamed = malloc(bytes);
    if (!renamed) return error_memory(err, bytes, "a tensor's name");
    memcpy(renamed, to, strlen(to));
    strcpy(renamed + strlen(to), *name + cut);
    free((void *)(size_t)*name);
    *name = renamed;
    return STATUS_OK;
}

enum status checkpoint_rename(struct checkpoint *c, const char *from, const char *to, struct error *err)
{
    for (size_t i = 0; i < c->tensors.count; i++)
        if (rename_one(&c->tensors.items[i].name, from, to, err)) return err->status;
    for (size_t i = 0; i < c->scalars.count; i++)
        if (rename_one(&c->scalars.items[i].name, from, to, err)) return err->status;
    return sort_names(c, err);
}

size_t checkpoint_scalars(const struct checkpoint *checkpoint)
{
    return checkpoint->scalars.count;
}

const struct scalar *checkpoint_scalar_at(const struct checkpoint *checkpoint, size_t index)
{
    return &checkpoint->scalars.items[index];
}

const struct scalar *checkpoint_scalar(const struct checkpoint *checkpoint, const char *name)
{
    return scalar_list_find(&checkpoint->scalars, name);
}

static size_t count_pieces(const struct file_map *file)
{
    return (file->size_bytes + CHECKPOINT_PIECE_BYTES - 1) / CHECKPOINT_PIECE_BYTES;
}

size_t checkpoint_pieces(const struct checkpoint *checkpoint)
{
    size_t pieces = 0;
    for (size_t i = 0; i < checkpoint->n_files; i++)
        pieces += count_pieces(&checkpoint->files[i]);
    return pieces;
}

struct file_map checkpoint_piece(const struct checkpoint *checkpoint, size_t index)
{
    const struct file_map *file = checkpoint->files;
    for (; index >= count_pieces(file); file++)
        index -= count_pieces(file);
    const size_t at = index * CHECKPOINT_PIECE_BYTES, left = file->size_bytes - at;
    return (struct file_map){.data = file->data + at,
                             .size_bytes = left < CHECKPOINT_PIECE_BYTES ? left : CHECKPOINT_PIECE_BYTES};
}

// ---- shards ----

enum { MAX_SHARDS = 4096 };

struct place {
    const char *tensor; // of the JSON
    size_t file;
};

struct shard_map {
    char *path;
    struct json *root;
    struct place *places; // sorted by tensor
    size_t count;
    const char *files[MAX_SHARDS]; // of the JSON
    size_t n_files;
};

static int compare_places(const void *a, const void *b)
{
    return strcmp(((const struct place *)a)->tensor, ((const struct place *)b)->tensor);
}

// A shard lies beside the index and nowhere else.
static enum status add_place(struct shard_map *map, const struct json *value, struct error *err)
{
    const char *file = json_string(value);
    size_t f = 0;
    if (!file || !*file || strchr(file, '/') || file[0] == '.' || strlen(file) > 255)
        return error_set(err, STATUS_INPUT,
                         "%s: weight_map: tensor '%.200s': expected the name of a file beside the index",
                         map->path, json_key(value));
    while (f < map->n_files && strcmp(map->files[f], file) != 0)
        f++;
    if (f == MAX_SHARDS)
        return error_set(err, STATUS_INPUT, "%s: weight_map: expected at most %d files", map->path,
                         MAX_SHARDS);
    if (f == map->n_files) map->files[map->n_files++] = file;
    map->places[map->count++] = (struct place){json_key(value), f};
    return STATUS_OK;
}

static enum status read_map(struct shard_map *map, struct error *err)
{
    const struct json *object = json_get(map->root, "weight_map");
    if (!json_is_object(object) || json_count(object) == 0)
        return error_set(err, STATUS_INPUT,
                         "%s: weight_map: expected an object that gives each tensor its file", map->path);
    map->places = calloc(json_count(object), sizeof *map->places);
    if (!map->places) return error_memory(err, json_count(object) * sizeof *map->places, "an index");
    for (const struct json *value = json_first(object); value; value = json_next(value))
        if (add_place(map, value, err)) return err->status;
    qsort(map->places, map->count, sizeof *map->places, compare_places);
    return STATUS_OK;
}

enum status shard_map_open(struct shard_map **map, const char *path, struct error *err)
{
    struct shard_map *opened = calloc(1, sizeof *opened);
    if (!opened) return error_memory(err, sizeof *opened, "an index");
    opened->path = strdup(path);
    if (!opened->path)
        error_memory(err, strlen(path) + 1, "a path");
    else if (!json_read_file(&opened->root, path, err))
        read_map(opened, err);
    if (err->status)
        shard_map_close(opened);
    else
        *map = opened;
    return err->status;
}

void shard_map_close(struct shard_map *map)
{
    if (!map) return;
    json_close(map->root);
    free(map->places);
    free(map->path);
    free(map);
}

size_t shard_map_files(const struct shard_map *map)
{
    return map->n_files;
}

const char *shard_map_file(const struct shard_map *map, size_t index)
{
    return map->files[index];
}

const char *shard_map_find(const struct shard_map *map, const char *tensor)
{
    const struct place key = {.tensor = tensor};
    const struct place *place = bsearch(&key, map->places, map->count, sizeof key, compare_places);
    return place ? map->files[place->file] : NULL;
}

// ---- safetensors ----

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
