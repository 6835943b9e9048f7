// SPDX-License-Identifier: Apache-2.0
// A result file of a family of models with other components and sites, in other numbers.
#include <unistd.h>

#include "../support.h"
#include "handle.h"

enum { SAMPLES = 3, TOKENS = 4, LAYERS = 2 };

static const char path[] = "test_family.h5";

static const struct arch_component components[] = {{"gate", EXTENT_I}, {"mixer_output", EXTENT_D}};
static const struct arch_site sites[] = {{.name = "gate:input", .option = "gate_input"},
                                         {.name = "gate:output", .option = "gate_output"},
                                         {.name = "out:input", .option = "out_input"}};
static double cost(const struct dims *dims, const struct recipe *recipe, int layer)
{
    return recipe && layer >= 0 ? dims->d_inner : 0;
}

static const struct arch linear = {.name = "linear",
                                   .components = components,
                                   .sites = sites,
                                   .n_components = sizeof components / sizeof components[0],
                                   .n_sites = sizeof sites / sizeof sites[0],
                                   .cost = cost};

// Linked in place of arch_find() by --wrap.
static bool knows_it;
const struct arch *__real_arch_find(const char *name);
const struct arch *__wrap_arch_find(const char *name);
const struct arch *__wrap_arch_find(const char *name)
{
    return knows_it && strcmp(name, linear.name) == 0 ? &linear : __real_arch_find(name);
}

static const struct store_identity identity = {
    "{\"a\": 1}",  "0.0",   "aa",    "",  "bb", "F32",
    "calibration", "model", "small", "1", "bb", STORE_EVALUATES_CALIBRATION};

static int make_file(void **state)
{
    static int32_t ids[SAMPLES * TOKENS], length[SAMPLES] = {4, 1, 3};
    const struct dims dims = {
        .n_layer = LAYERS, .d_model = 6, .d_inner = 10, .vocab_size = 16, .arch = &linear};
    const struct corpus corpus = {.samples = SAMPLES, .max_tokens = TOKENS, .ids = ids, .length = length};
    const struct job job = {.modes = "fp32,0",
                            .reference = "fp32",
                            .layers = "all",
                            .components = "all",
                            .calib_data_num = {SAMPLES},
                            .n_cells = 1};
    struct plan plan = {0};
    struct error err = {0};
    (void)state;
    unlink(path);
    assert_int_equal(plan_make(&plan, &job, &dims, &corpus, 1, &err), STATUS_OK);
    const struct store_io io = {.driver = STORE_POSIX};
    const struct contents contents = {
        .plan = &plan, .dims = &dims, .corpus = &corpus, .identity = &identity, .io = &io};
    assert_int_equal(create_file(path, &contents, &err), STATUS_OK);
    plan_clear(&plan);
    return 0;
}

static void it_is_read_by_who_knows_the_family(void **state)
{
    struct result *result = NULL;
    struct error err = {0};
    struct accumulator rows[LAYERS * 2];
    float *scales;
    int n_layer;
    (void)state;
    knows_it = true;
    assert_int_equal(result_open(&result, path, &err), STATUS_OK);
    assert_ptr_equal(result_arch(result), &linear);
    assert_int_equal(result_runs(result), 2);
    assert_int_equal(result_layers(result), LAYERS);
    assert_int_equal(result_components(result, 1), 3);
    assert_int_equal(result_width(result, 0, 0), 10);
    assert_int_equal(result_width(result, 0, 1), 6);
    assert_int_equal(result_model_layers(result), LAYERS);
    assert_int_equal(result_read_sample_moments(result, 1, 2, rows, &err), STATUS_OK);
    assert_int_equal(result_read_scales(result, (struct cell){SAMPLES, 0}, &scales, &n_layer, &err),
                     STATUS_OK);
    assert_int_equal(n_layer, LAYERS);
    free(scales);
    result_close(result);
}

static void nobody_else_reads_it(void **state)
{
    struct result *result = NULL;
    struct error err = {0};
    (void)state;
    knows_it = false;
    assert_int_equal(result_open(&result, path, &err), STATUS_INPUT);
    expect_error(&err, STATUS_INPUT,
                 "test_family.h5: arch: expected a family of models that this version knows, got 'linear'");
    assert_null(result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_is_read_by_who_knows_the_family),
                                       cmocka_unit_test(nobody_else_reads_it)};
    store_prepare();
    int failed = cmocka_run_group_tests(tests, make_file, NULL);
    unlink(path);
    return failed;
}
