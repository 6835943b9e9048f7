// SPDX-License-Identifier: Apache-2.0
// In place of cuda.c where the program is built without CUDA.
#include "ssmsweep/compute/cuda.h"

const struct backend *backend_cuda(void)
{
    return NULL;
}

int cuda_devices(void)
{
    return 0;
}

size_t cuda_ssd_bytes(const struct ssd *ssd, int samples)
{
    (void)ssd, (void)samples;
    return 0;
}

const char *cuda_version(void)
{
    return NULL;
}

enum status cuda_use(int index, struct error *err)
{
    return error_set(err, STATUS_USAGE, "device cuda:%d: this program was built without CUDA", index);
}

size_t cuda_free_bytes(int index)
{
    (void)index;
    return 0;
}

enum status cuda_describe(int index, struct cuda_device *device, struct error *err)
{
    (void)device;
    return error_set(err, STATUS_USAGE, "device cuda:%d: this program was built without CUDA", index);
}

enum status cuda_peaks_open(struct cuda_peaks **peaks, struct error *err)
{
    (void)peaks;
    return error_set(err, STATUS_USAGE, "this program was built without CUDA");
}

double cuda_peaks_run(struct cuda_peaks *peaks, enum cuda_peak peak, long rounds)
{
    (void)peaks, (void)peak, (void)rounds;
    return 0;
}

void cuda_peaks_close(struct cuda_peaks *peaks)
{
    (void)peaks;
}
