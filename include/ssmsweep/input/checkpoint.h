// SPDX-License-Identifier: Apache-2.0
// A checkpoint as a set of named tensors, whatever file it came from.  Nothing is converted or copied:
// tensors point into the mapped file.
#ifndef SSMSWEEP_INPUT_CHECKPOINT_H
#define SSMSWEEP_INPUT_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/hash.h"
#include "ssmsweep/base/status.h"

enum dtype {
    DTYPE_F32,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_F64,
    DTYPE_I8,
    DTYPE_I16,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_U8,
    DTYPE_BOOL
};
enum { TENSOR_MAX_DIMS = 8 };

// View of one tensor.  `data` may be unaligned (read elements with memcpy) and lives as long as the
// checkpoint.
struct tensor {
    const char *name;
    const unsigned char *data;
    enum dtype dtype;
    int dims;
    int64_t shape[TENSOR_MAX_DIMS];
    int64_t stride[TENSOR_MAX_DIMS]; // in elements; row-major contiguous for safetensors
};

struct checkpoint; // opaque

size_t dtype_bytes(enum dtype dtype);
const char *dtype_name(enum dtype dtype);

// Opens the weights in a model folder (model.safetensors).  Local.  STATUS_INPUT: missing, torn, overlapping,
// unknown dtype, ... with file and tensor named.
enum status checkpoint_open(struct checkpoint **checkpoint, const char *directory, struct error *err);
void checkpoint_close(struct checkpoint *checkpoint);

const char *checkpoint_path(const struct checkpoint *checkpoint); // the file, for messages
size_t checkpoint_count(const struct checkpoint *checkpoint);
const struct tensor *checkpoint_at(const struct checkpoint *checkpoint, size_t index);
const struct tensor *checkpoint_find(const struct checkpoint *checkpoint,
                                     const char *name); // NULL: no such tensor
// SHA-256 of the file's bytes.
void checkpoint_digest(const struct checkpoint *checkpoint, unsigned char digest[HASH_BYTES]);

// Copies one tensor into float32, row-major (F32, F16, BF16; exact).  `out` holds the product of the shape.
void tensor_to_f32(const struct tensor *tensor, float *out);

#endif
