// SPDX-License-Identifier: Apache-2.0
// A family of models as docs/design.md describes it ("Adding a model family"): one linear mixer in a layer,
// h = W (w_norm · r / rms(r)).  For tests/cli/toy_family.py alone, which recomputes it with NumPy.
#include "../../src/arch/config_parts.h"
#include "ssmsweep/arch/pack.h"
#include "ssmsweep/arch/pass.h"

extern const struct arch arch_toy;

enum { TENSOR_NORM, TENSOR_MIXER, TENSORS };
enum { COMPONENT_INPUT, COMPONENT_OUTPUT, COMPONENTS };
enum { SITE_MIXER_INPUT, SITES };

static const struct arch_tensor tensors[TENSORS] = {
    [TENSOR_NORM] = {.name = "norm.weight", .shape = {EXTENT_D}},
    [TENSOR_MIXER] = {.name = "mixer.weight", .shape = {EXTENT_D, EXTENT_D}, .halves = true}};
static const struct arch_component components[COMPONENTS] = {
    [COMPONENT_INPUT] = {"linear_input", EXTENT_D}, [COMPONENT_OUTPUT] = {"linear_output", EXTENT_D}};
static const struct arch_site sites[SITES] = {
    [SITE_MIXER_INPUT] = {"linear:input", "linear_input", SITE_OF_EXTREMES, SITE_INPUT, {"linear", "input"}}};

static enum status describe(struct config *config, const struct config_source *in, struct error *err)
{
    if (config_check_type(in, &arch_toy, err) || config_read_sizes(in, &config->dims, err))
        return err->status;
    return config_read_rest(in, config, err);
}

// ---- weights ----

struct layer {
    float *norm;    // [ldD]
    float *mixer;   // ldD outputs, depth D
    uint8_t *codes; // the same as codes, rotated on both sides: had(W diag(w_norm))
    float *scale;   // of codes
};

static void carve_layer(const struct dims *d, enum packed_form form, const struct needs *needs,
                        struct arena *arena, void *layer)
{
    (void)needs;
    struct layer *out = layer;
    const int ld = round_up16(d->d_model);
    *out = (struct layer){NULL, NULL, NULL, NULL};
    if (form == PACKED_BY_UNIT) {
        out->codes = pack_outputs(arena, ld, d->d_model);
        out->scale = pack_floats(arena, 1);
        return;
    }
    out->norm = pack_floats(arena, ld);
    out->mixer = pack_floats(arena, (long)ld * d->d_model);
}

static size_t scratch_bytes(const struct dims *d)
{
    return (size_t)d->d_model * (size_t)d->d_model * 16 + ((size_t)1 << 16);
}

// had over both axes of W diag(w_norm).
static float *rotated(const struct packing *p, const float *norm, const struct tensor *mixer)
{
    const int D = p->model->dims.d_model;
    const struct hadamard *turn = &p->rotations->model.forward;
    float *w = pack_take(p->scratch, (long)D * D), *column = pack_take(p->scratch, D);
    tensor_to_f32(mixer, w);
    for (int n = 0; n < D; n++) {
        for (int k = 0; k < D; k++)
            w[n * D + k] *= norm[k];
        p->kernels->hadamard(turn, w + n * D);
    }
    for (int k = 0; k < D; k++) {
        for (int n = 0; n < D; n++)
            column[n] = w[n * D + k];
        p->kernels->hadamard(turn, column);
        for (int n = 0; n < D; n++)
            w[n * D + k] = column[n];
    }
    return w;
}

static void pack(const struct packing *p, enum packed_form form, void *layer)
{
    struct layer *out = layer;
    const int D = p->model->dims.d_model;
    const struct tensor *mixer = model_tensor(p->model, p->layer, TENSOR_MIXER);
    const float *norm =
        pack_view(p->kernels, p->scratch, model_tensor(p->model, p->layer, TENSOR_NORM), false);
    if (form != PACKED_BY_UNIT) {
        pack_vector(norm, D, round_up16(D), out->norm);
        pack_panels(p->kernels, p->scratch, mixer, 0, D, (struct panel_recipe){.half = form == PACKED_FP16},
                    out->mixer);
        return;
    }
    const float *w = rotated(p, norm, mixer);
    const long padded = (long)round_up16(D * D);
    int8_t *codes = arena_take(p->scratch, (size_t)padded);
    *out->scale = p->kernels->absmax(w, padded) / 127.0f;
    p->kernels->quantize_even(w, padded, *out->scale, codes);
    pack_codes(codes, 0, D, D, out->codes);
}

// ---- the layer ----

struct work {
    int none;
};

static float *carve(const struct dims *d, int max_tokens, struct arena *arena, void *work)
{
    (void)work;
    return pack_floats(arena, (long)max_tokens * round_up16(d->d_model));
}

static bool run_float(const struct pass *p, const struct backend *on)
{
    const struct layer *l = p->weights;
    const int D = p->dims->d_model, ld = round_up16(D);
    const bool half = p->recipe->precision == PRECISION_FP16;
    const struct norm norm = {.residual = p->residual,
                              .h = p->h,
                              .ld = ld,
                              .width = D,
                              .eps = p->dims->norm_eps,
                              .xhat = p->xhat,
                              .weight = l->norm,
                              .scaled = p->normed,
                              .half = half};
    const struct gemm_f32 mixer = {
        .a = p->normed, .lda = ld, .w = l->mixer, .depth = D, .out = p->h, .ldo = ld, .half = half};
    p->batch->broken = p->batch->tokens;
    on->norm(p->batch, &norm);
    if (p->observe) {
        const struct seen turned = {
            .values = p->xhat, .ld = ld, .width = ld, .rotation = &p->rotations->model.forward};
        on->keep(p->batch, &turned, p->room);
        const struct observed observed = {p->room, p->batch->tokens, ld, {{0, D}}, 1, .scratch = p->room};
        p->observe(p, SITE_MIXER_INPUT, &observed);
    }
    if (!p->give(p, COMPONENT_INPUT, &(struct seen){.values = p->xhat, .ld = ld, .width = D})) return false;
    on->product_f32(p->batch, &mixer, ld);
    return p->give(p, COMPONENT_OUTPUT, &(struct seen){.values = p->h, .ld = ld, .width = D});
}

static bool run_w8a8(const struct pass *p, const struct backend *on)
{
    const struct layer *l = p->weights;
    const int D = p->dims->d_model, ld = round_up16(D);
    const float *step = &p->scales[SITE_MIXER_INPUT];
    const struct hadamard *back = &p->rotations->model.inverse;
    const struct norm norm = {.residual = p->residual,
                              .h = p->h,
                              .ld = ld,
                              .width = D,
                              .eps = p->dims->norm_eps,
                              .codes = p->codes,
                              .step = *step};
    struct gemm_s8 mixer = {.a = p->codes,
                            .lda = ld,
                            .w = l->codes,
                            .depth = D,
                            .result = GEMM_S8_HALF,
                            .first = *l->scale,
                            .second = *step,
                            .out = p->h,
                            .ldo = ld};
    on->norm(p->batch, &norm);
    on->find_broken(p->batch, p->residual, ld, D);
    const struct seen input = {.codes = p->codes, .scale = step, .ld = ld, .width = D, .rotation = back};
    if (!p->give(p, COMPONENT_INPUT, &input)) return false;
    on->product_s8(p->batch, &mixer, ld);
    on->break_rest(p->batch, p->h, ld, D);
    return p->give(p, COMPONENT_OUTPUT,
                   &(struct seen){.values = p->h, .ld = ld, .width = D, .rotation = back});
}

static bool run(const struct pass *pass)
{
    return (recipe_is_float(pass->recipe) ? run_float : run_w8a8)(pass, pass->batch->backend);
}

static double cost(const struct dims *d, const struct recipe *recipe, int layer)
{
    (void)layer;
    return (double)d->d_model * d->d_model * (recipe_is_float(recipe) ? 1 : 0.2);
}

static double operations(const struct dims *d)
{
    return 2.0 * d->d_model * d->d_model;
}

const struct arch arch_toy = {.name = "toy",
                              .title = "Toy",
                              .model_type = "toy",
                              .describe = describe,
                              .tensors = tensors,
                              .components = components,
                              .sites = sites,
                              .n_tensors = TENSORS,
                              .n_components = COMPONENTS,
                              .n_sites = SITES,
                              .layer_bytes = sizeof(struct layer),
                              .carve_layer = carve_layer,
                              .scratch_bytes = scratch_bytes,
                              .pack = pack,
                              .work_bytes = sizeof(struct work),
                              .carve = carve,
                              .layer = run,
                              .cost = cost,
                              .operations = operations};
