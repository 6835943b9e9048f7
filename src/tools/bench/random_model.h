// SPDX-License-Identifier: Apache-2.0
// Models of random weights: in memory for the forward pass, as a folder for the sweep.
#ifndef SSMSWEEP_TOOLS_BENCH_RANDOM_MODEL_H
#define SSMSWEEP_TOOLS_BENCH_RANDOM_MODEL_H

#include "ssmsweep/arch/model.h"

enum { RANDOM_TENSORS = 12 };

// All layers view the same tensors.  In caller memory; random_model_close() frees (a zeroed one is fine), not
// model_close().
struct random_model {
    struct model model;
    struct tensor tensors[RANDOM_TENSORS];
    float *values;
};

// dims as a model folder would have them.
enum status random_model_open(struct random_model *random, const struct dims *dims, struct error *err);
void random_model_close(struct random_model *random);

// Writes config.json and model.safetensors into an existing folder.
enum status random_model_write(const struct random_model *random, const char *directory, struct error *err);

#endif
