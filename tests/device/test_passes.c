// SPDX-License-Identifier: Apache-2.0
// Whole passes on the GPU against the processor's: every component of every layer, for each mode and for
// random recipes, of samples of many lengths side by side, with dither, and where something is not finite. On
// the demo models, or on the one in the folder that the first argument names, with as many random recipes as
// the second says.  Without a GPU it is skipped.
#include "passes.h"

#include "ssmsweep/arch/mamba1.h"

enum { SAMPLES = 6, MOST_TAKES = 1024, RANDOM = 50 };
static const int lengths[SAMPLES] = {37, 1, 130, 5, 64, 257};

static int failures;
static long compared;

// What the passes of the processor gave, sample after sample.
struct takes {
    float *values[SAMPLES][MOST_TAKES];
    int counts[SAMPLES], sample;
    const char *name;
};

static bool keep(void *context, int layer, int component, const float *values, int length, int width)
{
    struct takes *takes = context;
    const size_t bytes = (size_t)length * (size_t)width * sizeof *values;
    float *copy = malloc(bytes);
    (void)layer, (void)component;
    if (!copy || takes->counts[takes->sample] == MOST_TAKES) exit(1);
    memcpy(copy, values, bytes);
    takes->values[takes->sample][takes->counts[takes->sample]++] = copy;
    return true;
}

// The GPU's: all samples at once.
static bool compare(void *context, int layer, int component, const float *values, int length, int width)
{
    struct takes *takes = context;
    const int at = takes->counts[0]++;
    long differ = 0, row = 0;
    for (int s = 0; s < SAMPLES; row += lengths[s++])
        differ += differing(takes->values[s][at], values + row * width, (long)lengths[s] * width);
    compared += (long)length * width;
    if (differ > 0 && failures < 40)
        printf("FAIL %s, layer %d, component %d: %ld of %ld differ\n", takes->name, layer, component, differ,
               (long)length * width);
    failures += differ > 0;
    return true;
}

static void run_recipe(struct stand *s, int r, const int32_t *ids, uint32_t *want)
{
    static struct takes takes;
    struct capture capture = {.want = want, .take = keep, .context = &takes};
    const struct recipe *recipe = &s->recipes[r];
    int row = 0;
    takes = (struct takes){.name = stand_name(s, r)};
    for (int i = 0; i < SAMPLES; row += lengths[i++]) {
        takes.sample = i;
        forward_run(s->host, recipe, s->scales, ids + row, lengths[i], &capture);
    }
    takes.counts[0] = 0;
    capture.take = compare;
    struct error err = {0};
    forward_divide(s->device, lengths, SAMPLES);
    forward_run(s->device, recipe, s->scales, ids, row, &capture);
    good(forward_settle(s->device, &err), &err);
    for (int i = 0; i < SAMPLES; i++)
        for (int k = 0; k < MOST_TAKES; k++)
            free(takes.values[i][k]);
}

static void run_all(const char *what, const char *folder, int random, void (*alter)(struct model *model))
{
    struct stand s;
    int tokens = 0;
    for (int i = 0; i < SAMPLES; i++)
        tokens += lengths[i];
    stand_open(&s, folder, random, tokens, cores_usable(), alter);
    int32_t *ids = malloc((size_t)tokens * sizeof *ids);
    uint32_t *want = malloc((size_t)s.model.dims.n_layer * sizeof *want);
    if (!ids || !want) exit(1);
    memset(want, 0xff, (size_t)s.model.dims.n_layer * sizeof *want);
    for (int t = 0; t < tokens; t++)
        ids[t] = (t * 7919 + 13) % s.model.dims.vocab_size;
    for (int r = 0; r < s.n_recipes; r++)
        run_recipe(&s, r, ids, want);
    forward_set_dither(s.host, 3), forward_set_dither(s.device, 3);
    for (int r = 0; r < s.n_modes; r++)
        run_recipe(&s, r, ids, want);
    printf("%s: %d modes with and without dither, %d random recipes, %d samples: %ld values, %d captures "
           "differ\n",
           what, s.n_modes, random, SAMPLES, compared, failures);
    free(ids), free(want);
    stand_close(&s);
}

// So that the scan's output is beyond FP16.
static void enlarge_D(struct model *model)
{
    static float values[16384];
    static struct tensor tensor;
    for (int i = 0; i < model->dims.d_inner; i++)
        values[i] = 1e6f;
    tensor = *model->tensors[TENSOR_D_SKIP];
    tensor.dtype = DTYPE_F32;
    tensor.data = (const unsigned char *)values;
    model->tensors[TENSOR_D_SKIP] = &tensor;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!backend_cuda() || cuda_devices() == 0) {
        printf("SKIP: %s\n", backend_cuda() ? "no GPU on this machine" : "built without CUDA");
        return 77;
    }
    if (argc > 1) {
        run_all(argv[1], argv[1], argc > 2 ? atoi(argv[2]) : 0, NULL);
    } else {
        run_all("Mamba-1", SOURCE_DIR "/jobs/demo", RANDOM, NULL);
        run_all("beyond FP16", SOURCE_DIR "/jobs/demo", 0, enlarge_D);
        run_all("Mamba-2", SOURCE_DIR "/jobs/demo-mamba2", RANDOM, NULL);
    }
    return failures ? 1 : 0;
}
