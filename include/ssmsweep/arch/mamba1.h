// SPDX-License-Identifier: Apache-2.0
// Mamba-1 as a family of models: docs/numerics.md.  For the family's own layers, and for tests.
#ifndef SSMSWEEP_ARCH_MAMBA1_H
#define SSMSWEEP_ARCH_MAMBA1_H

#include "ssmsweep/arch/arch.h"

extern const struct arch arch_mamba1;
// The same layer, with RMS norms without weights of dt_low, B and C.
extern const struct arch arch_falcon_mamba;

// MODEL_W8A8: all are I8 codes but norm, which is all ones; in_proj and out_proj are rotated, as
// docs/numerics.md, section 2, has them.
enum mamba1_tensor {
    TENSOR_NORM,     // [D]
    TENSOR_IN_PROJ,  // [2I, D]
    TENSOR_CONV_W,   // [I, 1, K] or [I, K]
    TENSOR_CONV_B,   // [I]
    TENSOR_X_PROJ,   // [R + 2N, I]
    TENSOR_DT_PROJ,  // [I, R]
    TENSOR_DT_BIAS,  // [I]
    TENSOR_A_LOG,    // [I, N]
    TENSOR_D_SKIP,   // [I]
    TENSOR_OUT_PROJ, // [D, I]
    MAMBA1_TENSORS
};

// What may be on a grid, in a token's way through the layer; the weights first, in the order of the tensors.
enum mamba1_unit {
    UNIT_IN_PROJ, // had_rows(W_in diag(w_norm))
    UNIT_CONV_W,
    UNIT_CONV_B,
    UNIT_X_PROJ,
    UNIT_DT_PROJ,
    UNIT_DT_BIAS,
    UNIT_A_LOG,
    UNIT_D_SKIP,
    UNIT_OUT_PROJ, // rotated on both sides
    MAMBA1_WEIGHTS,
    UNIT_IN_PROJ_INPUT = MAMBA1_WEIGHTS, // x̂
    UNIT_CONV1D_INPUT,                   // the x half of in_proj's output
    UNIT_GATE_INPUT,                     // the z half
    UNIT_CONV1D_OUTPUT,
    UNIT_X_PROJ_INPUT,
    UNIT_SCAN_U,
    UNIT_DT_PROJ_INPUT, // the parts of x_proj's output
    UNIT_SCAN_B,
    UNIT_SCAN_C,
    UNIT_SCAN_DT, // dt_proj's output, before the bias
    UNIT_SCAN_Y,  // after the gate
    UNIT_OUT_PROJ_INPUT,
    UNIT_MIXER_OUTPUT,
    UNIT_SCAN_ORDER,
    MAMBA1_UNITS
};

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
