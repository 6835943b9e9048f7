// SPDX-License-Identifier: Apache-2.0
// Exact percentiles of |mode - ref| (NumPy's linear method, the same bits) without holding the data: each
// pass over all samples counts the next 16 bits of the values that share a prefix with a wanted rank, until
// what is left fits a small buffer.  About 5 MiB, two to four passes.
#ifndef SSMSWEEP_MEASURE_PERCENTILE_H
#define SSMSWEEP_MEASURE_PERCENTILE_H

#include <stdbool.h>
#include <stddef.h>

enum { PERCENTILES = 4 }; // p50, p90, p95, p99

struct percentile; // opaque

struct percentile *percentile_open(void); // NULL when memory is out
// How much of that so many values of one kind (differences of a layer, say) touch: about.
size_t percentile_bytes(size_t values);
void percentile_close(struct percentile *percentile);

// Forgets everything: the next percentile_add() belongs to a first pass.
void percentile_start(struct percentile *percentile);

// Feeds ref[count] and mode[count]; within one pass all samples in any order, in every pass the same values.
// No NaN.
void percentile_add(struct percentile *percentile, const float *ref, const float *mode, size_t count);

// Ends a pass.  True: everything has to be fed once more.
bool percentile_next_pass(struct percentile *percentile);

// After the last pass.  NaN for no values.  False if the passes did not see the same values.
bool percentile_values(struct percentile *percentile, double values[PERCENTILES]);

#endif
