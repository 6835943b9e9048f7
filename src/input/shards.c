// SPDX-License-Identifier: Apache-2.0
#include "shards.h"

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/base/json.h"

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
