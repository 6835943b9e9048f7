// SPDX-License-Identifier: Apache-2.0
// No pass allocates: forward_open() took all it needs.  The linker leads the core's own calls through the
// counters below (--wrap).
#include <stdatomic.h>

#include "../support.h"
#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/forward/forward.h"
#include "ssmsweep/recipe/mode.h"

enum { LENGTH = 50, MAX_TOKENS = 64, MODES_AT_MOST = 32 };

// Modes that are in a set, in front of the others: they take the weights of mode 2-1.
static int listed(void)
{
    int n = 0;
    while (n < mode_count() && mode_at(n)->sets != 0)
        n++;
    return n;
}

static atomic_long allocations;

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    allocations++;
    return __real_malloc(bytes);
}

void *__real_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes)
{
    allocations++;
    return __real_calloc(count, bytes);
}

void *__real_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes);
void *__wrap_realloc(void *block, size_t bytes)
{
    allocations++;
    return __real_realloc(block, bytes);
}

int __real_posix_memalign(void **block, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **block, size_t alignment, size_t bytes);
int __wrap_posix_memalign(void **block, size_t alignment, size_t bytes)
{
    allocations++;
    return __real_posix_memalign(block, alignment, bytes);
}

void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    allocations++;
    return __real_aligned_alloc(alignment, bytes);
}

void *__real_mmap(void *address, size_t bytes, int protection, int flags, int descriptor, long offset);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int descriptor, long offset);
void *__wrap_mmap(void *address, size_t bytes, int protection, int flags, int descriptor, long offset)
{
    allocations++;
    return __real_mmap(address, bytes, protection, flags, descriptor, offset);
}

static bool count_tensor(void *context, int layer, int component, const float *values, int length, int width)
{
    (void)layer, (void)component, (void)values, (void)length, (void)width;
    ++*(int *)context;
    return true;
}

static void run_modes(struct forward *forward, const struct dims *dims, const int32_t *ids)
{
    int tensors = 0;
    uint32_t want[256];
    float *observed = calloc(2 * (size_t)dims->n_layer * MAMBA1_SITES, sizeof *observed);
    float *scales = observed + (size_t)dims->n_layer * MAMBA1_SITES;
    assert_true(observed && dims->n_layer <= 256);
    memset(want, 0xff, sizeof want);
    const struct capture capture = {.want = want, .take = count_tensor, .context = &tensors};
    struct error err = {0};
    struct recipe recipes[MODES_AT_MOST] = {{0}};
    assert_true(listed() <= MODES_AT_MOST);
    for (int m = 0; m < listed(); m++)
        assert_int_equal(recipe_make(&recipes[m], mode_at(m), &arch_mamba1.units, dims->n_layer, &err),
                         STATUS_OK);
    allocations = 0;
    struct observers observers = {.percentile_alpha = 0.9995};
    assert_int_equal(observers_parse(&observers, &arch_mamba1, NULL, &err), STATUS_OK);
    const struct observation observation = {.observers = &observers, .numbers = observed};
    const struct calibration_set set = {.observed = observed, .samples = 1};
    assert_true(forward_observe(forward, &observation, ids, LENGTH, &capture));
    calibrate_scales(&observers, &set, dims->n_layer, scales);
    for (int m = 0; m < listed(); m++) {
        const float *given = mode_is_float(mode_at(m)) ? NULL : scales;
        assert_true(forward_run(forward, &recipes[m], given, ids, LENGTH, &capture));
    }
    assert_int_equal(allocations, 0);
    assert_int_equal(tensors, (1 + listed()) * dims->n_layer * MAMBA1_COMPONENTS);
    for (int m = 0; m < listed(); m++)
        recipe_clear(&recipes[m]);
    free(observed);
}

static void test_passes(void **state)
{
    (void)state;
    struct model model = {0};
    struct weights *weights = NULL;
    struct error err = {0};
    int32_t ids[LENGTH];
    allocations = 0;
    assert_int_equal(model_open(&model, SOURCE_DIR "/jobs/demo", &err), STATUS_OK);
    assert_true(allocations > 0); // the counters are in place
    const unsigned parts = WEIGHTS_FP32 | WEIGHTS_FP16 | WEIGHTS_BY_UNIT;
    void *memory = aligned_alloc(64, (weights_bytes(&model, parts, NULL) + 63) / 64 * 64);
    assert_int_equal(weights_open(&weights, &model, parts, NULL, memory, &err), STATUS_OK);
    for (int task = 0; task < weights_tasks(weights); task++)
        assert_int_equal(weights_pack(weights, task, NULL, &err), STATUS_OK);
    for (int t = 0; t < LENGTH; t++)
        ids[t] = (t * 7919 + 13) % model.dims.vocab_size;
    for (int threads = 1; threads <= 3; threads++) {
        struct forward *forward = NULL;
        assert_int_equal(forward_open(&forward, weights, MAX_TOKENS, threads, &err), STATUS_OK);
        run_modes(forward, &model.dims, ids);
        forward_close(forward);
    }
    weights_close(weights);
    free(memory);
    model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_passes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
