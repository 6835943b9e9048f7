// SPDX-License-Identifier: Apache-2.0
// What a GPU does at best, for `bench`.
#include <stdlib.h>
#include <string.h>

#include "cuda_batch.h"

enum { COPIED_BYTES = 512 << 20, SENT_BYTES = 64 << 20 };

struct cuda_peaks {
    cudaStream_t stream;
    int processors;
    char *from, *to; // [COPIED_BYTES] on the device
    char *here;      // [SENT_BYTES] pinned
};

void cuda_peaks_close(struct cuda_peaks *peaks)
{
    if (!peaks) return;
    if (peaks->stream) cudaStreamDestroy(peaks->stream);
    cudaFree(peaks->from);
    cudaFree(peaks->to);
    cudaFreeHost(peaks->here);
    free(peaks);
}

enum status cuda_peaks_open(struct cuda_peaks **peaks, struct error *err)
{
    struct cudaDeviceProp device;
    int index = 0;
    struct cuda_peaks *p = calloc(1, sizeof *p);
    if (!p) return error_memory(err, sizeof *p, "what the device does at best");
    cudaError_t result = cudaGetDevice(&index);
    if (!result) result = cudaGetDeviceProperties(&device, index);
    if (!result) result = cudaStreamCreateWithFlags(&p->stream, cudaStreamNonBlocking);
    if (!result) result = cudaMalloc((void **)&p->from, COPIED_BYTES);
    if (!result) result = cudaMalloc((void **)&p->to, COPIED_BYTES);
    if (!result) result = cudaMallocHost((void **)&p->here, SENT_BYTES);
    if (!result) result = cudaMemset(p->from, 1, COPIED_BYTES);
    if (result != cudaSuccess) {
        cudaGetLastError();
        cuda_peaks_close(p);
        return error_set(err, STATUS_IO, "cannot measure the device: %s", cudaGetErrorString(result));
    }
    memset(p->here, 1, SENT_BYTES);
    p->processors = device.multiProcessorCount;
    *peaks = p;
    return STATUS_OK;
}

// The work of one copy; a failure shows when it is waited for.
static double copy(struct cuda_peaks *p, enum cuda_peak peak)
{
    if (peak == CUDA_PEAK_COPY) {
        cudaMemcpyAsync(p->to, p->from, COPIED_BYTES, cudaMemcpyDeviceToDevice, p->stream);
        return 2.0 * COPIED_BYTES;
    }
    if (peak == CUDA_PEAK_SEND)
        cudaMemcpyAsync(p->to, p->here, SENT_BYTES, cudaMemcpyHostToDevice, p->stream);
    else
        cudaMemcpyAsync(p->here, p->from, SENT_BYTES, cudaMemcpyDeviceToHost, p->stream);
    return SENT_BYTES;
}

double cuda_peaks_run(struct cuda_peaks *p, enum cuda_peak peak, long rounds)
{
    static const enum device_peak kernels[] = {[CUDA_PEAK_F32] = DEVICE_PEAK_F32,
                                               [CUDA_PEAK_S8] = DEVICE_PEAK_S8,
                                               [CUDA_PEAK_EXP] = DEVICE_PEAK_EXP};
    double work = 0;
    if (peak <= CUDA_PEAK_EXP)
        work = device_peak(p->stream, kernels[peak], p->processors, rounds, (float *)(void *)p->to);
    for (long r = 0; peak > CUDA_PEAK_EXP && r < rounds; r++)
        work += copy(p, peak);
    const bool failed = cudaStreamSynchronize(p->stream) != cudaSuccess || cudaGetLastError() != cudaSuccess;
    return failed ? 0 : work;
}
