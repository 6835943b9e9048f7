// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/arch/mamba2.h"
#include "ssmsweep/plan/plan.h"

enum { SAMPLES = 23 };

static const struct dims dims = {.n_layer = 24, .d_model = 96, .d_inner = 192, .arch = &arch_mamba1};
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
        n += mode_at(m)->sets != 0 && mode_is_float(mode_at(m)) == of_float;
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

// ---- runs that are the same ----

static const struct dims heads = {.n_layer = 24,
                                  .d_model = 96,
                                  .d_inner = 192,
                                  .d_state = 32,
                                  .d_conv = 4,
                                  .n_heads = 12,
                                  .head_dim = 16,
                                  .n_groups = 1,
                                  .chunk_size = 64,
                                  .arch = &arch_mamba2};

static int find_run(const struct plan *plan, const char *mode, int cell)
{
    for (int r = 0; r < plan->n_runs; r++)
        if (strcmp(plan->runs[r].mode->name, mode) == 0 && plan->runs[r].cell == cell) return r;
    fail_msg("no run of mode %s", mode);
    return -1;
}

static void modes_share_all_layers_or_none(void **state)
{
    (void)state;
    static const char *const names[] = {"0", "2-0", "2-1", "2-2", "2-3", "2-4", "3"};
    enum { NAMES = sizeof names / sizeof names[0] };
    const struct job job = make_job();
    for (int family = 0; family < 2; family++) {
        const struct dims *sizes = family ? &heads : &dims;
        struct corpus corpus = make_corpus();
        struct plan plan = {0};
        struct error err = {0};
        if (plan_make(&plan, &job, sizes, &corpus, 2, &err)) fail_msg("%s", err.text);
        for (int a = 0; a < NAMES; a++)
            for (int b = 0; b < a; b++) {
                const int one = find_run(&plan, names[a], 1), two = find_run(&plan, names[b], 1);
                const bool same = (a == 1 && b == 0) || (a == 3 && b == 2);
                assert_int_equal(plan_shared_layers(&plan, one, two), same ? 24 : 0);
                assert_int_equal(plan_shared_layers(&plan, one, find_run(&plan, names[b], 2)), 0);
            }
        assert_int_equal(plan_shared_layers(&plan, find_run(&plan, "fp32", PLAN_FLOAT_CELL),
                                            find_run(&plan, "fp16", PLAN_FLOAT_CELL)),
                         0);
        plan_clear(&plan);
    }
}

// Settings of mode 2-1 but for what is given.
struct changed {
    int unit;
    enum format format;
};
static struct setting changed(const struct arch *arch, const struct changed *changes, int count)
{
    struct setting setting = setting_base(&arch->units);
    for (int i = 0; i < count; i++)
        setting.of[changes[i].unit] = (uint8_t)changes[i].format;
    return setting;
}

static bool become_same(const struct arch *arch, struct setting a, struct setting b)
{
    arch->canonical(&a), arch->canonical(&b);
    return setting_equal(&a, &b);
}

// docs/recipes.md, "Runs that are the same".
static void settings_of_the_same_bits(void **state)
{
    (void)state;
    static const struct {
        const struct arch *arch;
        struct changed a[3], b[3];
        bool same;
    } cases[] = {
        // 1, and 2 behind an INT8 conv1d alone
        {&arch_mamba1, {{UNIT_SCAN_U, FORMAT_INT8}}, {{UNIT_SCAN_U, FORMAT_CODES}}, true},
        {&arch_mamba1, {{UNIT_SCAN_U, FORMAT_FLOAT}}, {{UNIT_SCAN_U, FORMAT_CODES}}, true},
        {&arch_mamba1,
         {{UNIT_CONV1D_OUTPUT, FORMAT_FLOAT}, {UNIT_SCAN_U, FORMAT_INT8}},
         {{UNIT_CONV1D_OUTPUT, FORMAT_FLOAT}, {UNIT_SCAN_U, FORMAT_CODES}},
         true},
        {&arch_mamba1,
         {{UNIT_CONV1D_OUTPUT, FORMAT_FLOAT}, {UNIT_SCAN_U, FORMAT_FLOAT}},
         {{UNIT_CONV1D_OUTPUT, FORMAT_FLOAT}, {UNIT_SCAN_U, FORMAT_CODES}},
         false},
        {&arch_mamba1,
         {{UNIT_CONV1D_OUTPUT, FORMAT_FP16}, {UNIT_SCAN_U, FORMAT_FLOAT}},
         {{UNIT_CONV1D_OUTPUT, FORMAT_FP16}, {UNIT_SCAN_U, FORMAT_CODES}},
         false},
        {&arch_mamba1, {{UNIT_CONV1D_OUTPUT, FORMAT_FLOAT}}, {{UNIT_CONV1D_OUTPUT, FORMAT_INT8}}, false},
        // 3: of a float weight alone
        {&arch_mamba1,
         {{UNIT_X_PROJ, FORMAT_FP16}, {UNIT_X_PROJ_INPUT, FORMAT_FLOAT}},
         {{UNIT_X_PROJ, FORMAT_FP16}, {UNIT_X_PROJ_INPUT, FORMAT_INT8}},
         true},
        {&arch_mamba1, {{UNIT_X_PROJ_INPUT, FORMAT_FLOAT}}, {{UNIT_X_PROJ_INPUT, FORMAT_INT8}}, false},
        {&arch_mamba1,
         {{UNIT_X_PROJ, FORMAT_INT4_G32}, {UNIT_X_PROJ_INPUT, FORMAT_FLOAT}},
         {{UNIT_X_PROJ, FORMAT_INT4_G32}, {UNIT_X_PROJ_INPUT, FORMAT_INT8}},
         false},
        {&arch_mamba1,
         {{UNIT_X_PROJ, FORMAT_FLOAT}, {UNIT_CONV1D_OUTPUT, FORMAT_FLOAT}, {UNIT_X_PROJ_INPUT, FORMAT_FLOAT}},
         {{UNIT_X_PROJ, FORMAT_FLOAT}, {UNIT_CONV1D_OUTPUT, FORMAT_FLOAT}, {UNIT_X_PROJ_INPUT, FORMAT_INT8}},
         false},
        // 4; u of a given scale is another u
        {&arch_mamba1, {{UNIT_X_PROJ_INPUT, FORMAT_INT8_GIVEN}}, {{UNIT_X_PROJ_INPUT, FORMAT_INT8}}, true},
        {&arch_mamba1, {{UNIT_CONV1D_OUTPUT, FORMAT_INT8_GIVEN}}, {{UNIT_CONV1D_OUTPUT, FORMAT_INT8}}, false},
        {&arch_mamba1, {{UNIT_SCAN_ORDER, FORMAT_BLOCKED}}, {{UNIT_SCAN_ORDER, FORMAT_SEQUENTIAL}}, false},
        {&arch_mamba2, {{MAMBA2_UNIT_SCAN_U, FORMAT_INT8}}, {{MAMBA2_UNIT_SCAN_U, FORMAT_CODES}}, true},
        {&arch_mamba2, {{MAMBA2_UNIT_SCAN_U, FORMAT_FLOAT}}, {{MAMBA2_UNIT_SCAN_U, FORMAT_CODES}}, true},
        {&arch_mamba2,
         {{MAMBA2_UNIT_CONV1D_OUTPUT, FORMAT_FP16}, {MAMBA2_UNIT_SCAN_U, FORMAT_INT8}},
         {{MAMBA2_UNIT_CONV1D_OUTPUT, FORMAT_FP16}, {MAMBA2_UNIT_SCAN_U, FORMAT_CODES}},
         true},
        {&arch_mamba2,
         {{MAMBA2_UNIT_CONV1D_OUTPUT, FORMAT_FP16}, {MAMBA2_UNIT_SCAN_U, FORMAT_FLOAT}},
         {{MAMBA2_UNIT_CONV1D_OUTPUT, FORMAT_FP16}, {MAMBA2_UNIT_SCAN_U, FORMAT_CODES}},
         false},
        {&arch_mamba2,
         {{MAMBA2_UNIT_CONV1D_OUTPUT, FORMAT_FLOAT}},
         {{MAMBA2_UNIT_CONV1D_OUTPUT, FORMAT_INT8}},
         false},
        {&arch_mamba2,
         {{MAMBA2_UNIT_SCAN_ORDER, FORMAT_CHUNKED}},
         {{MAMBA2_UNIT_SCAN_ORDER, FORMAT_CHUNKED_GPU}},
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int a = 0, b = 0;
        while (a < 3 && cases[i].a[a].format)
            a++;
        while (b < 3 && cases[i].b[b].format)
            b++;
        const bool same = become_same(cases[i].arch, changed(cases[i].arch, cases[i].a, a),
                                      changed(cases[i].arch, cases[i].b, b));
        if (same != cases[i].same) fail_msg("case %zu: the same: %d", i, same);
    }
}

static int longest_of(const struct plan *plan, const struct item *item)
{
    int longest = 0;
    for (int p = item->first_place; p < item->first_place + item->samples; p++)
        if (lengths[plan_sample(plan, p)] > longest) longest = lengths[plan_sample(plan, p)];
    return longest;
}

// Every run in one group of a stretch, with those of its reference, and the reference in the first of them.
static void check_groups(const struct plan *plan, const struct stretch *stretch)
{
    int *seen = calloc((size_t)plan->n_runs, sizeof *seen),
        *groups = calloc((size_t)plan->n_runs, sizeof *groups);
    assert_non_null(seen);
    assert_non_null(groups);
    for (int g = stretch->first_group; g < stretch->first_group + stretch->n_groups; g++) {
        const struct group *group = &plan->groups[g];
        assert_true(group->count >= 1);
        bool own = false;
        for (int i = 0; i < group->count; i++) {
            int run = plan->members[group->first + i];
            seen[run]++;
            assert_int_equal(plan->runs[run].reference, group->reference);
            own = own || run == group->reference;
        }
        assert_int_equal(own, groups[group->reference]++ == 0);
    }
    for (int r = 0; r < plan->n_runs; r++)
        assert_int_equal(seen[r], 1);
    free(seen);
    free(groups);
}

// Every (run, sample) once; no sample is longer than any before it.
static void check_items(const struct plan *plan, int shard)
{
    unsigned char *seen = calloc((size_t)plan->n_runs * (size_t)plan->samples, 1);
    int last = INT_MAX;
    assert_non_null(seen);
    for (int i = 0; i < plan->n_stretches; i++)
        check_groups(plan, &plan->stretches[i]);
    for (int i = 0; i < plan->n_items; i++) {
        const struct item item = plan_item(plan, i);
        const struct group *group = &plan->groups[item.group];
        assert_true(item.samples >= 1 && (shard == 0 || item.samples <= shard));
        for (int p = item.first_place; p < item.first_place + item.samples; p++)
            for (int m = 0; m < group->count; m++)
                seen[plan->members[group->first + m] * plan->samples + plan_sample(plan, p)]++;
        assert_true(longest_of(plan, &item) <= last);
        last = longest_of(plan, &item);
    }
    for (int i = 0; i < plan->n_runs * plan->samples; i++)
        assert_int_equal(seen[i], 1);
    free(seen);
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

// Float modes have one reference for all cells; quantized ones that of their own scales.
static void references_are_of_the_same_scales(void **state)
{
    (void)state;
    struct job job = make_job();
    struct plan plan = make_plan(&job, 1);
    for (int r = 0; r < plan.n_runs; r++)
        assert_int_equal(plan.runs[r].reference, 0);
    plan_clear(&plan);
    job.reference = "3";
    plan = make_plan(&job, 1);
    for (int r = 0; r < plan.n_runs; r++) {
        const struct run *run = &plan.runs[r], *reference = &plan.runs[run->reference];
        assert_string_equal(reference->mode->name, "3");
        assert_int_equal(reference->cell, run->cell == PLAN_FLOAT_CELL ? 0 : run->cell);
    }
    check_items(&plan, 0);
    plan_clear(&plan);
}

// Of the first samples; the last ones are for the tail, see test_tail.c.
static int count_groups(const struct dims *of, int samples, int ranks)
{
    static int32_t same[400];
    for (int s = 0; s < samples; s++)
        same[s] = 64;
    const struct corpus corpus = {.samples = samples, .max_tokens = 64, .length = same};
    struct job job = make_job();
    struct plan plan = {0};
    struct error err = {0};
    job.n_cells = 1;
    assert_int_equal(plan_make(&plan, &job, of, &corpus, ranks, &err), STATUS_OK);
    int groups = plan.stretches[0].n_groups;
    plan_clear(&plan);
    return groups;
}

// The reference is computed in every group: there are several only where ranks would have nothing to do, or
// where the runs would take too much memory.
static void groups_follow_the_ranks(void **state)
{
    (void)state;
    static const struct dims large = {.n_layer = 24,
                                      .d_model = 768,
                                      .d_inner = 1536,
                                      .d_state = 16,
                                      .dt_rank = 48,
                                      .vocab_size = 50280,
                                      .arch = &arch_mamba1};
    static const struct dims vast = {
        .n_layer = 64, .d_model = 1 << 20, .d_inner = 1 << 21, .d_state = 16, .arch = &arch_mamba1};
    assert_int_equal(count_groups(&large, 100, 1), 1);
    assert_int_equal(count_groups(&large, 100, 16), 1);
    assert_int_equal(count_groups(&large, 16, 16), 1);
    assert_in_range(count_groups(&large, 4, 16), 3, 9);
    assert_int_equal(count_groups(&large, 1, 100), 8); // the reference is with another one
    assert_int_equal(count_groups(&vast, 100, 1), 2);  // of four beside the reference
}

static void renew(struct plan *plan, const struct finished *finished)
{
    const struct corpus corpus = make_corpus();
    struct error err = {0};
    assert_int_equal(plan_renew(plan, &dims, &corpus, 2, finished, &err), STATUS_OK);
}

static void finish(const struct plan *plan, const struct item *item, struct finished *finished)
{
    const struct group *group = &plan->groups[item->group];
    for (int m = 0; m < group->count; m++)
        for (int p = item->first_place; p < item->first_place + item->samples; p++)
            finished_set(finished, plan->members[group->first + m], plan_sample(plan, p), true);
}

// Samples and runs of which nothing is left leave the plan.
static void finished_items_are_dropped(void **state)
{
    (void)state;
    struct job job = make_job();
    struct plan plan = make_plan(&job, 2);
    const int items = plan.n_items;
    struct error err = {0};
    struct finished finished;
    assert_int_equal(finished_open(&finished, plan.n_runs, SAMPLES, &err), STATUS_OK);
    renew(&plan, &finished);
    assert_int_equal(plan.n_items, items);
    const struct item first = plan_item(&plan, 0), second = plan_item(&plan, 1);
    const int sample = plan_sample(&plan, second.first_place);
    finish(&plan, &first, &finished);
    renew(&plan, &finished);
    assert_int_equal(plan_sample(&plan, plan_item(&plan, 0).first_place), sample);
    for (int i = 0; i < plan.n_runs * SAMPLES; i++)
        finished_set(&finished, i / SAMPLES, i % SAMPLES, true);
    assert_int_equal(finished_count(&finished), plan.n_runs * SAMPLES);
    finished_set(&finished, 0, 5, false); // of the reference
    assert_false(finished_has(&finished, 0, 5));
    renew(&plan, &finished);
    assert_int_equal(plan.n_items, 1);
    const struct item left = plan_item(&plan, 0);
    assert_true(left.samples == 1 && plan_sample(&plan, left.first_place) == 5);
    assert_int_equal(plan.groups[left.group].count, 1);
    finished_set(&finished, 0, 5, true);
    renew(&plan, &finished);
    assert_int_equal(plan.n_items, 0);
    finished_close(&finished);
    plan_clear(&plan);
}

// Quantized runs come again, with the same scales and the same reference; float ones do not.
static void noise_repeats_quantized_runs(void **state)
{
    (void)state;
    struct job job = make_job();
    struct plan plain = make_plan(&job, 1);
    char name[RUN_NAME_ROOM];
    int again = 0;
    job.noise = 2;
    struct plan plan = make_plan(&job, 1);
    assert_int_equal(plan.n_runs, plain.n_runs + 2 * 3 * count_modes(false));
    for (int r = 0; r < plan.n_runs; r++) {
        const struct run *run = &plan.runs[r];
        if (r < plain.n_runs) assert_true(run->mode == plain.runs[r].mode && run->cell == plain.runs[r].cell);
        assert_int_equal(run->dither != 0, r >= plain.n_runs);
        assert_false(run->dither && mode_is_float(run->mode));
        assert_int_equal(plan_wants(&plan, r, 0) != 0, run->dither == 0);
        assert_int_equal(run->reference, 0);
        again += strcmp(plan_run_name(&plan, r, name), "2-1_dither2") == 0;
    }
    assert_int_equal(again, 3);
    check_items(&plan, 0);
    plan_clear(&plan);
    plan_clear(&plain);
}

static void nothing_is_stored_on_demand(void **state)
{
    (void)state;
    struct job job = make_job();
    job.store = JOB_STORE_NONE;
    job.no_logits = true;
    struct plan plan = make_plan(&job, 1);
    for (int l = 0; l < plan.n_layer; l++)
        assert_int_equal(plan.want[l], 0);
    assert_true(plan.metrics && !plan.logits);
    plan_clear(&plan);
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
        cmocka_unit_test(modes_share_all_layers_or_none),
        cmocka_unit_test(settings_of_the_same_bits),
        cmocka_unit_test(float_modes_need_no_cells),
        cmocka_unit_test(references_are_of_the_same_scales),
        cmocka_unit_test(groups_follow_the_ranks),
        cmocka_unit_test(finished_items_are_dropped),
        cmocka_unit_test(noise_repeats_quantized_runs),
        cmocka_unit_test(nothing_is_stored_on_demand),
        cmocka_unit_test(items_cover_all_once_in_order),
        cmocka_unit_test(want_is_layers_by_components),
        cmocka_unit_test(unknown_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
