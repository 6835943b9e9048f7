// SPDX-License-Identifier: Apache-2.0
// The bootstrap against a plain one written from its definition, what it must not depend on, and every case
// in which there is no interval.  How well its intervals cover is in coverage.c.
#include <math.h>

#include "../support.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/statistics/bootstrap.h"

enum { MAX_N = 24, RUNS = 4, MAX_PAIRS = RUNS * (RUNS - 1) / 2, B = 999 };

struct group {
    int n, runs;
    double tables[RUNS][MOMENT_COLUMNS * MAX_N];
    struct interval intervals[RUNS];
    struct change changes[MAX_PAIRS];
};

static const struct metric *moment(const char *name)
{
    return &metric_table[metric_find(name, strlen(name))];
}

// Runs whose errors grow by a tenth each, over shared texts.
static void fill(struct group *g, int n, int runs, uint64_t seed)
{
    uint64_t stream = random_stream(seed, "group"), next = 0;
    *g = (struct group){.n = n, .runs = runs};
    for (int run = 0; run < runs; run++) {
        struct accumulator samples[MAX_N], alone[MAX_N]; // alone: of a layer by itself
        for (int i = 0; i < n; i++) {
            float ref[64], mode[64], by_itself[64];
            double error = 0.1 * (1 + 0.1 * run) * random_exp(0.4 * random_normal(seed, (uint64_t)i));
            for (int k = 0; k < 64; k++) {
                ref[k] = (float)random_normal(seed + 99, (uint64_t)(i * 64 + k));
                mode[k] = ref[k] + (float)(error * random_normal(stream, next++));
                by_itself[k] =
                    ref[k] + (float)(0.1 * (run + 1) * random_normal(seed + 7, (uint64_t)(i + 32 * k)));
            }
            accumulator_clear(&alone[i]);
            accumulator_add_sample(&alone[i], ref, by_itself, 64);
            accumulator_clear(&samples[i]);
            accumulator_add_sample(&samples[i], ref, mode, 64);
        }
        moments_fill(samples, n, g->tables[run]);
        isolated_fill(alone, n, g->tables[run]);
    }
}

static void run_replicates(struct group *g, const struct metric *s, uint64_t seed, int replicates)
{
    struct bootstrap *b = NULL;
    struct error err = {0};
    const double *tables[RUNS];
    for (int r = 0; r < g->runs; r++)
        tables[r] = g->tables[r];
    assert_int_equal(bootstrap_open(&b, seed, replicates, g->n, RUNS, &err), STATUS_OK);
    bootstrap_run(b, s, tables, NULL, g->runs, g->intervals, g->changes);
    bootstrap_close(b);
}

static void run_seed(struct group *g, const struct metric *s, uint64_t seed)
{
    run_replicates(g, s, seed, B);
}

static void run(struct group *g, const struct metric *s)
{
    run_seed(g, s, 1);
}

// ---- from the definition ----

// phi of the weighted samples and the variance of its linearisation; b < 0: of one run.
static double plain(const struct group *g, const struct metric *s, int a, int b, const double *w,
                    double *variance)
{
    double phi[2] = {0, 0}, slope[2][METRIC_MAX_COLUMNS] = {{0}};
    const int which[2] = {a, b};
    for (int side = 0; side < 2 && which[side] >= 0; side++) {
        double sums[METRIC_MAX_COLUMNS] = {0};
        for (int c = 0; c < s->columns; c++)
            for (int i = 0; i < g->n; i++)
                sums[c] += w[i] * g->tables[which[side]][s->column[c] * g->n + i];
        phi[side] = s->phi(sums, slope[side]);
    }
    *variance = 0;
    for (int i = 0; i < g->n; i++) {
        double u = 0;
        for (int c = 0; c < s->columns; c++) {
            u += slope[0][c] * g->tables[a][s->column[c] * g->n + i];
            if (b >= 0) u -= slope[1][c] * g->tables[b][s->column[c] * g->n + i];
        }
        *variance += w[i] * u * u;
    }
    *variance *= g->n / (g->n - 1.0);
    return phi[0] - phi[1];
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void assert_near(double got, double want)
{
    if (!(fabs(got - want) <= 1e-9 * fabs(want))) fail_msg("got %.17g, expected %.17g", got, want);
}

static void assert_plain(const struct group *g, const struct metric *s, int a, int b)
{
    double w[MAX_N], t[B], variance;
    for (int i = 0; i < g->n; i++)
        w[i] = 1;
    double phi = plain(g, s, a, b, w, &variance), se = sqrt(variance);
    int beyond = 0;
    for (int r = 0; r < B; r++) {
        bootstrap_weights(1, r, g->n, w, 1);
        double distance = plain(g, s, a, b, w, &variance) - phi;
        t[r] = fabs(distance) / sqrt(variance);
        beyond += t[r] >= fabs(phi) / se;
    }
    qsort(t, B, sizeof t[0], ascending);
    if (b < 0) {
        assert_near(g->intervals[a].low, scale_value(s->scale, phi - t[949] * se));
        assert_near(g->intervals[a].high, scale_value(s->scale, phi + t[949] * se));
        assert_near(g->intervals[a].se, se);
        return;
    }
    const struct change *change = &g->changes[pair_index(g->runs, a, b)];
    assert_near(change->low, scale_change(s->scale, phi - t[949] * se));
    assert_near(change->high, scale_change(s->scale, phi + t[949] * se));
    if (beyond >= 10) assert_near(change->p, (1.0 + beyond) / (B + 1));
    assert_true(beyond >= 10 || (change->p <= 0.011 && change->p >= BOOTSTRAP_SMALLEST_P));
}

static void is_the_bootstrap_of_its_definition(void **state)
{
    (void)state;
    for (int m = 0; m < METRIC_OUTPUT_INTERVALS; m++)
        for (int n = 10; n <= MAX_N; n += 13) {
            struct group g;
            fill(&g, n, 3, 5);
            run(&g, metric_with_interval(SUBJECT_OUTPUTS, m));
            for (int a = 0; a < 3; a++) {
                assert_plain(&g, metric_with_interval(SUBJECT_OUTPUTS, m), a, -1);
                for (int b = a + 1; b < 3; b++)
                    assert_plain(&g, metric_with_interval(SUBJECT_OUTPUTS, m), a, b);
            }
        }
}

// ---- what it must not depend on ----

static void weights_are_a_function_of_seed_and_replicate(void **state)
{
    double a[MAX_N], b[3 * MAX_N], total = 0, same = 0;
    (void)state;
    for (int r = 0; r < 50; r++) {
        bootstrap_weights(9, r, MAX_N, a, 1);
        bootstrap_weights(9, r, MAX_N, b, 3);
        double sum = 0;
        for (int i = 0; i < MAX_N; i++) {
            assert_true(a[i] == b[3 * i]);
            sum += a[i];
            total += a[i] * a[i];
        }
        assert_true(sum == MAX_N);
        bootstrap_weights(9, r + 1, MAX_N, b, 1);
        same += memcmp(a, b, sizeof a) == 0;
    }
    assert_true(same == 0);
    assert_true(fabs(total / (50 * MAX_N) - (2 - 1.0 / MAX_N)) < 0.15); // 1 + variance of a multinomial count
}

// A run's interval has the same bits alone and in any company; a pair's change as well.
static void company_changes_nothing(void **state)
{
    struct group all, some;
    (void)state;
    fill(&all, 11, 4, 5);
    run(&all, moment("correlation"));
    some = all;
    some.runs = 2;
    memcpy(some.tables[0], all.tables[2], sizeof some.tables[0]);
    memcpy(some.tables[1], all.tables[3], sizeof some.tables[1]);
    run(&some, moment("correlation"));
    assert_memory_equal(&some.intervals[0], &all.intervals[2], sizeof some.intervals[0]);
    assert_true(some.changes[0].low == all.changes[pair_index(4, 2, 3)].low);
    assert_true(some.changes[0].p == all.changes[pair_index(4, 2, 3)].p);
}

static uint64_t add_bits(uint64_t hash, double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return random_bits(hash ^ bits, 0);
}

// Compilers, instruction sets and sanitizers have to agree on every bit.
static void bits_are_the_same_everywhere(void **state)
{
    uint64_t hash = 0;
    (void)state;
    for (int m = 0; m < METRIC_OUTPUT_INTERVALS; m++) {
        struct group g;
        fill(&g, 17, 3, 5);
        run(&g, metric_with_interval(SUBJECT_OUTPUTS, m));
        for (int r = 0; r < 3; r++)
            hash = add_bits(add_bits(hash, g.intervals[r].low), g.intervals[r].high);
        for (int p = 0; p < 3; p++)
            hash = add_bits(add_bits(add_bits(hash, g.changes[p].low), g.changes[p].high), g.changes[p].p);
    }
    if (hash != UINT64_C(0x44e305b1e7dc4629)) fail_msg("hash 0x%llx", (unsigned long long)hash);
}

static void seeds_differ(void **state)
{
    struct group a, b;
    (void)state;
    fill(&a, 11, 1, 5);
    b = a;
    run(&a, moment("mse"));
    run_seed(&b, moment("mse"), 2);
    assert_true(a.intervals[0].value == b.intervals[0].value && a.intervals[0].low != b.intervals[0].low);
}

// ---- the interval and the test say the same ----

static void p_and_interval_agree(void **state)
{
    const int replicates[] = {BOOTSTRAP_MIN_REPLICATES, 200, 219, 250, 399, 401, B};
    (void)state;
    for (size_t k = 0; k < sizeof replicates / sizeof replicates[0]; k++) {
        int told_apart = 0;
        for (uint64_t seed = 0; seed < 60; seed++) {
            struct group g;
            fill(&g, 12, RUNS, seed);
            run_replicates(&g, moment("mae"), seed, replicates[k]);
            for (int pair = 0; pair < MAX_PAIRS; pair++) {
                const struct change *c = &g.changes[pair];
                assert_true((c->p <= 0.05) == (c->low > 1 || c->high < 1));
                assert_true(c->low < c->value && c->value < c->high);
            }
            assert_near(g.changes[0].value, g.intervals[0].value / g.intervals[1].value);
            told_apart += g.changes[0].p <= 0.05;
        }
        assert_in_range(told_apart, 5, 55);
    }
}

// Where no replicate is as far out the p-value still falls with the distance, but not below what is claimed.
static void small_p_values_go_on_falling(void **state)
{
    double before = 1;
    (void)state;
    for (int step = 0; step < 8; step++) {
        struct group g;
        fill(&g, 16, 2, 3);
        for (int i = 0; i < g.n; i++)
            g.tables[0][MOMENT_DIFF_SQUARES * g.n + i] *= 1 + 0.5 * step;
        run(&g, moment("mse"));
        if (g.changes[0].phi > 0.3) {
            assert_true(g.changes[0].p < before || before == BOOTSTRAP_SMALLEST_P);
            assert_true(g.changes[0].p >= BOOTSTRAP_SMALLEST_P);
            before = g.changes[0].p;
        }
    }
    assert_true(before < 1e-5);
}

// ---- no interval ----

static void too_few_samples(void **state)
{
    (void)state;
    for (int n = 1; n <= 2; n++) {
        struct group g;
        fill(&g, n, 2, 5);
        run(&g, moment("mse"));
        assert_int_equal(g.intervals[0].state, INTERVAL_TOO_FEW);
        assert_int_equal(g.changes[0].state, INTERVAL_TOO_FEW);
        assert_true(g.intervals[0].value > 0 && isnan(g.intervals[0].low) && isnan(g.intervals[0].high));
        assert_true(g.changes[0].value > 0 && isnan(g.changes[0].low) && isnan(g.changes[0].p));
    }
}

// Of three samples a ninth of the resamples are all one sample.
static void three_samples_bound_nothing(void **state)
{
    struct group g;
    (void)state;
    fill(&g, 3, 2, 5);
    run(&g, moment("mse"));
    assert_int_equal(g.intervals[0].state, INTERVAL_UNBOUNDED);
    assert_true(g.intervals[0].low == 0 && g.intervals[0].high == INFINITY);
    assert_true(g.changes[0].state == INTERVAL_UNBOUNDED && g.changes[0].p > 0.05);
}

static void samples_that_are_all_alike(void **state)
{
    struct group g;
    (void)state;
    for (int m = 0; m < METRIC_OUTPUT_INTERVALS; m++) {
        fill(&g, 12, 3, 5);
        for (int run = 0; run < 2; run++) // the third has a spread
            for (int c = 0; c < MOMENT_COLUMNS; c++)
                for (int i = 1; i < g.n; i++)
                    g.tables[run][c * g.n + i] = g.tables[run][c * g.n];
        run(&g, metric_with_interval(SUBJECT_OUTPUTS, m));
        assert_int_equal(g.intervals[0].state, INTERVAL_NO_SPREAD);
        assert_int_equal(g.changes[0].state, INTERVAL_NO_SPREAD);
        assert_true(isfinite(g.intervals[0].value) && isnan(g.intervals[0].low) && isnan(g.changes[0].p));
        assert_int_equal(g.changes[1].state, INTERVAL_OK);
    }
}

static void equal_runs(void **state)
{
    struct group g;
    (void)state;
    for (int m = 0; m < METRIC_OUTPUT_INTERVALS; m++) {
        const struct metric *s = metric_with_interval(SUBJECT_OUTPUTS, m);
        fill(&g, 12, 2, 5);
        memcpy(g.tables[1], g.tables[0], sizeof g.tables[0]);
        run(&g, s);
        double none = scale_no_change(s->scale);
        assert_int_equal(g.changes[0].state, INTERVAL_EQUAL);
        assert_true(g.changes[0].p == 1 && g.changes[0].value == none);
        assert_true(g.changes[0].low == none && g.changes[0].high == none && g.changes[0].phi == 0);
        assert_int_equal(g.intervals[0].state, INTERVAL_OK);
    }
}

static void a_run_without_error(void **state)
{
    struct group g;
    (void)state;
    fill(&g, 12, 3, 5);
    for (int run = 0; run < 2; run++)
        for (int i = 0; i < g.n; i++)
            g.tables[run][MOMENT_DIFF_SQUARES * g.n + i] = 0;
    run(&g, moment("mse"));
    assert_int_equal(g.intervals[0].state, INTERVAL_EXACT);
    assert_true(g.intervals[0].value == 0 && g.intervals[0].low == 0 && g.intervals[0].high == 0);
    assert_int_equal(g.changes[pair_index(3, 0, 1)].state, INTERVAL_EQUAL);
    const struct change *c = &g.changes[pair_index(3, 0, 2)];
    assert_true(c->state == INTERVAL_EXACT && c->value == 0 && c->phi == -INFINITY);
    assert_true(c->p == 1.0 / 2048); // 2 / 2^12
    run(&g, moment("sqnr_db"));
    assert_true(g.intervals[0].value == INFINITY && g.changes[pair_index(3, 0, 2)].p == 1.0 / 2048);
}

static void damaged_samples(void **state)
{
    struct group g;
    (void)state;
    fill(&g, 12, 3, 5);
    run(&g, moment("mse"));
    struct change before = g.changes[pair_index(3, 0, 2)];
    for (int c = 1; c < MOMENT_COLUMNS; c++)
        g.tables[1][c * g.n + 4] = NAN;
    run(&g, moment("mse"));
    assert_int_equal(g.intervals[1].state, INTERVAL_NONFINITE);
    assert_true(isnan(g.intervals[1].value) && isnan(g.intervals[1].low) && isnan(g.changes[0].p));
    assert_int_equal(g.changes[0].state, INTERVAL_NONFINITE);
    assert_true(g.changes[pair_index(3, 0, 2)].low == before.low);
    for (int i = 0; i < g.n; i++)
        g.tables[0][MOMENT_REF_CENTRED * g.n + i] = 0;
    run(&g, moment("correlation"));
    assert_int_equal(g.intervals[0].state, INTERVAL_UNDEFINED);
    assert_int_equal(g.changes[pair_index(3, 0, 2)].state, INTERVAL_UNDEFINED);
    assert_true(isnan(g.intervals[0].value) && g.intervals[2].state == INTERVAL_OK);
}

// Most of the error in one text: replicates without it have none at all.
static void one_sample_with_all_the_error(void **state)
{
    struct group g;
    (void)state;
    fill(&g, 12, 1, 5);
    for (int i = 1; i < g.n; i++)
        g.tables[0][MOMENT_DIFF_SQUARES * g.n + i] = 0;
    run(&g, moment("mse"));
    assert_int_equal(g.intervals[0].state, INTERVAL_UNBOUNDED);
    assert_true(g.intervals[0].low == 0 && g.intervals[0].high == INFINITY && g.intervals[0].value > 0);
}

static void fill_two_errors(struct group *g, uint64_t seed)
{
    struct accumulator samples[6];
    for (int i = 0; i < 6; i++) {
        float ref[64], mode[64];
        for (int k = 0; k < 64; k++) {
            ref[k] = (float)random_normal(seed, (uint64_t)(i * 64 + k)) + 0.3f;
            mode[k] =
                ref[k] + (i < 2 ? 0.2f * (float)random_normal(seed + 1, (uint64_t)(i * 64 + k)) + 0.1f : 0);
        }
        accumulator_clear(&samples[i]);
        accumulator_add_sample(&samples[i], ref, mode, 64);
    }
    *g = (struct group){.n = 6, .runs = 1};
    moments_fill(samples, 6, g->tables[0]);
}

// Resamples of the texts without error have none, whatever rounding leaves: by every metric alike.
static void two_samples_with_all_the_error(void **state)
{
    const char *const metrics[] = {"mse", "correlation", "cosine_similarity"};
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++)
        for (size_t k = 0; k < sizeof metrics / sizeof metrics[0]; k++) {
            const struct metric *s = moment(metrics[k]);
            double sums[METRIC_MAX_COLUMNS] = {0}, slope[METRIC_MAX_COLUMNS];
            struct group g;
            fill_two_errors(&g, seed);
            for (int c = 0; c < s->columns; c++)
                for (int i = 2; i < 6; i++)
                    sums[c] += (1 + i % 2) * g.tables[0][s->column[c] * 6 + i];
            assert_true(isinf(s->phi(sums, slope)));
            run(&g, s);
            assert_int_equal(g.intervals[0].state, INTERVAL_UNBOUNDED);
        }
}

// ---- intervals that would mislead ----

static void fill_errors(struct group *g, int n, int runs, const double *errors)
{
    *g = (struct group){.n = n, .runs = runs};
    for (int run = 0; run < runs; run++)
        for (int i = 0; i < n; i++) {
            g->tables[run][MOMENT_COUNT * n + i] = 256;
            g->tables[run][MOMENT_REF_SQUARES * n + i] = 2560;
            g->tables[run][MOMENT_DIFF_SQUARES * n + i] = 256 * errors[i] * (1 + 0.001 * run * (i % 3));
        }
}

// One text in ten has 30 times the error: resamples without it say that they are all alike and far away.
static void one_sample_with_most_of_the_error(void **state)
{
    const double errors[] = {1.1, 0.9, 1.2, 0.8, 1, 1.05, 30, 0.95, 1.15, 0.85};
    struct group g;
    (void)state;
    fill_errors(&g, 10, 2, errors);
    run(&g, moment("mse"));
    for (int r = 0; r < 2; r++) {
        assert_int_equal(g.intervals[r].state, INTERVAL_UNBOUNDED);
        assert_true(g.intervals[r].low == 0 && g.intervals[r].high == INFINITY);
        assert_true(g.intervals[r].se > 0);
    }
    run(&g, moment("sqnr_db"));
    assert_int_equal(g.intervals[0].state, INTERVAL_UNBOUNDED);
    assert_true(g.intervals[0].low == -INFINITY && g.intervals[0].high == INFINITY);
}

// What the runs share cancels in their change, which is bounded where no value is.
static void changes_are_judged_for_themselves(void **state)
{
    const double errors[] = {1.1, 0.9, 1.2, 0.8, 1, 1.05, 30, 0.95, 1.15, 0.85};
    struct group g;
    (void)state;
    fill_errors(&g, 10, 2, errors);
    for (int i = 0; i < g.n; i++)
        g.tables[1][MOMENT_DIFF_SQUARES * g.n + i] = 256 * errors[i] * (1.5 + 0.01 * (i % 5));
    run(&g, moment("mse"));
    assert_int_equal(g.intervals[0].state, INTERVAL_UNBOUNDED);
    assert_int_equal(g.changes[0].state, INTERVAL_OK);
    assert_true(g.changes[0].p <= 0.05 && g.changes[0].high < 1 && g.changes[0].low > 0.5);
}

// Ten times the value on either side and more is no interval.
static void ends_are_within_a_factor_of_ten(void **state)
{
    int wide = 0, narrow = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        double errors[5];
        struct group g;
        for (int i = 0; i < 5; i++)
            errors[i] = random_exp(1.2 * random_normal(seed + 7, (uint64_t)i));
        fill_errors(&g, 5, 1, errors);
        run(&g, moment("mse"));
        const struct interval *v = &g.intervals[0];
        wide += v->state == INTERVAL_UNBOUNDED;
        narrow += v->state == INTERVAL_OK;
        if (v->state == INTERVAL_OK) assert_true(v->high / v->value < 10.0001 && v->value / v->low < 10.0001);
    }
    assert_true(wide > 50 && narrow > 50 && wide + narrow == 200);
}

static void wrong_sizes_are_refused(void **state)
{
    struct bootstrap *b = NULL;
    struct error err = {0};
    (void)state;
    bootstrap_open(&b, 1, 10, 5, 2, &err);
    expect_error(&err, STATUS_USAGE, "replicates|199|got 10");
    err = (struct error){0};
    bootstrap_open(&b, 1, B, 5, BOOTSTRAP_MAX_RUNS + 1, &err);
    expect_error(&err, STATUS_USAGE, "1 to 64|got 65");
    err = (struct error){0};
    bootstrap_open(&b, 1, B, 0, 2, &err);
    expect_error(&err, STATUS_USAGE, "samples|got 0");
    assert_null(b);
    bootstrap_close(NULL);
    assert_true(bootstrap_bytes(B, 10, 2) > 3 * B * sizeof(double));
    assert_string_equal(interval_state_name(INTERVAL_UNDEFINED), "undefined");
}

static void pairs_are_numbered(void **state)
{
    (void)state;
    for (int runs = 2; runs <= BOOTSTRAP_MAX_RUNS; runs++) {
        int next = 0;
        for (int a = 0; a < runs; a++)
            for (int b = a + 1; b < runs; b++)
                assert_int_equal(pair_index(runs, a, b), next++);
        assert_int_equal(pair_count(runs), next);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_the_bootstrap_of_its_definition),
        cmocka_unit_test(weights_are_a_function_of_seed_and_replicate),
        cmocka_unit_test(company_changes_nothing),
        cmocka_unit_test(bits_are_the_same_everywhere),
        cmocka_unit_test(seeds_differ),
        cmocka_unit_test(p_and_interval_agree),
        cmocka_unit_test(small_p_values_go_on_falling),
        cmocka_unit_test(too_few_samples),
        cmocka_unit_test(three_samples_bound_nothing),
        cmocka_unit_test(samples_that_are_all_alike),
        cmocka_unit_test(equal_runs),
        cmocka_unit_test(a_run_without_error),
        cmocka_unit_test(damaged_samples),
        cmocka_unit_test(one_sample_with_all_the_error),
        cmocka_unit_test(two_samples_with_all_the_error),
        cmocka_unit_test(one_sample_with_most_of_the_error),
        cmocka_unit_test(changes_are_judged_for_themselves),
        cmocka_unit_test(ends_are_within_a_factor_of_ten),
        cmocka_unit_test(wrong_sizes_are_refused),
        cmocka_unit_test(pairs_are_numbered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
