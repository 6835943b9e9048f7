// SPDX-License-Identifier: Apache-2.0
// The layers of a W8A8 checkpoint in Quamba's layout.
#ifndef SSMSWEEP_ARCH_W8A8_H
#define SSMSWEEP_ARCH_W8A8_H

#include <stdbool.h>

#include "ssmsweep/arch/config.h"

// Fills layers, scales, ends and views of a model whose dims and checkpoint are there, and embedding and
// lm_head where they are codes.  Weights are turned to [out, in] and lose the rows that pad them.
// STATUS_INPUT: missing, wrong shape or dtype, scales that are not positive or contradict each other or
// config.json.
enum status w8a8_bind(struct model *model, const struct config *config, struct error *err);

// Is it the name of a tensor or number of such a checkpoint, other than the weights of embedding, norm_f and
// lm_head?
bool w8a8_knows(const char *name, int n_layer);

#endif
