// SPDX-License-Identifier: Apache-2.0
// What the GPU measures against the processor's bits: sums of pairs of samples of many lengths side by side,
// with zeros of both signs, subnormals, infinities and NaN, and predictions; while the tensors are written
// over.  With the argument `bench` it tells times.  Without a GPU it is skipped.
#include <time.h>

#include "support.h"

enum { KINDS = 6, PAIRS = 6, ROUNDS = 6, MOST_TOKENS = 32 * 512 };

static int failures;
static long compared;

static void settle(void)
{
    struct error err = {0};
    if (backends[1]->settle(batches[1], &err) == STATUS_OK) return;
    printf("FAIL %s\n", err.text);
    exit(1);
}

// ---- pairs ----

// Kinds of support.h, zeros of both signs among numbers of one sign, and few places that are not finite.
static void fill(struct twin *twin, uint32_t seed, int kind, int width)
{
    float *v = twin->host;
    const long count = (long)(twin->bytes / sizeof *v);
    for (long i = 0; i < count; i++) {
        v[i] = number(&seed, kind < 4 ? kind : 0);
        if (kind == 4) v[i] = next(&seed) % 3 ? fabsf(v[i]) : next(&seed) % 2 ? -0.0f : 0.0f;
        if (kind == 4 && width % 3 == 0) v[i] = -v[i];
        if (kind == 5 && i % 40000 == 17) v[i] = next(&seed) % 2 ? NAN : -INFINITY;
    }
    twin_send(twin);
}

static void expect_same(const char *of, const struct measured *got, const struct measured *want,
                        bool profiled)
{
    compared++;
    if (memcmp(&got->moments, &want->moments, sizeof got->moments) == 0 &&
        (!profiled || memcmp(&got->profile, &want->profile, sizeof got->profile) == 0))
        return;
    if (failures++ < 30)
        printf("FAIL %s: moments %d, profile %d differ; counts %llu %llu, nonfinite %llu %llu\n", of,
               memcmp(&got->moments, &want->moments, sizeof got->moments) != 0,
               memcmp(&got->profile, &want->profile, sizeof got->profile) != 0,
               (unsigned long long)got->moments.count, (unsigned long long)want->moments.count,
               (unsigned long long)got->moments.ref.nonfinite,
               (unsigned long long)want->moments.ref.nonfinite);
}

static void compare_pairs(const int *lengths, int samples, const int *widths, int kind)
{
    struct twin tensors[2][PAIRS];
    struct pair pairs[PAIRS];
    int tokens = 0;
    for (int s = 0; s < samples; s++)
        tokens += lengths[s];
    const size_t found = (size_t)(PAIRS * samples);
    struct measured *got = calloc(ROUNDS * found, sizeof *got), *want = calloc(found, sizeof *want);
    if (!got || !want) exit(1);
    for (int p = 0; p < PAIRS; p++)
        for (int i = 0; i < 2; i++) {
            tensors[i][p] = twin_of((size_t)tokens * (size_t)widths[p] * sizeof(float));
            fill(&tensors[i][p], (uint32_t)(17 + 2 * p + i), i && kind == 5 ? 0 : kind, widths[p]);
        }
    if (samples > 1) backends[1]->divide(batches[1], lengths, samples);
    batches[1]->tokens = tokens;
    for (int round = 0; round < ROUNDS; round++) { // the third of moments alone, the fourth of zeros
        for (int p = 0; p < PAIRS; p++)
            pairs[p] = (struct pair){.ref = tensors[0][p].device,
                                     .mode = tensors[p == 1 ? 0 : 1][p].device,
                                     .width = widths[p],
                                     .profiled = round != 2 && p != 3,
                                     .stamp = 1};
        for (int p = 0; p < PAIRS && round == 3; p++)
            MUST(cudaMemsetAsync(tensors[1][p].device, 0, tensors[1][p].bytes, cudaStreamPerThread));
        if (round == 3) MUST(cudaStreamSynchronize(cudaStreamPerThread));
        backends[1]->measure(batches[1], pairs, PAIRS, got + (size_t)round * found);
        if (round == 2) backends[1]->collect(batches[1], 0); // what comes next is written over
    }
    backends[1]->collect(batches[1], 0);
    settle();
    for (int round = 0; round < ROUNDS; round++) {
        for (int p = 0; p < PAIRS; p++) {
            if (round == 3) memset(tensors[1][p].host, 0, tensors[1][p].bytes);
            long row = 0;
            for (int s = 0; s < samples; row += lengths[s++]) {
                const bool profiled = round != 2 && p != 3;
                struct pair one = {.ref = (float *)tensors[0][p].host + row * widths[p],
                                   .mode = (float *)tensors[p == 1 ? 0 : 1][p].host + row * widths[p],
                                   .width = widths[p],
                                   .profiled = profiled};
                char of[96];
                snprintf(of, sizeof of, "%d samples, kind %d, width %d, sample %d, round %d", samples, kind,
                         widths[p], s, round);
                batches[0]->tokens = lengths[s];
                backends[0]->measure(batches[0], &one, 1, &want[p * samples + s]);
                expect_same(of, &got[(size_t)round * found + (size_t)(p * samples + s)],
                            &want[p * samples + s], profiled);
            }
        }
    }
    for (int p = 0; p < PAIRS; p++)
        twin_free(&tensors[0][p]), twin_free(&tensors[1][p]);
    free(got), free(want);
}

static void test_pairs(void)
{
    static const int lengths[] = {37, 1, 130, 5, 64, 257, 2}, one[] = {300},
                     widths[] = {768, 1536, 80, 38, 6, 1};
    for (int kind = 0; kind < KINDS; kind++) {
        compare_pairs(lengths, 7, widths, kind);
        compare_pairs(one, 1, widths, kind);
    }
}

// ---- predictions ----

static bool same_prediction(const struct prediction *a, const struct prediction *b)
{
    if (a->sums.finite != b->sums.finite) return false;
    if (!a->sums.finite) return true;
    return memcmp(a->sums.top, b->sums.top, sizeof a->sums.top) == 0 && a->sums.most[0] == b->sums.most[0] &&
           a->sums.most[1] == b->sums.most[1] && memcmp(a->sums.sum, b->sums.sum, sizeof a->sums.sum) == 0 &&
           memcmp(&a->sums.product, &b->sums.product, sizeof a->sums.product) == 0 &&
           memcmp(&a->next_logit, &b->next_logit, sizeof a->next_logit) == 0;
}

static void compare_predictions(int rows, int ids, int kind)
{
    const long stride = (ids + 15) / 16 * 16;
    struct twin reference = twin_floats(5, rows, stride, ids, kind, 12),
                mode = twin_floats(6, rows, stride, ids, kind, 11);
    struct prediction *got = calloc((size_t)rows, sizeof *got), *want = calloc((size_t)rows, sizeof *want);
    int32_t *next_ids = malloc((size_t)rows * sizeof *next_ids);
    uint32_t seed = 99;
    int differ = 0;
    if (!got || !want || !next_ids) exit(1);
    for (int t = 0; t < rows; t++)
        next_ids[t] = (int32_t)(next(&seed) % (uint32_t)ids);
    for (int half = 0; half < 2; half++) {
        const int first = half ? rows / 2 : 0, count = half ? rows - rows / 2 : rows / 2;
        backends[1]->predict(batches[1], got + first, (float *)reference.device + first * stride,
                             (float *)mode.device + first * stride, next_ids + first, count, 0, ids,
                             (int)stride);
    }
    backends[1]->collect(batches[1], 0);
    settle();
    for (int first = 0; first < ids; first += PREDICTION_PIECE)
        backends[0]->predict(batches[0], want, (float *)reference.host + first, (float *)mode.host + first,
                             next_ids, rows, first,
                             ids - first < PREDICTION_PIECE ? ids - first : PREDICTION_PIECE, (int)stride);
    for (int t = 0; t < rows; t++)
        differ += !same_prediction(&got[t], &want[t]);
    compared += rows;
    if (differ) printf("FAIL predictions of %d ids, kind %d: %d of %d differ\n", ids, kind, differ, rows);
    failures += differ;
    twin_free(&reference), twin_free(&mode);
    free(got), free(want), free(next_ids);
}

// ---- times ----

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

// A layer of mamba-130m, 32 samples of 512 tokens.
static void bench_pairs(int samples, long stamp)
{
    enum { TIMES = 12 };
    static const int widths[PAIRS] = {768, 1536, 1536, 1536, 1536, 768};
    int lengths[64], tokens = 512 * samples;
    struct twin tensors[2][PAIRS];
    struct pair pairs[PAIRS];
    double pairs_each = 0;
    struct measured *found = calloc((size_t)(TIMES * PAIRS * samples), sizeof *found);
    for (int s = 0; s < samples; s++)
        lengths[s] = 512;
    for (int p = 0; p < PAIRS; p++) {
        pairs_each += (double)tokens * widths[p];
        for (int i = 0; i < 2; i++)
            tensors[i][p] = twin_floats((uint32_t)(3 + 2 * p + i), tokens, widths[p], widths[p], 0, 1);
        pairs[p] = (struct pair){.ref = tensors[0][p].device,
                                 .mode = tensors[1][p].device,
                                 .width = widths[p],
                                 .profiled = true,
                                 .stamp = stamp};
    }
    if (!found) exit(1);
    backends[1]->divide(batches[1], lengths, samples);
    batches[1]->tokens = tokens;
    for (int warm = 0; warm < 2; warm++) {
        const double begin = now_ms();
        for (int i = 0; i < TIMES; i++)
            backends[1]->measure(batches[1], pairs, PAIRS, found + i * PAIRS * samples);
        const double begun = now_ms();
        backends[1]->collect(batches[1], 0);
        settle();
        printf("%d samples, a layer%s: %.3f ms, begun in %.3f, %.5f ns a pair\n", samples,
               stamp ? ", known" : "", (now_ms() - begin) / TIMES, (begun - begin) / TIMES,
               (now_ms() - begin) * 1e6 / TIMES / pairs_each);
    }
    for (int p = 0; p < PAIRS; p++)
        twin_free(&tensors[0][p]), twin_free(&tensors[1][p]);
    free(found);
}

static void bench_predictions(void)
{
    enum { ROWS = 512, IDS = 50280, TIMES = 16 };
    struct twin logits[2] = {twin_floats(1, ROWS, IDS, IDS, 0, 9), twin_floats(2, ROWS, IDS, IDS, 0, 9)};
    static struct prediction made[TIMES * ROWS];
    static int32_t next_ids[ROWS];
    for (int warm = 0; warm < 2; warm++) {
        const double begin = now_ms();
        for (int i = 0; i < TIMES; i++)
            backends[1]->predict(batches[1], made + i * ROWS, logits[0].device, logits[1].device, next_ids,
                                 ROWS, 0, IDS, IDS);
        backends[1]->collect(batches[1], 0);
        settle();
        printf("512 predictions of 50280: %.3f ms\n", (now_ms() - begin) / TIMES);
    }
    twin_free(&logits[0]), twin_free(&logits[1]);
}

int main(int argc, char **argv)
{
    (void)argv;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!backend_cuda() || cuda_devices() == 0) {
        printf("SKIP: %s\n", backend_cuda() ? "no GPU on this machine" : "built without CUDA");
        return 77;
    }
    open_batches(&(struct batch_shape){.max_tokens = MOST_TOKENS, .threads = 8, .d_state = 16});
    if (argc > 1) {
        bench_pairs(32, 0);
        bench_pairs(32, 1);
        bench_pairs(8, 1);
        bench_predictions();
    } else {
        for (int kind = 0; kind < 4; kind++) {
            compare_predictions(9, 50280, kind);
            compare_predictions(70, 777, kind);
            compare_predictions(3, 5, kind);
        }
        test_pairs();
    }
    for (int i = 0; i < 2; i++) {
        backends[i]->close(batches[i]);
        backends[i]->release(&arenas[i]);
    }
    printf("%ld compared, %d failures\n", compared, failures);
    return failures ? 1 : 0;
}
