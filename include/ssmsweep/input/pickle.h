// SPDX-License-Identifier: Apache-2.0
// The pickle inside a PyTorch file, read without running anything: a small machine that knows the opcodes and
// globals that a state dict needs (the set that torch.load(weights_only=True) allows) and refuses every other
// one by name and offset.
#ifndef SSMSWEEP_INPUT_PICKLE_H
#define SSMSWEEP_INPUT_PICKLE_H

#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/input/tensor.h"

// Where the bytes of storages are.
struct pickle_source {
    const char *where; // starts messages
    // The bytes of storage `key`; they must live as long as the tensors.  STATUS_INPUT: there is none.
    enum status (*find)(void *context, const char *key, const unsigned char **data, size_t *size_bytes,
                        struct error *err);
    void *context;
};

// Adds the tensors and numbers (int, float, bool) of the pickled dict of a state dict to the lists, which are
// the caller's to sort and to clear, after a failure too.  None, texts and containers among its values are
// left out.  Tensors keep their strides and point into the storages, inside which they lie wholly.  Memory is
// bounded by a multiple of size_bytes and by fixed limits.  STATUS_INPUT names the offset and what is wrong.
// Local.
enum status pickle_read(struct tensor_list *tensors, struct scalar_list *scalars, const unsigned char *bytes,
                        size_t size_bytes, const struct pickle_source *source, struct error *err);

#endif
