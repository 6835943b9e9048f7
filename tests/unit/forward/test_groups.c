// SPDX-License-Identifier: Apache-2.0
// The Mamba-2 demo model with groups of heads and with one scale for each site: what is not finite in the
// stream or in the scan's output stays so, as for Mamba-1; modes that must be equal are; groups change
// results; a layer with nothing finite has groups, too.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ssmsweep/arch/mamba2.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/recipe/mode.h"

enum { LENGTH = 37, LAYERS = 3, BROKEN = 11 }; // the first token that is not finite

static struct model model;
static struct weights *weights;
static void *memory;
static struct forward *forward;
static struct groups groups;
static float *scales;
static int32_t ids[LENGTH];

// ---- set-up ----

static void pack(void)
{
    struct error err = {0};
    for (int task = 0; task < weights_tasks(weights); task++)
        assert_int_equal(weights_pack(weights, task, NULL, &err), STATUS_OK);
}

static void form_groups(void)
{
    const struct dims *d = &model.dims;
    struct error err = {0};
    float *means = calloc((size_t)(d->n_layer * d->d_inner), sizeof *means);
    forward_observe(forward, &(struct observation){.channel_means = means}, ids, LENGTH, NULL);
    assert_int_equal(groups_open(&groups, d, &err), STATUS_OK);
    for (int l = 0; l < d->n_layer; l++)
        assert_int_equal(groups_form(&groups, l, means + (long)l * d->d_inner, &err), STATUS_OK);
    assert_true(groups_settle(&groups));
    free(means);
    weights_set_groups(weights, &groups);
    pack();
}

static void calibrate(void)
{
    const struct dims *d = &model.dims;
    const long of_groups = (long)d->n_layer * groups_scales(d).count;
    const size_t numbers = (size_t)(d->n_layer * d->arch->n_sites + of_groups);
    struct error err = {0};
    struct observers observers = {.percentile_alpha = 0.9995, .grouped = d->grouped};
    float *observed = calloc(numbers, sizeof *observed);
    assert_int_equal(observers_parse(&observers, d->arch, NULL, &err), STATUS_OK);
    forward_observe(forward, &(struct observation){.observers = &observers, .numbers = observed}, ids, LENGTH,
                    NULL);
    scales = calloc(numbers, sizeof *scales);
    calibrate_scales(&observers,
                     &(struct calibration_set){.observed = observed, .of_groups = of_groups, .samples = 1},
                     d->n_layer, scales);
    free(observed);
}

static void open_all(bool grouped, const char *isa)
{
    struct error err = {0};
    const unsigned parts = WEIGHTS_FP32 | WEIGHTS_BY_UNIT;
    setenv("SSMSWEEP_ISA", isa, 1);
    assert_int_equal(model_open(&model, SOURCE_DIR "/jobs/demo-mamba2", &err), STATUS_OK);
    model.dims.grouped = grouped;
    memory = aligned_alloc(64, (weights_bytes(&model, parts, NULL) + 63) / 64 * 64);
    assert_int_equal(weights_open(&weights, &model, parts, NULL, memory, &err), STATUS_OK);
    pack();
    assert_int_equal(forward_open(&forward, weights, 64, 1, &err), STATUS_OK);
    for (int t = 0; t < LENGTH; t++)
        ids[t] = (t * 7919 + 13) % model.dims.vocab_size;
    if (grouped) form_groups();
    calibrate();
}

static void close_all(void)
{
    free(scales);
    forward_close(forward);
    weights_close(weights);
    free(memory);
    groups_clear(&groups);
    model_close(&model);
    unsetenv("SSMSWEEP_ISA");
}

// ---- passes ----

// Every component of the first layers.
struct kept {
    float *values[LAYERS][MAMBA2_COMPONENTS];
};

static bool keep(void *context, int layer, int component, const float *values, int length, int width)
{
    struct kept *kept = context;
    const size_t bytes = (size_t)length * (size_t)width * sizeof *values;
    kept->values[layer][component] = malloc(bytes);
    memcpy(kept->values[layer][component], values, bytes);
    return true;
}

static void free_kept(struct kept *kept)
{
    for (int l = 0; l < LAYERS; l++)
        for (int c = 0; c < MAMBA2_COMPONENTS; c++)
            free(kept->values[l][c]);
}

// With `spoil` in one number of the embedding of token BROKEN unless it is 0.
static struct kept run(const char *mode, float spoil, bool *whole_sample)
{
    const size_t floats = stream_floats(&model.dims, LENGTH);
    uint32_t want[64];
    struct kept kept;
    struct error err = {0};
    struct recipe recipe;
    struct stream stream = {.residual = malloc(floats * sizeof(float)), .h = malloc(floats * sizeof(float))};
    const struct capture capture = {.want = want, .take = keep, .context = &kept};
    memset(want, 0xff, sizeof want);
    assert_int_equal(recipe_make(&recipe, mode_find(mode), &model.dims.arch->units, model.dims.n_layer, &err),
                     STATUS_OK);
    *whole_sample = recipe.layers[0].of[MAMBA2_UNIT_CONV1D_INPUT] == FORMAT_DYNAMIC;
    forward_start(forward, &stream, &recipe, ids, LENGTH);
    if (spoil != 0) stream.h[floats / LENGTH * BROKEN + 3] = spoil;
    for (int layer = 0; layer < LAYERS; layer++)
        assert_true(forward_step(forward, &stream, &recipe, scales, layer, LENGTH, &capture, NULL));
    recipe_clear(&recipe);
    free(stream.residual), free(stream.h);
    return kept;
}

static int count_finite(const float *values, long count)
{
    int finite = 0;
    for (long i = 0; i < count; i++)
        finite += isfinite(values[i]) != 0;
    return finite;
}

// Tokens before `first` are as they were, from it on there is none with a finite number.
static void assert_broken(const struct kept *kept, const struct kept *whole, int layer, int component,
                          int first)
{
    const long width = arch_width(&model.dims, component);
    const float *values = kept->values[layer][component];
    assert_memory_equal(values, whole->values[layer][component],
                        (size_t)first * (size_t)width * sizeof *values);
    assert_int_equal(count_finite(values + first * width, (LENGTH - first) * width), 0);
}

static void assert_stream_breaks(const char *mode, float spoil)
{
    bool whole_sample;
    struct kept whole = run(mode, 0, &whole_sample), kept = run(mode, spoil, &whole_sample);
    for (int l = 0; l < LAYERS; l++)
        for (int c = 0; c < MAMBA2_COMPONENTS; c++) {
            const bool in_front = l == 0 && c == MAMBA2_MIXER_INPUT; // of what is scaled by the sample
            assert_broken(&kept, &whole, l, c, whole_sample && !in_front ? 0 : BROKEN);
        }
    free_kept(&whole), free_kept(&kept);
}

static void assert_same(const char *a, const char *b)
{
    bool unused;
    struct kept one = run(a, 0, &unused), two = run(b, 0, &unused);
    for (int l = 0; l < LAYERS; l++)
        for (int c = 0; c < MAMBA2_COMPONENTS; c++)
            assert_memory_equal(one.values[l][c], two.values[l][c],
                                (size_t)LENGTH * (size_t)arch_width(&model.dims, c) * sizeof(float));
    free_kept(&one), free_kept(&two);
}

// ---- tests ----

static const char *const modes[] = {"0", "2-0", "2-1", "2-2", "2-3", "2-4", "3", "0-fp32"};

static void test_not_finite(void **state)
{
    static const char *const names[] = {"naive", "scalar", "avx2", "avx512"};
    (void)state;
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++)
        for (int grouped = 0; grouped < 2 && kernels_find(names[k]); grouped++) {
            open_all(grouped, names[k]);
            for (size_t m = 0; m < sizeof modes / sizeof modes[0]; m++) {
                assert_stream_breaks(modes[m], NAN);
                assert_stream_breaks(modes[m], -INFINITY);
            }
            close_all();
        }
}

static void test_equal_modes(void **state)
{
    bool unused;
    struct kept made[2];
    (void)state;
    for (int grouped = 0; grouped < 2; grouped++) {
        open_all(grouped, "scalar");
        assert_same("0", "2-0");
        assert_same("2-1", "2-2");
        made[grouped] = run("2-1", 0, &unused);
        const size_t outputs = (size_t)(LENGTH * model.dims.d_model) * sizeof(float);
        if (grouped)
            assert_memory_not_equal(made[0].values[0][MAMBA2_MIXER_OUTPUT],
                                    made[1].values[0][MAMBA2_MIXER_OUTPUT], outputs);
        close_all();
    }
    free_kept(&made[0]), free_kept(&made[1]);
}

// Means that are all NaN, and those of a model of which one head is dead.
static void test_empty_groups(void **state)
{
    struct error err = {0};
    (void)state;
    open_all(true, "scalar");
    const struct dims *d = &model.dims;
    float *means = malloc((size_t)d->d_inner * sizeof *means);
    for (int i = 0; i < d->d_inner; i++)
        means[i] = NAN;
    assert_int_equal(groups_form(&groups, 0, means, &err), STATUS_OK);
    for (int i = 0; i < d->d_inner; i++)
        means[i] = i < d->head_dim ? 0 : (float)(1 + i % 7 + 3 * (i % d->head_dim) / 2);
    assert_int_equal(groups_form(&groups, 1, means, &err), STATUS_OK);
    assert_true(groups_settle(&groups));
    for (int k = 0; k < GROUPS_OF_HEADS; k++)
        for (int i = 0; i < GROUPS_OF_CHANNELS; i++)
            assert_int_equal(groups.layers[0].channel_ends[k * GROUPS_OF_CHANNELS + i],
                             (i + 1) * d->head_dim / GROUPS_OF_CHANNELS);
    assert_int_equal(groups.layers[1].head_ends[0], 1);
    free(means);
    close_all();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_not_finite), cmocka_unit_test(test_equal_modes),
                                       cmocka_unit_test(test_empty_groups)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
