// SPDX-License-Identifier: Apache-2.0
// What is left of a block of pairs once it was summed, on the processor or on a device: plain data.
#ifndef SSMSWEEP_COMPUTE_PAIR_BLOCK_H
#define SSMSWEEP_COMPUTE_PAIR_BLOCK_H

// A block of up to 8192 pairs of one sample.  Sums are those of eight lanes, folded 4, 2, 1; a and b are the
// reference's and the mode's, d = b - a.
struct pair_block {
    float min[2], max[2];                      // of a, b; NaN passed over
    double exact[2];                           // of a, b: the sum of what lanes have above their anchors
    double low[2], abs[2];                     // what the anchored sums cut off; sum of |v|
    double squares[2], products, diff_squares; // around the means of the block before, of the first its own
    double abs_diff, raw_squares;              // sum of |d|, of d^2
    double diff_min, diff_max;
};
// What of a block is of the reference alone.
struct pair_known {
    float min, max;
    double exact, low, abs, squares;
    double nonfinite; // how many: where there are any the others mean nothing
};
// A part of a block that lies in one bucket of positions, where the block has several.
struct pair_piece {
    double raw_squares, abs_diff;
};

#endif
