// SPDX-License-Identifier: Apache-2.0
// The tables of the result file: docs/result_file.md shows them as they are, and names and sizes follow from
// them.
#include "layout.h"

#include "../support.h"
#include "ssmsweep/measure/accumulate.h"
#include "ssmsweep/measure/profile.h"

static const char *const types[LAYOUT_ELEMENTS] = {[ELEMENT_U8] = "uint8",
                                                   [ELEMENT_I32] = "int32",
                                                   [ELEMENT_U32] = "uint32",
                                                   [ELEMENT_F32] = "float32",
                                                   [ELEMENT_F64] = "float64",
                                                   [ELEMENT_MOMENTS] = "compound",
                                                   [ELEMENT_END_OF_MODEL] = "compound"};

// Sizes that no model and no text changes are numbers.
static const char *const axes[LAYOUT_AXES] = {
    [AXIS_SAMPLES] = "S",         [AXIS_TOKENS] = "L",
    [AXIS_OBSERVED] = "C",        [AXIS_LAYERS] = "n_layer",
    [AXIS_SITES] = "n_sites",     [AXIS_GROUP_SCALES] = "18G + 16GN",
    [AXIS_GROUPS] = "I + 20G",    [AXIS_COMPONENTS] = "n_components",
    [AXIS_WIDTH] = "width",       [AXIS_DIGEST] = "32",
    [AXIS_OBSERVER_BINS] = "642", [AXIS_PROFILE_BINS] = "131",
    [AXIS_POSITIONS] = "21",      [AXIS_TWO] = "2"};

static char *dataset_table(void)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    fputs("| path | type and shape | written by; complete | content |\n|---|---|---|---|\n", out);
    for (int d = 0; d < LAYOUT_DATA; d++) {
        const struct layout_row *row = &layout_rows[d];
        fprintf(out, "| `%s` | %s [", row->path, types[row->element]);
        for (int a = 0; a < HDF_RANKS && row->axes[a] != AXIS_END; a++)
            fprintf(out, "%s%s", a ? ", " : "", axes[row->axes[a]]);
        fprintf(out, "] | %s | %s |\n", row->written, row->holds);
    }
    fclose(out);
    return text;
}

static char *attribute_table(void)
{
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    fputs("| attribute of `/` | content |\n|---|---|\n", out);
    for (int a = 0; a < LAYOUT_ATTRIBUTES; a++)
        fprintf(out, "| `%s` | %s |\n", layout_attributes[a].name, layout_attributes[a].holds);
    fclose(out);
    return text;
}

// What the page should say is printed where it does not.
static void expect_in_page(char *table)
{
    size_t bytes;
    char *page = read_whole(SOURCE_DIR "/docs/result_file.md", &bytes);
    char *found = strstr(page, table);
    if (!found)
        fprintf(stderr, "docs/result_file.md: expected this table, followed by an empty line:\n%s", table);
    assert_non_null(found);
    assert_int_equal(found[strlen(table)], '\n');
    free(page);
    free(table);
}

static void the_page_shows_the_tables(void **state)
{
    (void)state;
    expect_in_page(attribute_table());
    expect_in_page(dataset_table());
}

static void the_axes_have_the_sizes_of_the_page(void **state)
{
    const struct layout_sizes sizes = layout_sizes_of(arch_at(0), 3, 10, 100, 7);
    (void)state;
    for (int a = AXIS_DIGEST; a < LAYOUT_AXES; a++) {
        char number[24];
        snprintf(number, sizeof number, "%lld", sizes.of[a]);
        assert_string_equal(number, axes[a]);
    }
}

static void paths_name_cells_runs_layers_and_components(void **state)
{
    const struct layout_run quantized = {.cell = {10, 2}, .mode = "2-1"}, plain = {.mode = "fp32"},
                            again = {.cell = {5, 0}, .mode = "0", .dither = 3};
    char path[LAYOUT_PATH_ROOM], long_name[2 * LAYOUT_PATH_ROOM];
    (void)state;
    assert_string_equal(layout_path(DATA_OUTPUT, &quantized, 31, "ssm_output", path),
                        "/outputs/10_order2/2-1/layer_31/ssm_output");
    assert_string_equal(layout_path(DATA_STATE, &plain, 0, "", path), "/items/float/fp32/state");
    assert_string_equal(layout_path(DATA_APART, &again, 0, "", path), "/metrics/5/0_dither3/apart");
    assert_string_equal(layout_path(DATA_SCALES, &quantized, 0, "", path), "/calibration/10_order2/scales");
    assert_string_equal(layout_path(DATA_LENGTH, &quantized, 0, "", path), "/samples/length");
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_true(strlen(layout_path(DATA_OUTPUT, &quantized, 1, long_name, path)) < LAYOUT_PATH_ROOM);
    layout_group("/outputs", &again, path);
    assert_string_equal(path, "/outputs/5/0_dither3");
}

static void a_row_is_what_a_sample_has(void **state)
{
    struct layout_sizes sizes = layout_sizes_of(arch_at(0), 3, 10, 100, 7);
    const size_t pairs = 3 * (size_t)arch_at(0)->n_components;
    (void)state;
    sizes.of[AXIS_WIDTH] = 6;
    assert_int_equal(layout_row_bytes(DATA_OUTPUT, &sizes), 100 * 6 * sizeof(float));
    assert_int_equal(layout_row_bytes(DATA_STATE, &sizes), 1);
    assert_int_equal(layout_row_bytes(DATA_DIGEST, &sizes), 32);
    assert_int_equal(layout_row_bytes(DATA_MOMENTS, &sizes), pairs * sizeof(struct accumulator));
    assert_int_equal(layout_row_bytes(DATA_POSITION, &sizes), pairs * PROFILE_POSITIONS * 2 * sizeof(double));
    assert_int_equal(layout_row_bytes(DATA_END_OF_MODEL, &sizes), sizeof(struct end_of_model));
}

static void re_runs_and_predictions_have_datasets_of_their_own(void **state)
{
    (void)state;
    assert_true(layout_keeps(DATA_STATE, 0));
    assert_false(layout_keeps(DATA_MOMENTS, NEEDS_LOGITS));
    assert_true(layout_keeps(DATA_MOMENTS, NEEDS_METRICS));
    assert_false(layout_keeps(DATA_END_OF_MODEL, NEEDS_METRICS));
    assert_false(layout_keeps(DATA_APART, NEEDS_METRICS | NEEDS_LOGITS));
    assert_true(layout_keeps(DATA_APART, NEEDS_METRICS | NEEDS_RERUN));
    assert_false(layout_keeps(DATA_END_APART, NEEDS_METRICS | NEEDS_RERUN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_page_shows_the_tables),
        cmocka_unit_test(the_axes_have_the_sizes_of_the_page),
        cmocka_unit_test(paths_name_cells_runs_layers_and_components),
        cmocka_unit_test(a_row_is_what_a_sample_has),
        cmocka_unit_test(re_runs_and_predictions_have_datasets_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
