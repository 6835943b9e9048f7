// SPDX-License-Identifier: Apache-2.0
// Hadamard rotations of rows.
#include "lane.cuh"

enum { ROTATE_THREADS = 256, MOST_SHARED = 48 << 10, MOST_BASE = 40 };

// x or -x, as the sign of an entry of the base matrix's row is.
static __device__ __forceinline__ float signed_by(uint64_t negative, int column, float x)
{
    const uint32_t part = (uint32_t)(negative >> (column / 32 * 32));
    return __uint_as_float(__float_as_uint(x) ^ (part << (31 - column % 32) & 0x80000000u));
}

// Sylvester stages of a row at x.
static __device__ void sylvester(const struct device_rotation &r, float *x)
{
    for (int h = 1; h < r.power; h *= 2) {
        for (int pair = threadIdx.x; pair < r.dim / 2; pair += ROTATE_THREADS) {
            const int i = 2 * pair - (pair & (h - 1)); // 2h (pair / h) + pair % h
            const float a = x[i], b = x[i + h];
            x[i] = a + b;
            x[i + h] = a - b;
        }
        __syncthreads();
    }
}

// Where element i of a row is in shared memory: neighbours at a distance of 16 are in other banks.
static __device__ __forceinline__ int padded(int i)
{
    return i + i / 16;
}

// Stages h, 2h, ... up to R / 2 times h, in registers: R values lie h apart.  from: the
// row, where h is 1 and x has nothing yet; or NULL.
template <int R>
static __device__ __forceinline__ void sylvester_stages(const struct device_rotation &r, int h,
                                                        const float *from, float *x)
{
    for (int some = threadIdx.x; some < r.dim / R; some += blockDim.x) {
        const int first = R * some - (R - 1) * (some & (h - 1)); // R h (some / h) + some % h
        float v[R];
        if (from) {
#pragma unroll
            for (int k = 0; k < R; k += 4) {
                const float4 four = *(const float4 *)(from + first + k);
                v[k] = four.x, v[k + 1] = four.y, v[k + 2] = four.z, v[k + 3] = four.w;
            }
        } else {
#pragma unroll
            for (int k = 0; k < R; k++)
                v[k] = x[padded(first + k * h)];
        }
#pragma unroll
        for (int stage = 1; stage < R; stage *= 2)
#pragma unroll
            for (int k = 0; k < R; k++)
                if ((k & stage) == 0) {
                    const float a = v[k], b = v[k + stage];
                    v[k] = a + b;
                    v[k + stage] = a - b;
                }
#pragma unroll
        for (int k = 0; k < R; k++)
            x[padded(first + k * h)] = v[k];
    }
    __syncthreads();
}

// The base matrix over the chunks of a row; a product with +-1 is exact, so an addition is the multiply-add.
// A thread has every `of`-th output of a column.
template <int BASE>
static __device__ __forceinline__ void base_columns(const struct device_rotation &r, const float *x,
                                                    float *row)
{
    const int of = r.power < blockDim.x ? blockDim.x / r.power : 1;
    for (int at = threadIdx.x; at < r.power * of; at += blockDim.x) {
        const int j = at & (r.power - 1), own = at / r.power;
        float y[BASE];
#pragma unroll
        for (int c = 0; c < BASE; c++)
            y[c] = x[padded(c * r.power + j)];
        for (int i = own; i < BASE; i += of) {
            const uint64_t negative = r.negative[i];
            float sum = 0;
#pragma unroll
            for (int c = 0; c < BASE; c++)
                sum += signed_by(negative, c, y[c]);
            row[i * r.power + j] = sum * r.factor;
        }
    }
}

// A row that fits into shared memory.
static __global__ void __launch_bounds__(ROTATE_THREADS)
    rotate_near(struct device_rotation r, float *rows, long ld)
{
    extern __shared__ float x[];
    float *row = rows + blockIdx.x * ld;
    int h = 1;
    if (r.power >= 16) {
        sylvester_stages<16>(r, 1, row, x);
        h = 16;
    } else {
        for (int i = threadIdx.x; i < r.dim; i += blockDim.x)
            x[padded(i)] = row[i];
        __syncthreads();
    }
    for (; 16 * h <= r.power; h *= 16)
        sylvester_stages<16>(r, h, NULL, x);
    if (8 * h == r.power)
        sylvester_stages<8>(r, h, NULL, x);
    else if (4 * h == r.power)
        sylvester_stages<4>(r, h, NULL, x);
    else if (2 * h == r.power)
        sylvester_stages<2>(r, h, NULL, x);
    if (r.has_matrix && r.base == 12)
        base_columns<12>(r, x, row);
    else if (r.has_matrix)
        base_columns<MOST_BASE>(r, x, row); // rotation_exists(): there is no third
    else
        for (int i = threadIdx.x; i < r.dim; i += blockDim.x)
            row[i] = x[padded(i)] * r.factor;
}

// Any row, in place.
static __global__ void __launch_bounds__(ROTATE_THREADS)
    rotate_far(struct device_rotation r, float *rows, long ld)
{
    float *row = rows + blockIdx.x * ld, y[MOST_BASE];
    sylvester(r, row);
    for (int j = threadIdx.x; j < r.power; j += ROTATE_THREADS) {
        for (int c = 0; c < r.base; c++)
            y[c] = row[c * r.power + j];
        for (int i = 0; i < r.base; i++) {
            float sum = r.has_matrix ? 0 : y[0];
            for (int c = 0; r.has_matrix && c < r.base; c++)
                sum += signed_by(r.negative[i], c, y[c]);
            row[i * r.power + j] = sum * r.factor;
        }
    }
}

void device_rotate(device_stream stream, const struct device_rotation *rotation, int rows, float *x, long ld)
{
    const size_t bytes = (size_t)(rotation->dim + rotation->dim / 16 + 1) * sizeof *x;
    const unsigned threads = rotation->dim <= 2048 ? ROTATE_THREADS / 2 : ROTATE_THREADS;
    if (bytes <= MOST_SHARED)
        rotate_near<<<(unsigned)rows, threads, bytes, stream>>>(*rotation, x, ld);
    else
        rotate_far<<<(unsigned)rows, ROTATE_THREADS, 0, stream>>>(*rotation, x, ld);
}
