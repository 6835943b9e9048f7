// SPDX-License-Identifier: Apache-2.0
// Every part once and in one call, whatever the number of threads and however they wait.
#include "../support.h"

#include <limits.h>
#include <time.h>

#include "ssmsweep/base/team.h"

enum { PARTS = 64, ROUNDS = 2000, COUNT = 1000 };

struct work {
    int done[PARTS]; // each by one thread: a part that two take is a data race too
    int slow;        // part that takes longer
};

static void count_part(void *context, int part)
{
    struct work *work = context;
    if (part == work->slow) nanosleep(&(struct timespec){.tv_nsec = 200 * 1000}, NULL);
    work->done[part]++;
}

static void run_rounds(int threads, int rounds, int slow)
{
    struct error err = {0};
    struct team *team = NULL;
    assert_int_equal(team_open(&team, threads, &err), STATUS_OK);
    for (int round = 0; round < rounds; round++) {
        const int parts = 1 + round % PARTS;
        struct work work = {.slow = slow ? round % parts : -1};
        team_run(team, parts, count_part, &work);
        for (int part = 0; part < PARTS; part++)
            assert_int_equal(work.done[part], part < parts);
    }
    team_close(team);
}

static void each_part_once(void **state)
{
    static const char *const policies[] = {NULL, "passive", "ACTIVE"};
    (void)state;
    for (size_t p = 0; p < sizeof policies / sizeof policies[0]; p++) {
        policies[p] ? setenv("OMP_WAIT_POLICY", policies[p], 1) : unsetenv("OMP_WAIT_POLICY");
        // Who spins for long on cores that others need makes the test slow, not wrong.
        for (int threads = 1; threads <= 5; threads += 2)
            run_rounds(threads, policies[p] && policies[p][0] == 'A' ? 50 : ROUNDS, 0);
    }
    unsetenv("OMP_WAIT_POLICY");
}

// Those who wait fall asleep, and are woken.
static void slow_parts(void **state)
{
    (void)state;
    run_rounds(4, 200, 1);
}

static void mark_range(void *context, int part, int begin, int end)
{
    unsigned char *marks = context;
    (void)part;
    for (int i = begin; i < end; i++)
        marks[i]++;
}

static void ranges_cover(void **state)
{
    struct error err = {0};
    struct team *team = NULL;
    (void)state;
    assert_int_equal(team_open(&team, 3, &err), STATUS_OK);
    for (int count = 1; count < COUNT; count += 37)
        for (int grain = 1; grain < 40; grain += 13) {
            unsigned char marks[COUNT + 1] = {0};
            team_divide(team, 3, count, grain, mark_range, marks);
            for (int i = 0; i <= COUNT; i++)
                assert_int_equal(marks[i], i < count);
        }
    team_close(team);
}

static void note_range(void *context, int part, int begin, int end)
{
    long *counts = context;
    counts[part] = (long)end - begin;
}

// As many as there may be: no border on the way is beyond what an int holds.
static void ranges_of_many(void **state)
{
    struct error err = {0};
    struct team *team = NULL;
    long counts[3] = {0};
    (void)state;
    assert_int_equal(team_open(&team, 3, &err), STATUS_OK);
    team_divide(team, 3, INT_MAX, 4096, note_range, counts);
    for (int part = 0; part < 3; part++)
        assert_in_range(counts[part], INT_MAX / 4, INT_MAX / 2);
    assert_int_equal(counts[0] + counts[1] + counts[2], INT_MAX);
    team_close(team);
}

// Between two rounds the threads of a team use no processor time.
static void waiting_is_sleep(void **state)
{
    struct error err = {0};
    struct team *team = NULL;
    struct timespec before, after;
    struct work work = {.slow = -1};
    (void)state;
    assert_int_equal(team_open(&team, 4, &err), STATUS_OK);
    team_run(team, 4, count_part, &work);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    nanosleep(&(struct timespec){.tv_nsec = 300 * 1000 * 1000}, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    team_close(team);
    const double used =
        (double)(after.tv_sec - before.tv_sec) + 1e-9 * (double)(after.tv_nsec - before.tv_nsec);
    assert_true(used < 0.1); // three threads that spin would use 0.3 s on one core, 0.9 s on three
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_part_once), cmocka_unit_test(slow_parts),       cmocka_unit_test(ranges_cover),
        cmocka_unit_test(ranges_of_many), cmocka_unit_test(waiting_is_sleep),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
