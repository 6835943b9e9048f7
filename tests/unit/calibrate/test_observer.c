// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/calibrate/observer.h"

// ---- the option ----

static struct observers parsed(const char *text)
{
    struct observers observers = {.percentile_alpha = 0.5};
    struct error err = {0};
    assert_int_equal(observers_parse(&observers, &arch_mamba1, text, &err), STATUS_OK);
    assert_true(observers.percentile_alpha == 0.5);
    return observers;
}

static void sites_get_their_observers(void **state)
{
    (void)state;
    struct observers o = parsed(NULL);
    for (int s = 0; s < MAMBA1_SITES; s++)
        assert_int_equal(o.of_site[s], s == SITE_X_PROJ_INPUT || s == SITE_SSM_STATE ? OBSERVER_EMA_PERCENTILE
                                                                                     : OBSERVER_MINMAX);
    assert_false(observers_take_histogram(&o));
    o = parsed("entropy,inputs=percentile,x-proj_input=mse");
    assert_int_equal(o.of_site[SITE_IN_PROJ_INPUT], OBSERVER_PERCENTILE);
    assert_int_equal(o.of_site[SITE_X_PROJ_INPUT], OBSERVER_MSE);
    assert_int_equal(o.of_site[SITE_DT_PROJ_OUTPUT], OBSERVER_ENTROPY);
    assert_true(observers_take_histogram(&o));
    o = parsed("outputs=ema_percentile,in_proj:output=minmax"); // the others as in the reference
    assert_int_equal(o.of_site[SITE_X_PROJ_OUTPUT], OBSERVER_EMA_PERCENTILE);
    assert_int_equal(o.of_site[SITE_IN_PROJ_OUTPUT], OBSERVER_MINMAX);
    assert_int_equal(o.of_site[SITE_SSM_STATE], OBSERVER_EMA_PERCENTILE);
    assert_int_equal(o.of_site[SITE_OUT_PROJ_INPUT], OBSERVER_MINMAX);
}

static void other_words_are_refused(void **state)
{
    static const char *const words[] = {
        "", "median", "mse,", "mse=mse", "in_proj=mse", "=mse", "ssm_state=", "MSE", "in_proj_input=mse=mse"};
    (void)state;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct observers observers = {.of_site = {OBSERVER_ENTROPY}};
        struct error err = {0};
        assert_int_equal(observers_parse(&observers, &arch_mamba1, words[i], &err), STATUS_USAGE);
        assert_non_null(strstr(err.text, "--observer: unknown"));
        assert_int_equal(observers.of_site[0], OBSERVER_ENTROPY);
    }
}

// ---- histograms ----

static void every_value_has_its_bin(void **state)
{
    static const float values[] = {0x1p-24f,      0x1.0fffffp-24f, 0x1.1p-24f, 0.3f, 1,
                                   0x1.0fffffp0f, 1.0625f,         1.99f,      7,    1000,
                                   0x1.fffffep15f};
    (void)state;
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        for (int sign = -1; sign < 2; sign += 2) {
            uint32_t bins[HISTOGRAM_BINS] = {0};
            const float value = (float)sign * values[i];
            int bin = 0;
            histogram_add(bins, &value, 1);
            while (!bins[bin])
                bin++;
            assert_int_equal(bins[bin], 1);
            assert_true(histogram_low(bin) <= (double)values[i]);
            assert_true((double)values[i] < histogram_low(bin + 1));
        }
}

static void ends_and_nan(void **state)
{
    const float values[] = {0, -0.0f, 0x1.fffffep-25f, 0x1p-149f, 65536, INFINITY, -INFINITY, NAN, -NAN};
    uint32_t bins[HISTOGRAM_BINS] = {0}, total = 0;
    (void)state;
    histogram_add(bins, values, 9);
    for (int b = 0; b < HISTOGRAM_BINS; b++)
        total += bins[b];
    assert_int_equal(bins[0], 4);
    assert_int_equal(bins[HISTOGRAM_ABOVE], 3);
    assert_int_equal(total, 7);
    for (int b = 1; b < HISTOGRAM_BINS; b++)
        assert_true(histogram_low(b) > histogram_low(b - 1));
    assert_true(histogram_low(1) == 0x1p-24 && histogram_low(HISTOGRAM_ABOVE) == 0x1p16);
}

// ---- thresholds ----

// `count` values spread evenly over (0, 1), and some that are larger.
static void fill(uint64_t bins[HISTOGRAM_BINS], int count, float outlier, int outliers)
{
    uint32_t counts[HISTOGRAM_BINS] = {0};
    for (int i = 0; i < count; i++) {
        const float value = ((float)i + 0.5f) / (float)count;
        histogram_add(counts, &value, 1);
    }
    for (int i = 0; i < outliers; i++)
        histogram_add(counts, &outlier, 1);
    for (int b = 0; b < HISTOGRAM_BINS; b++)
        bins[b] = counts[b];
}

static void mse_weighs_clipping_against_rounding(void **state)
{
    uint64_t bins[HISTOGRAM_BINS];
    (void)state;
    fill(bins, 100000, 0, 0);
    double threshold = threshold_mse(bins, 0.999995); // nothing to clip: half a step below the end at most
    assert_true(threshold > 1 - 1.0 / 127 && threshold <= 1);
    // One value of 20 among 100000: a threshold t costs (20 - t)^2 + 100000 (t / 127)^2 / 12, least at 13.2.
    fill(bins, 100000, 20, 1);
    threshold = threshold_mse(bins, 20);
    assert_true(threshold > 12 && threshold < 14.5);
    fill(bins, 100000, 20, 1000); // a hundredth of them: nobody clips that
    threshold = threshold_mse(bins, 20);
    assert_true(threshold > 19 && threshold <= 20);
}

static void entropy_clips_what_is_rare(void **state)
{
    uint64_t bins[HISTOGRAM_BINS];
    (void)state;
    fill(bins, 100000, 0, 0);
    double threshold = threshold_entropy(bins, 0.999995);
    assert_true(threshold > 0.9 && threshold <= 1);
    fill(bins, 100000, 10, 1);
    threshold = threshold_entropy(bins, 10);
    assert_true(threshold > 0.9 && threshold <= 1);
    fill(bins, 100000, 10, 30000);
    assert_true(threshold_entropy(bins, 10) == 10);
}

static void odd_maxima(void **state)
{
    uint64_t none[HISTOGRAM_BINS] = {0}, one[HISTOGRAM_BINS] = {0};
    (void)state;
    assert_true(threshold_mse(none, 0) == 0 && threshold_entropy(none, 0) == 0);
    assert_true(isinf(threshold_mse(none, INFINITY)) && isinf(threshold_entropy(none, INFINITY)));
    one[1 + 24 * HISTOGRAM_PER_OCTAVE] = 5; // all of them 1, the lower bound of their bin
    assert_true(fabs(threshold_mse(one, 1) - 1) < 1e-6);
    assert_true(threshold_entropy(one, 1) == 1);
    one[1 + 24 * HISTOGRAM_PER_OCTAVE] = 0;
    one[HISTOGRAM_ABOVE] = 5;
    assert_true(threshold_mse(one, 1e6) <= 1e6 && threshold_mse(one, 1e6) >= 65536);
    assert_true(threshold_entropy(one, 1e6) <= 1e6 && threshold_entropy(one, 1e6) >= 1e6 / 16);
    one[HISTOGRAM_ABOVE] = 0;
    one[0] = 5;
    assert_true(threshold_mse(one, 1e-9) == 1e-9 && threshold_entropy(one, 1e-9) == 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sites_get_their_observers),
                                       cmocka_unit_test(other_words_are_refused),
                                       cmocka_unit_test(every_value_has_its_bin),
                                       cmocka_unit_test(ends_and_nan),
                                       cmocka_unit_test(mse_weighs_clipping_against_rounding),
                                       cmocka_unit_test(entropy_clips_what_is_rare),
                                       cmocka_unit_test(odd_maxima)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
