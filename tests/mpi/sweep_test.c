// SPDX-License-Identifier: Apache-2.0
// Plan, calibration, sweep and result file on a model made of a formula.
//   sweep_test FILE SHARD [fail]     writes FILE and checks it by reading it again
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "ssmsweep/numerics/calibrate.h"
#include "ssmsweep/sweep/store.h"
#include "standin.h"
#include "worker.h"

enum { SAMPLES = 11, MAX_TOKENS = 29, LAYERS = 5 };

static const struct dims dims = {.n_layer = LAYERS, .d_model = 6, .d_inner = 12, .vocab_size = 4096};

static struct corpus make_corpus(void)
{
    struct corpus corpus = {.samples = SAMPLES, .max_tokens = MAX_TOKENS};
    corpus.ids = malloc(sizeof(int32_t) * SAMPLES * MAX_TOKENS);
    corpus.length = malloc(sizeof(int32_t) * SAMPLES);
    CHECK(corpus.ids && corpus.length);
    for (int s = 0; s < SAMPLES; s++) {
        corpus.length[s] = s == 3 ? MAX_TOKENS : 1 + (s * 7) % MAX_TOKENS;
        for (int t = 0; t < MAX_TOKENS; t++)
            corpus.ids[s * MAX_TOKENS + t] = t < corpus.length[s] ? (s * 131 + t) % 4096 : -1;
    }
    return corpus;
}

static struct job make_job(int shard)
{
    return (struct job){.modes = "all",
                        .reference = "fp32",
                        .layers = "first,2,last",
                        .components = "mixer_output,conv1d_input",
                        .calib_data_num = {4, SAMPLES},
                        .n_cells = 2,
                        .shard = shard,
                        .progress_seconds = -1};
}

// The scales as one process computes them.
static void expect_scales(const struct corpus *corpus, int samples, float *scales)
{
    static float observed[SAMPLES * LAYERS * SITE_COUNT];
    for (int s = 0; s < SAMPLES; s++)
        for (int l = 0; l < LAYERS; l++)
            for (int site = 0; site < SITE_COUNT; site++)
                observed[(s * LAYERS + l) * SITE_COUNT + site] =
                    standin_observation(corpus->ids[s * MAX_TOKENS], corpus->length[s], l, site);
    calibrate_scales(observed, samples, LAYERS, scales);
}

static void check_tensor(struct result *result, const struct corpus *corpus, int run, int layer,
                         enum component component)
{
    static float values[MAX_TOKENS * 12], scales[LAYERS * SITE_COUNT];
    const struct result_run *about = result_run_at(result, run);
    struct error err = {0};
    float scale = 0;
    if (about->calib_data_num) {
        expect_scales(corpus, about->calib_data_num, scales);
        scale = scales[layer * SITE_COUNT];
    }
    for (int s = 0; s < SAMPLES; s++) {
        int count = corpus->length[s] * result_width(result, layer, component);
        CHECK(result_length(result, s) == corpus->length[s]);
        CHECK(result_read(result, run, layer, component, s, values, &err) == STATUS_OK);
        for (int i = 0; i < count; i++)
            CHECK(values[i] == standin_value(mode_find(about->mode), scale, layer, component,
                                             corpus->ids[s * MAX_TOKENS], i));
    }
}

static void check_file(const char *path, const struct corpus *corpus)
{
    struct result *result = NULL;
    struct error err = {0};
    CHECK(result_open(&result, path, &err) == STATUS_OK);
    CHECK(result_samples(result) == SAMPLES && result_max_tokens(result) == MAX_TOKENS);
    CHECK(result_runs(result) == 2 + 2 * 7);
    CHECK(strcmp(result_run_at(result, 0)->mode, "fp32") == 0 &&
          result_run_at(result, 0)->calib_data_num == 0);
    CHECK(result_run_at(result, 2)->calib_data_num == 4 &&
          result_run_at(result, 9)->calib_data_num == SAMPLES);
    CHECK(result_layers(result) == 3 && result_layer_at(result, 2) == LAYERS - 1);
    CHECK(result_components(result, 0) == (1u << COMPONENT_MIXER_OUTPUT | 1u << COMPONENT_CONV1D_INPUT));
    CHECK(strcmp(result_attribute(result, "job"), "{\"a\": 1}") == 0);
    CHECK(strcmp(result_attribute(result, "tokenizer_sha256"), "") == 0);
    CHECK(strcmp(result_attribute(result, "reference_mode"), "fp32") == 0);
    for (int r = 0; r < result_runs(result); r++) {
        CHECK(result_run_at(result, r)->complete);
        for (int l = 0; l < result_layers(result); l++) {
            check_tensor(result, corpus, r, result_layer_at(result, l), COMPONENT_MIXER_OUTPUT);
            check_tensor(result, corpus, r, result_layer_at(result, l), COMPONENT_CONV1D_INPUT);
        }
    }
    float unused[1];
    CHECK(result_read(result, 0, 1, COMPONENT_MIXER_OUTPUT, 0, unused, &err) == STATUS_INPUT);
    result_close(result);
}

static void sweep(const struct comm *comm, const char *path, const struct plan *plan,
                  const struct corpus *corpus)
{
    struct store_identity identity = {"{\"a\": 1}", "0.0", "aa", "", "bb", "F16", "calibration", "model"};
    struct model model = {.dims = dims};
    struct error err = {0};
    struct store *store = NULL, *again = NULL;
    struct worker worker = {.comm = comm, .plan = plan, .corpus = corpus, .percentile_alpha = 1};
    struct weights *weights = NULL;
    struct progress progress;
    float *scales = NULL;
    long long stored = 0;
    CHECK(weights_open(&weights, &model, 0, NULL, &err) == STATUS_OK);
    CHECK(forward_open(&worker.forward, weights, MAX_TOKENS, 1, &err) == STATUS_OK);
    CHECK(store_create(&store, comm, path, plan, &dims, corpus, &identity, &err) == STATUS_OK);
    progress_start(&progress, "calibrate", SAMPLES, -1, true);
    CHECK(worker_calibrate(&worker, SAMPLES, &scales, &progress, &err) == STATUS_OK);
    CHECK(store_write_scales(store, scales, &err) == STATUS_OK);
    progress_start(&progress, "sweep", plan->n_items, -1, true);
    CHECK(worker_sweep(&worker, store, scales, &progress, &stored, &err) == STATUS_OK);
    CHECK(stored == (long long)plan->n_runs * SAMPLES);
    CHECK(store_close(store, &err) == STATUS_OK);
    CHECK(store_create(&again, comm, path, plan, &dims, corpus, &identity, &err) == STATUS_INPUT);
    CHECK(strstr(err.text, path) && strstr(err.text, "--resume"));
    free(scales);
    forward_close(worker.forward);
    weights_close(weights);
}

int main(int argc, char **argv)
{
    struct comm comm;
    struct error err = {0};
    CHECK(argc == 3);
    CHECK(comm_init(&comm, &argc, &argv, &err) == STATUS_OK);
    struct corpus corpus = make_corpus();
    struct job job = make_job((int)strtol(argv[2], NULL, 10));
    struct plan plan = {0};
    CHECK(plan_make(&plan, &job, &dims, &corpus, comm.ranks, &err) == STATUS_OK);
    sweep(&comm, argv[1], &plan, &corpus);
    check_file(argv[1], &corpus); // every rank by itself
    MPI_Barrier(comm.world);
    plan_clear(&plan);
    free(corpus.ids);
    free(corpus.length);
    comm_finish(&comm);
    return 0;
}
