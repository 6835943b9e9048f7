// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/tools/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "random_model.h"
#include "setting.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/recipe/mode.h"
#include "sweeps.h"

// The shape of mamba-130m; its vocabulary has a part in the logits alone, which need no model.
enum { BUILT_IN_VOCAB = 50280 };
static const struct dims built_in = {.n_layer = 24,
                                     .d_model = 768,
                                     .d_inner = 1536,
                                     .d_state = 16,
                                     .d_conv = 4,
                                     .dt_rank = 48,
                                     .vocab_size = 512,
                                     .norm_eps = 1e-5f};

// What a run measures on rank 0 alone, and on all ranks.
struct found {
    struct bench_setting setting;
    struct sweep_rows sweeps;
    struct writing_rows writing;
    struct gpu_sweeps gpu_sweeps;
    struct handout_rows hand_outs;
};

// ---- the machine in words ----

// "model name" of /proc/cpuinfo, where there is one.
static void processor_name(char *name, size_t size)
{
    char line[256];
    struct utsname system;
    snprintf(name, size, "%s", uname(&system) == 0 ? system.machine : "unknown");
    FILE *file = fopen("/proc/cpuinfo", "r");
    if (!file) return;
    while (fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(name, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    fclose(file);
}

// What the scans of a layer take.
static double exponentials(const struct dims *d, int length)
{
    return d->n_heads > 0 ? ssd_exps(d, SSD_SEQUENTIAL, length) : vectors_exps(d, length);
}

// ---- JSON ----

static void put_model(struct json_writer *writer, const struct job *job, const struct bench_setting *setting)
{
    if (!setting->model) {
        json_put_null(writer, "model");
        return;
    }
    const struct dims *d = &setting->model->dims;
    json_begin_object(writer, "model");
    json_put_string(writer, "directory", job->model_dir);
    json_put_integer(writer, "n_layer", d->n_layer);
    json_put_integer(writer, "d_model", d->d_model);
    json_put_integer(writer, "d_inner", d->d_inner);
    json_put_integer(writer, "d_state", d->d_state);
    json_put_integer(writer, "d_conv", d->d_conv);
    if (d->n_heads == 0) json_put_integer(writer, "dt_rank", d->dt_rank);
    if (d->n_heads > 0) json_put_integer(writer, "n_heads", d->n_heads);
    if (d->n_heads > 0) json_put_integer(writer, "n_groups", d->n_groups);
    json_put_integer(writer, "tokens", setting->length);
    json_put_double(writer, "gemm_operations", d->n_layer * gemms_operations(d, setting->length));
    if (d->n_heads > 0)
        json_put_double(writer, "scan_operations",
                        d->n_layer * ssd_operations(d, SSD_SEQUENTIAL, setting->length));
    json_put_double(writer, "exponentials", d->n_layer * exponentials(d, setting->length));
    json_end_object(writer);
}

static void put_machine(struct json_writer *writer, const struct bench_setting *setting,
                        const struct comm *comm)
{
    char name[256];
    processor_name(name, sizeof name);
    json_begin_object(writer, "machine");
    json_put_string(writer, "processor", name);
    json_put_integer(writer, "processors_online", sysconf(_SC_NPROCESSORS_ONLN));
    json_put_string(writer, "instruction_set", setting->kernels ? setting->kernels->name : NULL);
    json_put_integer(writer, "threads", setting->threads);
    json_put_integer(writer, "ranks", comm->ranks);
    json_end_object(writer);
}

static enum status write_json(const struct job *job, const struct comm *comm, const struct found *found,
                              const char *tool_version, struct error *err)
{
    struct json_writer *writer = json_writer_open();
    if (!writer) return error_memory(err, 1, "the bench");
    json_begin_object(writer, NULL);
    json_put_string(writer, "schema", "ssmsweep-bench-1");
    json_put_string(writer, "tool_version", tool_version);
    json_put_integer(writer, "time", (long long)time(NULL));
    json_put_double(writer, "seconds", job->bench_seconds);
    put_machine(writer, &found->setting, comm);
    put_model(writer, job, &found->setting);
    rows_put_json(&found->setting.rows, writer);
    gpu_put_json(&found->setting, writer);
    sweeps_put_json(&found->sweeps, comm->ranks, writer);
    gpu_sweeps_put_json(&found->gpu_sweeps, writer);
    writing_put_json(&found->writing, writer);
    handouts_put_json(&found->hand_outs, writer);
    json_end_object(writer);
    char *text = json_writer_finish(writer);
    if (!text) return error_memory(err, 1, "the bench");
    file_replace(job->json_file, text, strlen(text), err);
    free(text);
    return err->status;
}

// ---- one process: machine, kernels, passes ----

static void print_head(const struct bench_setting *setting)
{
    char name[256];
    processor_name(name, sizeof name);
    const struct dims *d = &setting->model->dims;
    printf("%s, %ld processors; instruction set %s, %d threads\n", name, sysconf(_SC_NPROCESSORS_ONLN),
           setting->kernels->name, setting->threads);
    printf("%d layers, d_model %d, d_inner %d, d_state %d, %s %d; %d tokens: %.1f GFLOP of GEMM", d->n_layer,
           d->d_model, d->d_inner, d->d_state, d->n_heads > 0 ? "heads" : "dt_rank",
           d->n_heads > 0 ? d->n_heads : d->dt_rank, setting->length,
           1e-9 * d->n_layer * gemms_operations(d, setting->length));
    if (d->n_heads > 0)
        printf(", %.1f of the scan", 1e-9 * d->n_layer * ssd_operations(d, SSD_SEQUENTIAL, setting->length));
    printf(", %.0f M exponentials\n", 1e-6 * d->n_layer * exponentials(d, setting->length));
}

// The start-up of the model at hand, or of the demo model where that is the built-in one.
static enum status measure_start(struct bench_setting *setting, const struct job *job, struct error *err)
{
    char *demo = NULL;
    if (!job->model_dir && model_demo_directory(&demo, err)) return err->status;
    start_measure(setting, job->model_dir ? job->model_dir : demo, err);
    free(demo);
    return err->status;
}

static enum status measure_process(struct bench_setting *setting, const struct job *job, const bool *chosen,
                                   struct error *err)
{
    const bool gpu = setting->gpu.index >= 0, host = !setting->gpu.alone;
    if (host && (machine_measure(setting, err) || gemms_measure(setting, err) ||
                 vectors_measure(setting, err) || metrics_measure(setting, err)))
        return err->status;
    if (gpu && (gpu_measure_peaks(setting, err) || gpu_measure_metrics(setting, err))) return err->status;
    if (passes_measure(setting, chosen, err)) return err->status;
    gpu_print(setting);
    return host ? measure_start(setting, job, err) : STATUS_OK;
}

static enum status open_setting(struct bench_setting *setting, const struct job *job,
                                const struct model *model, struct error *err)
{
    const int vocab = job->model_dir ? model->dims.vocab_size : BUILT_IN_VOCAB;
    const int cores = cores_usable();
    if (setting_open(setting, model, vocab, job->threads > 0 ? job->threads : cores, err)) return err->status;
    setting->length = job->calib_seqlen;
    setting->seconds = job->bench_seconds;
    setting->rows.print = job->verbosity != LOG_QUIET;
    if (gpu_open(setting, job->device, err)) return err->status;
    if (setting->rows.print) {
        print_head(setting);
        gpu_print_head(&setting->gpu);
    }
    const struct log log = {.level = job->verbosity, .ranks = 1};
    if (setting->threads > cores)
        log_job(
            &log, LOG_NORMAL,
            "oversubscribed: %d threads on the %d cores of this process; rates on all threads say little; "
            "set --threads",
            setting->threads, cores);
    return STATUS_OK;
}

// ---- all ranks ----

// A new folder in job->output_dir; equal on all ranks.  Caller frees.
static char *make_scratch(const struct job *job, const struct comm *comm, struct error *err)
{
    char name[32];
    int pid = (int)getpid();
    MPI_Bcast(&pid, 1, MPI_INT, 0, comm->world);
    snprintf(name, sizeof name, "bench.%d", pid);
    char *path = file_join(job->output_dir, name);
    if (!path) error_memory(err, strlen(job->output_dir), "a path");
    if (!err->status && comm->rank == 0) file_make_directories(path, err);
    comm_agree(comm, err);
    return path;
}

// One thing is asked for, not the bench.
static bool is_asked_for(const struct job *job)
{
    return job->null_items || job->writing;
}

static const char *word_of(const struct job *job)
{
    return strcmp(job->device, "auto") == 0 ? "cuda" : job->device;
}

// gpu: rank 0 has one.  Where that was asked for alone there is nothing else.
static enum status measure_sweeps(struct found *found, const struct job *job, const struct comm *comm,
                                  bool gpu, bool alone, const char *tool_version, struct error *err)
{
    const size_t existed = file_existing_bytes(job->output_dir);
    const bool several = comm->ranks > 1 && !alone;
    char *scratch = make_scratch(job, comm, err);
    if (!err->status && !is_asked_for(job) && several)
        sweeps_measure(&found->sweeps, job, comm, scratch, tool_version, err);
    if (!err->status && gpu)
        gpu_sweeps_measure(&found->gpu_sweeps, job, word_of(job), comm, scratch, tool_version, err);
    if (!err->status && (several || job->writing))
        writing_measure(&found->writing, job, comm, scratch, tool_version, err);
    if (comm->rank == 0 && scratch) file_remove_directories(scratch, existed);
    free(scratch);
    return comm_agree(comm, err);
}

static enum status measure_ranks(struct found *found, const struct job *job, const struct comm *comm,
                                 const char *tool_version, struct error *err)
{
    int of_gpu[2] = {comm->rank == 0 && !is_asked_for(job) && found->setting.gpu.index >= 0,
                     found->setting.gpu.alone};
    MPI_Bcast(of_gpu, 2, MPI_INT, 0, comm->world);
    const bool gpu = of_gpu[0], alone = gpu && of_gpu[1];
    const bool sweeps = gpu || job->writing || (comm->ranks > 1 && !is_asked_for(job));
    if (sweeps && measure_sweeps(found, job, comm, gpu, alone, tool_version, err)) return err->status;
    if (alone || (job->writing && !job->null_items)) return STATUS_OK;
    if (comm->ranks > 1) return handouts_measure(&found->hand_outs, job, comm, err);
    if (job->verbosity != LOG_QUIET)
        printf("\nSweep, writing, hand-out: not measured; start `mpirun -n RANKS ssmsweep bench` for "
               "them.\n");
    return STATUS_OK;
}

static enum status measure_alone(struct bench_setting *setting, struct random_model *random,
                                 struct model *model, const struct job *job, struct error *err)
{
    bool *chosen = calloc((size_t)mode_count(), sizeof *chosen);
    if (!chosen) error_memory(err, sizeof *chosen, "the modes");
    if (!err->status) mode_select(job->modes, chosen, err);
    if (!err->status)
        job->model_dir ? model_open(model, job->model_dir, err) : random_model_open(random, &built_in, err);
    if (!err->status && job->model_dir && model->dims.arch->float_only)
        error_set(err, STATUS_USAGE,
                  "bench: --model %s: expected a model that can be quantized, got a %s one", job->model_dir,
                  model->dims.arch->title);
    if (!err->status) open_setting(setting, job, job->model_dir ? model : &random->model, err);
    if (!err->status) measure_process(setting, job, chosen, err);
    if (job->model_dir && !err->status) model_release(model); // what is mapped stays in the page cache
    free(chosen);
    return err->status;
}

enum status bench_run(const struct job *job, const struct comm *comm, const char *tool_version,
                      struct error *err)
{
    struct found found = {.sweeps.count = 0};
    struct random_model random = {0};
    struct model model = {0};
    if (job->null_items && comm->ranks == 1)
        error_set(err, STATUS_USAGE,
                  "--null-items: needs at least two ranks, got one; start it as `mpirun -n RANKS ssmsweep "
                  "bench --null-items`");
    if (comm->rank == 0 && !is_asked_for(job) && !err->status)
        measure_alone(&found.setting, &random, &model, job, err);
    sweeps_sleep(comm->world);
    if (comm_agree(comm, err) == STATUS_OK &&
        measure_ranks(&found, job, comm, tool_version, err) == STATUS_OK && comm->rank == 0 && job->json_file)
        write_json(job, comm, &found, tool_version, err);
    setting_close(&found.setting);
    model_close(&model);
    random_model_close(&random);
    return comm_agree(comm, err);
}
