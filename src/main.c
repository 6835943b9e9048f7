// SPDX-License-Identifier: Apache-2.0
// job -> (config -> arch) -> texts -> plan -> calibrate -> sweep -> read back -> measure -> statistics ->
// report
#include <signal.h>

#include "ssmsweep/base/arena.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/status.h"
#include "ssmsweep/base/stop.h"
#include "ssmsweep/base/team.h"
#include "ssmsweep/comm/comm.h"
#include "ssmsweep/input/job.h"
#include "ssmsweep/report/bisect.h"
#include "ssmsweep/report/depth.h"
#include "ssmsweep/report/mix.h"
#include "ssmsweep/report/report_folder.h"
#include "ssmsweep/report/report_pages.h"
#include "ssmsweep/report/reporting.h"
#include "ssmsweep/report/units.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/dry_run.h"
#include "ssmsweep/sweep/sweep.h"
#include "ssmsweep/tools/bench.h"
#include "ssmsweep/tools/commands.h"

// Collective.  read back -> measure -> statistics -> report -> renderers
static enum status compare(const struct program *program, bool partial, struct error *err)
{
    struct reporting reporting = {.job = program->job,
                                  .comm = program->comm,
                                  .log = program->log,
                                  .stop = program->stop,
                                  .verdict = program->verdict,
                                  .partial = partial};
    if (reporting_read_back(&reporting, err) == STATUS_OK &&
        reporting_measure(&reporting, err) == STATUS_OK && reporting_statistics(&reporting, err) == STATUS_OK)
        reporting_write(&reporting, err);
    reporting_close(&reporting);
    return err->status;
}

// What an unfinished sweep has to show; a failure here changes nothing about how it ended.
static void compare_partially(const struct program *program)
{
    struct error err = {0};
    log_job(program->log, LOG_NORMAL, "the sweep is incomplete: comparing what is finished");
    if (compare(program, true, &err))
        log_job(program->log, LOG_NORMAL, "no reports of the incomplete sweep: %s", err.text);
}

// Collective.  (config -> arch) -> texts -> plan, then calibrate -> sweep
static enum status run(const struct program *program, struct error *err)
{
    const struct job *job = program->job;
    struct sweep sweep = {0};
    sweep_open(&sweep, job, program->comm, program->log, program->stop, SSMSWEEP_VERSION, err);
    if (!err->status && job->dry_run) {
        dry_run_print(&sweep, reporting_bytes(&sweep), NULL, err);
    } else if (!err->status) {
        if (job->command == COMMAND_RUN || job->command == COMMAND_ATTRIBUTE)
            sweep.admit = report_folder_prepare;
        if (sweep_run(&sweep, err) == STATUS_OK)
            compare(program, false, err); // the file is closed: what other ranks wrote can be read
        else if (sweep.comparable)
            compare_partially(program);
        command_pack_at_end(job, program->comm, sweep.threads, program->log, err);
        if (!err->status && job->command == COMMAND_SAVE)
            command_tell_compare(program->log, "saved", sweep.result_path, sweep.job);
    }
    sweep_close(&sweep);
    return err->status;
}

static enum status run_command(const struct program *program, struct error *err)
{
    if (program->job->bisect) return bisect_run(program, err);
    if (program->job->depth) return depth_run(program, err);
    if (program->job->command == COMMAND_MIX) return mix_run(program, err);
    if (job_sweeps(program->job)) return run(program, err);
    switch (program->job->command) {
    case COMMAND_EXPORT:
        return command_export(program->job, program->comm, err);
    case COMMAND_IMPORT:
        return command_import(program->job, program->comm, SSMSWEEP_VERSION, err);
    case COMMAND_UNITS:
        return units_run(program->job, program->comm, program->log, program->stop, SSMSWEEP_VERSION, err);
    case COMMAND_BENCH:
        return bench_run(program->job, program->comm, SSMSWEEP_VERSION, err);
    case COMMAND_REPORT:
        return report_pages(program->job, program->comm, program->log, program->stop, err);
    default:
        return compare(program, false, err);
    }
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
    const struct program program = {job, &comm, &log, &stop, verdict, SSMSWEEP_VERSION};
    if (comm_launch().rank > 0) log.rank = comm_launch().rank;
    signal(SIGXFSZ, SIG_IGN); // a file size limit is an I/O error with a message, no death
    if (!wrong->status && (job_sweeps(job) || job->command == COMMAND_UNITS))
        stop_catch(comm_launch().rank <= 0); // before MPI starts, which takes a moment
    store_prepare();
    if (comm_init(&comm, argc, argv, &err) == STATUS_OK) {
        log.rank = comm.rank;
        log.ranks = comm.ranks;
        footprint_log(&log, "MPI is started");
        err = *wrong;
        if (comm_agree(&comm, &err) == STATUS_OK && command_check_kernels(&comm, &err) == STATUS_OK)
            run_command(&program, &err);
        stop_silence(); // a launcher ends the others as soon as one has failed: they know why by now
        if (!err.status) standard_end(&err);
        comm_agree(&comm, &err);
    }
    if (err.status) log_job(&log, LOG_ERROR, "%s", err.text);
    verdict_close(verdict);
    command_close(job);
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
    if (!job_parse(&job, argc, argv, &err)) command_check(&job, &verdict, log.rank == 0, &err);
    if (!err.status) log.level = job.verbosity;
    if ((err.status && rank != COMM_NO_LAUNCHER) ||
        (!err.status && !command_alone(&job, &log, SSMSWEEP_VERSION, &err)))
        return (int)run_under_mpi(&job, &verdict, &err, &argc, &argv);
    if (!err.status) standard_end(&err);
    if (err.status) log_job(&log, LOG_ERROR, "%s", err.text);
    verdict_close(&verdict);
    command_close(&job);
    return (int)err.status;
}
