// SPDX-License-Identifier: Apache-2.0
// Perplexity, KL and top-1 against sums in long double, and the same bits from every instruction set.
#include <float.h>
#include <math.h>

#include "../support.h"

#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/measure/end_of_model.h"

static uint32_t random_next(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    return *seed ^= *seed << 5;
}

static float uniform(uint32_t *seed)
{
    return (float)(random_next(seed) >> 8) / 8388608.0f - 1.0f;
}

// Rows of logits; what lies between vocab and stride must not count: NaN.  error: of the mode.
struct rows {
    int count, vocab, stride;
    float *reference, *mode;
    int32_t *next;
};

static struct rows make_rows(uint32_t seed, int count, int vocab, int stride, float scale, float error)
{
    const size_t floats = (size_t)count * (size_t)stride;
    struct rows r = {count,
                     vocab,
                     stride,
                     calloc(floats, sizeof(float)),
                     calloc(floats, sizeof(float)),
                     calloc((size_t)count, sizeof(int32_t))};
    assert_true(r.reference && r.mode && r.next);
    for (int t = 0; t < count; t++) {
        for (int i = 0; i < stride; i++) {
            const int at = t * stride + i;
            r.reference[at] = i < vocab ? scale * uniform(&seed) : NAN;
            r.mode[at] = i < vocab ? r.reference[at] + error * uniform(&seed) : NAN;
        }
        r.next[t] = (int32_t)(random_next(&seed) % (uint32_t)vocab);
    }
    return r;
}

static void free_rows(struct rows *r)
{
    free(r->reference), free(r->mode), free(r->next);
}

static struct end_of_model add_rows(const struct rows *r, const char *isa)
{
    struct end_of_model total;
    end_of_model_clear(&total);
    assert_int_equal(setenv("SSMSWEEP_ISA", isa, 1), 0);
    end_of_model_add(&total, r->reference, r->mode, r->next, r->count, r->vocab, r->stride);
    assert_int_equal(unsetenv("SSMSWEEP_ISA"), 0);
    return total;
}

// ---- the twin ----

static long double log_sum_exp(const float *v, int vocab)
{
    long double most = v[0], sum = 0;
    for (int i = 0; i < vocab; i++)
        most = v[i] > most ? v[i] : most;
    for (int i = 0; i < vocab; i++)
        sum += expl((long double)v[i] - most);
    return most + logl(sum);
}

static int top(const float *v, int vocab)
{
    int best = 0;
    for (int i = 1; i < vocab; i++)
        if (v[i] > v[best]) best = i;
    return best;
}

struct twin {
    uint64_t agree, correct, bins[PROFILE_BINS];
    long double nll, kl, kl_squares, kl_max;
};

// KL by its definition, term by term from the two probabilities.
static struct twin twin_of(const struct rows *r)
{
    struct twin w = {0};
    for (int t = 0; t < r->count; t++) {
        const float *a = r->reference + t * r->stride, *b = r->mode + t * r->stride;
        const long double la = log_sum_exp(a, r->vocab), lb = log_sum_exp(b, r->vocab);
        long double kl = 0;
        for (int i = 0; i < r->vocab; i++)
            kl += expl(a[i] - la) * ((a[i] - la) - (b[i] - lb));
        w.nll += lb - b[r->next[t]];
        w.kl += kl, w.kl_squares += kl * kl;
        w.kl_max = kl > w.kl_max ? kl : w.kl_max;
        w.agree += top(a, r->vocab) == top(b, r->vocab);
        w.correct += top(b, r->vocab) == r->next[t];
        w.bins[profile_bin((double)(kl > 0 ? kl : 0))]++;
    }
    return w;
}

static void near(double got, long double want, long double scale)
{
    if (!(fabsl((long double)got - want) <= 1e-14L * scale))
        fail_msg("expected %.20Lg, got %.17g", want, got);
}

static void check(const struct rows *r)
{
    const struct twin want = twin_of(r);
    const struct end_of_model got = add_rows(r, "");
    assert_int_equal(got.tokens, r->count);
    assert_int_equal(got.nonfinite, 0);
    assert_int_equal(got.top1_agree, want.agree);
    assert_int_equal(got.top1_correct, want.correct);
    near(got.nll, want.nll, fmaxl(want.nll, r->count));
    // KL is a difference of terms of the size of log vocab and of the logits.
    near(got.kl, want.kl, r->count * 20.0L + want.kl);
    near(got.kl_squares, want.kl_squares, r->count * 20.0L * fmaxl(1, want.kl_max) + want.kl_squares);
    near(got.kl_max, want.kl_max, 20.0L + want.kl_max);
    for (int i = 0; i < PROFILE_BINS; i++)
        if (want.kl_max > 1e-9L) assert_int_equal(got.kl_bins[i], want.bins[i]);
    static const char *const names[] = {"avx512", "avx2", "scalar", "naive"};
    for (int i = 0; i < 4; i++) {
        if (!kernels_find(names[i])) continue;
        const struct end_of_model other = add_rows(r, names[i]);
        assert_memory_equal(&got, &other, sizeof got);
    }
}

static void test_against_long_double(void **state)
{
    (void)state;
    static const struct {
        int count, vocab, stride;
        float scale, error;
    } cases[] = {{3, 1, 1, 1, 1},
                 {5, 2, 16, 3, 1},
                 {7, 7, 7, 5, 0.1f},
                 {4, 8, 9, 5, 0.1f},
                 {4, 15, 16, 5, 2},
                 {4, 17, 32, 5, 2},
                 {3, 1000, 1008, 10, 1e-3f},
                 {2, 50277, 50288, 8, 0.3f},
                 {6, 333, 336, 1e4f, 1e3f},
                 {6, 65, 80, 1e-3f, 1e-6f}};
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        struct rows r = make_rows((uint32_t)c + 11, cases[c].count, cases[c].vocab, cases[c].stride,
                                  cases[c].scale, cases[c].error);
        check(&r);
        free_rows(&r);
    }
}

static void test_equal_rows(void **state)
{
    (void)state;
    struct rows r = make_rows(3, 9, 1001, 1008, 12, 0);
    struct end_of_model total;
    end_of_model_clear(&total);
    end_of_model_add(&total, r.reference, r.reference, r.next, r.count, r.vocab, r.stride);
    assert_true(total.kl == 0 && total.kl_max == 0 && total.kl_squares == 0);
    assert_int_equal(total.kl_bins[PROFILE_ZERO], 9);
    assert_int_equal(total.top1_agree, 9);
    assert_true(total.nll > 0);
    free_rows(&r);
}

// Of equal logits the lowest id is the likeliest, wherever in the row they lie.
static void test_ties(void **state)
{
    (void)state;
    enum { VOCAB = 77 };
    static const char *const names[] = {"avx512", "avx2", "scalar", "naive"};
    for (int n = 0; n < 4; n++) {
        if (!kernels_find(names[n])) continue;
        for (int first = 0; first < VOCAB; first++)
            for (int second = first; second < VOCAB; second += 1 + second % 5) {
                float a[VOCAB] = {0}, b[VOCAB] = {0};
                for (int i = 0; i < VOCAB; i++)
                    a[i] = b[i] = -1.0f - (float)(i % 3);
                a[first] = a[second] = 2, b[first] = 0.0f, b[second] = second > first ? -0.0f : 0.0f;
                int32_t next = first;
                struct rows r = {1, VOCAB, VOCAB, a, b, &next};
                struct end_of_model total = add_rows(&r, names[n]);
                assert_int_equal(total.top1_agree, 1);
                assert_int_equal(total.top1_correct, 1);
                b[second] = 3;
                total = add_rows(&r, names[n]);
                assert_int_equal(total.top1_agree, first == second);
            }
        float equal[VOCAB] = {0};
        int32_t zero = 0;
        for (int i = 0; i < VOCAB; i++)
            equal[i] = -FLT_MAX;
        struct rows r = {1, VOCAB, VOCAB, equal, equal, &zero};
        struct end_of_model total = add_rows(&r, names[n]);
        assert_int_equal(total.top1_correct, 1);
        assert_true(fabs(total.nll - log(VOCAB)) < 1e-14);
    }
}

// Far apart: probabilities underflow, nothing overflows.
static void test_huge_logits(void **state)
{
    (void)state;
    float a[3] = {3e38f, -3e38f, 0}, b[3] = {-3e38f, 3e38f, 1};
    int32_t next = 2;
    struct rows r = {1, 3, 3, a, b, &next};
    struct end_of_model total = add_rows(&r, "");
    assert_int_equal(total.tokens, 1);
    assert_true(total.nll == (double)3e38f - 1);
    assert_true(total.kl == 2 * (double)3e38f);
    assert_int_equal(total.kl_bins[PROFILE_ABOVE], 1);
    assert_true(isfinite(total.kl_squares));
}

// A bad value at any place, of either side, takes its prediction out and no other one.
static void test_nonfinite(void **state)
{
    (void)state;
    enum { VOCAB = 37, STRIDE = 48 };
    const float kinds[] = {NAN, INFINITY, -INFINITY};
    static const char *const names[] = {"avx512", "avx2", "scalar", "naive"};
    struct rows r = make_rows(5, 3, VOCAB, STRIDE, 4, 1);
    struct rows clean = r;
    clean.count = 1;
    for (int n = 0; n < 4; n++) {
        if (!kernels_find(names[n])) continue;
        struct end_of_model want = add_rows(&clean, names[n]);
        want.nonfinite = 2;
        for (int at = 0; at < VOCAB; at++) {
            float *bad[] = {&r.reference[STRIDE + at], &r.mode[2 * STRIDE + at]};
            const float held[] = {*bad[0], *bad[1]};
            *bad[0] = kinds[at % 3], *bad[1] = kinds[(at + 1) % 3];
            struct end_of_model got = add_rows(&r, names[n]);
            assert_memory_equal(&want, &got, sizeof got);
            *bad[0] = held[0], *bad[1] = held[1];
        }
    }
    free_rows(&r);
}

static int compare_floats(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

// Pieces of the vocabulary whose largest logits rise, so that each sum before must be brought down, fall, or
// do neither; huge ones as well.
static void test_pieces_of_vocabulary(void **state)
{
    (void)state;
    enum { VOCAB = 2 * PREDICTION_PIECE + 300 };
    static const float scales[] = {1e-3f, 9, 1e4f};
    for (int order = -1; order <= 1; order++)
        for (int s = 0; s < 3; s++) {
            struct rows r =
                make_rows((uint32_t)(40 + order + 3 * s), 5, VOCAB, VOCAB + 4, scales[s], 0.1f * scales[s]);
            for (int t = 0; t < r.count && order != 0; t++) {
                float *rows[] = {r.reference + t * r.stride, r.mode + t * r.stride};
                for (int k = 0; k < 2; k++) {
                    qsort(rows[k], VOCAB, sizeof(float), compare_floats);
                    for (int i = 0; i < VOCAB && order < 0; i++)
                        rows[k][i] = -rows[k][i];
                }
            }
            r.next[0] = 0, r.next[1] = PREDICTION_PIECE - 1, r.next[2] = PREDICTION_PIECE,
            r.next[3] = VOCAB - 1;
            check(&r);
            free_rows(&r);
        }
}

// The likeliest token, equals of it and bad values in whatever piece.
static void test_places_in_pieces(void **state)
{
    (void)state;
    enum { VOCAB = 2 * PREDICTION_PIECE + 1 };
    static const int places[] = {0, PREDICTION_PIECE - 1, PREDICTION_PIECE, 2 * PREDICTION_PIECE - 1,
                                 2 * PREDICTION_PIECE};
    struct rows r = make_rows(6, 1, VOCAB, VOCAB, 1, 0);
    for (int i = 0; i < 5; i++)
        for (int j = i; j < 5; j++) {
            float *const a[] = {&r.reference[places[i]], &r.mode[places[i]], &r.reference[places[j]],
                                &r.mode[places[j]]};
            float held[4];
            for (int k = 0; k < 4; k++)
                held[k] = *a[k], *a[k] = 2;
            r.next[0] = places[i];
            struct end_of_model total = add_rows(&r, "");
            assert_true(total.top1_correct == 1 && total.top1_agree == 1);
            *a[3] = 3;
            total = add_rows(&r, "");
            assert_int_equal(total.top1_correct, i == j);
            assert_int_equal(total.top1_agree, i == j);
            *a[j % 4] = NAN;
            total = add_rows(&r, "");
            assert_true(total.nonfinite == 1 && total.tokens == 0);
            for (int k = 3; k >= 0; k--) // two of them may be the same
                *a[k] = held[k];
        }
    free_rows(&r);
}

// In pieces as in one call; merged in order as written out.
static void test_pieces_and_merge(void **state)
{
    (void)state;
    struct rows r = make_rows(8, 10, 100, 112, 5, 1);
    struct end_of_model whole = add_rows(&r, ""), pieces, parts[2], merged;
    end_of_model_clear(&pieces), end_of_model_clear(&parts[0]), end_of_model_clear(&parts[1]);
    for (int first = 0; first < r.count; first += 4) {
        const int count = r.count - first < 4 ? r.count - first : 4;
        end_of_model_add(&pieces, r.reference + first * r.stride, r.mode + first * r.stride, r.next + first,
                         count, r.vocab, r.stride);
    }
    assert_memory_equal(&whole, &pieces, sizeof whole);
    r.mode[7 * r.stride] = NAN;
    for (int i = 0; i < 2; i++)
        end_of_model_add(&parts[i], r.reference + 5 * i * r.stride, r.mode + 5 * i * r.stride, r.next + 5 * i,
                         5, r.vocab, r.stride);
    end_of_model_clear(&merged);
    end_of_model_merge(&merged, &parts[0]), end_of_model_merge(&merged, &parts[1]);
    assert_int_equal(merged.tokens, 9);
    assert_int_equal(merged.nonfinite, 1);
    assert_int_equal(merged.top1_agree, parts[0].top1_agree + parts[1].top1_agree);
    assert_int_equal(merged.top1_correct, parts[0].top1_correct + parts[1].top1_correct);
    assert_true(merged.nll == parts[0].nll + parts[1].nll && merged.kl == parts[0].kl + parts[1].kl);
    assert_true(merged.kl_squares == parts[0].kl_squares + parts[1].kl_squares);
    assert_true(merged.kl_max == fmax(parts[0].kl_max, parts[1].kl_max) && merged.kl_max > 0);
    for (int i = 0; i < PROFILE_BINS; i++)
        assert_int_equal(merged.kl_bins[i], parts[0].kl_bins[i] + parts[1].kl_bins[i]);
    free_rows(&r);
}

// What is made of the reference's logits once, for all tokens: the bits of each by itself.
static void test_expected(void **state)
{
    (void)state;
    enum { COUNT = 19, FIRST = PREDICTION_PIECE, IDS = 301 };
    static double exps[COUNT * PREDICTION_PIECE];
    struct rows r = make_rows(77, COUNT, FIRST + IDS, FIRST + IDS + 3, 7, 2);
    struct logit_side sides[COUNT];
    struct prediction together[COUNT], alone[COUNT];
    memset(together, 0, sizeof together), memset(alone, 0, sizeof alone);
    r.reference[5 * r.stride + 600] = NAN, r.mode[6 * r.stride + 3] = INFINITY;
    for (int first = 0; first < r.vocab; first += FIRST) {
        const int ids = first ? IDS : FIRST;
        const struct expected expected = {r.reference + first, sides, exps};
        predictions_expect(&expected, 0, COUNT / 2, ids, r.stride);
        predictions_expect(&expected, COUNT / 2, COUNT, ids, r.stride);
        predictions_add_expected(together, &expected, r.mode + first, r.next, COUNT, first, ids, r.stride);
        for (int t = 0; t < COUNT; t++)
            predictions_add(alone + t, r.reference + t * r.stride + first, r.mode + t * r.stride + first,
                            r.next + t, 1, first, ids, r.stride);
    }
    struct end_of_model totals[2];
    end_of_model_clear(&totals[0]), end_of_model_clear(&totals[1]);
    end_of_model_take(&totals[0], together, r.next, COUNT);
    end_of_model_take(&totals[1], alone, r.next, COUNT);
    assert_int_equal(totals[0].nonfinite, 2);
    assert_memory_equal(&totals[0], &totals[1], sizeof totals[0]);
    free_rows(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_long_double),
        cmocka_unit_test(test_equal_rows),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_huge_logits),
        cmocka_unit_test(test_nonfinite),
        cmocka_unit_test(test_pieces_of_vocabulary),
        cmocka_unit_test(test_places_in_pieces),
        cmocka_unit_test(test_pieces_and_merge),
        cmocka_unit_test(test_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
