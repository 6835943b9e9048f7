// SPDX-License-Identifier: Apache-2.0
// What the plan is made of: the heap that knows the least, and ways to divide the runs into groups.
#include "../support.h"
#include "least.h"
#include "plan_groups.h"
#include "ssmsweep/arch/mamba1.h"

enum { MOST = 100, STEPS = 300 };

static void the_least_is_in_front(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int n = 1; n <= MOST; n++) {
        struct least heap[MOST];
        double values[MOST] = {0};
        least_start(heap, n);
        for (int step = 0; step < STEPS; step++) {
            int least = 0;
            for (int i = 1; i < n; i++)
                if (values[i] < values[least]) least = i;
            assert_int_equal(heap[0].id, least); // of equal ones the first
            seed = seed * 1664525u + 1013904223u;
            heap[0].value = values[least] += (double)(seed >> 28);
            least_settle(heap, n);
        }
    }
}

// Passes that take about the same, and float ones that take five times as long as the others.
static const struct dims
    demo = {.n_layer = 4, .d_model = 96, .d_inner = 192, .d_state = 16, .dt_rank = 6, .arch = &arch_mamba1},
    wide = {
        .n_layer = 4, .d_model = 8192, .d_inner = 16384, .d_state = 1, .dt_rank = 6, .arch = &arch_mamba1};

// The reference, its own run or not, and at most so many others; runs without their re-runs only where there
// are more groups than `whole`.
static void check_groups(const struct division *division, const struct plan *plan, int room, int whole)
{
    int times[MOST] = {0}, group_of[MOST];
    assert_true(plan->n_runs <= MOST);
    for (int g = 0; g < division->n_groups; g++) {
        const struct group *group = &division->groups[g];
        int others = 0;
        for (int m = group->first; m < group->first + group->count; m++) {
            const int run = division->members[m];
            times[run]++;
            group_of[run] = g;
            others += plan->runs[run].dither == 0 && run != group->reference;
            assert_true(m == group->first || division->members[m - 1] < run);
            assert_int_equal(plan->runs[run].reference, group->reference);
        }
        assert_true(others <= room);
        assert_true(g == 0 || division->cost[g] <= division->cost[g - 1]);
    }
    for (int r = 0; r < plan->n_runs; r++) {
        assert_int_equal(times[r], 1);
        if (division->n_groups > whole || plan->runs[r].repeats == plan->runs[r].reference) continue;
        assert_int_equal(group_of[r], group_of[plan->runs[r].repeats]);
    }
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
    const int others = 2 + 7 * cells - (quantized ? cells : 1);
    // Where all is apart: each run alone, the first re-run of a run with it, and those of a reference alone.
    const int whole = others + (quantized && noise ? cells : 0),
              apart = whole + (noise > 1 ? (noise - 1) * 7 * cells : 0);
    struct plan plan = {0};
    struct error err = {0};
    assert_int_equal(plan_make(&plan, &job, dims, &corpus, 2, &err), STATUS_OK);
    for (int room = 1; room <= plan.n_runs; room++) {
        struct divisions divisions;
        assert_int_equal(divisions_make(&divisions, &plan, dims, room, plan.n_runs, &err), STATUS_OK);
        for (int d = 0; d < divisions.n; d++) {
            check_groups(&divisions.of[d], &plan, room, whole);
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_least_is_in_front),
                                       cmocka_unit_test(every_run_once_and_no_group_beyond_its_room)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
