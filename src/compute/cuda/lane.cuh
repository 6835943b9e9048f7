// SPDX-License-Identifier: Apache-2.0
// The processor's formulas at one lane, for kernels.
#ifndef SSMSWEEP_COMPUTE_CUDA_LANE_CUH
#define SSMSWEEP_COMPUTE_CUDA_LANE_CUH

#define ISA_ONE 1
#include "device.h"

#include "../cpu/isa/elementwise.h"
#include "../cpu/isa/gemm_s8.h"
#include "../cpu/isa/scan.h"

// The sample of a row, and the row that it begins at.
static __device__ __forceinline__ int part_of(const struct parts &p, int row, int *first)
{
    const int sample = p.sample_of ? p.sample_of[row] : 0;
    *first = p.firsts ? p.firsts[sample] : 0;
    return sample;
}

static __device__ __forceinline__ int part_length(const struct parts &p, int sample)
{
    return p.firsts ? p.firsts[sample + 1] - p.firsts[sample] : p.tokens;
}

static __device__ __forceinline__ float quiet_nan(void)
{
    return __int_as_float(0x7fc00000);
}

// Four neighbours; from: on a boundary of 16 bytes.
static __device__ __forceinline__ void load_four(const float *from, float *to)
{
    const float4 v = *(const float4 *)from;
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

static inline unsigned blocks_of(long count, int each)
{
    return (unsigned)((count + each - 1) / each);
}

// More shared memory than a kernel gets unasked.
template <class KERNEL, class... ARGUMENTS>
static void launch(KERNEL *kernel, dim3 grid, int threads, size_t shared_bytes, device_stream stream,
                   ARGUMENTS... arguments)
{
    if (shared_bytes > (48u << 10))
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared_bytes);
    kernel<<<grid, (unsigned)threads, shared_bytes, stream>>>(arguments...);
}

#endif
