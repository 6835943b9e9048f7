// SPDX-License-Identifier: Apache-2.0
// Lists of layers, components and modes, as --layers, --components and --modes take them.
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ssmsweep/arch/arch.h"
#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/recipe/mode.h"

enum { LAYERS = 8 };

// What is wanted, as one letter per layer.
static void layers(const char *list, const char *wanted)
{
    uint32_t found[LAYERS];
    char shown[LAYERS + 1] = "";
    struct error err = {0};
    if (layer_select("--layers", list, LAYERS, found, &err)) fail_msg("'%s': %s", list, err.text);
    for (int l = 0; l < LAYERS; l++)
        shown[l] = found[l] ? 'x' : '.';
    if (strcmp(shown, wanted) != 0) fail_msg("'%s': %s, expected %s", list, shown, wanted);
}

static void no_layers(const char *list, const char *words)
{
    uint32_t found[LAYERS];
    struct error err = {0};
    if (layer_select("--layers", list, LAYERS, found, &err) != STATUS_USAGE) fail_msg("'%s': accepted", list);
    if (!strstr(err.text, words)) fail_msg("'%s': %s", list, err.text);
}

static void layers_by_number_name_and_range(void **state)
{
    (void)state;
    layers("first,last", "x......x");
    layers("all", "xxxxxxxx");
    layers("3", "...x....");
    layers("0,7,3", "x..x...x");
    layers("2-5", "..xxxx..");
    layers("4-4", "....x...");
    layers("0-1,6-last", "xx....xx");
    layers("first-2", "xxx.....");
    layers("5, 5 4-6", "....xxx.");
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"
    layers(ZEROS "5," ZEROS "1-" ZEROS "2", ".xx..x..");
}

static void negative_layers_count_from_the_end(void **state)
{
    (void)state;
    layers("-1", ".......x");
    layers("-8", "x.......");
    layers("-3,1", ".x...x..");
    layers("-3--1", ".....xxx");
    layers("5--2", ".....xx.");
}

static void layers_that_are_none(void **state)
{
    (void)state;
    no_layers("8", "does not exist; the model has layers 0 to 7");
    no_layers("-9", "does not exist");
    no_layers("99999999999999999999", "does not exist");
    no_layers("3-8", "does not exist");
    no_layers("5-2", "runs backwards");
    no_layers("-1--3", "runs backwards");
    no_layers("x", "is no layer");
    no_layers("1x", "is no layer");
    no_layers("1-", "is no layer");
    no_layers("1-,5", "is no layer");
    no_layers("1- 5", "is no layer");
    no_layers(ZEROS "5x", "is no layer");
    no_layers("1-2-3", "is no layer");
    no_layers(" , ", "the list is empty");
}

static void modes_by_name_and_set(void **state)
{
    static const struct {
        const char *list, *names;
    } rows[] = {{"2-4", "2-4"},
                {"2-4,fp32 0", "fp32,0,2-4"},
                {"fp_only", "fp32,fp16"},
                {"essential", "fp32,0,2-1,2-2,2-4"},
                {"quant_only", "0,2-0,2-1,2-2,2-3,2-4,3"},
                {"fp_only,quant_only", "fp32,fp16,0,2-0,2-1,2-2,2-3,2-4,3"},
                {"all", "fp32,fp16,0,2-0,2-1,2-2,2-3,2-4,3"}};
    bool *chosen = calloc((size_t)mode_count(), sizeof *chosen);
    char text[64], cut[8];
    (void)state;
    assert_non_null(chosen);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        assert_int_equal(mode_select(rows[i].list, chosen, &err), STATUS_OK);
        mode_write_list(chosen, text, sizeof text);
        assert_string_equal(text, rows[i].names);
    }
    mode_write_list(chosen, cut, sizeof cut);
    assert_int_equal(strlen(cut), sizeof cut - 1);
    memset(chosen, 0, (size_t)mode_count() * sizeof *chosen);
    mode_write_list(chosen, text, sizeof text);
    assert_string_equal(text, "");
    free(chosen);
}

static void components_by_name(void **state)
{
    uint32_t mask = 0;
    struct error err = {0};
    (void)state;
    assert_int_equal(component_select(&arch_mamba1, "all", &mask, &err), STATUS_OK);
    assert_int_equal(mask, (1u << MAMBA1_COMPONENTS) - 1);
    assert_int_equal(component_select(&arch_mamba1, "mixer_output,ssm_input", &mask, &err), STATUS_OK);
    assert_int_equal(mask, 1u << COMPONENT_MIXER_OUTPUT | 1u << COMPONENT_SSM_INPUT);
    assert_int_equal(component_select(&arch_mamba1, "mixer", &mask, &err), STATUS_USAGE);
}

// Before the model is known some family must have all the names.
static void components_of_any_family(void **state)
{
    uint32_t mask = 0;
    struct error err = {0};
    (void)state;
    assert_int_equal(component_select(NULL, "ssm_output", &mask, &err), STATUS_OK);
    assert_int_equal(mask, 1u << COMPONENT_SSM_OUTPUT);
    assert_int_equal(component_select(NULL, "ssm_output,nothing", &mask, &err), STATUS_USAGE);
    assert_non_null(strstr(err.text, "'nothing'"));
    assert_int_equal(mask, 1u << COMPONENT_SSM_OUTPUT);
    assert_true(component_listed("ssm_input, mixer_output", "mixer_output"));
    assert_true(component_listed("all", "mixer_output"));
    assert_false(component_listed("mixer_outputs,mixer", "mixer_output"));
}

static void families_keep_their_bounds(void **state)
{
    const struct arch *arch;
    (void)state;
    assert_ptr_equal(arch_at(0), &arch_mamba1);
    assert_null(arch_find("mamba"));
    for (int i = 0; (arch = arch_at(i)); i++) {
        assert_ptr_equal(arch_find(arch->name), arch);
        assert_in_range(arch->n_components, 1, ARCH_MOST_COMPONENTS);
        assert_in_range(arch->n_sites, 1, ARCH_MOST_SITES);
        assert_true(arch->layer_bytes <= ARCH_MOST_POINTERS_BYTES &&
                    arch->work_bytes <= ARCH_MOST_POINTERS_BYTES);
        assert_int_equal(arch_all_components(arch) >> arch_output(arch), 1);
        for (int c = 0; c < arch->n_components; c++) {
            const char *name = arch->components[c].name;
            assert_true(strlen(name) < ARCH_NAME_CHARS);
            assert_int_equal(arch_find_component(arch, name, strlen(name)), c);
        }
        for (int s = 0; s < arch->n_sites; s++)
            assert_true(strlen(arch->sites[s].name) < ARCH_NAME_CHARS &&
                        strlen(arch->sites[s].option) < ARCH_NAME_CHARS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_by_number_name_and_range),
        cmocka_unit_test(negative_layers_count_from_the_end),
        cmocka_unit_test(layers_that_are_none),
        cmocka_unit_test(modes_by_name_and_set),
        cmocka_unit_test(components_by_name),
        cmocka_unit_test(components_of_any_family),
        cmocka_unit_test(families_keep_their_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
