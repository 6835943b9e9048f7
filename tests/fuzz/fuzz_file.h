// SPDX-License-Identifier: Apache-2.0
// The bytes of a fuzzer as a file in memory, under a path that stays the same.
#ifndef SSMSWEEP_TESTS_FUZZ_FILE_H
#define SSMSWEEP_TESTS_FUZZ_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

// Made once for each name.
struct fuzz_file {
    int descriptor;
    char path[40];
};

static inline const char *fuzz_file_put(struct fuzz_file *file, const uint8_t *data, size_t size)
{
    if (!file->path[0]) {
        file->descriptor = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->descriptor);
    }
    if (file->descriptor < 0 || ftruncate(file->descriptor, 0) != 0 ||
        pwrite(file->descriptor, data, size, 0) != (ssize_t)size)
        abort();
    return file->path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
