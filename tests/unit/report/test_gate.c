// SPDX-License-Identifier: Apache-2.0
// Gates: what a line means, and what is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ssmsweep/measure/metric.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/report/gate.h"

// ---- what a line means ----

static void words_fill_the_gate(void **state)
{
    struct gates gates = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(gates_parse(&gates,
                                 "mode=2-4,fp16 layer=last,0,3-5 component=ssm_input calib_data_num=7 "
                                 "correlation>=0.99\tmse<1e-3 max_ulp<=2 sqnr_db>20",
                                 "--gate", &err),
                     STATUS_OK);
    assert_int_equal(gates.count, 1);
    const struct gate *gate = &gates.items[0];
    assert_false(gate->any_mode);
    for (int m = 0; m < mode_count(); m++)
        assert_int_equal(mode_is_listed(gate->modes, mode_at(m)),
                         strcmp(mode_at(m)->name, "2-4") == 0 || strcmp(mode_at(m)->name, "fp16") == 0);
    assert_string_equal(gate->layers, "last,0,3-5");
    assert_string_equal(gate->components, "ssm_input");
    assert_int_equal(gate->calib_data_num, 7);
    static const struct {
        const char *metric;
        bool above, or_equal;
        double limit;
    } limits[] = {{"correlation", true, true, 0.99},
                  {"mse", false, false, 1e-3},
                  {"max_ulp", false, true, 2},
                  {"sqnr_db", true, false, 20}};
    assert_int_equal(gate->n_limits, 4);
    for (int i = 0; i < 4; i++) {
        assert_string_equal(metric_table[gate->limits[i].metric].name, limits[i].metric);
        assert_true(gate->limits[i].above == limits[i].above &&
                    gate->limits[i].or_equal == limits[i].or_equal);
        assert_true(gate->limits[i].limit == limits[i].limit);
    }
    assert_string_equal(gate->text, "mode=2-4,fp16 layer=last,0,3-5 component=ssm_input calib_data_num=7 "
                                    "correlation>=0.99 mse<1e-3 max_ulp<=2 sqnr_db>20");
    gates_clear(&gates);
}

static void lines_and_semicolons_divide(void **state)
{
    struct gates gates = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(gates_parse(&gates,
                                 "# all\n\n mse<1 ;mae<2;\r\n  ; # mse<3; mse<4\nmode=all rmse<5 # mse<6",
                                 "f", &err),
                     STATUS_OK);
    assert_int_equal(gates.count, 3);
    assert_string_equal(gates.items[0].text, "mse<1");
    assert_string_equal(gates.items[1].text, "mae<2");
    assert_string_equal(gates.items[2].text, "mode=all rmse<5");
    assert_true(gates.items[0].any_mode && gates.items[0].layers[0] == '\0' &&
                gates.items[0].components[0] == '\0');
    assert_int_equal(gates_parse(&gates, "mse<7", "f", &err), STATUS_OK); // adds
    assert_int_equal(gates.count, 4);
    gates_clear(&gates);
    assert_int_equal(gates.count, 0);
}

static void every_metric_can_be_named(void **state)
{
    (void)state;
    for (int m = 0; m < METRICS; m++) {
        struct gates gates = {0};
        struct error err = {0};
        char text[80];
        const bool known = metric_table[m].subject == SUBJECT_OUTPUTS;
        snprintf(text, sizeof text, "%s>-1e300", metric_table[m].name);
        assert_int_equal(gates_parse(&gates, text, "f", &err), known ? STATUS_OK : STATUS_USAGE);
        assert_true(!known || gates.items[0].limits[0].metric == m);
        gates_clear(&gates);
    }
}

// ---- what is refused ----

static void refused(const char *text, const char *words)
{
    struct gates gates = {0};
    struct error err = {0};
    if (gates_parse(&gates, text, "--gate", &err) != STATUS_USAGE)
        fail_msg("'%s': status %d", text, (int)err.status);
    if (!strstr(err.text, words) || strchr(err.text, '\n')) fail_msg("'%s': '%s'", text, err.text);
    gates_clear(&gates);
}

static void nonsense_is_refused(void **state)
{
    static const struct {
        const char *text, *words;
    } rows[] = {
        {"", "no gate in it"},
        {" \n;;# mse<1\n", "no gate in it"},
        {"mse2<1", "unknown metric 'mse2'"},
        {"<1", "unknown metric ''"},
        {"mse", "expected METRIC<NUMBER"},
        {"mse=1", "expected METRIC<NUMBER"},
        {"mse==1", "expected METRIC<NUMBER"},
        {"mse=<1", "expected METRIC<NUMBER"},
        {"mse <1", "expected METRIC<NUMBER"},
        {"layers=1 mse<1", "expected METRIC<NUMBER"},
        {"mse<", "expected a number"},
        {"mse<=", "expected a number"},
        {"mse<<1", "expected a number"},
        {"mse<1x", "expected a number"},
        {"mse<nan", "expected a number"},
        {"mse<inf", "expected a number"},
        {"mse<1e999", "expected a number"},
        {"mode=2-1", "has no limit"},
        {"mode=9 mse<1", "unknown mode '9'"},
        {"mode= mse<1", "empty"},
        {"mode=%s%n mse<1", "unknown mode '%s%n'"},
        {"layer= mse<1", "layer="},
        {"layer=x mse<1", "layer=x"},
        {"layer=1, mse<1", "layer=1,"},
        {"layer=1-x mse<1", "layer=1-x"},
        {"layer=1- mse<1", "layer=1-"},
        {"layer=5-2 mse<1", "upwards"},
        {"layer=-1 mse<1", "layer=-1"},
        {"layer=lastly mse<1", "layer=lastly"},
        {"component=x mse<1", "unknown component 'x'"},
        {"calib_data_num=0 mse<1", "from 1"},
        {"calib_data_num=1e3 mse<1", "from 1"},
        {"calib_data_num=99999999999999999999 mse<1", "from 1"},
        {"mode=0 mode=3 mse<1", "second selector"},
        {"layer=0 mse<1 layer=1", "second selector"},
        {"calib_data_num=1 calib_data_num=2 mse<1", "second selector"},
        {"component=all component=all mse<1", "second selector"},
        {"mse<1\nmae<1\nmse2<1", "gate in line 3"},
        {"mse<1 mse<1 mse<1 mse<1 mse<1 mse<1 mse<1 mse<1 mse<1 mse<1 mse<1 mse<1 mse<1 mse<1 mse<1 mse<1 "
         "mse<1",
         "at most 16 limits"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        refused(rows[i].text, rows[i].words);
}

static void long_texts_are_refused(void **state)
{
    static const char *const starts[] = {"", "mode=", "layer=", "component=", "mse<", "layer=1,"};
    (void)state;
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++)
        for (size_t length = 200; length <= 1u << 16; length = length * 3 + 1) {
            char *text = malloc(length + 16);
            assert_non_null(text);
            memset(text, '1', length);
            memcpy(text, starts[i], strlen(starts[i]));
            memcpy(text + length, " mse<1", 7);
            refused(text, "--gate");
            free(text);
        }
}

// Layers beyond the range of int are no layers that wrap around to others.
static void a_layer_far_away_is_none_that_is_near(void **state)
{
    struct gates gates = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(gates_parse(&gates, "layer=4294967296 mse<1", "f", &err), STATUS_OK);
    gates_clear(&gates);
    refused("layer=4294967297-2 mse<1", "upwards");
}

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

static void random_texts_are_accepted_or_refused(void **state)
{
    static const char *const pieces[] = {"mse<1 ", "mae>=0.5 ", "layer=last ", "mode=2-4 ", "\n", ";",   "#",
                                         " ",      "mse",       "<",           ">",         "=",  "1",   "e",
                                         "-",      ",",         "layer=",      "mode=",     ".",  "all", "\t",
                                         "\x01",   "\xff",      "99999999999"};
    unsigned seed = 7, accepted = 0;
    (void)state;
    for (int n = 0; n < 20000; n++) {
        struct gates gates = {0};
        struct error err = {0};
        char text[400] = "";
        for (unsigned left = next_random(&seed) % 20; left > 0; left--)
            strcat(text, pieces[next_random(&seed) % (sizeof pieces / sizeof pieces[0])]);
        enum status status = gates_parse(&gates, text, "f", &err);
        assert_true(status == STATUS_USAGE || (status == STATUS_OK && gates.count > 0));
        assert_int_equal(status == STATUS_OK, err.text[0] == '\0');
        for (int g = 0; g < gates.count; g++)
            assert_in_range(gates.items[g].n_limits, 1, GATE_LIMITS);
        accepted += status == STATUS_OK;
        gates_clear(&gates);
    }
    assert_in_range(accepted, 10, 19990);
}

// ---- files ----

static enum status read_text(const char *text, size_t bytes, struct gates *gates, struct error *err)
{
    char path[] = "/tmp/ssmsweep-gate-XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, text, bytes), bytes);
    close(descriptor);
    enum status status = gates_read_file(gates, path, err);
    unlink(path);
    return status;
}

static void files_are_read_whole_or_not_at_all(void **state)
{
    static const char nul[] = "mse<1\n\0mse<0\n";
    struct gates gates = {0};
    struct error err = {0};
    (void)state;
    assert_int_equal(read_text("mse<1 # no end of line", 22, &gates, &err), STATUS_OK);
    assert_int_equal(gates.count, 1);
    gates_clear(&gates);
    assert_int_equal(read_text(nul, sizeof nul - 1, &gates, &err),
                     STATUS_USAGE); // the second line must not vanish
    assert_non_null(strstr(err.text, "NUL at byte 6"));
    gates_clear(&gates);
    err = (struct error){0};
    assert_int_equal(read_text("", 0, &gates, &err), STATUS_USAGE);
    err = (struct error){0};
    assert_int_equal(gates_read_file(&gates, "/no/such/file", &err), STATUS_INPUT);
    err = (struct error){0};
    assert_int_not_equal(gates_read_file(&gates, "/tmp", &err), STATUS_OK);
}

// ---- limits ----

static bool kept(const char *text, const struct record *record)
{
    struct gates gates = {0};
    struct error err = {0};
    assert_int_equal(gates_parse(&gates, text, "f", &err), STATUS_OK);
    bool good = gate_limit_kept(&gates.items[0].limits[0], record);
    gates_clear(&gates);
    return good;
}

static void limits_are_kept_or_not(void **state)
{
    const struct record record = {
        .value = {[METRIC_MSE] = 0.5, [METRIC_CORRELATION] = (double)NAN, [METRIC_MAX_ULP] = (double)NAN}};
    const struct record same = {
        .value = {[METRIC_CORRELATION] = (double)NAN, [METRIC_PSNR_DB] = (double)INFINITY}};
    (void)state;
    assert_true(kept("mse<=0.5", &record) && kept("mse>=0.5", &record) && kept("mse<0.6", &record) &&
                kept("mse>0.4", &record));
    assert_false(kept("mse<0.5", &record) || kept("mse>0.5", &record) || kept("mse<=0.4", &record) ||
                 kept("mse>=0.6", &record));
    // NaN keeps nothing, but for equal outputs.
    assert_false(kept("correlation>=0", &record) || kept("correlation<2", &record) ||
                 kept("max_ulp<=1e30", &record));
    assert_true(kept("correlation>=1", &same) && kept("psnr_db>1e300", &same));
    assert_false(kept("correlation>1", &same));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_fill_the_gate),
        cmocka_unit_test(lines_and_semicolons_divide),
        cmocka_unit_test(every_metric_can_be_named),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(long_texts_are_refused),
        cmocka_unit_test(a_layer_far_away_is_none_that_is_near),
        cmocka_unit_test(random_texts_are_accepted_or_refused),
        cmocka_unit_test(files_are_read_whole_or_not_at_all),
        cmocka_unit_test(limits_are_kept_or_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
