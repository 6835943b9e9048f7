// SPDX-License-Identifier: Apache-2.0
// What the backend on a GPU (cuda.c) and its kernels (*.cu) share: the kernels' launches.  Arguments are
// those of compute/steps.h with pointers to memory of the device; kernels take them by value.  Each launch
// goes into the stream and returns at once; what fails shows in cudaGetLastError().
//
// The formulas are those of the processor, src/compute/cpu/isa/ at one lane: a thread has one element or
// channel.  Bits are the same: sums run in the same order, and no compiler contracts or approximates anything
// (docs/numerics.md).
#ifndef SSMSWEEP_COMPUTE_CUDA_DEVICE_H
#define SSMSWEEP_COMPUTE_CUDA_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/compute/grid.h"
#include "ssmsweep/compute/pair_block.h"
#include "ssmsweep/compute/steps.h"
#include "ssmsweep/measure/end_of_model.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct CUstream_st *device_stream;

// The samples whose tokens a batch has, one behind the other.
struct parts {
    int tokens, samples;
    const int *firsts;    // [samples + 1] rows, on the device; NULL: one sample
    const int *sample_of; // [tokens] on the device; NULL: one sample
    int *broken;          // [samples] the first token that is not finite, or the sample's length
};

// A scale of a tensor: a number, or on the device one for each sample or row.
struct device_scale {
    float one;
    const float *many; // NULL: one
    bool by_row;
};

// A Hadamard rotation with the signs of its base matrix as bits.
struct device_rotation {
    int dim, base, power;
    bool has_matrix;
    float factor;
    uint64_t negative[40]; // of each row, bit c of column c
};

void device_norm(device_stream stream, const struct norm *norm, int rows);
// Room for the product of so many rows; 0: none.
size_t device_product_f32_bytes(int rows, int outputs, int depth);
void device_product_f32(device_stream stream, const struct gemm_f32 *gemm, int rows, int outputs,
                        float *room);
void device_product_s8(device_stream stream, const struct gemm_s8 *gemm, int rows, int outputs);
void device_conv1d(device_stream stream, const struct conv1d *conv1d, const struct parts *parts,
                   int channels);
// home: room for states where there are not 16 of them, [samples][d_state][ld_inner].
void device_scan(device_stream stream, const struct scan *scan, const struct parts *parts, float *home);
// Scans those samples that scan_blocked_shape() gives these lanes and items.
void device_scan_blocked(device_stream stream, const struct scan *scan, const struct parts *parts, int lanes,
                         int items);
void device_rotate(device_stream stream, const struct device_rotation *rotation, int rows, float *x, long ld);
// most: room, [samples], for steps of samples.
void device_quantize(device_stream stream, const struct quantize *quantize, const struct parts *parts,
                     float *most);
void device_dequantize(device_stream stream, const int8_t *codes, long ldq, int width,
                       const struct device_scale *scale, const struct parts *parts, float *values, long ldv);
void device_columns(device_stream stream, const struct columns *columns, int rows);
void device_quotients(device_stream stream, const float *from, int count, float by, float *to);
void device_round_half(device_stream stream, float *x, long count);
void device_dither(device_stream stream, const struct parts *parts, float *x, long ld, int width,
                   const uint64_t *keys); // [samples] on the device, mixed
void device_weigh(device_stream stream, float *x, long ld, int width, int rows, const float *weight);
// to[ids[i]] = from[i], and to[i] = from[ids[i]], i < count.
void device_scatter_rows(device_stream stream, const float *from, const int32_t *ids, int count, float *to,
                         long ld);
void device_gather_rows(device_stream stream, const float *from, const int32_t *ids, int count, float *to,
                        long ld);
void device_copy_rows(device_stream stream, const float *from, long ld_from, float *to, long ld_to, int rows,
                      int width);

void device_find_broken(device_stream stream, const struct parts *parts, const float *rows, long ld,
                        int width);
void device_break_rows(device_stream stream, int rows, const float *from, long ld_from, int width_from,
                       float *to, long ld_to, int width_to);
void device_break_rest(device_stream stream, const struct parts *parts, float *rows, long ld, int width);
void device_mark_finite(device_stream stream, int count, const float *rows, long ld, int width,
                        int8_t *finite);
void device_break_marked(device_stream stream, int count, const int8_t *finite, float *rows, long ld,
                         int width);
void device_most(device_stream stream, const float *x, long count, float *most);

// ---- observers ----

// Numbers of each sample: of its tokens, or of `rows` rows that each has.
struct device_view {
    const float *values;
    long ld, rows; // 0: its tokens
    long first[3];
    int width[3], parts;
};
// found[samples] on the device, as struct look_for has it; `bits` and `next` are 0 before.
void device_largest(device_stream stream, const struct device_view *view, const struct parts *parts,
                    struct look_found *found);
size_t device_ranks_bytes(int samples); // of the room
void device_ranks(device_stream stream, const struct device_view *view, const struct parts *parts,
                  struct look_found *found, uint32_t *room);
void device_bins(device_stream stream, const struct device_view *view, const struct parts *parts,
                 const struct bit_bins *bins, uint32_t *counts); // [samples][bins], on the device

// How the numbers lie on grids, as struct grid_for has it; all on the device, with scales->columns.
// largest: [columns], zeros before.
void device_grid_largest(device_stream stream, const struct device_view *view, const struct parts *parts,
                         float *largest);
size_t device_grid_bytes(const struct device_view *view, const struct parts *parts); // of the room
// sums: [samples][parts][GRID_SUMS]; tallies: [parts], zeros before.
void device_grid(device_stream stream, const struct device_view *view, const struct parts *parts,
                 const struct grid_scales *scales, double *sums, struct grid_tally *tallies, float *room);

// ---- Mamba-2 ----

// Scales of the parts of conv1d's channels.
struct device_scales {
    struct device_scale of[CONV1D_PARTS];
};
// conv1d of codes whose tap_scales have factors for parts.
void device_conv1d_parts(device_stream stream, const struct conv1d *conv1d,
                         const struct device_scales *scales, const struct parts *parts, int channels);
// longest: of the samples; home: room of so many bytes.
size_t device_ssd_bytes(const struct ssd *ssd, const struct parts *parts, int longest);
void device_ssd(device_stream stream, const struct ssd *ssd, const struct parts *parts, int longest,
                float *home);
void device_gated_norm(device_stream stream, const struct gated_norm *norm, int rows);
// to[row][i] = values[row][order[i]], or that of codes with a scale; order[width] on the device.
void device_order_columns(device_stream stream, const float *values, const int8_t *codes, long ld, int width,
                          const struct device_scale *scale, const struct parts *parts, const int32_t *order,
                          float *to);

// ---- measuring ----

enum { DEVICE_MOST_PAIRS = 32 };
// Tensors that are compared.
struct device_pairs {
    const float *ref[DEVICE_MOST_PAIRS], *mode[DEVICE_MOST_PAIRS]; // where they are the same, so are the sums
    uint32_t profiled;                                             // bit p: of pair p
    uint32_t again; // likewise: it is the pair in front of it, and is not summed
};
// A block or a piece of a pair: `count` elements from `first` on.
struct device_place {
    long first;
    int count, pair;
    int prior; // the block whose means are the centre; of a piece the block that it is a part of
    int slot;  // of the histogram
};
// Up to four neighbouring blocks of a slot.
struct device_group {
    int first, count;
};
// On the device; [blocks], and [pieces] behind them in `places`.
struct device_sums {
    const struct device_place *places;
    const struct device_group *groups;
    const struct pair_block *known; // of the same refs, whose own sums are taken from there; NULL: not known
    int n_blocks, n_pieces, n_groups;
    struct pair_block *blocks;
    struct pair_piece *pieces;
    uint32_t *histograms; // [slots][PROFILE_BINS], zeroed
};
void device_pair_sums(device_stream stream, const struct device_pairs *pairs, const struct device_sums *sums);

// made[rows], of the whole vocabulary.
struct device_predictions {
    const float *reference, *mode; // [rows][stride]
    long stride;
    int rows, ids;
    const int32_t *next;      // [rows], each below `ids`
    struct logit_sums *parts; // [rows][pieces of the vocabulary]: room
    struct prediction *made;
};
void device_predict(device_stream stream, const struct device_predictions *predictions);

// *differs = 1 where two bits do.
void device_compare(device_stream stream, const float *a, const float *b, long count, int *differs);

// ---- what a device does at best ----

enum device_peak { DEVICE_PEAK_F32, DEVICE_PEAK_S8, DEVICE_PEAK_EXP };
// Multiply-adds of FP32, of INT8 on tensor cores, or exponentials, and nothing else, on all processors.  The
// work: operations, two of a multiply-add, or exponentials.  out: [256], room.
double device_peak(device_stream stream, enum device_peak peak, int processors, long rounds, float *out);

// For tests: out[i] = f(the float whose bits are first + i), i < count; f as enum device_function has them.
#define DEVICE_STEP 0.3f // no power of two
enum device_function {
    DEVICE_EXP,
    DEVICE_EXP_NEAR, // where it holds, else exp
    DEVICE_SILU,
    DEVICE_SOFTPLUS,
    DEVICE_ROUND_HALF,
    DEVICE_SQRT,
    DEVICE_QUANTIZE_EVEN, // with DEVICE_STEP
    DEVICE_QUANTIZE_AWAY,
    DEVICE_FUNCTIONS
};
void device_map(device_stream stream, enum device_function function, uint32_t first, long count, float *out);

#ifdef __cplusplus
}
#endif

#endif
