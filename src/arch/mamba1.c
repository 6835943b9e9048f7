// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/arch/mamba1.h"

static const struct arch_component components[MAMBA1_COMPONENTS] = {
    [COMPONENT_MIXER_INPUT] = {"mixer_input", EXTENT_D},
    [COMPONENT_CONV1D_INPUT] = {"conv1d_input", EXTENT_I},
    [COMPONENT_CONV1D_OUTPUT] = {"conv1d_output", EXTENT_I},
    [COMPONENT_SSM_INPUT] = {"ssm_input", EXTENT_I},
    [COMPONENT_SSM_OUTPUT] = {"ssm_output", EXTENT_I},
    [COMPONENT_MIXER_OUTPUT] = {"mixer_output", EXTENT_D},
};

static const struct arch_site sites[MAMBA1_SITES] = {
    [SITE_IN_PROJ_INPUT] =
        {"in_proj:input", "in_proj_input", SITE_OF_EXTREMES, SITE_INPUT, {"in_proj", "input"}},
    [SITE_IN_PROJ_OUTPUT] =
        {"in_proj:output", "in_proj_output", SITE_OF_EXTREMES, SITE_OUTPUT, {"in_proj", "output"}},
    [SITE_X_PROJ_INPUT] =
        {"x_proj:input", "x_proj_input", SITE_OF_QUANTILES, SITE_INPUT, {"x_proj", "input"}},
    [SITE_X_PROJ_OUTPUT] =
        {"x_proj:output", "x_proj_output", SITE_OF_EXTREMES, SITE_OUTPUT, {"x_proj", "output"}},
    [SITE_DT_PROJ_OUTPUT] =
        {"dt_proj:output", "dt_proj_output", SITE_OF_EXTREMES, SITE_OUTPUT, {"dt_proj", "output"}},
    [SITE_OUT_PROJ_INPUT] =
        {"out_proj:input", "out_proj_input", SITE_OF_EXTREMES, SITE_INPUT, {"out_proj", "input"}},
    [SITE_SSM_STATE] = {"ssm_state_act:input", "ssm_state", SITE_OF_QUANTILES, 0, {"ssm", "state"}},
};

const struct arch arch_mamba1 = {.name = "mamba1",
                                 .title = "Mamba-1",
                                 .components = components,
                                 .sites = sites,
                                 .n_components = MAMBA1_COMPONENTS,
                                 .n_sites = MAMBA1_SITES};
