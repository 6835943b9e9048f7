// SPDX-License-Identifier: Apache-2.0
// The kernels behind the forward pass: one formula per operation, compiled for several instruction sets from
// one source (src/compute/cpu/isa/), and a plain twin of each (kernels_naive.c) that says in simple loops
// what it computes. All variants give the same bits: lanes run over outputs, sums run in the order of the
// formula, K is never split, and every multiply-add that is one is written as one.
//
// Layout: activations are row-major [L][ld], ld a multiple of 16 elements, and the elements between the
// logical width and ld are zero.  Packed weights are panels of 16 outputs, [panel][k][16] (FP32),
// [panel][k/4][16][4] (INT8).
#ifndef SSMSWEEP_COMPUTE_KERNELS_H
#define SSMSWEEP_COMPUTE_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/measure/profile.h"

enum { KERNEL_LANES = 16 }; // panel width and granularity of every leading dimension
enum { SUM_LANES = 8 };     // lanes of sums in double

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
    void *out; // int8_t or float [rows][ldo]
    long ldo;
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
// v = silu(tap_scale * sum + b).  x points at t = 0; the K-1 rows in front of it must exist and hold zeros.
struct conv1d {
    const float *x_float; // one of the two is NULL
    const int8_t *x_codes;
    long ldx;
    const float *w; // [K][ldw]; for codes: integers
    const float *b; // [ldw]
    long ldw;
    int d_conv;
    float tap_scale; // for codes
    bool half;       // FP32: round v to FP16
    float *v;        // [rows][ldv], may be NULL for codes
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
    float *last_state; // [d_state][ld_inner], may be NULL (sequential only)
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

// Of two rows of logits: the reference's [0] and a mode's [1].  Element i goes into lane i mod 8, lanes are
// folded 4, 2, 1; exp in double with a relative error below 4e-16.
struct logit_sums {
    bool finite;    // all of both; where false, nothing of the following is set
    int top[2];     // lowest index of the largest
    float most[2];  // that logit
    double sum[2];  // sum of exp(v - most)
    double product; // sum of exp(r - most r) ((r - most r) - (m - most m)), by FMA
};

// Sums over a block of pairs, all in double, element i in lane i mod 8.  d = b - a.  NaN and Inf spoil their
// lanes.
enum {
    PAIR_BLOCK = 8192,
    PAIR_ROWS = 4,
    PAIR_STEP = PAIR_ROWS * SUM_LANES,
    PAIR_NO_BIN = PROFILE_BINS, // holds nothing that means anything
    PAIR_BINS
};
struct pair_ranges { // of one side, element i in lane i mod 16, NaN passed over; unused lanes: any element
    float min[KERNEL_LANES], max[KERNEL_LANES];
};
// An anchor is 1.5 * 2^k, where k is so large that the sum of a lane stays between 2^k and 2^(k+1): its last
// place is then known and what an addition cuts off is exact.
struct pair_centre {
    double anchor[2];       // of a, b
    double ref, mode, diff; // any numbers near the means of a, b, d
};
struct pair_lanes {
    double high[2][SUM_LANES]; // anchor + v + v + ..., v = (a0 + a8) + (a16 + a24) of 32 elements; of a, b
    double low[2][SUM_LANES];  // sum of v - (high - high before it)
    double abs[2][SUM_LANES], abs_diff[SUM_LANES];
    double squares[2][SUM_LANES], products[SUM_LANES];      // of what lies around the centres, by FMA
    double diff_squares[SUM_LANES], raw_squares[SUM_LANES]; // of d around its centre, around 0
    double diff_min[SUM_LANES], diff_max[SUM_LANES];
};

struct kernels {
    const char *name;
    int tile_rows, tile_panels; // a GEMM is best divided at multiples of these
    int scan_channels;          // channels a scan works on at once
    void (*gemm_f32)(const struct gemm_f32 *gemm, int row0, int row1, int panel0, int panel1);
    void (*row_sums)(const struct gemm_s8 *gemm, int row0, int row1, int32_t *bias128);
    void (*gemm_s8)(const struct gemm_s8 *gemm, int row0, int row1, int panel0, int panel1);
    void (*norm)(const struct norm *norm, int row0, int row1);
    void (*conv1d)(const struct conv1d *conv1d, int row0, int row1, int channel0, int channel1);
    // channel range in multiples of 16; scratch: scan_scratch_bytes(), one per thread.
    void (*scan_sequential)(const struct scan *scan, int channel0, int channel1, float *scratch);
    void (*scan_blocked)(const struct scan *scan, int channel0, int channel1, float *scratch);
    // row: [dim] in place.
    void (*hadamard)(const struct hadamard *hadamard, float *row);
    // codes = sat8(round(x / step)), half away from zero; count a multiple of 16.
    void (*quantize_away)(const float *x, long count, float step, int8_t *codes);
    void (*round_half)(float *x, long count);    // to FP16 and back; count a multiple of 16
    float (*absmax)(const float *x, long count); // NaN is passed over; count a multiple of 16
    void (*quantize_even)(const float *x, long count, float step, int8_t *codes); // ties to even
    void (*exp)(const float *x, long count, float *out); // count a multiple of 16; for tests and the bench
    void (*softplus)(const float *x, long count, float *out);
    void (*logit_sums)(const float *reference, const float *mode, int count, struct logit_sums *sums);
    void (*pair_ranges)(const float *v, int count, struct pair_ranges *ranges); // count > 0
    // count <= PAIR_BLOCK; counts profile_bin() of each |d|, NaN as PROFILE_ABOVE, in histograms[PAIR_STEP],
    // in each at most once per PAIR_STEP elements.
    void (*pair_sums)(const float *a, const float *b, int count, const struct pair_centre *centre,
                      struct pair_lanes *lanes, uint16_t (*histograms)[PAIR_BINS]);
    // Register-only loops of the multiply-adds of the two GEMMs, for the bench; give the operations done, two
    // per multiply-add.
    double (*peak_f32)(long rounds);
    double (*peak_s8)(long rounds);
};

// Floats of scratch that scan_sequential and scan_blocked need per thread for sequences up to max_tokens.
long scan_scratch_floats(int max_tokens, int d_state);
// The blocked scan cuts a sequence of `length` steps in blocks of lanes * items steps.
void scan_blocked_shape(int length, int *lanes, int *items);

// Instruction sets in falling order of speed; NULL-terminated list of those that this build and this machine
// have. "naive" is the plain twin.
const struct kernels *kernels_find(const char *name); // NULL: not here
// The best one, or what the environment variable SSMSWEEP_ISA names.  STATUS_USAGE: unknown or not on this
// machine.
enum status kernels_choose(const struct kernels **kernels, struct error *err);
// The same for those who cannot fail: the best one where the environment names none that is here.
const struct kernels *kernels_default(void);

extern const struct kernels kernels_naive, kernels_scalar, kernels_avx2, kernels_avx512;

#endif
