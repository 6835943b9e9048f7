// SPDX-License-Identifier: Apache-2.0
// The four projections of a layer as GEMMs, in FP32 and INT8, beside the peak of their instructions.
#ifndef SSMSWEEP_TOOLS_BENCH_GEMMS_H
#define SSMSWEEP_TOOLS_BENCH_GEMMS_H

#include "setting.h"

// Rows of groups gemm_f32, gemm_s8 (row sums and the layer's own epilogue counted in) and gemm_s8_plain.
enum status gemms_measure(struct setting *setting, struct error *err);

// Operations (2 per multiply-add) of the four projections of one layer over `length` tokens.
double gemms_operations(const struct dims *dims, int length);

#endif
