// SPDX-License-Identifier: Apache-2.0
// The kernels of a layer that are no GEMM: scans beside their exponentials, the rest by what it moves.
#ifndef SSMSWEEP_TOOLS_BENCH_VECTORS_H
#define SSMSWEEP_TOOLS_BENCH_VECTORS_H

#include "setting.h"

// Rows of groups scan and elementwise.
enum status vectors_measure(struct setting *setting, struct error *err);

// Exponentials of the selective scans of one layer over `length` tokens: of step times state decay.
double vectors_exps(const struct dims *dims, int length);

#endif
