// SPDX-License-Identifier: Apache-2.0
// Filling the block of packed weights, one layer at a time.
#ifndef SSMSWEEP_NUMERICS_PACK_H
#define SSMSWEEP_NUMERICS_PACK_H

#include <stdbool.h>

#include "ssmsweep/base/status.h"

struct weights;

// half: projections and conv1d rounded to FP16 (docs/numerics.md, float model), into weights->fp16.
enum status pack_float_layer(struct weights *weights, int layer, bool half, struct error *err);
enum status pack_w8a8_layer(struct weights *weights, int layer, struct error *err);
enum status pack_lm_head(struct weights *weights, struct error *err);

#endif
