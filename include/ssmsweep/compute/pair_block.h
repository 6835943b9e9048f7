// SPDX-License-Identifier: Apache-2.0
// What is left of a block of pairs once it was summed, on the processor or on a device: plain data.
#ifndef SSMSWEEP_COMPUTE_PAIR_BLOCK_H
#define SSMSWEEP_COMPUTE_PAIR_BLOCK_H

#include <stdint.h>

#include "ssmsweep/compute/steps.h"

enum {
    PAIR_BLOCK = 8192, // pairs
    PAIR_ROWS = 4,
    PAIR_STEP = PAIR_ROWS * SUM_LANES // that are taken together
};

// A block of up to PAIR_BLOCK pairs of one sample.  Sums are those of eight lanes, folded 4, 2, 1; a and b
// are the reference's and the mode's, d = b - a.  NaN and Inf are taken for 0 but where it says otherwise.
struct pair_block {
    float min[2], max[2];                      // of a, b
    double exact[2];                           // of a, b: the sum of what lanes have above their anchors
    double low[2], abs[2];                     // what the anchored sums cut off; sum of |v|
    double squares[2], products, diff_squares; // around the means of the block before, of the first its own
    double abs_diff, diff_min, diff_max;       // sum of |d|
    double raw_squares, raw_abs;               // by position: sum of d^2, of |d|; of Inf as well
    // Made on a device alone: how many are NaN or Inf; and the extremes of d where it is neither.
    double finite_min, finite_max;
    uint32_t nonfinite[2];
};
// What of a block is of the reference alone.
struct pair_known {
    float min, max;
    double exact, low, abs, squares;
    double nonfinite; // how many: where there are any the others mean nothing
};
// A part of a block that lies in one bucket of positions, where the block has several.
struct pair_piece {
    double raw_squares, raw_abs;
};

#endif
