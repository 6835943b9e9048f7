// SPDX-License-Identifier: Apache-2.0
// The pickle alone: in an archive its CRC-32 would stop nearly every change of it.
#include "fuzz_tensors.h"
#include "ssmsweep/input/pickle.h"

enum { MAX_STORAGE = 4096 };

// Storage "<n>..." has n bytes.
static enum status find(void *context, const char *key, const unsigned char **data, size_t *size_bytes,
                        struct error *err)
{
    long size = strtol(key, NULL, 10);
    if (size < 0 || size > MAX_STORAGE) return error_set(err, STATUS_INPUT, "fuzz: no storage %s", key);
    *data = (const unsigned char *)context + MAX_STORAGE - size; // its end is the block's end
    *size_bytes = (size_t)size;
    return STATUS_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned char *storage = calloc(1, MAX_STORAGE);
    if (!storage) abort();
    struct pickle_source source = {.where = "fuzz", .find = find, .context = storage};
    struct tensor_list tensors = {0};
    struct scalar_list scalars = {0};
    struct error err = {0};
    enum status status = pickle_read(&tensors, &scalars, data, size, &source, &err);
    fuzz_check_error(&err);
    fuzz_use(&tensors, &scalars, status == STATUS_OK);
    free(storage);
    return 0;
}
