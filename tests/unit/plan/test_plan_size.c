// SPDX-License-Identifier: Apache-2.0
// A plan of ten million items, in an address space that has no room for a list of them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/plan/plan.h"

enum { ROOM_BYTES = 20 << 20 };

static const struct dims dims = {.n_layer = 2,
                                 .d_model = 32,
                                 .d_inner = 64,
                                 .d_state = 16,
                                 .dt_rank = 2,
                                 .vocab_size = 512,
                                 .arch = &arch_mamba1};

// The process may take so many more bytes, for allocations that the allocator cannot serve from what it has.
// Sanitizers need address space of their own: there it does nothing.
static void limit_memory(size_t bytes)
{
#ifdef __SANITIZE_ADDRESS__
    (void)bytes;
#else
    struct rlimit limit;
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%ld", &pages), 1);
    fclose(file);
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur = bytes ? (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + bytes : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
#endif
}

// Of every sample but each third one all runs are finished.
static void finish_most(const struct plan *plan, struct finished *finished)
{
    for (int r = 0; r < plan->n_runs; r++)
        for (int s = 0; s < plan->samples; s++)
            if (s % 3) finished_set(finished, r, s, true);
}

// What is left is planned anew: `listed`, the samples that are left alone.
static void check_plan(const struct job *job, int samples, int groups, bool listed)
{
    int32_t *lengths = calloc((size_t)samples, sizeof *lengths);
    assert_non_null(lengths);
    for (int s = 0; s < samples; s++)
        lengths[s] = 1 + s % 512;
    const struct corpus corpus = {.samples = samples, .max_tokens = 512, .length = lengths};
    struct plan plan = {0};
    struct error err = {0};
    struct finished finished = {0};
    limit_memory(ROOM_BYTES);
    const enum status made = plan_make(&plan, job, &dims, &corpus, 16, &err);
    if (!made) finished_open(&finished, plan.n_runs, samples, &err);
    const int items = plan.n_items;
    if (!err.status) finish_most(&plan, &finished);
    if (!err.status) plan_renew(&plan, &dims, &corpus, 16, &finished, &err);
    limit_memory(0);
    assert_string_equal(err.text, "");
    assert_int_equal(items, samples * groups);
    assert_int_equal(plan.n_items, (listed ? (samples + 2) / 3 : samples) * groups);
    const struct item last = plan_item(&plan, plan.n_items - 1);
    assert_int_equal(last.samples, 1);
    if (listed) assert_int_equal(plan_sample(&plan, last.first_place) % 3, 0);
    finished_close(&finished);
    plan_clear(&plan);
    free(lengths);
}

static struct job make_job(void)
{
    return (struct job){.modes = "all",
                        .reference = "fp32",
                        .layers = "first,last",
                        .components = "mixer_output",
                        .calib_data_num = {10},
                        .n_cells = 1,
                        .shard = 1};
}

static void ten_million_samples(void **state)
{
    (void)state;
    const struct job job = make_job();
    check_plan(&job, 10 * 1000 * 1000, 1, false);
}

// Each of the hundred sets of scales has a reference, so a group, of its own.
static void a_hundred_thousand_samples_in_a_hundred_groups(void **state)
{
    (void)state;
    struct job job = make_job();
    job.reference = "3";
    job.shuffle_calib = 100;
    check_plan(&job, 100 * 1000, 100, true);
}

// 2^31 items and more have no numbers.
static void too_many_items_are_refused(void **state)
{
    (void)state;
    enum { MANY = 25 * 1000 * 1000 };
    int32_t *lengths = calloc(MANY, sizeof *lengths);
    assert_non_null(lengths);
    const struct corpus corpus = {.samples = MANY, .max_tokens = 0, .length = lengths};
    struct job job = make_job();
    struct plan plan = {0};
    struct error err = {0};
    job.reference = "3";
    job.shuffle_calib = 100;
    assert_int_equal(plan_make(&plan, &job, &dims, &corpus, 16, &err), STATUS_USAGE);
    assert_non_null(strstr(err.text, "2500000000 items"));
    assert_non_null(strstr(err.text, "--shard"));
    free(lengths);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_million_samples),
        cmocka_unit_test(a_hundred_thousand_samples_in_a_hundred_groups),
        cmocka_unit_test(too_many_items_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
