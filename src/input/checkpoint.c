// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/input/checkpoint.h"

#include <stdlib.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/input/safetensors.h"

struct checkpoint {
    char *path;
    struct file_map file;
    struct tensor_list tensors;
};

static bool holds_file(const char *directory, const char *name)
{
    char *path = file_join(directory, name);
    bool found = path && file_exists(path);
    free(path);
    return found;
}

// There is no model.safetensors: which other layout is it?
static enum status name_layout(const char *directory, struct error *err)
{
    static const char *const layouts[] = {"model.safetensors.index.json", "pytorch_model.bin.index.json",
                                          "pytorch_model.bin"};
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (holds_file(directory, layouts[i]))
            return error_set(err, STATUS_INPUT,
                             "%s: expected model.safetensors, got only %s: this layout is not read yet; "
                             "convert the weights "
                             "to one safetensors file",
                             directory, layouts[i]);
    return error_set(err, STATUS_INPUT,
                     "%s/model.safetensors: no such file; a model folder holds the weights in it", directory);
}

enum status checkpoint_open(struct checkpoint **checkpoint, const char *directory, struct error *err)
{
    struct checkpoint *opened = calloc(1, sizeof *opened);
    if (!opened) return error_memory(err, sizeof *opened, "a checkpoint");
    opened->path = file_join(directory, "model.safetensors");
    if (!opened->path)
        error_memory(err, 0, "a path");
    else if (!file_exists(opened->path))
        name_layout(directory, err);
    else if (!file_map(&opened->file, opened->path, err) &&
             !safetensors_read(&opened->tensors, &opened->file, opened->path, err))
        tensor_list_sort(&opened->tensors, opened->path, err);
    if (err->status)
        checkpoint_close(opened);
    else
        *checkpoint = opened;
    return err->status;
}

void checkpoint_close(struct checkpoint *checkpoint)
{
    if (!checkpoint) return;
    tensor_list_clear(&checkpoint->tensors);
    file_unmap(&checkpoint->file);
    free(checkpoint->path);
    free(checkpoint);
}

const char *checkpoint_path(const struct checkpoint *checkpoint)
{
    return checkpoint->path;
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

enum status checkpoint_digest(const struct checkpoint *checkpoint, unsigned char digest[HASH_BYTES],
                              struct error *err)
{
    struct hash *hash = hash_open();
    if (!hash) return error_memory(err, HASH_BYTES, "a SHA-256");
    hash_update(hash, checkpoint->file.data, checkpoint->file.size_bytes);
    hash_finish(hash, digest);
    hash_close(hash);
    return STATUS_OK;
}
