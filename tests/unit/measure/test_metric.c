// SPDX-License-Identifier: Apache-2.0
// The metrics of tables against the records of a comparison, over all samples and over resamples, and their
// gradients against differences.
#include <math.h>

#include "../support.h"
#include "ssmsweep/base/random.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/end_of_model.h"
#include "ssmsweep/measure/metric.h"
#include "ssmsweep/statistics/bootstrap.h"

enum { SAMPLES = 12, MAX_ELEMENTS = 700 };

struct texts {
    struct accumulator samples[SAMPLES], alone[SAMPLES]; // alone: of the layer by itself
    double table[MOMENT_COLUMNS * SAMPLES];
};

// Samples of different length, level and error around `mean`.
static void make(struct texts *t, double mean, double spread, double error)
{
    uint64_t stream = random_stream(7, "texts"), next = 0;
    float ref[MAX_ELEMENTS], mode[MAX_ELEMENTS], alone[MAX_ELEMENTS];
    for (int i = 0; i < SAMPLES; i++) {
        size_t n = 200 + random_below(stream, next++, MAX_ELEMENTS - 200);
        double level = mean + spread * random_normal(stream, next++), noise = error * (0.5 + i);
        for (size_t k = 0; k < n; k++) {
            ref[k] = (float)(level + spread * random_normal(stream, next++));
            mode[k] = (float)((double)ref[k] + noise * (0.2 + random_normal(stream, next++)));
            alone[k] = ref[k] + (mode[k] - ref[k]) * (k % 2 ? 0.5F : -0.25F);
        }
        accumulator_clear(&t->alone[i]);
        accumulator_add_sample(&t->alone[i], ref, alone, n);
        accumulator_clear(&t->samples[i]);
        accumulator_add_sample(&t->samples[i], ref, mode, n);
    }
    moments_fill(t->samples, SAMPLES, t->table);
    isolated_fill(t->alone, SAMPLES, t->table);
}

static double of_record(const struct accumulator *all, const struct accumulator *alone, const char *name)
{
    const struct measurement by_itself = measurement_of_sums(alone);
    struct measurement measurement = measurement_of_sums(all);
    measurement.isolated_mse = record_make(&by_itself).value[METRIC_MSE];
    const struct record record = record_make(&measurement);
    int metric = metric_find(name, strlen(name));
    assert_true(metric >= 0);
    return record.value[metric];
}

static void assert_near(const char *what, double got, double want, double tolerance)
{
    if (!(fabs(got - want) <= tolerance * fabs(want)) && !(isnan(got) && isnan(want)) && got != want)
        fail_msg("%s: %.17g, expected %.17g", what, got, want);
}

static double weighted(const struct metric *s, const double *table, const double *weights)
{
    double sums[METRIC_MAX_COLUMNS] = {0}, gradient[METRIC_MAX_COLUMNS];
    for (int c = 0; c < s->columns; c++)
        for (int i = 0; i < SAMPLES; i++)
            sums[c] += weights[i] * table[s->column[c] * SAMPLES + i];
    return scale_value(s->scale, s->phi(sums, gradient));
}

// All samples, then resamples, merged one after the other as often as they were drawn.
static void assert_as_records(const struct texts *t)
{
    for (int replicate = -1; replicate < 20; replicate++) {
        double weights[SAMPLES];
        struct accumulator all, alone;
        accumulator_clear(&all);
        accumulator_clear(&alone);
        bootstrap_weights(3, replicate < 0 ? 0 : replicate, SAMPLES, weights, 1);
        for (int i = 0; i < SAMPLES; i++) {
            if (replicate < 0) weights[i] = 1;
            for (int k = 0; k < weights[i]; k++) {
                accumulator_merge(&all, &t->samples[i]);
                accumulator_merge(&alone, &t->alone[i]);
            }
        }
        for (int m = 0; m < METRIC_OUTPUT_INTERVALS; m++) {
            const struct metric *s = metric_with_interval(SUBJECT_OUTPUTS, m);
            assert_near(s->name, weighted(s, t->table, weights), of_record(&all, &alone, s->name), 1e-12);
            if (replicate < 0)
                assert_near(s->name, metric_of_table(s, t->table, SAMPLES), of_record(&all, &alone, s->name),
                            1e-12);
        }
    }
}

static void values_are_those_of_records(void **state)
{
    struct texts t;
    (void)state;
    make(&t, 0.3, 2, 0.01);
    assert_as_records(&t);
    make(&t, 1000, 0.5, 0.02); // a mean far above the spread
    assert_as_records(&t);
    make(&t, 3e6, 4, 0.5);
    assert_as_records(&t);
    make(&t, 0, 1, 3);
    assert_as_records(&t);
    make(&t, 0, 1, 0);
    assert_as_records(&t);
}

// 1 - r and its gradient keep their digits where r itself has none left.
static void correlation_near_one(void **state)
{
    const struct metric *s = &metric_table[METRIC_COSINE_SIMILARITY];
    double sums[3] = {1e4, 1e4, 1e-14}, gradient[3]; // 1 - r = d / 2 sqrt(a b) = 5e-19
    (void)state;
    double phi = s->phi(sums, gradient);
    assert_near("atanh", phi, log(2 / 5e-19) / 2, 1e-14);
    assert_near("slope", gradient[2], -0.5 / 1e-14, 1e-12);
}

static void assert_gradient(const struct metric *s, const double *sums)
{
    double gradient[METRIC_MAX_COLUMNS], none[METRIC_MAX_COLUMNS], euler = 0, size = 0;
    assert_true(isfinite(s->phi(sums, gradient)));
    for (int c = 0; c < s->columns; c++) {
        double moved[METRIC_MAX_COLUMNS], step = 1e-5 * (fabs(sums[c]) + 1e-3);
        memcpy(moved, sums, sizeof moved);
        moved[c] = sums[c] + step;
        double up = s->phi(moved, none);
        moved[c] = sums[c] - step;
        double slope = (up - s->phi(moved, none)) / (2 * step);
        if (!(fabs(slope - gradient[c]) <= 1e-5 * fabs(slope) + 1e-7))
            fail_msg("%s, sum %d: slope %.10g, expected %.10g", s->name, c, gradient[c], slope);
        euler += gradient[c] * sums[c];
        size += fabs(gradient[c] * sums[c]);
    }
    if (!(fabs(euler) <= 1e-13 * size)) fail_msg("%s is not of degree 0: %g of %g", s->name, euler, size);
}

static void gradients_are_slopes(void **state)
{
    struct texts t;
    (void)state;
    make(&t, 0.3, 0.5, 0.05);
    double weights[SAMPLES];
    bootstrap_weights(5, 1, SAMPLES, weights, 1); // else the centred sums are 0
    for (int m = 0; m < METRIC_OUTPUT_INTERVALS; m++) {
        const struct metric *s = metric_with_interval(SUBJECT_OUTPUTS, m);
        double sums[METRIC_MAX_COLUMNS] = {0};
        for (int c = 0; c < s->columns; c++)
            for (int i = 0; i < SAMPLES; i++)
                sums[c] += weights[i] * t.table[s->column[c] * SAMPLES + i];
        assert_gradient(s, sums);
    }
    const double text[TEXT_COLUMNS] = {500, 1510, 1530, 4, 460};
    for (int m = 0; m < METRIC_TEXT_INTERVALS; m++) {
        const struct metric *s = metric_with_interval(SUBJECT_PREDICTIONS, m);
        double sums[METRIC_MAX_COLUMNS] = {0};
        for (int c = 0; c < s->columns; c++)
            sums[c] = text[s->column[c]];
        assert_gradient(s, sums);
    }
}

static void text_values(void **state)
{
    const double table[TEXT_COLUMNS * 2] = {100, 300, 310, 890, 312, 900, 1, 3, 90, 290};
    (void)state;
    const double exact[] = {exp(1212.0 / 400), exp(12.0 / 400), exp(1212.0 / 400) - exp(1200.0 / 400), 0.01,
                            0.95};
    for (int m = 0; m < METRIC_TEXT_INTERVALS; m++) {
        const struct metric *s = metric_with_interval(SUBJECT_PREDICTIONS, m);
        assert_near(s->name, metric_of_table(s, table, 2), exact[m], 1e-12);
    }
    assert_null(metric_with_interval(SUBJECT_PREDICTIONS, METRIC_TEXT_INTERVALS));
}

static void scales_come_back(void **state)
{
    static const double values[] = {0.001, 0.3, 0.97};
    (void)state;
    for (int s = SCALE_IDENTITY; s <= SCALE_LOGIT; s++) {
        const enum scale scale = (enum scale)s;
        for (int i = 0; i < 3; i++)
            assert_near("scale", scale_value(scale, scale_phi(scale, values[i])), values[i], 1e-12);
        assert_true(scale_no_change(scale) == (scale == SCALE_LOG || scale == SCALE_LOGIT));
    }
    assert_true(scale_value(SCALE_FISHER, INFINITY) == 1 && scale_value(SCALE_FISHER, -INFINITY) == -1);
    assert_true(scale_value(SCALE_LOG, -INFINITY) == 0 && scale_value(SCALE_LOGIT, INFINITY) == 1);
    assert_string_equal(scale_change_name(SCALE_LOG), "ratio");
    assert_string_equal(scale_change_name(SCALE_LOGIT), "odds_ratio");
}

static void ends_of_the_scales(void **state)
{
    struct texts t;
    (void)state;
    make(&t, 0, 1, 0); // nothing differs
    for (int m = 0; m < METRIC_OUTPUT_INTERVALS; m++) {
        const struct metric *s = metric_with_interval(SUBJECT_OUTPUTS, m);
        double v = metric_of_table(s, t.table, SAMPLES);
        assert_true(s == &metric_table[METRIC_AMPLIFICATION] ? isnan(v)
                    : strcmp(s->name, "sqnr_db") == 0        ? v == INFINITY
                                                             : v == (s->better == BETTER_LARGER ? 1 : 0));
    }
    const float ref[] = {2, 2, 2}, mode[] = {1, 2, 4}; // a constant side has no correlation
    accumulator_clear(&t.samples[0]);
    accumulator_add_sample(&t.samples[0], ref, mode, 3);
    moments_fill(t.samples, 1, t.table);
    assert_true(isnan(metric_of_table(&metric_table[METRIC_CORRELATION], t.table, 1)));
}

static void damaged_and_empty_samples(void **state)
{
    struct texts t;
    const float good[] = {1, 2, 3}, bad[] = {1, NAN, 3};
    double table[MOMENT_COLUMNS * 3];
    (void)state;
    for (int i = 0; i < 3; i++)
        accumulator_clear(&t.samples[i]);
    accumulator_add_sample(&t.samples[0], good, bad, 3);
    accumulator_add_sample(&t.samples[2], good, good, 3);
    moments_fill(t.samples, 3, table);
    assert_true(isnan(table[MOMENT_ISOLATED_SQUARES * 3 + 2])); // until it is filled
    isolated_fill(t.samples, 3, table);
    for (int c = 1; c < MOMENT_COLUMNS; c++)
        assert_true(isnan(table[c * 3]) && table[c * 3 + 1] == 0 && isfinite(table[c * 3 + 2]));
    assert_true(table[0] == 3 && table[1] == 0 && table[2] == 3);
}

// Has a name of its own, what its interval needs, and nothing else.
static void assert_row(int m)
{
    const struct metric *row = &metric_table[m];
    const bool interval = row->scale != SCALE_NONE;
    assert_int_equal(metric_find(row->name, strlen(row->name)), m);
    assert_true(row->label && (row->value != NULL) == (row->subject == SUBJECT_OUTPUTS));
    assert_true((row->phi != NULL) == interval && (row->reach > 0) == interval &&
                (row->columns > 0) == interval && row->columns <= METRIC_MAX_COLUMNS);
    assert_true(!interval ||
                metric_with_interval(row->subject, metric_interval_place((enum metric_id)m)) == row);
    assert_true(!interval || row->better != BETTER_NEITHER);
    assert_true(row->place[LIST_RANKED] == 0 || interval);
    assert_true((row->grades[2] != 0) == (row->place[LIST_GRADED] > 0));
}

// Places of a list are 1, 2, ... to the last.
static void rows_are_whole(void **state)
{
    (void)state;
    for (int m = 0; m < METRICS; m++)
        assert_row(m);
    for (int list = 0; list < METRIC_LISTS; list++)
        for (int subject = SUBJECT_OUTPUTS; subject <= SUBJECT_PREDICTIONS; subject++) {
            bool taken[METRICS + 1] = {false};
            int count = 0;
            for (int m = 0; m < METRICS; m++) {
                const int place = metric_table[m].place[list];
                if (metric_table[m].subject != (enum metric_subject)subject || place == 0) continue;
                assert_in_range(place, 1, METRICS);
                assert_false(taken[place]);
                taken[place] = true;
                count++;
            }
            for (int place = 1; place <= count; place++)
                assert_true(taken[place] &&
                            (subject != SUBJECT_OUTPUTS || metric_at((enum metric_list)list, place) >= 0));
            assert_true(subject != SUBJECT_OUTPUTS || metric_at((enum metric_list)list, count + 1) < 0);
        }
    assert_int_equal(metric_find("ms", 2), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_whole),       cmocka_unit_test(values_are_those_of_records),
        cmocka_unit_test(correlation_near_one), cmocka_unit_test(gradients_are_slopes),
        cmocka_unit_test(text_values),          cmocka_unit_test(scales_come_back),
        cmocka_unit_test(ends_of_the_scales),   cmocka_unit_test(damaged_and_empty_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
