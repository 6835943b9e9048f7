// SPDX-License-Identifier: Apache-2.0
// The tensors of a random model: names, shapes and how their values are drawn.
#ifndef SSMSWEEP_TOOLS_SYNTH_TENSORS_H
#define SSMSWEEP_TOOLS_SYNTH_TENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "ssmsweep/arch/model.h"
#include "ssmsweep/tools/synth.h"

enum synth_law {
    LAW_NORMAL, // mean + std * normal
    LAW_HOT,    // the same; of the first half of the rows one in 64 is six times as large: outliers
    LAW_DT,     // softplus^-1 of a step that is log-uniform in [0.001, 0.1]
    LAW_A_LOG   // log(column + 1) + 0.05 * normal
};

struct synth_tensor {
    char name[64];
    enum synth_law law;
    double mean, std;
    int dims;
    int64_t shape[3];
    int64_t elements;
};

struct synth_tensors {
    struct dims dims;
    int tokens; // ids in use: vocab_size without its padding
    struct synth_tensor *items;
    size_t count;
};

// Freed by synth_tensors_clear().
enum status synth_tensors_make(struct synth_tensors *tensors, enum synth_preset preset, struct error *err);
void synth_tensors_clear(struct synth_tensors *tensors);

size_t synth_item_bytes(enum synth_dtype dtype);

// Elements [first, first + count) of a tensor, little-endian, into out[count * synth_item_bytes()].
void synth_fill(void *out, const struct synth_tensor *tensor, unsigned seed, enum synth_dtype dtype,
                int64_t first, int64_t count);

#endif
