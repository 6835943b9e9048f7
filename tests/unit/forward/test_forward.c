// SPDX-License-Identifier: Apache-2.0
// The forward pass on the demo model, and on a checkpoint with codes as embedding and lm_head: streams that
// go side by side give what whole passes give; passes leave nothing behind for the next one; modes that must
// be equal are; dither changes little, but something, and always the same; what is not finite stays so.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/recipe/mode.h"

enum { LENGTH = 37, MODES_AT_MOST = 32 };

static const char demo[] = SOURCE_DIR "/jobs/demo", published[] = SOURCE_DIR "/tests/data/quamba2-w8a8";
static const char *folder = demo;
static struct model model;
static struct weights *weights;
static void *memory;
static struct forward *forward;
static float *scales;
static int32_t ids[LENGTH];

// Modes that are in a set, in front of the others: they take the weights of mode 2-1.
static int listed(void)
{
    int n = 0;
    while (n < mode_count() && mode_at(n)->sets != 0)
        n++;
    return n;
}

static struct recipe recipes[MODES_AT_MOST]; // of the modes

static const struct recipe *recipe_of(const struct mode *mode)
{
    int m = 0;
    while (mode_at(m) != mode)
        m++;
    return &recipes[m];
}

static bool large_D; // of layer 0, so that the scan's output is beyond FP16

static void enlarge_D(void)
{
    static float values[4096];
    static struct tensor tensor;
    for (int i = 0; i < model.dims.d_inner; i++)
        values[i] = 1e6f;
    tensor = *model.tensors[TENSOR_D_SKIP];
    tensor.dtype = DTYPE_F32;
    tensor.data = (const unsigned char *)values;
    model.tensors[TENSOR_D_SKIP] = &tensor;
}

static int open_all(void **state)
{
    (void)state;
    struct error err = {0};
    if (model_open(&model, folder, &err)) return -1;
    if (large_D) enlarge_D();
    assert_true(listed() <= MODES_AT_MOST);
    for (int m = 0; m < listed(); m++)
        if (recipe_make(&recipes[m], mode_at(m), &model.dims.arch->units, model.dims.n_layer, &err))
            return -1;
    const unsigned parts = WEIGHTS_FP32 | WEIGHTS_FP16 | WEIGHTS_BY_UNIT | WEIGHTS_LM_HEAD;
    memory = aligned_alloc(64, (weights_bytes(&model, parts, NULL) + 63) / 64 * 64);
    if (!memory || weights_open(&weights, &model, parts, NULL, memory, &err)) return -1;
    for (int task = 0; task < weights_tasks(weights); task++)
        if (weights_pack(weights, task, NULL, &err)) return -1;
    if (forward_open(&forward, weights, 64, 1, &err)) return -1;
    for (int t = 0; t < LENGTH; t++)
        ids[t] = (t * 7919 + 13) % model.dims.vocab_size;
    const size_t numbers = (size_t)model.dims.n_layer * MAMBA1_SITES;
    float *observed = calloc(2 * numbers, sizeof *observed);
    struct observers observers = {.percentile_alpha = 0.9995};
    assert_int_equal(observers_parse(&observers, &arch_mamba1, NULL, &err), STATUS_OK);
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
    for (int m = 0; m < listed(); m++)
        recipe_clear(&recipes[m]);
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

static bool keep(void *context, int layer, int component, const float *values, int length, int width)
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

static uint32_t want[1024];

static struct record run(const struct mode *mode)
{
    struct record record = {0};
    memset(want, 0xff, sizeof want);
    const struct capture capture = {.want = want, .take = keep, .context = &record};
    assert_true(forward_run(forward, recipe_of(mode), scales, ids, LENGTH, &capture));
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
    assert_true(listed() <= MODES_AT_MOST);
    for (int m = 0; m < listed(); m++) {
        streams[m] =
            (struct stream){.residual = malloc(floats * sizeof(float)), .h = malloc(floats * sizeof(float))};
        memset(streams[m].residual, 0xff, floats * sizeof(float)),
            memset(streams[m].h, 0xff, floats * sizeof(float));
        forward_start(forward, &streams[m], &recipes[m], ids, LENGTH);
    }
    memset(want, 0xff, sizeof want);
    for (int layer = 0; layer < model.dims.n_layer; layer++)
        for (int m = 0; m < listed(); m++) {
            const struct capture capture = {.want = want, .take = keep, .context = &records[m]};
            assert_true(
                forward_step(forward, &streams[m], &recipes[m], scales, layer, LENGTH, &capture, NULL));
        }
    const size_t vocab = (size_t)(model.dims.vocab_size + 15) / 16 * 16;
    float *logits[2] = {malloc(LENGTH * vocab * sizeof(float)), malloc(LENGTH * vocab * sizeof(float))};
    for (int m = 0; m < listed(); m++) {
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
    for (int m = 0; m < listed(); m++) {
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

// ---- what is not finite ----

enum { BROKEN = 11, LAYERS = 3 }; // the first token that is not finite

// Every component of the first layers.
struct kept {
    float *values[LAYERS][MAMBA1_COMPONENTS];
};

static bool keep_component(void *context, int layer, int component, const float *values, int length,
                           int width)
{
    struct kept *kept = context;
    const size_t bytes = (size_t)length * (size_t)width * sizeof *values;
    kept->values[layer][component] = malloc(bytes);
    assert_non_null(kept->values[layer][component]);
    memcpy(kept->values[layer][component], values, bytes);
    return true;
}

// The first layers, with `spoil` in one number of the embedding of token BROKEN unless it is 0.
static struct kept run_spoiled(const struct mode *mode, float spoil)
{
    const size_t floats = stream_floats(&model.dims, LENGTH);
    struct kept kept;
    struct stream stream = {.residual = malloc(floats * sizeof(float)), .h = malloc(floats * sizeof(float))};
    const struct capture capture = {.want = want, .take = keep_component, .context = &kept};
    memset(want, 0xff, sizeof want);
    forward_start(forward, &stream, recipe_of(mode), ids, LENGTH);
    if (spoil != 0) stream.h[floats / LENGTH * BROKEN + 3] = spoil;
    for (int layer = 0; layer < LAYERS; layer++)
        assert_true(forward_step(forward, &stream, recipe_of(mode), scales, layer, LENGTH, &capture, NULL));
    free(stream.residual), free(stream.h);
    return kept;
}

static void free_kept(struct kept *kept)
{
    for (int l = 0; l < LAYERS; l++)
        for (int c = 0; c < MAMBA1_COMPONENTS; c++)
            free(kept->values[l][c]);
}

static int count_finite(const float *row, int width)
{
    int finite = 0;
    for (int i = 0; i < width; i++)
        finite += isfinite(row[i]) != 0;
    return finite;
}

// Tokens before `first` are as they were, from it on there is none with a finite number.
static void assert_broken(const struct kept *kept, const struct kept *whole, int layer, int component,
                          int first)
{
    const int width = arch_width(&model.dims, component);
    const float *values = kept->values[layer][component];
    assert_memory_equal(values, whole->values[layer][component],
                        (size_t)first * (size_t)width * sizeof *values);
    for (int t = first; t < LENGTH; t++)
        assert_int_equal(count_finite(values + (size_t)t * (size_t)width, width), 0);
}

// A number of the stream that is none: every component of the token and of all that come later, in every
// layer; of a mode that scales by the whole sample, every token.  A float mode has it in what comes out.
static void assert_stream_breaks(const struct mode *mode, float spoil)
{
    struct kept whole = run_spoiled(mode, 0), kept = run_spoiled(mode, spoil);
    const bool whole_sample = recipe_of(mode)->layers[0].of[UNIT_CONV1D_INPUT] == FORMAT_DYNAMIC;
    for (int l = 0; l < LAYERS; l++) {
        assert_broken(&kept, &whole, l, COMPONENT_MIXER_OUTPUT, whole_sample ? 0 : BROKEN);
        for (int c = 0; c < MAMBA1_COMPONENTS && !mode_is_float(mode); c++)
            assert_broken(&kept, &whole, l, c,
                          whole_sample && (c != COMPONENT_MIXER_INPUT || l > 0) ? 0 : BROKEN);
    }
    free_kept(&whole), free_kept(&kept);
}

// The scan's output beyond FP16: what is made of it is none either, in this layer and the next.
static void assert_overflow_breaks(const struct mode *mode)
{
    struct kept kept = run_spoiled(mode, 0);
    const int I = model.dims.d_inner, D = model.dims.d_model;
    int broken = 0, first = LENGTH;
    for (int t = LENGTH - 1; t >= 0; t--) {
        const bool finite =
            count_finite(kept.values[0][COMPONENT_SSM_OUTPUT] + (size_t)t * (size_t)I, I) == I;
        assert_int_equal(count_finite(kept.values[0][COMPONENT_MIXER_OUTPUT] + (size_t)t * (size_t)D, D),
                         finite ? D : 0);
        broken += !finite;
        first = finite ? first : t;
    }
    assert_true(broken > 0);
    for (int t = first; t < LENGTH; t++)
        assert_int_equal(count_finite(kept.values[1][COMPONENT_MIXER_OUTPUT] + (size_t)t * (size_t)D, D), 0);
    free_kept(&kept);
}

static void test_not_finite(void **state)
{
    static const char *const names[] = {"naive", "scalar", "avx2", "avx512"};
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
        if (!kernels_find(names[k])) continue;
        close_all(state);
        setenv("SSMSWEEP_ISA", names[k], 1);
        assert_int_equal(open_all(state), 0);
        for (int m = 0; m < listed(); m++) {
            assert_stream_breaks(mode_at(m), NAN);
            assert_stream_breaks(mode_at(m), -INFINITY);
        }
        close_all(state);
        large_D = true;
        assert_int_equal(open_all(state), 0);
        for (int m = 0; m < listed(); m++)
            if (mode_at(m)->precision != PRECISION_FP32) assert_overflow_breaks(mode_at(m));
        large_D = false;
    }
    close_all(state);
    unsetenv("SSMSWEEP_ISA");
    assert_int_equal(open_all(state), 0);
}

// Behind the last layer as well: a row of logits for each token that is not finite, whatever lm_head is.
static void assert_logits_break(bool rotated, float spoil)
{
    const size_t floats = stream_floats(&model.dims, LENGTH), ld = floats / LENGTH;
    const int vocab = model.dims.vocab_size, width = (vocab + 15) / 16 * 16;
    struct stream stream = {calloc(floats, sizeof(float)), calloc(floats, sizeof(float)), rotated};
    float *normed = malloc(floats * sizeof(float)),
          *logits = malloc((size_t)(LENGTH * width) * sizeof *logits);
    for (size_t i = 0; i < floats; i++)
        if (i % ld < (size_t)model.dims.d_model) stream.h[i] = (float)(i * 37 % 101) - 50;
    stream.residual[BROKEN * ld + 5] = spoil;
    stream_norm(forward, &stream, 0, LENGTH, normed);
    head_logits(forward, rotated, normed, LENGTH, 0, vocab, logits);
    for (int t = 0; t < LENGTH; t++)
        assert_int_equal(count_finite(logits + (size_t)(t * width), vocab), t == BROKEN ? 0 : vocab);
    free(stream.residual), free(stream.h), free(normed), free(logits);
}

// Streams, and what is not finite, where embedding and lm_head are codes.
static void test_codes(void **state)
{
    close_all(state);
    folder = published;
    assert_int_equal(open_all(state), 0);
    assert_true(model.ends.embedding && model.ends.lm_head > 0);
    test_streams(state);
    for (int rotated = 0; rotated < 2; rotated++) {
        assert_logits_break(rotated, NAN);
        assert_logits_break(rotated, INFINITY);
    }
    close_all(state);
    folder = demo;
    assert_int_equal(open_all(state), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_not_finite), cmocka_unit_test(test_streams), cmocka_unit_test(test_codes),
        cmocka_unit_test(test_declared_equalities), cmocka_unit_test(test_dither)};
    return cmocka_run_group_tests(tests, open_all, close_all);
}
