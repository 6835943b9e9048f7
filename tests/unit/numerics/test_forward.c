// SPDX-License-Identifier: Apache-2.0
// The forward pass on the demo model: streams that go side by side give what whole passes give; passes leave
// nothing behind for the next one; modes that must be equal are; dither changes little, but something, and
// always the same.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ssmsweep/numerics/calibrate.h"
#include "ssmsweep/numerics/forward.h"

enum { LENGTH = 37, MODES_AT_MOST = 32 };

static struct model model;
static struct weights *weights;
static void *memory;
static struct forward *forward;
static float *scales;
static int32_t ids[LENGTH];

static int open_all(void **state)
{
    (void)state;
    struct error err = {0};
    if (model_open(&model, SOURCE_DIR "/jobs/demo", &err)) return -1;
    const unsigned parts = WEIGHTS_FP32 | WEIGHTS_FP16 | WEIGHTS_W8A8 | WEIGHTS_LM_HEAD;
    memory = aligned_alloc(64, (weights_bytes(&model, parts) + 63) / 64 * 64);
    if (!memory || weights_open(&weights, &model, parts, memory, &err)) return -1;
    for (int task = 0; task < weights_tasks(weights); task++)
        if (weights_pack(weights, task, NULL, &err)) return -1;
    if (forward_open(&forward, weights, 64, 1, &err)) return -1;
    for (int t = 0; t < LENGTH; t++)
        ids[t] = (t * 7919 + 13) % model.dims.vocab_size;
    const size_t numbers = (size_t)model.dims.n_layer * SITE_COUNT;
    float *observed = calloc(2 * numbers, sizeof *observed);
    struct observers observers = {.percentile_alpha = 0.9995};
    assert_int_equal(observers_parse(&observers, NULL, &err), STATUS_OK);
    const struct observation observation = {.observers = &observers, .numbers = observed};
    const struct calibration_set set = {.observed = observed, .samples = 1};
    forward_observe(forward, &observation, ids, LENGTH, NULL);
    calibrate_scales(&observers, &set, model.dims.n_layer, observed + numbers);
    scales = malloc(numbers * sizeof *scales);
    memcpy(scales, observed + numbers, numbers * sizeof *scales);
    free(observed);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    free(scales);
    forward_close(forward);
    weights_close(weights);
    free(memory);
    model_close(&model);
    return 0;
}

// Everything that a pass gives, one after the other.
struct record {
    float *values;
    size_t count, room;
};

static bool keep(void *context, int layer, enum component component, const float *values, int length,
                 int width)
{
    (void)layer, (void)component;
    struct record *record = context;
    const size_t more = (size_t)length * (size_t)width;
    if (record->count + more > record->room) {
        record->room = 2 * (record->count + more);
        record->values = realloc(record->values, record->room * sizeof *record->values);
        assert_non_null(record->values);
    }
    memcpy(record->values + record->count, values, more * sizeof *values);
    record->count += more;
    return true;
}

static unsigned char want[1024];

static struct record run(const struct mode *mode)
{
    struct record record = {0};
    memset(want, (1 << COMPONENT_COUNT) - 1, sizeof want);
    const struct capture capture = {.want = want, .take = keep, .context = &record};
    assert_true(forward_run(forward, mode, scales, ids, LENGTH, &capture));
    return record;
}

static bool same(const struct record *a, const struct record *b)
{
    return a->count == b->count && memcmp(a->values, b->values, a->count * sizeof(float)) == 0;
}

// Pieces of the vocabulary, and tokens in two parts, give the same logits.
static void expect_pieces(const struct stream *stream, const float *whole, float *piece, size_t vocab)
{
    enum { IDS = 32, FIRST_TOKEN = 2 };
    const int left = model.dims.vocab_size, count = LENGTH - FIRST_TOKEN;
    float *normed = malloc(stream_floats(&model.dims, LENGTH) * sizeof *normed);
    stream_norm(forward, stream, FIRST_TOKEN, count, normed);
    for (int first = 0; first < left; first += IDS) {
        const int count_ids = left - first < IDS ? left - first : IDS, width = (count_ids + 15) / 16 * 16;
        head_logits(forward, stream->rotated, normed, count, first, count_ids, piece);
        for (int t = 0; t < count; t++)
            assert_memory_equal(piece + (size_t)(t * width),
                                whole + (size_t)(t + FIRST_TOKEN) * vocab + first,
                                (size_t)width * sizeof *piece);
    }
    free(normed);
}

static void test_streams(void **state)
{
    (void)state;
    struct record records[MODES_AT_MOST] = {0};
    struct stream streams[MODES_AT_MOST];
    const size_t floats = stream_floats(&model.dims, LENGTH);
    assert_true(mode_count() <= MODES_AT_MOST);
    for (int m = 0; m < mode_count(); m++) {
        streams[m] =
            (struct stream){.residual = malloc(floats * sizeof(float)), .h = malloc(floats * sizeof(float))};
        memset(streams[m].residual, 0xff, floats * sizeof(float)),
            memset(streams[m].h, 0xff, floats * sizeof(float));
        forward_start(forward, &streams[m], mode_at(m), ids, LENGTH);
    }
    memset(want, (1 << COMPONENT_COUNT) - 1, sizeof want);
    for (int layer = 0; layer < model.dims.n_layer; layer++)
        for (int m = 0; m < mode_count(); m++) {
            const struct capture capture = {.want = want, .take = keep, .context = &records[m]};
            assert_true(
                forward_step(forward, &streams[m], mode_at(m), scales, layer, LENGTH, &capture, NULL));
        }
    const size_t vocab = (size_t)(model.dims.vocab_size + 15) / 16 * 16;
    float *logits[2] = {malloc(LENGTH * vocab * sizeof(float)), malloc(LENGTH * vocab * sizeof(float))};
    for (int m = 0; m < mode_count(); m++) {
        struct record whole = run(mode_at(m));
        assert_true(same(&whole, &records[m]));
        forward_logits(forward, 0, LENGTH, logits[0]);
        expect_pieces(&streams[m], logits[0], logits[1], vocab);
        free(whole.values), free(records[m].values), free(streams[m].residual), free(streams[m].h);
    }
    free(logits[0]), free(logits[1]);
}

static void test_declared_equalities(void **state)
{
    (void)state;
    int declared = 0;
    for (int m = 0; m < mode_count(); m++) {
        if (!mode_at(m)->equals) continue;
        struct record a = run(mode_at(m)), b = run(mode_find(mode_at(m)->equals));
        assert_true(same(&a, &b));
        free(a.values), free(b.values);
        declared++;
    }
    assert_true(declared >= 2);
    struct record a = run(mode_find("0")), b = run(mode_find("2-1"));
    assert_false(same(&a, &b)); // another order of sums must show somewhere
    free(a.values), free(b.values);
}

static void test_dither(void **state)
{
    (void)state;
    const struct mode *mode = mode_find("2-1");
    struct record plain = run(mode);
    forward_set_dither(forward, 1);
    struct record one = run(mode), again = run(mode);
    forward_set_dither(forward, 2);
    struct record two = run(mode);
    forward_set_dither(forward, 0);
    struct record after = run(mode);
    assert_true(same(&one, &again));
    assert_true(same(&plain, &after));
    assert_false(same(&plain, &one));
    assert_false(same(&one, &two));
    // Layer 0 up to the scan input is untouched; y moves by no more than a unit of FP16.
    const size_t before = (size_t)LENGTH * (size_t)(model.dims.d_model + 3 * model.dims.d_inner);
    assert_memory_equal(plain.values, one.values, before * sizeof(float));
    size_t moved = 0;
    for (size_t i = before; i < before + (size_t)(LENGTH * model.dims.d_inner); i++) {
        assert_true(fabsf(plain.values[i] - one.values[i]) <= fabsf(plain.values[i]) * 0x1p-10f + 0x1p-24f);
        moved += plain.values[i] != one.values[i];
    }
    assert_true(moved > 0 && moved < (size_t)(LENGTH * model.dims.d_inner) / 100);
    free(plain.values), free(one.values), free(again.values), free(two.values), free(after.values);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_streams),
                                       cmocka_unit_test(test_declared_equalities),
                                       cmocka_unit_test(test_dither)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
