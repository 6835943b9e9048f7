// SPDX-License-Identifier: Apache-2.0
// x86-64 with AVX2, FMA and F16C (compiled with those flags; called only where CPUID shows them).
#define ISA_AVX2 1
#include "isa/body.h"

const struct kernels kernels_avx2 = KERNELS_TABLE("avx2");
