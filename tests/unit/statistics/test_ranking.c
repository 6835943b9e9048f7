// SPDX-License-Identifier: Apache-2.0
// Holm's correction, ranks with ties, trends, sample sizes, and the noise floor.
#include <math.h>

#include "../support.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/statistics/ranking.h"

static const struct metric *moment(const char *name)
{
    return &metric_table[metric_find(name, strlen(name))];
}

static void holm(void **state)
{
    const double p[] = {0.01, 0.04, NAN, 0.03, 0.005}, want[] = {0.03, 0.06, NAN, 0.06, 0.02};
    double got[5];
    (void)state;
    holm_adjust(p, 5, got);
    for (int i = 0; i < 5; i++)
        assert_true(fabs(got[i] - want[i]) < 1e-15 || (isnan(got[i]) && isnan(want[i])));
    holm_adjust(got, 0, got);
    double ones[] = {0.9, 0.6};
    holm_adjust(ones, 2, ones); // in place, never above 1
    assert_true(ones[0] == 1 && ones[1] == 1);
}

// Values v[runs]; per pair: `!` told apart, `=` equal, `.` neither.
struct series {
    struct interval intervals[4];
    struct change changes[6];
};

static struct series make(const double *v, int runs, const char *apart)
{
    struct series s = {0};
    for (int a = 0, pair = 0; a < runs; a++) {
        s.intervals[a].value = s.intervals[a].phi = v[a];
        for (int b = a + 1; b < runs; b++, pair++) {
            bool equal = apart[pair] == '=';
            s.changes[pair] = (struct change){.phi = v[a] - v[b],
                                              .p = equal                ? 1
                                                   : apart[pair] == '!' ? 1e-4
                                                                        : 0.3,
                                              .state = equal ? INTERVAL_EQUAL : INTERVAL_OK};
        }
    }
    return s;
}

static void ranks_show_ties(void **state)
{
    struct standing r[4];
    double p[6];
    const double v[] = {1, 2, 2, 5};
    (void)state;
    struct series s = make(v, 4, "..!=!!"); // 0-1 0-2 0-3 1-2 1-3 2-3
    ranking_make(moment("mse"), s.intervals, s.changes, 4, 0.05, r, p);
    assert_true(r[0].rank == 1 && r[1].rank == 1 && r[2].rank == 1 && r[3].rank == 4);
    assert_true(r[0].tied == 6 && r[1].tied == 5 && r[1].equal == 4 && r[2].equal == 2 && r[0].equal == 0);
    assert_true(r[3].better == 7 && r[3].tied == 0);
    assert_true(fabs(p[2] - 6e-4) < 1e-15 && p[0] > 0.5 && p[3] == 1);
    ranking_make(moment("correlation"), s.intervals, s.changes, 4, 0.05, r, NULL);
    assert_true(r[3].rank == 1 && r[0].rank == 2 && r[1].rank == 2 && r[0].better == 8);
    s.intervals[1].value = s.intervals[1].phi = NAN;
    s.changes[0].p = s.changes[3].p = s.changes[4].p = NAN;
    ranking_make(moment("mse"), s.intervals, s.changes, 4, 0.05, r, NULL);
    assert_true(r[1].rank == 0 && r[1].tied == 0 && r[0].tied == 4 && r[3].rank == 3);
}

// A tie is not always passed on: 0 = 1 and 1 = 2 but 0 before 2.
static void ties_may_overlap(void **state)
{
    const double v[] = {1, 2, 3};
    struct standing r[3];
    (void)state;
    struct series s = make(v, 3, ".!.");
    ranking_make(moment("mse"), s.intervals, s.changes, 3, 0.05, r, NULL);
    assert_true(r[0].rank == 1 && r[1].rank == 1 && r[2].rank == 2);
    assert_true(r[1].tied == 5 && r[0].tied == 2 && r[2].tied == 2);
}

static void only_what_holds_for_the_family_counts(void **state)
{
    const double v[] = {1, 2, 3, 4};
    struct standing r[4];
    (void)state;
    struct series s = make(v, 4, "......");
    s.changes[2].p = 0.01; // significant alone, not among six
    ranking_make(moment("mse"), s.intervals, s.changes, 4, 0.05, r, NULL);
    assert_true(r[3].rank == 1);
    s.changes[2].p = 0.008;
    ranking_make(moment("mse"), s.intervals, s.changes, 4, 0.05, r, NULL);
    assert_true(r[3].rank == 2);
}

static void where_it_stops_improving(void **state)
{
    const double falling[] = {4, 3, 2, 1.9}, rising[] = {1, 2, 3, 4};
    (void)state;
    struct series s = make(falling, 4, "!!!!!."); // the step 2 - 3 is none
    assert_int_equal(trend_settles(moment("mse"), s.changes, NULL, 4, 0.05), 2);
    assert_int_equal(trend_settles(moment("sqnr_db"), s.changes, NULL, 4, 0.05), 0); // never better later
    s = make(falling, 4, "!!!!!!");
    assert_int_equal(trend_settles(moment("mse"), s.changes, NULL, 4, 0.05), 3);
    s = make(falling, 4, "......");
    assert_int_equal(trend_settles(moment("mse"), s.changes, NULL, 4, 0.05), 0);
    s = make(falling, 4, "..!..."); // only the last against the first
    assert_int_equal(trend_settles(moment("mse"), s.changes, NULL, 4, 0.05), 1);
    s = make(rising, 4, "!!!!!!"); // worse is no improvement
    assert_int_equal(trend_settles(moment("mse"), s.changes, NULL, 4, 0.05), 0);
    s = make(falling, 4, "!!!!!!");
    const double none[6] = {0}, all[] = {9, 9, 9, 9, 9, 9}, last[] = {0, 0, 0, 0, 0, 0.2},
                 some[] = {0.5, 0, 0, 0, 0, 0};
    assert_int_equal(trend_settles(moment("mse"), s.changes, none, 4, 0.05), 3);
    assert_int_equal(trend_settles(moment("mse"), s.changes, all, 4, 0.05), 0);  // nothing but noise
    assert_int_equal(trend_settles(moment("mse"), s.changes, last, 4, 0.05), 2); // 2 to 1.9 is noise
    assert_int_equal(trend_settles(moment("mse"), s.changes, some, 4, 0.05), 3); // 4 to 3 is, 4 to 2 is not
    s = make(rising, 4, "!!!!!!");
    s.changes[3].p = NAN;
    assert_int_equal(trend_settles(moment("mse"), s.changes, NULL, 4, 0.05), -1);
    assert_int_equal(trend_settles(moment("mse"), s.changes, NULL, 1, 0.05), 0);
    assert_int_equal(trend_settles(moment("mse"), s.changes, NULL, 0, 0.05), -1);
}

static struct change seen(double phi, double spread, int n)
{
    return (struct change){.phi = phi, .se = spread / sqrt(n), .samples = n};
}

// At level 0.05, with a probability of 80 %.
static struct demands *open_demands(int families)
{
    struct demands *demands = NULL;
    struct error err = {0};
    assert_int_equal(demands_open(&demands, 0.05, 0.8, families, &err), STATUS_OK);
    return demands;
}

static void sample_sizes(void **state)
{
    (void)state;
    struct demands *demands = open_demands(28);
    struct change c = seen(0.5, 1, 10);
    assert_true(samples_needed(demands, &c, 0, 1) == 34); // Cohen's tables for a paired t-test
    c = seen(-0.2, 1, 10);
    assert_true(samples_needed(demands, &c, 0, 1) == 199);
    assert_true(samples_needed(demands, &c, 0, 28) > 350);
    assert_true(samples_needed(demands, &c, 0.2, 1) == INFINITY); // noise
    assert_true(samples_needed(demands, &c, 0.19, 1) == 199);
    c = seen(50, 1, 10);
    assert_true(samples_needed(demands, &c, 0, 1) == BOOTSTRAP_MIN_SAMPLES);
    c = seen(1e-6, 1, 10);
    assert_true(samples_needed(demands, &c, 0, 1) == INFINITY);
    c.phi = 0;
    assert_true(samples_needed(demands, &c, 0, 1) == INFINITY);
    c = seen(1, NAN, 10);
    assert_true(isnan(samples_needed(demands, &c, 0, 1)));
    c = seen(NAN, 1, 10);
    assert_true(isnan(samples_needed(demands, &c, 0, 1)));
    demands_close(demands);
}

// Of `trials` seeded experiments with n samples, how many find log MSE `effect` above the other's at level
// 0.05 / family.
static int count_found(int n, double effect, int family, int trials)
{
    enum { MOST = 64 };
    static double tables[2][MOMENT_COLUMNS * MOST];
    const double *pointers[] = {tables[0], tables[1]};
    struct bootstrap *b = NULL;
    struct error err = {0};
    int found = 0;
    assert_in_range(n, 3, MOST);
    assert_int_equal(bootstrap_open(&b, 1, 999, n, 2, &err), STATUS_OK);
    for (int trial = 0; trial < trials; trial++) {
        struct interval intervals[2];
        struct change change;
        uint64_t stream = random_stream((uint64_t)trial, "power");
        for (int i = 0; i < n; i++) {
            tables[0][i] = tables[1][i] = 1;
            tables[0][MOMENT_DIFF_SQUARES * n + i] =
                random_exp(3 + effect + 0.31 * random_normal(stream, 2 * (uint64_t)i));
            tables[1][MOMENT_DIFF_SQUARES * n + i] =
                random_exp(3 + 0.31 * random_normal(stream, 2 * (uint64_t)i + 1));
        }
        bootstrap_run(b, moment("mse"), pointers, NULL, 2, intervals, &change);
        found += change.p <= 0.05 / family;
    }
    bootstrap_close(b);
    return found;
}

// With as many samples as are said to be needed, four of five experiments find the difference: alone, and
// nearly so as the first that Holm tests of many pairs, where few samples make the tails of the bootstrap
// wide.  With half as many, far fewer do.
static void sample_sizes_have_their_power(void **state)
{
    enum { TRIALS = 1500 };
    const struct {
        double effect;
        int family, needed, least; // per cent
    } cases[] = {{0.2, 1, 42, 77}, {0.3, 28, 41, 74}, {0.5, 10, 15, 66}};
    (void)state;
    struct demands *demands = open_demands(28);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct change change = seen(cases[i].effect, sqrt(2 * expm1(0.31 * 0.31)), 10);
        int needed = (int)samples_needed(demands, &change, 0, cases[i].family);
        int found = count_found(needed, cases[i].effect, cases[i].family, TRIALS),
            with_half = count_found(needed / 2, cases[i].effect, cases[i].family, TRIALS);
        print_message("%d samples: %d of %d; half as many: %d\n", needed, found, TRIALS, with_half);
        assert_int_equal(needed, cases[i].needed);
        assert_in_range(found, cases[i].least * TRIALS / 100, 83 * TRIALS / 100);
        assert_true(with_half < 55 * TRIALS / 100);
    }
    demands_close(demands);
}

// ---- noise floor ----

static void floors(void **state)
{
    const double reference[] = {1.1, 0.8, 1.0}, self[] = {0.3, 0.5, 0.4}, broken[] = {0.3, NAN, 0.4};
    (void)state;
    struct noise_floor f = noise_floor_make(moment("mse"), 1, reference, self, 3, 1);
    assert_true(fabs(f.change + log(0.8)) < 1e-12 && f.value == 0.5 && f.reruns == 3);
    f = noise_floor_make(moment("mse"), 1, reference, self, 3, 0.5);
    assert_true(fabs(f.change - log(1.1)) < 1e-12 && f.value == 0.4);
    assert_true(value_below_floor(moment("mse"), 0.4, &f) && !value_below_floor(moment("mse"), 0.41, &f));
    f = noise_floor_make(moment("mse"), 1, broken, broken, 3, 0.5);
    assert_true(isnan(f.change) && isnan(f.value)); // nobody knows how far that re-run was
    f = noise_floor_make(moment("correlation"), 0.9, reference, self, 3, 1);
    assert_true(isnan(f.change) && f.value == 0.3); // 1.1 is no correlation
    assert_true(value_below_floor(moment("correlation"), 0.35, &f));
    assert_true(!value_below_floor(moment("correlation"), 0.2, &f));
    assert_true(!value_below_floor(moment("correlation"), NAN, &f));
}

static void floors_of_differences(void **state)
{
    struct noise_floor a = {0.1, NAN, 3}, b = {0.2, NAN, 3},
                       unknown = noise_floor_make(moment("mse"), 1, NULL, NULL, 0, 1);
    (void)state;
    assert_true(isnan(unknown.change) && isnan(unknown.value));
    assert_true(change_below_floor(-0.25, &a, &b) && !change_below_floor(0.35, &a, &b));
    assert_true(change_below_floor(0.1, &a, NULL) && !change_below_floor(0.11, &a, &unknown));
    assert_true(change_below_floor(0, NULL, NULL) && !change_below_floor(NAN, &a, &b));
    const double equal[] = {0, 0};
    struct noise_floor exact = noise_floor_make(moment("mse"), 0, equal, equal, 2, 1);
    assert_true(exact.change == 0 && exact.value == 0 && value_below_floor(moment("mse"), 0, &exact));
}

// Infinitely far from its re-runs on the scale of the logarithm: no noise that others could have.
static void a_run_that_is_the_reference_has_no_floor(void **state)
{
    const double moved[] = {1e-9, 3e-9}, one_equal[] = {2, 0}, agreement[] = {1, 0.98};
    const struct metric *agree = &metric_table[METRIC_TOP1_AGREEMENT];
    struct noise_floor exact = noise_floor_make(moment("mse"), 0, moved, moved, 2, 1), other = {0.2, NAN, 2};
    (void)state;
    assert_true(isnan(exact.change) && exact.value == 3e-9 && exact.reruns == 2);
    assert_true(change_floor(&exact, &other) == 0.2 && !change_below_floor(0.3, &exact, &other));
    assert_true(!change_below_floor(-INFINITY, &exact, &other));
    assert_true(fabs(noise_floor_make(moment("mse"), 1, one_equal, NULL, 2, 1).change - log(2)) < 1e-12);
    assert_true(fabs(noise_floor_make(agree, 0.99, agreement, NULL, 2, 1).change - log(99 / 49.0)) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holm),
        cmocka_unit_test(ranks_show_ties),
        cmocka_unit_test(ties_may_overlap),
        cmocka_unit_test(only_what_holds_for_the_family_counts),
        cmocka_unit_test(where_it_stops_improving),
        cmocka_unit_test(sample_sizes),
        cmocka_unit_test(sample_sizes_have_their_power),
        cmocka_unit_test(floors),
        cmocka_unit_test(floors_of_differences),
        cmocka_unit_test(a_run_that_is_the_reference_has_no_floor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
