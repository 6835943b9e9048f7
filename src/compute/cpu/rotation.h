// SPDX-License-Identifier: Apache-2.0
// Hadamard rotations as the kernels take them (docs/numerics.md, section 2).
#ifndef SSMSWEEP_COMPUTE_CPU_ROTATION_H
#define SSMSWEEP_COMPUTE_CPU_ROTATION_H

#include "ssmsweep/compute/kernels.h"

enum { ROTATION_MAX_BASE = 40 };

// Points into itself: not to be copied.
struct rotation {
    struct hadamard forward; // H x / sqrt(dim)
    struct hadamard inverse; // H^T x / sqrt(dim)
    float matrix[ROTATION_MAX_BASE * ROTATION_MAX_BASE], transposed[ROTATION_MAX_BASE * ROTATION_MAX_BASE];
};

// dim must pass dims_hadamard().
void rotation_init(struct rotation *rotation, int dim);

#endif
