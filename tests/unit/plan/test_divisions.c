// SPDX-License-Identifier: Apache-2.0
// Ways to divide the runs of a plan into groups.
#include "../support.h"
#include "plan_parts.h"
#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/plan/plan.h"

enum { MOST = 100 };

// Passes that take about the same, and float ones that take five times as long as the others.
static const struct dims
    demo = {.n_layer = 4, .d_model = 96, .d_inner = 192, .d_state = 16, .dt_rank = 6, .arch = &arch_mamba1},
    wide = {
        .n_layer = 4, .d_model = 8192, .d_inner = 16384, .d_state = 1, .dt_rank = 6, .arch = &arch_mamba1};

// The reference, its own run or not, and at most so many others, a run in front of its re-runs.  `left_out`:
// a run that is finished, or -1.
static void check_groups(const struct division *division, const struct plan *plan, int room, int left_out)
{
    int times[MOST] = {0};
    assert_true(plan->n_runs <= MOST);
    for (int g = 0; g < division->n_groups; g++) {
        const struct group *group = &division->groups[g];
        int others = 0, front = -1;
        for (int m = group->first; m < group->first + group->count; m++) {
            const int run = division->members[m];
            times[run]++;
            others += run != group->reference;
            assert_true(run == group->reference || plan->runs[run].repeats >= front);
            if (run != group->reference) front = plan->runs[run].repeats;
            assert_int_equal(plan->runs[run].reference, group->reference);
        }
        assert_true(others <= room);
        assert_true(g == 0 || group->cost <= division->groups[g - 1].cost);
    }
    for (int r = 0; r < plan->n_runs; r++)
        assert_int_equal(times[r], r != left_out);
}

static void check_divisions(const struct dims *dims, const char *reference, int cells, int noise)
{
    int32_t lengths[3] = {12, 12, 12};
    const struct corpus corpus = {.samples = 3, .max_tokens = 12, .length = lengths};
    const struct job job = {.modes = "all",
                            .reference = reference,
                            .layers = "first",
                            .components = "mixer_output",
                            .calib_data_num = {2, 3},
                            .noise = noise,
                            .n_cells = cells};
    const bool quantized = strcmp(reference, "fp32") != 0;
    // Where all is apart: each run alone, but for the reference, which is with another one.
    const int apart = 2 + 7 * cells * (1 + noise) - (quantized ? cells : 1);
    struct plan plan = {0};
    struct error err = {0};
    assert_int_equal(plan_make(&plan, &job, dims, &corpus, 2, &err), STATUS_OK);
    for (int room = 1; room <= plan.n_runs; room++) {
        struct divisions divisions;
        assert_int_equal(divisions_make(&divisions, &plan, dims, NULL, room, plan.n_runs, &err), STATUS_OK);
        for (int d = 0; d < divisions.n; d++) {
            check_groups(&divisions.of[d], &plan, room, -1);
            assert_true(d == 0 || divisions.of[d].n_groups > divisions.of[d - 1].n_groups);
        }
        assert_int_equal(divisions.of[divisions.n - 1].n_groups, apart);
        divisions_clear(&divisions);
    }
    plan_clear(&plan);
}

static void every_run_once_and_no_group_beyond_its_room(void **state)
{
    (void)state;
    for (int cells = 1; cells <= 2; cells++) {
        check_divisions(&demo, "fp32", cells, 0);
        check_divisions(&wide, "fp32", cells, 0);
        for (int noise = 1; noise <= 5; noise++) {
            check_divisions(&demo, "fp32", cells, noise);
            check_divisions(&wide, "2-4", cells, noise);
        }
    }
}

static void finished_runs_are_in_no_group(void **state)
{
    (void)state;
    enum { SAMPLES = 3, FINISHED = 2 };
    int32_t lengths[SAMPLES] = {12, 12, 12};
    const struct corpus corpus = {.samples = SAMPLES, .max_tokens = 12, .length = lengths};
    const struct job job = {.modes = "all",
                            .reference = "fp32",
                            .layers = "first",
                            .components = "mixer_output",
                            .calib_data_num = {2},
                            .n_cells = 1};
    struct plan plan = {0};
    struct finished finished;
    struct divisions divisions;
    struct error err = {0};
    assert_int_equal(plan_make(&plan, &job, &demo, &corpus, 2, &err), STATUS_OK);
    assert_int_equal(finished_open(&finished, plan.n_runs, SAMPLES, &err), STATUS_OK);
    for (int s = 0; s < SAMPLES; s++)
        finished_set(&finished, FINISHED, s, true);
    finished_set(&finished, 1, 0, true);
    assert_int_equal(divisions_make(&divisions, &plan, &demo, &finished, 4, 4, &err), STATUS_OK);
    for (int d = 0; d < divisions.n; d++)
        check_groups(&divisions.of[d], &plan, 4, FINISHED);
    divisions_clear(&divisions);
    finished_close(&finished);
    plan_clear(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_run_once_and_no_group_beyond_its_room),
                                       cmocka_unit_test(finished_runs_are_in_no_group)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
