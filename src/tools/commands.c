// SPDX-License-Identifier: Apache-2.0
#include "ssmsweep/tools/commands.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ssmsweep/arch/config.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/input/help.h"
#include "ssmsweep/plan/plan.h"
#include "ssmsweep/recipe/mode.h"
#include "ssmsweep/recipe/parts.h"
#include "ssmsweep/recipe/pieces.h"
#include "ssmsweep/recipe/recipe_file.h"
#include "ssmsweep/report/attribution.h"
#include "ssmsweep/report/job_files.h"
#include "ssmsweep/report/mix.h"
#include "ssmsweep/report/reporting.h"
#include "ssmsweep/store/claim.h"
#include "ssmsweep/store/pack.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/progress.h"
#include "ssmsweep/tools/info.h"
#include "ssmsweep/tools/npy_files.h"
#include "ssmsweep/tools/synth.h"

static enum status choose_weights(const char *name, struct error *err)
{
    enum format format = FORMAT_INT8;
    if (name && (!format_find(name, &format) || !format_is_of_weights(format)))
        return error_set(
            err, STATUS_USAGE,
            "--weights: '%.64s' is no format of weights; expected int8, int8-channel, int4-g128, "
            "int4-g64, int4-g32, fp16 or float",
            name);
    mode_set_weights(format);
    return STATUS_OK;
}

// Files that recipes come from: those of --recipes, and the result file that the command goes on with.
static enum status open_recipes(const struct job *job, struct error *err)
{
    const bool reads = job->command == COMMAND_COMPARE || job->command == COMMAND_REPORT ||
                       job->command == COMMAND_EXPORT || job->command == COMMAND_PACK ||
                       job->command == COMMAND_SAVE ||
                       (job->resume && job->command != COMMAND_ATTRIBUTE &&
                        job->command != COMMAND_MIX); // their recipes are made anew
    if (choose_weights(job->weights, err) || recipe_files_read(job->recipes, err) ||
        mode_add_variants(job->modes, err) || mode_add_variants(job->reference, err) ||
        (job->command == COMMAND_ATTRIBUTE && mode_add_variants(job->toward, err)))
        return err->status;
    if (job->command == COMMAND_INFO && job->model_dir) return result_adopt_recipes(job->model_dir, err);
    char *path = reads ? sweep_result_path(job, err) : NULL;
    if (path) result_adopt_recipes(path, err);
    free(path);
    return err->status;
}

// KEY=VALUE, one per line, of lengths that MPI takes.
static enum status check_hints(const char *hints, bool by_mpi, struct error *err)
{
    if (hints && !by_mpi)
        return error_set(err, STATUS_USAGE,
                         "--io-hint contradicts --io posix, which has no MPI-IO; leave out one");
    for (const char *line = hints; line && *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const size_t length = strcspn(line, "\n"), key = strcspn(line, "=\n");
        if (key == 0 || key + 1 >= length || key > STORE_MOST_HINT_BYTES ||
            length - key > STORE_MOST_HINT_BYTES)
            return error_set(
                err, STATUS_USAGE,
                "--io-hint '%.*s': expected KEY=VALUE of up to %d bytes each, as romio_ds_write=disable",
                (int)(length < 200 ? length : 200), line, STORE_MOST_HINT_BYTES);
    }
    return STATUS_OK;
}

// The pieces of --mode become modes; which there are, config.json tells.  A bisection makes its own.
static enum status take_apart(const struct job *job, struct error *err)
{
    struct config config = {0};
    struct notes notes = {0};
    char *directory = NULL, *path = NULL;
    const struct mode *mode;
    if (strcmp(job->modes, "all") == 0)
        return error_set(err, STATUS_USAGE, "attribute: say which mode: ssmsweep attribute --mode 2-1");
    if (job->bisect != (job->limit >= 0))
        return error_set(
            err, STATUS_USAGE,
            "attribute: --bisect and --limit go together, as --bisect --limit 0.005; give both or "
            "none");
    if (job->bisect && job->depth)
        return error_set(err, STATUS_USAGE, "--bisect contradicts --depth; give one of them");
    if (job->costs && (job->bisect || job->depth))
        return error_set(err, STATUS_USAGE, "--costs contradicts %s, which tells no costs; leave out one",
                         job->bisect ? "--bisect" : "--depth");
    if (job->bisect || job->depth) return parts_find_mode("--mode", job->modes, &mode, err);
    model_find_directory(job->model_dir, &directory, err);
    if (!err->status && !(path = directory ? file_join(directory, "config.json") : NULL))
        error_memory(err, 256, "a path");
    if (!err->status && config_read(&config, path, &notes, err) == STATUS_OK &&
        attribution_check(job, config.dims.n_layer, err) == STATUS_OK) {
        const struct pieces_request request = {.mode = job->modes,
                                               .toward = job->toward,
                                               .by_unit = job->by != JOB_BY_LAYER,
                                               .by_layer = job->by != JOB_BY_UNIT,
                                               .units = job->units,
                                               .layers = job->piece_layers};
        if (pieces_make(&request, &config.dims.arch->units, config.dims.n_layer, err) == STATUS_OK)
            attribution_price(&config.dims, job->costs, err);
    }
    free(path);
    free(directory);
    return err->status;
}

enum status command_check(const struct job *job, struct verdict *verdict, bool writes, struct error *err)
{
    if (job->overwrite && job->resume)
        return error_set(err, STATUS_USAGE, "--overwrite contradicts --resume; give one of them");
    if (check_hints(job->io_hints, job->io == JOB_IO_MPIO, err)) return err->status;
    if (job->alignment & (job->alignment - 1))
        return error_set(err, STATUS_USAGE,
                         "--alignment: expected a power of two, as 1048576 (1 MiB), got %lld",
                         job->alignment);
    if (job->store_dtype == JOB_STORE_F16 && job->command == COMMAND_RUN && !job->pack)
        return error_set(err, STATUS_USAGE,
                         "--store-dtype f16: the sweep writes FP32, and packing rounds it; add --pack");
    if (job->store_dtype == JOB_STORE_F16 && job->store == JOB_STORE_NONE)
        return error_set(err, STATUS_USAGE,
                         "--store-dtype f16 contradicts --store none, which keeps no outputs; leave out one");
    if (job->command == COMMAND_EXPORT && !job->npy)
        return error_set(err, STATUS_USAGE, "export: say in which format: ssmsweep export --npy [DIR]");
    if (open_recipes(job, err) || (job->command == COMMAND_ATTRIBUTE && take_apart(job, err)) ||
        (job->command == COMMAND_MIX && mix_check(job, err)))
        return err->status;
    if (!job_sweeps(job) && job->command != COMMAND_COMPARE && job->command != COMMAND_REPORT &&
        job->command != COMMAND_BENCH)
        return STATUS_OK;
    if (plan_check_names(job, err) || verdict_open(verdict, job, err)) return err->status;
    return writes ? job_files_check(job, err) : STATUS_OK;
}

void command_close(struct job *job)
{
    pieces_forget();
    recipes_forget();
    job_clear(job);
}

enum status command_check_kernels(const struct comm *comm, struct error *err)
{
    const struct kernels *kernels;
    kernels_choose(&kernels, err);
    return comm_agree(comm, err);
}

// ---- without MPI ----

static void info(const struct job *job, struct error *err)
{
    const struct info_request request = {
        .path = job->model_dir, .json = job->json, .tokens = job->calib_seqlen, .threads = job->threads};
    if (job->machine)
        info_print_machine(stdout, job->json, err);
    else
        info_print(stdout, &request, err);
}

static void synth(const struct job *job, const struct log *log, struct error *err)
{
    const struct synth_request request = {.preset = (enum synth_preset)job->preset,
                                          .dtype = (enum synth_dtype)job->synth_dtype,
                                          .seed = (unsigned)job->seed,
                                          .out = job->out,
                                          .shard_bytes = job->shard_bytes,
                                          .threads = job->threads};
    struct synth_summary made;
    double started = progress_clock();
    signal(SIGXFSZ, SIG_IGN); // a file size limit is an I/O error with a message, no death
    if (synth_write(&request, &made, err)) return;
    double seconds = progress_clock() - started;
    log_job(log, LOG_NORMAL, "%s: %lld parameters, %.3f GB of weights in %d file%s, %.1f s (%.0f MB/s)",
            job->out, made.parameters, (double)made.weight_bytes * 1e-9, made.files,
            made.files == 1 ? "" : "s", seconds, (double)made.weight_bytes * 1e-6 / (seconds + 1e-9));
}

// The table, or with a name and --recipe that mode as a recipe.
static void print_modes(const struct job *job, struct error *err)
{
    const struct units *units = &arch_at(0)->units;
    const struct mode *mode = job->mode_shown ? mode_find(job->mode_shown) : NULL;
    if (job->mode_shown && !mode)
        error_set(err, STATUS_USAGE, "modes: unknown mode '%.64s'; `ssmsweep modes` lists them",
                  job->mode_shown);
    else if (job->recipe && !mode)
        error_set(err, STATUS_USAGE,
                  "modes --recipe: expected the name of a mode: ssmsweep modes 2-1 --recipe");
    else if (job->recipe)
        recipe_print(stdout, mode, units, err);
    else
        mode_table_print(stdout, job->json, mode, units, err);
}

enum status command_pack(const struct job *job, int threads, const struct log *log, struct error *err)
{
    struct pack_sizes sizes;
    const double started = progress_clock();
    char *path = sweep_result_path(job, err);
    signal(SIGXFSZ, SIG_IGN); // a file size limit is an I/O error with a message, no death
    const bool halves = job->store_dtype == JOB_STORE_F16;
    if (path && store_pack(path, halves, threads, log, &sizes, err) == STATUS_OK)
        log_job(log, LOG_NORMAL, "%s: packed%s, %.1f MiB instead of %.1f, in %.1f s", path,
                halves ? " with outputs as float16" : "", (double)sizes.after_bytes / 0x1p20,
                (double)sizes.before_bytes / 0x1p20, progress_clock() - started);
    free(path);
    return err->status;
}

enum status command_pack_at_end(const struct job *job, const struct comm *comm, int threads,
                                const struct log *log, struct error *err)
{
    struct error packing = {0};
    if (!job->pack || (err->status && err->status != STATUS_GATE)) return err->status;
    if (comm->rank == 0) command_pack(job, threads * comm->node_ranks, log, &packing);
    if (comm_agree(comm, &packing)) *err = packing;
    return err->status;
}

// The first line is for programs; the others say what it was built of and with.
static void print_version(const char *tool_version)
{
#ifdef SSMSWEEP_COMMIT
    const char *commit = SSMSWEEP_COMMIT;
#else
    const char *commit = "";
#endif
    char mpi[128], hdf5[32];
    comm_library(mpi, sizeof mpi);
    store_library(hdf5, sizeof hdf5);
    printf("ssmsweep %s\n\ncommit            %s\n", tool_version,
           commit[0] ? commit : "not known: built outside of git");
    printf("MPI               %s\nHDF5              %s, parallel; --io mpio and posix\n", mpi, hdf5);
    info_print_built(stdout);
}

bool command_alone(const struct job *job, const struct log *log, const char *tool_version, struct error *err)
{
    const bool speaks = log->rank == 0;
    switch (job->command) {
    case COMMAND_HELP:
        if (speaks) help_print(stdout, job->topic);
        return true;
    case COMMAND_VERSION:
        if (speaks) print_version(tool_version);
        return true;
    case COMMAND_MODES:
        if (speaks) print_modes(job, err);
        return true;
    case COMMAND_INFO:
        if (speaks) info(job, err);
        return true;
    case COMMAND_PACK:
        if (speaks) command_pack(job, job->threads > 0 ? job->threads : cores_usable(), log, err);
        return true;
    case COMMAND_SYNTH:
        if (speaks) synth(job, log, err);
        return true;
    default:
        return false;
    }
}

// ---- export and import ----

static const char *npy_folder(const struct job *job)
{
    return job->npy_dir ? job->npy_dir : job->output_dir;
}

// While a run still writes to the file: what is complete.
static enum status check_some(const struct comparison *comparison, const char *path, struct error *err)
{
    if (comparison->count > 0) return STATUS_OK;
    return error_set(err, STATUS_BUSY,
                     "%s: no mode is complete yet; export when the run that makes it has ended", path);
}

static enum status export_all(struct result *result, const struct comparison *comparison, const char *folder,
                              struct error *err)
{
    const struct measurements measured = {
        .result = result, .comparison = comparison, .output_dir = folder, .time = time(NULL)};
    struct report report = {0};
    if (report_build(&report, &measured, err) == STATUS_OK) npy_export(&report, comparison, result, err);
    report_clear(&report);
    return err->status;
}

// Statistics are those of a comparison, with whatever mode comes first.
enum status command_export(const struct job *job, const struct comm *comm, struct error *err)
{
    struct result *result = NULL;
    struct comparison comparison = {0};
    char *path = sweep_result_path(job, err);
    if (path && result_open(&result, path, err) == STATUS_OK && result_layers(result) == 0)
        error_set(
            err, STATUS_INPUT,
            "%s: the result file keeps no tensors (--store none): nothing to export; sweep again without "
            "it",
            path);
    bool under_way = false;
    const struct log log = {.level = job->verbosity, .rank = comm->rank, .ranks = comm->ranks};
    if (comm_agree(comm, err) || reporting_look_for_run(&under_way, result, path, comm, &log, err))
        goto close_result;
    const char *first = result_runs(result) > 0 ? result_run_at(result, 0)->mode : job->reference;
    if (result_has_halves(result)) first = result_attribute(result, "reference_mode"); // of its metrics
    const struct compare_request request = {
        .reference = first, .partial = under_way, .whole_runs = under_way, .output_dir = job->output_dir};
    if (compare_all(&comparison, comm, result, &request, err)) goto close_result;
    if (comm->rank == 0 && (!under_way || check_some(&comparison, path, err) == STATUS_OK))
        export_all(result, &comparison, npy_folder(job), err);
    if (comm_agree(comm, err) == STATUS_OK)
        log_job(&log, LOG_NORMAL,
                result_has_halves(result) ? "exported %d arrays of float16, as the file has them, to %s"
                                          : "exported %d arrays to %s, which ssmsweep import-npy reads",
                comparison.count, npy_folder(job));
    compare_clear(&comparison);
close_result:
    result_close(result);
    free(path);
    return err->status;
}

enum status command_import(const struct job *job, const struct comm *comm, const char *tool_version,
                           struct error *err)
{
    const struct log log = {.level = job->verbosity, .rank = comm->rank, .ranks = comm->ranks};
    struct claim claim = {0};
    char *path = sweep_result_path(job, err);
    if (comm->rank == 0 && path && file_make_directories(job->output_dir, err) == STATUS_OK)
        claim_take(&claim, path, &log, err);
    if (claim.path) store_discard_part(path); // of an import that was interrupted
    if (comm->rank == 0 && !err->status && file_exists(path))
        error_set(err, STATUS_INPUT,
                  "%s: the result file exists already; remove it, or choose another --output_dir", path);
    if (comm_agree(comm, err) == STATUS_OK) npy_import(comm, npy_folder(job), path, tool_version, err);
    claim_drop(&claim);
    if (!err->status) command_tell_compare(&log, "imported into", path, job);
    free(path);
    return err->status;
}

// ---- around a sweep ----

void command_tell_compare(const struct log *log, const char *done, const char *path, const struct job *job)
{
    char *line = job_compare_line(job->output_dir, job->reference);
    log_job(log, LOG_NORMAL, "%s %s; compare its modes with: %s", done, path,
            line ? line : "ssmsweep compare");
    free(line);
}
