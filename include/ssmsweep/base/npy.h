// SPDX-License-Identifier: Apache-2.0
// NumPy's .npy files (format versions 1 to 3): map for reading, write whole arrays, or only make the header.
#ifndef SSMSWEEP_BASE_NPY_H
#define SSMSWEEP_BASE_NPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/status.h"

// Little-endian.
enum npy_dtype {
    NPY_INT32,
    NPY_INT64,
    NPY_FLOAT32,
    NPY_FLOAT64,
    NPY_UINT16,
    NPY_UINT32,
    NPY_FLOAT16 // is written, and refused where arrays are read
};

enum { NPY_MAX_DIMS = 8, NPY_HEADER_ROOM = 512, NPY_PREFIX_BYTES = 12, NPY_MAX_HEADER_BYTES = 1 << 20 };

// A read-only array in C order.  In caller memory; npy_unmap() frees (a zeroed one is fine).
struct npy {
    struct file_map map;
    enum npy_dtype dtype;
    int dims;
    size_t shape[NPY_MAX_DIMS];
    size_t count;              // product of the shape
    const unsigned char *data; // [count] items of dtype, maybe unaligned; NULL if count is 0
};

// STATUS_INPUT names the file and what is wrong with it: torn header, Fortran order, another dtype, more than
// NPY_MAX_DIMS dimensions, or data that are shorter or longer than the shape says.  Local.
enum status npy_map(struct npy *npy, const char *path, struct error *err);
void npy_unmap(struct npy *npy);

// For streams.  How many bytes precede the data, by the first NPY_PREFIX_BYTES of the stream; then the header
// itself, from all of those bytes: sets everything but `map` and `data`.  Errors as npy_map(), and for a
// header beyond NPY_MAX_HEADER_BYTES.  Local.
enum status npy_header_bytes(size_t *bytes, const unsigned char prefix[NPY_PREFIX_BYTES], const char *path,
                             struct error *err);
enum status npy_parse(struct npy *npy, size_t *header_bytes, const unsigned char *data, size_t have_bytes,
                      const char *path, struct error *err);

const char *npy_dtype_name(enum npy_dtype dtype); // "<i4" ...
size_t npy_item_bytes(enum npy_dtype dtype);
bool npy_is_integer(enum npy_dtype dtype);
int64_t npy_integer_at(enum npy_dtype dtype, const unsigned char *data, size_t index); // 0 for floats

// Item `index` (row-major, below count) of an integer or of a floating-point array; calling the one for an
// array of the other kind is a defect of the caller and gives 0.
int64_t npy_integer(const struct npy *npy, size_t index);
double npy_number(const struct npy *npy, size_t index);

// Makes the bytes that precede the data, for writers that stream: at most NPY_HEADER_ROOM, a multiple of 64,
// and returns how many.  dims is 0 .. NPY_MAX_DIMS.
size_t npy_header(char header[NPY_HEADER_ROOM], enum npy_dtype dtype, int dims, const size_t *shape);

// Writes a whole array by file_replace().  The data are copied once.  Local.
enum status npy_write(const char *path, enum npy_dtype dtype, int dims, const size_t *shape, const void *data,
                      struct error *err);

#endif
