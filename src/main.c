// SPDX-License-Identifier: Apache-2.0
// job -> model -> tokens -> plan -> calibrate -> sweep -> compare -> report
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ssmsweep/base/file.h"
#include "ssmsweep/base/footprint.h"
#include "ssmsweep/base/log.h"
#include "ssmsweep/base/standard.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/base/thread.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/plan/plan.h"
#include "ssmsweep/recipe/mode_table.h"
#include "ssmsweep/report/compare.h"
#include "ssmsweep/report/equalities.h"
#include "ssmsweep/report/job_files.h"
#include "ssmsweep/report/memory_plan.h"
#include "ssmsweep/report/per_sample.h"
#include "ssmsweep/report/present.h"
#include "ssmsweep/report/report_folder.h"
#include "ssmsweep/report/report_json.h"
#include "ssmsweep/report/scales.h"
#include "ssmsweep/report/sweep_files.h"
#include "ssmsweep/report/sweep_report.h"
#include "ssmsweep/report/under_way.h"
#include "ssmsweep/report/verdict.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/progress.h"
#include "ssmsweep/sweep/sweep.h"
#include "ssmsweep/sweep/time_plan.h"
#include "ssmsweep/tools/bench.h"
#include "ssmsweep/tools/info.h"
#include "ssmsweep/tools/npy_files.h"
#include "ssmsweep/tools/synth.h"

static void info(const struct job *job, struct error *err)
{
    const struct info_request request = {
        .path = job->model_dir, .json = job->json, .tokens = job->calib_seqlen, .threads = job->threads};
    if (job->cpu)
        info_print_cpu(stdout, job->json, err);
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

// What needs no MPI; false: the rest of the program has to do it.
static bool answer_alone(const struct job *job, const struct log *log, struct error *err)
{
    bool speaks = log->rank == 0;
    switch (job->command) {
    case COMMAND_HELP:
        if (speaks) job_print_help(stdout, job->topic);
        return true;
    case COMMAND_VERSION:
        if (speaks) printf("ssmsweep %s\n", SSMSWEEP_VERSION);
        return true;
    case COMMAND_MODES:
        if (speaks) mode_table_print(stdout, job->json, err);
        return true;
    case COMMAND_INFO:
        if (speaks) info(job, err);
        return true;
    case COMMAND_SYNTH:
        if (speaks) synth(job, log, err);
        return true;
    default:
        return false;
    }
}

// Reads what the job names beside model and texts; `speaks`: the rank that will write.
static enum status check_job(const struct job *job, struct verdict *verdict, bool speaks, struct error *err)
{
    if (job->overwrite && job->resume)
        return error_set(err, STATUS_USAGE, "--overwrite contradicts --resume; give one of them");
    if (job->command == COMMAND_EXPORT && !job->npy)
        return error_set(err, STATUS_USAGE, "export: say in which format: ssmsweep export --npy [DIR]");
    if (job->command != COMMAND_RUN && job->command != COMMAND_SAVE && job->command != COMMAND_COMPARE &&
        job->command != COMMAND_BENCH)
        return STATUS_OK;
    if (plan_check_names(job, err) || verdict_open(verdict, job, err)) return err->status;
    return speaks ? job_files_check(job, err) : STATUS_OK;
}

// ---- compare and report ----

// The verdict is made before anything is printed, and told behind it: a reader that leaves costs neither.
static enum status report(const struct job *job, struct verdict *verdict, struct result *result,
                          const struct comparison *comparison, const struct sweep_report *sweep,
                          struct error *err)
{
    struct report report = {.result = result,
                            .comparison = comparison,
                            .output_dir = job->output_dir,
                            .comparison_dir = job->comparison_dir,
                            .save_comparison = job->save_comparison,
                            .without_stats =
                                job->command == COMMAND_COMPARE && !file_is_writable(job->output_dir),
                            .time = time(NULL)};
    if (job->command == COMMAND_SAVE) return report_write_stats(&report, err);
    const struct log log = {.level = job->verbosity, .ranks = 1};
    if (report.without_stats)
        log_job(&log, LOG_NORMAL, "%s: cannot be written to, the statistics of its modes are left out",
                job->output_dir);
    if (report_folder_take(job, result, &log, err)) return err->status;
    if (comparison->count > 0 && report_write(&report, err)) return err->status;
    if (sweep->result && sweep_files_write(sweep, job->comparison_dir, err)) return err->status;
    if (scales_write(result, job->comparison_dir, err)) return err->status;
    if (job->per_sample && per_sample_write(comparison, result, job->comparison_dir, err)) return err->status;
    if (verdict_judge(verdict, job, comparison, result, err)) return err->status;
    if (present(stdout, job, &report, sweep, err)) return err->status;
    if (job->format == FORMAT_TABLE && job->verbosity != LOG_QUIET && scales_print(stdout, result, err))
        return err->status;
    log_job(&log, LOG_NORMAL, "result: %s/sweep.h5; reports: %s%s%s", job->output_dir, job->comparison_dir,
            job->save_comparison ? ", " : "", job->save_comparison ? job->save_comparison : "");
    return verdict_tell(verdict, &log, err);
}

// What every command gets.
struct program {
    const struct job *job;
    const struct comm *comm;
    const struct log *log;
    struct stop *stop;
    struct verdict *verdict;
};

// Collective.  A broken gate does not hide a violated equality.
static void check_equalities(const struct program *program, struct result *result, struct error *err)
{
    struct error violated = {0};
    if (equalities_check(program->comm, program->log, result, &violated) && !err->status) *err = violated;
}

// Collective.
static void compute_intervals(const struct program *program, struct sweep_report *sweep,
                              struct result *result, const struct compare_request *request, struct error *err)
{
    const struct job *job = program->job;
    const struct sweep_report_request how_sure = {
        .compare = *request, .replicates = job->bootstrap, .seed = (uint64_t)job->seed};
    log_job(program->log, LOG_VERBOSE, "computes intervals");
    sweep_report_make(sweep, program->comm, result, &how_sure, err);
}

// Collective.  Without names `compare` takes what the file holds, which need not be every mode there is.
static enum status compare(const struct program *program, bool partial, struct error *err)
{
    const struct job *job = program->job;
    const struct comm *comm = program->comm;
    bool named = job->command == COMMAND_COMPARE && strcmp(job->modes, "all") != 0;
    struct compare_request request = {.reference = job->reference,
                                      .modes = named ? job->modes : NULL,
                                      .partial = partial,
                                      .output_dir = job->output_dir,
                                      .stop = program->stop};
    struct result *result = NULL;
    struct comparison comparison = {0};
    struct sweep_report sweep = {0};
    struct error late = {0}; // a signal came: no time for intervals, the other reports are made
    char *path = sweep_result_path(job, err);
    if (path) result_open(&result, path, err);
    bool under_way = false;
    if (comm_agree(comm, err) || under_way_look(&under_way, result, path, comm, program->log, err))
        goto close_result;
    request.partial = partial || under_way;
    footprint_log(program->log, "the result file is open for reading");
    log_job(program->log, LOG_VERBOSE, "compares");
    if (result_layers(result) == 0)
        log_job(program->log, LOG_NORMAL,
                "the result file keeps no tensors (--store none): compares by its metrics");
    if (compare_all(&comparison, comm, result, &request, err)) goto close_result;
    footprint_log(program->log, "compared");
    if (job->command != COMMAND_SAVE) compute_intervals(program, &sweep, result, &request, &late);
    if (late.status && late.status != STATUS_STOPPED) *err = late;
    if (err->status) goto clear_comparison;
    log_job(program->log, LOG_VERBOSE, "writes the reports");
    footprint_log(program->log, "intervals are there");
    if (comm->rank == 0 && (comparison.count > 0 || sweep.n_units > 0))
        report(job, program->verdict, result, &comparison, &sweep, err);
    else if (under_way)
        log_job(program->log, LOG_NORMAL, "no sample is finished in two modes yet; nothing to compare");
    footprint_log(program->log, "reports are written");
    comm_agree(comm, err);
    if (!err->status || err->status == STATUS_GATE) check_equalities(program, result, err);
    if (late.status && !err->status) *err = late;
    sweep_report_clear(&sweep);
clear_comparison:
    compare_clear(&comparison);
close_result:
    result_close(result);
    free(path);
    return err->status;
}

// ---- commands ----

// What an unfinished sweep has to show; a failure here changes nothing about how it ended.
static void compare_partially(const struct program *program)
{
    struct error err = {0};
    log_job(program->log, LOG_NORMAL, "the sweep is incomplete: comparing what is finished");
    if (compare(program, true, &err))
        log_job(program->log, LOG_NORMAL, "no reports of the incomplete sweep: %s", err.text);
}

// Collective.  Memory first: to measure the time takes some.
static enum status show_plan(const struct sweep *sweep, struct error *err)
{
    struct time_plan time;
    const struct memory_plan memory = memory_plan_make(sweep);
    if (time_plan_make(&time, sweep, err) || sweep->comm->rank != 0) return err->status;
    sweep_print_plan(sweep, stdout);
    memory_plan_print(stdout, &memory);
    time_plan_print(stdout, &time, sweep);
    return STATUS_OK;
}

// Reports of another result stop a sweep before it starts.
static enum status admit(const struct sweep *sweep, const struct store_identity *identity, struct error *err)
{
    return report_folder_prepare(sweep->job, sweep->result_path, &sweep->plan, identity, sweep->log, err);
}

// How to go on with a result file.
static void tell_compare(const struct log *log, const char *done, const char *path, const struct job *job)
{
    char *line = job_compare_line(job->output_dir, job->reference);
    log_job(log, LOG_NORMAL, "%s %s; compare its modes with: %s", done, path,
            line ? line : "ssmsweep compare");
    free(line);
}

static enum status import(const struct program *program, struct error *err)
{
    char *path = sweep_result_path(program->job, err);
    if (npy_import_job(program->job, program->comm, SSMSWEEP_VERSION, err) == STATUS_OK)
        tell_compare(program->log, "imported into", path, program->job);
    free(path);
    return err->status;
}

static enum status run(const struct program *program, struct error *err)
{
    struct sweep sweep = {0};
    if (sweep_open(&sweep, program->job, program->comm, program->log, program->stop, SSMSWEEP_VERSION, err))
        goto close_sweep;
    if (program->job->dry_run) {
        show_plan(&sweep, err);
        goto close_sweep;
    }
    if (program->job->command == COMMAND_RUN) sweep.admit = admit;
    // What other ranks wrote can be read since sweep_run() closed the file.
    if (sweep_run(&sweep, err) == STATUS_OK)
        compare(program, false, err);
    else if (sweep.comparable)
        compare_partially(program);
    if (!err->status && program->job->command == COMMAND_SAVE)
        tell_compare(program->log, "saved", sweep.result_path, sweep.job);
close_sweep:
    sweep_close(&sweep);
    return err->status;
}

static enum status run_command(const struct program *program, struct error *err)
{
    const struct job *job = program->job;
    const struct comm *comm = program->comm;
    switch (job->command) {
    case COMMAND_RUN:
    case COMMAND_SAVE:
        return run(program, err);
    case COMMAND_EXPORT:
        return npy_export_job(job, comm, err);
    case COMMAND_IMPORT:
        return import(program, err);
    case COMMAND_BENCH:
        return bench_run(job, comm, SSMSWEEP_VERSION, err);
    default:
        return compare(program, false, err);
    }
}

// Collective.  Before anything else: a wrong SSMSWEEP_ISA, which on some hosts may be a right one.
static enum status check_kernels(const struct program *program, struct error *err)
{
    const struct kernels *kernels;
    kernels_choose(&kernels, err);
    return comm_agree(program->comm, err);
}

// `wrong`: what is wrong with the command line, if anything.  Ranks agree on that as well: a launcher ends
// them all as soon as one has failed, and the one that says why may be the last.
static enum status run_under_mpi(struct job *job, struct verdict *verdict, const struct error *wrong,
                                 int *argc, char ***argv)
{
    struct comm comm = {0};
    struct error err = {0};
    struct log log = {.level = wrong->status ? LOG_NORMAL : job->verbosity};
    struct stop stop = {.grace_seconds = job->grace_seconds};
    const struct program program = {job, &comm, &log, &stop, verdict};
    if (comm_launch().rank > 0) log.rank = comm_launch().rank;
    signal(SIGXFSZ, SIG_IGN); // a file size limit is an I/O error with a message, no death
    if (!wrong->status && (job->command == COMMAND_RUN || job->command == COMMAND_SAVE))
        stop_catch(comm_launch().rank <= 0); // before MPI starts, which takes a moment
    store_prepare();
    if (comm_init(&comm, argc, argv, &err) == STATUS_OK) {
        log.rank = comm.rank;
        log.ranks = comm.ranks;
        footprint_log(&log, "MPI is started");
        err = *wrong;
        if (comm_agree(&comm, &err) == STATUS_OK) {
            if (check_kernels(&program, &err) == STATUS_OK) run_command(&program, &err);
            stop_silence();
            if (!err.status) standard_end(&err);
            comm_agree(&comm, &err);
        }
    }
    if (err.status) log_job(&log, LOG_ERROR, "%s", err.text);
    verdict_close(verdict);
    job_clear(job);
    comm_finish(&comm);
    return err.status;
}

int main(int argc, char **argv)
{
    struct job job = {0};
    struct verdict verdict = {0};
    struct error err = {0};
    const int rank = comm_launch().rank;
    struct log log = {.level = LOG_NORMAL, .rank = rank == COMM_NO_LAUNCHER ? 0 : rank};
    thread_settle();
    standard_open();
    signal(SIGPIPE, SIG_IGN); // a reader that leaves (| head) is told by the write, and costs no verdict
    if (!job_parse(&job, argc, argv, &err)) check_job(&job, &verdict, log.rank == 0, &err);
    if (!err.status) log.level = job.verbosity;
    if ((err.status && rank != COMM_NO_LAUNCHER) || (!err.status && !answer_alone(&job, &log, &err)))
        return (int)run_under_mpi(&job, &verdict, &err, &argc, &argv);
    if (!err.status) standard_end(&err);
    if (err.status) log_job(&log, LOG_ERROR, "%s", err.text);
    verdict_close(&verdict);
    job_clear(&job);
    return (int)err.status;
}
