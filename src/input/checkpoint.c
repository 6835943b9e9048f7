// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/checkpoint.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "shards.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/signature.h"
#include "ssmsweep/input/pickle.h"
#include "ssmsweep/input/safetensors.h"
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
