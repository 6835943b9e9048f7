// SPDX-License-Identifier: Apache-2.0
// Before anything is written: model and texts are opened, the plan is made and shown.
#include <stdlib.h>
#include <string.h>

#include "inputs.h"
#include "setup.h"
#include "ssmsweep/base/file.h"
#include "ssmsweep/base/footprint.h"
#include "ssmsweep/compute/kernels.h"
#include "ssmsweep/store/store.h"
#include "ssmsweep/sweep/progress.h"
#include "ssmsweep/sweep/sweep.h"
#include "threads.h"

// ---- opening ----

char *sweep_result_path(const struct job *job, struct error *err)
{
    const bool names_file =
        job->command == COMMAND_REPORT && file_exists(job->output_dir) && !file_is_directory(job->output_dir);
    char *path = names_file ? strdup(job->output_dir) : file_join(job->output_dir, "sweep.h5");
    if (!path) error_memory(err, strlen(job->output_dir), "a path");
    return path;
}

static enum status check_job_bytes(const struct sweep *sweep, struct error *err)
{
    char *text = job_identity_json(sweep->job);
    if (!text)
        error_memory(err, 1, "the job as JSON");
    else if (strlen(text) > STORE_MOST_JOB_BYTES)
        error_set(
            err, STATUS_USAGE,
            "job: expected options of up to %d bytes in all, as JSON, got %zu; shorten the longest of them "
            "(layers are ranges, too: 0-47)",
            STORE_MOST_JOB_BYTES, strlen(text));
    free(text);
    return comm_agree(sweep->comm, err);
}

// Only what ssmsweep wrote is removed.
static enum status check_ours(const char *path, struct error *err)
{
    struct error inner = {0};
    struct result *result = NULL;
    const bool ours = !file_exists(path) || result_open(&result, path, &inner) == STATUS_OK;
    result_close(result);
    if (ours) return STATUS_OK;
    return error_set(err, inner.status,
                     "%.900s; --overwrite removes result files of ssmsweep alone: remove it "
                     "yourself, or choose another --output_dir",
                     inner.text);
}

// Before the long work; store_create() looks again.
static enum status refuse_existing(const struct sweep *sweep, struct error *err)
{
    const struct job *job = sweep->job;
    if (sweep->comm->rank == 0 && job->overwrite)
        check_ours(sweep->result_path, err);
    else if (sweep->comm->rank == 0 && !job->resume && job->command != COMMAND_SAVE &&
             file_exists(sweep->result_path))
        error_set(err, STATUS_INPUT, "%s: " STORE_EXISTS, sweep->result_path);
    return comm_agree(sweep->comm, err);
}

// Also before the long work.
static enum status refuse_locked(const struct sweep *sweep, struct error *err)
{
    const struct job *job = sweep->job;
    if (sweep->comm->rank == 0 && !job->dry_run && (job->resume || sweep->adds) &&
        file_exists(sweep->result_path))
        store_look_for_lock(sweep->result_path, sweep->adds && sweep->added[0], err);
    return comm_agree(sweep->comm, err);
}

static void log_texts(const struct sweep *sweep)
{
    struct notes notes = sweep->corpus.notes; // of two texts the same is said once
    for (int i = 0; i < sweep->calibration.notes.count; i++)
        notes_add(&notes, "%s", sweep->calibration.notes.lines[i]);
    notes_log(sweep->log, &notes);
    long skipped = sweep->corpus.skipped_empty;
    if (sweep->job->eval_data) skipped += sweep->calibration.skipped_empty; // else it is the same text
    if (skipped > 0) log_job(sweep->log, LOG_NORMAL, "%ld empty documents skipped", skipped);
}

// All give the same bits, not at the same speed: what is not the ordinary case is said.
static enum status log_kernels(const struct sweep *sweep, struct error *err)
{
    const struct kernels *kernels;
    const char *asked = getenv("SSMSWEEP_ISA");
    if (kernels_choose(&kernels, err)) return err->status;
    const bool chosen = asked && *asked, slow = strcmp(kernels->name, "scalar") == 0;
    if (chosen || slow)
        log_job(sweep->log, LOG_NORMAL, "instruction set %s%s", kernels->name,
                chosen ? ", as SSMSWEEP_ISA says"
                       : ": this processor has none that the kernels know, the sweep will be slow");
    return STATUS_OK;
}

enum status sweep_open(struct sweep *sweep, const struct job *job, const struct comm *comm,
                       const struct log *log, struct stop *stop, const char *tool_version, struct error *err)
{
    const double started = progress_clock();
    *sweep = (struct sweep){.job = job, .comm = comm, .log = log, .stop = stop, .tool_version = tool_version};
    const struct threads threads = threads_choose(job->threads, comm);
    sweep->threads = threads.per_rank;
    sweep->result_path = sweep_result_path(job, err);
    if (comm_agree(comm, err) || output_folders_claim(sweep, err) || refuse_existing(sweep, err) ||
        job_modes_settle(sweep, err) || check_job_bytes(sweep, err) || refuse_locked(sweep, err))
        return err->status;
    job = sweep->job;
    if (inputs_model(&sweep->model, &sweep->reference, comm, job, sweep->threads, err)) return err->status;
    notes_log(log, &sweep->model.notes);
    notes_log(log, &sweep->reference.notes);
    if (inputs_texts(&sweep->corpus, &sweep->calibration, comm, job, &sweep->model, err)) return err->status;
    log_texts(sweep);
    plan_make(&sweep->plan, job, &sweep->model.dims, &sweep->corpus, comm->ranks, err);
    if (comm_agree(comm, err)) return err->status;
    char quota[48] = "";
    if (threads.quota > 0) snprintf(quota, sizeof quota, " (CPU quota %.3g)", threads.quota);
    log_job(log, LOG_NORMAL,
            "model %s: %d layers, d_model %d; %d samples of up to %d tokens; %d runs; %d ranks x %d threads, "
            "%d cores here%s%s",
            sweep->model.directory, sweep->model.dims.n_layer, sweep->model.dims.d_model,
            sweep->corpus.samples, sweep->corpus.max_tokens, sweep->plan.n_runs, comm->ranks, sweep->threads,
            threads.node_cores, quota, threads.unbound ? " (unbound)" : "");
    threads_warn(&threads, comm, log);
    log_kernels(sweep, err);
    if (comm_agree(comm, err)) return err->status;
    sweep->load_seconds = progress_clock() - started;
    footprint_log(log, "model and texts are open");
    return STATUS_OK;
}

void sweep_close(struct sweep *sweep)
{
    claim_drop(&sweep->claim);
    plan_clear(&sweep->plan);
    corpus_clear(&sweep->corpus);
    corpus_clear(&sweep->calibration);
    model_close(&sweep->model);
    model_close(&sweep->reference);
    free(sweep->result_path);
    *sweep = (struct sweep){0};
}
