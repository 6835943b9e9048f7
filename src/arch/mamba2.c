// SPDX-License-Identifier: Apache-2.0
#include "mamba2_parts.h"

static const struct arch_component components[MAMBA2_COMPONENTS] = {
    [MAMBA2_MIXER_INPUT] = {"mixer_input", EXTENT_D},
    [MAMBA2_CONV1D_INPUT] = {"conv1d_input", EXTENT_I_2GN},
    [MAMBA2_CONV1D_OUTPUT] = {"conv1d_output", EXTENT_I_2GN},
    [MAMBA2_SSM_INPUT] = {"ssm_input", EXTENT_I},
    [MAMBA2_SSM_B] = {"ssm_B", EXTENT_GN},
    [MAMBA2_SSM_C] = {"ssm_C", EXTENT_GN},
    [MAMBA2_SSM_DT] = {"ssm_dt", EXTENT_H},
    [MAMBA2_SSM_OUTPUT] = {"ssm_output", EXTENT_I},
    [MAMBA2_NORM_OUTPUT] = {"norm_output", EXTENT_I},
    [MAMBA2_MIXER_OUTPUT] = {"mixer_output", EXTENT_D},
};

static const struct arch_site sites[MAMBA2_SITES] = {
    [MAMBA2_SITE_IN_PROJ_INPUT] =
        {"in_proj:input", "in_proj_input", SITE_OF_EXTREMES, SITE_INPUT, {"in_proj", "input"}, false},
    [MAMBA2_SITE_Z] = {"z_act", "z_act", SITE_OF_EXTREMES, SITE_OUTPUT, {"in_proj", "z"}, false},
    [MAMBA2_SITE_X_IN] = {"x_conv_in", "x_conv_in", SITE_OF_EXTREMES, SITE_OUTPUT, {"conv1d", "x in"}, false},
    [MAMBA2_SITE_B_IN] = {"B_conv_in", "B_conv_in", SITE_OF_EXTREMES, SITE_OUTPUT, {"conv1d", "B in"}, false},
    [MAMBA2_SITE_C_IN] = {"C_conv_in", "C_conv_in", SITE_OF_EXTREMES, SITE_OUTPUT, {"conv1d", "C in"}, false},
    [MAMBA2_SITE_DT] = {"dt_act", "dt_act", SITE_OF_EXTREMES, SITE_OUTPUT, {"in_proj", "dt"}, false},
    [MAMBA2_SITE_X_OUT] = {"x_conv_out", "x_conv_out", SITE_OF_QUANTILES, 0, {"conv1d", "x out"}, true},
    [MAMBA2_SITE_B_OUT] = {"B_conv_out", "B_conv_out", SITE_OF_EXTREMES, 0, {"conv1d", "B out"}, true},
    [MAMBA2_SITE_C_OUT] = {"C_conv_out", "C_conv_out", SITE_OF_EXTREMES, 0, {"conv1d", "C out"}, true},
    [MAMBA2_SITE_STATE] = {"ssm_state_act", "ssm_state", SITE_OF_QUANTILES, 0, {"ssm", "state"}, true},
    [MAMBA2_SITE_OUT_PROJ_INPUT] =
        {"out_proj:input", "out_proj_input", SITE_OF_EXTREMES, SITE_INPUT, {"out_proj", "input"}, false},
};

static const struct arch_tensor tensors[MAMBA2_TENSORS] = {
    [MAMBA2_NORM] = {.name = "norm.weight", .shape = {EXTENT_D}},
    [MAMBA2_IN_PROJ] = {.name = "mixer.in_proj.weight", .shape = {EXTENT_2I_2GN_H, EXTENT_D}, .halves = true},
    [MAMBA2_CONV_W] = {.name = "mixer.conv1d.weight",
                       .shape = {EXTENT_I_2GN, EXTENT_ONE, EXTENT_K},
                       .squeezes = true,
                       .halves = true},
    [MAMBA2_CONV_B] = {.name = "mixer.conv1d.bias", .shape = {EXTENT_I_2GN}, .halves = true},
    [MAMBA2_DT_BIAS] = {.name = "mixer.dt_bias", .shape = {EXTENT_H}},
    [MAMBA2_A_LOG] = {.name = "mixer.A_log", .shape = {EXTENT_H}},
    [MAMBA2_D_SKIP] = {.name = "mixer.D", .shape = {EXTENT_H}},
    [MAMBA2_GATE] = {.name = "mixer.norm.weight", .shape = {EXTENT_I}, .halves = true},
    [MAMBA2_OUT_PROJ] = {.name = "mixer.out_proj.weight", .shape = {EXTENT_D, EXTENT_I}, .halves = true},
};

#define ANY_WEIGHT FORMAT_INT8, FORMAT_FLOAT, FORMAT_FP16
#define ANY_INT4 FORMAT_INT4_G128, FORMAT_INT4_G64, FORMAT_INT4_G32
#define GRID_OR_FLOAT FORMAT_INT8, FORMAT_FLOAT, FORMAT_FP16

static const struct unit units[MAMBA2_UNITS] = {
    [MAMBA2_UNIT_IN_PROJ] = {"weight:in_proj", {ANY_WEIGHT, FORMAT_INT8_CHANNEL, ANY_INT4}},
    [MAMBA2_UNIT_CONV_W] = {"weight:conv1d", {ANY_WEIGHT, FORMAT_INT8_CHANNEL}},
    [MAMBA2_UNIT_CONV_B] = {"weight:conv1d_bias", {ANY_WEIGHT}},
    [MAMBA2_UNIT_DT_BIAS] = {"weight:dt_bias", {FORMAT_FP16, FORMAT_FLOAT}},
    [MAMBA2_UNIT_A_LOG] = {"weight:A_log", {ANY_WEIGHT}},
    [MAMBA2_UNIT_D_SKIP] = {"weight:D", {ANY_WEIGHT}},
    [MAMBA2_UNIT_GATE] = {"weight:norm", {FORMAT_FP16, FORMAT_FLOAT}},
    [MAMBA2_UNIT_OUT_PROJ] = {"weight:out_proj", {ANY_WEIGHT, FORMAT_INT8_CHANNEL, ANY_INT4}},
    [MAMBA2_UNIT_IN_PROJ_INPUT] = {"in_proj:input",
                                   {FORMAT_INT8, FORMAT_FLOAT, FORMAT_FP16, FORMAT_DYNAMIC_TOKEN}},
    [MAMBA2_UNIT_CONV1D_INPUT] = {"conv1d:input",
                                  {FORMAT_INT8, FORMAT_DYNAMIC, FORMAT_FLOAT, FORMAT_FP16,
                                   FORMAT_DYNAMIC_TOKEN}},
    [MAMBA2_UNIT_GATE_INPUT] = {"gate:input", {GRID_OR_FLOAT}},
    [MAMBA2_UNIT_CONV1D_OUTPUT] = {"conv1d:output", {GRID_OR_FLOAT}},
    [MAMBA2_UNIT_SCAN_U] = {"scan:u", {FORMAT_CODES, FORMAT_INT8, FORMAT_FLOAT}},
    [MAMBA2_UNIT_SCAN_DT] = {"scan:dt", {GRID_OR_FLOAT}},
    [MAMBA2_UNIT_SCAN_Y] = {"scan:y", {FORMAT_FP16, FORMAT_FLOAT}},
    [MAMBA2_UNIT_NORM_OUTPUT] = {"norm:output", {FORMAT_FP16, FORMAT_FLOAT}},
    [MAMBA2_UNIT_OUT_PROJ_INPUT] = {"out_proj:input",
                                    {FORMAT_INT8, FORMAT_FLOAT, FORMAT_FP16, FORMAT_DYNAMIC_TOKEN}},
    [MAMBA2_UNIT_MIXER_OUTPUT] = {"mixer:output", {FORMAT_FP16, FORMAT_FLOAT}},
    [MAMBA2_UNIT_SCAN_ORDER] = {"scan:order",
                                {FORMAT_SEQUENTIAL, FORMAT_CHUNKED, FORMAT_CHUNKED_GPU, FORMAT_CHUNKED_FP16}},
};

// docs/recipes.md, "Runs that are the same".  The scan takes values: behind a conv1d on a grid those that it
// left, whatever scan:u is, and else those rounded to the same grid, be it `codes` or `int8`.
static void canonical(struct setting *setting)
{
    const bool int8 = setting->of[MAMBA2_UNIT_CONV1D_OUTPUT] == FORMAT_INT8;
    if (int8 || setting->of[MAMBA2_UNIT_SCAN_U] == FORMAT_INT8)
        setting->of[MAMBA2_UNIT_SCAN_U] = FORMAT_CODES;
}

// ---- activations ----

static float *take(struct arena *arena, long rows, long width)
{
    return arena_take(arena, (size_t)(rows * width) * sizeof(float));
}

// Behind `elements` of a block; NULL while measuring stays NULL.
static float *behind(float *block, long elements)
{
    return block ? block + elements : NULL;
}

static float *carve(const struct dims *d, int max_tokens, struct arena *a, void *work)
{
    struct mamba2_work *w = work;
    const struct mamba2_width width = mamba2_width_of(d);
    const long L = max_tokens, before = d->d_conv - 1, states = (long)d->n_heads * d->d_state;
    w->in = behind(take(a, L + before, width.ld_in), before * width.ld_in);
    w->conv = take(a, L, width.ld_conv);
    w->delta = take(a, L, width.ldH);
    w->dA = take(a, L, width.ldH);
    w->state = take(a, states, width.ldP);
    w->y = take(a, L, width.ldI);
    w->in_codes = arena_take(a, (size_t)((L + before) * width.ld_in));
    if (w->in_codes) w->in_codes += before * width.ld_in;
    w->y_codes = arena_take(a, (size_t)(L * width.ld_conv) + 4); // the INT8 kernels read groups of four
    w->steps = take(a, 1, 2L * width.ld_in + width.ld_conv);
    w->factors = behind(w->steps, width.ld_in);
    w->conv_steps = behind(w->steps, 2L * width.ld_in);
    w->taps = take(a, 1, width.ld_conv);
    w->row_scales = take(a, 1, L);
    const long wide = width.ldD > width.ld_conv ? width.ldD : width.ld_conv;
    const long room =
        KERNEL_LANES +
        (L * wide > states * width.ldP ? L * wide : states * width.ldP); // state is observed, too
    w->normed = take(a, 1, L * width.ldI + room);
    return behind(w->normed, L * width.ldI);
}

static bool run_layer(const struct pass *pass)
{
    return (recipe_is_float(pass->recipe) ? mamba2_layer_float : mamba2_layer_units)(pass);
}

// ---- cost ----

// A step of the scan takes three operations on vectors; Mamba-1's, by the same measure, 35.
static double cost(const struct dims *d, const struct recipe *recipe, int layer)
{
    static const double INT8_PRODUCT = 0.2, SCAN_STEP = 4, CHUNKED_STEP = 8;
    const bool chunked =
        !recipe_is_float(recipe) && recipe->layers[layer].of[MAMBA2_UNIT_SCAN_ORDER] != FORMAT_SEQUENTIAL;
    const double I = d->d_inner, D = d->d_model, rows = (double)arch_size(EXTENT_2I_2GN_H, d);
    return (rows + I) * D * (recipe_is_float(recipe) ? 1 : INT8_PRODUCT) +
           I * d->d_state * (chunked ? CHUNKED_STEP : SCAN_STEP);
}

// The two projections and conv1d as multiply-adds; in the scan 5 operations for each channel and state.
static double operations(const struct dims *d)
{
    const double I = d->d_inner, D = d->d_model, rows = (double)arch_size(EXTENT_2I_2GN_H, d);
    const double conv = (double)arch_size(EXTENT_I_2GN, d) * d->d_conv;
    return 2 * (rows * D + conv + I * D) + 5 * I * d->d_state + 20 * I + 8 * D;
}

static bool takes_codes(const struct setting *setting, int unit)
{
    return mamba2_takes_codes(setting, (enum mamba2_unit)unit);
}

const struct arch arch_mamba2 = {.name = "mamba2",
                                 .title = "Mamba-2",
                                 .model_type = "mamba2",
                                 .layer_class = "Mamba2",
                                 .describe = mamba2_describe,
                                 .bind_codes = mamba2_bind_codes,
                                 .knows_codes = mamba2_knows_codes,
                                 .find_order = mamba2_find_order,
                                 .rotates_inner = true,
                                 .groups = true,
                                 .tensors = tensors,
                                 .components = components,
                                 .sites = sites,
                                 .n_tensors = MAMBA2_TENSORS,
                                 .n_components = MAMBA2_COMPONENTS,
                                 .n_sites = MAMBA2_SITES,
                                 .units = {units, MAMBA2_UNITS},
                                 .products = 1u << MAMBA2_UNIT_IN_PROJ | 1u << MAMBA2_UNIT_CONV_W |
                                             1u << MAMBA2_UNIT_OUT_PROJ,
                                 .layer_bytes = sizeof(union mamba2_layer),
                                 .carve_layer = mamba2_carve_layer,
                                 .scratch_bytes = mamba2_scratch_bytes,
                                 .pack = mamba2_pack,
                                 .need = mamba2_need,
                                 .takes_codes = takes_codes,
                                 .depth = mamba2_depth,
                                 .canonical = canonical,
                                 .work_bytes = sizeof(struct mamba2_work),
                                 .carve = carve,
                                 .layer = run_layer,
                                 .cost = cost,
                                 .operations = operations};
