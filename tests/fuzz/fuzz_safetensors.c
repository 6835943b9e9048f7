// SPDX-License-Identifier: Apache-2.0
#include "fuzz_tensors.h"
#include "ssmsweep/input/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct file_map file = {data, size};
    struct tensor_list tensors = {0};
    struct scalar_list scalars = {0};
    struct error err = {0};
    enum status status = safetensors_read(&tensors, &file, "fuzz", &err);
    fuzz_check_error(&err);
    fuzz_use(&tensors, &scalars, status == STATUS_OK);
    return 0;
}
