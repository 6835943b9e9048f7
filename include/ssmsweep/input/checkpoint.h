// SPDX-License-Identifier: Apache-2.0
// A checkpoint as a set of named tensors, whatever file it came from.  Nothing is converted or copied:
// tensors point into the mapped file.
#ifndef SSMSWEEP_INPUT_CHECKPOINT_H
#define SSMSWEEP_INPUT_CHECKPOINT_H

#include <stddef.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/input/tensor.h"

// Its tensors live as long as the checkpoint.
struct checkpoint; // opaque

// Opens the weights in a model folder (model.safetensors).  Local.  STATUS_INPUT: missing, torn, overlapping,
// unknown dtype, ... with file and tensor named.
enum status checkpoint_open(struct checkpoint **checkpoint, const char *directory, struct error *err);
void checkpoint_close(struct checkpoint *checkpoint); // NULL is fine

const char *checkpoint_path(const struct checkpoint *checkpoint); // the file, for messages
size_t checkpoint_count(const struct checkpoint *checkpoint);
const struct tensor *checkpoint_at(const struct checkpoint *checkpoint, size_t index);
const struct tensor *checkpoint_find(const struct checkpoint *checkpoint,
                                     const char *name); // NULL: no such tensor
// SHA-256 of the file's bytes.  STATUS_IO: out of memory.
enum status checkpoint_digest(const struct checkpoint *checkpoint, unsigned char digest[HASH_BYTES],
                              struct error *err);

#endif
