// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ssmsweep/plan/plan.h"

static void names_and_their_cells(void **state)
{
    static const struct {
        struct cell cell;
        const char *name;
    } cells[] = {{{0, 0}, "float"},
                 {{1, 0}, "1"},
                 {{16, 0}, "16"},
                 {{16, 2}, "16_order2"},
                 {{999999999, 999999999}, "999999999_order999999999"}};
    (void)state;
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        char name[CELL_NAME_ROOM];
        struct cell cell = {-1, -1};
        assert_string_equal(cell_name(cells[i].cell, name), cells[i].name);
        assert_true(cell_parse(&cell, name));
        assert_int_equal(cell_compare(cell, cells[i].cell), 0);
    }
}

static void other_names_are_none(void **state)
{
    static const char *const names[] = {"",          "0",          "-1",           "016",
                                        "16_",       "16_order",   "16order2",     "1 ",
                                        "16_order0", "16_order2x", "float_order1", "1234567890"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct cell cell = {7, 7};
        assert_false(cell_parse(&cell, names[i]));
        assert_int_equal(cell.calib_data_num, 7);
    }
}

static void float_comes_first_then_numbers_then_orders(void **state)
{
    static const struct cell cells[] = {{0, 0}, {2, 0}, {2, 1}, {2, 10}, {10, 0}};
    (void)state;
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++)
            assert_int_equal(cell_compare(cells[i], cells[j]), (i > j) - (i < j));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_and_their_cells),
                                       cmocka_unit_test(other_names_are_none),
                                       cmocka_unit_test(float_comes_first_then_numbers_then_orders)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
