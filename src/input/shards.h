// SPDX-License-Identifier: Apache-2.0
// A checkpoint divided over several files: *.index.json, whose weight_map says which tensor is in which.
#ifndef SSMSWEEP_INPUT_SHARDS_H
#define SSMSWEEP_INPUT_SHARDS_H

#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/tensor.h"

struct shard_map; // opaque

// STATUS_INPUT: torn, no weight_map, a shard that is no plain file name, too many.  Local.
enum status shard_map_open(struct shard_map **map, const char *path, struct error *err);
void shard_map_close(struct shard_map *map); // NULL is fine

size_t shard_map_files(const struct shard_map *map);
const char *shard_map_file(const struct shard_map *map, size_t index); // in the order of the index

// Are the tensors [from, to) of the list, which came from shard `index`, those that the map has there?
enum status shard_map_check(const struct shard_map *map, size_t index, const struct tensor_list *tensors,
                            size_t from, struct error *err);
// Is there everything that the map names?  The list is sorted.
enum status shard_map_check_whole(const struct shard_map *map, const struct tensor_list *tensors,
                                  struct error *err);

#endif
