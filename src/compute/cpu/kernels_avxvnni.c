// SPDX-License-Identifier: Apache-2.0
// As kernels_avx2.c, with the INT8 GEMM of AVX-VNNI: processors without AVX-512 have it since 2021.
#define ISA_AVX2 1
#define ISA_AVXVNNI 1
#include "isa/body.h"

const struct kernels kernels_avxvnni = KERNELS_TABLE("avxvnni");
