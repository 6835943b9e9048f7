// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/sweep/plan.h"

enum { SAMPLES = 23 };

static const struct dims dims = {.n_layer = 24, .d_model = 96, .d_inner = 192};
static int32_t lengths[SAMPLES];

static struct corpus make_corpus(void)
{
    for (int s = 0; s < SAMPLES; s++)
        lengths[s] = 1 + (s * 37) % 101;
    return (struct corpus){.samples = SAMPLES, .max_tokens = 101, .length = lengths};
}

static struct job make_job(void)
{
    return (struct job){.modes = "all",
                        .reference = "fp32",
                        .layers = "first,last",
                        .components = "mixer_output",
                        .calib_data_num = {3, 7, SAMPLES},
                        .n_cells = 3};
}

static struct plan make_plan(const struct job *job, int ranks)
{
    struct corpus corpus = make_corpus();
    struct plan plan = {0};
    struct error err = {0};
    assert_int_equal(plan_make(&plan, job, &dims, &corpus, ranks, &err), STATUS_OK);
    return plan;
}

static int count_modes(bool of_float)
{
    int n = 0;
    for (int m = 0; m < mode_count(); m++)
        n += mode_is_float(mode_at(m)) == of_float;
    return n;
}

static void runs_are_float_once_and_quant_per_cell(void **state)
{
    (void)state;
    struct job job = make_job();
    struct plan plan = make_plan(&job, 4);
    assert_int_equal(plan.n_runs, count_modes(true) + 3 * count_modes(false));
    assert_int_equal(plan.n_cells, 3);
    assert_int_equal(plan.cells[1].calib_data_num, 7);
    assert_int_equal(plan.reference_run, 0);
    assert_string_equal(plan.runs[0].mode->name, "fp32");
    int cell = PLAN_FLOAT_CELL;
    for (int r = 0; r < plan.n_runs; r++) {
        assert_int_equal(plan.runs[r].cell == PLAN_FLOAT_CELL, mode_is_float(plan.runs[r].mode));
        assert_true(plan.runs[r].cell >= cell);
        cell = plan.runs[r].cell;
    }
    plan_clear(&plan);
}

static void reference_is_added(void **state)
{
    (void)state;
    struct job job = make_job();
    job.modes = "2-1";
    struct plan plan = make_plan(&job, 1);
    assert_int_equal(plan.n_runs, 1 + 3);
    assert_string_equal(plan.runs[plan.reference_run].mode->name, "fp32");
    plan_clear(&plan);
    job.reference = "3";
    plan = make_plan(&job, 1);
    assert_int_equal(plan.n_runs, 3 + 3);
    assert_string_equal(plan.runs[plan.reference_run].mode->name, "3");
    assert_int_equal(plan.runs[plan.reference_run].cell, 0);
    plan_clear(&plan);
}

static void float_modes_need_no_cells(void **state)
{
    (void)state;
    struct job job = make_job();
    job.modes = "fp_only";
    struct plan plan = make_plan(&job, 2);
    assert_int_equal(plan.n_cells, 0);
    assert_int_equal(plan.n_runs, count_modes(true));
    plan_clear(&plan);
}

static long long tokens_of(const struct item *item)
{
    long long tokens = 0;
    for (int s = 0; s < item->samples; s++)
        tokens += lengths[item->first_sample + s];
    return tokens;
}

// Every (run, sample) once; reference first; inside a run longer items first.
static void check_items(const struct plan *plan, int shard)
{
    int *seen = calloc((size_t)plan->n_runs * SAMPLES, sizeof *seen);
    long long *last = calloc((size_t)plan->n_runs, sizeof *last);
    assert_non_null(seen);
    assert_non_null(last);
    bool reference_over = false;
    for (int i = 0; i < plan->n_items; i++) {
        const struct item *item = &plan->items[i];
        assert_true(item->samples >= 1 && (shard == 0 || item->samples <= shard));
        for (int s = 0; s < item->samples; s++)
            seen[item->run * SAMPLES + item->first_sample + s]++;
        if (item->run != plan->reference_run) reference_over = true;
        assert_false(reference_over && item->run == plan->reference_run);
        if (last[item->run]) assert_true(tokens_of(item) <= last[item->run]);
        last[item->run] = tokens_of(item);
    }
    for (int i = 0; i < plan->n_runs * SAMPLES; i++)
        assert_int_equal(seen[i], 1);
    free(seen);
    free(last);
}

static void items_cover_all_once_in_order(void **state)
{
    (void)state;
    static const int shards[] = {0, 1, 2, 7, SAMPLES, SAMPLES + 5};
    static const int ranks[] = {1, 2, 16, 1000};
    for (size_t s = 0; s < sizeof shards / sizeof shards[0]; s++)
        for (size_t r = 0; r < sizeof ranks / sizeof ranks[0]; r++) {
            struct job job = make_job();
            job.shard = shards[s];
            struct plan plan = make_plan(&job, ranks[r]);
            check_items(&plan, shards[s]);
            plan_clear(&plan);
        }
}

static int largest_item(const struct dims *of, int samples, int ranks, int *items)
{
    static int32_t same[400];
    for (int s = 0; s < samples; s++)
        same[s] = 64;
    const struct corpus corpus = {.samples = samples, .max_tokens = 64, .length = same};
    struct job job = make_job();
    struct plan plan = {0};
    struct error err = {0};
    job.calib_data_num[0] = samples;
    job.n_cells = 1;
    assert_int_equal(plan_make(&plan, &job, of, &corpus, ranks, &err), STATUS_OK);
    int largest = 0;
    for (int i = 0; i < plan.n_items; i++)
        if (plan.items[i].samples > largest) largest = plan.items[i].samples;
    *items = plan.n_items;
    plan_clear(&plan);
    return largest;
}

// Short work is handed out in larger pieces, but not in so few that ranks wait at the end.
static void shards_follow_the_cost(void **state)
{
    (void)state;
    static const struct dims tiny = {.n_layer = 2, .d_model = 32, .d_inner = 64, .d_state = 16, .dt_rank = 2};
    static const struct dims large = {
        .n_layer = 24, .d_model = 768, .d_inner = 1536, .d_state = 16, .dt_rank = 48};
    int items;
    assert_int_equal(largest_item(&large, 400, 4, &items), 1);
    assert_in_range(largest_item(&tiny, 400, 4, &items), 16, 64);
    assert_true(items >= 8 * 4);
    assert_int_equal(largest_item(&tiny, 16, 16, &items), 1);
    assert_in_range(largest_item(&tiny, 100, 16, &items), 2, 10);
    assert_true(items >= 8 * 16);
}

static void want_is_layers_by_components(void **state)
{
    (void)state;
    struct job job = make_job();
    job.layers = "0,-2";
    job.components = "ssm_input,mixer_output";
    struct plan plan = make_plan(&job, 1);
    unsigned mask = 1u << COMPONENT_SSM_INPUT | 1u << COMPONENT_MIXER_OUTPUT;
    for (int l = 0; l < plan.n_layer; l++)
        assert_int_equal(plan.want[l], l == 0 || l == 22 ? mask : 0);
    plan_clear(&plan);
}

static void refuse(struct job job, const char *word, bool by_names)
{
    struct corpus corpus = make_corpus();
    struct plan plan = {0};
    struct error err = {0};
    assert_int_equal(plan_check_names(&job, &err), by_names ? STATUS_USAGE : STATUS_OK);
    assert_int_equal(plan_make(&plan, &job, &dims, &corpus, 1, &err), STATUS_USAGE);
    assert_non_null(strstr(err.text, word));
    assert_null(plan.runs);
}

static void unknown_names_are_refused(void **state)
{
    (void)state;
    struct job job = make_job();
    job.modes = "fp32,2-9";
    refuse(job, "2-9", true);
    job = make_job();
    job.reference = "fp64";
    refuse(job, "fp64", true);
    job = make_job();
    job.components = "mixer_outptu";
    refuse(job, "mixer_outptu", true);
    job = make_job();
    job.layers = "99";
    refuse(job, "99", false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_float_once_and_quant_per_cell),
        cmocka_unit_test(reference_is_added),
        cmocka_unit_test(float_modes_need_no_cells),
        cmocka_unit_test(items_cover_all_once_in_order),
        cmocka_unit_test(shards_follow_the_cost),
        cmocka_unit_test(want_is_layers_by_components),
        cmocka_unit_test(unknown_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
