// SPDX-License-Identifier: Apache-2.0
// The second backend: steps on a GPU through CUDA, with the processor's bits (docs/numerics.md, "On a GPU").
// What a program was built with and what a machine has are asked for here; the rest is backend.h.
#ifndef SSMSWEEP_COMPUTE_CUDA_H
#define SSMSWEEP_COMPUTE_CUDA_H

#include <stddef.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/compute/backend.h"

struct cuda_device {
    char name[256];
    unsigned char uuid[16]; // of the device, whatever its number
    int major, minor;       // compute capability
    int processors;
    size_t memory_bytes, free_bytes;
};

// Local.  NULL: this program was built without CUDA.  Its batches hold up to max_tokens tokens of any number
// of samples; it has no steps of Mamba-2 yet, and open() refuses a shape with chunks.
const struct backend *backend_cuda(void);

// Local.  Devices that this process can use: 0 without a driver, without a GPU, or where the program was
// built without CUDA.
int cuda_devices(void);

// Local.  Of device 0 .. cuda_devices() - 1.
enum status cuda_describe(int index, struct cuda_device *device, struct error *err);

// Local.  What is opened from now on is on this device.
enum status cuda_use(int index, struct error *err);

// Local.  "12.4": with which this program was built; NULL: without.
const char *cuda_version(void);

#endif
