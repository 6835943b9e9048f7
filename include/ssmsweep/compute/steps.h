// SPDX-License-Identifier: Apache-2.0
// The steps of a layer, each with its formula: what a backend is asked to do (backend.h), and what a kernel
// does of it.  Plain values and pointers to memory of the backend.
//
// Layout: activations are row-major [L][ld], ld a multiple of 16 elements, and the elements between the
// logical width and ld are zero.  Packed weights are panels of 16 outputs, [panel][k][16] (FP32),
// [panel][k/4][16][4] (INT8).
#ifndef SSMSWEEP_COMPUTE_STEPS_H
#define SSMSWEEP_COMPUTE_STEPS_H

#include <stdbool.h>
#include <stdint.h>

enum { KERNEL_LANES = 16 }; // panel width and granularity of every leading dimension
enum { SUM_LANES = 8 };     // lanes of sums in double

#if defined(__CUDACC__) // kernels take it, too
__host__ __device__
#endif
    static inline int
    round_up16(int n)
{
    return (n + KERNEL_LANES - 1) / KERNEL_LANES * KERNEL_LANES;
}

// out[m][n] = round(sum_k a[m][k] * w[n][k]), k = 0, 1, ... by FMA from 0.  Panels are outputs in groups
// of 16.
struct gemm_f32 {
    const float *a; // [rows][lda]
    long lda;
    const float *w; // [panels][depth][16]
    int depth;      // K
    float *out;     // [rows][ldo]
    long ldo;
    bool half; // round the sums to FP16
};

enum gemm_s8_result {
    GEMM_S8_CODES, // int8: sat8(rint((acc * first) * second)), NaN gives 127
    GEMM_S8_FLOAT, // float: (acc * first) * second
    GEMM_S8_HALF,  // the same, rounded to FP16
};

// acc[m][n] = sum_k a[m][k] * w[n][k], exact in INT32.  Weights are stored as code + 128 (unsigned), which
// VNNI wants; bias128[m] = -128 * sum_k a[m][k] takes it out again.
struct gemm_s8 {
    const int8_t *a; // [rows][lda], zero for depth <= k < depth rounded up to 4
    long lda;
    const uint8_t *w; // [panels][depth / 4 rounded up][16][4]
    int depth;
    const int32_t *bias128; // [rows]
    enum gemm_s8_result result;
    float first, second;
    // In place of `first` or `second` where they are there; [rows], or [outputs] as panels count them.
    const float *first_rows, *first_outputs, *second_rows, *second_outputs;
    void *out; // int8_t or float [rows][ldo]
    long ldo;
};

// codes = sat8(round(x / step)), half away from zero or to even.  Where the step is not given it is made of
// x: max|x| / 127 of the batch's sample or of each row, 1 where all are 0.
enum quantize_step { STEP_GIVEN, STEP_OF_SAMPLE, STEP_OF_ROWS };
struct quantize {
    const float *x; // [rows][ldx]
    long ldx;
    int width;
    enum quantize_step of;
    float step;   // given
    float *steps; // made: [1] or [rows]
    bool ties_away;
    int8_t *codes; // [rows][ldq]
    long ldq;
};

// values = code * scale, or scales[row].
struct dequantize {
    const int8_t *codes; // [rows][ldq]
    long ldq;
    int width;
    const float *scale; // of the batch; [rows] where by_row
    bool by_row;
    float *values; // [rows][ldv]
    long ldv;
};

// Columns with scales of their own.  From x: code = sat8(round(x / step)), half away from zero or to even,
// and value = code * step.  Where codes are given, the values alone.
struct columns {
    const float *x; // [rows][ldx]; NULL: given
    long ldx;
    const int8_t *given; // [rows][ldg]
    long ldg;
    int width;          // a multiple of 16
    const float *steps; // [width]
    bool ties_away;
    int8_t *codes; // [rows][ldq], may be NULL
    long ldq;
    float *values; // [rows][ldv], may be NULL, may be x
    long ldv;
};

// residual += h; xhat = residual / sqrt(mean(residual^2) + eps).  The mean is over `width`, summed by FMA in
// 16 lanes (element i in lane i mod 16), folded 8, 4, 2, 1.  Any of the outputs may be NULL.
struct norm {
    float *residual; // [rows][ld], updated
    const float *h;  // [rows][ld]; NULL adds nothing
    long ld;
    int width;
    float eps;
    float *xhat;         // [rows][ld]
    const float *weight; // [ld], for scaled
    float *scaled;       // [rows][ld] = xhat * weight, rounded to FP16 if half
    bool half;
    int8_t *codes; // [rows][ld] = sat8(rint(xhat / step))
    float step;
};

// v = silu(b + sum_k w[k][i] x[t - (K-1) + k][i]).  FP32: sum by FMA from 0 in k, then + b.  INT8: sum exact,
// v = silu(tap_scale * sum + b), tap_scale times tap_scales[i] where those are there.  x points at t = 0; the
// K-1 rows in front of it must exist and hold zeros.
enum { CONV1D_PARTS = 3 };
struct conv1d {
    const float *x_float; // one of the two is NULL
    const int8_t *x_codes;
    long ldx;
    const float *w; // [K][ldw]; for codes: integers
    const float *b; // [ldw]
    long ldw;
    int d_conv;
    float tap_scale;         // for codes
    const float *tap_scales; // [ldw], a further factor for each channel; NULL: 1
    const float *x_scale;    // a factor of tap_scale, of the batch; NULL: 1.  Kernels find it in tap_scale
    // Factors of tap_scales, of the batch: part p are the channels in front of part_ends[p] that none before
    // it has.  Kernels find them in tap_scales.
    const float *part_scales[CONV1D_PARTS]; // NULL: there are none
    int part_ends[CONV1D_PARTS];
    float *taps; // [ldw] room for the products, where there are parts
    bool half;   // FP32: round v to FP16
    float *v;    // [rows][ldv], may be NULL for codes
    long ldv;
    int8_t *codes; // [rows][ldq] = sat8(round(v / step)), may be NULL
    long ldq;
    float step;
    bool ties_away; // round half away from zero: sign(q) * floor(|q| + 0.5); else ties to even
};

// delta = softplus(dt + dt_bias); s = exp(delta A) s + (delta u) B; y = (sum_n C s + D u) silu(z), rounded to
// FP16 if half.  Each of u, dt, z is float, or codes with a scale.  Sequential: s by FMA, y = sum over n by
// FMA from 0, then FMA with D u.  Blocked: docs/numerics.md, section 5.
struct scan_operand {
    const float *values; // NULL: codes * scale
    const int8_t *codes;
    float scale;
    long ld;
};
struct scan {
    int length, d_state;
    struct scan_operand u, dt, z; // [length][ld]
    const float *dt_bias, *D;     // [ld_inner]
    const float *A;               // [d_state][ld_inner], negative
    long ld_inner;
    const float *B, *C; // [length][ld_bc]
    long ld_bc;
    float *y; // [length][ldy]
    long ldy;
    bool half;
    float *last_state; // [d_state][ld_inner] of each sample, may be NULL (sequential only)
    bool blocked;
};

// The scan of Mamba-2: heads of head_dim channels, one decay each, and B and C for each group of heads.
// delta = min(max(softplus(dt + dt_bias), dt_min), dt_max); c: running sum of delta A in a chunk, ascending;
// S: the state in front of the chunk.  docs/numerics.md, section 8, has the order of the sums.
//   sequential: s = exp(delta A) s + (delta u) B by FMA; y = FMA of D u onto the sum over n of C s, by FMA
//   chunked: y_t = D u_t + (exp(c_t) sum_n C S + sum_{s<=t} w_ts u_s), w_ts = (C_t.B_s exp(c_t - c_s))
//   delta_s;
//            S = exp(c_last) S + sum_t u_t (B_t (exp(c_last - c_t) delta_t))
// All sums are FMA from 0 in ascending order.
enum ssd_order {
    SSD_SEQUENTIAL,
    SSD_CHUNKED,
    SSD_CHUNKED_HALF, // u, C in front of S, S as it is read, w and B(...) rounded to FP16
    SSD_CHUNKED_GPU,  // as that, and C and B inside C.B cut to TF32: 13 bits of mantissa zero
};
struct ssd {
    int length, heads, head_dim, groups, d_state, chunk;
    enum ssd_order order;
    const float *u; // [length][ldu], heads * head_dim channels
    long ldu;
    const float *dt; // [length][lddt], heads rounded up to 16
    long lddt;
    const float *dt_bias, *A, *D; // [heads rounded up to 16], A negative
    float dt_min, dt_max;
    const float *B, *C; // [length][ldbc], groups * d_state
    long ldbc;
    float *y; // [length][ldy]; columns behind the heads are left alone
    long ldy;
    bool half;         // round y to FP16
    float *delta, *dA; // [length][heads rounded up to 16], room; dA: exp(delta A) if sequential, else delta A
    bool of_samples;   // a state of each sample at hand; else there is one sample, or nobody reads it
    float *state;      // [heads][d_state][head_dim rounded up to 16], after the last token
};

// v = y silu(z); each of `parts` equal parts of v is divided by its own sqrt(mean(v^2) + eps); times weight.
// With gate_last it is y that is normalized and weighed, and silu(z) comes last.  Sums as in struct norm.
struct gated_norm {
    const float *y, *z; // [rows][ldy], [rows][ldz]
    long ldy, ldz;
    const float *weight; // [width]
    int width, parts;
    float eps;
    bool gate_last, half; // half: round the result to FP16
    float *out;           // [rows][ldo]; may be y
    long ldo;
};

// out = H x / sqrt(dim) along rows (docs/numerics.md, section 2), Sylvester stages h = 1, 2, 4, ..., then the
// base matrix by FMA over its columns in order, then the factor.
struct hadamard {
    int dim;         // base * power
    int base, power; // base 1, 12 or 40
    const float
        *matrix;  // [base][base] of +-1, row-major; transposed by the caller for the inverse; NULL for base 1
    float factor; // 1 / sqrt(dim)
};

// What an observer sees: rows of values, some columns of which count.
struct observed {
    const float *values;
    long rows, ld; // what lies beside the columns is zero, and behind the rows up to a multiple of 16
    struct {
        long first;
        int width;
    } columns[3];
    int parts;
    float *scratch;  // room for a compact copy; may be `values`
    bool of_samples; // each sample at hand has so many rows; else they are the tokens of all
};

// Bins of |v| by its bits, whose order is that of the numbers: 0 has what is below `lowest`, 1 + ((bits -
// lowest) >> shift) what is below `highest`, the last of `count` all above; NaN is in none.
struct bit_bins {
    uint32_t lowest, highest;
    int shift, count;
};

// What is found among the |v| of a sample, as bits: the one of a rank in ascending order, NaN last, and the
// one behind it (the last has none: itself); or the largest, NaN passed over, in `bits` alone.
struct look_found {
    uint32_t rank; // asked for; room afterwards
    uint32_t bits, next;
};
struct look_for {
    const struct observed *observed;
    bool ranked;                 // else the largest is asked for
    struct look_found *found;    // [samples], on the host
    const struct bit_bins *bins; // NULL: nothing is counted
    uint32_t *counts;            // on the host; those of sample i are added to bins i * stride + ...
    long stride;
};

#endif
