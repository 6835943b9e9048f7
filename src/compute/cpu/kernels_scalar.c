// SPDX-License-Identifier: Apache-2.0
// Any machine: 4 lanes of plain GCC vectors.
#include "isa/body.h"

const struct kernels kernels_scalar = KERNELS_TABLE("scalar");
