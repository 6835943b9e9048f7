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
    size_t memory_bytes;
};

// Local.  NULL: this program was built without CUDA.  Its batches hold up to max_tokens tokens of any number
// of samples.
const struct backend *backend_cuda(void);

// Local.  Room that a batch takes for a scan over ssd->length tokens, of so many samples.
size_t cuda_ssd_bytes(const struct ssd *ssd, int samples);

// Local.  Devices that this process can use: 0 without a driver, without a GPU, or where the program was
// built without CUDA.
int cuda_devices(void);

// Local.  Of device 0 .. cuda_devices() - 1.  Takes nothing of it: ranks that do not compute there look, too.
enum status cuda_describe(int index, struct cuda_device *device, struct error *err);
// Local.  What is free of its memory, while this process holds some of it.
size_t cuda_free_bytes(int index);

// Local.  What is opened from now on is on this device.
enum status cuda_use(int index, struct error *err);

// What the device in use does at best, for `bench`.
enum cuda_peak {
    CUDA_PEAK_F32,   // multiply-adds of FP32 on registers; work: operations, two of each
    CUDA_PEAK_S8,    // multiply-adds of INT8, on tensor cores where there are some; the same
    CUDA_PEAK_EXP,   // exponentials on registers, as the scan takes them
    CUDA_PEAK_COPY,  // within its memory; work: bytes read and bytes written
    CUDA_PEAK_SEND,  // from pinned memory of the host; work: bytes
    CUDA_PEAK_FETCH, // into pinned memory of the host; work: bytes
    CUDA_PEAKS
};
struct cuda_peaks; // opaque: a stream and what is copied
// Local.  STATUS_IO: out of memory, of the host or of the device.
enum status cuda_peaks_open(struct cuda_peaks **peaks, struct error *err);
// Local.  So many rounds, waited for.  Returns the work; 0: the device failed.
double cuda_peaks_run(struct cuda_peaks *peaks, enum cuda_peak peak, long rounds);
void cuda_peaks_close(struct cuda_peaks *peaks); // NULL is fine

// Local.  "12.4": with which this program was built; NULL: without.
const char *cuda_version(void);

#endif
