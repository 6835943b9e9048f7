// SPDX-License-Identifier: Apache-2.0
// Moments and profiles in one sweep: every instruction set against the plain twin, bit for bit, and the
// results against sums in long double.
#include <math.h>

#include "../support.h"

#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/compute/measure.h"

static const char *const isas[] = {"avx512", "avx2", "scalar"};
enum { ISAS = 3, MOST = 3 * PAIR_BLOCK + 77 };

enum kind { KIND_PLAIN, KIND_FAR_MEAN, KIND_WILD, KIND_EQUAL, KIND_ZEROS, KIND_HUGE, KINDS };

static double uniform(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(*seed >> 11) * 0x1p-52 - 1;
}

static void fill(float *ref, float *mode, int count, enum kind kind)
{
    uint64_t seed = 41 + (uint64_t)kind;
    for (int i = 0; i < count; i++) {
        const double u = uniform(&seed), e = uniform(&seed);
        const int octave = i % 90 - 60;
        switch (kind) {
        case KIND_PLAIN:
        case KINDS:
            ref[i] = (float)u, mode[i] = ref[i] + 0.01f * (float)e;
            break;
        case KIND_FAR_MEAN:
            ref[i] = (float)(1e4 + u), mode[i] = (float)(-3e4 + u + 0.1 * e);
            break;
        case KIND_WILD:
            ref[i] = (float)ldexp(u, octave), mode[i] = ref[i] + (float)ldexp(e, octave - 9);
            break;
        case KIND_EQUAL:
            ref[i] = mode[i] = (float)u;
            break;
        case KIND_ZEROS:
            ref[i] = i % 3 ? 0.0f : -0.0f, mode[i] = i % 5 ? -0.0f : 0.0f;
            break;
        case KIND_HUGE:
            ref[i] = (float)(3.4e38 * u), mode[i] = i % 7 ? -ref[i] : 1e-45f;
            break;
        }
    }
}

// ---- kernels ----

static void sum_bins(uint16_t (*histograms)[PAIR_BINS], int most, uint64_t bins[PROFILE_BINS])
{
    memset(bins, 0, PROFILE_BINS * sizeof *bins);
    for (int j = 0; j < PAIR_STEP; j++) {
        int all = 0;
        for (int i = 0; i < PROFILE_BINS; i++) {
            bins[i] += histograms[j][i];
            all += histograms[j][i];
        }
        assert_true(all <= most);
    }
}

static void check_kernels(const struct kernels *k, const float *ref, const float *mode, int count)
{
    static uint16_t histograms[2][PAIR_STEP][PAIR_BINS];
    struct pair_ranges ranges[2];
    struct pair_lanes lanes[2];
    uint64_t bins[2][PROFILE_BINS];
    memset(histograms, 0, sizeof histograms);
    memset(lanes, 0xff, sizeof lanes);
    const struct pair_centre centre = {{0x1.8p20, -0x1.8p19}, 0.25, -3.0, (double)mode[0] - (double)ref[0]};
    const struct kernels *both[] = {&kernels_naive, k};
    for (int i = 0; i < 2; i++) {
        both[i]->pair_ranges(ref, count, &ranges[i]);
        both[i]->pair_sums(ref, mode, count, &centre, &lanes[i], histograms[i]);
        sum_bins(histograms[i], (count + PAIR_STEP - 1) / PAIR_STEP, bins[i]);
    }
    assert_memory_equal(&ranges[0], &ranges[1], sizeof ranges[0]);
    assert_memory_equal(&lanes[0], &lanes[1], sizeof lanes[0]);
    assert_memory_equal(bins[0], bins[1], sizeof bins[0]);
    // Where a is known: its lanes mean nothing.
    struct pair_lanes known;
    memset(histograms, 0, sizeof histograms);
    k->pair_sums_known(ref, mode, count, &centre, &known, histograms[1]);
    sum_bins(histograms[1], (count + PAIR_STEP - 1) / PAIR_STEP, bins[1]);
    memcpy(known.high[0], lanes[0].high[0], sizeof known.high[0]);
    memcpy(known.low[0], lanes[0].low[0], sizeof known.low[0]);
    memcpy(known.abs[0], lanes[0].abs[0], sizeof known.abs[0]);
    memcpy(known.squares[0], lanes[0].squares[0], sizeof known.squares[0]);
    assert_memory_equal(&lanes[0], &known, sizeof known);
    assert_memory_equal(bins[0], bins[1], sizeof bins[0]);
}

static void test_kernels(void **state)
{
    (void)state;
    static float ref[PAIR_BLOCK + 3], mode[PAIR_BLOCK + 3];
    for (int v = 0; v < ISAS; v++) {
        const struct kernels *k = kernels_find(isas[v]);
        print_message("%s: %s\n", isas[v], k ? "tested" : "not on this machine");
        for (int kind = 0; k && kind < (int)KINDS; kind++) {
            fill(ref, mode, PAIR_BLOCK + 3, (enum kind)kind);
            for (int count = 1; count < 131; count++)
                check_kernels(k, ref + count % 4, mode + count % 3, count); // at any alignment
            check_kernels(k, ref + 3, mode + 3, PAIR_BLOCK);
            check_kernels(k, ref + 1, mode + 2, PAIR_BLOCK - 13);
        }
    }
}

// Of NaN and infinities the extremes and the bins are told; the sums are spoiled.
static void test_kernels_nonfinite(void **state)
{
    (void)state;
    enum { COUNT = 101 };
    static float ref[COUNT], mode[COUNT];
    fill(ref, mode, COUNT, KIND_PLAIN);
    ref[3] = NAN, mode[40] = -INFINITY, ref[99] = mode[99] = INFINITY, mode[100] = NAN;
    const struct pair_centre centre = {{0x1.8p20, 0x1.8p20}, 0, 0, 0};
    for (int v = 0; v < ISAS; v++) {
        static uint16_t histograms[2][PAIR_STEP][PAIR_BINS];
        const struct kernels *both[] = {&kernels_naive, kernels_find(isas[v])};
        struct pair_ranges ranges[2];
        struct pair_lanes lanes;
        uint64_t bins[2][PROFILE_BINS];
        if (!both[1]) continue;
        memset(histograms, 0, sizeof histograms);
        for (int i = 0; i < 2; i++) {
            both[i]->pair_ranges(mode, COUNT, &ranges[i]);
            both[i]->pair_sums(ref, mode, COUNT, &centre, &lanes, histograms[i]);
            sum_bins(histograms[i], 4, bins[i]);
            if (isfinite(lanes.abs[0][3])) fail_msg("NaN left no trace");
        }
        assert_memory_equal(&ranges[0], &ranges[1], sizeof ranges[0]);
        assert_memory_equal(bins[0], bins[1], sizeof bins[0]);
        assert_int_equal(bins[1][PROFILE_ABOVE], 4);
    }
}

// ---- samples ----

struct sums {
    struct accumulator moments;
    struct profile profile;
};

static struct sums sums_of(const char *isa, const float *ref, const float *mode, int length, int width)
{
    struct sums s;
    accumulator_clear(&s.moments);
    profile_clear(&s.profile);
    assert_int_equal(setenv("SSMSWEEP_ISA", isa, 1), 0);
    pairs_add_sample(&s.moments, &s.profile, ref, mode, (size_t)length, width);
    assert_int_equal(unsetenv("SSMSWEEP_ISA"), 0);
    return s;
}

static void near(double got, long double want, const char *what)
{
    if (!(fabsl((long double)got - want) <= 1e-12L * fabsl(want)))
        fail_msg("%s: expected %.20Lg, got %.17g", what, want, got);
}

// By definition, two passes over everything.
static void check_profile(const struct profile *p, const float *ref, const float *mode, int length, int width)
{
    uint64_t bins[PROFILE_BINS] = {0}, count[PROFILE_POSITIONS] = {0};
    long double squares[PROFILE_POSITIONS] = {0}, abs[PROFILE_POSITIONS] = {0};
    for (int i = 0; i < length * width; i++) {
        const double d = fabs((double)mode[i] - (double)ref[i]);
        const int bucket = profile_position(i / width);
        count[bucket]++;
        if (isnan(d)) continue;
        bins[profile_bin(d)]++;
        squares[bucket] += (long double)d * (long double)d;
        abs[bucket] += (long double)d;
    }
    assert_memory_equal(p->bins, bins, sizeof bins);
    assert_memory_equal(p->position_count, count, sizeof count);
    for (int i = 0; i < PROFILE_POSITIONS; i++)
        if (isinf(abs[i])) {
            assert_true(isinf(p->position_squares[i]) && isinf(p->position_abs[i]));
        } else {
            near(p->position_squares[i], squares[i], "position squares");
            near(p->position_abs[i], abs[i], "position abs");
        }
}

static void check_moments(const struct accumulator *m, const float *ref, const float *mode, int count)
{
    long double a = 0, b = 0, aa = 0, bb = 0, ab = 0, dd = 0, aa_abs = 0, d_abs = 0;
    double low = INFINITY, high = -INFINITY;
    float max = -INFINITY;
    for (int i = 0; i < count; i++) {
        const double d = (double)mode[i] - (double)ref[i];
        a += (long double)ref[i], b += (long double)mode[i];
        aa_abs += fabsl((long double)ref[i]), d_abs += fabsl((long double)d);
        low = fmin(low, d), high = fmax(high, d), max = fmaxf(max, ref[i]);
    }
    for (int i = 0; i < count; i++) {
        const long double x = (long double)ref[i] - a / count, y = (long double)mode[i] - b / count;
        const long double d = ((long double)mode[i] - (long double)ref[i]) - (b - a) / count;
        aa += x * x, bb += y * y, ab += x * y, dd += d * d;
    }
    assert_int_equal(m->count, count);
    assert_true(fabsl((long double)m->ref.sum.hi + m->ref.sum.lo - a) <= 1e-15L * aa_abs);
    near(m->ref.abs_sum.hi, aa_abs, "abs");
    near(m->abs_diff.hi, d_abs, "abs diff");
    near(m->ref.squares.hi, aa, "ref squares");
    near(m->mode.squares.hi, bb, "mode squares");
    assert_true(fabsl(m->products.hi - ab) <= 1e-13L * sqrtl(aa * bb));
    near(m->diff_squares.hi, dd, "diff squares");
    assert_true(m->diff_min == low && m->diff_max == high && m->ref.max == max);
}

static const struct {
    int length, width;
} shapes[] = {{1, 1},    {1, 7},    {3, 1},    {5, 3},    {97, 1},         {64, 16},
              {33, 129}, {200, 48}, {41, 399}, {70, 351}, {PAIR_BLOCK, 1}, {9, PAIR_BLOCK / 3}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void test_samples(void **state)
{
    (void)state;
    static float ref[MOST], mode[MOST];
    for (int kind = 0; kind < (int)KINDS; kind++) {
        fill(ref, mode, MOST, (enum kind)kind);
        for (int s = 0; s < SHAPES; s++) {
            const int length = shapes[s].length, width = shapes[s].width;
            assert_true(length * width <= MOST);
            const struct sums want = sums_of("naive", ref, mode, length, width);
            check_moments(&want.moments, ref, mode, length * width);
            check_profile(&want.profile, ref, mode, length, width);
            for (int v = 0; v < ISAS; v++) {
                if (!kernels_find(isas[v])) continue;
                const struct sums got = sums_of(isas[v], ref, mode, length, width);
                assert_memory_equal(&got.moments, &want.moments, sizeof got.moments);
                assert_memory_equal(&got.profile, &want.profile, sizeof got.profile);
            }
        }
    }
}

struct made {
    const float *mode;
    int width, next;
};

// Rows in their order, with those of the block in front again where several parts are found.
static void make_rows(void *context, int row0, int row1, float *to)
{
    struct made *m = context;
    assert_true(row0 <= m->next && row1 > row0);
    memcpy(to, m->mode + row0 * m->width, (size_t)((row1 - row0) * m->width) * sizeof *to);
    m->next = row1;
}

static void check_made(const float *ref, const float *mode, int length, int width)
{
    static float room[MOST];
    static struct pair_known known[MOST / PAIR_BLOCK + 1];
    struct made made = {mode, width, 0};
    const struct pair_rows rows = {make_rows, &made, room};
    const struct pair_sample first = {.ref = ref, .mode = ref, .keep = known},
                             second = {.ref = ref, .rows = &rows, .known = known};
    const struct sums alike = sums_of("", ref, ref, length, width),
                      want = sums_of("", ref, mode, length, width);
    struct sums got[2];
    for (int i = 0; i < 2; i++) {
        accumulator_clear(&got[i].moments), profile_clear(&got[i].profile);
        pairs_add(&got[i].moments, &got[i].profile, i ? &second : &first, (size_t)length, width);
    }
    assert_memory_equal(&got[0].moments, &alike.moments, sizeof alike.moments);
    assert_memory_equal(&got[1].moments, &want.moments, sizeof want.moments);
    assert_memory_equal(&got[1].profile, &want.profile, sizeof want.profile);
    assert_int_equal(made.next, length);
    // Two parts of it.
    struct pair_part parts[MOST / PAIR_BLOCK + 1];
    uint64_t bins[2][PROFILE_BINS];
    const size_t blocks = pairs_blocks((size_t)length, width), half = blocks / 2;
    pairs_find(&second, true, (size_t)length, width, half, blocks, parts + half, bins[1]);
    pairs_find(&second, true, (size_t)length, width, 0, half, parts, bins[0]);
    accumulator_clear(&got[0].moments), profile_clear(&got[0].profile);
    pairs_take(&got[0].moments, &got[0].profile, parts, blocks);
    for (int i = 0; i < PROFILE_BINS; i++)
        got[0].profile.bins[i] = bins[0][i] + bins[1][i];
    assert_memory_equal(&got[0].moments, &want.moments, sizeof want.moments);
    assert_memory_equal(&got[0].profile, &want.profile, sizeof want.profile);
}

// Rows that are made as they are needed, and a reference of which the sums are known: the same bits, also
// where a block of either is not finite.
static void test_made_and_known(void **state)
{
    (void)state;
    static float ref[MOST], mode[MOST];
    for (int spoiled = 0; spoiled < 4; spoiled++)
        for (int s = 0; s < SHAPES; s++) {
            const int count = shapes[s].length * shapes[s].width;
            fill(ref, mode, MOST, KIND_PLAIN);
            if (spoiled & 1) mode[count / 2] = NAN;
            if (spoiled & 2) ref[count / 3] = INFINITY;
            check_made(ref, mode, shapes[s].length, shapes[s].width);
        }
}

// One at a time, or with another width: the same bits.
static void test_parts(void **state)
{
    (void)state;
    static float ref[MOST], mode[MOST];
    fill(ref, mode, MOST, KIND_PLAIN);
    const int width = 351, length = MOST / width;
    const struct sums both = sums_of("", ref, mode, length, width);
    struct accumulator moments;
    struct profile profile;
    accumulator_clear(&moments), profile_clear(&profile);
    accumulator_add_sample(&moments, ref, mode, (size_t)(length * width));
    profile_add_sample(&profile, ref, mode, length, width);
    assert_memory_equal(&both.moments, &moments, sizeof moments);
    assert_memory_equal(&both.profile, &profile, sizeof profile);
    pairs_add_sample(NULL, NULL, ref, mode, 5, 7);
    pairs_add_sample(&moments, &profile, NULL, NULL, 0, 7);
    assert_memory_equal(&both.moments, &moments, sizeof moments);
    assert_memory_equal(&both.profile, &profile, sizeof profile);
}

// A bad value anywhere is counted, its pair leaves the extremes of d, and the other side keeps its bits.
static void test_nonfinite(void **state)
{
    (void)state;
    enum { WIDTH = 96, LENGTH = 200, COUNT = WIDTH * LENGTH };
    static float ref[COUNT], mode[COUNT];
    static const int places[] = {0, 1, 7, 31, 32, 95, 96, 8191, 8192, 8193, 16384, COUNT - 1};
    const float kinds[] = {NAN, INFINITY, -INFINITY, -NAN};
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
        fill(ref, mode, COUNT, KIND_PLAIN);
        const struct sums clean = sums_of("", ref, mode, LENGTH, WIDTH);
        const int other = (places[p] + 5000) % COUNT;
        mode[places[p]] = kinds[p % 4], mode[other] = kinds[(p + 1) % 4];
        const struct sums want = sums_of("naive", ref, mode, LENGTH, WIDTH);
        assert_int_equal(want.moments.mode.nonfinite, 2);
        assert_int_equal(want.moments.ref.nonfinite, 0);
        assert_memory_equal(&want.moments.ref, &clean.moments.ref, sizeof clean.moments.ref);
        assert_true(want.moments.diff_max < 0.02 && want.moments.diff_min > -0.02);
        check_profile(&want.profile, ref, mode, LENGTH, WIDTH);
        for (int v = 0; v < ISAS; v++) {
            if (!kernels_find(isas[v])) continue;
            const struct sums got = sums_of(isas[v], ref, mode, LENGTH, WIDTH);
            assert_memory_equal(&got.moments, &want.moments, sizeof got.moments);
            assert_memory_equal(&got.profile, &want.profile, sizeof got.profile);
        }
    }
    for (int i = 0; i < COUNT; i++)
        mode[i] = i % 2 ? INFINITY : NAN;
    const struct sums none = sums_of("", ref, mode, LENGTH, WIDTH);
    assert_int_equal(none.moments.mode.nonfinite, COUNT);
    assert_true(none.moments.diff_min == INFINITY && none.moments.diff_max == -INFINITY);
    check_profile(&none.profile, ref, mode, LENGTH, WIDTH);
}

// Where one value of a sample is far from all others, wherever it lies, the rest keeps its digits; a sample
// of constant differences has no spread at all.
static void test_outliers(void **state)
{
    (void)state;
    static float ref[MOST], mode[MOST];
    static const int places[] = {0, 5, PAIR_BLOCK - 1, PAIR_BLOCK, 2 * PAIR_BLOCK + 100};
    for (size_t p = 0; p < sizeof places / sizeof places[0]; p++) {
        fill(ref, mode, MOST, KIND_PLAIN);
        ref[places[p]] = 3e5f, mode[places[p]] = -2e4f;
        const struct sums s = sums_of("", ref, mode, MOST, 1);
        check_moments(&s.moments, ref, mode, MOST);
    }
    for (int i = 0; i < MOST; i++)
        ref[i] = (float)(i % 1000), mode[i] = ref[i] + 0.5f;
    const struct sums s = sums_of("", ref, mode, MOST, 1);
    assert_true(s.moments.diff_squares.hi == 0 && s.moments.diff_min == 0.5 && s.moments.diff_max == 0.5);
}

// So many pairs of one bin that a histogram of 16 bits must have been emptied in between.
static void test_many(void **state)
{
    (void)state;
    enum { COUNT = 5 << 20 };
    float *ref = calloc(COUNT, sizeof *ref), *mode = calloc(COUNT, sizeof *mode);
    assert_true(ref && mode);
    for (int i = 0; i < COUNT; i++)
        mode[i] = 1.25f;
    const struct sums s = sums_of("", ref, mode, 5, 1 << 20);
    assert_int_equal(s.profile.bins[profile_bin(1.25)], COUNT);
    assert_true(s.moments.abs_diff.hi == 1.25 * COUNT && s.moments.mode.sum.hi == 1.25 * COUNT);
    assert_true(s.profile.position_abs[3] == 1.25 * (1 << 20) && s.profile.position_count[2] == 2 << 20);
    free(ref), free(mode);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels),   cmocka_unit_test(test_kernels_nonfinite),
        cmocka_unit_test(test_samples),   cmocka_unit_test(test_parts),
        cmocka_unit_test(test_nonfinite), cmocka_unit_test(test_outliers),
        cmocka_unit_test(test_many),      cmocka_unit_test(test_made_and_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
