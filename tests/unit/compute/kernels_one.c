// SPDX-License-Identifier: Apache-2.0
// The kernels at one lane, as a thread of a GPU takes their formulas (src/compute/cuda/), compiled for the
// processor.  Sums of pairs and of logits are not among them: no device takes those yet.
#define ISA_ONE 1
#include "ssmsweep/compute/kernels.h"

#include "isa/elementwise.h"
#include "isa/gemm_f32.h"
#include "isa/gemm_s8.h"
#include "isa/hadamard.h"
#include "isa/scan.h"
#include "isa/ssd.h"

extern const struct kernels kernels_one;
const struct kernels kernels_one = {.name = "one lane",
                                    .tile_rows = F32_ROWS,
                                    .tile_panels = F32_PANELS,
                                    .scan_channels = VW,
                                    .gemm_f32 = gemm_f32,
                                    .row_sums = row_sums,
                                    .gemm_s8 = gemm_s8,
                                    .norm = norm,
                                    .conv1d = conv1d,
                                    .scan_sequential = scan_sequential,
                                    .scan_blocked = scan_blocked,
                                    .ssd_times = ssd_times,
                                    .ssd_sequential = ssd_sequential,
                                    .ssd_chunked = ssd_chunked,
                                    .gated_norm = gated_norm,
                                    .hadamard = hadamard,
                                    .quantize_away = quantize_away,
                                    .columns = columns,
                                    .round_half = round_half,
                                    .absmax = absmax,
                                    .finite = all_finite,
                                    .quantize_even = quantize_even,
                                    .exp = exp_array,
                                    .softplus = softplus_array};
