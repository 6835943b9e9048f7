// SPDX-License-Identifier: Apache-2.0
// A checkpoint divided over several files: *.index.json, whose weight_map says which tensor is in which.
#ifndef SSMSWEEP_INPUT_SHARDS_H
#define SSMSWEEP_INPUT_SHARDS_H

#include <stddef.h>

#include "ssmsweep/base/status.h"

struct shard_map; // opaque

// STATUS_INPUT: torn, no weight_map, a shard that is no plain file name, too many.  Local.
enum status shard_map_open(struct shard_map **map, const char *path, struct error *err);
void shard_map_close(struct shard_map *map); // NULL is fine

size_t shard_map_files(const struct shard_map *map);
const char *shard_map_file(const struct shard_map *map, size_t index); // in the order of the index

// Local.  The file that the map names for a tensor; NULL: it does not name the tensor.  What the files hold
// decides, not the map: writers list a tied lm_head that they left out, and leave out copies.
const char *shard_map_find(const struct shard_map *map, const char *tensor);

#endif
