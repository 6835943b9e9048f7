// SPDX-License-Identifier: Apache-2.0
// x86-64 with AVX-512 F, BW, DQ, VL and VNNI (compiled with those flags; called only where CPUID shows them).
#define ISA_AVX512 1
#include "isa/body.h"

const struct kernels kernels_avx512 = KERNELS_TABLE("avx512");
