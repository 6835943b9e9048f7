// SPDX-License-Identifier: Apache-2.0
// Every byte of every tensor that a reader let through: what lies outside its file, a sanitizer finds.
#ifndef SSMSWEEP_TESTS_FUZZ_TENSORS_H
#define SSMSWEEP_TESTS_FUZZ_TENSORS_H

#include <stdlib.h>
#include <string.h>

#include "ssmsweep/input/tensor.h"

enum { FUZZ_MAX_ELEMENTS = 1 << 16 };

static inline void fuzz_read_tensor(const struct tensor *tensor)
{
    int64_t index, count = tensor_elements(tensor);
    char shape[TENSOR_SHAPE_CHARS];
    tensor_shape_text(tensor->shape, tensor->dims, shape);
    if (!tensor->name || strlen(tensor->name) == SIZE_MAX) abort();
    if (count > FUZZ_MAX_ELEMENTS) return;
    void *out = malloc((size_t)count * sizeof(float) + 1);
    if (!out) abort();
    if (tensor->dtype == DTYPE_F32 || tensor->dtype == DTYPE_F16 || tensor->dtype == DTYPE_BF16) {
        tensor_to_f32(tensor, out);
        tensor_find_nonfinite(tensor, &index);
    } else if (tensor->dtype == DTYPE_I8) {
        tensor_to_i8(tensor, out);
    }
    free(out);
}

// Sorts and reads the lists, and clears them.
static inline void fuzz_use(struct tensor_list *tensors, struct scalar_list *scalars, bool good)
{
    struct error err = {0};
    if (good && !tensor_list_sort(tensors, "fuzz", &err) && !scalar_list_sort(scalars, "fuzz", &err))
        for (size_t i = 0; i < tensors->count; i++) {
            fuzz_read_tensor(&tensors->items[i]);
            if (tensor_list_find(tensors, tensors->items[i].name) != &tensors->items[i]) abort();
        }
    tensor_list_clear(tensors);
    scalar_list_clear(scalars);
}

// A refusal is one line with a status; nothing else is.
static inline void fuzz_check_error(const struct error *err)
{
    bool failed = err->status != STATUS_OK;
    if (failed != (err->text[0] != '\0') || strchr(err->text, '\n')) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
