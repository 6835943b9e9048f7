// SPDX-License-Identifier: Apache-2.0
// The six tensors that can be captured at every layer.
#ifndef SSMSWEEP_ARCH_COMPONENT_H
#define SSMSWEEP_ARCH_COMPONENT_H

#include "ssmsweep/arch/model.h"
#include "ssmsweep/base/status.h"

enum component {
    COMPONENT_MIXER_INPUT,   // [L, D] x̂, before the norm weight, in the model's own basis
    COMPONENT_CONV1D_INPUT,  // [L, I] x
    COMPONENT_CONV1D_OUTPUT, // [L, I] c
    COMPONENT_SSM_INPUT,     // [L, I] u, what the scan eats
    COMPONENT_SSM_OUTPUT,    // [L, I] y, after the gate
    COMPONENT_MIXER_OUTPUT,  // [L, D] o, in the model's own basis
    COMPONENT_COUNT
};

const char *component_name(enum component component);
int component_width(const struct dims *dims, enum component component); // elements per token: D or I

// Comma list of names or `all` -> bit mask (1u << component).  STATUS_USAGE names the unknown word.
enum status component_select(const char *list, unsigned *mask, struct error *err);

// Comma list of indices (negative count from the end), ranges a-b, `first`, `last`, `all` -> wanted[n_layer].
// STATUS_USAGE names an index outside the model.
enum status layer_select(const char *list, int n_layer, unsigned char *wanted, struct error *err);

#endif
