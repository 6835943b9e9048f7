// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/compute/kernels.h"

#include <math.h>
#include <stddef.h>

// Quadratic character of d mod q: 0, +1 for a residue, -1 otherwise.
static int character(int d, int q)
{
    d = (d % q + q) % q;
    if (d == 0) return 0;
    for (int k = 1; k < q; k++)
        if (k * k % q == d) return 1;
    return -1;
}

// Paley's second construction, q = 5: the symmetric conference matrix C = [[0, 1], [1, Q]] with 0 -> [[+, -],
// [-, -]] and c -> c [[+, +], [+, -]].
static float hadamard_12(int i, int j)
{
    const int row = i / 2, column = j / 2;
    const int c = row == column ? 0 : row == 0 || column == 0 ? 1 : character(row - column, 5);
    const bool corner = i % 2 == 1 && j % 2 == 1;
    if (c == 0) return i % 2 == 0 && j % 2 == 0 ? 1.0f : -1.0f;
    return (float)(corner ? -c : c);
}

// Order 20: row 0 is (+ - - ...), column 0 is all +, inside + where (j - i) mod 19 is 0 or a non-residue.
static float hadamard_20(int i, int j)
{
    if (j == 0) return 1.0f;
    if (i == 0) return -1.0f;
    return character(j - i, 19) == 1 ? -1.0f : 1.0f;
}

// [[P, P], [P, -P]]
static float hadamard_40(int i, int j)
{
    const float p = hadamard_20(i % 20, j % 20);
    return i >= 20 && j >= 20 ? -p : p;
}

bool rotation_exists(int dim, int *base, int *power_of_two)
{
    static const int bases[] = {12, 40, 1};
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        int n = dim > 0 && dim % bases[i] == 0 ? dim / bases[i] : 0;
        if (n == 0 || (n & (n - 1)) != 0) continue;
        *base = bases[i];
        *power_of_two = n;
        return true;
    }
    return false;
}

void rotation_init(struct rotation *rotation, int dim)
{
    int base = 1, power = dim;
    rotation_exists(dim, &base, &power);
    for (int i = 0; i < base; i++)
        for (int j = 0; j < base; j++) {
            const float entry = base == 12 ? hadamard_12(i, j) : base == 40 ? hadamard_40(i, j) : 1.0f;
            rotation->matrix[i * base + j] = entry;
            rotation->transposed[j * base + i] = entry;
        }
    rotation->forward = (struct hadamard){.dim = dim,
                                          .base = base,
                                          .power = power,
                                          .factor = (float)(1.0 / sqrt((double)dim)),
                                          .matrix = base > 1 ? rotation->matrix : NULL};
    rotation->inverse = rotation->forward;
    if (base > 1) rotation->inverse.matrix = rotation->transposed;
}
