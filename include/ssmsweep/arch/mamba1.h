// SPDX-License-Identifier: Apache-2.0
// Mamba-1 as a family of models: docs/numerics.md.  For the family's own layers, and for tests.
#ifndef SSMSWEEP_ARCH_MAMBA1_H
#define SSMSWEEP_ARCH_MAMBA1_H

#include "ssmsweep/arch/arch.h"

extern const struct arch arch_mamba1;

enum mamba1_component {
    COMPONENT_MIXER_INPUT,   // [L, D] x̂, before the norm weight, in the model's own basis
    COMPONENT_CONV1D_INPUT,  // [L, I] x
    COMPONENT_CONV1D_OUTPUT, // [L, I] c
    COMPONENT_SSM_INPUT,     // [L, I] u, what the scan eats
    COMPONENT_SSM_OUTPUT,    // [L, I] y, after the gate
    COMPONENT_MIXER_OUTPUT,  // [L, D] o, in the model's own basis
    MAMBA1_COMPONENTS
};

// The order in which scales are stored; beside each the observer that the reference has there.
enum mamba1_site {
    SITE_IN_PROJ_INPUT,  // had(x̂)                     minmax
    SITE_IN_PROJ_OUTPUT, // xz                          minmax
    SITE_X_PROJ_INPUT,   // c                           ema-percentile
    SITE_X_PROJ_OUTPUT,  // dbl                         minmax
    SITE_DT_PROJ_OUTPUT, // dt before its bias          minmax
    SITE_OUT_PROJ_INPUT, // had(y)                      minmax
    SITE_SSM_STATE,      // state after the last token  ema-percentile
    MAMBA1_SITES
};

#endif
