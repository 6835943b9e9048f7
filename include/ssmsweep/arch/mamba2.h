// SPDX-License-Identifier: Apache-2.0
// Mamba-2 as a family of models: docs/numerics.md, section 8.  For the family's own layers, and for tests.
#ifndef SSMSWEEP_ARCH_MAMBA2_H
#define SSMSWEEP_ARCH_MAMBA2_H

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/compute/steps.h"

extern const struct arch arch_mamba2;

enum mamba2_tensor {
    MAMBA2_NORM,     // [D]
    MAMBA2_IN_PROJ,  // [2I + 2GN + H, D]: z, x, B, C, dt
    MAMBA2_CONV_W,   // [I + 2GN, 1, K] or without the 1: x, B, C
    MAMBA2_CONV_B,   // [I + 2GN]
    MAMBA2_DT_BIAS,  // [H]
    MAMBA2_A_LOG,    // [H]
    MAMBA2_D_SKIP,   // [H]
    MAMBA2_GATE,     // [I] weight of the norm behind the scan
    MAMBA2_OUT_PROJ, // [D, I]
    MAMBA2_TENSORS
};

// What may be on a grid.
enum mamba2_unit {
    MAMBA2_UNIT_IN_PROJ, // weights: had_rows(W_in diag(w_norm)), a scale for each of z, x, B, C, dt
    MAMBA2_UNIT_CONV_W,  // a scale for each of x, B, C, as the next
    MAMBA2_UNIT_CONV_B,
    MAMBA2_UNIT_DT_BIAS,
    MAMBA2_UNIT_A_LOG,
    MAMBA2_UNIT_D_SKIP,
    MAMBA2_UNIT_GATE,
    MAMBA2_UNIT_OUT_PROJ, // rotated on both sides
    MAMBA2_WEIGHTS,
    MAMBA2_UNIT_IN_PROJ_INPUT = MAMBA2_WEIGHTS,
    MAMBA2_UNIT_CONV1D_INPUT, // x, B, C out of in_proj
    MAMBA2_UNIT_GATE_INPUT,   // z
    MAMBA2_UNIT_CONV1D_OUTPUT,
    MAMBA2_UNIT_SCAN_U,  // and B, C alike
    MAMBA2_UNIT_SCAN_DT, // before the bias
    MAMBA2_UNIT_SCAN_Y,
    MAMBA2_UNIT_NORM_OUTPUT,
    MAMBA2_UNIT_OUT_PROJ_INPUT,
    MAMBA2_UNIT_MIXER_OUTPUT,
    MAMBA2_UNIT_SCAN_ORDER,
    MAMBA2_UNITS
};

enum mamba2_component {
    MAMBA2_MIXER_INPUT,   // [L, D] x̂, before the norm weight
    MAMBA2_CONV1D_INPUT,  // [L, I + 2GN] x, B, C
    MAMBA2_CONV1D_OUTPUT, // [L, I + 2GN]
    MAMBA2_SSM_INPUT,     // [L, I] u, what the scan eats
    MAMBA2_SSM_B,         // [L, GN] behind conv1d, as the next
    MAMBA2_SSM_C,         // [L, GN]
    MAMBA2_SSM_DT,        // [L, H] before the bias
    MAMBA2_SSM_OUTPUT,    // [L, I] y, before gate and norm
    MAMBA2_NORM_OUTPUT,   // [L, I] what out_proj eats
    MAMBA2_MIXER_OUTPUT,  // [L, D] o
    MAMBA2_COMPONENTS
};

// Local.  The order in which a layer's scan sums.
enum ssd_order mamba2_scan_order(const struct recipe *recipe, int layer);

enum mamba2_site {
    MAMBA2_SITE_IN_PROJ_INPUT, // had(x̂)
    MAMBA2_SITE_Z,             // z
    MAMBA2_SITE_X_IN,          // x, B, C out of in_proj
    MAMBA2_SITE_B_IN,
    MAMBA2_SITE_C_IN,
    MAMBA2_SITE_DT,    // dt before its bias
    MAMBA2_SITE_X_OUT, // u, and B, C behind conv1d
    MAMBA2_SITE_B_OUT,
    MAMBA2_SITE_C_OUT,
    MAMBA2_SITE_STATE,          // state after the last token
    MAMBA2_SITE_OUT_PROJ_INPUT, // had(v)
    MAMBA2_SITES
};

#endif
