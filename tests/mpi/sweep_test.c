// SPDX-License-Identifier: Apache-2.0
// Plan, calibration, sweep and result file on a model made of a formula; IO is posix or mpio.
//   sweep_test FILE SHARD IO       writes FILE and checks it by reading it again
//   sweep_test FILE SHARD IO K     every rank's writes fail from the K-th on: all end with their error, what
//   was
//                                  stored is whole
//   sweep_test FILE SHARD IO -K    only the K-th fails: its item is tried again, and everything is stored
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "check.h"
#include "ssmsweep/arch/mamba1.h"
#include "ssmsweep/calibrate/calibrate.h"
#include "ssmsweep/compute/measure.h"
#include "ssmsweep/store/store.h"
#include "standin.h"
#include "worker.h"

enum { SAMPLES = 11, MAX_TOKENS = 29, LAYERS = 5 };

static const struct dims dims = {
    .n_layer = LAYERS, .d_model = 6, .d_inner = 12, .vocab_size = 4096, .arch = &arch_mamba1};

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
                        .no_forks = true, // each mode's values are its own here
                        .reference = "fp32",
                        .layers = "first,2,last",
                        .components = "mixer_output,conv1d_input",
                        .calib_data_num = {4, SAMPLES},
                        .n_cells = 2,
                        .noise = 2,
                        .shard = shard,
                        .progress_seconds = -1};
}

// The scales as one process computes them.
static void expect_scales(const struct corpus *corpus, int samples, float *scales)
{
    static float observed[SAMPLES * LAYERS * MAMBA1_SITES];
    for (int s = 0; s < SAMPLES; s++)
        for (int l = 0; l < LAYERS; l++)
            for (int site = 0; site < MAMBA1_SITES; site++)
                observed[(s * LAYERS + l) * MAMBA1_SITES + site] =
                    standin_observation(corpus->ids[s * MAX_TOKENS], corpus->length[s], l, site);
    const struct calibration_set set = {.observed = observed, .samples = samples};
    calibrate_scales(NULL, &set, LAYERS, scales);
}

static void check_tensor(struct result *result, const struct corpus *corpus, int run, int layer,
                         int component)
{
    static float values[MAX_TOKENS * 12], scales[LAYERS * MAMBA1_SITES];
    const struct result_run *about = result_run_at(result, run);
    struct error err = {0};
    float scale = 0;
    if (about->cell.calib_data_num) {
        expect_scales(corpus, about->cell.calib_data_num, scales);
        scale = scales[layer * MAMBA1_SITES];
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

// A tensor as the stand-in gives it.
static void expect_tensor(const struct result_run *about, const struct corpus *corpus, int layer,
                          int component, int sample, float *values)
{
    static float scales[LAYERS * MAMBA1_SITES];
    float scale = 0;
    if (about->cell.calib_data_num) {
        expect_scales(corpus, about->cell.calib_data_num, scales);
        scale = scales[layer * MAMBA1_SITES];
    }
    for (int i = 0; i < corpus->length[sample] * arch_width(&dims, component); i++)
        values[i] = standin_value(mode_find(about->mode), scale, layer, component,
                                  corpus->ids[sample * MAX_TOKENS], i);
}

static const struct sample_range every = {0, SAMPLES};

// Every bit, in layers that were captured and in others.
static void check_metrics(struct result *result, const struct corpus *corpus, int run, int layer,
                          int component)
{
    static float ref[MAX_TOKENS * 12], values[MAX_TOKENS * 12];
    static struct accumulator moments[SAMPLES];
    static struct profile profiles[SAMPLES];
    const int width = arch_width(&dims, component);
    struct error err = {0};
    CHECK(result_read_moments(result, run, layer, component, every, moments, &err) == STATUS_OK);
    CHECK(result_read_profiles(result, run, layer, component, every, profiles, &err) == STATUS_OK);
    for (int s = 0; s < SAMPLES; s++) {
        struct accumulator total;
        struct profile profile;
        expect_tensor(result_run_at(result, 0), corpus, layer, component, s, ref);
        expect_tensor(result_run_at(result, run), corpus, layer, component, s, values);
        accumulator_clear(&total);
        accumulator_add_sample(&total, ref, values, (size_t)corpus->length[s] * (size_t)width);
        profile_clear(&profile);
        profile_add_sample(&profile, ref, values, corpus->length[s], width);
        CHECK(memcmp(&total, &moments[s], sizeof total) == 0);
        CHECK(memcmp(&profile, &profiles[s], sizeof profile) == 0);
    }
}

// Logits of the stand-in are whole numbers below 13 in an order that depends on the mode.
static void check_predictions(struct result *result, const struct corpus *corpus, int run)
{
    static struct end_of_model rows[SAMPLES];
    struct error err = {0};
    CHECK(result_read_end_of_model(result, run, every, rows, &err) == STATUS_OK);
    for (int s = 0; s < SAMPLES; s++) {
        uint64_t binned = 0;
        for (int i = 0; i < PROFILE_BINS; i++)
            binned += rows[s].kl_bins[i];
        CHECK(rows[s].tokens == (uint64_t)corpus->length[s] - 1 && binned == rows[s].tokens);
        CHECK(rows[s].nonfinite == 0);
        CHECK(run == 0 ? rows[s].kl == 0 && rows[s].top1_agree == rows[s].tokens : rows[s].kl >= 0);
        CHECK(rows[s].tokens == 0 || rows[s].nll > 0);
    }
}

static void check_all_metrics(struct result *result, const struct corpus *corpus)
{
    struct accumulator unused[SAMPLES];
    struct error err = {0};
    CHECK(result_has_metrics(result) && result_has_end_of_model(result));
    CHECK(result_model_layers(result) == LAYERS);
    for (int r = 0; r < result_runs(result); r++) {
        for (int l = 0; l < LAYERS; l++)
            for (int c = 0; c < MAMBA1_COMPONENTS; c++)
                check_metrics(result, corpus, r, l, c);
        check_predictions(result, corpus, r);
    }
    CHECK(result_read_moments(result, 0, LAYERS, COMPONENT_SSM_INPUT, every, unused, &err) == STATUS_INPUT);
}

// Re-runs have metrics of their own, which are not those of the mode, and no tensors.
static void check_noise(struct result *result)
{
    static struct accumulator moments[3][SAMPLES];
    float unused[1];
    CHECK(result_noise_runs(result) == 2 * 2 * 7);
    for (int i = 0; i < result_noise_runs(result); i += 2) {
        const int mode = 2 + i / 2, noise = result_runs(result) + i;
        struct error err = {0};
        CHECK(result_read_moments(result, mode, 1, COMPONENT_SSM_OUTPUT, every, moments[0], &err) ==
              STATUS_OK);
        for (int k = 1; k <= 2; k++) {
            const struct result_run *run = result_run_at(result, noise + k - 1),
                                    *of = result_run_at(result, mode);
            CHECK(run->dither == k && strcmp(run->mode, of->mode) == 0 && run->complete);
            CHECK(run->cell.calib_data_num == of->cell.calib_data_num && of->dither == 0);
            CHECK(result_read_moments(result, noise + k - 1, 1, COMPONENT_SSM_OUTPUT, every, moments[k],
                                      &err) == STATUS_OK);
        }
        for (int s = 0; s < SAMPLES; s++)
            CHECK(memcmp(&moments[0][s], &moments[1][s], sizeof moments[0][s]) != 0 &&
                  memcmp(&moments[1][s], &moments[2][s], sizeof moments[0][s]) != 0);
        CHECK(result_read(result, noise, 0, COMPONENT_MIXER_OUTPUT, 0, unused, &err) == STATUS_INPUT);
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
          result_run_at(result, 0)->cell.calib_data_num == 0);
    CHECK(result_run_at(result, 2)->cell.calib_data_num == 4 &&
          result_run_at(result, 9)->cell.calib_data_num == SAMPLES);
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
    check_all_metrics(result, corpus);
    check_noise(result);
    float unused[1];
    CHECK(result_read(result, 0, 1, COMPONENT_MIXER_OUTPUT, 0, unused, &err) == STATUS_INPUT);
    result_close(result);
}

// Linked in place of store_write_output() by --wrap.
enum status __real_store_write_output(struct store *store, int run, int layer, int component, int sample,
                                      const float *values, int length, int width, struct error *err);
enum status __wrap_store_write_output(struct store *store, int run, int layer, int component, int sample,
                                      const float *values, int length, int width, struct error *err);

static int writes_before_failure = INT_MAX;
static bool fails_once;

enum status __wrap_store_write_output(struct store *store, int run, int layer, int component, int sample,
                                      const float *values, int length, int width, struct error *err)
{
    if (fails_once ? writes_before_failure == 0 : writes_before_failure <= 0) {
        writes_before_failure--;
        return error_set(err, STATUS_IO, "the disk is on fire");
    }
    writes_before_failure--;
    return __real_store_write_output(store, run, layer, component, sample, values, length, width, err);
}

struct bench {
    struct comm comm;
    struct corpus corpus;
    struct plan plan;
    const char *path;
    struct store *store;
    struct store_io io;
    struct worker worker;
    struct weights *weights;
    float *scales;
    struct observations known;
    struct finished finished;
    struct stop stop;
    struct log log;
};

static const struct store_identity identity = {
    "{\"a\": 1}",  "0.0",   "aa",    "",  "bb", "F16",
    "calibration", "model", "small", "1", "bb", STORE_EVALUATES_CALIBRATION};

static void bench_open(struct bench *bench)
{
    struct model model = {.dims = dims};
    struct error err = {0};
    struct progress progress;
    bench->worker = (struct worker){.comm = &bench->comm,
                                    .plan = &bench->plan,
                                    .corpus = &bench->corpus,
                                    .calibration = &bench->corpus,
                                    .dims = &dims,
                                    .threads = 1,
                                    .stop = &bench->stop,
                                    .log = &bench->log};
    CHECK(weights_open(&bench->weights, &model, 0, NULL, NULL, &err) == STATUS_OK);
    CHECK(forward_open(&bench->worker.forward, bench->weights, MAX_TOKENS, 1, &err) == STATUS_OK);
    CHECK(store_create(&bench->store, &bench->comm, bench->path, &bench->plan, &dims, &bench->corpus,
                       &identity, &bench->io, &err) == STATUS_OK);
    progress_start(&progress, "calibrate", SAMPLES, -1, true);
    CHECK(observations_open(&bench->known, &bench->plan, &dims, SAMPLES, MAX_TOKENS, &err) == STATUS_OK);
    CHECK(finished_open(&bench->finished, bench->plan.n_runs, SAMPLES, &err) == STATUS_OK);
    CHECK(calibration_observe(&bench->worker, bench->store, &bench->known, &progress, &err) == STATUS_OK);
    CHECK(bench->known.added == SAMPLES);
    CHECK(calibration_scales(&bench->known, &bench->plan, &bench->comm, &bench->scales, &err) == STATUS_OK);
    CHECK(store_write_scales(bench->store, bench->scales, &err) == STATUS_OK);
}

static void bench_close(struct bench *bench, bool failed)
{
    struct error err = {0};
    CHECK(failed || store_sync(bench->store, &err) == STATUS_OK);
    CHECK(failed || store_still_there(bench->store, &err) == STATUS_OK);
    store_close(bench->store, &err);
    free(bench->scales);
    observations_clear(&bench->known);
    finished_close(&bench->finished);
    forward_close(bench->worker.forward);
    weights_close(bench->weights);
}

static void check_size(const struct bench *bench)
{
    struct stat info;
    CHECK(stat(bench->path, &info) == 0);
    const double estimate = (double)store_estimate_bytes(&bench->plan, &dims, &bench->corpus, &bench->io);
    CHECK(fabs((double)info.st_size - estimate) < 0.05 * estimate);
}

static void check_whole_sweep(struct bench *bench, int failing_write)
{
    struct error err = {0};
    struct store *again = NULL;
    struct progress progress;
    struct sweep_count count = {0};
    bench_open(bench);
    check_size(bench);
    if (failing_write) writes_before_failure = failing_write;
    fails_once = true;
    progress_start(&progress, "sweep", bench->plan.n_items, -1, true);
    CHECK(worker_sweep(&bench->worker, bench->store, bench->scales, &bench->finished, &progress, &count,
                       &err) == STATUS_OK);
    CHECK(count.stored == (long long)bench->plan.n_runs * SAMPLES);
    store_mark_failed(bench->store, 0, 1); // another attempt stored it: so it stays
    CHECK(plan_renew(&bench->plan, &dims, &bench->corpus, bench->comm.ranks, &bench->finished, &err) ==
          STATUS_OK);
    CHECK(bench->plan.n_items == 0);
    bench_close(bench, false);
    CHECK(store_create(&again, &bench->comm, bench->path, &bench->plan, &dims, &bench->corpus, &identity,
                       &bench->io, &err) == STATUS_INPUT);
    CHECK(strstr(err.text, bench->path) && strstr(err.text, "--resume"));
    check_file(bench->path, &bench->corpus); // every rank by itself
}

static void check_failing_write(struct bench *bench, int writes)
{
    struct error err = {0};
    struct progress progress;
    struct result *result = NULL;
    struct sweep_count count = {.stored = -1};
    bench_open(bench);
    writes_before_failure = writes;
    progress_start(&progress, "sweep", bench->plan.n_items, -1, true);
    CHECK(worker_sweep(&bench->worker, bench->store, bench->scales, &bench->finished, &progress, &count,
                       &err) == STATUS_IO);
    CHECK(strstr(err.text, "the disk is on fire"));
    // Of a sample that fails, up to all runs are lost.
    CHECK(count.stored >= writes / 6 - bench->plan.n_runs);
    CHECK(count.stored < (long long)bench->plan.n_runs * SAMPLES);
    bench_close(bench, true);
    MPI_Barrier(bench->comm.world);
    err = (struct error){0};
    CHECK(result_open(&result, bench->path, &err) == STATUS_OK);
    int complete = 0;
    for (int r = 0; r < result_runs(result); r++)
        complete += result_run_at(result, r)->complete;
    CHECK(complete < result_runs(result));
    result_close(result);
    if (bench->comm.rank == 0) printf("%lld stored\n", count.stored);
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    struct error err = {0};
    CHECK(argc == 4 || argc == 5);
    bench.io = (struct store_io){.driver = strcmp(argv[3], "mpio") == 0 ? STORE_MPIO : STORE_POSIX,
                                 .patience_seconds = 30,
                                 .log = &bench.log};
    store_prepare();
    CHECK(comm_init(&bench.comm, &argc, &argv, &err) == STATUS_OK);
    bench.path = argv[1];
    bench.corpus = make_corpus();
    struct job job = make_job((int)strtol(argv[2], NULL, 10));
    CHECK(plan_make(&bench.plan, &job, &dims, &bench.corpus, bench.comm.ranks, &err) == STATUS_OK);
    int failing = argc == 5 ? (int)strtol(argv[4], NULL, 10) : -INT_MAX;
    if (failing < 0)
        check_whole_sweep(&bench, -failing);
    else
        check_failing_write(&bench, failing);
    MPI_Barrier(bench.comm.world);
    plan_clear(&bench.plan);
    free(bench.corpus.ids);
    free(bench.corpus.length);
    comm_finish(&bench.comm);
    return 0;
}
