// SPDX-License-Identifier: Apache-2.0
// Bytes and multiply-adds of recipes, against sums made by hand of the demo models' sizes.
#include "../support.h"

#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/arch/mamba2.h"
#include "ssmsweep/arch/price.h"
#include "ssmsweep/recipe/recipe_file.h"

// D, I, K, R, N of the demo model, two layers of it.
static const struct dims small = {.n_layer = 2,
                                  .d_model = 96,
                                  .d_inner = 192,
                                  .d_conv = 4,
                                  .dt_rank = 6,
                                  .d_state = 16,
                                  .vocab_size = 2048,
                                  .arch = &arch_mamba1};
enum {
    IN = 2 * 192 * 96,
    CONV = 192 * 4,
    X = 38 * 192,
    DT = 192 * 6,
    OUT = 96 * 192,
    PRODUCTS = IN + CONV + X + DT + OUT,
    REST = 192 + 192 + 192 * 16 + 192, // conv1d_bias, dt_bias, A_log, D
    WEIGHTS = 9,
    EMBEDDING = 2048 * 96
};

static struct price price_of_mode(const struct dims *dims, const char *name)
{
    struct recipe recipe = {0};
    struct error err = {0};
    arch_recipe(&recipe, mode_find(name), dims, &err);
    if (err.status) fail_msg("%s", err.text);
    const struct price price = price_of(dims, &recipe);
    recipe_clear(&recipe);
    return price;
}

static void add(const char *name, const char *text)
{
    struct error err = {0};
    if (recipe_text_add("test", name, text, &err)) fail_msg("%s", err.text);
}

static void counts_named_modes(void **state)
{
    (void)state;
    const struct price int8 = price_of_mode(&small, "2-1"), fp32 = price_of_mode(&small, "fp32"),
                       fp16 = price_of_mode(&small, "fp16");
    assert_int_equal(int8.weight_bytes, 2 * (PRODUCTS + REST + WEIGHTS * 4) + EMBEDDING * 2);
    assert_int_equal(int8.multiply_adds, 2 * PRODUCTS);
    assert_int_equal(int8.int8_multiply_adds, 2 * PRODUCTS);
    assert_int_equal(fp32.weight_bytes, 2 * 4 * (PRODUCTS + REST) + EMBEDDING * 4);
    assert_int_equal(fp32.multiply_adds, 2 * PRODUCTS);
    assert_int_equal(fp32.int8_multiply_adds, 0);
    // conv1d_bias too is rounded there; dt_bias, A_log and D are not
    assert_int_equal(fp16.weight_bytes, 2 * (2 * (PRODUCTS + 192) + 4 * (REST - 192)) + EMBEDDING * 2);
}

static void counts_what_a_recipe_changes(void **state)
{
    (void)state;
    add("p1", "{\"base\": \"2-1\", \"layers\": [{\"layers\": \"1\", \"set\": {\"in_proj:input\": \"float\", "
              "\"weight:x_proj\": \"fp16\", \"weight:out_proj\": \"int4-g32\"}}]}");
    add("p2",
        "{\"base\": \"2-1\", \"set\": {\"weight:out_proj\": \"int8-channel\", \"embedding\": \"float\"}}");
    const struct price base = price_of_mode(&small, "2-1"), p1 = price_of_mode(&small, "p1"),
                       p2 = price_of_mode(&small, "p2");
    assert_int_equal(p1.int8_multiply_adds, base.int8_multiply_adds - IN - X);
    assert_int_equal(p1.multiply_adds, base.multiply_adds);
    assert_int_equal(p1.weight_bytes, base.weight_bytes + X - 4 - OUT / 2 + OUT / 32 * 2 - 4);
    assert_int_equal(p2.weight_bytes, base.weight_bytes + 2 * (96 - 1) * 4 + EMBEDDING * 2);
    recipes_forget();
}

static void counts_mamba2(void **state)
{
    (void)state;
    const struct dims dims = {.n_layer = 1,
                              .d_model = 64,
                              .d_inner = 128,
                              .d_state = 16,
                              .d_conv = 4,
                              .n_heads = 4,
                              .head_dim = 32,
                              .n_groups = 1,
                              .vocab_size = 256,
                              .arch = &arch_mamba2};
    const struct price price = price_of_mode(&dims, "2-1");
    const int in = (2 * 128 + 2 * 16 + 4) * 64, conv = (128 + 2 * 16) * 4, out = 64 * 128;
    assert_int_equal(price.multiply_adds, in + conv + out);
    assert_int_equal(price.int8_multiply_adds, price.multiply_adds);
    // INT8: those, conv1d_bias, A_log, D; FP16: dt_bias and the norm's weight
    assert_int_equal(price.weight_bytes,
                     in + conv + out + 160 + 4 + 4 + 6 * 4 + 2 * (4 + 128) + 256 * 64 * 2);
    assert_int_equal(price_multiply_adds(&dims, MAMBA2_UNIT_GATE), 0);
    assert_int_equal(price_weight_bytes(&dims, MAMBA2_UNIT_SCAN_U, FORMAT_INT8), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(counts_named_modes),
                                       cmocka_unit_test(counts_what_a_recipe_changes),
                                       cmocka_unit_test(counts_mamba2)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
