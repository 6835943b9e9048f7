// SPDX-License-Identifier: Apache-2.0
// Tensors as views of bytes that somebody else owns, and named lists of them, whatever file they came from.
#ifndef SSMSWEEP_INPUT_TENSOR_H
#define SSMSWEEP_INPUT_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
    DTYPE_BOOL,
    DTYPE_OTHER, // none that can be read: such a tensor is there, its elements are not
    DTYPE_COUNT
};
enum { TENSOR_MAX_DIMS = 8, TENSOR_SHAPE_CHARS = 192, TENSOR_OTHER_CHARS = 24 };

// View of one tensor.  `data` may be unaligned (read elements with memcpy).
struct tensor {
    const char *name;
    const unsigned char *data;
    enum dtype dtype;
    int dims; // 0: a scalar
    int64_t shape[TENSOR_MAX_DIMS];
    int64_t stride[TENSOR_MAX_DIMS]; // in elements; row-major contiguous for safetensors
    char other[TENSOR_OTHER_CHARS];  // DTYPE_OTHER: what the file calls it, cut to fit
};

size_t dtype_bytes(enum dtype dtype);                       // 0: DTYPE_OTHER
const char *dtype_name(enum dtype dtype);                   // "F32", ... as safetensors spells them
const char *tensor_dtype_name(const struct tensor *tensor); // as the file has it
bool dtype_find(const char *name, enum dtype *dtype);       // false: none that can be read

// Sets the strides of a row-major contiguous tensor from its shape.  False if the product of the shape, or
// the bytes that it takes, exceed INT64_MAX; the shape must hold no negative number.
bool tensor_set_contiguous(struct tensor *tensor, int64_t *bytes);
int64_t tensor_elements(const struct tensor *tensor);
// "[2, 3]", cut to fit.
void tensor_shape_text(const int64_t *shape, int dims, char text[TENSOR_SHAPE_CHARS]);

// True for F32, F16, BF16 and F64: what weights may be.
bool dtype_is_float(enum dtype dtype);
// Copies one float tensor into float32, row-major (exact; F64 is rounded to nearest).  `out` holds the
// product of the shape.
void tensor_to_f32(const struct tensor *tensor, float *out);

// The tensor itself where it lies as float32, row-major and aligned; else NULL.
const float *tensor_as_f32(const struct tensor *tensor);

// Copies an I8 tensor, row-major.  `out` holds the product of the shape.
void tensor_to_i8(const struct tensor *tensor, int8_t *out);

// The same shape, and in every element the same bits or, where dtypes or layouts differ and both are float,
// the same value as float32.
bool tensor_same_values(const struct tensor *a, const struct tensor *b);

// True if an element of a float tensor is NaN or infinite as float32; *index is then the first such element,
// row-major.
bool tensor_find_nonfinite(const struct tensor *tensor, int64_t *index);
// What holds of the elements that begin in the bytes [from, to); a tensor that is not row-major counts as a
// whole where its data begin.
bool tensor_nonfinite_within(const struct tensor *tensor, const unsigned char *from, const unsigned char *to);

// A list that owns the names and the array, not the bytes.  In caller memory, zeroed before use.
struct tensor_list {
    struct tensor *items;
    size_t count, room;
};

void tensor_list_order(struct tensor_list *list); // by name
enum status tensor_list_add(struct tensor_list *list, const struct tensor *tensor,
                            struct error *err); // copies
// Sorts by name, after the last addition; tensor_list_find() needs it.  STATUS_INPUT: a name that occurs
// twice.
enum status tensor_list_sort(struct tensor_list *list, const char *where, struct error *err);
const struct tensor *tensor_list_find(const struct tensor_list *list,
                                      const char *name); // NULL: no such tensor
void tensor_list_clear(struct tensor_list *list);

// ---- scalar ----

// Named plain numbers of a checkpoint (quantization scales are often stored so), beside its tensors.

struct scalar {
    const char *name;
    double value;
};

// Owns names and array.  In caller memory, zeroed before use.
struct scalar_list {
    struct scalar *items;
    size_t count, room;
};

enum status scalar_list_add(struct scalar_list *list, const char *name, double value, struct error *err);
// Sorts by name, after the last addition; scalar_list_find() needs it.  STATUS_INPUT: a name that occurs
// twice.
enum status scalar_list_sort(struct scalar_list *list, const char *where, struct error *err);
const struct scalar *scalar_list_find(const struct scalar_list *list, const char *name); // NULL: none
void scalar_list_clear(struct scalar_list *list);

#endif
