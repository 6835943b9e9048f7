// SPDX-License-Identifier: Apache-2.0
// Hadamard rotations as steps take them (docs/numerics.md, section 2).
#ifndef SSMSWEEP_COMPUTE_ROTATION_H
#define SSMSWEEP_COMPUTE_ROTATION_H

#include <stdbool.h>

#include "ssmsweep/compute/steps.h"

enum { ROTATION_MAX_BASE = 40 };

// Points into itself: not to be copied.
struct rotation {
    struct hadamard forward; // H x / sqrt(dim)
    struct hadamard inverse; // H^T x / sqrt(dim)
    float matrix[ROTATION_MAX_BASE * ROTATION_MAX_BASE], transposed[ROTATION_MAX_BASE * ROTATION_MAX_BASE];
};

// The rotation exists for dim = base * power_of_two with base 12, 40 or 1, tried in this order.  False: it
// does not exist for `dim`, and the outputs are untouched.
bool rotation_exists(int dim, int *base, int *power_of_two);
// dim must pass it.
void rotation_init(struct rotation *rotation, int dim);

#endif
