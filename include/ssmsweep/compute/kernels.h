// SPDX-License-Identifier: Apache-2.0
// The kernels behind the forward pass: one formula per operation, compiled for several instruction sets from
// one source (src/compute/cpu/isa/), and a plain twin of each (kernels_naive.c) that says in simple loops
// what it computes. All variants give the same bits: lanes run over outputs, sums run in the order of the
// formula, K is never split, and every multiply-add that is one is written as one.
#ifndef SSMSWEEP_COMPUTE_KERNELS_H
#define SSMSWEEP_COMPUTE_KERNELS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "ssmsweep/base/status.h"
#include "ssmsweep/compute/pair_block.h"
#include "ssmsweep/compute/steps.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/measure/profile.h"

// Sums over a block of pairs, all in double, element i in lane i mod 8.  d = b - a.  NaN and Inf spoil their
// lanes.
enum {
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
    // delta and dA of these rows, in front of the scan.
    void (*ssd_times)(const struct ssd *ssd, int row0, int row1);
    // A unit is 16 channels of a head, or fewer at its end; scratch: ssd_scratch_floats(), one per thread.
    void (*ssd_sequential)(const struct ssd *ssd, int unit0, int unit1, float *scratch);
    void (*ssd_chunked)(const struct ssd *ssd, int unit0, int unit1, float *scratch);
    void (*gated_norm)(const struct gated_norm *norm, int row0, int row1);
    // row: [dim] in place.
    void (*hadamard)(const struct hadamard *hadamard, float *row);
    // codes = sat8(round(x / step)), half away from zero; count a multiple of 16.
    void (*quantize_away)(const float *x, long count, float step, int8_t *codes);
    void (*columns)(const struct columns *columns, int row0, int row1);
    void (*round_half)(float *x, long count);    // to FP16 and back; count a multiple of 16
    float (*absmax)(const float *x, long count); // NaN is passed over; count a multiple of 16
    bool (*finite)(const float *x, long count);  // is all of it?
    void (*quantize_even)(const float *x, long count, float step, int8_t *codes); // ties to even
    void (*exp)(const float *x, long count, float *out); // count a multiple of 16; for tests and the bench
    void (*softplus)(const float *x, long count, float *out);
    // exps[count] = exp(v - most)
    void (*logit_side)(const float *row, int count, struct logit_side *side, double *exps);
    // side and exps: of the reference.
    void (*logit_sums)(const float *reference, const struct logit_side *side, const double *exps,
                       const float *mode, int count, struct logit_sums *sums);
    void (*pair_ranges)(const float *v, int count, struct pair_ranges *ranges); // count > 0
    // count <= PAIR_BLOCK; counts profile_bin() of each |d|, NaN as PROFILE_ABOVE, in histograms[PAIR_STEP],
    // in each at most once per PAIR_STEP elements.
    void (*pair_sums)(const float *a, const float *b, int count, const struct pair_centre *centre,
                      struct pair_lanes *lanes, uint16_t (*histograms)[PAIR_BINS]);
    // The same but for what is of a alone, whose lanes mean nothing: who calls has it.
    void (*pair_sums_known)(const float *a, const float *b, int count, const struct pair_centre *centre,
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

// The same of ssd_sequential and ssd_chunked; a chunk has `chunk` tokens or all of a sequence.
long ssd_scratch_floats(int max_tokens, int chunk, int d_state);

// Instruction sets in falling order of speed; NULL-terminated list of those that this build and this machine
// have. "naive" is the plain twin.
const struct kernels *kernels_find(const char *name); // NULL: not here
// The best one, or what the environment variable SSMSWEEP_ISA names.  STATUS_USAGE: unknown or not on this
// machine.
enum status kernels_choose(const struct kernels **kernels, struct error *err);
// The same for those who cannot fail: the best one where the environment names none that is here.
const struct kernels *kernels_default(void);

extern const struct kernels kernels_naive, kernels_scalar, kernels_avx2, kernels_avxvnni, kernels_avx512;

// ---- version ----

// Which bits the numerics give.  Raise it with every change after which a mode, the calibration or the
// forward pass gives other bits for the same job: a sweep begun with one version is not continued with
// another.

enum { NUMERICS_VERSION = 1 };

// ---- fold ----

// Sum of the lanes in their fixed order: 4, 2, 1.
static inline double fold(const double values[SUM_LANES])
{
    double lane[SUM_LANES];
    memcpy(lane, values, sizeof lane);
    for (int half = SUM_LANES / 2; half > 0; half /= 2)
        for (int j = 0; j < half; j++)
            lane[j] += lane[j + half];
    return lane[0];
}

// ---- rotation ----

// Hadamard rotations as steps take them (docs/numerics.md, section 2).

enum { ROTATION_MAX_BASE = 40 };

// Points into itself: not to be copied.
struct rotation {
    struct hadamard forward; // H x / sqrt(dim)
    struct hadamard inverse; // H^T x / sqrt(dim)
    float matrix[ROTATION_MAX_BASE * ROTATION_MAX_BASE], transposed[ROTATION_MAX_BASE * ROTATION_MAX_BASE];
};

// The rotation exists for dim = base * power_of_two with base 12, 40 or 1, tried in this order.  False: it
// does not exist for `dim`, and the outputs are untouched.
bool rotation_exists(int dim, int *base, int *power_of_two);
// dim must pass it.
void rotation_init(struct rotation *rotation, int dim);

#endif
