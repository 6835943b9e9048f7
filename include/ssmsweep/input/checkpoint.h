// SPDX-License-Identifier: Apache-2.0
// A checkpoint as a set of named tensors and numbers, whatever files it came from.  Nothing is converted or
// copied: tensors point into the mapped files.
#ifndef SSMSWEEP_INPUT_CHECKPOINT_H
#define SSMSWEEP_INPUT_CHECKPOINT_H

#include <stddef.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/hash.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/input/tensor.h"

// Its tensors live as long as the checkpoint.
struct checkpoint; // opaque

// Opens the weights in a model folder, the first that is there of model.safetensors,
// model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json.  Copies of a tensor in
// several shards must agree.  Local.  STATUS_INPUT: missing, torn, overlapping, unknown dtype, ... with file
// and tensor named.
enum status checkpoint_open(struct checkpoint **checkpoint, const char *directory, struct notes *notes,
                            struct error *err);
void checkpoint_close(struct checkpoint *checkpoint); // NULL is fine
// Gives the memory of what was read so far back; the next access reads it again.  NULL is fine.
void checkpoint_release(const struct checkpoint *checkpoint);

const char *checkpoint_path(const struct checkpoint *checkpoint); // the file or the index, for messages
size_t checkpoint_files(const struct checkpoint *checkpoint);     // 1, or the number of shards
size_t checkpoint_bytes(const struct checkpoint *checkpoint);     // of all of them
size_t checkpoint_count(const struct checkpoint *checkpoint);
const struct tensor *checkpoint_at(const struct checkpoint *checkpoint, size_t index);
const struct tensor *checkpoint_find(const struct checkpoint *checkpoint,
                                     const char *name); // NULL: no such tensor

// The shard that the index names for a tensor that is not there; NULL: none.
const char *checkpoint_missing_from(const struct checkpoint *checkpoint, const char *name);
// Local.  Every tensor and number whose name begins with `from` gets `to` in its place.  STATUS_INPUT: two
// then have one name.
enum status checkpoint_rename(struct checkpoint *checkpoint, const char *from, const char *to,
                              struct error *err);

// Plain numbers beside the tensors (pytorch_model.bin alone has any).
size_t checkpoint_scalars(const struct checkpoint *checkpoint);
const struct scalar *checkpoint_scalar_at(const struct checkpoint *checkpoint, size_t index);
const struct scalar *checkpoint_scalar(const struct checkpoint *checkpoint, const char *name); // NULL: none

// The files in pieces of 4 MiB, the last of each file shorter, in the order in which the index first names
// the files.  The digest of a model's weights is the SHA-256 of the SHA-256 digests of all pieces in this
// order.
enum { CHECKPOINT_PIECE_BYTES = 4 << 20 };
size_t checkpoint_pieces(const struct checkpoint *checkpoint);
struct file_map checkpoint_piece(const struct checkpoint *checkpoint, size_t index); // of the mapping

// ---- shards ----

// A checkpoint divided over several files: *.index.json, whose weight_map says which tensor is in which.

struct shard_map; // opaque

// STATUS_INPUT: torn, no weight_map, a shard that is no plain file name, too many.  Local.
enum status shard_map_open(struct shard_map **map, const char *path, struct error *err);
void shard_map_close(struct shard_map *map); // NULL is fine

size_t shard_map_files(const struct shard_map *map);
const char *shard_map_file(const struct shard_map *map, size_t index); // in the order of the index

// Local.  The file that the map names for a tensor; NULL: it does not name the tensor.  What the files hold
// decides, not the map: writers list a tied lm_head that they left out, and leave out copies.
const char *shard_map_find(const struct shard_map *map, const char *tensor);

// ---- safetensors ----

// The safetensors format: 8 bytes of header length, a JSON header, then the bytes of the tensors.

// Adds the tensors of a mapped file to the list; they point into the mapping.  `path` is for messages. Local.
// STATUS_INPUT: torn file, header or tensor that is not as the format demands (tensor named), dtype not
// known. After an error the list may hold some of the tensors.
enum status safetensors_read(struct tensor_list *list, const struct file_map *file, const char *path,
                             struct error *err);

#endif
