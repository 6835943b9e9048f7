// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/torch_zip.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "ssmsweep/input/pickle.h"

enum { MAX_ENTRIES = 1 << 18, CHUNK_BYTES = 1 << 16, MAX_NAME = 1024 };

// ---- libzip over a mapped file ----

// libzip does not tell where an entry's data begin, so that its reads are watched.
struct window {
    const unsigned char *data;
    zip_uint64_t size, at;
    bool watching;
    zip_uint64_t first_read; // of the first read since watching was set
    zip_error_t error;
};

static zip_int64_t read_window(struct window *w, void *out, zip_uint64_t length)
{
    if (w->watching) w->first_read = w->at;
    w->watching = false;
    zip_uint64_t left = w->size - w->at;
    if (length > left) length = left;
    memcpy(out, w->data + w->at, (size_t)length);
    w->at += length;
    return (zip_int64_t)length;
}

static zip_int64_t serve(void *context, void *data, zip_uint64_t length, zip_source_cmd_t command)
{
    struct window *w = context;
    zip_int64_t place;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        w->at = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return read_window(w, data, length);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_STAT:
        zip_stat_init(data);
        ((zip_stat_t *)data)->size = w->size;
        ((zip_stat_t *)data)->valid = ZIP_STAT_SIZE;
        return sizeof(zip_stat_t);
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&w->error, data, length);
    case ZIP_SOURCE_SEEK:
        place = zip_source_seek_compute_offset(w->at, w->size, data, length, &w->error);
        if (place >= 0) w->at = (zip_uint64_t)place;
        return place >= 0 ? 0 : -1;
    case ZIP_SOURCE_TELL:
        return (zip_int64_t)w->at;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE,
                                              ZIP_SOURCE_STAT, ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE,
                                              ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL, ZIP_SOURCE_SUPPORTS, -1);
    default:
        zip_error_set(&w->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

// ---- the archive ----

struct entry {
    const char *name; // of libzip
    zip_uint64_t offset, size;
};

struct archive {
    const char *path;
    struct window window;
    zip_t *zip;
    struct entry *entries; // sorted by name
    size_t count;
    char root[MAX_NAME]; // "ROOT/"
};

static enum status zip_failure(const struct archive *a, const char *what, zip_error_t *error,
                               struct error *err)
{
    error_set(err, STATUS_INPUT, "%s: %.200s: %s; the file is damaged, copy it again", a->path, what,
              zip_error_strerror(error));
    return err->status;
}

static enum status open_zip(struct archive *a, struct error *err)
{
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_function_create(serve, &a->window, &error);
    a->zip = source ? zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error) : NULL;
    if (!a->zip) {
        zip_failure(a, "not a whole zip archive", &error, err);
        if (source) zip_source_free(source);
    }
    zip_error_fini(&error);
    return err->status;
}

// Reads an entry to its end, where libzip compares the CRC-32, and so learns where its data lie.
static enum status locate(struct archive *a, zip_uint64_t index, struct entry *entry, struct error *err)
{
    unsigned char chunk[CHUNK_BYTES];
    zip_uint64_t total = 0;
    zip_int64_t got = 0;
    zip_file_t *file = zip_fopen_index(a->zip, index, 0);
    if (!file) return zip_failure(a, entry->name, zip_get_error(a->zip), err);
    a->window.watching = true;
    while ((got = zip_fread(file, chunk, sizeof chunk)) > 0)
        total += (zip_uint64_t)got;
    bool watched = !a->window.watching;
    a->window.watching = false;
    if (got < 0) zip_failure(a, entry->name, zip_file_get_error(file), err);
    zip_fclose(file);
    if (err->status) return err->status;
    entry->offset = watched ? a->window.first_read : 0;
    if (total != entry->size || (entry->size > 0 && !watched) || entry->size > a->window.size ||
        entry->offset > a->window.size - entry->size)
        return error_set(err, STATUS_INPUT, "%s: %.200s: expected %llu bytes, got %llu; copy the file again",
                         a->path, entry->name, (unsigned long long)entry->size, (unsigned long long)total);
    return STATUS_OK;
}

static enum status check_stat(const struct archive *a, const zip_stat_t *stat, struct error *err)
{
    const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD |
                                ZIP_STAT_ENCRYPTION_METHOD;
    if ((stat->valid & needed) != needed || strlen(stat->name) >= MAX_NAME)
        return error_set(err, STATUS_INPUT, "%s: an entry of the archive lacks name or size; copy it again",
                         a->path);
    if (stat->encryption_method != ZIP_EM_NONE)
        return error_set(err, STATUS_INPUT, "%s: %.200s: expected a plain entry, got an encrypted one",
                         a->path, stat->name);
    if (stat->comp_method != ZIP_CM_STORE)
        return error_set(err, STATUS_INPUT,
                         "%s: %.200s: expected a stored entry, got a compressed one (method %d); PyTorch "
                         "writes stored ones, save the model with it again",
                         a->path, stat->name, stat->comp_method);
    if (stat->size != stat->comp_size || stat->size > a->window.size)
        return error_set(err, STATUS_INPUT,
                         "%s: %.200s: expected as many bytes stored as in all, got %llu of %llu; the file is "
                         "damaged",
                         a->path, stat->name, (unsigned long long)stat->comp_size,
                         (unsigned long long)stat->size);
    return STATUS_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static int compare_offsets(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

// No byte of the file belongs to two entries.  Sorts by name.
static enum status check_apart(struct archive *a, struct error *err)
{
    const struct entry *before = NULL;
    qsort(a->entries, a->count, sizeof *a->entries, compare_offsets);
    for (size_t i = 0; i < a->count; i++) {
        const struct entry *entry = &a->entries[i];
        if (entry->size == 0) continue;
        if (before && before->offset + before->size > entry->offset)
            return error_set(err, STATUS_INPUT,
                             "%s: entries '%.200s' and '%.200s' overlap; the file is damaged", a->path,
                             before->name, entry->name);
        before = entry;
    }
    qsort(a->entries, a->count, sizeof *a->entries, compare_names); // libzip refused a name that occurs twice
    return STATUS_OK;
}

static enum status list_entries(struct archive *a, struct error *err)
{
    zip_int64_t count = zip_get_num_entries(a->zip, 0);
    if (count < 1 || count > MAX_ENTRIES)
        return error_set(err, STATUS_INPUT, "%s: expected 1 to %d entries in the archive, got %lld", a->path,
                         MAX_ENTRIES, (long long)count);
    a->entries = calloc((size_t)count, sizeof *a->entries);
    if (!a->entries)
        return error_memory(err, (size_t)count * sizeof *a->entries, "the entries of an archive");
    // All of them before the data of any: a bomb is refused before it is touched.
    zip_uint64_t left = a->window.size;
    for (zip_int64_t i = 0; i < count; i++) {
        zip_stat_t stat;
        if (zip_stat_index(a->zip, (zip_uint64_t)i, 0, &stat) != 0)
            return zip_failure(a, "an entry", zip_get_error(a->zip), err);
        if (check_stat(a, &stat, err)) return err->status;
        if (stat.size > left)
            return error_set(
                err, STATUS_INPUT,
                "%s: %.200s: the entries claim more bytes than the file has; the file is damaged", a->path,
                stat.name);
        left -= stat.size;
        a->entries[a->count++] = (struct entry){.name = stat.name, .size = stat.size};
    }
    for (size_t i = 0; i < a->count; i++)
        if (locate(a, i, &a->entries[i], err)) return err->status;
    return check_apart(a, err);
}

static const struct entry *find_entry(const struct archive *a, const char *name)
{
    char whole[2 * MAX_NAME];
    snprintf(whole, sizeof whole, "%s%s", a->root, name);
    const struct entry key = {.name = whole};
    return bsearch(&key, a->entries, a->count, sizeof key, compare_names);
}

static enum status find_storage(void *context, const char *key, const unsigned char **data,
                                size_t *size_bytes, struct error *err)
{
    const struct archive *a = context;
    char name[MAX_NAME];
    snprintf(name, sizeof name, "data/%s", key);
    const struct entry *entry = find_entry(a, name);
    if (!entry)
        return error_set(err, STATUS_INPUT, "%s: storage '%.200s' is missing from the archive; copy it again",
                         a->path, name);
    *data = a->window.data + entry->offset;
    *size_bytes = (size_t)entry->size;
    return STATUS_OK;
}

// The one "ROOT/data.pkl" with a root of one level.
static enum status find_root(struct archive *a, const struct entry **pickle, struct error *err)
{
    const char *name = "data.pkl";
    *pickle = NULL;
    for (size_t i = 0; i < a->count; i++) {
        const char *slash = strchr(a->entries[i].name, '/');
        if (!slash || strcmp(slash + 1, name) != 0) continue;
        if (*pickle)
            return error_set(err, STATUS_INPUT, "%s: expected one data.pkl in the archive, got two", a->path);
        *pickle = &a->entries[i];
        snprintf(a->root, sizeof a->root, "%.*s", (int)(slash + 1 - a->entries[i].name), a->entries[i].name);
    }
    if (!*pickle)
        return error_set(err, STATUS_INPUT,
                         "%s: expected an entry data.pkl in the archive; this is no PyTorch checkpoint",
                         a->path);
    return STATUS_OK;
}

static enum status read_archive(struct archive *a, struct tensor_list *tensors, struct scalar_list *scalars,
                                struct error *err)
{
    const struct entry *pickle;
    if (open_zip(a, err) || list_entries(a, err) || find_root(a, &pickle, err)) return err->status;
    const struct entry *order = find_entry(a, "byteorder");
    if (order && (order->size != 6 || memcmp(a->window.data + order->offset, "little", 6) != 0))
        return error_set(err, STATUS_INPUT,
                         "%s: byteorder: expected 'little'; save the model on a little-endian machine",
                         a->path);
    struct pickle_source source = {.where = a->path, .find = find_storage, .context = a};
    return pickle_read(tensors, scalars, a->window.data + pickle->offset, (size_t)pickle->size, &source, err);
}

static enum status check_magic(const struct file_map *file, const char *path, struct error *err)
{
    static const unsigned char zip[] = {'P', 'K', 3, 4},
                               legacy[] = {0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46};
    if (file->size_bytes >= sizeof zip && memcmp(file->data, zip, sizeof zip) == 0) return STATUS_OK;
    if (file->size_bytes >= sizeof legacy && memcmp(file->data, legacy, sizeof legacy) == 0)
        return error_set(err, STATUS_INPUT,
                         "%s: expected a zip archive, got PyTorch's legacy format; load and save it with "
                         "PyTorch 1.6 or newer",
                         path);
    return error_set(err, STATUS_INPUT, "%s: expected a zip archive as PyTorch writes it, got something else",
                     path);
}

enum status torch_zip_read(struct tensor_list *tensors, struct scalar_list *scalars,
                           const struct file_map *file, const char *path, struct error *err)
{
    if (check_magic(file, path, err)) return err->status;
    struct archive a = {.path = path, .window = {.data = file->data, .size = file->size_bytes}};
    zip_error_init(&a.window.error);
    read_archive(&a, tensors, scalars, err);
    if (a.zip) zip_discard(a.zip);
    zip_error_fini(&a.window.error);
    free(a.entries);
    return err->status;
}
