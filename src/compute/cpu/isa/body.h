// SPDX-License-Identifier: Apache-2.0
// All kernels for one instruction set.  The including file says which, and the name of the table.
#include "ssmsweep/compute/kernels.h"

#include "elementwise.h"
#include "gemm_f32.h"
#include "gemm_s8.h"
#include "hadamard.h"
#include "logits.h"
#include "pairs.h"
#include "peak.h"
#include "scan.h"
#include "ssd.h"

#define KERNELS_TABLE(text)                                                                                  \
    {                                                                                                        \
        .name = text, .tile_rows = F32_ROWS, .tile_panels = F32_PANELS, .scan_channels = VW,                 \
        .gemm_f32 = gemm_f32, .row_sums = row_sums, .gemm_s8 = gemm_s8, .norm = norm, .conv1d = conv1d,      \
        .scan_sequential = scan_sequential, .scan_blocked = scan_blocked, .hadamard = hadamard,              \
        .quantize_away = quantize_away, .round_half = round_half, .absmax = absmax, .finite = all_finite,    \
        .logit_side = logit_side, .logit_sums = logit_sums, .pair_ranges = pair_ranges,                      \
        .pair_sums = pair_sums, .pair_sums_known = pair_sums_known, .ssd_times = ssd_times,                  \
        .ssd_sequential = ssd_sequential, .ssd_chunked = ssd_chunked, .gated_norm = gated_norm,              \
        .columns = columns, .quantize_even = quantize_even, .exp = exp_array, .softplus = softplus_array,    \
        .peak_f32 = peak_f32, .peak_s8 = peak_s8,                                                            \
    }
