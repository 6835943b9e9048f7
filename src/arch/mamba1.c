// SPDX-License-Identifier: Apache-2.0
#include "mamba1_parts.h"

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
        {"in_proj:input", "in_proj_input", SITE_OF_EXTREMES, SITE_INPUT, {"in_proj", "input"}, false},
    [SITE_IN_PROJ_OUTPUT] =
        {"in_proj:output", "in_proj_output", SITE_OF_EXTREMES, SITE_OUTPUT, {"in_proj", "output"}, false},
    [SITE_X_PROJ_INPUT] =
        {"x_proj:input", "x_proj_input", SITE_OF_QUANTILES, SITE_INPUT, {"x_proj", "input"}, false},
    [SITE_X_PROJ_OUTPUT] =
        {"x_proj:output", "x_proj_output", SITE_OF_EXTREMES, SITE_OUTPUT, {"x_proj", "output"}, false},
    [SITE_DT_PROJ_OUTPUT] =
        {"dt_proj:output", "dt_proj_output", SITE_OF_EXTREMES, SITE_OUTPUT, {"dt_proj", "output"}, false},
    [SITE_OUT_PROJ_INPUT] =
        {"out_proj:input", "out_proj_input", SITE_OF_EXTREMES, SITE_INPUT, {"out_proj", "input"}, false},
    [SITE_SSM_STATE] = {"ssm_state_act:input", "ssm_state", SITE_OF_QUANTILES, 0, {"ssm", "state"}, false},
};

static const struct arch_tensor tensors[MAMBA1_TENSORS] = {
    [TENSOR_NORM] = {.name = "norm.weight", .shape = {EXTENT_D}},
    [TENSOR_IN_PROJ] = {.name = "mixer.in_proj.weight", .shape = {EXTENT_2I, EXTENT_D}, .halves = true},
    [TENSOR_CONV_W] = {.name = "mixer.conv1d.weight",
                       .shape = {EXTENT_I, EXTENT_ONE, EXTENT_K},
                       .squeezes = true,
                       .halves = true},
    [TENSOR_CONV_B] = {.name = "mixer.conv1d.bias", .shape = {EXTENT_I}, .halves = true},
    [TENSOR_X_PROJ] = {.name = "mixer.x_proj.weight", .shape = {EXTENT_R_2N, EXTENT_I}, .halves = true},
    [TENSOR_DT_PROJ] = {.name = "mixer.dt_proj.weight", .shape = {EXTENT_I, EXTENT_R}, .halves = true},
    [TENSOR_DT_BIAS] = {.name = "mixer.dt_proj.bias", .shape = {EXTENT_I}},
    [TENSOR_A_LOG] = {.name = "mixer.A_log", .shape = {EXTENT_I, EXTENT_N}},
    [TENSOR_D_SKIP] = {.name = "mixer.D", .shape = {EXTENT_I}},
    [TENSOR_OUT_PROJ] = {.name = "mixer.out_proj.weight", .shape = {EXTENT_D, EXTENT_I}, .halves = true},
};

#define ANY_WEIGHT FORMAT_INT8, FORMAT_FLOAT, FORMAT_FP16, FORMAT_INT8_GIVEN
#define ANY_INT4 FORMAT_INT4_G128, FORMAT_INT4_G64, FORMAT_INT4_G32
#define GRID_OR_FLOAT FORMAT_INT8, FORMAT_FLOAT, FORMAT_FP16, FORMAT_INT8_GIVEN

static const struct unit units[MAMBA1_UNITS] = {
    [UNIT_IN_PROJ] = {"weight:in_proj", {ANY_WEIGHT, FORMAT_INT8_CHANNEL, ANY_INT4}},
    [UNIT_CONV_W] = {"weight:conv1d", {ANY_WEIGHT, FORMAT_INT8_CHANNEL}},
    [UNIT_CONV_B] = {"weight:conv1d_bias", {ANY_WEIGHT}},
    [UNIT_X_PROJ] = {"weight:x_proj", {ANY_WEIGHT, FORMAT_INT8_CHANNEL, ANY_INT4}},
    [UNIT_DT_PROJ] = {"weight:dt_proj", {ANY_WEIGHT, FORMAT_INT8_CHANNEL}},
    [UNIT_DT_BIAS] = {"weight:dt_bias", {ANY_WEIGHT}},
    [UNIT_A_LOG] = {"weight:A_log", {ANY_WEIGHT}},
    [UNIT_D_SKIP] = {"weight:D", {ANY_WEIGHT}},
    [UNIT_OUT_PROJ] = {"weight:out_proj", {ANY_WEIGHT, FORMAT_INT8_CHANNEL, ANY_INT4}},
    [UNIT_IN_PROJ_INPUT] = {"in_proj:input", {GRID_OR_FLOAT, FORMAT_DYNAMIC_TOKEN}},
    [UNIT_CONV1D_INPUT] = {"conv1d:input",
                           {FORMAT_INT8, FORMAT_DYNAMIC, FORMAT_FLOAT, FORMAT_FP16, FORMAT_DYNAMIC_TOKEN,
                            FORMAT_INT8_GIVEN}},
    [UNIT_GATE_INPUT] = {"gate:input", {GRID_OR_FLOAT}},
    [UNIT_CONV1D_OUTPUT] = {"conv1d:output", {GRID_OR_FLOAT}},
    [UNIT_X_PROJ_INPUT] = {"x_proj:input", {FORMAT_INT8, FORMAT_FLOAT, FORMAT_INT8_GIVEN}},
    [UNIT_SCAN_U] = {"scan:u", {FORMAT_CODES, FORMAT_INT8, FORMAT_FLOAT}},
    [UNIT_DT_PROJ_INPUT] = {"dt_proj:input", {GRID_OR_FLOAT}},
    [UNIT_SCAN_B] = {"scan:B", {GRID_OR_FLOAT}},
    [UNIT_SCAN_C] = {"scan:C", {GRID_OR_FLOAT}},
    [UNIT_SCAN_DT] = {"scan:dt", {GRID_OR_FLOAT}},
    [UNIT_SCAN_Y] = {"scan:y", {FORMAT_FP16, FORMAT_FLOAT}},
    [UNIT_OUT_PROJ_INPUT] = {"out_proj:input", {GRID_OR_FLOAT, FORMAT_DYNAMIC_TOKEN}},
    [UNIT_MIXER_OUTPUT] = {"mixer:output", {FORMAT_FP16, FORMAT_FLOAT}},
    [UNIT_SCAN_ORDER] = {"scan:order", {FORMAT_SEQUENTIAL, FORMAT_BLOCKED}},
};

// ---- settings that give the same bits ----

static bool is_values(enum format weight)
{
    return weight == FORMAT_FLOAT || weight == FORMAT_FP16;
}

// docs/recipes.md, "Runs that are the same".  1. Codes that are dequantized and quantized again are the same
// codes, and so are those of a float v, whoever makes them: `int8` is `codes`.  2. Behind an INT8 conv1d the
// float is the grid, code · scale, which the scan makes of codes as well.  3. So does x_proj where its weight
// is float: both products are of values.  4. Behind a conv1d on a grid x_proj takes its codes, whatever scale
// of its own it was to have.
static void canonical(struct setting *setting)
{
    const bool given = setting->of[UNIT_CONV1D_OUTPUT] == FORMAT_INT8_GIVEN,
               int8 = given || setting->of[UNIT_CONV1D_OUTPUT] == FORMAT_INT8;
    if (setting->of[UNIT_SCAN_U] == FORMAT_INT8 || (int8 && setting->of[UNIT_SCAN_U] == FORMAT_FLOAT))
        setting->of[UNIT_SCAN_U] = FORMAT_CODES;
    if (int8 && (is_values((enum format)setting->of[UNIT_X_PROJ]) ||
                 setting->of[UNIT_X_PROJ_INPUT] == FORMAT_INT8_GIVEN))
        setting->of[UNIT_X_PROJ_INPUT] = FORMAT_INT8;
}

int mamba1_site_of(int unit)
{
    static const int8_t sites_of[MAMBA1_UNITS] = {
        [UNIT_IN_PROJ_INPUT] = SITE_IN_PROJ_INPUT + 1,  [UNIT_CONV1D_INPUT] = SITE_IN_PROJ_OUTPUT + 1,
        [UNIT_GATE_INPUT] = SITE_IN_PROJ_OUTPUT + 1,    [UNIT_CONV1D_OUTPUT] = SITE_X_PROJ_INPUT + 1,
        [UNIT_X_PROJ_INPUT] = SITE_X_PROJ_INPUT + 1,    [UNIT_SCAN_U] = SITE_X_PROJ_INPUT + 1,
        [UNIT_DT_PROJ_INPUT] = SITE_X_PROJ_OUTPUT + 1,  [UNIT_SCAN_B] = SITE_X_PROJ_OUTPUT + 1,
        [UNIT_SCAN_C] = SITE_X_PROJ_OUTPUT + 1,         [UNIT_SCAN_DT] = SITE_DT_PROJ_OUTPUT + 1,
        [UNIT_OUT_PROJ_INPUT] = SITE_OUT_PROJ_INPUT + 1};
    return sites_of[unit] - 1;
}

// ---- activations ----

static float *take_rows(struct arena *arena, long rows, long width)
{
    return arena_take(arena, (size_t)(rows * width) * sizeof(float));
}

static int8_t *take_codes(struct arena *arena, long rows, long width)
{
    return arena_take(arena, (size_t)(rows * width) + 4); // the INT8 kernels read groups of four
}

// Skips the d_conv - 1 rows of zeros in front of row 0 (NULL while measuring stays NULL).
static void *behind(void *block, size_t bytes)
{
    return block ? (char *)block + bytes : NULL;
}

static float *carve(const struct dims *d, int max_tokens, struct arena *a, void *work)
{
    struct mamba1_work *w = work;
    const struct leading ld = leading_of(d);
    const long L = max_tokens, before = d->d_conv - 1;
    w->xz = behind(take_rows(a, L + before, 2L * ld.I), (size_t)(before * 2 * ld.I) * sizeof(float));
    w->v = take_rows(a, L, ld.I);
    w->dbl = take_rows(a, L, ld.dbl);
    w->dt = take_rows(a, L, ld.I);
    w->xz_codes = behind(take_codes(a, L + before, 2L * ld.I), (size_t)(before * 2 * ld.I));
    w->u_codes = take_codes(a, L, ld.I);
    w->scan_codes = take_codes(a, L, ld.I);
    w->dbl_codes = take_codes(a, L, ld.dbl);
    w->dt_codes = take_codes(a, L, ld.I);
    w->y_codes = take_codes(a, L, ld.I);
    w->n_scales = take_rows(a, 1, L);
    w->x_scales = take_rows(a, 1, L);
    w->y_scales = take_rows(a, 1, L);
    w->ratios = take_rows(a, 1, L);
    w->factors = take_rows(a, 1, 2L * ld.I > ld.dbl ? 2L * ld.I : ld.dbl);
    w->state = take_rows(a, d->d_state, ld.I);
    const long rows = L > d->d_state ? L : d->d_state; // the state is observed through the room as well
    long wide = ld.D > ld.I ? ld.D : ld.I;
    if (ld.dbl > wide) wide = ld.dbl;
    w->y = take_rows(a, 1, L * ld.I + rows * wide);
    return behind(w->y, (size_t)(L * ld.I) * sizeof(float));
}

static bool run_layer(const struct pass *pass)
{
    return recipe_is_float(pass->recipe) ? mamba1_layer_float(pass) : mamba1_layer_units(pass);
}

// ---- cost ----

// Measured on x86-64 with 256- and 512-bit vectors.
static double cost(const struct dims *dims, const struct recipe *recipe, int layer)
{
    static const double INT8_PRODUCT = 0.2, SCAN_STEP = 35, BLOCKED_SCAN_STEP = 52;
    const double I = dims->d_inner, D = dims->d_model, R = dims->dt_rank, N = dims->d_state;
    const bool blocked =
        !recipe_is_float(recipe) && recipe->layers[layer].of[UNIT_SCAN_ORDER] == FORMAT_BLOCKED;
    const double products = I * (3 * D + (R + 2 * N) + R) * (recipe_is_float(recipe) ? 1 : INT8_PRODUCT);
    return products + I * N * (blocked ? BLOCKED_SCAN_STEP : SCAN_STEP);
}

// The four projections and conv1d as multiply-adds; in the scan 8 operations for each channel and state.
static double operations(const struct dims *d)
{
    const double D = d->d_model, I = d->d_inner, N = d->d_state, R = d->dt_rank, K = d->d_conv;
    const double multiply_adds = 2 * I * D + K * I + (R + 2 * N) * I + I * R + I * D;
    return 2 * multiply_adds + 8 * I * N + 20 * I + 8 * D;
}

#define MAMBA1_PRODUCTS                                                                                      \
    (1u << UNIT_IN_PROJ | 1u << UNIT_CONV_W | 1u << UNIT_X_PROJ | 1u << UNIT_DT_PROJ | 1u << UNIT_OUT_PROJ)

static bool takes_codes(const struct setting *setting, int unit)
{
    return mamba1_takes_codes(setting, (enum mamba1_unit)unit);
}

// clang-format off
#define MAMBA1_LAYERS                                                                                        \
    .describe = mamba1_describe, .rotates_inner = true, .tensors = tensors, .components = components,        \
    .sites = sites, .n_tensors = MAMBA1_TENSORS, .n_components = MAMBA1_COMPONENTS, .n_sites = MAMBA1_SITES, \
    .units = {units, MAMBA1_UNITS}, .products = MAMBA1_PRODUCTS, .takes_codes = takes_codes,                  \
    .site_of = mamba1_site_of, .same_weight = mamba1_same_weight, .weight_values = mamba1_weight_values,                                            \
    .layer_bytes = sizeof(union mamba1_layer), .carve_layer = mamba1_carve_layer,                            \
    .scratch_bytes = mamba1_scratch_bytes, .pack = mamba1_pack, .need = mamba1_need, .depth = mamba1_depth, .canonical = canonical, .work_bytes = sizeof(struct mamba1_work),    \
    .carve = carve, .layer = run_layer, .cost = cost, .operations = operations
// clang-format on

const struct arch arch_mamba1 = {.name = "mamba1",
                                 .title = "Mamba-1",
                                 .model_type = "mamba",
                                 .bind_codes = mamba1_bind_codes,
                                 .knows_codes = mamba1_knows_codes,
                                 MAMBA1_LAYERS};

const struct arch arch_falcon_mamba = {.name = "falcon_mamba",
                                       .title = "Falcon-Mamba",
                                       .model_type = "falcon_mamba",
                                       .float_only = true,
                                       MAMBA1_LAYERS};
